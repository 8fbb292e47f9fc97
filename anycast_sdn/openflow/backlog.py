"""Backlog: first packets that wait for the controller, bounded in age.

More may come than the controller can take.  Then it is better to serve some in time than all too late:
who has waited longer than ``wait_s`` has sent again, or given up, and is shed.  As long as nobody waits for
long, the order of arrival is kept; beyond that the newest go first, because they are the ones that can
still be served in time.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

PATIENCE = 0.5  # of wait_s: so long the order of arrival is kept
MOST = 1 << 16  # packets, should the clock be of no help

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """``wait_s``: seconds that an item may wait."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: deque[tuple[float, Item]] = deque()
        self.shed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item, now: float) -> None:
        if len(self._waiting) == MOST:
            self._waiting.popleft()
            self.shed += 1
        self._waiting.append((now, item))

    def take(self, now: float) -> Item | None:
        """The next one to serve; None when nobody waits."""
        waiting = self._waiting
        while waiting and now - waiting[0][0] > self._wait_s:
            waiting.popleft()
            self.shed += 1
        if not waiting:
            return None
        oldest_first = now - waiting[0][0] <= self._wait_s * PATIENCE
        return (waiting.popleft() if oldest_first else waiting.pop())[1]
