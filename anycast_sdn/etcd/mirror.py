"""Mirror: what etcd has below a prefix, in memory, kept by a watch.

The rules that it keeps:

- ``values`` is what etcd had at ``revision``; it only moves forwards.  After a break everything is read anew, and
  the difference is handed over as if it had been watched.
- A watch can be silent for ever although packets are lost: whoever runs the mirror changes a key below the prefix every
  second (a canary), so silence means that the watch is deaf.
- Listeners are called one after the other, with the keys that have changed; a fault in one does not concern the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

from anycast_sdn.etcd.client import Etcd, EtcdError, Value

LOG = logging.getLogger(__name__)

DEAF_S = 2.5  # without any change, the canary's included
PAUSE_S = 0.1  # between two attempts

Listener = Callable[[Collection[str]], None]


class Mirror:
    """``prefix`` ends with a slash; keys are without it here."""

    def __init__(self, etcd: Etcd, prefix: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.etcd = etcd
        self.prefix = prefix
        self.revision = 0
        self.values: Mapping[str, Value] = {}
        self.problem = "etcd has not been read yet"
        self._pause = pause
        self._listeners: list[Listener] = []
        self._is_active = True

    def listen(self, listener: Listener) -> None:
        """From now on it is called with the keys that have changed."""
        self._listeners.append(listener)

    def load(self) -> None:
        """Read everything.  Raises EtcdError."""
        revision, found = self.etcd.below(self.prefix)
        at = len(self.prefix)
        values = {key[at:]: value for key, value in found.items()}
        changed = {key for key in self.values.keys() | values if self.values.get(key) != values.get(key)}
        self.values, self.revision, self.problem = values, revision, ""
        self._tell(changed)

    def run(self) -> None:
        """Watches until ``stop``."""
        while self._is_active:
            try:
                self.load()
                self._watch()
            except EtcdError as error:
                self.problem = str(error)
                self.etcd.use_another_endpoint()
                self._pause(PAUSE_S)

    def stop(self) -> None:
        self._is_active = False

    def _watch(self) -> None:
        """Raises EtcdError."""
        at = len(self.prefix)
        for revision, changes in self.etcd.watch(self.prefix, self.revision, DEAF_S):
            if not self._is_active:
                return
            self.revision = max(self.revision, revision)
            values = dict(self.values)
            for key, value in changes:
                if value is None:
                    values.pop(key[at:], None)
                else:
                    values[key[at:]] = value
            self.values = values
            self._tell({key[at:] for key, _ in changes})

    def _tell(self, changed: Collection[str]) -> None:
        if not changed:
            return
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                LOG.exception("internal error when etcd had changed")
