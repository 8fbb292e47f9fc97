"""Ways out of the fabric: what uplinks lead to, and what is said of us beyond them.

Pure.  An edge reaches prefixes beyond its uplinks by static routes (network file) and by those that the
routers there teach (BGP).  Of several ways to one prefix the first that works is taken: static ones come
first, then learned ones as RFC 4271 §9.1.2.2 ranks them, as far as that applies to routes of other ASes.

A route to what the fabric itself holds is ignored, whoever teaches it: nobody out there can draw our own
traffic away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.core.model import Address, Prefix, Uplink


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
        for prefix, route in taught.get(uplink.name, {}).items():
            next_hop = _on_link(uplink, prefix, route.next_hop)
            if next_hop and prefix not in links:
                learned.setdefault(prefix, []).append((route, next_hop))
    return {
        prefix: (*static.get(prefix, ()), *(next_hop for _, next_hop in sorted(learned.get(prefix, ()))))
        for prefix in static | learned
    }


def _on_link(uplink: Uplink, prefix: Prefix, next_hop: Address) -> Address | None:
    """Where to send: the session goes another way, so a next hop that is not on the link means its router."""
    if any(next_hop in own.prefix for own in uplink.addresses):
        return next_hop
    return uplink.router(prefix.is_v6)
