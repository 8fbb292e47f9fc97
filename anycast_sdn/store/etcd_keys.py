"""Enrolments as keys and texts of etcd: what keys hold, decoded once each, and what changes make of them.

    groups/NAME                    the settings of a group (``store.encoding``)
    servers/NAME/ADDRESS           those of a server of it
    edges/NAME                     the drain of a server edge
    pending                        a change that is too large for one transaction: it is stored, and counts in place of
                                   what its keys have, until they have it, too

The rule that this file keeps: nothing here asks etcd, and a change is compared with what is known of the version on
which it was decided.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from anycast_sdn.core.model import Address, AnycastGroup, Drain, Server, packed, text
from anycast_sdn.etcd.client import MOST_OPERATIONS, Delete, DeleteBelow, Operation, Put, Value
from anycast_sdn.store import encoding
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    DrainEdge,
    PutGroup,
    PutServer,
    ResumeEdge,
)

GROUPS, SERVERS, EDGES, PENDING = "groups/", "servers/", "edges/", "pending"
ENROLMENTS = (GROUPS, SERVERS, EDGES)
TOGETHER = MOST_OPERATIONS - 10  # keys in a transaction, beside ``version`` and the like
SLICE = 100  # keys that are decoded in a few milliseconds
MOST_BYTES = 1_000_000  # of what a transaction puts; etcd takes 1.5 MiB, unless it is told otherwise

Texts = Mapping[str, str | None]  # key → what it is to have; None: it is to be deleted


class EnrolledKeys:
    """What the keys hold, ``pending`` included.  ``problem``: what is not ours there, "" if all is."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._pending: Texts = {}
        self._settings: dict[str, AnycastGroup] = {}  # without servers
        self._servers: dict[str, dict[Address, Server]] = {}
        self._edges: dict[str, Drain] = {}
        self._bad: dict[str, str] = {}  # key → why it cannot be read
        self._groups: dict[str, AnycastGroup] = {}
        self._stale: set[str] = set()  # groups that have changed since ``groups`` was called

    @property
    def problem(self) -> str:
        return next((f"{key}: {reason}" for key, reason in self._bad.items()), "")

    def take(
        self, changed: Collection[str], values: Mapping[str, Value], pause: Callable[[], None] = lambda: None
    ) -> None:
        """etcd has changed these keys.  ``pause``: called now and then where they are many."""
        keys = {key for key in changed if key.startswith(ENROLMENTS)}
        if PENDING in changed:
            before, self._pending = self._pending, {}
            self._bad.pop(PENDING, None)
            if found := values.get(PENDING):
                try:
                    self._pending = pending_of(found.text)
                except ValueError as error:
                    self._bad[PENDING] = str(error)
            keys |= before.keys() | self._pending.keys()
        for number, key in enumerate(keys):
            if key in self._pending:
                self._set(key, self._pending[key])
            else:
                self._set(key, values[key].text if key in values else None)
            if number % SLICE == SLICE - 1:
                pause()

    def apply(self, texts: Texts) -> None:
        """A change has been stored."""
        for key, wanted in texts.items():
            self._set(key, wanted)

    def groups(self) -> Mapping[str, AnycastGroup]:
        """All of them; those that have not changed are the same values as before."""
        if self._stale:
            groups = dict(self._groups)
            for name in self._stale:
                groups.pop(name, None)
                if settings := self._settings.get(name):
                    servers = self._servers.get(name, {})
                    groups[name] = replace(settings, servers=dict(servers))
            self._groups = dict(sorted(groups.items()))
            self._stale = set()
        return self._groups

    def edges(self) -> Mapping[str, Drain]:
        return dict(sorted(self._edges.items()))

    def texts(self) -> Mapping[str, str]:
        """All keys, with what they have."""
        return self._texts

    def after(self, changes: Sequence[Change], schema: int) -> dict[str, str | None]:
        """What these changes make of keys, where they make a difference.

        Raises ValueError for what this schema of etcd has no place for.
        """
        texts: dict[str, str | None] = {}
        for change in changes:
            match change:
                case PutGroup(group):
                    texts[GROUPS + group.name] = encoding.group_text(group, schema)
                case DeleteGroup(name):
                    below = f"{SERVERS}{name}/"
                    texts[GROUPS + name] = None
                    texts |= dict.fromkeys((below + text(each) for each in self._servers.get(name, ())), None)
                    texts |= dict.fromkeys((key for key in texts if key.startswith(below)), None)
                case PutServer(name, server):
                    if texts.get(GROUPS + name, self._texts.get(GROUPS + name)) is not None:
                        texts[f"{SERVERS}{name}/{text(server.address)}"] = encoding.server_text(server, schema)
                case DeleteServer(name, address):
                    texts[f"{SERVERS}{name}/{text(address)}"] = None
                case DrainEdge(edge, drain):
                    texts[EDGES + edge] = encoding.drain_text(drain, schema)
                case ResumeEdge(edge):
                    texts[EDGES + edge] = None
        return {key: wanted for key, wanted in texts.items() if wanted != self._texts.get(key)}

    def _set(self, key: str, wanted: str | None) -> None:
        if self._texts.get(key) == wanted and key not in self._bad:
            return
        self._bad.pop(key, None)
        if wanted is None:
            self._texts.pop(key, None)
        else:
            self._texts[key] = wanted
        try:
            self._decode(key, wanted)
        except ValueError as error:
            self._bad[key] = str(error)

    def _decode(self, key: str, wanted: str | None) -> None:
        """Raises ValueError."""
        if key.startswith(GROUPS):
            name = key[len(GROUPS):]
            self._stale.add(name)
            if wanted is None:
                self._settings.pop(name, None)
            else:
                self._settings[name] = encoding.group(name, wanted, {})
        elif key.startswith(SERVERS):
            name, _, address = key[len(SERVERS):].partition("/")
            self._stale.add(name)
            servers = self._servers.setdefault(name, {})
            if wanted is None:
                servers.pop(packed(address), None)
            else:
                servers[packed(address)] = encoding.server(packed(address), wanted)
        elif wanted is None:
            self._edges.pop(key[len(EDGES):], None)
        else:
            self._edges[key[len(EDGES):]] = encoding.drain(wanted)


