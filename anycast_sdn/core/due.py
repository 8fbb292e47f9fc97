"""Due: when something is to be done about a binding, each by its number."""

from __future__ import annotations

import heapq


class Due:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []  # (when, number); entries that ``_when`` does not confirm are obsolete
        self._when: dict[int, float] = {}

    @property
    def planned(self) -> dict[int, float]:
        """When what is due, by number."""
        return dict(self._when)

    def plan(self, number: int, when: float) -> None:
        """In place of what was planned for this number before."""
        self._when[number] = when
        heapq.heappush(self._heap, (when, number))

    def cancel(self, number: int) -> None:
        self._when.pop(number, None)

    def pop(self, now: float) -> int | None:
        """The next number that is due at this time; it is planned no longer."""
        while self._heap and self._heap[0][0] <= now:
            when, number = heapq.heappop(self._heap)
            if self._when.get(number) == when:
                del self._when[number]
                return number
        return None
