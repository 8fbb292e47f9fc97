"""BindingNumbers: which numbers the bindings of one client edge get.

A switch reports about a rule by the number in its cookie, and a report may be late.  So a number is given once.  Where
several controllers are master of the switch in turn, a new one does not know which numbers the one before has given to
bindings that have ended since.  So each begins in a range of its own, by its *term*, and leaves out the ranges of the
bindings that it finds.
"""

from __future__ import annotations

from collections.abc import Callable

COUNT_BITS = 32  # of a number; above them are eight of the term
RANGES = 256


class BindingNumbers:
    """``term``: grows with each change of the master; 0: there is only one controller."""

    def __init__(self, term: Callable[[], int]) -> None:
        self._term = term
        self._begun = 0  # the term in which the last number was given
        self._last = 0
        self._found: set[int] = set()  # ranges of bindings that were found

    def next(self) -> int:
        if self._term() != self._begun:
            self._begin()
        self._last += 1
        return self._last

    def found(self, number: int) -> None:
        """A binding that was found, or one that is known again, has this number."""
        place = number >> COUNT_BITS
        self._found.add(place)
        if not self._begun or place == self._last >> COUNT_BITS:
            self._last = max(self._last, number)

    def _begin(self) -> None:
        self._begun = self._term()
        wanted = (each % RANGES for each in range(self._begun, self._begun + RANGES))
        place = next((each for each in wanted if each not in self._found), None)
        if place is not None:  # otherwise go on behind the largest number
            self._last = place << COUNT_BITS
