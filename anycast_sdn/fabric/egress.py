"""Ways out of the fabric: what uplinks lead to, and what is said of us beyond them.

Pure.  An edge reaches prefixes beyond its uplinks by static routes (network file) and by those that the
routers there teach (BGP).  Of several ways to one prefix the first that works is taken: static ones come
first, then learned ones as RFC 4271 §9.1.2.2 ranks them, as far as that applies to routes of other ASes.

Nobody out there can draw our own traffic away: a route to what the fabric itself holds is ignored, whoever
teaches it.  So are routes to what no router forwards, such as multicast.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.prefixes import special
from anycast_sdn.description.model import Uplink

MOST_NEXT_HOPS = 16  # on one uplink: each of them is asked for, and watched


class Route(NamedTuple):
    """A route as a router teaches it; the one that BGP prefers compares as less."""

    as_hops: int
    origin: int  # 0 IGP, 1 EGP, 2 incomplete
    med: int
    next_hop: Address


Exits = dict[Prefix, tuple[Address, ...]]  # prefix → next hops on the edge's uplinks, the best one first
Taught = Mapping[str, Mapping[Prefix, Route]]  # uplink's name → what its router teaches
Hops = Mapping[str, frozenset[Address]]  # uplink's name → the next hops that are used on it
_NOTHING: Mapping[Prefix, Route] = {}


def exits(uplinks: Iterable[Uplink], taught: Taught) -> Exits:
    """All ways out of one edge."""
    uplinks = tuple(uplinks)
    prefixes = {prefix for uplink in uplinks for prefix in (*uplink.routes, *taught.get(uplink.name, ()))}
    return exits_to(prefixes, uplinks, taught, hops_of(uplinks, taught))


def hops_of(uplinks: Iterable[Uplink], taught: Taught) -> dict[str, frozenset[Address]]:
    """Of the next hops that routers teach, those on the link: the first few of them, see ``MOST_NEXT_HOPS``."""
    hops = {}
    for uplink in uplinks:
        next_hops = {route.next_hop for route in taught.get(uplink.name, {}).values()}
        hops[uplink.name] = frozenset(sorted(hop for hop in next_hops if _is_on(uplink, hop))[:MOST_NEXT_HOPS])
    return hops


def exits_to(prefixes: Iterable[Prefix], uplinks: Sequence[Uplink], taught: Taught, hops: Hops) -> Exits:
    """As ``exits``, of these prefixes alone."""
    links = {own.prefix for uplink in uplinks for own in uplink.addresses}  # we are there already
    static: dict[Prefix, list[Address]] = {}
    for uplink in uplinks:
        for prefix in uplink.routes:
            static.setdefault(prefix, []).extend(filter(None, (uplink.router(prefix.is_v6),)))
    found: Exits = {}
    for prefix in prefixes:
        learned: list[tuple[Route, Address]] = []
        for uplink in uplinks if prefix not in links and not special(prefix) else ():
            if route := taught.get(uplink.name, _NOTHING).get(prefix):
                # The session goes another way: a next hop that is not on the link means its router.
                on_link = route.next_hop in hops[uplink.name]
                if next_hop := route.next_hop if on_link else uplink.router(prefix.is_v6):
                    learned.append((route, next_hop))
        if prefix in static or learned:
            found[prefix] = (*static.get(prefix, ()), *(next_hop for _, next_hop in sorted(learned)))
    return found


def own_prefixes(announced: Mapping[Prefix, Iterable[str]], part: Collection[str]) -> set[Prefix]:
    """What the switches of one part of the fabric announce.  ``announced``: prefix → the edges that do."""
    return {prefix for prefix, edges in announced.items() if any(edge in part for edge in edges)}


def _is_on(uplink: Uplink, next_hop: Address) -> bool:
    return any(next_hop in own.prefix and next_hop != own.address for own in uplink.addresses)
