"""EtcdNotes: notes of the leader, in etcd.

The rules that it keeps:

- They are written by the leader alone: under the condition that the key ``leader`` is as it was when it was read.  What
  a former leader could not write any more is dropped.
- While etcd is away, what is put is known here, and is written later.
- A note is written again after an answer that was lost: that changes nothing.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from anycast_sdn.cluster.keys import LEADER
from anycast_sdn.etcd.client import MOST_OPERATIONS, Delete, EtcdError, Is, Operation, Put
from anycast_sdn.etcd.mirror import Mirror

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Put:
    """What ``mirror`` does not have yet."""

    text: str | None
    revision: int = 0  # at which it was written; 0: it was not


class EtcdNotes:
    """``member``: the id of this controller."""

    def __init__(self, mirror: Mirror, member: str) -> None:
        self._mirror = mirror
        self.member = member
        self._put: dict[str, _Put] = {}
        self._is_writing = False
        self._listeners: list[Callable[[Collection[str]], None]] = []
        mirror.listen(self._look)

    # ---------------------------------------------------------------- Notes

    @property
    def is_current(self) -> bool:
        return not self._mirror.problem

    def get(self, key: str) -> str | None:
        if put := self._put.get(key):
            return put.text
        stored = self._mirror.values.get(key)
        return stored.text if stored else None

    def below(self, prefix: str) -> Mapping[str, str]:
        at = len(prefix)
        found = {key[at:]: value.text for key, value in self._mirror.values.items() if key.startswith(prefix)}
        for key, put in self._put.items():
            if key.startswith(prefix):
                if put.text is None:
                    found.pop(key[at:], None)
                else:
                    found[key[at:]] = put.text
        return found

    def put(self, key: str, text: str | None) -> None:
        if self.get(key) != text:
            self._put[key] = _Put(text)
            self._tell([key])

    def flush(self) -> None:
        try:
            while self._write_some():
                pass
        except EtcdError as error:
            LOG.debug("etcd: %s", error)

    def watch(self, changed: Callable[[Collection[str]], None]) -> None:
        self._listeners.append(changed)

    # ---------------------------------------------------------------- etcd

    def _write_some(self) -> bool:
        """→ may there be more to write?  Raises EtcdError."""
        leader = self._mirror.values.get(LEADER)
        if leader is None or self._is_writing:
            return False
        if leader.text != self.member:
            self._drop()
            return False
        waiting = ((key, put) for key, put in self._put.items() if not put.revision)
        some = dict(itertools.islice(waiting, MOST_OPERATIONS))
        if not some:
            return False
        path = self._mirror.prefix
        operations: list[Operation] = [
            Delete(path + key) if put.text is None else Put(path + key, put.text) for key, put in some.items()
        ]
        self._is_writing = True
        try:
            done = self._mirror.etcd.transact([Is(path + LEADER, leader.modified)], operations)
        finally:
            self._is_writing = False
        if not done.succeeded:
            return False  # the mirror will say who leads
        for put in some.values():
            put.revision = done.revision
        self._forget_mirrored()
        return True

    def _drop(self) -> None:
        """Another controller leads."""
        dropped = [key for key, put in self._put.items() if not put.revision]
        for key in dropped:
            del self._put[key]
        if dropped:
            self._tell(dropped)

    def _forget_mirrored(self) -> None:
        revision = self._mirror.revision
        for key in [key for key, put in self._put.items() if 0 < put.revision <= revision]:
            del self._put[key]

    def _look(self, changed: Collection[str]) -> None:
        self._forget_mirrored()
        self._tell(changed)

    def _tell(self, changed: Collection[str]) -> None:
        for listener in self._listeners:
            listener(changed)
