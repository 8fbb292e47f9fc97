"""PrefixQueue: pairs of a switch and a prefix that wait to be examined, each at most once.

One event may add very many pairs, of many switches.  So adding is cheap, and the switches are found without a walk
over all pairs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from anycast_sdn.core.model import Prefix


class PrefixQueue:
    """(switch's datapath id, prefix)."""

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
        """The switches of which prefixes wait."""
        return {*self._waiting, self._dpid} if self._current else self._waiting.keys()

    def pop(self, most: int) -> list[tuple[int, Prefix]]:
        """Remove and return up to ``most`` pairs, one switch after the other."""
        taken: list[tuple[int, Prefix]] = []
        while self and len(taken) < most:
            if not self._current:
                self._dpid = next(iter(self._waiting))
                self._current.extend(self._waiting.pop(self._dpid))
            taken.append((self._dpid, self._current.popleft()))
        return taken
