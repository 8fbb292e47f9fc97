"""BindingLogService: tells the process that writes the binding log what becomes of flows, and asks it who held what.

The rules this file keeps:

- Nothing here waits for the writer: what cannot be sent is queued, up to ``MOST_QUEUED``.  What is beyond that is
  missing, and the log says how much.
- A writer that has ended is started again.
- After records were lost, the writer is told of all flows again, slice by slice.  So the log knows again what is open.
- In a cluster each member has a log of its own, of the flows that it serves: as the leader, or as the master of a
  switch.  When it serves again, the log says since when it did not, and begins with what is found on the switches, as
  after a restart.  Where another member serves an edge, this one's flows there end, as handed over.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from os_ken.lib import hub

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.controller_events import BindingLogFailed, BindingLogRecovered
from anycast_sdn.core.events import Drop, Event
from anycast_sdn.core.flow_events import Change, FlowChange, Refusals
from anycast_sdn.core.model import Address, ConfigurationError
from anycast_sdn.core.network_events import PoolExhausted, PoolLow
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.flow_feed import FlowFeed, FlowListener
from anycast_sdn.store.bindings import messages, records
from anycast_sdn.store.bindings.files import MODE, SIZE
from anycast_sdn.store.bindings.messages import Frames, Message, Unavailable

STEP_S = 0.05
RESTART_S = 5.0  # from one start of the writer to the next, at least
MOST_QUEUED = 64 << 20  # bytes
TOLD_AT_ONCE = 500  # flows that the writer is told of again: some milliseconds
ANSWER_S = 10.0
MOST_ASKING = 8
FINISH_S = 3.0
RECENT_S = 60.0  # missing records are a reason for health for so long
REFUSED_S = 1.0  # refusals of this time are reported together,
MOST_REFUSED = 100  # and those of so many clients one by one

_WRITER = "anycast_sdn.store.bindings.writer"
_QUOTA = {Drop.CLIENT_FULL: "bindings of the client", Drop.PORT_FULL: "bindings of the clients at its port"}


class BindingLogOptions(NamedTuple):
    """What the command line says."""

    path: Path
    days: float = 90.0  # how long records are kept
    size: int = SIZE  # of a file, in bytes


class BindingLogService(FlowListener):
    def __init__(
        self,
        options: BindingLogOptions,
        controller: Controller,
        feed: FlowFeed,
        report: Callable[[Event], None],
    ) -> None:
        """Raises ConfigurationError when the file cannot be written."""
        self._report = report
        self.path = path = options.path.absolute()
        self.days = options.days
        self._size = options.size
        self._controller = controller
        self._feed = feed
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: socket.socket | None = None
        self._started = 0.0
        self._frames = Frames()
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes
        self._lost = 0  # records that had no room in the queue
        self._told_until = _now_ms()  # nothing before is lost
        self._tells_again = False
        self._refused: Counter[tuple[str, Address, Drop]] = Counter()
        self._refused_since = 0.0
        self._asked = 0
        self._waiting: dict[int, tuple[hub.Event, list[dict[str, Any]]]] = {}
        self._is_active = True
        self.resting_since: float | None = None  # this one serves no flows, others log them; s since 1970
        self._handed_over: set[str] = set()  # edges of which nothing was told since others serve them
        self.problem = ""  # why nothing can be written now
        self.missing = 0  # records that are missing since the controller's start
        self._missing_before = 0  # those that earlier writers missed
        self.missing_at: float | None = None  # when that last grew, monotonic
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, MODE))
        except OSError as error:
            raise ConfigurationError(f"the binding log cannot be written: {path}: {error.strerror}") from error
        feed.listen(self)

    def run(self) -> None:
        """To be spawned; until ``stop``."""
        step = isolated(self._step)
        while self._is_active:
            step()
            hub.sleep(STEP_S)

    def stop(self) -> None:
        """The controller ends: what has happened is written."""
        self._is_active = False
        deadline = time.monotonic() + FINISH_S
        while self._feed.collects and time.monotonic() < deadline:  # another green thread does; END comes last
            hub.sleep(STEP_S / 5)
        self._feed.collect()
        self._send([(messages.END, _now_ms())])
        while self._queue and self._writer and time.monotonic() < deadline:
            self._flush()
            hub.sleep(STEP_S / 5)
        if self._writer:
            self._writer.close()
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            hub.sleep(STEP_S / 5)

    def wrong(self, now: float) -> str:
        """What is wrong, for operators; "": nothing is."""
        if self.problem:
            return f"the binding log is not written: {self.problem}"
        if self.missing_at is not None and now - self.missing_at < RECENT_S:
            return f"the binding log is not whole: {self.missing} records are missing since the controller's start"
        return ""

    # ---------------------------------------------------------------- in a cluster

    def rest(self) -> None:
        """This controller serves no flows from now on."""
        if self.resting_since is None:
            self.resting_since = time.time()

    def resume(self) -> None:
        """This controller leads, or serves flows, from now on."""
        if self.resting_since is not None:
            gap = {"gapFrom": records.moment(round(self.resting_since * 1000)), "reason": records.ANOTHER_LED}
            self._send([(messages.TELL, records.GAP, _now_ms(), gap)])
            self.resting_since = None

    def hand_over(self, edges: Iterable[str]) -> None:
        """Other controllers serve their flows.  To be called again and again."""
        for edge in edges:
            if edge not in self._handed_over:
                self._handed_over.add(edge)
                self._send([(messages.HANDED, edge, _now_ms())])

    def begin_anew(self) -> None:
        """The controller has forgotten flows: the log waits to hear which of them there still are."""
        names = sorted(switch.name for switch in self._controller.switches.values() if not switch.decides_on_flows)
        self._send([(messages.DOUBT, name) for name in names])

    # ---------------------------------------------------------------- what is told

    def flows(self, edge: str, changes: Sequence[FlowChange]) -> None:
        to_epoch = time.time() - time.monotonic()
        self._handed_over.discard(edge)
        self._send([_record(edge, each, to_epoch) for each in changes])

    def flows_missing(self, edge: str, count: int) -> None:
        self._lose(count)

    def flows_settled(self, edge: str) -> None:
        self._handed_over.discard(edge)
        self._send([(messages.SETTLED, edge, _now_ms())])

    def flows_refused(self, edge: str, refusals: Sequence[Refusals]) -> None:
        if not self._refused:
            self._refused_since = time.monotonic()
        for client, reason, packets in refusals:
            if reason in _QUOTA:
                key = edge, client, reason
                if key not in self._refused and len(self._refused) >= MOST_REFUSED:
                    key = edge, b"", reason  # of all others
                self._refused[key] += packets

    def __call__(self, event: Event) -> None:
        """A subscriber of events: the pools."""
        if isinstance(event, PoolExhausted):
            members = {"natEvent": 3, "edge": event.switch, "family": event.family, "size": event.size}
            self._send([(messages.TELL, records.EXHAUSTED, _now_ms(), members)])
        elif isinstance(event, PoolLow):
            members = {
                "natEvent": 18, "natThresholdEvent": 1, "edge": event.switch, "family": event.family,
                "size": event.size, "left": event.left,
            }  # fmt: skip
            self._send([(messages.TELL, records.LOW, _now_ms(), members)])

    def _tell_refused(self) -> None:
        if self._refused and time.monotonic() - self._refused_since >= REFUSED_S:
            refused, self._refused = self._refused, Counter()
            self._send([_quota(*key, packets) for key, packets in refused.items()])

    def _tell_again(self) -> None:
        """After a loss: of all flows of the switches that have been read, where no other controller serves them."""
        self._handed_over.clear()
        for switch in list(self._controller.switches.values()):
            is_ours = switch.share is Share.ALL or (switch.share is Share.FLOWS and switch.decides_on_flows)
            if switch.ever_synchronised and not switch.reading and is_ours:
                self._tell_all_of(switch)

    def _tell_all_of(self, switch: ManagedSwitch) -> None:
        self._send([(messages.DOUBT, switch.name)])
        number: int | None = 0
        while number is not None and self._is_active:
            self._feed.collect()
            number = self._tell_some_of(switch, number)
            while self._queued > MOST_QUEUED // 2 and self._is_active:
                hub.sleep(STEP_S)
            hub.sleep(0)
        self._send([(messages.SETTLED, switch.name, _now_ms())])

    def _tell_some_of(self, switch: ManagedSwitch, after: int) -> int | None:
        """→ the number of the last one; None: that was all."""
        now, to_epoch = time.monotonic(), time.time() - time.monotonic()
        numbers = list(switch.engine.flows.numbers_after(after, TOLD_AT_ONCE))
        found: list[Binding] = [*filter(None, map(switch.engine.flows.by_number, numbers))]
        self._send([_record(switch.name, FlowChange(Change.ADOPTED, each, now), to_epoch) for each in found])
        return numbers[-1] if numbers else None

    # ---------------------------------------------------------------- who held it

    def who(self, translated: Address, at: float, port: int | None) -> dict[str, Any]:
        """``at``: seconds since 1970 → see ``search.Found.shown``.  Waits; raises Unavailable."""
        if len(self._waiting) >= MOST_ASKING:
            raise Unavailable("too many ask at once")
        self._feed.collect()
        self._asked += 1
        number, answered, answer = self._asked, hub.Event(), list[dict[str, Any]]()
        self._waiting[number] = answered, answer
        try:
            self._send([(messages.ASK, number, translated, round(at * 1000), port)])
            self._flush()
            timer = hub.spawn_after(ANSWER_S, answered.set)
            answered.wait()
            timer.cancel()
        finally:
            del self._waiting[number]
        if not answer:
            raise Unavailable(self.problem or "the binding log does not answer in time")
        if error := answer[0].get("error"):
            raise Unavailable(error)
        return answer[0]

    # ---------------------------------------------------------------- the writer

    def _step(self) -> None:
        if self._writer is None:
            self._start_writer()
        self._tell_refused()
        self._flush()
        self._receive()

    def _start_writer(self) -> None:
        if self._started and time.monotonic() - self._started < RESTART_S:
            return
        again, self._started = bool(self._started), time.monotonic()
        ours, its = socket.socketpair()
        ours.setblocking(False)
        command = [sys.executable, "-m", _WRITER, str(self.path), str(self.days), str(self._size)]
        try:
            self._process = subprocess.Popen(
                command, stdin=its.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            self._fails(f"its writer cannot be started: {error.strerror}")
            ours.close()
            return
        finally:
            its.close()
        self._writer, self._frames = ours, Frames()
        if again:
            self._tells_again = True

    def _send(self, told: Sequence[Message]) -> None:
        """Queue these messages, or count them as lost."""
        if not told:
            return
        if self._queued > MOST_QUEUED:
            self._lose(len(told))
            return
        if self._lost:
            why = "the controller was faster than the log"
            told = [(messages.LOST, self._lost, self._told_until, _now_ms(), why), *told]
            self._lost = 0
            self._tells_again = True
        frame = messages.framed(told)
        self._queue.append(frame)
        self._queued += len(frame)
        self._told_until = _now_ms()

    def _lose(self, count: int) -> None:
        self._lost += count
        self._missing_before += count
        self._misses(self.missing + count)

    def _flush(self) -> None:
        """Send what can be sent now."""
        while self._queue and self._writer:
            try:
                sent = self._writer.send(self._queue[0])
            except BlockingIOError:
                return
            except OSError:
                self._ended()
                return
            self._queued -= sent
            if sent == len(self._queue[0]):
                self._queue.popleft()
            else:
                self._queue[0] = self._queue[0][sent:]
        if self._writer and self._tells_again and not self.problem:
            self._tells_again = False
            hub.spawn(isolated(self._tell_again))

    def _receive(self) -> None:
        while self._writer:
            try:
                piece = self._writer.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                piece = b""
            if not piece:
                self._ended()
                return
            for name, *rest in self._frames.take(piece):
                if name == messages.STATE:
                    self._state(*rest)
                elif name == messages.ANSWER:
                    self._answered(*rest)

    def _ended(self) -> None:
        """The writer is gone.  What is queued belongs to frames that may be half sent."""
        assert self._writer
        self._writer.close()
        self._writer = None
        self._queue.clear()
        self._queued = 0
        self._missing_before = self.missing
        if self._is_active:
            self._fails(self.problem or "its writer has ended; it is started again")

    def _state(self, problem: str, missing: int) -> None:
        self._misses(self._missing_before + missing)
        if problem:
            self._fails(problem)
        elif self.problem:
            self.problem = ""
            self._report(BindingLogRecovered(str(self.path), self.missing))

    def _fails(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if problem != before:
            self._report(BindingLogFailed(str(self.path), problem))

    def _misses(self, missing: int) -> None:
        if missing > self.missing:
            self.missing, self.missing_at = missing, time.monotonic()

    def _answered(self, number: int, found: dict[str, Any], error: str) -> None:
        if waiting := self._waiting.get(number):
            answered, answer = waiting
            answer.append({"error": error} if error else found)
            answered.set()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _record(edge: str, change: FlowChange, to_epoch: float) -> Message:
    """As ``records.Record``; a plain tuple, which ``marshal`` can write."""
    what, (number, key, translated, group, since, server, *_, there), when, _, ended_by = change
    client, service, protocol, client_port, service_port = key
    return (
        what._value_, round((when + to_epoch) * 1000), edge, number, group, client, client_port, service, service_port,
        protocol, translated, server, round((since + to_epoch) * 1000), ended_by._value_ if ended_by else "",
        there,
    )  # fmt: skip


def _quota(edge: str, client: Address, reason: Drop, packets: int) -> Message:
    of = {f"sourceIPv{4 if len(client) == 4 else 6}Address": records.shown(client)} if client else {}
    members = {
        "natEvent": 13, "natQuotaExceededEvent": 3, "edge": edge, **of, "quota": _QUOTA[reason], "packets": packets,
    }  # fmt: skip
    return messages.TELL, records.QUOTA, _now_ms(), members


