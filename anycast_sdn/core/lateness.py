"""Lateness: whoever was kept from looking must not blame others for what he did not see."""

from __future__ import annotations

import math


class Lateness:
    """For regular looks at who has been silent.  After a pause of more than ``limit_s``, all are excused for
    ``excuse_s``: what they have said meanwhile is still to be read.  Times are seconds, monotonic.
    """

    def __init__(self, limit_s: float, excuse_s: float) -> None:
        self._limit_s = limit_s
        self._excuse_s = excuse_s
        self._looked = math.inf
        self._until = -math.inf
        self.attentive_s = 0.0  # so long we have looked, pauses not counted

    def excuses(self, now: float) -> bool:
        """Must nobody be blamed now?"""
        if now - self._looked > self._limit_s:
            self._until = now + self._excuse_s
        return now < self._until

    def look(self, now: float) -> None:
        if now > self._looked:
            self.attentive_s += min(now - self._looked, self._limit_s)
        self._looked = now
