"""RepeatingLog: a line that repeats is logged once, and then counted.

Lines of one kind count as repetitions; the caller names the kind, for example an address and a reason.  A peer that
causes lines of ever new kinds cannot fill the log with them: beyond ``MAX_KINDS`` in a minute, all further kinds are
counted together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

WINDOW_S = 60.0  # a kind that has not occurred for so long is new again
MAX_KINDS = 256  # that are counted separately


class _Seen:
    """Lines of one kind."""

    __slots__ = ("last", "logged", "more", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.logged = 0
        self.more = 0  # that were not logged
        self.last = ""


class Repeats:
    """Decides which lines are logged, and counts the others."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Seen] = {}

    def count(self, kind: Hashable, line: str, now: float, often: int = 1) -> bool:
        """Count a line.  True: it is to be logged, because fewer than ``often`` of its kind were logged lately."""
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            kind = None  # all further kinds
        seen = self._seen.get(kind)
        if seen is None:
            seen = self._seen[kind] = _Seen(now)
        if seen.logged < often:
            seen.logged += 1
            return True
        seen.more += 1
        seen.last = line
        return False

    def pop_due(self, now: float) -> list[str]:
        """The last line of each kind of which lines were not logged, and their number; these count as logged.

        To be called every few seconds.
        """
        lines = []
        for kind, seen in list(self._seen.items()):
            if now - seen.since < WINDOW_S:
                continue
            if not seen.more:
                del self._seen[kind]
                continue
            others = "" if kind is not None else " of different kinds"
            lines.append(f"{seen.last} (… {seen.more} more{others} in the last minute)")
            seen.since, seen.more = now, 0
        return lines


class RepeatingLog:
    """A logger whose lines may repeat: each kind is logged ``often`` times a minute, and then counted."""

    def __init__(self, log: logging.Logger, often: int = 1) -> None:
        self._log = log
        self._often = often
        self._repeats = Repeats()

    def log(self, level: int, kind: Hashable, line: str) -> None:
        if self._repeats.count(kind, line, time.monotonic(), self._often):
            self._log.log(level, "%s", line)

    def print_counts(self) -> None:
        """To be called every few seconds."""
        for line in self._repeats.pop_due(time.monotonic()):
            self._log.warning("%s", line)
