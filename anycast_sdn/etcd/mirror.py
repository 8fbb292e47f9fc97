"""Mirror: what etcd has below a prefix, in memory, kept by a watch.

The rules that it keeps:

- ``values`` is what etcd had at ``revision``, all of it.  It changes in place, a revision at a time, and listeners are
  called before anything else runs.
- After a break of the watch everything is read anew, and the difference is handed over as if it had been watched.
- A watch can be silent for ever although packets are lost: whoever runs the mirror changes a key below the prefix every
  second (a canary), so silence means that the watch is deaf.
- etcd may have less than it had: rebuilt, or restored from an older state.  Then ``revision`` goes back, and
  ``times_gone_back`` says so.
- Listeners are called one after the other, with the keys that have changed; a fault in one does not concern the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

from anycast_sdn.etcd.client import Changes, Etcd, EtcdError, Value

LOG = logging.getLogger(__name__)

DEAF_S = 2.5  # without any change, the canary's included
PAUSE_S = 0.1  # between two attempts
MANY = 20  # changes, after which others may run
STEP_S = 0.005  # between two looks for a revision

Listener = Callable[[Collection[str]], None]


class Mirror:
    """``prefix`` ends with a slash; keys are without it here.  ``pause``: lets others run for so many seconds.

    ``problem``: why ``values`` may be out of date, since ``problem_since``; "" if they are not.
    """

    def __init__(
        self,
        etcd: Etcd,
        prefix: str,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.etcd = etcd
        self.prefix = prefix
        self.pause = pause
        self.clock = clock
        self.revision = 0
        self.times_gone_back = 0
        self.problem = "etcd has not been read yet"
        self.heard_at = self.clock()  # when a change came last, or all was read
        self.problem_since = clock()
        self._values: dict[str, Value] = {}
        self._listeners: list[Listener] = []
        self._is_active = True
        self._is_watching = False

    @property
    def values(self) -> Mapping[str, Value]:
        """To be looked at, not to be kept: it changes."""
        return self._values

    def listen(self, listener: Listener) -> None:
        """From now on it is called with the keys that have changed."""
        self._listeners.append(listener)

    def load(self) -> None:
        """Read everything.  Raises EtcdError."""
        before = self.revision
        revision, found = self.etcd.below(self.prefix, lambda: self.pause(0))
        if before != self.revision > revision:
            return  # the watch has been faster
        at = len(self.prefix)
        values = {key[at:]: value for key, value in found.items()}
        changed = {key for key in self._values.keys() | values if self._values.get(key) != values.get(key)}
        self.times_gone_back += revision < before
        self._values, self.revision, self.problem = values, revision, ""
        self.heard_at = self.clock()
        self._tell(changed)

    def reach(self, revision: int, deadline_s: float = 0.2) -> None:
        """Have what etcd had at this revision: by the watch, or else by reading everything.  Raises EtcdError."""
        ends_at = self.clock() + deadline_s
        while self._is_watching and self.revision < revision and self.clock() < ends_at:
            self.pause(STEP_S)
        if self.revision < revision:
            self.load()

    def run(self) -> None:
        """Follows until ``stop``."""
        while self._is_active:
            try:
                self.follow()
            except Exception as error:
                LOG.exception("internal error with what etcd has sent; everything is read anew")
                self._fails(f"internal error: {error}")
            if self._is_active:
                self.pause(PAUSE_S)

    def stop(self) -> None:
        self._is_active = False

    def follow(self) -> None:
        """Read everything if there was a break, then take what a watch sends, until that breaks."""
        try:
            if self.problem:
                self.load()
            self._is_watching = True
            for changes in self.etcd.watch(self.prefix, self.revision, DEAF_S):
                if not self._is_active:
                    return
                self._take(changes)
                if len(changes.changes) > MANY:
                    self.pause(0)
        except EtcdError as error:
            self._fails(str(error))
            self.etcd.use_another_endpoint()
        finally:
            self._is_watching = False

    def _fails(self, problem: str) -> None:
        if not self.problem:
            self.problem_since = self.clock()
        self.problem = problem

    def _take(self, changes: Changes) -> None:
        if changes.revision <= self.revision:  # read already
            return
        at = len(self.prefix)
        for key, value in changes.changes:
            if value is None:
                self._values.pop(key[at:], None)
            else:
                self._values[key[at:]] = value
        self.revision, self.heard_at = changes.revision, self.clock()
        self._tell({key[at:] for key, _ in changes.changes})

    def _tell(self, changed: Collection[str]) -> None:
        if not changed:
            return
        for listener in self._listeners:
            try:
                listener(changed)
            except Exception:
                LOG.exception("internal error when etcd had changed")
