"""SortedNumbers: a set of numbers in ascending order; those that follow a given number are found by bisection.

The numbers are in chunks of bounded size, so that an operation moves the numbers of one or two chunks only, however
many there are.  A number larger than all others, which is the usual case, is added without a search.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter

CHUNK = 512  # numbers, at the most

_largest = itemgetter(-1)


class SortedNumbers:
    def __init__(self) -> None:
        self._chunks: list[list[int]] = []  # none is empty

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._chunks)

    def add(self, number: int) -> None:
        """Add a number that is not in the set."""
        chunks = self._chunks
        if not chunks or number > chunks[-1][-1]:
            if chunks and len(chunks[-1]) < CHUNK:
                chunks[-1].append(number)
            else:
                chunks.append([number])
            return
        index = bisect_left(chunks, number, key=_largest)
        insort(chunks[index], number)
        if len(chunks[index]) > CHUNK:
            middle = CHUNK // 2
            chunks[index : index + 1] = [chunks[index][:middle], chunks[index][middle:]]

    def remove(self, number: int) -> None:
        """Remove a number that is in the set."""
        index = bisect_left(self._chunks, number, key=_largest)
        chunk = self._chunks[index]
        del chunk[bisect_left(chunk, number)]
        if len(chunk) < CHUNK // 4:
            self._merge(index)

    def _merge(self, index: int) -> None:
        """Append a chunk that has become small to the one before it, if there is room."""
        chunk = self._chunks[index]
        if not chunk:
            del self._chunks[index]
        elif index and len(self._chunks[index - 1]) + len(chunk) <= CHUNK:
            self._chunks[index - 1] += chunk
            del self._chunks[index]

    def after(self, number: int, limit: int) -> list[int]:
        """Up to ``limit`` numbers that follow ``number``."""
        found: list[int] = []
        for chunk in self._chunks[bisect_right(self._chunks, number, key=_largest) :]:
            start = 0 if found else bisect_right(chunk, number)
            found += chunk[start : start + limit - len(found)]
            if len(found) == limit:
                break
        return found

    def before(self, number: int, limit: int) -> list[int]:
        """Up to ``limit`` numbers that are less than ``number``, the largest first."""
        found: list[int] = []
        for at in range(min(bisect_left(self._chunks, number, key=_largest), len(self._chunks) - 1), -1, -1):
            chunk = self._chunks[at]
            end = len(chunk) if found else bisect_left(chunk, number)
            found += chunk[max(0, end - (limit - len(found))) : end][::-1]
            if len(found) == limit:
                break
        return found
