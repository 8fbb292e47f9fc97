"""Repeats: what happens again and again is said once, and then counted.

A kind is whatever makes two lines the same thing to a reader, an address and a reason for example.  A peer that
makes up ever new kinds cannot fill the log with them: beyond ``MOST`` in a minute they are counted together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterator

WINDOW_S = 60.0  # a kind that has been quiet for so long is new again
MOST = 256  # kinds told apart at the same time


class _Seen:
    __slots__ = ("last", "more", "said", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.said = 0
        self.more = 0  # that were not said
        self.last = ""


class Repeats:
    """Asked before a line is printed; ``due`` gives the counts, and is to be called every few seconds."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Seen] = {}

    def is_new(self, kind: Hashable, line: str, now: float, often: int = 1) -> bool:
        """Notes that it has happened (again).  True: say ``line``; it has been said less than ``often`` lately."""
        if kind not in self._seen and len(self._seen) >= MOST:
            kind = None  # all the others
        seen = self._seen.get(kind)
        if seen is None:
            seen = self._seen[kind] = _Seen(now)
        if seen.said < often:
            seen.said += 1
            return True
        seen.more += 1
        seen.last = line
        return False

    def due(self, now: float) -> Iterator[str]:
        """The last line of each kind that was not said, with how many there were."""
        for kind, seen in list(self._seen.items()):
            if now - seen.since < WINDOW_S:
                continue
            if not seen.more:
                del self._seen[kind]
                continue
            others = "" if kind is not None else " of different kinds"
            yield f"{seen.last} (… {seen.more} more{others} in the last minute)"
            seen.since, seen.more = now, 0


class RepeatingLog:
    """A logger whose lines may repeat: each kind is printed ``often`` times a minute, and then counted."""

    def __init__(self, log: logging.Logger, often: int = 1) -> None:
        self._log = log
        self._often = often
        self._repeats = Repeats()

    def say(self, level: int, kind: Hashable, line: str) -> None:
        if self._repeats.is_new(kind, line, time.monotonic(), self._often):
            self._log.log(level, "%s", line)

    def print_counts(self) -> None:
        """To be called every few seconds."""
        for line in self._repeats.due(time.monotonic()):
            self._log.warning("%s", line)
