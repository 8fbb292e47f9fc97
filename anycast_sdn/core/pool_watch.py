"""PoolWatch: is a pool of translation addresses low or exhausted, and how long will it last?

It looks at the pool regularly and compares how many addresses could be leased (``TranslationPool.left``) with what it
saw some seconds ago.

Rules kept here:
- A pool is low when less than a tenth of it is left, or when less than ``soon_share`` is left and that would be used up
  within ``SOON_S`` at the rate of the last seconds.  A burst is not reported while it leaves more: most bursts end, and
  where flows share addresses once half of the pool is used (``Pooling.AUTO``), all bursts of a few clients do.
- It is exhausted when nothing is left, or when a flow has found nothing since the last look.
- It stays at its worst level of the last ``STEADY_S``, so that a pool at the edge of a level is told once, and not with
  each address that comes and goes.

The time is an argument; a gap between two looks makes what was seen before it obsolete.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

LOW_SHARE = 10  # low: less than one in so many addresses is left
SOON_S = 60.0
WINDOW_S = 10.0  # the rate is that of this time
LEAST_S = 3.0  # a rate over less than this says nothing
STEADY_S = 10.0


class Level(enum.IntEnum):
    """The higher, the worse."""

    PLENTY = 0
    LOW = 1
    EXHAUSTED = 2


class Outlook(NamedTuple):
    """Of a pool, as of the last look."""

    level: Level
    left: int  # addresses that could be leased
    used_up_in_s: float | None = None  # at the rate of the last seconds; None: not at that rate


class PoolWatch:
    """Of one pool; ``size``: its addresses."""

    def __init__(self, size: int, soon_share: float = 1 / 2) -> None:
        self._size = size
        self._soon_share = soon_share
        self._seen: deque[tuple[float, int]] = deque()  # when, and what was left
        self._worst: dict[Level, float] = {}  # when each level was seen last
        self._denied = 0
        self.outlook = Outlook(Level.PLENTY, size)

    def look(self, left: int, denied: int, now: float) -> Level | None:
        """→ the level, if it is worse than before, or PLENTY again.

        ``denied``: how many flows have found no address until now.
        """
        before, in_vain, self._denied = self.outlook.level, denied > self._denied, denied
        if self._seen and now - self._seen[-1][0] > WINDOW_S:
            self._seen.clear()
        while self._seen and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        self._seen.append((now, left))
        used_up_in_s = self._used_up_in_s()
        self._worst[self._level(left, in_vain, used_up_in_s)] = now
        level = max(level for level, when in self._worst.items() if now - when <= STEADY_S)
        self.outlook = Outlook(level, left, used_up_in_s)
        return level if level > before or level is Level.PLENTY is not before else None

    def _used_up_in_s(self) -> float | None:
        (began, first), (now, left) = self._seen[0], self._seen[-1]
        if now - began < LEAST_S or left >= first:
            return None
        return left * (now - began) / (first - left)

    def _level(self, left: int, in_vain: bool, used_up_in_s: float | None) -> Level:
        if not left or in_vain:
            return Level.EXHAUSTED
        soon = used_up_in_s is not None and used_up_in_s <= SOON_S
        low = LOW_SHARE * left < self._size or (soon and left < self._soon_share * self._size)
        return Level.LOW if low else Level.PLENTY
