"""Inquiries: when to ask about what nobody reports the end of, such as connections in a switch's tracker.

Each thing is asked about in turn, by its key: the first time when it may have ended at the earliest, and then again
and again.  An inquiry that gets no answer in time is made again.  Nobody has to be asked all at once: inquiries are
limited in their rate, and those that are due longest come first.

There may be very many keys, so times are kept in slots: a key costs one place in a dictionary and one in its slot.
What is forgotten, or planned for another time, stays in its slot at first; but a slot never has more of that than of
others.

Pure: ``now`` is an argument, in seconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from anycast_sdn.core.token_bucket import TokenBucket

Key = TypeVar("Key", bound=Any)  # hashable

SLOT_S = 0.25  # so much later than planned an inquiry may be made


class _Slot(Generic[Key]):
    """The keys whose inquiries are due at one time."""

    __slots__ = ("keys", "number", "obsolete")

    def __init__(self, number: int) -> None:
        self.number = number
        self.keys: list[Key] = []
        self.obsolete = 0  # how many of the keys are not to be asked about then


class Inquiries(Generic[Key]):
    """``per_s``, ``burst``: the most inquiries; ``answer_s``: an answer takes no longer."""

    def __init__(self, per_s: float, burst: int, answer_s: float) -> None:
        self._tokens = TokenBucket(per_s, burst)
        self._answer_s = answer_s
        self._slots: dict[int, _Slot[Key]] = {}  # by number; the keys that ``_slot_of`` does not confirm are obsolete
        self._order: list[int] = []  # a heap of the slots' numbers
        self._slot_of: dict[Key, _Slot[Key]] = {}
        self._asked: dict[Key, int] = {}  # key → number of the inquiry that is not answered yet
        self._number = 0  # of the last inquiry

    def __len__(self) -> int:
        """How many things are to be asked about."""
        return len(self._slot_of)

    def __contains__(self, key: Key) -> bool:
        return key in self._slot_of

    def plan(self, key: Key, when: float) -> None:
        """In place of what was planned for this key; an answer that is still on its way counts no longer."""
        self._asked.pop(key, None)
        self._place(key, math.ceil(when / SLOT_S))

    def plan_by(self, key: Key, when: float) -> None:
        """At this time at the latest."""
        planned = self._slot_of.get(key)
        if planned is None or math.ceil(when / SLOT_S) < planned.number:
            self.plan(key, when)

    def overtaken(self, key: Key) -> None:
        """An answer that is still on its way counts no longer."""
        self._asked.pop(key, None)

    def forget(self, key: Key) -> None:
        self._leave(key)
        self._asked.pop(key, None)

    def pop(self, now: float, most: int) -> Iterator[tuple[Key, int]]:
        """(key, number of the inquiry) of up to ``most`` inquiries that are due and are made now."""
        last = math.floor(now / SLOT_S)
        while most and self._order and self._order[0] <= last:
            slot = self._slots[self._order[0]]
            while slot.keys:
                key = slot.keys[-1]
                if self._slot_of.get(key) is slot:
                    if not most or not self._tokens.take(now):
                        return
                    most -= 1
                    self._number += 1
                    self._asked[key] = self._number
                    slot.keys.pop()
                    del self._slot_of[key]
                    self._place(key, math.ceil((now + self._answer_s) / SLOT_S))
                    yield key, self._number
                else:
                    slot.keys.pop()
                    slot.obsolete -= 1
            heapq.heappop(self._order)
            del self._slots[slot.number]

    def take_answer(self, key: Key, number: int) -> bool:
        """Is this the answer to the last inquiry about it?  Then ``plan`` the next one, or ``forget`` the key."""
        if self._asked.get(key) != number:
            return False
        del self._asked[key]
        return True

    def _place(self, key: Key, number: int) -> None:
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = _Slot(number)
            heapq.heappush(self._order, number)
        if self._slot_of.get(key) is not slot:
            self._leave(key)
            self._slot_of[key] = slot
            slot.keys.append(key)

    def _leave(self, key: Key) -> None:
        """Nothing is planned for this key any more."""
        slot = self._slot_of.pop(key, None)
        if slot is not None:
            slot.obsolete += 1
            if 2 * slot.obsolete > len(slot.keys):
                slot.keys = [each for each in slot.keys if self._slot_of.get(each) is slot]
                slot.obsolete = 0
