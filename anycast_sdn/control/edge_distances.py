"""EdgeDistances: which server edge the packets of a client edge reach, and how far server edges are apart (M23).

Where links of the network file join two edges, the fabric decides: the nearest edge, and the sum of costs.  Where only
routers join them, it is not known:

- by which of their routes routers send packets to a group.  The demand of such a client edge is taken to be the same at
  each edge that packets may come to: the nearest ones to the uplinks.  So it does not depend on how it is distributed.
- what routers' ways cost.  All server edges beyond routers are taken to be equally far, farther than any in the fabric,
  as long as the edge has a route to their subnets.

A switch that cannot send packets back by the port where they came in has no way to other edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.roles import Side
from anycast_sdn.core.selection import Ways
from anycast_sdn.fabric.graph import Graph

BEYOND_ROUTERS = 1e9  # cost of a way by routers
_Edges = frozenset[str]


class EdgeDistances:
    """``graph_of``: of the links that a family may use (IPv6?); ``has_route``: has this switch a route to this prefix,
    or one that covers it?
    """

    def __init__(
        self,
        switches: Mapping[str, ManagedSwitch],
        graph_of: Callable[[bool], Graph],
        has_route: Callable[[str, Prefix], bool],
    ) -> None:
        self._switches = switches
        self._graph_of = graph_of
        self._has_route = has_route
        self._uplinked = [name for name, switch in switches.items() if switch.uplinks]
        self._entries: dict[tuple[str, _Edges, bool], tuple[str, ...]] = {}  # caches
        self._ways: dict[tuple[_Edges, bool], dict[tuple[str, str], float]] = {}

    def changed(self) -> None:
        """Links, or what switches can do, have changed."""
        self._entries.clear()
        self._ways.clear()

    def entries(self, client: str, edges: _Edges, is_v6: bool) -> tuple[str, ...]:
        """Those of ``edges`` that the packets of a client edge reach: one; several, if routers choose among them."""
        found = self._entries.get((client, edges, is_v6))
        if found is None:
            graph = self._graph_of(is_v6)
            nearest = graph.nearest(client, edges)
            found = (nearest,) if nearest is not None else self._by_routers(client, edges, graph)
            self._entries[client, edges, is_v6] = found
        return found

    def _by_routers(self, client: str, edges: _Edges, graph: Graph) -> tuple[str, ...]:
        """There is no way by links alone."""
        if not any(client in graph.distances(name) for name in self._uplinked):
            return ()
        return tuple(sorted({*filter(None, (graph.nearest(name, edges) for name in self._uplinked))}))

    def ways(self, edges: _Edges, is_v6: bool) -> Ways:
        """Between these server edges."""
        ways = self._ways.get((edges, is_v6))
        if ways is None:
            ways = self._ways[edges, is_v6] = {
                (one, other): float(distance)
                for other in sorted(edges)
                for one, distance in self._graph_of(is_v6).distances(other).items()
                if one in edges and self._switches[one].features.hairpin
            }
        apart = len(edges) ** 2 - len(ways)
        return {**ways, **self._ways_by_routers(edges, ways, is_v6)} if apart and self._uplinked else ways

    def _ways_by_routers(self, edges: _Edges, ways: Ways, is_v6: bool) -> Ways:
        subnets = {edge: self._server_prefixes(edge, is_v6) for edge in edges}
        return {
            (one, other): BEYOND_ROUTERS
            for one in edges
            for other in edges
            if (one, other) not in ways
            and self._switches[one].features.hairpin
            and subnets[other]
            and all(self._has_route(one, prefix) for prefix in subnets[other])
        }

    def _server_prefixes(self, edge: str, is_v6: bool) -> list[Prefix]:
        subnets = (subnet for subnet in self._switches[edge].subnets if subnet.side is Side.SERVER)
        return [each.prefix for subnet in subnets for each in subnet.gateways if each.prefix.is_v6 is is_v6]
