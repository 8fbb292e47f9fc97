"""First packets and first replies that wait for the controller: bounded in age, and served in turn.

``Turns``: each port of a switch, or each server, has a backlog of its own, and one packet of each is served in turn, so
that a flood from one of them does not delay the others.

``Backlog``: more packets may come than the controller can serve.  Then it is better to serve some in time than all
too late: the sender of a packet that has waited longer than ``wait_s`` has sent it again, or given up, so it is shed.
While waits are short, the order of arrival is kept; when they are long, the newest packets are served first, because
these can still be served in time.

``Window``: messages to a switch wait once more, in the connection, where they cannot be put in another order.  So a
switch that is behind is sent no more of them; the packets that they are about wait here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

PATIENCE = 0.5  # of wait_s: so long the order of arrival is kept
MOST = 1 << 13  # packets of one of them, should the clock be of no help
MOST_AT_ONCE = 1 << 12  # that wait: a switch may name any port
MOST_TOGETHER = 1 << 14  # packets of all; beyond, a backlog that has its share drops its oldest packet for each new one
MARK = 64  # messages to a switch; after so many it is asked to say that it has come so far
BEHIND_S = 0.05  # longer than this it should not take

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """``wait_s``: seconds that an item may wait."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: deque[tuple[float, Item]] = deque()
        self.shed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item, now: float, most: int = MOST) -> None:
        """Where ``most`` wait already, the oldest makes room."""
        if len(self._waiting) >= most:
            self._waiting.popleft()
            self.shed += 1
        self._waiting.append((now, item))

    def pop(self, now: float) -> Item | None:
        """The next one to serve; None when nobody waits."""
        waiting = self._waiting
        while waiting and now - waiting[0][0] > self._wait_s:
            waiting.popleft()
            self.shed += 1
        if not waiting:
            return None
        oldest_first = now - waiting[0][0] <= self._wait_s * PATIENCE
        return (waiting.popleft() if oldest_first else waiting.pop())[1]


class Turns(Generic[Key, Item]):
    """The backlogs of one switch."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._backlogs: dict[Key, Backlog[Item]] = {}  # only of those that wait
        self._order: deque[Key] = deque()  # of their turns
        self._waiting = 0
        self._shed = 0

    def __bool__(self) -> bool:
        return bool(self._order)

    @property
    def shed(self) -> int:
        """How many were not served, because they had waited for too long or were too many."""
        return self._shed + sum(backlog.shed for backlog in self._backlogs.values())

    def add(self, key: Key, item: Item, now: float) -> None:
        backlog = self._backlogs.get(key)
        if backlog is None:
            if len(self._order) >= MOST_AT_ONCE:
                self._shed += 1
                return
            backlog = self._backlogs[key] = Backlog(self._wait_s)
            self._order.append(key)
        before = len(backlog)
        backlog.add(item, now, MOST_TOGETHER // len(self._order) if self._waiting >= MOST_TOGETHER else MOST)
        self._waiting += len(backlog) - before

    def pop(self, most: int, now: float) -> list[Item]:
        """The next ``most``, one of each who waits, round and round."""
        items: list[Item] = []
        while self._order and len(items) < most:
            key = self._order.popleft()
            backlog = self._backlogs[key]
            before = len(backlog)
            item = backlog.pop(now)
            self._waiting -= before - len(backlog)
            if item is not None:
                items.append(item)
            if len(backlog):
                self._order.append(key)
            else:
                self._shed += self._backlogs.pop(key).shed
        return items


class Window:
    """What one switch has been sent about those who wait, and has not worked off yet.

    After ``MARK`` messages or more, which are ``sent``, goes a question.  The switch answers it in its turn, and
    has ``passed`` then.  How many it may owe depends on how long it takes: a fast one is never waited for.
    """

    def __init__(self) -> None:
        self._since_mark = 0
        self._owed: deque[float] = deque()  # when these were asked

    def is_open(self, now: float) -> bool:
        return not self._owed or now - self._owed[0] <= BEHIND_S

    def sent(self, messages: int, now: float) -> bool:
        """True: the question is due, and counts as asked."""
        self._since_mark += messages
        if self._since_mark < MARK:
            return False
        self._since_mark = 0
        self._owed.append(now)
        return True

    def passed(self) -> None:
        """It has answered the oldest, or never will."""
        self._owed.popleft()
