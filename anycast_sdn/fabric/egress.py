"""Egress: by which next hops on its uplinks an edge reaches prefixes outside the fabric.

Pure.  An edge reaches prefixes by static routes (network file) and by routes that the routers at its uplinks advertise
(BGP).  Of several routes to one prefix the first whose next hop answers is used: static ones come first, then learned
ones as RFC 4271 §9.1.2.2 ranks them, as far as that applies to routes of other ASes.

No router can attract the fabric's own traffic: a route to a prefix that the fabric itself has is ignored, whatever its
origin (``control.uplinks``).  So are routes to prefixes that no router forwards, such as multicast.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.prefixes import special
from anycast_sdn.description.model import Uplink

MOST_NEXT_HOPS = 16  # on one uplink, because each is resolved by ARP or ND and watched


class Route(NamedTuple):
    """A route as a router advertises it; the one that BGP prefers compares as less."""

    as_hops: int
    origin: int  # 0 IGP, 1 EGP, 2 incomplete
    med: int
    next_hop: Address


NextHops = dict[Prefix, tuple[Address, ...]]  # prefix → next hops on the edge's uplinks, the best one first
Learned = Mapping[str, Mapping[Prefix, Route]]  # uplink's name → all routes that its router advertises
HopsOnLink = Mapping[str, frozenset[Address]]  # uplink's name → the next hops that are used on it
_NO_ROUTES: Mapping[Prefix, Route] = {}


def next_hops(uplinks: Iterable[Uplink], learned: Learned) -> NextHops:
    """The next hops to all prefixes that one edge can reach."""
    uplinks = tuple(uplinks)
    prefixes = {prefix for uplink in uplinks for prefix in (*uplink.routes, *learned.get(uplink.name, ()))}
    return next_hops_to(prefixes, uplinks, learned, hops_on_link(uplinks, learned))


def hops_on_link(uplinks: Iterable[Uplink], learned: Learned) -> dict[str, frozenset[Address]]:
    """The advertised next hops that are on each uplink's link: the first ``MOST_NEXT_HOPS`` of them by address."""
    used = {}
    for uplink in uplinks:
        hops = {route.next_hop for route in learned.get(uplink.name, {}).values()}
        used[uplink.name] = frozenset(sorted(hop for hop in hops if _is_on(uplink, hop))[:MOST_NEXT_HOPS])
    return used


def next_hops_to(
    prefixes: Iterable[Prefix], uplinks: Sequence[Uplink], learned: Learned, used: HopsOnLink
) -> NextHops:
    """As ``next_hops``, to these prefixes only.  ``used``: see ``hops_on_link``."""
    links = {own.prefix for uplink in uplinks for own in uplink.addresses}  # the edge is connected to these
    static: dict[Prefix, list[Address]] = {}
    for uplink in uplinks:
        for prefix in uplink.routes:
            static.setdefault(prefix, []).extend(filter(None, (uplink.router(prefix.is_v6),)))
    found: NextHops = {}
    for prefix in prefixes:
        ranked: list[tuple[Route, Address]] = []
        for uplink in uplinks if prefix not in links and not special(prefix) else ():
            if route := learned.get(uplink.name, _NO_ROUTES).get(prefix):
                # The BGP session need not use this link: a next hop that is not on it stands for the uplink's router.
                on_link = route.next_hop in used[uplink.name]
                if next_hop := route.next_hop if on_link else uplink.router(prefix.is_v6):
                    ranked.append((route, next_hop))
        if prefix in static or ranked:
            found[prefix] = (*static.get(prefix, ()), *(next_hop for _, next_hop in sorted(ranked)))
    return found


def own_prefixes(announced: Mapping[Prefix, Iterable[str]], part: Collection[str]) -> set[Prefix]:
    """The prefixes that edges in one part of the fabric announce.  ``announced``: prefix → the edges that do."""
    return {prefix for prefix, edges in announced.items() if any(edge in part for edge in edges)}


def _is_on(uplink: Uplink, next_hop: Address) -> bool:
    return any(next_hop in own.prefix and next_hop != own.address for own in uplink.addresses)
