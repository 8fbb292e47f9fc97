"""TrackedBits: how the bits of a tracked address H' are shared out at one client edge, in one family.

The connection tracker of a switch knows the client and the service address of a flow by one address, H'.  From the
highest bit on, it consists of the code of ANY, the number of the client's subnet, and the client's host bits.  Which
code a service address has is decided in ``core.tracked_address``; how many there can be, here, so that a network file
can be refused before anything is tracked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from anycast_sdn.core.model import Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet

LEAST_SERVICES = 256  # service addresses; with less room a network file is refused


class TrackedBits(NamedTuple):
    """They add up to 32 or 128, unless ``code`` is negative: then even the clients alone do not fit."""

    code: int  # of the service address
    subnet: int  # the number of the client's subnet
    host: int  # as many as the largest of these subnets has

    @property
    def services(self) -> int:
        """How many service addresses have room.  Code 0 stays free: the tracker's constant other end is within it."""
        return (1 << self.code) - 1 if self.code > 0 else 0


def client_prefixes(role: ClientEdgeRole, subnets: Iterable[Subnet], v6: bool) -> list[Prefix]:
    """The prefixes of hosts that may use services, in the order of ``subnets``, those of the switch."""
    return [
        gateway.prefix
        for subnet in subnets
        if subnet.side is not Side.UPLINK and any(service.is_v6 is v6 for service in subnet.allowed(role))
        for gateway in subnet.gateways
        if gateway.prefix.is_v6 is v6
    ]


def bits_of(clients: Sequence[Prefix]) -> TrackedBits:
    """``clients``: of one family, at least one."""
    width = clients[0].bits
    host = max(width - prefix.length for prefix in clients)
    subnet = (len(clients) - 1).bit_length()
    return TrackedBits(width - subnet - host, subnet, host)
