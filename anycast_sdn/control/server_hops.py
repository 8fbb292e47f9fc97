"""ServerHops: where a switch sends packets to a server, as its buckets say (M10, M26).

- A server in a subnet of this switch is reached by the MAC and port that it has answered from.
- A server behind another edge is reached as the switch's route to its address leads: by a port to another switch, or
  by the router at an uplink.  A bucket has set the destination to that server, so the packet is ordinary unicast from
  here on: no other edge spreads it again, and it cannot come back here to be spread, whatever routes do meanwhile.
- A server without a MAC or a route has no hop at the moment; the table's other servers get its slots.
- Such a packet may have to leave by the port where it came in.  A switch that cannot do that (``Features.hairpin``)
  reaches no servers behind other edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_sdn.control.egress import Egress
from anycast_sdn.control.installed import Installed
from anycast_sdn.control.neighbours import Neighbours
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.roles import Subnet
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow.entries import Hop
from anycast_sdn.openflow.features import Features


class ServerHops:
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

    def to(self, servers: Iterable[Address]) -> dict[Address, Hop]:
        """The hops to those of these servers that can be reached now."""
        hops = ((server, self._hop(server)) for server in dict.fromkeys(servers))
        return {server: hop for server, hop in hops if hop}

    def _hop(self, server: Address) -> Hop | None:
        if host := self._neighbours.get(server):
            return Hop(host.port, host.mac)
        if any(server in prefix for prefix in self._connected) or not self._features().hairpin:
            return None
        for prefix, port in self._installed.routes.towards(server):
            if port != LOCAL:
                return Hop(port)
            if router := self._egress.selected.get(prefix):
                return Hop(router.port, router.mac)
        return None
