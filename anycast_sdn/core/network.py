"""The interconnect network as a graph: costs → which way each switch sends each prefix.

Every switch sends a prefix towards the nearest edge that announces it (M23): least total cost, then the
edge's name, then the neighbour's name, so that equal costs are resolved the same way every time.  Costs
are positive, so each hop is strictly nearer than the one before: hop-by-hop forwarding cannot loop, even
where two switches on the way prefer different edges of equal distance.

``Graph`` knows distances: one tree for each edge that somebody asked about, kept while links change.  A
change of a link drops only the trees whose distances it can change.  ``Routing`` keeps the routes of all
switches and tells, after each change, which of them differ.  Nothing here depends on history: the routes
are always those that a new ``Routing`` would find.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import networkx

from anycast_sdn.core.model import Link, Prefix

Distances = Mapping[str, int]  # switch → total cost to an edge; unreachable ones are absent
Changes = dict[str, dict[Prefix, int | None]]  # switch → prefix → the port that leads there now; None: no way


class _Hop(NamedTuple):
    """The cheapest working link from a switch to a neighbour."""

    cost: int
    port: int


class Graph:
    """Switches and the links that work now.  Of parallel links the cheapest counts."""

    def __init__(self, switches: Iterable[str], links: Iterable[Link] = ()) -> None:
        self._graph = networkx.Graph()
        self._graph.add_nodes_from(switches)
        self._hops: dict[str, dict[str, _Hop]] = {switch: {} for switch in self._graph}
        self._distances: dict[str, Distances] = {}
        self.set_links(links)

    def __iter__(self) -> Iterator[str]:
        return iter(self._hops)

    def distances(self, edge: str) -> Distances:
        """What every switch is away from this edge."""
        found = self._distances.get(edge)
        if found is None:
            found = networkx.single_source_dijkstra_path_length(self._graph, edge, weight="cost")
            self._distances[edge] = found
        return found

    def neighbours(self, switch: str) -> Iterable[str]:
        return self._hops[switch]

    def set_links(self, links: Iterable[Link]) -> tuple[set[str], dict[str, Distances]]:
        """These links work now, and no others.

        → the switches at whose ports something has changed, and the trees that are not valid any more.
        """
        wanted: dict[str, dict[str, _Hop]] = {switch: {} for switch in self._hops}
        for link in sorted(links, key=lambda link: (link.cost, link.a, link.b), reverse=True):
            for here, there in ((link.a, link.b), (link.b, link.a)):
                wanted[here.switch][there.switch] = _Hop(link.cost, here.number)  # the cheapest comes last
        touched: set[str] = set()
        dropped: dict[str, Distances] = {}
        for a, hops in wanted.items():
            if hops == self._hops[a]:
                continue
            touched.add(a)
            for b in sorted(hops.keys() | self._hops[a].keys()):
                old, new = self._hops[a].get(b), hops.get(b)
                if a < b and (old and old.cost) != (new and new.cost):
                    dropped.update(self._trees_changed_by(a, b, old, new))
                    self._set_cost(a, b, new)
        self._hops = wanted
        for edge in dropped:
            del self._distances[edge]
        return touched, dropped

    def _set_cost(self, a: str, b: str, hop: _Hop | None) -> None:
        if hop:
            self._graph.add_edge(a, b, cost=hop.cost)
        else:
            self._graph.remove_edge(a, b)

    def _trees_changed_by(self, a: str, b: str, old: _Hop | None, new: _Hop | None) -> Iterator[tuple[str, Distances]]:
        """The trees in which some distance changes with the link between ``a`` and ``b``.

        With several changes at once each is judged by the trees as they were.  That is enough: links that
        are in no shortest path, and better nothing, change no distance, however many they are; and of
        several that are lost at one switch, each counts as lost for it only when no other is left.
        """
        for edge, distance in self._distances.items():
            near, far = sorted((a, b), key=lambda end: distance.get(end, _UNREACHABLE))
            gap = distance.get(far, _UNREACHABLE) - distance.get(near, _UNREACHABLE)
            better = new is not None and new.cost < gap
            needed = old is not None and old.cost == gap and (new is None or new.cost > gap)
            if better or (needed and not self._other_way(near, far, distance)):
                yield edge, distance

    def _other_way(self, near: str, far: str, distance: Distances) -> bool:
        """Is ``far`` as near as it is also without the link from ``near``?  ``_graph`` has the changes so far."""
        return any(
            distance.get(other, _UNREACHABLE) + link["cost"] == distance[far]
            for other, link in self._graph.adj[far].items()
            if other != near
        )

    def port_towards(self, switch: str, distance: Distances) -> int:
        """The port to the neighbour on a shortest path; ``distance`` is that of every switch to the goal."""
        hops = self._hops[switch]
        _, neighbour = min((hop.cost + distance[there], there) for there, hop in hops.items() if there in distance)
        return hops[neighbour].port

    def parts(self) -> list[list[str]]:
        """The switches that can reach one another, in groups: one, unless the network is split."""
        return sorted(sorted(part) for part in networkx.connected_components(self._graph))

    def nearest(self, switch: str, announcers: Iterable[str]) -> str | None:
        """The edge that this switch's packets go to; None when none can be reached."""
        near = [(self.distances(edge)[switch], edge) for edge in announcers if switch in self.distances(edge)]
        return min(near)[1] if near else None


