"""ClosedPorts: the ports of a switch with one table by which no packet may come in (``openflow.one_table``).

They are those of its ports that lead to no other switch and to no router of an uplink, as far as ports are known: the
controller hears of each when the switch connects, and when it comes up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from anycast_sdn.core.roles import Side, Subnet
from anycast_sdn.description.model import MAX_PORT

MOST = 1 << 10  # ports, of each of which there is a rule


class ClosedPorts:
    def __init__(self, subnets: Iterable[Subnet]) -> None:
        """``subnets``: those of the switch, uplinks among them."""
        self._open = {port for subnet in subnets if subnet.side is Side.UPLINK for port in subnet.ports}
        self._known = {port for subnet in subnets for port in subnet.ports} - self._open

    def note(self, port: int) -> bool:
        """This port is up → is that new?"""
        if port in self._known or port in self._open or not 0 < port <= MAX_PORT or len(self._known) >= MOST:
            return False
        self._known.add(port)
        return True

    def among(self, fabric_ports: Collection[int]) -> Sequence[int]:
        """``fabric_ports``: those that lead to other switches."""
        return sorted(self._known.difference(fabric_ports))
