"""Which testbeds of one machine there may be at a time, and what theirs is called.

Rules that it keeps:
- There are a few places.  A testbed has one of them, or all when it needs the machine for itself.
- Bridges and their ports have the names of the network file, which one testbed can have at a time; or they are called
  after the testbed's place, and no other has these.
- Nobody overtakes: while a testbed waits until it is alone, no further one begins.
- The kernel releases places and names even if their process is killed.  So what has names that were just taken is
  a leftover.
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

from anycast_sdn.core.roles import FIRST_ZONE

RUN = Path("/run")
NAME = "anycast-sdn-testbed"
DEADLINE_S = 900.0


class Names(NamedTuple):
    """``prefix``: what the names of bridges begin with; ``mark``: what these carry; ``lock``: who has the names.

    ``zone``: the first of a thousand zones of the connection tracker, which all bridges share as well.
    """

    prefix: str
    mark: str
    lock: str
    zone: int


AS_IN_THE_FILE = Names("", f"external_ids:made-by={NAME}", f"{NAME}.lock", FIRST_ZONE + 5000)
OF_PLACES = [
    Names(f"t{n}-", f"external_ids:made-by={NAME}-{n}", f"{NAME}-{n}.lock", FIRST_ZONE + 1000 * (n + 1))
    for n in range(4)
]
ALL_NAMES = (AS_IN_THE_FILE, *OF_PLACES)

_of_this_process = threading.Lock()


@contextmanager
def taken(alone: bool = False, as_in_the_file: bool = True) -> Iterator[Names]:
    """Holds a place for one testbed, or all of them, and names."""
    only_one = _of_this_process
    if not only_one.acquire(blocking=False):
        raise TestbedError("this process has a testbed already; stop that first")
    try:
        with ExitStack() as held:
            if alone or as_in_the_file:
                held.enter_context(_first_free(AS_IN_THE_FILE.lock))
            with _first_free(f"{NAME}.turn"):
                wanted = [[place] for place in OF_PLACES] if alone else [OF_PLACES]
                locks = [held.enter_context(_first_free(*(place.lock for place in places))) for places in wanted]
            yield AS_IN_THE_FILE if as_in_the_file else next(each for each in OF_PLACES if each.lock == locks[0])
    finally:
        only_one.release()


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
            holders = ", ".join(sorted({(RUN / lock).read_text().strip() for lock in locks}))
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
