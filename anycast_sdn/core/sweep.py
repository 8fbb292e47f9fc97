"""Sweep: which bindings have been idle, told from the packet counters of their rules.

Open vSwitch looks at every rule that has a timeout, again and again.  So where bindings are many, their
rules have none; instead the controller reads the counters from time to time.  A counter that has moved
since it was last read says that the binding was used at some moment in between, and counts as used when
the answer came; one that has not moved says that it was idle until the question was sent.  So a binding is
never found idle too early, however long a sweep takes (M19).

Both directions count for the same binding, so a binding is idle only when both are.
"""

from __future__ import annotations

from collections.abc import Iterable


class _Seen:
    """What was read last of one binding.  A class with slots, because there are as many as bindings."""

    __slots__ = ("asked", "packets", "used")

    def __init__(self, used: float) -> None:
        self.packets = [-1, -1]  # outward, inward; -1: not read yet
        self.asked = [-1.0, -1.0]  # when their counters were asked for
        self.used = used


class Sweep:
    """What was read last, and when each binding was last seen to be used."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}  # by the binding's number

    def read(self, inward: bool, counters: Iterable[tuple[int, int]], asked: float, now: float) -> list[int]:
        """Takes (number, packets) of rules of one direction → the bindings that this one did not use.

        ``asked``: when the switch was asked; ``now``: when it has answered.
        """
        seen = self._seen
        unused = []
        for number, count in counters:
            one = seen.get(number)
            if one is None:
                one = seen[number] = _Seen(now)
            one.asked[inward] = asked
            if one.packets[inward] == count:
                unused.append(number)
            else:
                one.packets[inward] = count
                one.used = now
        return unused

    def idle_s(self, number: int) -> float:
        """For how long the binding has been seen to be idle, in seconds; 0 when it was never read."""
        one = self._seen.get(number)
        return max(0.0, min(asked for asked in one.asked if asked >= 0) - one.used) if one else 0.0

    def is_unused(self, number: int) -> bool:
        """Has no packet met its rules, as far as was read?"""
        one = self._seen.get(number)
        return one is not None and max(one.packets) == 0

    def forget(self, number: int) -> None:
        """The binding has ended."""
        self._seen.pop(number, None)
