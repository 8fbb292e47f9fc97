"""Released: which translation addresses rest at each switch, whoever is its master (M19).

A slave hears of the removed rules of flows, and notes their addresses; what rests at a master is kept when it begins
anew.  A new master lets them rest on, so that a late packet of an old flow meets no new one.  Addresses of flows
without a reply are not among them: the removed rule does not name them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from anycast_sdn.core.model import Address
from anycast_sdn.openflow.removed_rules import translated_of

MOST = 1 << 16  # of one switch; the first ones are forgotten


class Released:
    def __init__(self) -> None:
        self._released: dict[int, dict[Address, float]] = {}  # datapath id → when, in this order

    def note(self, dpid: int, removed: bytes, now: float) -> None:
        """A rule of a switch was removed whose master another controller is."""
        if address := translated_of(removed):
            self._add(dpid, address, now)

    def keep(self, dpid: int, resting: Iterable[tuple[Address, float]]) -> None:
        for address, since in resting:
            self._add(dpid, address, since)

    def _add(self, dpid: int, address: Address, since: float) -> None:
        of_switch = self._released.setdefault(dpid, {})
        of_switch.pop(address, None)
        of_switch[address] = since
        if len(of_switch) > MOST:
            del of_switch[next(iter(of_switch))]

    def pop(self, dpid: int) -> list[tuple[Address, float]]:
        return list(self._released.pop(dpid, {}).items())

    def forget(self, dpid: int, before: float, most: int) -> None:
        """Up to ``most`` of those that were released before then rest no more."""
        of_switch = self._released.get(dpid, {})
        for address in [address for address, since in islice(of_switch.items(), most) if since < before]:
            del of_switch[address]
