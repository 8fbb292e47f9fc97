"""Reroutes: how long it takes from a change of links until switches have confirmed all routes that follow from it.

Changes that come meanwhile belong to the same reroute: it ends when nothing waits any more.
"""

from __future__ import annotations

from collections.abc import Callable

from anycast_sdn.core.histogram import Histogram


class Reroutes:
    """``is_over``: is nothing to be found, installed or confirmed any more?"""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over
        self._began: float | None = None
        self.seconds = Histogram()

    def begin(self, now: float) -> None:
        if self._began is None:
            self._began = now

    def look(self, now: float) -> None:
        """After each step."""
        if self._began is not None and self._is_over():
            self.seconds.observe(now - self._began)
            self._began = None
