"""MemoryStore: enrolments that end with the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from anycast_sdn.core.model import AnycastGroup
from anycast_sdn.store.store import Change, Outdated, Stored, edges_after, groups_after


class MemoryStore:
    """A ``Store`` in memory.  ``shared``: another one whose enrolments it shares, as several controllers would."""

    path = "memory only"
    problem = ""

    def __init__(self, shared: MemoryStore | None = None) -> None:
        self._stored = Stored(0, {})
        self._changed: Callable[[Stored], None] = lambda stored: None
        self._sharing: list[MemoryStore] = shared._sharing if shared else []
        self._sharing.append(self)
        if shared:
            self._stored = shared._stored

    def open(self, first: Iterable[AnycastGroup] = ()) -> Stored:
        if not self._stored.version:
            self._enter(Stored(1, {group.name: group for group in first}))
        return self._stored

    def change(self, at: int, changes: Sequence[Change]) -> int:
        if at != self._stored.version:
            raise Outdated(self._stored)
        groups = dict(self._stored.groups)
        for name, group in groups_after(groups.get, changes).items():
            groups.pop(name, None)
            if group:
                groups[name] = group
        self._enter(Stored(at + 1, groups, edges_after(self._stored.edges, changes)))
        return at + 1

    def _enter(self, stored: Stored) -> None:
        for store in self._sharing:
            store._stored = stored
        for store in self._sharing:
            if store is not self:
                store._changed(stored)

    def watch(self, changed: Callable[[Stored], None]) -> None:
        self._changed = changed

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass
