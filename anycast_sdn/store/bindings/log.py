"""BindingLog: what is written about flows, and what the log has to say of itself.

It knows the flows that are open, so that each file can begin with them.  The rules this file keeps:

- What cannot be written waits in memory, up to ``MOST_PENDING`` bytes.  What is beyond that is missing; when writing
  works again, the log says how much, and another file begins, with all that is open.
- After the controller was away, its switches tell which flows they still have.  The others have ended unseen.
- A flow that is told twice is written once.
- In a cluster, flows of an edge that another controller serves from now on end here, as handed over: that one's log
  goes on.  Their numbers are free to be told of again.
- Where FILE is taken away or replaced, another one begins with all that is open, and a gap says since when records are
  gone.  So does one after lines that cannot be read at the start.

No clock here: times come with what is told, in milliseconds since 1970.
"""

from __future__ import annotations

from typing import Any

from anycast_sdn.store.bindings import records
from anycast_sdn.store.bindings.files import Files, until_damage, whole_lines
from anycast_sdn.store.bindings.held import Gap
from anycast_sdn.store.bindings.records import (
    CARRIED,
    CLOSED,
    GAP,
    HANDED_OVER,
    OF_FLOWS,
    OPENED,
    START,
    STOP,
    UNSEEN,
    Record,
    line,
    moment,
    other_line,
)

MOST_PENDING = 16 << 20  # bytes
AT_ONCE = 1 << 20  # bytes that should be written
LINES_AT_ONCE = 4096
_NOBODY: set[int] = set()
_STOPPED = "the controller was stopped"
_NOT_CLOSED = "nothing was written: the log was not closed"


