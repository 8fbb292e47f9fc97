"""Routing: from links, their costs and announcements to the next hop of each switch to each prefix.

Every switch forwards to the nearest edge that announces the prefix (M23): least total cost, then the edge's name, then
the neighbour's name, so that equal costs are resolved the same way every time.  Costs are positive, so each hop is
strictly nearer than the one before: hop-by-hop forwarding cannot loop, even where two switches on a path prefer
different edges of equal distance.

``Graph`` has the distances: one tree for each edge to which they are needed, kept while links change.  A change of
links recomputes only trees in which distances change, and when links have become worse, only the switches whose paths
were lost.  ``Routing`` keeps the routes of all switches and returns, after each change, those that differ.  No result
depends on history: the routes are always those that a new ``Routing`` would find.

A link may carry the routes to all prefixes.  So the routes that follow from a change of links can be computed in
portions: the routes of all switches to one prefix change together; those to the other prefixes stay as they were.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.description.model import Link
from anycast_sdn.fabric.graph import _UNREACHABLE, LOCAL, Distances, Graph

Changes = dict[str, dict[Prefix, int | None]]  # switch → prefix → the next hop's port now, or LOCAL; None: no route


_NO_EDGES: frozenset[str] = frozenset()
_NO_PORTS: Mapping[str, int] = {}
_Ports = Mapping[str, int]  # switch → the port of its next hop to a prefix, or LOCAL; never changed, but replaced
_Difference = list[tuple[str, int | None]]  # (switch, its port now)


class Routing:
    """The routes of all switches while links and announcements change.

    A switch's route is a port, or LOCAL where it announces the prefix itself; it has none when it can reach none
    of the edges that announce the prefix.  Prefixes that the same edges announce share their routes.
    """

    def __init__(self, switches: Iterable[str]) -> None:
        self.graph = Graph(switches)
        self._links: tuple[Link, ...] = ()
        self._announced: dict[Prefix, frozenset[str]] = {}
        self._announced_by: dict[frozenset[str], dict[Prefix, None]] = {}
        self._ports: dict[frozenset[str], _Ports] = {}  # announcing edges → the next hops to the nearest of them
        self._next_hops: dict[Prefix, _Ports] = {}  # to its edges; in ``_outdated``: as they were before
        self.prefixes = PrefixSet()  # all that are announced
        # Changes of links, as far as routes have not followed yet:
        self._trees: dict[str, Distances] = {}  # edge → its tree as it was at the last comparison
        self._touched: set[str] = set()  # switches that have other links now, and
        self._near: dict[str, set[str]] = {}  # edge → the switches that may have another next hop to it
        self._suspects: OrderedDict[frozenset[str], None] = OrderedDict()  # edges to which next hops may be different
        # Edges to which next hops were computed while links changed, by trees that may have been replaced since: a
        # comparison of trees does not show whether they still hold.
        self._found_between: set[frozenset[str]] = set()
        self._outdated: OrderedDict[Prefix, None] = OrderedDict()  # prefixes whose ``_next_hops`` have to follow
        self._compared: tuple[_Ports, _Ports, _Difference] = ({}, {}, [])  # the last comparison; many prefixes share it

    def of(self, switch: str) -> dict[Prefix, int]:
        """Prefix → the port of this switch's next hop, or LOCAL."""
        ports = ((prefix, ports.get(switch)) for prefix, ports in self._next_hops.items())
        return {prefix: port for prefix, port in ports if port is not None}

    def announced(self) -> Collection[Prefix]:
        """All announced prefixes, in the order of their first announcement."""
        return self._announced.keys()

    def announcers_of(self, prefix: Prefix) -> frozenset[str]:
        return self._announced.get(prefix, _NO_EDGES)

    def next_hops(self, prefix: Prefix) -> Mapping[str, int]:
        """Switch → the port of its next hop to this prefix, or LOCAL."""
        return self._next_hops.get(prefix, _NO_PORTS)

    def set_links(self, links: Iterable[Link]) -> Changes:
        """These links work now, and no others → the routes that differ."""
        self.begin_links(links)
        return self.follow_links(None)

    def begin_links(self, links: Iterable[Link]) -> None:
        """As ``set_links``, in portions: this changes the graph, and ``follow_links`` then changes the routes."""
        links = tuple(links)
        if links == self._links:
            return
        self._links = links
        touched, before = self.graph.set_links(links)
        self._touched |= touched
        self._trees = {**before, **self._trees}
        self._suspects |= dict.fromkeys(self._ports)

    def is_following(self) -> bool:
        """Has ``follow_links`` something left to do?"""
        return bool(self._trees or self._suspects or self._outdated)

    def follow_links(self, most: int | None) -> Changes:
        """Change routes because of links, with the work of about ``most`` routes (None: all) → those that differ."""
        changes: Changes = {}
        work = 0
        while self.is_following() and (most is None or work < most):
            if self._outdated:
                prefix, _ = self._outdated.popitem(last=False)
                work += 1 + self._follow(prefix, changes)
            elif self._trees:
                edge, before = self._trees.popitem()
                self._near.setdefault(edge, set()).update(self._near_changes(edge, before))
                work += len(before)
            else:
                edges, _ = self._suspects.popitem(last=False)
                work += 1 + self._recompute(edges)
        if not self.is_following():
            self._touched.clear()
            self._near.clear()
            self._found_between.clear()
        return changes

    def _recompute(self, edges: frozenset[str]) -> int:
        """Recompute the next hops to these edges → how many switches were examined."""
        ports = self._ports.get(edges)
        if ports is None:  # no prefix is announced by exactly these any more
            return 0
        if edges in self._found_between:
            self._found_between.discard(edges)
            suspects = set(self.graph)
        else:
            suspects = self._touched.union(*(self._near[edge] for edge in edges & self._near.keys()))
        now = self._ports_to(edges, suspects)
        others = {switch: now.get(switch) for switch in suspects if now.get(switch) != ports.get(switch)}
        if others:
            kept = {switch: port for switch, port in ports.items() if switch not in others}
            self._ports[edges] = kept | {switch: port for switch, port in others.items() if port is not None}
            self._outdated |= dict.fromkeys(self._announced_by[edges])
        return len(suspects)

    def _follow(self, prefix: Prefix, changes: Changes) -> int:
        """Set the next hops to this prefix to those to its edges; add those that differ to ``changes`` → how many."""
        before, edges = self._next_hops.get(prefix, _NO_PORTS), self._announced.get(prefix)
        if edges is None:
            self._next_hops.pop(prefix, None)
            now = _NO_PORTS
        else:
            now = self._next_hops[prefix] = self._ports[edges]
        difference = self._difference(before, now)
        for switch, port in difference:
            changes.setdefault(switch, {})[prefix] = port
        return len(difference)

    def _difference(self, before: _Ports, now: _Ports) -> _Difference:
        if before is now:
            return []
        if not (before is self._compared[0] and now is self._compared[1]):
            both = sorted(before.keys() | now.keys())
            difference = [(switch, now.get(switch)) for switch in both if before.get(switch) != now.get(switch)]
            self._compared = before, now, difference
        return self._compared[2]

    def _near_changes(self, edge: str, before: Distances) -> set[str]:
        """The switches whose next hop to the edge may differ: their distance or a neighbour's has changed."""
        now = self.graph.distances(edge)
        moved = {switch for switch in self.graph if now.get(switch) != before.get(switch)}
        return moved.union(*map(self.graph.neighbours, moved))

    def announce(self, announced: Mapping[Prefix, Collection[str]]) -> Changes:
        """``announced``: prefix → the edges that announce it now, and no others → the routes that differ."""
        gone: dict[Prefix, Collection[str]] = {prefix: () for prefix in self._announced if prefix not in announced}
        return self.announce_some({**gone, **announced})

    def announce_some(self, announced: Mapping[Prefix, Collection[str]]) -> Changes:
        """As ``announce``, for these prefixes only; one without edges is withdrawn → the routes that differ."""
        changes: Changes = {}
        for prefix, edges in announced.items():
            old, new = self._announced.get(prefix, _NO_EDGES), frozenset(edges)
            if old == new:
                continue
            if new and new not in self._ports:
                self._ports[new] = self._ports_to(new, self.graph)
                if self.is_following():  # links may change again before the present trees are compared
                    self._found_between.add(new)
            self._enter(prefix, old, new)
            self._follow(prefix, changes)
        return changes

    def _enter(self, prefix: Prefix, old: frozenset[str], new: frozenset[str]) -> None:
        """Record that ``new`` are the edges that announce this prefix, and no longer ``old``."""
        if old:
            del self._announced_by[old][prefix]
            if not self._announced_by[old]:
                del self._announced_by[old], self._ports[old]
        if new:
            self._announced_by.setdefault(new, {})[prefix] = None
            self._announced[prefix] = new
            self.prefixes.add(prefix)
        else:
            del self._announced[prefix]
            self.prefixes.discard(prefix)

    def _ports_to(self, edges: frozenset[str], switches: Iterable[str]) -> dict[str, int]:
        """The next hops of these switches to the nearest of these edges; see ``Graph.nearest``."""
        trees = [(self.graph.distances(edge), edge) for edge in sorted(edges)]
        ports: dict[str, int] = {}
        for switch in switches:
            least, nearest = _UNREACHABLE, ""
            for tree, edge in trees:
                away = tree.get(switch, _UNREACHABLE)
                if away < least:
                    least, nearest = away, edge
            if nearest:
                ports[switch] = LOCAL if switch in edges else self.graph.port_towards(switch, nearest)
        return ports
