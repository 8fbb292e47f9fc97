"""ServerPlaces: which servers the buckets of a switch can send to at the moment, and where these are (M10, M26).

- A server in a subnet of this switch is where it has answered from, by ARP or ND.
- A server behind another edge is reached by the switch's own routes: a bucket sets the destination to that server, and
  the packet is ordinary unicast from there on.  No other edge spreads it again, and it cannot come back here to be
  spread, whatever routes do meanwhile.  Routes may change without any change of the bucket.
- A server that does not answer, or to which no route leads, has no place: the others get its slots (``core.slots``).
- Such a packet is looked up once more, and may have to leave by the port where it came in.  A switch that cannot do
  that (``Features``: resubmit comes with ``tcp_flags``) sends to no servers behind other edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_sdn.control.egress import Egress
from anycast_sdn.control.installed import Installed
from anycast_sdn.control.neighbours import Neighbours
from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.core.roles import Subnet
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow.features import Features


class ServerPlaces:
    """``connected``: the subnets of the switch, uplinks among them."""

    def __init__(
        self,
        connected: Iterable[Subnet],
        neighbours: Neighbours,
        installed: Installed,
        egress: Egress,
        features: Callable[[], Features],
    ) -> None:
        self._connected: list[Prefix] = [gateway.prefix for subnet in connected for gateway in subnet.gateways]
        self._neighbours = neighbours
        self._installed = installed
        self._egress = egress
        self._features = features

    def of(self, servers: Iterable[Address]) -> dict[Address, Neighbour | None]:
        """Where those of these servers are that can be reached now; None: behind another edge."""
        there = ((server, self._neighbours.get(server)) for server in dict.fromkeys(servers))
        return {server: host for server, host in there if host or self._has_route(server)}

    def _has_route(self, server: Address) -> bool:
        features = self._features()
        if not (features.hairpin and features.tcp_flags) or any(server in prefix for prefix in self._connected):
            return False
        routes = self._installed.routes.towards(server)
        return any(port != LOCAL or prefix in self._egress.selected for prefix, port in routes)
