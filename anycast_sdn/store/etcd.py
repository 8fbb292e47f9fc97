"""EtcdStore: enrolments in etcd, which several controllers change and watch.

    version                        changes with each change; its revision is the version
    groups/NAME                    the settings of a group (``store.encoding``)
    servers/NAME/ADDRESS           those of a server of it
    edges/NAME                     the drain of a server edge

The rules this file keeps, beside those of ``store.store``:

- A change is one transaction, under the condition that ``version`` is as it was when the change was decided.
- A change that etcd has not answered may be stored: ``version`` has a text that nobody else writes, and tells.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from anycast_sdn.core.model import Address, AnycastGroup, Server, packed, text
from anycast_sdn.etcd.client import Delete, EtcdError, Is, Operation, Put, Unsure
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.store import encoding
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    DrainEdge,
    Outdated,
    PutGroup,
    PutServer,
    ResumeEdge,
    Stored,
    StoreError,
)

VERSION, GROUPS, SERVERS, EDGES = "version", "groups/", "servers/", "edges/"


class EtcdStore:
    """A ``Store`` of what ``mirror`` has.  ``path``: how it is called in messages."""

    def __init__(self, mirror: Mirror, path: str) -> None:
        self._mirror = mirror
        self.path = path
        self._known = 0  # the version that was read or made here last
        self._changed: Callable[[Stored], None] = lambda stored: None
        mirror.listen(self._look)

    @property
    def problem(self) -> str:
        return self._mirror.problem and f"{self.path}: {self._mirror.problem}"

    def open(self, first: Iterable[AnycastGroup] = ()) -> Stored:
        if VERSION not in self._mirror.values:
            changes: list[Change] = []
            for group in first:
                changes.append(PutGroup(group))
                changes += [PutServer(group.name, server) for server in group.servers.values()]
            with suppress(Outdated):  # another controller was first
                self.change(0, changes)
            try:
                self._mirror.load()
            except EtcdError as error:
                raise StoreError(f"{self.path}: {error}") from error
        stored = self._stored()
        self._known = stored.version
        return stored

    def change(self, at: int, changes: Sequence[Change]) -> int:
        mark = uuid.uuid4().hex
        path = self._mirror.prefix
        operations = [self._operation(change) for change in changes]
        try:
            done = self._mirror.etcd.transact([Is(path + VERSION, at)], [*operations, Put(path + VERSION, mark)])
        except Unsure as unsure:
            return self._resolve(mark, unsure)
        except EtcdError as error:
            raise StoreError(f"{self.path}: {error}") from error
        if not done.succeeded:
            raise Outdated(self._read())
        self._known = done.revision
        return done.revision

    def watch(self, changed: Callable[[Stored], None]) -> None:
        self._changed = changed

    def check(self) -> None:
        pass  # the mirror does

    def close(self) -> None:
        pass

    def _resolve(self, mark: str, unsure: Unsure) -> int:
        """Was the change stored?  → its version.  Raises StoreError, also if that cannot be found out."""
        stored = self._read()
        version = self._mirror.values.get(VERSION)
        if version and version.text == mark:
            self._known = version.modified
            return version.modified
        raise StoreError(f"{self.path}: not stored: {unsure} (version {stored.version})")

    def _read(self) -> Stored:
        try:
            self._mirror.load()
        except EtcdError as error:
            raise StoreError(f"{self.path}: {error}") from error
        return self._stored()

    def _look(self, changed: Collection[str]) -> None:
        if VERSION in changed and VERSION in self._mirror.values:
            stored = self._stored()
            if stored.version > self._known:
                self._known = stored.version
                self._changed(stored)

    def _stored(self) -> Stored:
        """Raises StoreError for content that is not ours."""
        values = self._mirror.values
        servers: dict[str, dict[Address, Server]] = {}
        groups: dict[str, AnycastGroup] = {}
        try:
            for key, value in values.items():
                if key.startswith(SERVERS):
                    name, _, address = key[len(SERVERS):].partition("/")
                    server = encoding.server(packed(address), value.text)
                    servers.setdefault(name, {})[server.address] = server
            for key in sorted(key for key in values if key.startswith(GROUPS)):
                name = key[len(GROUPS):]
                groups[name] = encoding.group(name, values[key].text, servers.get(name, {}))
            edges = {
                key[len(EDGES):]: encoding.drain(values[key].text) for key in sorted(values) if key.startswith(EDGES)
            }
        except ValueError as error:
            raise StoreError(f"{self.path}: holds what is not ours: {error}") from error
        version = values.get(VERSION)
        return Stored(version.modified if version else 0, groups, edges)

    def _operation(self, change: Change) -> Operation:
        path = self._mirror.prefix
        match change:
            case PutGroup(group):
                return Put(f"{path}{GROUPS}{group.name}", encoding.group_text(group))
            case DeleteGroup(name):
                return Delete(f"{path}{GROUPS}{name}")
            case PutServer(name, server):
                return Put(f"{path}{SERVERS}{name}/{text(server.address)}", encoding.server_text(server))
            case DeleteServer(name, address):
                return Delete(f"{path}{SERVERS}{name}/{text(address)}")
            case DrainEdge(edge, drain):
                return Put(f"{path}{EDGES}{edge}", encoding.drain_text(drain))
            case ResumeEdge(edge):
                return Delete(f"{path}{EDGES}{edge}")

