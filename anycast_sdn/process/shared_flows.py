"""SharedFlows: in a cluster each member has the records of flows that no switch can tell of (M20).

The leader's switches have their flows in its memory.  It sends the records of these to the other members, as it writes
them to its own file: first all that are open, then what changes.  Each of the others keeps the latest record of each
flow, in memory and in a file of its own.  When one of them becomes the master of a switch it knows the flows from
these, as after a restart, and asks for their connections one by one.

The rules this file keeps:

- What is received counts when all that is open has come; until then, what there was before does.
- Each line says in which term its sender leads.  All that is open is not taken from a leader of an earlier term than
  has been heard of: a former one, which does not know yet that it is that, sends all it has to whoever listens anew.
- Each line says what time it is at its sender.  Clocks may differ: times in records are those of this member's clock.
- What a member has received goes into its memory of a switch once.  When it loses the switch and gets it again before
  it has received anything, it goes on with what it knew itself.
- The leader says beforehand which PR1X new flows get.  Of a flow that has begun just before its end the others have
  heard nothing; the tracker serves it, and its PR1X is one of these: the next leader keeps them back.
- Until the flows of a switch are in the memory of its new master, their records are written and sent as received.

Nothing here asks for how long the leader has been silent: records that are older than their flows do no harm, because
each connection is asked for.  ``age_s`` tells operators.
"""

from __future__ import annotations

import base64
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import Recalled
from anycast_sdn.core.events import Event
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import Address
from anycast_sdn.core.switch_events import SwitchMastered
from anycast_sdn.engines.engine import Engine
from anycast_sdn.process import flow_keeper
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.flow_keeper import AT_ONCE, EngineFlows, FlowKeeper
from anycast_sdn.store import flow_records
from anycast_sdn.store.flow_file import FlowFile
from anycast_sdn.store.flow_records import BEAT, NAMES, RECORDS, WHOLE, BadRecords, OpenFlows, framed

LOG = logging.getLogger(__name__)

TOPIC = "flows"
BEAT_S = 1.0  # the leader sends something at least so often
APART_S = 1.0  # clocks that differ by less count as the same: a line may have been on its way for so long
MOST_WAITING = 32 << 20  # bytes of records that are to be written, while the disk does not take them

_LINE = re.compile(r"([0-9]{1,20}) ([0-9]{1,12}\.[0-9]{3}) (\S*)")  # term, seconds since 1970, frames


class Lines(Protocol):
    """What members of a cluster say to each other."""

    def publish(self, topic: str, text: str) -> None:
        """To all others that listen, a line."""

    def greet(self, topic: str, first: Callable[[], Iterable[str]]) -> None:
        """Who begins to listen is told this first."""

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        """It is called with the id of the member that says it, and the line."""


def share(database: str, app: AnycastApp, cluster: Cluster, lines: Lines) -> FlowKeeper | None:
    """→ what keeps and sends them from now on; None: there are none to keep.  Before any switch can connect.

    Flows that an earlier run has kept are known again if this member leads before it has heard of others'.
    """
    own = EngineFlows(app.controller, sets_aside=True)
    if not own.edges:
        return None
    path = None if database == ":memory:" else Path(database).absolute().with_suffix(".connections")
    before = flow_keeper.read(path, app.report) if path else OpenFlows()
    shared = SharedFlows(app.controller, own, before, cluster, partial(lines.publish, TOPIC))
    keeper = FlowKeeper(FlowFile(path) if path else None, shared, app.report)
    shared.began_anew = keeper.begin_anew
    shared.released = partial(_let_rest, app)
    keeper.copy_to(shared)
    lines.listen(TOPIC, shared.hear)
    lines.greet(TOPIC, shared.greet)
    app.subscribe(shared.note)
    app.when_it_begins_anew(shared.begin_anew)
    return keeper


def _let_rest(app: AnycastApp, edge: str, addresses: list[Address]) -> None:
    """Flows of another member with these addresses have ended."""
    switch, now = app.controller.by_name[edge], time.monotonic()
    if switch.described.client_edge and not switch.synchronised:
        released = app.connections.released
        released.keep(switch.dpid, ((address, now) for address in addresses))
        released.forget(switch.dpid, now - switch.described.client_edge.quarantine_s, 2 * len(addresses))


