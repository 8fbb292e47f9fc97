"""SharedFlows: in a cluster each member has the records of flows that no switch can tell of (M20).

The master of a switch has its flows in its memory.  It sends the records of these to the other members, as it writes
them to its own file: first all that are open, then what changes.  Each of the others keeps the latest record of each
flow, in memory and in a file of its own.  When one of them becomes the master of the switch it knows the flows from
these, as after a restart, and asks for their connections one by one.

The rules this file keeps:

- Each switch is by itself: its flows may come from another member than those of others.
- What is received counts when all that is open there has come; until then, what there was before does.
- Each line says by which generation its sender has become the switch's master.  All that is open is not taken from one
  of an earlier generation than has been heard of: a former master, which does not know yet that it is that, sends all
  it has to whoever listens anew.
- Each line says what time it is at its sender.  Clocks may differ: times in records are those of this member's clock.
- What a member has received goes into its memory of a switch once.  When it loses the switch and gets it again before
  it has received anything, it goes on with what it knew itself.
- The master says beforehand which PR1X new flows get.  Of a flow that has begun just before its end the others have
  heard nothing; the tracker serves it, and its PR1X is one of these: the next master keeps them back.
- Until the flows of a switch are in the memory of its new master, their records are written and sent as received.
- A switch that has no master is the former one's: it sends on what it knows.

Nothing here asks for how long the master has been silent: records that are older than their flows do no harm, because
each connection is asked for.  ``age_s`` tells operators.
"""

from __future__ import annotations

import base64
import logging
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Protocol

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.generations import distance
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.recalling import Recalled
from anycast_sdn.core.events import Event
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import Address
from anycast_sdn.core.switch_events import SwitchMastered
from anycast_sdn.engines.engine import Engine
from anycast_sdn.process import flow_keeper
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.flow_keeper import AT_ONCE, EngineFlows, FlowKeeper
from anycast_sdn.process.released import Released
from anycast_sdn.store import flow_records
from anycast_sdn.store.flow_file import FlowFile
from anycast_sdn.store.flow_records import BEAT, NAMES, RECORDS, WHOLE, BadRecords, OpenFlows, framed

LOG = logging.getLogger(__name__)

TOPIC = "records"
BEAT_S = 1.0  # of each of its switches a master sends something at least so often
APART_S = 1.0  # clocks that differ by less count as the same: a line may have been on its way for so long
MOST_WAITING = 32 << 20  # bytes of records that are to be written, while the disk does not take them

# The switch, the generation, seconds since 1970, frames.
_LINE = re.compile(r"([0-9a-f]{1,16}) ([0-9]{1,20}) ([0-9]{1,12}\.[0-9]{3}) (\S*)")


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
    generation = app.connections.generation
    shared = SharedFlows(app.controller, own, before, cluster, generation, partial(lines.publish, TOPIC))
    keeper = FlowKeeper(FlowFile(path) if path else None, shared, app.report)
    shared.began_anew = keeper.begin_anew
    shared.released = partial(_let_rest, app.controller, app.connections.released)
    keeper.copy_to(shared)
    lines.listen(TOPIC, shared.hear)
    lines.greet(TOPIC, shared.greet)
    app.subscribe(shared.note)
    app.when_it_begins_anew(shared.begin_anew)
    return keeper


def _let_rest(controller: Controller, released: Released, edge: str, addresses: list[Address]) -> None:
    """Flows of another member with these addresses have ended: they rest on where this one becomes the master."""
    switch, now = controller.by_name[edge], time.monotonic()
    if switch.described.client_edge and not switch.decides_on_flows:
        released.keep(switch.dpid, ((address, now) for address in addresses))
        released.forget(switch.dpid, now - switch.described.client_edge.quarantine_s, 2 * len(addresses))


class _Said(Enum):
    """What the other members have been sent of the flows of a switch whose master this one is."""

    NOTHING = auto()
    SOME = auto()  # of all that is open
    ALL = auto()  # and what changes


class _Edge:
    """A client edge, as far as its flows are known here."""

    def __init__(self, name: str, number: int, dpid: int) -> None:
        self.name, self.number, self.dpid = name, number, dpid
        self.is_ours = False  # were its flows decided on here when that was looked at last?
        self.is_own = False  # has this member known them itself, and received none since?
        self.former: Engine | None = None  # its flows, if they are own and the controller has forgotten them
        self.said, self.said_at = _Said.NOTHING, 0.0
        self.generation: int | None = None  # the latest of a master that has begun to send all that is open
        self.sender = ""  # the member that has sent what was received last
        self.number_there = 0  # that the edge has in its records
        self.heard_at = -math.inf
        self.coming: tuple[str, OpenFlows] | None = None  # from a member, not whole yet

    def is_later(self, generation: int) -> bool:
        """Than of all that were heard of, or the same?"""
        return self.generation is None or distance(self.generation, generation) >= 0


