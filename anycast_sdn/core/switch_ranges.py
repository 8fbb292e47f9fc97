"""SwitchRanges: what is known of the addresses out of which a switch chooses PR1X by itself.

The switch says nothing of them, and an address serves as many flows as protocol and ports tell apart.  But a packet for
which it found no address and port, or no room in its connection tracker, comes to the controller, which refuses it.  So
a range is exhausted from the first of these until there has been none for ``pool_watch.STEADY_S``.

The time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anycast_sdn.core.pool_watch import Level, PoolWatch
from anycast_sdn.core.roles import AddressRange

_FAMILIES = {False: "ipv4", True: "ipv6"}


class RangeUse(NamedTuple):
    """Of the addresses of one family."""

    size: int  # addresses
    refused: int  # packets of new flows for which the switch found none, since the controller's start
    level: Level


class SwitchRanges:
    """``ranges``: of each family at most one."""

    def __init__(self, ranges: Iterable[AddressRange]) -> None:
        sizes = {len(first) == 16: _number(last) - _number(first) + 1 for first, last in ranges}
        self._sizes = sizes
        self._refused = dict.fromkeys(sizes, 0)
        self._watches = {v6: PoolWatch(size) for v6, size in sizes.items()}

    def refused(self, v6: bool) -> None:
        """The switch could not begin a flow."""
        if v6 in self._refused:
            self._refused[v6] += 1

    def watch(self, now: float) -> dict[str, Level]:
        """With every tick → the ranges that are exhausted now, or no longer, by family."""
        found = {}
        for v6, watch in self._watches.items():
            if (level := watch.look(self._sizes[v6], self._refused[v6], now)) is not None:
                found[_FAMILIES[v6]] = level
        return found

    def uses(self) -> dict[str, RangeUse]:
        """By family, as of the last ``watch``."""
        return {
            _FAMILIES[v6]: RangeUse(size, self._refused[v6], self._watches[v6].outlook.level)
            for v6, size in self._sizes.items()
        }


def _number(address: bytes) -> int:
    return int.from_bytes(address, "big")
