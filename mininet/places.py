"""Testbeds of one machine: one alone, with the names of its network file, or several side by side.

Rules that it keeps:
- There are a few places.  A testbed beside others has one of them; one that is alone has all.
- What a testbed makes in the root namespace is called after its place, so that no two make the same.
- Nobody overtakes: while a testbed waits until it is alone, no further one begins.
- The kernel releases a place even if its process is killed.  So what is called after a place that was just taken
  is a leftover.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from programs import TestbedError, wait_until

RUN = Path("/run")
NAME = "anycast-sdn-testbed"
DEADLINE_S = 900.0


class Place(NamedTuple):
    """``prefix``: what the names of bridges begin with; ``mark``: what these carry."""

    lock: str
    prefix: str
    mark: str


PLACES = [Place(f"{NAME}{n or ''}.lock", f"t{n}-", f"external_ids:made-by={NAME}-{n}") for n in range(4)]
ALONE = PLACES[0]._replace(prefix="", mark=f"external_ids:made-by={NAME}")

_of_this_process = threading.Lock()


@contextmanager
def taken(beside_others: bool = False) -> Iterator[Place]:
    """Holds a place for one testbed; all of them, unless it may be beside others."""
    if not _of_this_process.acquire(blocking=False):
        raise TestbedError("this process has a testbed already; stop that first")
    try:
        with ExitStack() as held:
            with _first_free(f"{NAME}.turn"):
                if beside_others:
                    lock = held.enter_context(_first_free(*(place.lock for place in PLACES)))
                    found = next(place for place in PLACES if place.lock == lock)
                else:
                    for place in PLACES:
                        held.enter_context(_first_free(place.lock))
                    found = ALONE
            yield found
    finally:
        _of_this_process.release()


def routers_taken() -> AbstractContextManager[str]:
    """Holds what only one testbed can have at a time: the root namespace's routes to its routers."""
    return _first_free(f"{NAME}.routers")


@contextmanager
def _first_free(*locks: str) -> Iterator[str]:
    """Holds one of these as soon as it is free → which."""
    with ExitStack() as stack:
        files = {lock: stack.enter_context((RUN / lock).open("a+")) for lock in locks}

        def free() -> str | None:
            return next((lock for lock, file in files.items() if _try_lock(file)), None)

        lock = free()
        if lock is None:
            holders = ", ".join((RUN / lock).read_text().strip() for lock in locks)
            print(f"testbed: waiting for the testbed of process {holders}", file=sys.stderr)
            lock = wait_until(free, f"process {holders} gives up its testbed", DEADLINE_S)
        assert lock
        file = files[lock]
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield lock
        finally:
            file.truncate(0)  # the next holder may not have written its own yet when somebody looks


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