def operations(path: str, texts: Texts) -> Iterable[Operation]:
    """What makes keys below ``path`` have these texts; a group that goes with all its servers is one operation."""
    kept = {_group_of(key) for key, wanted in texts.items() if wanted is not None and key.startswith(SERVERS)}
    gone = {key[len(GROUPS):] for key, wanted in texts.items() if wanted is None and key.startswith(GROUPS)} - kept
    for name in sorted(gone):
        yield DeleteBelow(f"{path}{SERVERS}{name}/")
    for key, wanted in texts.items():
        if wanted is not None:
            yield Put(path + key, wanted)
        elif not key.startswith(SERVERS) or _group_of(key) not in gone:
            yield Delete(path + key)


def pending_text(texts: Texts) -> str:
    """Raises ValueError when it is too large for etcd."""
    packed_text = b64encode(zlib.compress(json.dumps(texts, separators=(",", ":")).encode())).decode()
    if len(packed_text) > MOST_BYTES:
        raise ValueError(
            f"a change of {len(texts):,} groups and servers has {len(packed_text):,} bytes, compressed, and etcd takes "
            f"{MOST_BYTES:,} at once: nothing was changed; make it in parts, or import into an etcd without enrolments"
        )
    return packed_text


def pending_of(stored: str) -> dict[str, str | None]:
    """Raises ValueError."""
    try:
        found = json.loads(zlib.decompress(b64decode(stored, validate=True)))
    except (ValueError, zlib.error) as error:
        raise ValueError(f"it is not a change: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a change")
    return found


def batches(path: str, texts: Texts) -> Iterable[Sequence[Operation]]:
    """The same in transactions that etcd takes."""
    batch: list[Operation] = []
    size = 0
    for each in operations(path, texts):
        if len(batch) == TOGETHER or (batch and size + _size(each) > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += _size(each)
    if batch:
        yield batch


def is_small(wanted: Collection[Operation]) -> bool:
    """Does a transaction of etcd take all of it?"""
    return len(wanted) <= TOGETHER and sum(map(_size, wanted)) <= MOST_BYTES


def must_be_small(texts: Texts) -> None:
    """Raises ValueError for what no transaction takes."""
    for key, wanted in texts.items():
        if wanted and len(wanted) > MOST_BYTES:
            reason = f"its settings have {len(wanted):,} bytes, and etcd takes {MOST_BYTES:,} at once"
            raise ValueError(f"{key}: {reason}: nothing was changed; give it fewer prefixes")


def _size(operation: Operation) -> int:
    return len(operation.text) if isinstance(operation, Put) else 0


def _group_of(key: str) -> str:
    return key[len(SERVERS):].partition("/")[0]
