"""GroupNumbers: a number for the select group of each spread at a switch.

The number is a hash of the spread, so that after a restart the groups on the switch are recognised.  Where two
spreads have the same hash, the smaller one gets it, and the other the next free number.  So the numbers depend on
which groups are served, not on the order in which they came: an ordered hash table (Amble and Knuth, 1974).
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from anycast_sdn.core.slots import Spread

NUMBERS = 1 << 31  # OpenFlow's reserved numbers lie above
MAX_CACHED = 1 << 15


class GroupNumbers:
    def __init__(self) -> None:
        self._numbers: dict[Spread, int] = {}
        self._holders: dict[int, Spread] = {}  # the reverse

    def get(self, spread: Spread) -> int | None:
        return self._numbers.get(spread)

    def add(self, spread: Spread) -> dict[Spread, int]:
        """Give the spread a number → the others whose number has changed, with their old numbers."""
        before: dict[Spread, int] = {}
        if spread in self._numbers:
            return before
        number = first_number(spread)
        while (holder := self._holders.get(number)) is not None:
            if spread < holder:
                self._hold(number, spread)
                before[holder] = number
                spread = holder
            number = (number + 1) % NUMBERS
        self._hold(number, spread)
        return before

    def discard(self, spread: Spread) -> dict[Spread, int]:
        """Free the spread's number → as ``add``."""
        number = self._numbers.pop(spread, None)
        if number is None:
            return {}
        del self._holders[number]
        behind: dict[Spread, int] = {}  # spreads that may have been displaced, up to the next free number
        while (holder := self._holders.pop(number := (number + 1) % NUMBERS, None)) is not None:
            behind[holder] = self._numbers.pop(holder)
        for holder in behind:
            self.add(holder)
        return {holder: before for holder, before in behind.items() if self._numbers[holder] != before}

    def _hold(self, number: int, spread: Spread) -> None:
        self._numbers[spread] = number
        self._holders[number] = spread


@lru_cache(MAX_CACHED)
def first_number(spread: Spread) -> int:
    """The number of a spread unless a smaller one has it."""
    return zlib.crc32(str(spread).encode()) % NUMBERS
