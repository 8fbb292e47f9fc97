"""GroupNumbers: a number for the select group of each ANY/n that is served at a switch.

The number is a hash of the prefix, so that after a restart the groups on the switch are recognised.  Where two
prefixes have the same hash, the smaller prefix gets it, and the other the next free number.  So the numbers depend on
which prefixes are served, not on the order in which they came: an ordered hash table (Amble and Knuth, 1974).
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from anycast_sdn.core.model import Prefix

NUMBERS = 1 << 31  # OpenFlow's reserved numbers lie above
MAX_CACHED = 1 << 15


class GroupNumbers:
    def __init__(self) -> None:
        self._numbers: dict[Prefix, int] = {}
        self._holders: dict[int, Prefix] = {}  # the reverse

    def get(self, prefix: Prefix) -> int | None:
        return self._numbers.get(prefix)

    def add(self, prefix: Prefix) -> dict[Prefix, int]:
        """Give the prefix a number → the other prefixes whose number has changed, with their old numbers."""
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
        """Free the prefix's number → as ``add``."""
        number = self._numbers.pop(prefix, None)
        if number is None:
            return {}
        del self._holders[number]
        behind: dict[Prefix, int] = {}  # prefixes that may have been displaced, up to the next free number
        while (holder := self._holders.pop(number := (number + 1) % NUMBERS, None)) is not None:
            behind[holder] = self._numbers.pop(holder)
        for holder in behind:
            self.add(holder)
        return {holder: before for holder, before in behind.items() if self._numbers[holder] != before}

    def _hold(self, number: int, prefix: Prefix) -> None:
        self._numbers[prefix] = number
        self._holders[number] = prefix


@lru_cache(MAX_CACHED)
def first_number(prefix: Prefix) -> int:
    """The number of a prefix unless a smaller prefix has it."""
    return zlib.crc32(str(prefix).encode()) % NUMBERS
