"""JournalKeeper: writes the journal's entries to their file, a batch at a time, by a thread of its own.

The disk may be slow: nobody waits for it.  Entries that cannot be written are kept, up to as many as the journal has,
and tried again later; that begins and ends with an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from os_ken.lib import hub

from anycast_sdn.core.controller_events import JournalFailed, JournalRecovered
from anycast_sdn.core.events import Event
from anycast_sdn.process.faults import isolated
from anycast_sdn.store.journal_file import JournalFile
from anycast_sdn.views.journal import KEPT, Entry

BATCH_S = 0.1
RETRY_S = 5.0
AT_ONCE = 1000


def start_thread() -> None:
    """At once: a later start could get the number of a file that is just being closed, and is still waited for."""
    from eventlet import tpool

    tpool.set_num_threads(1)
    tpool.setup()


class JournalKeeper:
    def __init__(self, file: JournalFile, report: Callable[[Event], None]) -> None:
        self._file = file
        self._report = report
        self._waiting: deque[Entry] = deque(maxlen=KEPT)
        self._problem = ""
        start_thread()

    def __call__(self, entry: Entry) -> None:
        """A listener of the journal."""
        self._waiting.append(entry)

    def run(self) -> None:
        """To be spawned."""
        write = isolated(self.write)
        while True:
            hub.sleep(RETRY_S if self._problem else BATCH_S)
            write()

    def write(self) -> None:
        """All that waits."""
        from eventlet import tpool

        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            try:
                tpool.execute(self._file.append, [entry.json for entry in some])
            except OSError as error:
                self._failed(some, f"{self._file.path}: {error.strerror or error}")
                return
            if self._problem:
                self._problem = ""
                self._report(JournalRecovered())

    def _failed(self, unwritten: list[Entry], problem: str) -> None:
        """They are written later; the oldest are lost where there are too many."""
        self._waiting = deque([*unwritten, *self._waiting], KEPT)
        if problem != self._problem:
            self._problem = problem
            self._report(JournalFailed(problem))

    def finish(self) -> None:
        """The controller ends: write what is left."""
        if self._waiting:
            isolated(self._file.append)([entry.json for entry in self._waiting])
            self._waiting.clear()
