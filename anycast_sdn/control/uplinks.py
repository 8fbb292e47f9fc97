"""Uplinks: which switches send to which prefixes outside the fabric, and what they advertise to the routers there.

A *part* of the fabric is a set of switches that can reach one another over links that work.

Rules that it keeps:
- A prefix that is reachable by an uplink is routed to the switches that have selected a router for it, unless the part
  of the fabric at that uplink announces the prefix: no router can attract traffic for the fabric's own prefixes.
- Packets from routers to an ANY/n that is retiring (see ``announcements``) are still routed to the switch that withdrew
  it, as long as that switch can deliver and no other switch of its part announces the ANY/n.
- A switch advertises to its routers what its part of the fabric announces (M8).
- Each prefix is followed by itself.  Everything is recomputed only when a change of links has changed which switches
  can reach one another.

``reconsider``, ``learn`` and ``recheck`` only queue; ``work`` does what is queued.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.control.announcements import Announcements
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import NestedPrefixes, PrefixSet
from anycast_sdn.description.model import Uplink
from anycast_sdn.fabric.egress import Route, own_prefixes
from anycast_sdn.fabric.graph import Graph

ABSENT_S = 10.0  # a switch that only reconnects is back within 2 s


class _Reach(NamedTuple):
    """What a switch with uplinks reaches by the fabric, and by its uplinks."""

    part: Mapping[str, int]  # the switches that it can reach → distance
    announced: set[Prefix]  # what these announce: it is advertised to the routers
    delivered: PrefixSet  # the same, and what is retiring there
    reachable: NestedPrefixes  # what is reachable by the uplinks


class Uplinks:
    """``switches``: all, by name; ``delivers``: could this switch still deliver to a prefix that it does not announce?

    Below, *switch* is one with uplinks.
    """

    def __init__(
        self,
        switches: Mapping[str, ManagedSwitch],
        graph: Graph,
        announcements: Announcements,
        delivers: Callable[[str, Prefix], bool],
    ) -> None:
        self._switches = switches
        self._with_uplinks = {name: switch for name, switch in switches.items() if switch.uplinks}
        self._uplinks = {
            uplink.name: (switch, uplink) for switch in self._with_uplinks.values() for uplink in switch.uplinks
        }
        self._graph = graph
        self._announcements = announcements
        self._delivers = delivers
        self._reach: dict[str, _Reach] = {}
        self._needs_recompute = True  # of everything
        # The ``destinations`` of prefixes that have others than the switches that announce them.
        self._more_destinations: dict[Prefix, frozenset[str]] = {}
        self._to_select: OrderedDict[tuple[str, Prefix], None] = OrderedDict()  # (switch, prefix): select a router anew
        self._to_reconsider: dict[Prefix, None] = {}
        self._changed: dict[Prefix, None] = {}
        self._last_seen: dict[str, float] = {}  # switch → when it was last connected

    # ---------------------------------------------------------------- what may be asked

    def destinations(self, prefix: Prefix) -> frozenset[str]:
        """The switches to the nearest of which packets to this prefix are routed.

        They include those in other parts of the fabric, which announce the same prefix but cannot be reached.
        """
        return self._more_destinations.get(prefix) or self._announcements.announcers_of(prefix)

    def advertised(self, uplink: Uplink, starting: bool, now: float) -> frozenset[Prefix] | None:
        """What to advertise to an uplink's routers: what its part of the fabric announces now (M8).

        None until all of that part has connected and the routers answer, or the start is over: before that it is not
        known, and routers keep what an earlier controller advertised.  For a switch that has been away for
        ``ABSENT_S`` nothing is advertised, and nothing of an address family whose router does not answer.
        """
        switch = self._with_uplinks[uplink.edge]
        dead = {router for router in uplink.routers if not switch.neighbours.get(router)}
        part = self._graph.distances(uplink.edge)
        complete = not dead and all(self._switches[name].ever_synchronised for name in part)
        seen = self._last_seen.get(uplink.edge)
        if seen is None or not (complete or not starting):
            return None
        if now - seen > ABSENT_S:
            return frozenset()
        announced = self._reach[uplink.edge].announced
        return frozenset(prefix for prefix in announced if uplink.router(prefix.is_v6) not in dead)

    def waiting(self) -> int:
        """For how many pairs of switch and prefix ``work`` has to select a router anew."""
        return len(self._to_select)

    def pop_changed(self) -> Iterable[Prefix]:
        """The prefixes whose destinations may have changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    # ---------------------------------------------------------------- what may change it

    def tick(self, now: float) -> None:
        self._last_seen |= {name: now for name, switch in self._with_uplinks.items() if switch.synchronised}

    def take_over(self) -> None:
        """This controller leads from now on: what it has seen when it led before counts no more."""
        self._last_seen.clear()

    def connected(self, switch: ManagedSwitch) -> None:
        """What the switch holds has been read."""
        if switch.uplinks:
            self.recheck(switch, switch.egress.pop_affected())
            self.reconsider(self._announcements.retiring)

    def links_changed(self) -> None:
        """Only a change of which switches can reach one another matters here; most changes of links are none."""
        self._needs_recompute |= any(
            reach.part.keys() != self._graph.distances(name).keys() for name, reach in self._reach.items()
        )

    def learn(self, uplink: str, routes: Mapping[Prefix, Route]) -> None:
        """All routes that the router at this uplink advertises now."""
        switch, facts = self._uplinks[uplink]
        self.recheck(switch, switch.egress.set_learned(facts, routes))
        switch.watch_servers_and_routers()

    def recheck(self, switch: ManagedSwitch, prefixes: Iterable[Prefix]) -> None:
        """The switch may have to send to these prefixes by other routers, or may have none for them."""
        self._to_select |= {(switch.name, prefix): None for prefix in prefixes}

    def reconsider(self, prefixes: Iterable[Prefix]) -> None:
        """These prefixes are announced by other switches than before, or are retiring at others."""
        self._to_reconsider |= dict.fromkeys(prefixes)

    # ---------------------------------------------------------------- what follows

    def work(self, most: int) -> None:
        """Select routers for ``most`` of the queued prefixes, and follow all changes of announcements."""
        self._select_some(most)
        if self._needs_recompute:
            self._compute()
        elif self._to_reconsider:
            self._follow_announcements()
        self._changed |= self._to_reconsider
        self._to_reconsider = {}

    def _select_some(self, most: int) -> None:
        some: dict[str, dict[Prefix, None]] = {}
        for _ in range(min(most, len(self._to_select))):
            (name, prefix), _ = self._to_select.popitem(last=False)
            some.setdefault(name, {})[prefix] = None
        for name, prefixes in some.items():
            switch = self._with_uplinks[name]
            switch.egress.find(prefixes)
            if self._needs_recompute:  # ``_compute`` selects routers for all prefixes
                continue
            reach = self._reach[name]
            for prefix in prefixes:
                (reach.reachable.add if switch.egress.reaches(prefix) else reach.reachable.discard)(prefix)
                if prefix in self._announcements.retiring:  # whether the switch can deliver may depend on this router
                    self._to_reconsider[prefix] = None
                else:
                    self._select(switch, prefix, reach)
            self._update(prefixes)

    def _follow_announcements(self) -> None:
        """Changed announcements also concern the routers for prefixes within the announced ones."""
        concerned = dict.fromkeys(self._to_reconsider)
        delivering = {prefix: self._delivering(prefix) for prefix in concerned}
        for name, reach in self._reach.items():
            switch = self._with_uplinks[name]
            affected: dict[Prefix, None] = {}
            for prefix, names in delivering.items():
                is_announced = not reach.part.keys().isdisjoint(self._announcements.announcers_of(prefix))
                is_delivered = is_announced or not reach.part.keys().isdisjoint(names)
                (reach.announced.add if is_announced else reach.announced.discard)(prefix)
                (reach.delivered.add if is_delivered else reach.delivered.discard)(prefix)
                affected |= dict.fromkeys(reach.reachable.within(prefix))
                if prefix in switch.egress.selected:
                    affected[prefix] = None
            for prefix in affected:
                self._select(switch, prefix, reach)
            concerned |= affected
        self._update(concerned)

    def _select(self, switch: ManagedSwitch, prefix: Prefix, reach: _Reach) -> None:
        announced = (prefix,) if switch.name in self._announcements.announcers_of(prefix) else ()
        switch.egress.select(prefix, reach.delivered, announced)

    def _compute(self) -> None:
        """Recompute everything: what each switch reaches, then which routers it selects."""
        delivering = {prefix: self._delivering(prefix) for prefix in self._announcements.retiring}
        self._reach = {name: self._reach_of(switch, delivering) for name, switch in self._with_uplinks.items()}
        for name, switch in self._with_uplinks.items():
            reach = self._reach[name]
            announced = {prefix for prefix in reach.announced if name in self._announcements.announcers_of(prefix)}
            switch.egress.select_all(reach.delivered, announced)
        selected = (prefix for switch in self._with_uplinks.values() for prefix in switch.egress.selected)
        self._update(dict.fromkeys((*self._more_destinations, *delivering, *selected)))
        self._needs_recompute = False

    def _reach_of(self, switch: ManagedSwitch, delivering: Mapping[Prefix, Collection[str]]) -> _Reach:
        part = self._graph.distances(switch.name)
        announced = own_prefixes(self._announcements.announcers, part)
        retiring = (prefix for prefix, names in delivering.items() if not part.keys().isdisjoint(names))
        return _Reach(part, announced, PrefixSet(announced.union(retiring)), NestedPrefixes(switch.egress.reachable()))

    def _delivering(self, prefix: Prefix) -> list[str]:
        """The switches where the prefix is retiring, and that can still deliver to it."""
        return [name for name in self._announcements.retiring.get(prefix, ()) if self._delivers(name, prefix)]

    def _update(self, prefixes: Iterable[Prefix]) -> None:
        """The routers for these prefixes are selected: update their destinations."""
        for prefix in prefixes:
            before = self._more_destinations.pop(prefix, None)
            if names := self._delivering_unannounced(prefix):
                self._more_destinations[prefix] = self._announcements.announcers_of(prefix) | names
            if self._more_destinations.get(prefix) != before:
                self._changed[prefix] = None

    def _delivering_unannounced(self, prefix: Prefix) -> set[str]:
        """The switches that deliver to the prefix and do not announce it: by a router, or while it retires there."""
        by_router = {
            name for name, reach in self._reach.items()
            if prefix in self._with_uplinks[name].egress.selected and not reach.delivered.covers(prefix)
        }  # fmt: skip
        if prefix not in self._announcements.retiring:
            return by_router
        return by_router | {
            name for name in self._delivering(prefix)
            if any(name in reach.part and prefix not in reach.announced for reach in self._reach.values())
        }  # fmt: skip
