"""SharedAddresses: flows whose PR1X a switch has chosen by itself (``Allocation.SWITCH``, and the reserve).

The switch's connection tracker sees to it that PR1X, protocol and ports are one flow's, but not that PR1X is one
pair's: clients share it, and to tell their flows apart the switch may change a source port.  So it is all of these
together that name a flow here, whereas an address of the pool names a pair (``core.holders``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from anycast_sdn.core.model import Address, FlowKey
from anycast_sdn.core.roles import AddressRange

_Place: TypeAlias = tuple[Address, int, int, int]  # PR1X, protocol, the port there, the service's port


class SharedAddresses:
    """``ranges``: from which the switch chooses."""

    def __init__(self, ranges: Sequence[AddressRange] = ()) -> None:
        self._ranges = ranges
        self._numbers: dict[_Place, int] = {}

    def __contains__(self, address: Address) -> bool:
        return any(first <= address <= last and len(address) == len(first) for first, last in self._ranges)

    def __len__(self) -> int:
        """How many flows there are."""
        return len(self._numbers)

    def add(self, translated: Address, port: int, key: FlowKey, number: int) -> None:
        """``port``: beside PR1X."""
        self._numbers[translated, key.protocol, port, key.destination_port] = number

    def remove(self, translated: Address, port: int, key: FlowKey, number: int) -> None:
        place = translated, key.protocol, port, key.destination_port
        if self._numbers.get(place) == number:
            del self._numbers[place]

    def of_reply(self, reply: FlowKey) -> int | None:
        """The number of the flow that a packet to PR1X belongs to, whoever has sent it."""
        return self._numbers.get((reply.destination, reply.protocol, reply.destination_port, reply.source_port))
