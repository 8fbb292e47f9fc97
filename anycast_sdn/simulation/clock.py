"""Clock: virtual time, and the events that are to happen in it.

Events happen in order of time, and those of one time in the order in which they were added; so the same calls always
have the same result.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from anycast_sdn.core.model import AnycastError

TICK_S = 0.25
MAX_EVENTS_PER_TICK = 50_000
_STEP_S = 0.0001  # of ``settle``


class Runaway(AnycastError):
    """Too many events between two ticks: something loops."""


class Clock:
    """``tick`` is called every ``TICK_S``, from ``start`` on."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.now = 0.0
        self._each_tick = tick
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._events = 0  # since the last tick

    def start(self) -> None:
        self._tick()

    def _tick(self) -> None:
        self._events = 0
        self._each_tick()
        self.after(TICK_S, self._tick)

    def after(self, seconds: float, event: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, event, *arguments)

    def at(self, time: float, event: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._queue, (time, next(self._order), event, arguments))

    def advance(self, seconds: float) -> None:
        """Let that much time pass.  Raises Runaway."""
        end = self.now + seconds
        while self._queue[0][0] <= end:
            self.now, _, event, arguments = heapq.heappop(self._queue)
            self._events += 1
            if self._events > MAX_EVENTS_PER_TICK:
                raise Runaway(f"more than {MAX_EVENTS_PER_TICK} events in {TICK_S} s, at {self.now:.3f} s")
            event(*arguments)
        self.now = end

    def settle(self) -> None:
        """Advance until nothing but the next tick is to happen."""
        self.advance(0.05)
        while len(self._queue) > 1:
            self.advance(_STEP_S)
