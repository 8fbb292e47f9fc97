"""Ways out of the fabric: what uplinks lead to, and what is said of us beyond them.

Pure.  An edge reaches prefixes beyond its uplinks by static routes (network file) and by those that the
routers there teach (BGP).  Of several ways to one prefix the first that works is taken: static ones come
first, then learned ones as RFC 4271 §9.1.2.2 ranks them, as far as that applies to routes of other ASes.

Nobody out there can draw our own traffic away: a route to what the fabric itself holds is ignored, whoever
teaches it.  So are routes to what no router forwards, such as multicast.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.core.model import Address, Prefix, Uplink
from anycast_sdn.core.prefixes import special

MOST_NEXT_HOPS = 16  # on one uplink: each of them is asked for, and watched


class Route(NamedTuple):
    """A route as a router teaches it; the one that BGP prefers compares as less."""

    as_hops: int
    origin: int  # 0 IGP, 1 EGP, 2 incomplete
    med: int
    next_hop: Address


Exits = dict[Prefix, tuple[Address, ...]]  # prefix → next hops on the edge's uplinks, the best one first
Taught = Mapping[str, Mapping[Prefix, Route]]  # uplink's name → what its router teaches


def exits(uplinks: Iterable[Uplink], taught: Taught) -> Exits:
    """All ways out of one edge."""
    uplinks = tuple(uplinks)
    links = {own.prefix for uplink in uplinks for own in uplink.addresses}  # we are there already
    static: dict[Prefix, list[Address]] = {}
    for uplink in uplinks:
        for prefix in uplink.routes:
            static.setdefault(prefix, []).extend(filter(None, (uplink.router(prefix.is_v6),)))
    learned: dict[Prefix, list[tuple[Route, Address]]] = {}
    for uplink in uplinks:
        routes = taught.get(uplink.name, {})
        next_hops = {route.next_hop for route in routes.values()}
        on_link = set(sorted(hop for hop in next_hops if _is_on(uplink, hop))[:MOST_NEXT_HOPS])
        for prefix, route in routes.items():
            # The session goes another way: a next hop that is not on the link means its router.
            next_hop = route.next_hop if route.next_hop in on_link else uplink.router(prefix.is_v6)
            if next_hop and prefix not in links and not special(prefix):
                learned.setdefault(prefix, []).append((route, next_hop))
    return {
        prefix: (*static.get(prefix, ()), *(next_hop for _, next_hop in sorted(learned.get(prefix, ()))))
        for prefix in static | learned
    }


def own_prefixes(announced: Mapping[Prefix, Iterable[str]], part: Collection[str]) -> set[Prefix]:
    """What the switches of one part of the fabric announce.  ``announced``: prefix → the edges that do."""
    return {prefix for prefix, edges in announced.items() if any(edge in part for edge in edges)}


def _is_on(uplink: Uplink, next_hop: Address) -> bool:
    return any(next_hop in own.prefix and next_hop != own.address for own in uplink.addresses)
