"""FlowKeeper: keeps the flows of client edges inside connection trackers in a file, for the next start (M20).

Beyond what happened in the last ``BATCH_S`` nothing is lost when the controller is killed.  Records are made here, in
slices, and written by a thread: the disk may be slow, and nobody waits for it.  What cannot be written is not kept in
memory: as soon as writing works again, a file begins with all flows that there are.

Where the records come from is a ``Source``: the engines of this controller's switches (``EngineFlows``).  Whoever else
wants them gets the same as the file (``Copy``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

from os_ken.lib import hub

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.controller_events import FlowsKept, FlowsNotKept, FlowsNotRead
from anycast_sdn.core.events import Event
from anycast_sdn.core.kept_flows import KeptConnection, Noted
from anycast_sdn.engines.engine import Engine
from anycast_sdn.process import garbage
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.journal_keeper import start_thread
from anycast_sdn.store import flow_file, flow_records
from anycast_sdn.store.flow_file import FlowFile
from anycast_sdn.store.flow_records import OpenFlows

BATCH_S = 0.05
RETRY_S = 5.0
FINISH_S = 5.0  # a write that is under way at the controller's end may take so long
AT_ONCE = 500  # flows: about a millisecond


class Source(Protocol):
    """Records of flows, in parts of some milliseconds; nothing is left out when ``everything`` is read anew."""

    @property
    def edges(self) -> Sequence[str]:
        """Records have numbers of these."""

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """Since the last call, each with the number of the edge."""

    def open_at(self, number: int) -> Iterator[bytes]:
        """All flows of an edge that are open; others may run, and ``changes`` be called, between two parts."""


class Copy(Protocol):
    """Gets, beside the file, of each edge that it wants first all flows that are open, and then what changes."""

    def due(self) -> Collection[int]:
        """The numbers of edges that have to begin."""

    def begin(self, number: int) -> None:
        """``put`` of all that is open there follows, and of what changes meanwhile; then ``whole``."""

    def put(self, number: int, records: bytes) -> None:
        """Of any edge."""

    def whole(self, number: int) -> None: ...


def known_again(
    database: str, controller: Controller, report: Callable[[Event], None]
) -> FlowKeeper | None:
    """Flows that an earlier run has kept are known again → what keeps those from now on; None: there are none to keep.

    At the start, before any switch can connect.
    """
    if database == ":memory:":
        return None
    path = Path(database).absolute().with_suffix(".connections")
    found = read(path, report)
    now = time.monotonic()
    for edge in found.edges:
        controller.remember(edge, found.of(edge), time.time() - now, now)
    garbage.exempt_new()
    source = EngineFlows(controller)
    if not source.edges:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return FlowKeeper(FlowFile(path), source, report)


def read(path: Path, report: Callable[[Event], None]) -> OpenFlows:
    """What an earlier run has kept."""
    try:
        found, damage = flow_file.read_open(path)
    except OSError as error:
        found, damage = OpenFlows(), error.strerror or str(error)
    if damage:
        report(FlowsNotRead(str(path), damage))
    return found


class EngineFlows:
    """The ``Source`` of a controller that serves client edges.

    ``sets_aside``: records say also which addresses flows to come may have.
    """

    def __init__(self, controller: Controller, *, sets_aside: bool = False) -> None:
        self._sets_aside = sets_aside
        self.edges = [switch.name for switch in controller.switches_by_name() if switch.engine.needs_keeping]
        self._controller = controller
        self.engines: dict[str, Engine] = {}  # that are watched
        self._last: dict[str, list[Noted]] = {}  # what engines have done that the controller has forgotten
        self.begin_anew()

    def begin_anew(self) -> None:
        """The controller has begun anew: its engines are others."""
        for edge in self.edges:
            if former := self.engines.get(edge):
                self._last.setdefault(edge, []).extend(former.flow_changes.pop())
            engine = self.engines[edge] = self._controller.by_name[edge].engine
            engine.flow_changes.is_watched = True

    def changes(self) -> Iterator[tuple[int, bytes]]:
        for number in range(len(self.edges)):
            for records in self.changes_at(number):
                yield number, records

    def changes_at(self, number: int) -> Iterator[bytes]:
        """Those of one edge."""
        edge, to_epoch = self.edges[number], time.time() - time.monotonic()
        changes = [*self._last.pop(edge, ()), *self.engines[edge].flow_changes.pop()]
        for at in range(0, len(changes), AT_ONCE):
            yield b"".join(_record(number, each, to_epoch) for each in changes[at : at + AT_ONCE])
        if self._sets_aside and (new := self.engines[edge].set_aside()):
            yield b"".join(flow_records.aside(number, address) for address in new)

    def discard_changes(self, number: int) -> None:
        """Of an edge whose flows are not this controller's."""
        self._last.pop(self.edges[number], None)
        self.engines[self.edges[number]].flow_changes.pop()

    def open_at(self, number: int) -> Iterator[bytes]:
        yield from self.records_of(lambda: self.engines[self.edges[number]], number)

    def records_of(self, engine_now: Callable[[], Engine], number: int) -> Iterator[bytes]:
        """All flows of an engine, as those of the edge with this number."""
        after = 0
        while True:
            engine, to_epoch = engine_now(), time.time() - time.monotonic()
            numbers = engine.flows.numbers_after(after, AT_ONCE)
            if not numbers:
                break
            after = numbers[-1]
            found = [*filter(None, map(engine.flows.by_number, numbers))]
            yield b"".join(_record(number, flow, to_epoch) for flow in found)
            connections = (flow_records.begun(number, each) for flow in found for each in engine.kept_connections(flow))
            while some := b"".join(islice(connections, AT_ONCE)):
                yield some
        if self._sets_aside:
            yield b"".join(flow_records.aside(number, address) for address in engine.aside)


