"""Event streams: answers that go on with each event, as server-sent events (WHATWG HTML, §9.2).

Theory of operation.  A stream has a position, the number of the last event that it has sent or passed over, and takes
what comes after it from the journal, in rounds.  So a listener costs no queue, whatever it does: one that does not
read stays behind, is closed when the server has waited too long for it, and goes on where it was when it comes again.

The rules this file keeps:

- Each event has its number as ``id``, so a client that comes again (``Last-Event-ID``) misses none and gets none twice.
- What the journal does not keep any more is not passed over in silence: ``event: missed`` says from where to where.
- When nothing happens a comment is sent every ``KEEPALIVE_S``: both ends learn that the other one is gone.
- Events of a moment are sent together, at most every ``PAUSE_S``.  A round has ``LOOKED_AT`` events at most.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from itertools import islice

from anycast_sdn.views.journal import Entry, Journal

KEEPALIVE_S = 5.0
PAUSE_S = 0.1  # between rounds
RETRY_MS = 1000  # after which a client comes again
LOOKED_AT = 200  # events in one round
KEPT_ALIVE = b":\n\n"


class Stream(ABC):
    """A body without an end of its own; the server sends each chunk as it comes."""

    @abstractmethod
    def __iter__(self) -> Generator[bytes]:
        """Waits for what comes next.  Ends after ``end``."""

    @abstractmethod
    def end(self) -> None:
        """What is there is still sent.  To be called by another thread, too."""


class EventStream(Stream):
    def __init__(self, journal: Journal, selects: Callable[[Entry], bool], after: int | None) -> None:
        """``after``: the number of the last event that is known; None: only new ones are wanted."""
        self._journal = journal
        self._selects = selects
        self._position = journal.last_id if after is None else after
        self._wake = threading.Event()
        self._ends = False

    def end(self) -> None:
        self._ends = True
        self._wake.set()

    def __iter__(self) -> Generator[bytes]:
        stop = self._journal.listen(self._heard)
        try:
            yield f"retry: {RETRY_MS}\nid: {self._position}\n\n".encode()
            while True:
                self._wake.clear()
                chunk, is_more = self._round()
                if chunk:
                    yield chunk
                if is_more:
                    time.sleep(0)
                elif self._ends:
                    return
                elif not self._wake.wait(KEEPALIVE_S):
                    yield KEPT_ALIVE
                elif not self._ends:
                    time.sleep(PAUSE_S)
        finally:
            stop()

    def _heard(self, _: Entry) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def _round(self) -> tuple[bytes, bool]:
        """→ (what comes after the position, are there more)."""
        after, last = self._position, self._journal.last_id
        is_foreign = after > last  # the number is of another journal: all of this one is new to whoever has it
        found = list(islice(self._journal.after(0 if is_foreign else after), LOOKED_AT))
        first = found[0].id if found else last + 1
        parts = []
        if is_foreign or first > after + 1:
            gap = {"after": after, "before": first, "events": None if is_foreign else first - after - 1}
            parts.append(f"id: {first - 1}\nevent: missed\ndata: {json.dumps(gap)}\n\n")
        parts += [f"id: {entry.id}\ndata: {entry.json}\n\n" for entry in found if self._selects(entry)]
        self._position = found[-1].id if found else first - 1
        return "".join(parts).encode(), len(found) == LOOKED_AT
