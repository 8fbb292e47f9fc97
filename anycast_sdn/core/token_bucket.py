"""TokenBucket: a limit on a rate, with a burst."""

from __future__ import annotations


class TokenBucket:
    """``per_s`` tokens a second on average, ``burst`` at once; full at first.  ``now``: seconds, monotonic."""

    __slots__ = ("_burst", "_filled_at", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float = 0.0) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Remove a token → was there one?"""
        self._left = min(self._burst, self._left + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
