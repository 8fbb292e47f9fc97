"""The interconnect network as a graph: costs → which way each switch sends each prefix.

``routes`` is a pure function.  Every switch sends a prefix towards the nearest edge that announces
it (M23): least total cost, then the edge's name, then the neighbour's name, so that equal costs are
resolved the same way every time.  Costs are positive, so each hop is strictly nearer than the one
before: hop-by-hop forwarding cannot loop, even where two switches on the way prefer different edges
of equal distance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import networkx

from anycast_sdn.core.model import Link, Prefix

Routes = dict[str, dict[Prefix, int]]  # switch → prefix → the port that leads there


class Graph:
    """Switches and the links that work now.  Of parallel links the cheapest counts."""

    def __init__(self, switches: Iterable[str], links: Iterable[Link]) -> None:
        self._graph = networkx.Graph()
        self._graph.add_nodes_from(switches)
        self._ports: dict[tuple[str, str], int] = {}
        for link in sorted(links, key=lambda link: (link.cost, link.a, link.b), reverse=True):
            self._graph.add_edge(link.a.switch, link.b.switch, cost=link.cost)  # the cheapest comes last
            for here, there in ((link.a, link.b), (link.b, link.a)):
                self._ports[here.switch, there.switch] = here.number

    def distances(self, edge: str) -> dict[str, int]:
        """Switch → total cost to this edge; unreachable ones are absent."""
        found: dict[str, int] = networkx.single_source_dijkstra_path_length(self._graph, edge, weight="cost")
        return found

    def port_towards(self, switch: str, distance: Mapping[str, int]) -> int:
        """The port to the neighbour on a shortest path; ``distance`` is that of every switch to the goal."""
        hops = (
            (self._graph.edges[switch, neighbour]["cost"] + distance[neighbour], neighbour)
            for neighbour in self._graph.neighbors(switch)
            if neighbour in distance
        )
        _, neighbour = min(hops)
        return self._ports[switch, neighbour]

    def routes(self, announced: Mapping[Prefix, Collection[str]]) -> Routes:
        """``announced``: prefix → the edges that announce it.

        A switch that announces a prefix itself gets no route for it, nor does one that can reach
        none of the edges.
        """
        edges = {edge for announcers in announced.values() for edge in announcers}
        distance = {edge: self.distances(edge) for edge in edges}
        routes: Routes = {switch: {} for switch in self._graph}
        for switch, mine in routes.items():
            towards: dict[str, int] = {}
            for prefix, announcers in announced.items():
                near = [(distance[edge][switch], edge) for edge in announcers if switch in distance[edge]]
                if not near or switch in announcers:
                    continue
                edge = min(near)[1]
                if edge not in towards:
                    towards[edge] = self.port_towards(switch, distance[edge])
                mine[prefix] = towards[edge]
        return routes

    def nearest(self, switch: str, announcers: Collection[str]) -> str | None:
        """The edge that this switch's packets go to; None when none can be reached."""
        distance = self.distances(switch)
        near = [(distance[edge], edge) for edge in announcers if edge in distance]
        return min(near)[1] if near else None