class SharedFlows:
    """A ``Source`` of records for this member's file, and a ``Copy`` of its own records for the others.

    ``generation``: by which this member became a switch's master last; ``publish``: sends a line of text to all other
    members.
    """

    def __init__(
        self,
        controller: Controller,
        own: EngineFlows,
        before: OpenFlows,
        cluster: Cluster,
        generation: Callable[[int], int],
        publish: Callable[[str], None],
    ) -> None:
        """``before``: what this member has found in its file."""
        self._controller = controller
        self._own = own
        self._cluster = cluster
        self._generation = generation
        self._publish = publish
        self.edges: Sequence[str] = own.edges
        self._edges = [_Edge(name, number, controller.by_name[name].dpid) for number, name in enumerate(own.edges)]
        self._by_name = {edge.name: edge for edge in self._edges}
        self._by_dpid = {edge.dpid: edge for edge in self._edges}
        self._received = OpenFlows.none(own.edges)
        for name in own.edges:
            self._received.replace(name, before)
        # Called when all that is open has come, and when this member begins or ceases to be a switch's master.
        self.began_anew: Callable[[], None] = lambda: None
        # Called with PR1X of flows that have ended, by edge.
        self.released: Callable[[str, list[Address]], None] = lambda edge, addresses: None
        self._to_write: list[tuple[int, bytes]] = []
        self._waiting = 0  # bytes of these

    # ---------------------------------------------------------------- what the masters send

    def hear(self, member: str, line: str) -> None:
        """A line that another member has published."""
        edge = None
        try:
            said = _LINE.fullmatch(line)
            if said is None:
                raise BadRecords("they do not say of which switch, generation and time they are")
            dpid, generation, clock, text = said.groups()
            edge = self._by_dpid.get(int(dpid, 16))
            if edge is None:
                return  # of another network file
            ahead = float(clock) - time.time()
            content = base64.b64decode(text, validate=True)
            read_to = 0
            for frame, end in flow_records.frames(content):
                moved = frame if abs(ahead) < APART_S else flow_records.moved(frame, -ahead)
                self._take(edge, member, int(generation), moved)
                read_to = end
            if read_to < len(content):
                raise BadRecords("they are not as they were sent")
        except ValueError as error:
            LOG.warning("records of flows from member %s: %s", member, error)
            if edge and edge.coming and edge.coming[0] == member:
                edge.coming = None

    def _take(self, edge: _Edge, member: str, generation: int, frame: bytes) -> None:
        if frame[:1] == NAMES:
            if not edge.is_later(generation):
                LOG.debug("%s: records of flows from member %s: it is its master no more", edge.name, member)
                return
            edge.generation = generation
            edge.coming = member, OpenFlows()
        if edge.coming and edge.coming[0] == member:
            coming = edge.coming[1]
            coming.take(frame, "" if frame[:1] == NAMES else edge.name)
            if frame[:1] == WHOLE:
                self._take_all(edge, member, coming)
        elif member == edge.sender:
            edge.heard_at = time.monotonic()
            if frame[:1] == RECORDS:
                self._take_changes(edge, frame)

    def _take_all(self, edge: _Edge, member: str, coming: OpenFlows) -> None:
        self._received.replace(edge.name, coming)
        edge.coming, edge.sender, edge.number_there = None, member, coming.edges.index(edge.name)
        edge.is_own, edge.former = False, None
        edge.heard_at = time.monotonic()
        self._write_anew()

    def _take_changes(self, edge: _Edge, frame: bytes) -> None:
        if edge.number_there != edge.number:
            frame = flow_records.renumbered(frame, edge.number)
        for name, addresses in self._received.take(frame, edge.name).items():
            self.released(name, addresses)
        if not edge.is_ours:
            self._write(edge.number, frame[1:])
        if edge.is_own and self._cluster.is_master(edge.dpid):  # what the former master has done last
            late = [*self._received.of(edge.name)]
            self._received.forget(edge.name)
            if late:
                now = time.monotonic()
                self._controller.remember(edge.name, late, time.time() - now, now)

    def _write(self, number: int, records: bytes) -> None:
        self._to_write.append((number, records))
        self._waiting += len(records)
        if self._waiting > MOST_WAITING:
            self._write_anew()

    def _write_anew(self) -> None:
        self._to_write, self._waiting = [], 0
        self.began_anew()

    def age_s(self, edge: str, now: float) -> float:
        """How long ago its master has said something; inf: it has not sent all yet."""
        return now - self._by_name[edge].heard_at

    # ---------------------------------------------------------------- a switch is gained

    def note(self, event: Event) -> None:
        """A subscriber: this member has become the master of a switch, and knows nothing of it, or all as before."""
        if not isinstance(event, SwitchMastered):
            return
        edge = self._by_name.get(event.switch)
        if edge is None or not self._cluster.is_master(edge.dpid):
            return  # the leader decides on the rest of it
        self._look_at_generation(edge)
        if not self._knows(edge):
            if edge.is_own and not edge.former:
                self._keep_own(edge)
            done = partial(self._recalled, edge)
            switch = self._controller.by_name[edge.name]
            switch.recall(Recalled(self._flows_of(edge), time.time() - time.monotonic(), done))

    def _look_at_generation(self, edge: _Edge) -> None:
        if edge.is_later(generation := self._generation(edge.dpid)):
            edge.generation = generation

    def _knows(self, edge: _Edge) -> bool:
        """Are its flows in the memory of the controller, as nobody else has changed them since?"""
        return edge.is_own and edge.former is None and not self._controller.by_name[edge.name].will_forget_flows

    def begin_anew(self) -> None:
        """The controller has forgotten flows.  What it has known of them is of use until others send theirs."""
        for edge in self._edges:
            engine = self._own.engines[edge.name]
            if edge.is_own and engine is not self._controller.by_name[edge.name].engine:
                edge.former = edge.former or engine
                if edge.said is _Said.SOME:
                    edge.said = _Said.NOTHING
        self._own.begin_anew()

    def _flows_of(self, edge: _Edge) -> Iterator[KeptFlow]:
        """To be remembered, in slices."""
        if edge.former:
            yield from _flows_in(edge.former, time.time() - time.monotonic())
        yield from self._received.of(edge.name)

    def _keep_own(self, edge: _Edge) -> None:
        """Its flows are as if they had been received: the next master has sent nothing, and the engine begins anew."""
        engine = self._own.engines[edge.name]
        for records in self._own.records_of(lambda: engine, edge.number):
            self._received.take(RECORDS + records, edge.name)
        edge.is_own = False

    def _recalled(self, edge: _Edge, engine: Engine, now: float) -> None:
        """The flows of an edge are in the memory of the controller now."""
        if late := [*self._received.of(edge.name, engine.flows.by_number)]:  # received since its reading has begun
            self._controller.remember(edge.name, late, time.time() - now, now)
        engine.keep_back(self._received.aside(edge.name), now)
        sender = "this member has kept"
        if edge.sender:
            sender = f"member {edge.sender} has sent, {self.age_s(edge.name, now):.1f} s ago"
        LOG.info("%s: flows in the connection tracker are known from what %s: %d", edge.name, sender, len(engine.flows))
        self._received.forget(edge.name)
        edge.is_own, edge.former = True, None

    # ---------------------------------------------------------------- Source

    def changes(self) -> Iterator[tuple[int, bytes]]:
        self._beat()
        for edge in self._edges:
            yield from self._changes_of(edge)
        to_write, self._to_write, self._waiting = self._to_write, [], 0
        yield from to_write

    def _changes_of(self, edge: _Edge) -> Iterator[tuple[int, bytes]]:
        if edge.is_ours:
            for records in self._own.changes_at(edge.number):  # also the last of them, when it is ours no more
                yield edge.number, records
        is_master = self._cluster.is_master(edge.dpid)
        if is_master:
            self._look_at_generation(edge)
        is_ours = is_master or self._knows(edge)
        if is_ours is not edge.is_ours:
            edge.is_ours, edge.said = is_ours, _Said.NOTHING
            self._write_anew()
        if not is_ours:
            self._own.discard_changes(edge.number)

    def open_at(self, number: int) -> Iterator[bytes]:
        edge = self._edges[number]
        yield from self._received.records(edge.name, AT_ONCE)
        if edge.former:
            former = edge.former
            yield from self._own.records_of(lambda: former, number)
        if edge.is_ours:
            yield from self._own.open_at(number)

    # ---------------------------------------------------------------- Copy

    def greet(self) -> Iterator[str]:
        """Another member has begun to listen: everything is sent anew."""
        for edge in self._edges:
            edge.said = _Said.NOTHING
        return iter(())

    def due(self) -> Collection[int]:
        return [edge.number for edge in self._edges if edge.is_ours and edge.said is _Said.NOTHING]

    def begin(self, number: int) -> None:
        edge = self._edges[number]
        edge.said = _Said.SOME  # what changes from now on is sent
        self._say(edge, flow_records.names_frame(self.edges))

    def put(self, number: int, records: bytes) -> None:
        edge = self._edges[number]
        if records and edge.is_ours and edge.said is not _Said.NOTHING:
            self._say(edge, framed(RECORDS, records))

    def whole(self, number: int) -> None:
        edge = self._edges[number]
        if edge.said is _Said.SOME:
            edge.said = _Said.ALL
            self._say(edge, framed(WHOLE))

    def _beat(self) -> None:
        """When nothing has been said for some time, this is."""
        now = time.monotonic()
        for edge in self._edges:
            if edge.is_ours and edge.said is _Said.ALL and now - edge.said_at >= BEAT_S:
                self._say(edge, framed(BEAT))

    def _say(self, edge: _Edge, frame: bytes) -> None:
        edge.said_at = time.monotonic()
        text = base64.b64encode(frame).decode()
        self._publish(f"{edge.dpid:x} {edge.generation or 0} {time.time():.3f} {text}")


def _flows_in(engine: Engine, to_epoch: float) -> Iterator[KeptFlow]:
    """Those that it has, while it may be replaced by another one."""
    after = 0
    while numbers := engine.flows.numbers_after(after, AT_ONCE):
        after = numbers[-1]
        for flow in filter(None, map(engine.flows.by_number, numbers)):
            yield KeptFlow.of(flow, to_epoch, engine.kept_connections(flow))
