"""Egress: by which router beyond an uplink a switch reaches what lies outside the fabric.

A prefix is *reachable* when the network file, a router's BGP session, or the switch itself at the controller's start
says that an uplink leads there.  Of its next hops the first that answers ARP or ND is used.  What this selects is in
``selected``; ``pop_changed`` says for which prefixes that has become different.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence

from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.description.model import Uplink
from anycast_sdn.fabric.egress import HopsOnLink, Learned, NextHops, Route, hops_on_link, next_hops_to

INHERITED_S = 15.0  # routers have this long to advertise to a new controller what the old one knew


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
        self._affected = False  # by a router that answers now, or does no more, or by the end of what was inherited
        self.find({prefix for uplink in uplinks for prefix in uplink.routes})

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
        """The next hops of these may be different."""
        found = next_hops_to(prefixes, self._uplinks, self._learned, self._hops)
        for prefix in prefixes:
            if prefix in found:
                self._next_hops[prefix] = found[prefix]
            else:
                self._next_hops.pop(prefix, None)

    def inherit(self, routes: Mapping[Prefix, Neighbour], now: float) -> None:
        """These egress routes were found on the switch at the start: they stay until routers have advertised theirs."""
        ports = {uplink.port for uplink in self._uplinks}
        self._inherited = {prefix: router for prefix, router in routes.items() if router.port in ports}
        self._inherited_until = now + INHERITED_S

    def tick(self, now: float) -> bool:
        """→ Is the time of what was inherited over, just now?"""
        if not self._inherited or now < self._inherited_until:
            return False
        self._inherited.clear()
        self._affected = True
        return True

    def routers(self) -> set[Address]:
        """The next hops on the uplinks: to be found, and watched."""
        return {router for uplink in self._uplinks for router in uplink.routers}.union(*self._hops.values())

    def suspect_all(self) -> None:
        """What the switch holds may be different from what was believed."""
        self._affected = bool(self._uplinks)

    def moved(self, neighbours: Iterable[Address]) -> None:
        """These answer now, or do no more."""
        self._affected |= bool(self._uplinks) and not self.routers().isdisjoint(neighbours)

    def reachable(self) -> Iterator[Prefix]:
        """What the uplinks lead to, if the routers there answer."""
        yield from self._next_hops
        yield from (prefix for prefix in self._inherited if prefix not in self._next_hops)

    def reaches(self, prefix: Prefix) -> bool:
        """Does an uplink lead to it, if the router there answers?"""
        return prefix in self._next_hops or prefix in self._inherited

    def by_uplink(self) -> Iterator[tuple[Prefix, str]]:
        """(prefix, uplink's name) of all that can be reached, also of what the fabric has itself.

        As it is at the time of the call, however long the iterator is used.
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
        """Selects a router for all that can be reached, without what is the fabric's ``own``.

        What has become the fabric's is still sent by the uplink until this switch switches over, unless the switch
        itself has ``announced`` it.
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
        """The switch sends it to another switch now, or nowhere."""
        self.selected.pop(prefix, None)

    @property
    def is_changed(self) -> bool:
        return bool(self._changed)

    def pop_changed(self, most: int | None) -> dict[Prefix, None]:
        """Up to ``most`` of the prefixes for which another router was selected, each returned once; None: all."""
        count = len(self._changed)
        return dict(self._changed.popitem() for _ in range(count if most is None else min(most, count)))

    def pop_affected(self) -> Iterable[Prefix]:
        """The prefixes for which to select anew, since the last call."""
        affected, self._affected = self._affected, False
        return dict.fromkeys((*self.reachable(), *self.selected)) if affected else ()

    def _answering(self, prefix: Prefix) -> Neighbour | None:
        if prefix in self._next_hops:
            return next(filter(None, map(self._neighbour, self._next_hops[prefix])), None)
        return self._inherited.get(prefix)
