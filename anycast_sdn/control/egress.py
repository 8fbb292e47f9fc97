"""Egress: by which router at an uplink a switch sends packets to prefixes outside the fabric.

A prefix is *reachable* when the network file, a router's BGP session, or a rule found on the switch at the controller's
start has a route to it by an uplink.  Of the route's next hops the first that answers ARP or ND is *selected*;
``pop_changed`` returns the prefixes for which the selection has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence

from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.description.model import Uplink
from anycast_sdn.fabric.egress import HopsOnLink, Learned, NextHops, Route, hops_on_link, next_hops_to

INHERITED_S = 15.0  # routers have this long to advertise to a new controller what they advertised to the old one


class Egress:
    """``neighbour``: where a next hop is, if it answers; ``delivers``: is the switch itself the end of the routes to
    this prefix?"""

    def __init__(
        self,
        uplinks: Sequence[Uplink],
        neighbour: Callable[[Address], Neighbour | None],
        delivers: Callable[[Prefix], bool],
    ) -> None:
        self._uplinks = uplinks
        self._neighbour = neighbour
        self._delivers = delivers
        self._next_hops: NextHops = {}
        self._learned: Learned = {}
        self._hops: HopsOnLink = hops_on_link(uplinks, {})
        self._inherited: dict[Prefix, Neighbour] = {}  # found on the switch at the controller's start
        self._inherited_until = 0.0
        self.selected: dict[Prefix, Neighbour] = {}
        self._changed: dict[Prefix, None] = {}
        self._affected = False  # a router has begun or ceased to answer, or inherited routes have ended
        self.find({prefix for uplink in uplinks for prefix in uplink.routes})

    @property
    def has_uplinks(self) -> bool:
        return bool(self._uplinks)

    # ---------------------------------------------------------------- what can be reached

    def set_learned(self, uplink: Uplink, routes: Mapping[Prefix, Route]) -> Collection[Prefix]:
        """All routes that the uplink's router advertises now → the prefixes for which ``find`` is to be called."""
        before, known = self._learned.get(uplink.name, {}), self._hops[uplink.name]
        self._learned = {**self._learned, uplink.name: routes}
        self._hops = {**self._hops, **hops_on_link([uplink], self._learned)}
        all_of_them = known != self._hops[uplink.name]
        others = {prefix: None for prefix, route in routes.items() if all_of_them or before.get(prefix) != route}
        return others | {prefix: None for prefix in before if prefix not in routes}

    def find(self, prefixes: Iterable[Prefix]) -> None:
        """Find the next hops of these prefixes anew."""
        found = next_hops_to(prefixes, self._uplinks, self._learned, self._hops)
        for prefix in prefixes:
            if prefix in found:
                self._next_hops[prefix] = found[prefix]
            else:
                self._next_hops.pop(prefix, None)

    def inherit(self, routes: Mapping[Prefix, Neighbour], now: float) -> None:
        """These egress routes were found on the switch at the start.  They stay while routers advertise theirs."""
        ports = {uplink.port for uplink in self._uplinks}
        self._inherited = {prefix: router for prefix, router in routes.items() if router.port in ports}
        self._inherited_until = now + INHERITED_S

    def tick(self, now: float) -> bool:
        """End inherited routes when their time is over → has it just ended?"""
        if not self._inherited or now < self._inherited_until:
            return False
        self._inherited.clear()
        self._affected = True
        return True

    def routers(self) -> set[Address]:
        """The next hops on the uplinks: they are watched by ARP and ND."""
        return {router for uplink in self._uplinks for router in uplink.routers}.union(*self._hops.values())

    def recheck_all(self) -> None:
        """The switch may hold other egress routes than recorded."""
        self._affected = bool(self._uplinks)

    def moved(self, neighbours: Iterable[Address]) -> None:
        """These have begun, or ceased, to answer."""
        self._affected |= bool(self._uplinks) and not self.routers().isdisjoint(neighbours)

    def reachable(self) -> Iterator[Prefix]:
        """The reachable prefixes, whether or not their next hops answer."""
        yield from self._next_hops
        yield from (prefix for prefix in self._inherited if prefix not in self._next_hops)

    def reaches(self, prefix: Prefix) -> bool:
        """Is the prefix reachable, whether or not its next hops answer?"""
        return prefix in self._next_hops or prefix in self._inherited

    def by_uplink(self) -> Iterator[tuple[Prefix, str]]:
        """(prefix, uplink's name) of the reachable prefixes with a next hop that answers, also of the fabric's own.

        As they are at the time of the call, however long the iterator is used.
        """
        answering = {router: self._neighbour(router) for router in self.routers()}
        next_hops, inherited = self._next_hops.copy(), self._inherited.copy()
        names = {uplink.port: uplink.name for uplink in self._uplinks}

        def each() -> Iterator[tuple[Prefix, str]]:
            for prefix in {**next_hops, **inherited}:
                hops = next_hops.get(prefix)
                router = inherited[prefix] if hops is None else next(filter(None, map(answering.get, hops)), None)
                if router and router.port in names:
                    yield prefix, names[router.port]

        return each()

    # ---------------------------------------------------------------- what is selected

    def select_all(self, own: PrefixSet, announced: Container[Prefix]) -> None:
        """Select a router for each reachable prefix that is not the fabric's ``own``.

        A prefix that has become the fabric's own keeps its router until this switch switches over, unless the switch
        itself has ``announced`` the prefix.
        """
        known = self._next_hops.keys() | self._inherited.keys()
        for prefix in self.selected.keys() - known:
            self.select(prefix, own, announced)
        for prefix in self.reachable():
            self.select(prefix, own, announced)

    def select(self, prefix: Prefix, own: PrefixSet, announced: Container[Prefix]) -> None:
        """As ``select_all``, for one prefix."""
        router, before = self._answering(prefix), self.selected.get(prefix)
        if own.covers(prefix) and not (before and self._delivers(prefix) and prefix not in announced):
            router = None
        if router == before:
            return
        if router:
            self.selected[prefix] = router
        else:
            del self.selected[prefix]
        self._changed[prefix] = None

    def routed_elsewhere(self, prefix: Prefix) -> None:
        """The switch has another route to this prefix now, or none."""
        self.selected.pop(prefix, None)

    @property
    def is_changed(self) -> bool:
        return bool(self._changed)

    def pop_changed(self, most: int | None) -> dict[Prefix, None]:
        """Up to ``most`` of the prefixes for which another router was selected, each returned once; None: all."""
        count = len(self._changed)
        return dict(self._changed.popitem() for _ in range(count if most is None else min(most, count)))

    def pop_affected(self) -> Iterable[Prefix]:
        """The prefixes for which to select a router anew, since the last call."""
        affected, self._affected = self._affected, False
        return dict.fromkeys((*self.reachable(), *self.selected)) if affected else ()

    def _answering(self, prefix: Prefix) -> Neighbour | None:
        if prefix in self._next_hops:
            return next(filter(None, map(self._neighbour, self._next_hops[prefix])), None)
        return self._inherited.get(prefix)
