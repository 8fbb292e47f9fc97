"""The interconnect network as a graph: which switches are linked, at what cost, and the distances between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import networkx

from anycast_sdn.description.model import Link

Distances = Mapping[str, int]  # switch → total cost to an edge; switches that cannot reach it are absent
LOCAL = 0  # no port: the switch announces the prefix itself


class _Hop(NamedTuple):
    """The cheapest working link from a switch to a neighbour."""

    cost: int
    port: int


class Graph:
    """Switches and the links that work now.  Of parallel links the cheapest is used."""

    def __init__(self, switches: Iterable[str], links: Iterable[Link] = ()) -> None:
        self._graph = networkx.Graph()
        self._graph.add_nodes_from(switches)
        self._hops: dict[str, dict[str, _Hop]] = {switch: {} for switch in self._graph}
        self._neighbour: dict[tuple[str, int], str] = {}  # a working link's end → the switch at its other end
        self._distances: dict[str, Distances] = {}
        self._towards: dict[str, dict[str, int]] = {}  # edge → switch → its port towards it; computed on demand
        self.set_links(links)

    def __iter__(self) -> Iterator[str]:
        return iter(self._hops)

    def distances(self, edge: str) -> Distances:
        """The total cost from each switch to this edge; computed once."""
        found = self._distances.get(edge)
        if found is None:
            found = networkx.single_source_dijkstra_path_length(self._graph, edge, weight="cost")
            self._distances[edge] = found
        return found

    def neighbours(self, switch: str) -> Iterable[str]:
        return self._hops[switch]

    def set_links(self, links: Iterable[Link]) -> tuple[set[str], dict[str, Distances]]:
        """These links work now, and no others.

        → the switches that have other links now; and edge → the former distances to it, where these may have changed.
        """
        wanted: dict[str, dict[str, _Hop]] = {switch: {} for switch in self._hops}
        self._neighbour.clear()
        for link in sorted(links, key=lambda link: (link.cost, link.a, link.b), reverse=True):
            for here, there in ((link.a, link.b), (link.b, link.a)):
                wanted[here.switch][there.switch] = _Hop(link.cost, here.number)  # the cheapest comes last, and stays
                self._neighbour[here] = there.switch
        touched: set[str] = set()
        lost: dict[str, list[str]] = {}  # tree → the switches that may have lost their paths; none: compute it anew
        for a, hops in wanted.items():
            if hops == self._hops[a]:
                continue
            touched.add(a)
            for b in sorted(hops.keys() | self._hops[a].keys()):
                old, new = self._hops[a].get(b), hops.get(b)
                if a < b and (old and old.cost) != (new and new.cost):
                    self._set_cost(a, b, old, new, lost)
        self._hops = wanted
        before = {edge: self._distances.pop(edge) for edge in lost}
        self._distances |= {edge: self._repaired(before[edge], starts) for edge, starts in lost.items() if starts}
        for edge, towards in list(self._towards.items()):
            if edge in before:
                del self._towards[edge]
                continue
            for switch in touched:
                towards.pop(switch, None)
        return touched, before

    def _set_cost(self, a: str, b: str, old: _Hop | None, new: _Hop | None, lost: dict[str, list[str]]) -> None:
        """A link comes, goes or changes its cost; adds to ``lost`` the trees whose distances change with it.

        Of several changes at once, each is judged by the trees as they were before.  That is enough: as long as a
        change alters no distance, the tree is valid for the next; once one does, the tree is in ``lost``.
        """
        if new:
            self._graph.add_edge(a, b, cost=new.cost)
        else:
            self._graph.remove_edge(a, b)
        for edge, distance in self._distances.items():
            near, far = sorted((a, b), key=lambda end: distance.get(end, _UNREACHABLE))
            gap = distance.get(far, _UNREACHABLE) - distance.get(near, _UNREACHABLE)
            starts = lost.get(edge)
            if new and new.cost < gap:
                lost[edge] = []
                continue
            worse = old is not None and old.cost == gap and (new is None or new.cost > gap)
            if worse and starts != [] and (starts or not self._other_path(near, far, distance)):
                lost[edge] = [*(starts or ()), far]

    def _other_path(self, near: str, far: str, distance: Distances) -> bool:
        """Has ``far`` another shortest path, without the link from ``near``?"""
        return any(
            distance.get(other, _UNREACHABLE) + link["cost"] == distance[far]
            for other, link in self._graph.adj[far].items()
            if other != near
        )

    def _repaired(self, before: Distances, starts: Iterable[str]) -> Distances:
        """A tree after links have become worse: only switches all whose shortest paths are lost are computed anew.

        ``starts``: the switches to which such a link led.  Switches nearer to the edge are decided first.
        """
        adjacent = self._graph.adj
        lost: set[str] = set()
        queue = [(before[switch], switch) for switch in starts]
        heapify(queue)
        while queue:
            far, switch = heappop(queue)
            costs = {other: link["cost"] for other, link in adjacent[switch].items() if other in before}
            if switch in lost or any(before[o] + cost == far and o not in lost for o, cost in costs.items()):
                continue
            lost.add(switch)
            for other, cost in costs.items():
                if before[other] == far + cost:
                    heappush(queue, (before[other], other))
        distance = {switch: cost for switch, cost in before.items() if switch not in lost}
        queue = [
            (distance[other] + link["cost"], switch)
            for switch in lost
            for other, link in adjacent[switch].items()
            if other in distance
        ]
        heapify(queue)
        while queue:
            far, switch = heappop(queue)
            if switch in distance:
                continue
            distance[switch] = far
            for other, link in adjacent[switch].items():
                if other not in distance:
                    heappush(queue, (far + link["cost"], other))
        return distance

    def port_towards(self, switch: str, edge: str) -> int:
        """The port to the neighbour on a shortest path to an edge, which must be reachable; computed once."""
        towards = self._towards.setdefault(edge, {})
        port = towards.get(switch)
        if port is None:
            distance, hops = self.distances(edge), self._hops[switch]
            _, neighbour = min((hop.cost + distance[there], there) for there, hop in hops.items() if there in distance)
            port = towards[switch] = hops[neighbour].port
        return port

    def neighbour(self, switch: str, port: int) -> str | None:
        """The switch at the other end of the working link at this port, if any."""
        return self._neighbour.get((switch, port))

    def hang_on_one_link(self, one: str, other: str) -> bool:
        """Would the loss of one more link separate these two switches, which reach each other now?"""
        path = networkx.shortest_path(self._graph, one, other)
        parallel = Counter(frozenset((here, there)) for (here, _), there in self._neighbour.items())
        single = {frozenset(ends) for ends in networkx.bridges(self._graph)}
        return any(frozenset(ends) in single and parallel[frozenset(ends)] <= 2 for ends in pairwise(path))

    def nearest_with(self, switch: str, announcers: Iterable[str], ends: tuple[str, str], cost: int) -> str | None:
        """As ``nearest``, if these two switches were linked, too, at this cost."""
        one, other = (self.distances(end) for end in ends)
        near = []
        for edge in announcers:
            distance = self.distances(edge)
            ways = [distance.get(switch, _UNREACHABLE)]
            for first, second in ((one, ends[1]), (other, ends[0])):
                ways.append(first.get(switch, _UNREACHABLE) + cost + distance.get(second, _UNREACHABLE))
            if min(ways) < _UNREACHABLE:
                near.append((min(ways), edge))
        return min(near)[1] if near else None

    def parts(self) -> list[list[str]]:
        """The connected components: one, unless the network is split."""
        return sorted(sorted(part) for part in networkx.connected_components(self._graph))

    def nearest(self, switch: str, announcers: Iterable[str]) -> str | None:
        """The nearest of these edges; None when the switch can reach none of them."""
        near = [(away, edge) for edge in announcers if (away := self.distances(edge).get(switch)) is not None]
        return min(near)[1] if near else None


_UNREACHABLE = 1 << 60  # farther than any sum of costs
