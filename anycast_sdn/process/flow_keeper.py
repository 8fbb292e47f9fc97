"""FlowKeeper: keeps the flows of client edges inside connection trackers in a file, for the next start (M20).

Beyond what happened in the last ``BATCH_S`` nothing is lost when the controller is killed.  Records are made here, in
slices, and written by a thread: the disk may be slow, and nobody waits for it.  What cannot be written is not kept in
memory: as soon as writing works again, a file begins with all flows that there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from os_ken.lib import hub

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.controller_events import FlowsKept, FlowsNotKept, FlowsNotRead
from anycast_sdn.core.events import Event
from anycast_sdn.core.kept_flows import KeptConnection, Noted
from anycast_sdn.engines.engine import Engine
from anycast_sdn.process import garbage
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.journal_keeper import start_thread
from anycast_sdn.store import flow_file
from anycast_sdn.store.flow_file import FlowFile, Flows

BATCH_S = 0.05
RETRY_S = 5.0
FINISH_S = 5.0  # a write that is under way at the controller's end may take so long
AT_ONCE = 500  # flows: about a millisecond


def known_again(
    database: str, controller: Controller, report: Callable[[Event], None]
) -> FlowKeeper | None:
    """Flows that an earlier run has kept are known again → what keeps those from now on; None: there are none to keep.

    At the start, before any switch can connect.
    """
    if database == ":memory:":
        return None
    path = Path(database).absolute().with_suffix(".connections")
    try:
        found = flow_file.read(path)
    except OSError as error:
        found = Flows({}, error.strerror or str(error))
    now = time.monotonic()
    for edge, flows in found.by_edge.items():
        controller.remember(edge, flows.values(), time.time() - now, now)
    garbage.exempt_new()
    if found.damage:
        report(FlowsNotRead(str(path), found.damage))
    edges = [switch for switch in controller.switches_by_name() if switch.engine.needs_keeping]
    if not edges:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return FlowKeeper(FlowFile(path, [edge.name for edge in edges]), edges, report)


class FlowKeeper:
    """``edges``: the client edges whose flows are kept."""

    def __init__(self, file: FlowFile, edges: Sequence[ManagedSwitch], report: Callable[[Event], None]) -> None:
        self._file = file
        self._engines: Mapping[int, Engine] = {number: edge.engine for number, edge in enumerate(edges)}
        self._report = report
        self._problem = ""
        self._has_file = False
        self._is_active = True
        self._is_writing = False
        for engine in self._engines.values():
            engine.flow_changes.is_watched = True
        start_thread()

    def run(self) -> None:
        """To be spawned; until ``finish``."""
        write = isolated(self.write)
        while self._is_active:
            write()
            hub.sleep(RETRY_S if self._problem else BATCH_S)

    def write(self) -> None:
        """What has happened since the last call."""
        self._is_writing = True
        try:
            if self._has_file:
                self._write_changes(_by_thread)
            if not self._has_file or self._file.is_due:
                self._begin_again()
        except OSError as error:
            self._fails(error)
        finally:
            self._is_writing = False

    def _fails(self, error: OSError) -> None:
        self._has_file = False
        self._file.give_up()
        problem = f"{self._file.path}: {error.strerror or error}"
        if problem != self._problem:
            self._problem = problem
            self._report(FlowsNotKept(problem))

    def _write_changes(self, write: Callable[[Callable[[bytes], None], bytes], None]) -> None:
        to_epoch = time.time() - time.monotonic()
        for number, engine in self._engines.items():
            changes = engine.flow_changes.pop()
            for at in range(0, len(changes), AT_ONCE):
                records = [_record(number, engine, each, to_epoch) for each in changes[at : at + AT_ONCE]]
                write(self._file.append, b"".join(records))

    def _begin_again(self) -> None:
        """A file with all flows takes the place of the one before."""
        if not self._has_file:
            for engine in self._engines.values():
                engine.flow_changes.pop()
        _by_thread(lambda _: self._file.begin(), b"")
        for number in self._engines:
            after: int | None = 0
            while after is not None:
                after = self._carry_some(number, after)
                self._write_changes(_by_thread)
        _by_thread(lambda _: self._file.take_over(), b"")
        self._has_file = True
        if self._problem:
            self._problem = ""
            self._report(FlowsKept())

    def _carry_some(self, number: int, after: int) -> int | None:
        """→ the number of the last flow; None: that was all."""
        engine, to_epoch = self._engines[number], time.time() - time.monotonic()
        numbers = engine.flows.numbers_after(after, AT_ONCE)
        found = [*filter(None, map(engine.flows.by_number, numbers))]
        records = [_record(number, engine, flow, to_epoch) for flow in found]
        if records:
            _by_thread(self._file.carry, b"".join(records))
        connections = (flow_file.begun(number, each) for flow in found for each in engine.kept_connections(flow))
        while some := b"".join(islice(connections, AT_ONCE)):
            _by_thread(self._file.carry, some)
        return numbers[-1] if numbers else None

    def finish(self) -> None:
        """The controller ends: write what is left, behind what is being written."""
        self._is_active = False
        deadline = time.monotonic() + FINISH_S
        while self._is_writing and time.monotonic() < deadline:
            hub.sleep(BATCH_S / 10)
        if self._has_file:
            isolated(self._write_changes)(lambda write, records: write(records))


def _record(number: int, engine: Engine, change: Noted, to_epoch: float) -> bytes:
    """``number``: of the engine's edge."""
    if isinstance(change, int):
        return flow_file.ended(number, change)
    if isinstance(change, KeptConnection):
        return flow_file.begun(number, change)
    return flow_file.packed(number, change, to_epoch)


def _by_thread(write: Callable[[bytes], None], records: bytes) -> None:
    from eventlet import tpool

    tpool.execute(write, records)
