"""GroupNumbers: a number for the select group of each ANY/n that is served at a switch.

The number follows from the prefix, so that after a restart the groups on the switch are recognised.  Where two
prefixes have the same, the smaller one has it, and the other takes the next that is free.  So the numbers depend on
which prefixes are served, not on the order in which they came: an ordered hash table (Amble and Knuth, 1974).
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from anycast_sdn.core.model import Prefix

NUMBERS = 1 << 31  # OpenFlow's reserved numbers lie above
MOST_KEPT = 1 << 15


class GroupNumbers:
    def __init__(self) -> None:
        self._numbers: dict[Prefix, int] = {}
        self._holders: dict[int, Prefix] = {}  # the reverse

    def get(self, prefix: Prefix) -> int | None:
        return self._numbers.get(prefix)

    def add(self, prefix: Prefix) -> dict[Prefix, int]:
        """→ the other prefixes whose number has changed, and what it was."""
        before: dict[Prefix, int] = {}
        if prefix in self._numbers:
            return before
        number = first_number(prefix)
        while (holder := self._holders.get(number)) is not None:
            if prefix < holder:
                self._hold(number, prefix)
                before[holder] = number
                prefix = holder
            number = (number + 1) % NUMBERS
        self._hold(number, prefix)
        return before

    def discard(self, prefix: Prefix) -> dict[Prefix, int]:
        """As ``add``."""
        number = self._numbers.pop(prefix, None)
        if number is None:
            return {}
        del self._holders[number]
        behind: dict[Prefix, int] = {}  # whatever may have had to give way, up to the next free number
        while (holder := self._holders.pop(number := (number + 1) % NUMBERS, None)) is not None:
            behind[holder] = self._numbers.pop(holder)
        for holder in behind:
            self.add(holder)
        return {holder: before for holder, before in behind.items() if self._numbers[holder] != before}

    def _hold(self, number: int, prefix: Prefix) -> None:
        self._numbers[prefix] = number
        self._holders[number] = prefix


@lru_cache(MOST_KEPT)
def first_number(prefix: Prefix) -> int:
    """The one that a prefix has where no smaller one has it."""
    return zlib.crc32(str(prefix).encode()) % NUMBERS
