"""Queues of first packets and first replies that wait for the controller: bounded in age, and served in turn.

``RoundRobin``: each port of a switch, or each server, has a backlog of its own.  One packet of each is served in turn,
so a flood from one of them does not delay the others.

``Backlog``: more packets may come than the controller can serve.  Then it is better to serve some in time than all too
late: the sender of a packet that has waited longer than ``wait_s`` has sent it again, or given up, so it is shed.
While waits are short, the order of arrival is kept.  When they are long, the newest packets are served first, because
these can still be served in time.

``Window``: messages to a switch wait once more, in its connection, where their order cannot change any more.  So no
further packets of a switch are served while it has not processed what was sent before; they wait here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

IN_ORDER = 0.5  # of wait_s: up to this wait the order of arrival is kept
MAX_ITEMS = 1 << 13  # in one backlog, even if all arrive at the same time
MAX_BACKLOGS = 1 << 12  # of one switch: its packet-ins may name any port
MAX_TOGETHER = 1 << 14  # in all backlogs; beyond, a backlog that has its share drops its oldest packet for each new one
PROBE_AFTER = 64  # messages to a switch; then a probe follows them
BEHIND_S = 0.05  # a switch that has not answered a probe for so long is behind

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """``wait_s``: seconds that an item may wait; ``in_order``: the part of these in which the oldest is the next."""

    def __init__(self, wait_s: float, in_order: float = IN_ORDER) -> None:
        self._wait_s = wait_s
        self._in_order_s = wait_s * in_order
        self._waiting: deque[tuple[float, Item]] = deque()
        self.shed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item, now: float, most: int = MAX_ITEMS) -> None:
        """If ``most`` wait already, the oldest is shed."""
        if len(self._waiting) >= most:
            self._waiting.popleft()
            self.shed += 1
        self._waiting.append((now, item))

    def pop(self, now: float) -> Item | None:
        """The next item to serve; None when there is none."""
        waiting = self._waiting
        while waiting and now - waiting[0][0] > self._wait_s:
            waiting.popleft()
            self.shed += 1
        if not waiting:
            return None
        oldest_first = now - waiting[0][0] <= self._in_order_s
        return (waiting.popleft() if oldest_first else waiting.pop())[1]


class RoundRobin(Generic[Key, Item]):
    """The backlogs of one switch; for the arguments see ``Backlog``."""

    def __init__(self, wait_s: float, in_order: float = IN_ORDER) -> None:
        self._wait_s = wait_s
        self._in_order = in_order
        self._backlogs: dict[Key, Backlog[Item]] = {}  # those that are not empty
        self._order: deque[Key] = deque()  # of their turns
        self._waiting = 0
        self._shed = 0

    def __len__(self) -> int:
        return self._waiting

    def __bool__(self) -> bool:
        return bool(self._order)

    def __contains__(self, key: Key) -> bool:
        """Does an item with this key wait?"""
        return key in self._backlogs

    @property
    def shed(self) -> int:
        """How many items were dropped, because they had waited too long or were too many."""
        return self._shed + sum(backlog.shed for backlog in self._backlogs.values())

    def add(self, key: Key, item: Item, now: float) -> None:
        backlog = self._backlogs.get(key)
        if backlog is None:
            if len(self._order) >= MAX_BACKLOGS:
                self._shed += 1
                return
            backlog = self._backlogs[key] = Backlog(self._wait_s, self._in_order)
            self._order.append(key)
        before = len(backlog)
        backlog.add(item, now, MAX_TOGETHER // len(self._order) if self._waiting >= MAX_TOGETHER else MAX_ITEMS)
        self._waiting += len(backlog) - before

    def pop(self, most: int, now: float) -> list[Item]:
        """The next items, ``most`` of them at the most: one of each backlog in turn, again and again."""
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
    """How far one switch has processed the messages that first packets have led to.

    After every ``PROBE_AFTER`` messages a probe (echo request) follows, which the switch answers in order.  The window
    is open as long as probes are answered within ``BEHIND_S``: how many messages may be under way depends on the
    switch's speed alone.
    """

    def __init__(self) -> None:
        self._since_probe = 0
        self._unanswered: deque[float] = deque()  # when these probes were sent

    def is_open(self, now: float) -> bool:
        return not self._unanswered or now - self._unanswered[0] <= BEHIND_S

    def count_sent(self, messages: int, now: float) -> bool:
        """True: a probe is due, and counts as sent."""
        self._since_probe += messages
        if self._since_probe < PROBE_AFTER:
            return False
        self._since_probe = 0
        self._unanswered.append(now)
        return True

    def probe_ended(self) -> None:
        """The oldest probe has been answered, or has timed out."""
        self._unanswered.popleft()