class FlowKeeper:
    """``file``: None: nothing is kept on disk, there are copies alone."""

    def __init__(self, file: FlowFile | None, source: Source, report: Callable[[Event], None]) -> None:
        self._file = file
        self._source = source
        self._report = report
        self._copies: list[Copy] = []
        self._problem = ""
        self._retry_at = 0.0
        self._has_file = self._is_beginning = self._is_obsolete = False
        self._is_active = True
        self._is_writing = False
        start_thread()

    def run(self) -> None:
        """To be spawned; until ``finish``."""
        write = isolated(self.write)
        while self._is_active:
            write(time.monotonic() >= self._retry_at)
            hub.sleep(BATCH_S)

    def copy_to(self, copy: Copy) -> None:
        self._copies.append(copy)

    def begin_anew(self) -> None:
        """What the source has does not follow from what it had before and its changes."""
        self._is_obsolete = True

    def write(self, tries: bool = True) -> None:
        """What has happened since the last call.  ``tries``: a file may begin."""
        self._is_writing = True
        try:
            self._write_changes(_by_thread)
            file = self._file
            if file and tries and (not self._has_file or self._is_obsolete or file.is_due):
                self._is_obsolete = False
                self._is_beginning = self._on_disk(_by_thread, lambda _: file.begin(self._source.edges), b"")
            if self._is_beginning or any(copy.due() for copy in self._copies):
                self._begin_again()
        finally:
            self._is_writing = self._is_beginning = False

    def _on_disk(self, write: _Write, act: Callable[[bytes], None], records: bytes) -> bool:
        """Has it worked?"""
        try:
            write(act, records)
        except OSError as error:
            self._fails(error)
            return False
        return True

    def _fails(self, error: OSError) -> None:
        assert self._file
        self._has_file = self._is_beginning = False
        self._retry_at = time.monotonic() + RETRY_S
        self._file.give_up()
        problem = f"{self._file.path}: {error.strerror or error}"
        if problem != self._problem:
            self._problem = problem
            self._report(FlowsNotKept(problem))

    def _write_changes(self, write: _Write) -> None:
        for number, records in self._source.changes():
            for copy in self._copies:
                copy.put(number, records)
            if self._file and (self._has_file or self._is_beginning):
                self._on_disk(write, self._file.append, records)

    def _begin_again(self) -> None:
        """A file with all flows takes the place of the one before, and copies begin."""
        due = [(copy, copy.due()) for copy in self._copies]
        for number in range(len(self._source.edges)):
            copies = [copy for copy, numbers in due if number in numbers]
            if copies or self._is_beginning:
                self._begin_edge(number, copies)
        file = self._file
        if file and self._is_beginning and self._on_disk(_by_thread, lambda _: file.take_over(), b""):
            self._has_file = True
            if self._problem:
                self._problem = ""
                self._report(FlowsKept())

    def _begin_edge(self, number: int, copies: Sequence[Copy]) -> None:
        for copy in copies:
            copy.begin(number)
        for records in self._source.open_at(number):
            for copy in copies:
                copy.put(number, records)
            if self._file and self._is_beginning:
                self._on_disk(_by_thread, self._file.carry, records)
            else:
                hub.sleep(0)
            self._write_changes(_by_thread)
        for copy in copies:
            copy.whole(number)

    def finish(self) -> None:
        """The controller ends: write what is left, behind what is being written."""
        self._is_active = False
        deadline = time.monotonic() + FINISH_S
        while self._is_writing and time.monotonic() < deadline:
            hub.sleep(BATCH_S / 10)
        if self._has_file:
            isolated(self._write_changes)(lambda write, records: write(records))


_Write = Callable[[Callable[[bytes], None], bytes], None]


def _record(number: int, change: Noted, to_epoch: float) -> bytes:
    """``number``: of the engine's edge."""
    if isinstance(change, int):
        return flow_records.ended(number, change)
    if isinstance(change, KeptConnection):
        return flow_records.begun(number, change)
    return flow_records.packed(number, change, to_epoch)


def _by_thread(write: Callable[[bytes], None], records: bytes) -> None:
    from eventlet import tpool

    tpool.execute(write, records)
