"""Uplinks: what lies beyond them, which edges lead there, and what is advertised to the routers there.

Rules that it keeps:
- A prefix beyond an uplink is routed to the edges that have selected a router for it, unless the edge's part of the
  fabric holds it: no router can draw away traffic for what is our own.
- To an ANY/n that is retiring (see ``announcements``) packets from beyond are still routed to the edge that withdrew
  it, as long as that delivers and no other edge of its part announces the ANY/n.
- An edge advertises to its routers what the part of the fabric that it can reach announces (M8).
- All of that is kept for each prefix by itself.  It is computed anew as a whole only when links have changed which
  switches can reach one another.

``reconsider``, ``learn`` and ``suspect`` only take notes; ``work`` follows them.
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


class _Side(NamedTuple):
    """The two sides of an edge's uplinks."""

    part: Mapping[str, int]  # the switches that the edge can reach
    own: set[Prefix]  # what these announce: it is advertised to the routers
    ours: PrefixSet  # the same, with what is retiring there
    reachable: NestedPrefixes  # what the uplinks lead to


class Uplinks:
    """``switches``: all, by name; ``delivers``: could this edge still deliver to a prefix that it does not announce?"""

    def __init__(
        self,
        switches: Mapping[str, ManagedSwitch],
        graph: Graph,
        announcements: Announcements,
        delivers: Callable[[str, Prefix], bool],
    ) -> None:
        self._switches = switches
        self._edges = {name: switch for name, switch in switches.items() if switch.uplinks}
        self._uplinks = {uplink.name: (edge, uplink) for edge in self._edges.values() for uplink in edge.uplinks}
        self._graph = graph
        self._announcements = announcements
        self._delivers = delivers
        self._sides: dict[str, _Side] = {}  # of each edge
        self._is_outdated = True  # all of it may be different
        self._beyond: dict[Prefix, frozenset[str]] = {}  # see ``destinations``; where it says more than announcements
        self._to_select: OrderedDict[tuple[str, Prefix], None] = OrderedDict()  # (edge, prefix): by another router?
        self._to_reconsider: dict[Prefix, None] = {}
        self._changed: dict[Prefix, None] = {}
        self._last_seen: dict[str, float] = {}  # edge → when its switch was last connected

    # ---------------------------------------------------------------- what may be asked

    def destinations(self, prefix: Prefix) -> frozenset[str]:
        """The edges of which packets to this prefix are routed to the nearest.

        The same prefix may be held by another part of the fabric, which links do not reach: its edges are among them.
        """
        return self._beyond.get(prefix) or self._announcements.edges_of(prefix)

    def advertised(self, uplink: Uplink, starting: bool, now: float) -> frozenset[Prefix] | None:
        """What to advertise to an uplink's routers: what its part of the fabric holds and is able to serve now (M8).

        None until all of that part has connected and the routers answer, or the start is over: before that nobody
        knows, and routers keep what an earlier controller advertised.  An edge whose switch has been away for
        ``ABSENT_S`` advertises nothing, and no edge advertises a family whose router does not answer.
        """
        edge = self._edges[uplink.edge]
        dead = {router for router in uplink.routers if not edge.neighbours.get(router)}
        part = self._graph.distances(uplink.edge)
        complete = not dead and all(self._switches[name].ever_synchronised for name in part)
        seen = self._last_seen.get(uplink.edge)
        if seen is None or not (complete or not starting):
            return None
        if now - seen > ABSENT_S:
            return frozenset()
        own = self._sides[uplink.edge].own
        return frozenset(prefix for prefix in own if uplink.router(prefix.is_v6) not in dead)

    def waiting(self) -> int:
        """For how many prefixes ``work`` has to select a router anew."""
        return len(self._to_select)

    def pop_changed(self) -> Iterable[Prefix]:
        """The prefixes whose destinations may have changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    # ---------------------------------------------------------------- what may change it

    def tick(self, now: float) -> None:
        self._last_seen |= {name: now for name, edge in self._edges.items() if edge.synchronised}

    def connected(self, edge: ManagedSwitch) -> None:
        """What it holds is known."""
        if edge.uplinks:
            self.suspect(edge, edge.egress.pop_affected())
            self.reconsider(self._announcements.retiring)

    def links_changed(self) -> None:
        """Only who can reach whom matters here, and that most often stays."""
        self._is_outdated |= any(
            side.part.keys() != self._graph.distances(name).keys() for name, side in self._sides.items()
        )

    def learn(self, uplink: str, routes: Mapping[Prefix, Route]) -> None:
        """All routes that the router at this uplink advertises now."""
        edge, facts = self._uplinks[uplink]
        self.suspect(edge, edge.egress.set_learned(facts, routes))
        edge.want_neighbours()

    def suspect(self, edge: ManagedSwitch, prefixes: Iterable[Prefix]) -> None:
        """The edge may lead to these by other routers, or by none."""
        self._to_select |= {(edge.name, prefix): None for prefix in prefixes}

    def reconsider(self, prefixes: Iterable[Prefix]) -> None:
        """Others announce these, or they are retiring elsewhere."""
        self._to_reconsider |= dict.fromkeys(prefixes)

    # ---------------------------------------------------------------- what follows

    def work(self, most: int) -> None:
        """Selects routers for ``most`` of the prefixes that wait for that, and follows all that has been announced."""
        self._select_some(most)
        if self._is_outdated:
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
            edge = self._edges[name]
            edge.egress.find(prefixes)
            if self._is_outdated:  # then routers are selected for all
                continue
            side = self._sides[name]
            for prefix in prefixes:
                (side.reachable.add if edge.egress.reaches(prefix) else side.reachable.discard)(prefix)
                if prefix in self._announcements.retiring:  # whether the edge delivers to it may hang on this router
                    self._to_reconsider[prefix] = None
                else:
                    self._select(edge, prefix, side)
            self._update(prefixes)

    def _follow_announcements(self) -> None:
        """That concerns the routers for what is within these prefixes, too."""
        concerned = dict.fromkeys(self._to_reconsider)
        delivering = {prefix: self._delivering(prefix) for prefix in concerned}
        for name, side in self._sides.items():
            edge = self._edges[name]
            affected: dict[Prefix, None] = {}
            for prefix, leaving in delivering.items():
                is_own = not side.part.keys().isdisjoint(self._announcements.edges_of(prefix))
                is_ours = is_own or not side.part.keys().isdisjoint(leaving)
                (side.own.add if is_own else side.own.discard)(prefix)
                (side.ours.add if is_ours else side.ours.discard)(prefix)
                affected |= dict.fromkeys(side.reachable.within(prefix))
                if prefix in edge.egress.selected:
                    affected[prefix] = None
            for prefix in affected:
                self._select(edge, prefix, side)
            concerned |= affected
        self._update(concerned)

    def _select(self, edge: ManagedSwitch, prefix: Prefix, side: _Side) -> None:
        announced = (prefix,) if edge.name in self._announcements.edges_of(prefix) else ()
        edge.egress.select(prefix, side.ours, announced)

    def _compute(self) -> None:
        """All of it; first what each edge has on either side, then by which routers it leads to what is beyond."""
        delivering = {prefix: self._delivering(prefix) for prefix in self._announcements.retiring}
        self._sides = {name: self._look_around(edge, delivering) for name, edge in self._edges.items()}
        for name, edge in self._edges.items():
            announced = {prefix for prefix in self._sides[name].own if name in self._announcements.edges_of(prefix)}
            edge.egress.select_all(self._sides[name].ours, announced)
        selected = (prefix for edge in self._edges.values() for prefix in edge.egress.selected)
        self._update(dict.fromkeys((*self._beyond, *delivering, *selected)))
        self._is_outdated = False

    def _look_around(self, edge: ManagedSwitch, delivering: Mapping[Prefix, Collection[str]]) -> _Side:
        part = self._graph.distances(edge.name)
        own = own_prefixes(self._announcements.edges, part)
        leaving = (prefix for prefix, edges in delivering.items() if not part.keys().isdisjoint(edges))
        return _Side(part, own, PrefixSet(own.union(leaving)), NestedPrefixes(edge.egress.reachable()))

    def _delivering(self, prefix: Prefix) -> list[str]:
        """The edges where it is retiring, and that still deliver to it."""
        return [name for name in self._announcements.retiring.get(prefix, ()) if self._delivers(name, prefix)]

    def _update(self, prefixes: Iterable[Prefix]) -> None:
        """The routers for these are selected: packets to them may have other destinations."""
        for prefix in prefixes:
            before = self._beyond.pop(prefix, None)
            if names := self._leading_to(prefix):
                self._beyond[prefix] = self._announcements.edges_of(prefix) | names
            if self._beyond.get(prefix) != before:
                self._changed[prefix] = None

    def _leading_to(self, prefix: Prefix) -> set[str]:
        """The edges that deliver to it without announcing it: by a router, or because it is retiring there."""
        by_router = {
            name for name, side in self._sides.items()
            if prefix in self._edges[name].egress.selected and not side.ours.covers(prefix)
        }  # fmt: skip
        if prefix not in self._announcements.retiring:
            return by_router
        return by_router | {
            name for name in self._delivering(prefix)
            if any(name in side.part and prefix not in side.own for side in self._sides.values())
        }  # fmt: skip
