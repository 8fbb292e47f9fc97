"""Lease: what shows the other members that this process works.

A thread of its own renews it: while the hub computes, green threads would not.  The hub has to feed that thread, so
that a controller that hangs loses its lease all the same.  One that starts does not feed it yet: ``feed`` is told
beforehand how long that may take.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eventlet import patcher

from anycast_sdn.etcd.client import Etcd, EtcdError

LEASE_S = 2  # etcd's shortest with its default timers
RENEW_S = 0.4
FED_S = 4.0  # a hub that has not run for so long counts as hung
DEAF_S = 4.0  # etcd may hear what it does not answer: a lease is not kept for so long without knowing that it is there

_threading: Any = patcher.original("threading")
_time: Any = patcher.original("time")


class Lease:
    """``make``: a client that works in a thread.  ``number``: 0 when there is none."""

    def __init__(self, make: Callable[[], Etcd]) -> None:
        self._make = make
        self.number = 0
        self._fed = time.monotonic()
        self._known_at = 0.0  # when the lease was there
        self._is_active = True
        self._thread = _threading.Thread(target=self._renew_all, daemon=True)

    def begin(self, number: int) -> None:
        """This one, from now on."""
        self._known_at = _time.monotonic()
        self.number = number
        self.feed()
        if not self._thread.is_alive():
            self._thread.start()

    def feed(self, enough_s: float = 0.0) -> None:
        """To be called from the hub, several times a second; ``enough_s``: not within that time."""
        self._fed = time.monotonic() + enough_s

    def stop(self) -> None:
        self._is_active = False

    def _renew_all(self) -> None:
        etcd = self._make()
        while self._is_active:
            number = self.number
            is_fed = _time.monotonic() - self._fed < FED_S
            if number and is_fed and not self._is_there(etcd, number) and self.number == number:
                self.number = 0
            _time.sleep(RENEW_S)

    def _is_there(self, etcd: Etcd, number: int) -> bool:
        try:
            if not etcd.keep_alive(number):
                return False
        except EtcdError:  # it has gone to the next endpoint
            return bool(_time.monotonic() - self._known_at < DEAF_S)
        self._known_at = _time.monotonic()
        return True