_UNREACHABLE = 1 << 60  # farther than any sum of costs


class Routing:
    """The routes of all switches while links and announcements change.

    A switch that announces a prefix itself has no route for it, nor has one that can reach none of the
    edges.  Prefixes that the same edges announce share their routes.
    """

    def __init__(self, switches: Iterable[str]) -> None:
        self.graph = Graph(switches)
        self._announced: dict[Prefix, frozenset[str]] = {}
        self._ports: dict[frozenset[str], dict[str, int]] = {}  # announcing edges → switch → port

    def of(self, switch: str) -> dict[Prefix, int]:
        """Prefix → the port that leads there."""
        ports = ((prefix, self._ports[edges].get(switch)) for prefix, edges in self._announced.items())
        return {prefix: port for prefix, port in ports if port is not None}

    def set_links(self, links: Iterable[Link]) -> Changes:
        """These links work now, and no others.  → what is different."""
        touched, before = self.graph.set_links(links)
        suspects = {edge: self._near_changes(edge, old) for edge, old in before.items()}
        prefixes: dict[frozenset[str], list[Prefix]] = {}
        for prefix, edges in self._announced.items():
            prefixes.setdefault(edges, []).append(prefix)
        changes: Changes = {}
        for edges, ports in self._ports.items():
            for switch in touched.union(*(suspects[edge] for edge in edges & suspects.keys())):
                port = self._port(switch, edges)
                if port != ports.get(switch):
                    _put(ports, switch, port)
                    changes.setdefault(switch, {}).update(dict.fromkeys(prefixes[edges], port))
        return changes

    def _near_changes(self, edge: str, before: Distances) -> set[str]:
        """The switches whose way to the edge may be another: their distance or a neighbour's has changed."""
        now = self.graph.distances(edge)
        moved = {switch for switch in self.graph if now.get(switch) != before.get(switch)}
        return moved.union(*map(self.graph.neighbours, moved))

    def announce(self, announced: Mapping[Prefix, Collection[str]]) -> Changes:
        """``announced``: prefix → the edges that announce it now.  → what is different."""
        before, was = self._announced, self._ports
        self._announced = {prefix: frozenset(edges) for prefix, edges in announced.items()}
        self._ports = {edges: was.get(edges) or self._ports_to(edges) for edges in set(self._announced.values())}
        changes: Changes = {}
        for prefix in before.keys() | self._announced.keys():
            old, new = before.get(prefix), self._announced.get(prefix)
            if old == new:
                continue
            old_ports = was[old] if old is not None else {}
            new_ports = self._ports[new] if new is not None else {}
            for switch in old_ports.keys() | new_ports.keys():
                if old_ports.get(switch) != new_ports.get(switch):
                    changes.setdefault(switch, {})[prefix] = new_ports.get(switch)
        return changes

    def _ports_to(self, edges: frozenset[str]) -> dict[str, int]:
        ports: dict[str, int] = {}
        for switch in self.graph:
            _put(ports, switch, self._port(switch, edges))
        return ports

    def _port(self, switch: str, edges: frozenset[str]) -> int | None:
        edge = self.graph.nearest(switch, edges)
        if edge is None or switch in edges:
            return None
        return self.graph.port_towards(switch, self.graph.distances(edge))


def _put(ports: dict[str, int], switch: str, port: int | None) -> None:
    if port is None:
        ports.pop(switch, None)
    else:
        ports[switch] = port
