"""Repeats: what happens again and again is said once, and then counted.

Pure: the caller says what has happened and when, and prints what it is told to.  A kind is whatever makes
two lines the same thing to a reader, an address and a reason for example.  Who can make up kinds cannot fill
the log with them: beyond ``MOST`` in a minute they are counted together.
"""

from __future__ import annotations

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
