"""Lateness: silence is excused after a delay of the controller's own: what came meanwhile is still to be read."""

from __future__ import annotations

import math


class Lateness:
    """For a check that runs regularly and finds out which peers are silent.

    After a pause of more than ``limit_s`` between two checks, silence is excused for ``excuse_s``.  Times are seconds,
    monotonic.
    """

    def __init__(self, limit_s: float, excuse_s: float) -> None:
        self._limit_s = limit_s
        self._excuse_s = excuse_s
        self._looked = math.inf
        self._until = -math.inf
        self.attentive_s = 0.0  # since the first check, without pauses

    def excuses(self, now: float) -> bool:
        """Is silence excused now?"""
        if now - self._looked > self._limit_s:
            self._until = now + self._excuse_s
        return now < self._until

    def look(self, now: float) -> None:
        if now > self._looked:
            self.attentive_s += min(now - self._looked, self._limit_s)
        self._looked = now
