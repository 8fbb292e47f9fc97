"""Due: when something is to be done about a thing, such as a binding or a lease."""

from __future__ import annotations

import heapq
import math
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Any)  # hashable and ordered: a number, or a tuple of such values


class Due(Generic[Key]):
    def __init__(self) -> None:
        self._heap: list[tuple[float, Key]] = []  # (when, key); entries that ``_when`` does not confirm are obsolete
        self._when: dict[Key, float] = {}

    @property
    def planned(self) -> dict[Key, float]:
        """When what is due, by key."""
        return dict(self._when)

    def at(self, key: Key) -> float:
        """When that is due which is planned for this key."""
        return self._when[key]

    def plan(self, key: Key, when: float) -> None:
        """In place of what was planned for this key before."""
        self._when[key] = when
        heapq.heappush(self._heap, (when, key))

    def plan_by(self, key: Key, when: float) -> None:
        """At this time at the latest: what is planned for this key already may be sooner."""
        if when < self._when.get(key, math.inf):
            self.plan(key, when)

    def cancel(self, key: Key) -> None:
        self._when.pop(key, None)

    def pop(self, now: float) -> Key | None:
        """The next key that is due at this time; it is planned no longer."""
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                return key
        return None
