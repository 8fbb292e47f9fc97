"""FailedServers: hosts that are alive, but fail the checks of a group for so long that its flows leave them (M32, M33).

A server fails for a group alone: another service on the same host keeps its flows.

Rules kept here:
- A server has failed for a group when it has been failing for ``FAILED_AFTER_S``, and until it recovers.
- One that is removed while it is failing has failed at once, and that is remembered until no client edge can remember a
  flow of it: nothing checks it any longer, and late packets of ended flows must not bring these back to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection

from anycast_sdn.core.model import Address

FAILED_AFTER_S = 5.0

_NO_GROUPS: frozenset[str] = frozenset()


class FailedServers:
    """``remembered_s``: for so long a client edge may remember an ended flow."""

    def __init__(self, remembered_s: float) -> None:
        self._remembered_s = remembered_s
        self._failing: dict[tuple[str, Address], float] = {}  # (group, server), not failed yet → since when, in order
        self._failed: dict[Address, set[str]] = {}  # server → groups
        self._removed: dict[tuple[str, Address], float] = {}  # that have failed → when that is forgotten, in order

    def __bool__(self) -> bool:
        return bool(self._failed)

    def groups(self, server: Address) -> Collection[str]:
        """For which it has failed."""
        return self._failed.get(server, _NO_GROUPS)

    def set_failing(self, group: str, server: Address, failing: bool, now: float) -> bool:
        """By its checks → are its flows to be examined?"""
        self._removed.pop((group, server), None)
        if failing:
            if group not in self.groups(server):
                self._failing.setdefault((group, server), now)
            return False
        self._failing.pop((group, server), None)
        return self._recover(group, server)

    def removed(self, group: str, server: Address, now: float) -> bool:
        """It is no longer enrolled there → are its flows to be examined?"""
        was_failing = self._failing.pop((group, server), None) is not None
        if was_failing:
            self._failed.setdefault(server, set()).add(group)
        if group in self.groups(server):
            self._removed[group, server] = now + self._remembered_s
        return was_failing

    def tick(self, now: float) -> list[Address]:
        """→ the servers whose flows are to be examined."""
        due = itertools.takewhile(lambda each: now - self._failing[each] >= FAILED_AFTER_S, self._failing)
        failed = list(due)
        for group, server in failed:
            del self._failing[group, server]
            self._failed.setdefault(server, set()).add(group)
        for group, server in list(itertools.takewhile(lambda each: self._removed[each] <= now, self._removed)):
            del self._removed[group, server]
            self._recover(group, server)
        return [server for _, server in failed]

    def _recover(self, group: str, server: Address) -> bool:
        if group not in self.groups(server):
            return False
        self._failed[server].remove(group)
        if not self._failed[server]:
            del self._failed[server]
        return True