class SharedFlows:
    """A ``Source`` of records for this member's file, and a ``Copy`` of its own records for the others.

    ``publish``: sends a line of text to all other members.
    """

    def __init__(
        self,
        controller: Controller,
        own: EngineFlows,
        before: OpenFlows,
        cluster: Cluster,
        publish: Callable[[str], None],
    ) -> None:
        """``before``: what this member has found in its file."""
        self._controller = controller
        self._own = own
        self._is_our_own: set[str] = set()  # edges whose flows this member has known, and received none of since
        self.edges: Sequence[str] = own.edges
        self._cluster = cluster
        self._publish = publish
        # Called when all that is open has come, and when this member begins or ceases to lead.
        self.began_anew: Callable[[], None] = lambda: None
        # Called with PR1X of flows that have ended, by edge.
        self.released: Callable[[str, list[Address]], None] = lambda edge, addresses: None
        self._former: dict[str, Engine] = {}  # of these edges, which the controller has forgotten
        self._received = before.among(own.edges)
        self._from = ""  # the member that has sent it
        self._latest = 0  # the last term in which a leader has begun to send all that is open
        self._coming: tuple[str, OpenFlows] | None = None  # from a member, not whole yet
        self._heard_at = -math.inf
        self._to_write: list[bytes] = []
        self._waiting = 0  # bytes of these
        self._has_led = False
        self._term = 0  # in which it has led last
        self._greeted = self._said_whole = False  # have all the others been sent everything?
        self._said_at = 0.0

    # ---------------------------------------------------------------- what the leader sends

    def hear(self, member: str, line: str) -> None:
        """A line that another member has published."""
        try:
            said = _LINE.fullmatch(line)
            if said is None:
                raise BadRecords("they do not say of which term and time they are")
            term, clock, text = said.groups()
            ahead = float(clock) - time.time()
            content = base64.b64decode(text, validate=True)
            read_to = 0
            for frame, end in flow_records.frames(content):
                self._take(member, int(term), frame if abs(ahead) < APART_S else flow_records.moved(frame, -ahead))
                read_to = end
            if read_to < len(content):
                raise BadRecords("they are not as they were sent")
        except ValueError as error:
            LOG.warning("records of flows from member %s: %s", member, error)
            self._coming = None

    def _take(self, member: str, term: int, frame: bytes) -> None:
        if frame[:1] == NAMES:
            if term < max(self._latest, self._cluster.term() if self._cluster.leads() else 0):
                LOG.debug("records of flows from member %s: it leads no more", member)
                return
            self._latest = term
            self._coming = member, OpenFlows()
        if self._coming and self._coming[0] == member:
            coming = self._coming[1]
            coming.take(frame)
            if frame[:1] == WHOLE:
                self._coming = None
                self._received, self._from = coming.among(self.edges), member
                self._is_our_own.clear()
                self._former.clear()
                self._heard_at = time.monotonic()
                self._write_anew()
        elif member == self._from:
            self._heard_at = time.monotonic()
            if frame[:1] == RECORDS:
                self._take_changes(frame)

    def _take_changes(self, frame: bytes) -> None:
        for edge, addresses in self._received.take(frame).items():
            self.released(edge, addresses)
        if not self._has_led:
            self._write(frame[1:])
        for edge in self._is_our_own:  # what the former leader has done last
            late = [*self._received.of(edge)]
            self._received.forget(edge)
            if late:
                now = time.monotonic()
                self._controller.remember(edge, late, time.time() - now, now)

    def _write(self, records: bytes) -> None:
        self._to_write.append(records)
        self._waiting += len(records)
        if self._waiting > MOST_WAITING:
            self._write_anew()

    def _write_anew(self) -> None:
        self._to_write, self._waiting = [], 0
        self.began_anew()

    def age_s(self, now: float) -> float:
        """How long ago the leader has said something; inf: it has not sent all yet."""
        return now - self._heard_at

    @property
    def open(self) -> int:
        """How many flows are open, as received."""
        return len(self._received)

    # ---------------------------------------------------------------- a switch is gained

    def note(self, event: Event) -> None:
        """A subscriber: this member has become the master of a switch, and knows nothing of it, or all as before."""
        if not isinstance(event, SwitchMastered) or event.switch not in self.edges:
            return
        switch = self._controller.by_name[event.switch]
        if not switch.ever_synchronised:
            done = partial(self._recalled, switch.name)
            switch.recall(Recalled(self._flows_of(switch.name), time.time() - time.monotonic(), done))

    def begin_anew(self) -> None:
        """The controller has forgotten all flows.  What it has known of them is of use until others send theirs."""
        self._former |= {edge: self._own.engines[edge] for edge in self._is_our_own}
        self._is_our_own.clear()
        self._own.begin_anew()

    def _flows_of(self, edge: str) -> Iterator[KeptFlow]:
        """To be remembered, in slices."""
        if former := self._former.get(edge):
            yield from _flows_in(former, time.time() - time.monotonic())
        yield from self._received.of(edge)

    def _recalled(self, edge: str, engine: Engine, now: float) -> None:
        """The flows of an edge are in the memory of the controller now."""
        if late := [*self._received.of(edge, engine.flows.by_number)]:  # received since its reading has begun
            self._controller.remember(edge, late, time.time() - now, now)
        engine.keep_back(self._received.aside(edge), now)
        sender = f"member {self._from} has sent, {self.age_s(now):.1f} s ago" if self._from else "this member has kept"
        LOG.info("%s: flows in the connection tracker are known from what %s: %d", edge, sender, len(engine.flows))
        self._received.forget(edge)
        self._former.pop(edge, None)
        self._is_our_own.add(edge)

    # ---------------------------------------------------------------- Source

    def changes(self) -> Iterator[bytes]:
        self.beat()
        if self._has_led:
            yield from self._own.changes()  # also the last of them, when this member leads no more
        leads = self._cluster.leads()
        if leads:
            self._term = self._cluster.term()
        if leads is not self._has_led:
            self._has_led = leads
            self._said_whole = False
            self._write_anew()
        if self._has_led:
            return
        for _ in self._own.changes():
            pass
        to_write, self._to_write, self._waiting = self._to_write, [], 0
        for at in range(0, len(to_write), AT_ONCE):
            yield b"".join(to_write[at : at + AT_ONCE])

    def everything(self) -> Iterator[bytes]:
        for number, edge in enumerate(self.edges):
            if edge in self._received.edges:
                yield from self._received.records(edge, AT_ONCE)
            if self._has_led:
                yield from self._own.open_at(number)

    # ---------------------------------------------------------------- Copy

    is_closed = False

    @property
    def is_begun(self) -> bool:
        """Nothing is sent by a member that does not lead."""
        return self._said_whole or not self._has_led

    def greet(self) -> Iterator[str]:
        """Another member has begun to listen: everything is sent anew."""
        self._said_whole = False
        return iter(())

    def begin(self, edges: Sequence[str]) -> None:
        self._said_whole = True  # what changes from now on is sent
        self._say(flow_records.names_frame(edges))

    def put(self, records: bytes) -> None:
        if self._has_led:
            self._say(framed(RECORDS, records))

    def whole(self) -> None:
        self._say(framed(WHOLE))

    def beat(self) -> None:
        """When nothing has been said for some time, this is."""
        if self._has_led and self._said_whole and time.monotonic() - self._said_at >= BEAT_S:
            self._say(framed(BEAT))

    def _say(self, frame: bytes) -> None:
        self._said_at = time.monotonic()
        self._publish(f"{self._term} {time.time():.3f} {base64.b64encode(frame).decode()}")


def _flows_in(engine: Engine, to_epoch: float) -> Iterator[KeptFlow]:
    """Those that it has, while it may be replaced by another one."""
    after = 0
    while numbers := engine.flows.numbers_after(after, AT_ONCE):
        after = numbers[-1]
        for flow in filter(None, map(engine.flows.by_number, numbers)):
            yield KeptFlow.of(flow, to_epoch, engine.kept_connections(flow))
