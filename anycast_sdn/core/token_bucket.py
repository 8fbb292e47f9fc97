"""TokenBucket: a limit of so many a second on average, and so many at once."""

from __future__ import annotations


class TokenBucket:
    """Full at first.  ``now``: seconds by any clock that does not go back."""

    __slots__ = ("_burst", "_filled_at", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float = 0.0) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        self._left = min(self._burst, self._left + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
