"""Sweep: which bindings have been idle, told from the packet counters of their rules.

Open vSwitch looks at every rule that has a timeout, again and again.  So where bindings are many, their
rules have none; instead the controller reads the counters from time to time.  A counter that has moved
since it was last read says that the binding was used at some moment in between, and counts as used *now*:
a binding is never found idle too early (M19).

Both directions count for the same binding, so a binding is idle only when both are.
"""

from __future__ import annotations

from collections.abc import Iterable


class Sweep:
    """What was read last, and when each binding was last seen to be used."""

    def __init__(self) -> None:
        self._packets: tuple[dict[int, int], dict[int, int]] = ({}, {})  # outward, inward: number → packets
        self._used: dict[int, float] = {}  # number → when

    def read(self, inward: bool, counters: Iterable[tuple[int, int]], now: float) -> list[int]:
        """Takes (number, packets) of rules of one direction → the bindings that this one did not use."""
        packets = self._packets[inward]
        used = self._used
        unused = []
        for number, count in counters:
            if packets.get(number) == count:
                unused.append(number)
            else:
                packets[number] = count
                used[number] = now
        return unused

    def idle_s(self, number: int, now: float) -> float:
        """For how long the binding has been seen to be idle, in seconds; 0 when it was never read."""
        return now - self._used.get(number, now)

    def forget(self, number: int) -> None:
        """The binding has ended."""
        self._used.pop(number, None)
        for packets in self._packets:
            packets.pop(number, None)
