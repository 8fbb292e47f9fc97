"""Lateness: after a delay of the controller itself, a peer's silence proves nothing.

What the peer has sent during the delay has not been read yet.
"""

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
        self._checked_at = math.inf
        self._excused_until = -math.inf
        self.listening_s = 0.0  # since the first check, without pauses

    def excuses(self, now: float) -> bool:
        """Is silence excused now?"""
        return self._is_late(now) or now < self._excused_until

    def checked(self, now: float) -> None:
        """The check has run."""
        if self._is_late(now):
            self._excused_until = now + self._excuse_s
        if now > self._checked_at:
            self.listening_s += min(now - self._checked_at, self._limit_s)
        self._checked_at = now

    def excuse(self, now: float) -> None:
        """There is another reason why nothing is heard."""
        self._excused_until = now + self._excuse_s

    def _is_late(self, now: float) -> bool:
        return now - self._checked_at > self._limit_s
