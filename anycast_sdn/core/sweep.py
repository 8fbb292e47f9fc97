"""Sweep: how long bindings have been idle, by the packet counters of their rules.

Open vSwitch visits every rule that has a timeout several times a second.  So where there are many
bindings, their rules have no timeouts; instead the controller reads the counters of all of them from time to time,
which is called a sweep.

- A counter that has moved since it was last read: the binding was used at some moment in between.  The latest
  possible moment, that of the answer, counts.
- A counter that has not moved: the binding was idle at least until the request was sent.

So no binding is found idle too early, however long a sweep takes (M19).  A binding is idle when both its directions
are.
"""

from __future__ import annotations

from collections.abc import Iterable


class _Seen:
    """The last counters of one binding.  A class with slots, because there is one for each binding."""

    __slots__ = ("asked_in", "asked_out", "packets_in", "packets_out", "used")

    def __init__(self, used: float) -> None:
        self.packets_out = self.packets_in = -1  # not read yet
        self.asked_out = self.asked_in = -1.0  # when their counters were requested
        self.used = used


class Sweep:
    """The last counters of each binding, and when it was last in use."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}  # by the binding's number

    def record(self, inward: bool, counters: Iterable[tuple[int, int]], asked: float, now: float) -> list[int]:
        """Record (number, packets) of the rules of one direction → the bindings whose counter has not moved.

        ``asked``: when the request was sent; ``now``: when the answer came.
        """
        seen = self._seen
        unused = []
        for number, count in counters:
            one = seen.get(number)
            if one is None:
                one = seen[number] = _Seen(now)
            if inward:
                before, one.packets_in, one.asked_in = one.packets_in, count, asked
            else:
                before, one.packets_out, one.asked_out = one.packets_out, count, asked
            if before == count:
                unused.append(number)
            else:
                one.used = now
        return unused

    def idle_s(self, number: int, both: bool = True) -> float:
        """For how long the binding is known to have been idle, in seconds; 0 when it was never read.

        ``both``: has it rules in both directions?  A binding whose server was lost has an outward one alone.
        """
        one = self._seen.get(number)
        if one is None:
            return 0.0
        asked = [asked for asked in (one.asked_out, one.asked_in if both else -1.0) if asked >= 0]
        return max(0.0, min(asked) - one.used) if asked else 0.0

    def is_unused(self, number: int) -> bool:
        """Had no packet met its rules when they were read last?"""
        one = self._seen.get(number)
        return one is not None and max(one.packets_out, one.packets_in) == 0

    def forget(self, number: int) -> None:
        """The binding has ended."""
        self._seen.pop(number, None)
