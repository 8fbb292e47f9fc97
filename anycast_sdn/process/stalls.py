"""Stalls of the hub: it has one thread, so a piece of work that takes long delays all other work.

A green thread wakes every ``PERIOD_S``, and measures how late it is each time.  When it is overdue by ``WARN_S``, an
alarm interrupts the work that holds the hub, to find out where in the code that is.

Rules kept here:
- ``Stalls`` is given times and reads no clock.
- A long stall is reported at most once a minute, with the place in the code; those between are counted.
- A process has one alarm.  When ``ending`` has set it, to end the process, the gauge stops and leaves it as it is.
"""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from anycast_sdn.core.controller_events import ControllerStalled
from anycast_sdn.core.histogram import Histogram

PERIOD_S = 0.005
LONG_S = 0.02  # no work should hold the hub for longer
WARN_S = 0.2
MINUTE_S = 60.0
SLOTS = 12  # the last minute is kept in so many parts
LATE = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # seconds: how delays are counted
PLACES = 6  # of the call stack, in the report


class _Slot(NamedTuple):
    number: int  # ``SLOTS`` in a minute, counted on the clock
    longest_s: float
    over: int


class Stalls:
    """The longest delay, and how many delays were longer than ``LONG_S``: in the last minute, and since the start."""

    def __init__(self) -> None:
        self._minute: deque[_Slot] = deque(maxlen=SLOTS)
        self.late = Histogram(LATE)
        self._longest_s = 0.0
        self._over = 0
        self._warned_at = -math.inf
        self._not_reported = 0

    def count(self, late_s: float, now: float) -> bool:
        """Count a delay.  True: a warning is due, and counts as reported."""
        self.late.observe(late_s)
        over = late_s > LONG_S
        self._longest_s = max(self._longest_s, late_s)
        self._over += over
        number = int(now * SLOTS / MINUTE_S)
        if self._minute and self._minute[-1].number == number:
            last = self._minute.pop()
            self._minute.append(_Slot(number, max(last.longest_s, late_s), last.over + over))
        else:
            self._minute.append(_Slot(number, late_s, int(over)))
        if late_s <= WARN_S:
            return False
        if now - self._warned_at < MINUTE_S:
            self._not_reported += 1
            return False
        self._warned_at = now
        return True

    def pop_not_reported(self) -> int:
        """How many delays longer than ``WARN_S`` were not reported since the last call."""
        not_reported, self._not_reported = self._not_reported, 0
        return not_reported

    def view(self, now: float) -> dict[str, float | int]:
        recent = [slot for slot in self._minute if slot.number > int(now * SLOTS / MINUTE_S) - SLOTS]
        return {
            "longest_ms_last_minute": _ms(max((slot.longest_s for slot in recent), default=0.0)),
            "stalls_over_20_ms_last_minute": sum(slot.over for slot in recent),
            "longest_ms": _ms(self._longest_s),
            "stalls_over_20_ms": self._over,
        }


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


class Gauge:
    """Measures how late the hub wakes a green thread.  ``sleep``: the hub's; ``report``: gets the events."""

    def __init__(self, sleep: Callable[[float], object], report: Callable[[ControllerStalled], None]) -> None:
        self.stalls = Stalls()
        self._report = report
        self._sleep = sleep
        self._where = ""

    def measure_while(self, is_active: Callable[[], bool]) -> None:
        """To be run by a green thread of the main thread, which alone may handle signals."""
        before = signal.signal(signal.SIGALRM, self._interrupted)
        signal.setitimer(signal.ITIMER_REAL, 0)
        left = 0.0
        try:
            while is_active():
                left, _ = signal.setitimer(signal.ITIMER_REAL, WARN_S)
                if left > WARN_S:  # the alarm of ``ending``
                    break
                self._where = ""
                due = time.monotonic() + PERIOD_S
                self._sleep(PERIOD_S)
                self._count(time.monotonic() - due)
            else:
                left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, left if left > WARN_S else 0)
            signal.signal(signal.SIGALRM, before)

    def _count(self, late_s: float) -> None:
        if self.stalls.count(late_s, time.monotonic()):
            where = self._where or "an unknown place, perhaps another process"
            self._report(ControllerStalled(round(1000 * late_s), where, self.stalls.pop_not_reported()))

    def _interrupted(self, _: int, frame: FrameType | None) -> None:
        places: list[str] = []
        while frame and len(places) < PLACES:
            code = frame.f_code
            places.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}")
            frame = frame.f_back
        self._where = " < ".join(places)