class BindingLog:
    def __init__(self, files: Files, now: int) -> None:
        self._files = files
        self._open: dict[tuple[str, int], Record] = {}
        self._unconfirmed: dict[str, set[int]] = {}  # edge → its flows of before that it has not told of yet
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._missing = 0  # records, since ``_missing_since``
        self._missing_since = 0
        self._written_at = now  # when all that waited was last written
        self._damaged = self._damaged_since = 0  # lines that could not be read at the start; the last record before
        self._closed_file = False
        self._has_to_begin = False  # another file could not be begun
        self._begins_again = False  # the beginning of a file could not be written
        self._removed_since = 0  # when the file began that was taken away; 0: none was, or the log has said so
        self.problem = ""  # why nothing can be written now
        self.missing = 0  # records, in all
        self._start(now)

    def _start(self, now: int) -> None:
        last, why = self._recover()
        self._unconfirm(None)
        if self._files.is_empty:
            self._begin_file(now)
        gap = {"gapFrom": moment(last), "reason": why} if last else {}
        self._add(other_line(START, now, **gap))
        if self._damaged:
            why = f"lines of the log are damaged: {self._damaged}"
            self._add(other_line(GAP, now, gapFrom=moment(self._damaged_since or now), reason=why))

    def _recover(self) -> tuple[int, str]:
        """Read which flows were open → (time of the last record, why nothing was written after it)"""
        last, why = 0, ""
        for text in until_damage(whole_lines(self._files.latest)) if self._files.latest else ():
            if (found := records.read(text)) is None or (found["event"] in OF_FLOWS and not records.record_of(found)):
                self._damaged_since = self._damaged_since if self._damaged else last
                self._damaged += 1
                continue
            last, why = records.milliseconds(found["time"]), _NOT_CLOSED
            if found["event"] == STOP:
                why = str(found.get("reason", _STOPPED))
            if record := records.record_of(found):
                if record.event == CLOSED:
                    self._open.pop(record.id, None)
                else:
                    self._open[record.id] = record
        return last, why

    def _unconfirm(self, edge: str | None) -> None:
        for of, number in self._open:
            if edge is None or edge == of:
                self._unconfirmed.setdefault(of, set()).add(number)

    # ---------------------------------------------------------------- what is told

    def flow(self, record: Record) -> None:
        id = record.id
        known = self._open.get(id)
        if self._unconfirmed:
            self._unconfirmed.get(id[0], _NOBODY).discard(id[1])
        if known and not known.is_of_flow(record):  # after a restart numbers are given again
            self._unseen(known, record.when)
        elif known:
            if record.event == OPENED:
                return
            if known.since != record.since:
                record = record._replace(since=known.since)
        if record.event != CLOSED:
            self._open[id] = record
        elif known:
            del self._open[id]
        self._add(line(record))

    def _unseen(self, record: Record, now: int) -> None:
        self._end(record, now, UNSEEN)

    def _end(self, record: Record, now: int, by: str) -> None:
        self._add(line(record._replace(event=CLOSED, when=now, ended_by=by)))

    def doubt(self, edge: str) -> None:
        """This edge tells of all its flows again, because records are missing."""
        self._unconfirm(edge)

    def settled(self, edge: str, now: int) -> None:
        """It has told of all its flows: those that it did not tell of have ended."""
        for number in sorted(self._unconfirmed.pop(edge, ())):
            if known := self._open.pop((edge, number), None):
                self._unseen(known, now)

    def handed_over(self, edge: str, now: int) -> None:
        """Another controller serves its flows from now on."""
        self._unconfirmed.pop(edge, None)
        for id in [id for id in self._open if id[0] == edge]:
            self._end(self._open.pop(id), now, HANDED_OVER)
            if self.should_be_written:
                self.write(now)

    def tell(self, event: str, now: int, members: dict[str, Any]) -> None:
        """What is not about a flow."""
        self._add(other_line(event, now, **members))

    def lost(self, count: int, since: int, now: int, reason: str) -> None:
        """Records never came here."""
        self.missing += count
        self._add(other_line(GAP, now, gapFrom=moment(since), missing=count, reason=reason))

    def stop(self, now: int, reason: str = "") -> None:
        self._add(other_line(STOP, now, **({"reason": reason} if reason else {})))
        self.write(now)
        self._files.close()

    # ---------------------------------------------------------------- to the file

    def _add(self, text: bytes) -> None:
        if self._pending_size >= MOST_PENDING or self._missing:
            self._missing += 1
            self.missing += 1
            return
        self._pending.append(text)
        self._pending_size += len(text)

    @property
    def waits(self) -> bool:
        """Is there something to write?"""
        return bool(self._pending) or bool(self._missing)

    @property
    def should_be_written(self) -> bool:
        """Is there so much that it should be written now?"""
        return self._pending_size >= AT_ONCE and not self.problem

    def write(self, now: int) -> None:
        """All that waits, if it can be written."""
        try:
            if self._files.was_removed:
                self._removed_since = self._removed_since or self._files.began
                self._has_to_begin = True
            if self._has_to_begin:
                self._begin_file(now)
            elif self._begins_again:
                self._carry(now)
            if self._removed_since:
                self._say_removed(now)
            while self._pending:  # in pieces: a disk that is almost full takes some of them
                some = self._pending[:LINES_AT_ONCE]
                self._files.append(b"".join(some))
                del self._pending[: len(some)]
                self._pending_size -= sum(map(len, some))
            if self._missing:
                self._say_missing(now)
            elif self._files.is_full(now):
                self._begin_file(now)
        except OSError as error:
            if not self.problem:
                self._missing_since = now
            self.problem = error.strerror or str(error)
        else:
            self._written_at = now
            self.problem = ""

    def _say_missing(self, now: int) -> None:
        gap = other_line(GAP, now, gapFrom=moment(self._missing_since), missing=self._missing, reason=self.problem)
        self._files.append(gap)
        self._missing = 0
        self._begin_file(now)

    def _say_removed(self, now: int) -> None:
        why = "the file was removed or replaced"
        self._files.append(other_line(GAP, now, gapFrom=moment(self._removed_since), reason=why))
        self._removed_since = 0

    def _begin_file(self, now: int) -> None:
        self._has_to_begin = True
        self._files.begin(now)
        self._has_to_begin = False
        self._begins_again = self._closed_file = True
        self._carry(now)
        self._files.delete_old(now)

    def _carry(self, now: int) -> None:
        """Write all that is open, at the beginning of the file."""
        self._files.rewind()
        carried = []
        for record in self._open.values():
            carried.append(line(record._replace(event=CARRIED, when=now, ended_by="")))
            if len(carried) == LINES_AT_ONCE:
                self._files.append(b"".join(carried))
                carried.clear()
        self._files.append(b"".join(carried))
        self._files.carried()
        self._begins_again = False

    def unwritten(self, at: int, now: int) -> Gap | None:
        """Why records of this time may not be in the files yet."""
        if not self.problem or at < self._written_at:
            return None
        return Gap(self._written_at, max(at, now), f"records wait to be written: {self.problem}")

    def pop_closed_file(self) -> bool:
        """Has another file begun since the last call?"""
        closed, self._closed_file = self._closed_file, False
        return closed

    def sync(self) -> None:
        try:
            self._files.sync()
        except OSError as error:
            self.problem = error.strerror or str(error)
