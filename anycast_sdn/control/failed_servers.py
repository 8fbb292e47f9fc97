"""FailedServers: hosts that are alive, but fail the checks of a group for so long that its flows leave them (M32, M33).

A server fails for a group alone: another service on the same host keeps its flows.

Rules kept here:
- A server has failed for a group when it has been failing for ``FAILED_AFTER_S``, and until it recovers.
- While a group fails open (``min_healthy``), servers that take new flows in spite of their checks have not failed: the
  check may be wrong, and there is nobody better.
- One that is removed while it is failing has failed at once, and that is remembered until no client edge can remember a
  flow of it: nothing checks it any longer, and late packets of ended flows must not bring these back to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from anycast_sdn.core.model import Address

FAILED_AFTER_S = 5.0

class FailedServers:
    """``remembered_s``: for so long a client edge may remember an ended flow; ``takes_flows``: does this server take
    new flows of this group now?"""

    def __init__(self, remembered_s: float, takes_flows: Callable[[str, Address], bool]) -> None:
        self._remembered_s = remembered_s
        self._takes_flows = takes_flows
        self._failing: dict[tuple[str, Address], float] = {}  # (group, server), not failed yet → since when, in order
        self._failed: dict[Address, dict[str, None]] = {}  # server → groups
        self._in_spite: dict[tuple[str, Address], None] = {}  # of these, those that took new flows at the last tick
        self._removed: dict[tuple[str, Address], float] = {}  # that have failed → when that is forgotten, in order

    def __bool__(self) -> bool:
        return bool(self._failed)

    def has_failed(self, group: str, server: Address) -> bool:
        return self._is_known(group, server) and not self._takes_flows(group, server)

    def groups(self, server: Address) -> list[str]:
        """For which it has failed."""
        return [group for group in self._failed.get(server, ()) if not self._takes_flows(group, server)]

    def _is_known(self, group: str, server: Address) -> bool:
        return bool(self._failed) and group in self._failed.get(server, ())

    def known(self) -> frozenset[tuple[str, Address]]:
        """(group, server), of all that have failed."""
        return frozenset((group, server) for server in self._failed for group in self.groups(server))

    def told(self, failed: Iterable[tuple[str, Address]]) -> None:
        """Another controller finds which have failed: it is these."""
        self._failed = {}
        for group, server in failed:
            self._failed.setdefault(server, {})[group] = None
        self._takes_flows = lambda group, server: False  # which the other has asked for

    def set_failing(self, group: str, server: Address, failing: bool, now: float) -> bool:
        """By its checks → are its flows to be examined?"""
        self._removed.pop((group, server), None)
        if failing:
            if not self._is_known(group, server):
                self._failing.setdefault((group, server), now)
            return False
        self._failing.pop((group, server), None)
        return self._recover(group, server)

    def removed(self, group: str, server: Address, now: float) -> bool:
        """It is no longer enrolled there → are its flows to be examined?"""
        was_failing = self._failing.pop((group, server), None) is not None
        if was_failing:
            self._failed.setdefault(server, {})[group] = None
        if self._is_known(group, server):
            self._removed[group, server] = now + self._remembered_s
        return was_failing

    def tick(self, now: float) -> list[Address]:
        """→ the servers whose flows are to be examined."""
        due = itertools.takewhile(lambda each: now - self._failing[each] >= FAILED_AFTER_S, self._failing)
        failed = list(due)
        for group, server in failed:
            del self._failing[group, server]
            self._failed.setdefault(server, {})[group] = None
        for group, server in list(itertools.takewhile(lambda each: self._removed[each] <= now, self._removed)):
            del self._removed[group, server]
            self._recover(group, server)
        before = self._in_spite
        self._in_spite = {
            (group, server): None
            for server, groups in self._failed.items()
            for group in groups
            if self._takes_flows(group, server)
        }
        return [server for _, server in (*failed, *(each for each in before if each not in self._in_spite))]

    def _recover(self, group: str, server: Address) -> bool:
        if not self._is_known(group, server):
            return False
        del self._failed[server][group]
        if not self._failed[server]:
            del self._failed[server]
        return True
