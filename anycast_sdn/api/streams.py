"""Event streams: answers that go on with each event, as server-sent events (WHATWG HTML, §9.2).

Theory of operation.  A stream has a position, the number of the last event that it has sent or passed over, and takes
what comes after it from the journal, in rounds.  So a listener costs no queue, whatever it does: one that does not
read stays behind, is closed when the server has waited too long for it, and goes on where it was when it comes again.

The rules this file keeps:

- Each event has its number as ``id``, so a client that comes again (``Last-Event-ID``) misses none and gets none twice.
  Those of flows have none: they come on request, as they happen, and ``event: left_out`` says how many did not.
- What the journal does not keep any more is not passed over in silence: ``event: missed`` says from where to where.
- Whose events are missing is said at the beginning, and when that changes: ``event: incomplete``.
- When nothing happens the position is sent every ``KEEPALIVE_S``: both ends learn that the other one is gone, and a
  client whose filters select little does not stay far behind.
- Events of a moment are sent together, at most every ``PAUSE_S``.  A round has ``LOOKED_AT`` events at most.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from itertools import islice
from typing import ClassVar

from anycast_sdn.views.flow_sample import FlowSample
from anycast_sdn.views.journal import Entry, Journal

KEEPALIVE_S = 5.0
PAUSE_S = 0.1  # between rounds
RETRY_MS = 1000  # after which a client comes again
LOOKED_AT = 200  # events in one round
LEFT_OUT_S = 1.0  # between two messages about events of flows that were left out


class Stream(ABC):
    """A body without an end of its own; the server sends each chunk as it comes.

    ``is_vital``: it has a place whatever others there are, and takes none from them.
    """

    is_vital: ClassVar[bool] = False

    @abstractmethod
    def __iter__(self) -> Generator[bytes]:
        """Waits for what comes next.  Ends after ``end``."""

    @abstractmethod
    def end(self) -> None:
        """What is there is still sent.  To be called by another thread, too."""


class EventStream(Stream):
    def __init__(
        self,
        journal: Journal,
        selects: Callable[[Entry], bool],
        after: int | None,
        flows: FlowSample | None = None,
        incomplete: Callable[[], list[str]] = list,
    ) -> None:
        """``after``: the number of the last event that is known; None: only new ones are wanted.

        ``flows``: their events are wanted, too.  ``incomplete``: the names of members whose events do not come here.
        """
        self._journal = journal
        self._flows = _Flows(flows, selects) if flows else None
        self._selects = selects
        self._position = journal.last_id if after is None else after
        self._incomplete = incomplete
        self._said_incomplete: list[str] = []
        self._wake = threading.Event()
        self._ends = False

    def end(self) -> None:
        self._ends = True
        self._wake.set()

    def __iter__(self) -> Generator[bytes]:
        stops = [self._journal.listen(self._heard)]
        if self._flows:
            stops.append(self._flows.sample.listen(self._heard))
        try:
            yield f"retry: {RETRY_MS}\nid: {self._position}\n\n".encode()
            while True:
                self._wake.clear()
                chunk, is_more = self._round()
                chunk += self._say_incomplete()
                if self._flows:
                    chunk += self._flows.round(time.monotonic())
                if chunk:
                    yield chunk
                if is_more:
                    time.sleep(0)
                elif self._ends:
                    return
                elif not self._wake.wait(self._flows.quiet_s if self._flows else KEEPALIVE_S):
                    yield f"id: {self._position}\n\n".encode()
                elif not self._ends:
                    time.sleep(PAUSE_S)
        finally:
            for stop in stops:
                stop()

    def _say_incomplete(self) -> bytes:
        """If it has changed."""
        if (names := self._incomplete()) == self._said_incomplete:
            return b""
        self._said_incomplete = names
        return f"event: incomplete\ndata: {json.dumps({'members': names})}\n\n".encode()

    def _heard(self, _: Entry) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def _round(self) -> tuple[bytes, bool]:
        """→ (what comes after the position, are there more)."""
        after, journal = self._position, self._journal
        is_foreign = after > journal.last_id  # it is of another journal: all of this one is new to whoever knows that
        found = list(islice(journal.after(0 if is_foreign else after), LOOKED_AT))
        first = found[0].id if found else journal.last_id + 1
        parts = []
        if not journal.has_all_after(after):
            # How many they are is not known of another journal, and of a controller that has crashed.
            number = first - after - 1 if after < first == journal.first_id else None
            gap = {"after": after, "before": first, "events": number}
            parts.append(f"id: {first - 1}\nevent: missed\ndata: {json.dumps(gap)}\n\n")
        parts += [f"id: {entry.id}\ndata: {entry.json}\n\n" for entry in found if self._selects(entry)]
        self._position = found[-1].id if found else first - 1
        return "".join(parts).encode(), len(found) == LOOKED_AT


class _Flows:
    """Where one stream is among the events of flows."""

    def __init__(self, sample: FlowSample, selects: Callable[[Entry], bool]) -> None:
        self.sample = sample
        self._selects = selects
        self._position = sample.last_id
        self._overtaken = 0  # events that were forgotten before they were sent
        self._left_out = sample.left_out  # of which the client knows
        self._said_at = 0.0

    @property
    def quiet_s(self) -> float:
        """How long nothing may be sent."""
        return LEFT_OUT_S if self._not_sent() else KEEPALIVE_S

    def _not_sent(self) -> int:
        """Events of which the client does not know yet that they were left out."""
        return self.sample.left_out + self._overtaken - self._left_out

    def round(self, now: float) -> bytes:
        """What has come since the last one."""
        found = list(self.sample.after(self._position))
        if found:
            self._overtaken += found[0].id - self._position - 1
            self._position = found[-1].id
        parts = [f"data: {entry.json}\n\n" for entry in found if self._selects(entry)]
        if (number := self._not_sent()) and now - self._said_at >= LEFT_OUT_S:
            self._left_out += number
            self._said_at = now
            parts.append(f'event: left_out\ndata: {{"events": {number}}}\n\n')
        return "".join(parts).encode()
