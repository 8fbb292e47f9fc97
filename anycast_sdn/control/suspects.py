"""Suspects: what is to be looked at, by switch; each is there once, however often it is suspected while it waits.

Very many may be suspected at once, of many switches: adding costs little for each, and whose switches they are is
known without looking at them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from anycast_sdn.core.model import Prefix


class Suspects:
    """(switch's datapath id, ANY/n)."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[Prefix, None]] = {}
        self._dpid = 0
        self._current: deque[Prefix] = deque()  # of this switch

    def __bool__(self) -> bool:
        return bool(self._waiting or self._current)

    def add(self, dpid: int, prefixes: Mapping[Prefix, None]) -> None:
        if prefixes:
            self._waiting.setdefault(dpid, {}).update(prefixes)

    def switches(self) -> Iterable[int]:
        """Those of which some are left."""
        return {*self._waiting, self._dpid} if self._current else self._waiting.keys()

    def pop(self, most: int) -> list[tuple[int, Prefix]]:
        """Removes up to ``most`` and returns them, one switch after the other."""
        taken: list[tuple[int, Prefix]] = []
        while self and len(taken) < most:
            if not self._current:
                self._dpid = next(iter(self._waiting))
                self._current.extend(self._waiting.pop(self._dpid))
            taken.append((self._dpid, self._current.popleft()))
        return taken
