"""Stalls of the hub: it has one thread, so a piece of work that takes long delays all other work.

A green thread wakes every ``BEAT_S``, and notes how late it is each time.  When it is overdue by ``WARN_S``, an alarm
interrupts the work that holds the hub, to find out where in the code that is.

Rules kept here:
- ``Stalls`` is given times and reads no clock.
- A long hold is logged at most once a minute, with the place where it was; those between are counted.
- A process has one alarm.  When somebody else has set it, for the end (``ending``), the gauge stops and leaves it.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

LOG = logging.getLogger(__name__)

BEAT_S = 0.005
LONG_S = 0.02  # nothing should hold the hub for longer
WARN_S = 0.2
MINUTE_S = 60.0
SLOTS = 12  # a minute is kept as so many parts
PLACES = 6  # of the call stack, in the log


class _Slot(NamedTuple):
    number: int  # ``SLOTS`` in a minute, counted on the clock
    longest_s: float
    over: int


class Stalls:
    """How late the beats were: the longest, and how many were later than ``LONG_S``."""

    def __init__(self) -> None:
        self._minute: deque[_Slot] = deque(maxlen=SLOTS)
        self._longest_s = 0.0
        self._over = 0
        self._warned_at = -math.inf
        self._unsaid = 0

    def note(self, late_s: float, now: float) -> bool:
        """A beat came so late.  → is that worth a warning now?"""
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
            self._unsaid += 1
            return False
        self._warned_at = now
        return True

    def unsaid(self) -> int:
        """How many were worth a warning since the last one, and got none; they count as said now."""
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid

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
    """The beating heart.  ``sleep``: the hub's."""

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self.stalls = Stalls()
        self._sleep = sleep
        self._where = ""

    def beat_while(self, is_active: Callable[[], bool]) -> None:
        """A green thread's whole life; it must be the main thread's."""
        before = signal.signal(signal.SIGALRM, self._interrupted)
        signal.setitimer(signal.ITIMER_REAL, 0)
        left = 0.0
        try:
            while is_active():
                left, _ = signal.setitimer(signal.ITIMER_REAL, WARN_S)
                if left > WARN_S:  # somebody else's
                    break
                self._where = ""
                due = time.monotonic() + BEAT_S
                self._sleep(BEAT_S)
                self._note(time.monotonic() - due)
            else:
                left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, left if left > WARN_S else 0)
            signal.signal(signal.SIGALRM, before)

    def _note(self, late_s: float) -> None:
        if self.stalls.note(late_s, time.monotonic()):
            unsaid = self.stalls.unsaid()
            more = f"; {unsaid} more such since the last of these lines" if unsaid else ""
            LOG.warning("nothing else had a turn for %.0f ms, while this ran: %s%s", 1000 * late_s,
                        self._where or "unknown, perhaps another process", more)  # fmt: skip

    def _interrupted(self, _: int, frame: FrameType | None) -> None:
        places: list[str] = []
        while frame and len(places) < PLACES:
            code = frame.f_code
            places.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}")
            frame = frame.f_back
        self._where = " < ".join(places)
