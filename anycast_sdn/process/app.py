"""The running controller: what switches say and the clock → ``Controller`` → the switches' channels.

A few lines per handler; every decision is the ``Controller``'s.  One hub, one writer: a handler runs
to its end before the next starts, because nothing in it waits (``Channel.tell`` only queues).  A fault of
our own in one event loses that event alone (``_alone``, and ``Channel`` for what switches say): what came with
it, before it and after it is served.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, ClassVar, ParamSpec

from os_ken.base import app_manager
from os_ken.lib import hub

from anycast_sdn.api import server
from anycast_sdn.api.rest import RestApi
from anycast_sdn.api.server import Server
from anycast_sdn.control.controller import Controller, Outbox
from anycast_sdn.control.health import Attendance, Session
from anycast_sdn.control.registry import Registry
from anycast_sdn.control.views import FlowFilter, FlowView, Place
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address
from anycast_sdn.core.words import counted, listed
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network, Port
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import Kind, binding_of, kind_of
from anycast_sdn.openflow.questions import Introduction, SweepRun
from anycast_sdn.openflow.rules import Message
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process import garbage
from anycast_sdn.process.acceptor import Acceptor, raise_file_limit, shown
from anycast_sdn.process.backlog import Turns, Window
from anycast_sdn.process.ending import Ending
from anycast_sdn.process.inspection import Inspections
from anycast_sdn.process.repeats import Repeats
from anycast_sdn.process.stalls import Gauge
from anycast_sdn.routing.bgp import Speaker
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import Store

LOG = logging.getLogger(__name__)

TICK_S = 0.25
LOOK_S = 1.0  # how often health is looked at; each question of /healthz does so, too
INSPECTIONS_S = 0.25  # how often it is looked at which switch is due
INTRODUCTION_S = 120.0  # until a switch has said all that it is asked when it connects
SHOWN_IDS = 8  # of switches that are expected
SAID = 5  # times a minute that a switch is ready, or gone
MISSED = {  # what is said of a switch without one of these ``Features``
    "tcp_flags": "does not tell of FIN and RST: closed TCP connections stay for their idle validity",
    "turning": "cannot forget by which port a packet came: one that turns round here, while routes change, is lost",
    "meters": "has no meters: nothing limits what it sends to the controller",
}
SLICE_S = 0.004  # of work that may wait; then it is others' turn
TURN = 16  # first packets of one switch, and twice as many first replies, then it is another's turn: 2 to 3 ms
ENDED_AT_ONCE = 256  # bindings
SETTLE_S = 0.05  # from a switch's confirmation until it is believed
STEP_S = 0.02  # what has been confirmed meanwhile is taken together
AMISS_S, LONGEST_AMISS_S = 10.0, 320.0  # until a switch that had no room for rules gets them again; doubles
ENDING_LOOK_S = 0.1  # how often signals are looked for
STORE_LOOK_S = 5.0  # and whether the database's file is still there
FINISH_S = 2.0  # what is under way at the end may take so long
TAKEN_UP_S = 2.0  # a change of the operator's is answered after this at the latest


class SecureRandom:
    """Numbers that nobody can foresee; ``random.SystemRandom`` asks the kernel for each of them."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def randrange(self, stop: int, /) -> int:
        """16 bytes each: picks from a /64 without a noticeable bias."""
        if not self._numbers:
            self._numbers = [int.from_bytes(number, "big") for (number,) in struct.iter_unpack("16s", os.urandom(4096))]
        return self._numbers.pop() % stop


Arguments = ParamSpec("Arguments")


def _alone(act: Callable[Arguments, object]) -> Callable[Arguments, bool]:
    """``act``, as an event of its own: True when it was done, False when it failed, which is logged here."""

    @wraps(act)
    def guarded(*arguments: Arguments.args, **named: Arguments.kwargs) -> bool:
        try:
            act(*arguments, **named)
        except Exception:
            LOG.exception("our own error in %s; the controller goes on", act.__name__.strip("_").replace("_", " "))
            return False
        return True

    return guarded


class _Waiting:
    """What one switch has sent up about flows, and nobody has looked at yet."""

    def __init__(self, wait_s: float) -> None:
        self.replies = Turns[tuple[int, Address], decoding.PacketInMessage](wait_s)  # by ``whose_reply``
        self.first = Turns[int, decoding.PacketInMessage](wait_s)  # by the port where they came in
        self.window = Window()

    def __bool__(self) -> bool:
        return bool(self.replies or self.first)

    def may_be_served(self, now: float) -> bool:
        return bool(self) and self.window.is_open(now)

    @property
    def shed(self) -> int:
        return self.replies.shed + self.first.shed

    def take(self, most: int, now: float) -> list[decoding.PacketInMessage]:
        """So many of what is new, and twice as many of what has begun: it should not wait for what is new."""
        return self.replies.take(2 * most, now) + self.first.take(most, now)


class AnycastApp(app_manager.OSKenApp):  # type: ignore[misc]
    """The OS-Ken application."""

    OFP_VERSIONS: ClassVar = [codec.OPENFLOW_VERSION]

    def __init__(self, network: Network, groups: Groups, database_problem: Callable[[], str] = str) -> None:
        """``database_problem``: why enrolments cannot be stored now, "" when they can."""
        super().__init__()
        self._database_problem = database_problem
        self.controller = Controller(network, groups, SecureRandom())
        self.channels: dict[int, Channel] = {}
        self._repeats = Repeats()
        self._introducing: dict[Channel, float] = {}  # → since when
        self._waiting = {dpid: _Waiting(network.limits.wait_ms / 1000) for dpid in self.controller.edges}
        self._someone_waits = hub.Event()
        self._work_is_left = hub.Event()
        # What switches have confirmed: (when it is believed, (datapath id, ticket)).
        self._settling: list[tuple[float, tuple[int, int]]] = []
        self._amiss: set[Channel] = set()  # switches that have had no room for rules which they should have
        self._pauses: dict[int, float] = {}  # datapath id → the latest pause before such rules were sent again
        self._stuck: set[str] = set()  # switches that have not taken up a change in time
        self.inspections = Inspections(self.controller, self._send, hub.sleep)
        self.gauge = Gauge(hub.sleep)
        self.speakers = [Speaker(uplink) for uplink in network.uplinks if uplink.bgp]
        self._attendance = Attendance(len(network.switches), time.monotonic())

    def start(self) -> None:
        super().start()
        self.threads += [
            hub.spawn(self._every, TICK_S, self._tick),
            hub.spawn(self._every, LOOK_S, self._look),
            hub.spawn(self._every, INSPECTIONS_S, self._inspect),
            hub.spawn(self._every, STEP_S, self._settle),
            hub.spawn(self._serve_first_packets),
            hub.spawn(self._work_in_slices),
            hub.spawn(self.gauge.beat_while, lambda: self.is_active),
        ]

    def stop(self) -> None:
        self.is_active = False
        self._someone_waits.set()  # nobody does, but who serves them must see that this is the end
        self._work_is_left.set()
        super().stop()

    # ---------------------------------------------------------------- connections

    def identified(self, switch: Channel) -> None:
        """A second connection of a switch is taken when the first is dead: otherwise anybody could end it."""
        if switch.id not in self.controller.edges:
            text = f"switch {switch.id:016x} is not in the network file; {self._expected()}"
            switch.close(text, f"unknown {switch.id}")
        elif older := self.channels.get(switch.id):
            older.probe(partial(self._judge, switch, older))
        else:
            self._admit(switch)

    def _expected(self) -> str:
        """The switches of the file that are not here, or all."""
        edges = self.controller.edges
        awaited = [dpid for dpid in edges if dpid not in self.channels] or list(edges)
        ids = [f"{dpid:016x} ({self._name(dpid)})" for dpid in awaited[:SHOWN_IDS]]
        more = f" and {len(awaited) - SHOWN_IDS} more" if len(awaited) > SHOWN_IDS else ""
        return f"{'awaited' if len(awaited) < len(edges) else 'it has'}: {', '.join(ids)}{more}"

    def _judge(self, newer: Channel, older: Channel, alive: bool) -> None:
        if newer.is_closed:
            return
        if alive:
            newer.close(f"switch {older.name} is connected already, and answers", f"second {newer.id}")
            return
        older.close(f"it does not answer, and has connected again from {newer.peer}")
        self.identified(newer)

    def _admit(self, switch: Channel) -> None:
        switch.admit(self._name(switch.id))
        self.channels[switch.id] = switch
        self._introducing[switch] = time.monotonic()
        self.unanswered(switch.id, frozenset())
        edge = self.controller.edges[switch.id]
        known = edge.features if edge.ever_synchronised else None
        Introduction(switch, edge.meters, known, self._introduced).begin()

    def disconnected(self, switch: Channel) -> None:
        text = f"switch {switch.name} is gone: {switch.reason}; its rules stay as they are"
        self._say(("gone", switch.id), text, LOG.warning)
        self._introducing.pop(switch, None)
        self._amiss.discard(switch)
        if self.channels.get(switch.id) is switch:
            del self.channels[switch.id]
            self._send(self.controller.disconnected(switch.id, time.monotonic()))

    @_alone
    def _end_long_introductions(self, now: float) -> None:
        for switch in [switch for switch, since in self._introducing.items() if now - since > INTRODUCTION_S]:
            switch.close(f"it has not said in {INTRODUCTION_S:.0f} s what it is and holds")

    def unanswered(self, dpid: int, questions: frozenset[str]) -> None:
        edge = self.controller.edges[dpid]
        for what in sorted(questions - edge.unanswered):
            text = f"switch {edge.switch.name} does not answer when asked for its {what}; going on without"
            self._say((f"silent about {what}", dpid), text, LOG.warning)
        edge.unanswered = questions

    def _introduced(self, switch: Channel, found: Tables, features: Features, ports: dict[int, bool]) -> None:
        if self._introducing.pop(switch, None) is None:
            return
        self.controller.begin_reading(switch.id, found, features)
        self._read_on(switch, len(found.flows), ports)

    def _read_on(self, switch: Channel, found: int, ports: dict[int, bool]) -> None:
        """What the switch holds is taken up a slice at a time; others have their turn between."""
        if self.channels.get(switch.id) is switch and not self._read_slice(switch, found, ports):
            switch.close("our own error with what it holds")

    @_alone
    def _read_slice(self, switch: Channel, found: int, ports: dict[int, bool]) -> None:
        out = self.controller.read_on(switch.id, time.monotonic())
        garbage.keep()  # bindings
        if out is None:
            self._ready(switch, found, ports)
        else:
            self._send(out)
            switch.later(partial(self._read_on, switch, found, ports))

    def _ready(self, switch: Channel, found: int, ports: dict[int, bool]) -> None:
        now = time.monotonic()
        self._send(self.controller.end_reading(switch.id, now))
        garbage.keep()  # all its rules
        for port, up in ports.items():  # afterwards, so that no host stays on a dead port
            self._send(self.controller.port_changed(switch.id, port, up, now))
        self._someone_waits.set()
        name, edge = self._name(switch.id), self.controller.edges[switch.id]
        text = f"switch {switch.name} is ready: {found} rules found, {edge.rules} wanted"
        self._say(("ready", switch.id), text, LOG.info)
        features = edge.features
        for feature, without in MISSED.items():
            if not getattr(features, feature):
                self._say((feature, switch.id), f"switch {name} {without}", LOG.warning)
        for port, mtu in edge.mtus.items() if not features.packet_size else ():
            text = f"what is larger than the mtu of its port {port}, {mtu}, is lost, and nobody is told"
            self._say((f"mtu of {port}", switch.id), f"switch {name} cannot tell how large packets are: {text}",
                      LOG.warning)  # fmt: skip

    def _say(self, kind: tuple[str, int], text: str, log: Callable[[str], None]) -> None:
        if self._repeats.is_new(kind, text, time.monotonic(), often=SAID):
            log(text)

    def _name(self, dpid: int) -> str:
        return self.controller.edges[dpid].switch.name

    # ---------------------------------------------------------------- what switches say (channel.Listener)

    def packet_in(self, dpid: int, message: decoding.PacketInMessage) -> None:
        if dpid not in self.channels:
            return
        kind, waiting, now = kind_of(message.cookie), self._waiting[dpid], time.monotonic()
        if kind is Kind.FIRST_PACKET or kind is Kind.SYN:
            waiting.first.add(message.in_port, message, now)
        elif kind is Kind.FIRST_REPLY:
            waiting.replies.add(self.controller.edges[dpid].whose_reply(message.frame), message, now)
        else:
            self._send(self.controller.packet_in(dpid, *message, now=now))
            return
        if not self._someone_waits.is_set():
            self._someone_waits.set()

    def ttl_expired(self, dpid: int, message: decoding.PacketInMessage) -> None:
        if dpid in self.channels:
            self._send(self.controller.ttl_expired(dpid, message.in_port, message.frame, time.monotonic()))

    def _serve_first_packets(self) -> None:
        """First packets and first replies: all switches in turn, and in each whoever waits there."""
        while self.is_active:
            self._someone_waits.wait()
            self._someone_waits.clear()
            while served := self._to_serve(time.monotonic()):
                for dpid in served:
                    self._serve(dpid, self._waiting[dpid])
                    hub.sleep(0)

    def _to_serve(self, now: float) -> list[int]:
        return [dpid for dpid, waiting in self._waiting.items()
                if waiting.may_be_served(now) and self.controller.edges[dpid].serves_flows]  # fmt: skip

    def _serve(self, dpid: int, waiting: _Waiting) -> None:
        messages: list[Message] = []
        for message in waiting.take(TURN, time.monotonic()):
            self._first_packet(dpid, message, time.monotonic(), messages)
        self._send({dpid: messages} if messages else {})
        self.controller.edges[dpid].counters["shed"] = waiting.shed
        switch = self.channels.get(dpid)
        if switch and waiting.window.sent(len(messages), time.monotonic()):
            switch.probe(partial(self._worked_off, waiting.window))

    def _worked_off(self, window: Window, _: bool) -> None:
        """The switch has come so far, or does not say: who still waits may be served."""
        window.passed()
        self._someone_waits.set()

    @_alone
    def _first_packet(self, dpid: int, message: decoding.PacketInMessage, now: float, messages: list[Message]) -> None:
        """Adds to ``messages`` what its switch is to be sent; what others are, is sent at once."""
        for to, more in self.controller.packet_in(dpid, *message, now=now).items():
            if to == dpid:
                messages += more
            else:
                self._send({to: more})

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool) -> None:
        if dpid in self.channels:
            self._send(self.controller.rule_removed(dpid, cookie, deleted, unused, time.monotonic()))
            if deleted and self.controller.was_robbed(dpid):
                self.inspections.soon(dpid)

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None:
        what = f"a rule with cookie {cookie:#x}" if cookie else "a group or a meter"
        text = f"switch {self._name(dpid)} refused {what}: {reason}"
        self._say(("refused a rule", dpid), text, LOG.warning)
        self._send(self.controller.rule_refused(dpid, cookie, time.monotonic()))
        switch = self.channels.get(dpid)
        if full and switch and not binding_of(cookie) and switch not in self._amiss:
            self._amiss.add(switch)
            pause = self._pauses[dpid] = min(2 * self._pauses.get(dpid, AMISS_S / 2), LONGEST_AMISS_S)
            hub.spawn_after(pause, self._begin_anew, switch)

    def rules_modified(self, dpid: int, cookies: list[int]) -> None:
        if dpid in self.channels:
            self.inspections.modified(dpid, cookies)

    def _begin_anew(self, switch: Channel) -> None:
        """A switch without a rule that it should have is asked for all that it holds, and gets what is missing."""
        self._amiss.discard(switch)
        if self.channels.get(switch.id) is switch:
            switch.close("it had no room for rules; connecting anew, to try again")

    def port_changed(self, dpid: int, port: int, up: bool) -> None:
        if dpid in self.channels:
            self._send(self.controller.port_changed(dpid, port, up, time.monotonic()))

    def confirmed(self, dpid: int, ticket: int) -> None:
        """Its tables hold it.  Open vSwitch goes on a little longer by what it remembers of earlier packets."""
        self._settling.append((time.monotonic() + SETTLE_S, (dpid, ticket)))

    def _settle(self) -> None:
        now = time.monotonic()
        if settled := [ticket for when, ticket in self._settling if when <= now]:
            del self._settling[: len(settled)]
            if not self._confirm(settled, now):
                for ticket in settled:  # again, each by itself: what failed must not lose the others
                    self._confirm([ticket], now)

    @_alone
    def _confirm(self, tickets: list[tuple[int, int]], now: float) -> None:
        self._send(self.controller.confirmed(tickets, now))

    # ---------------------------------------------------------------- what the operator and the clock say

    def set_groups(self, groups: Groups) -> None:
        """Returns when the switches have taken it up, or after ``TAKEN_UP_S``."""
        self._send(self.controller.set_groups(groups, time.monotonic()))
        self._speak()
        self._until_taken_up()

    def set_cost(self, end: Port, cost: int) -> None:
        """As ``set_groups``.  Raises NotFound."""
        self._send(self.controller.set_cost(end, cost, time.monotonic()))
        self._until_taken_up()

    def _until_taken_up(self) -> None:
        deadline = time.monotonic() + TAKEN_UP_S
        self._stuck &= set(self.controller.updating())
        while (busy := set(self.controller.updating()) - self._stuck) and time.monotonic() < deadline:
            hub.sleep(STEP_S)
        self._stuck |= busy  # for the changes that come: one that is stuck does not make each of them slow

    def _tick(self) -> None:
        garbage.look()
        now = time.monotonic()
        self._tick_network(now)
        self._end_long_introductions(now)
        for text in self._repeats.due(now):
            LOG.warning(text)
        turn_ends = now + SLICE_S
        for dpid in self.controller.edges:
            self._tick_switch(dpid, now)
            if time.monotonic() > turn_ends:
                hub.sleep(0)
                turn_ends = time.monotonic() + SLICE_S
        for dpid in self.controller.sweeps_due(now):
            self._sweep(self.channels[dpid])
        self._speak()

    @_alone
    def _tick_network(self, now: float) -> None:
        self._send(self.controller.tick(now))

    @_alone
    def _tick_switch(self, dpid: int, now: float) -> None:
        self._send(self.controller.tick_switch(dpid, now))
        while put_back := self.controller.put_back(dpid, time.monotonic()):
            self._send(put_back)
            hub.sleep(0)
        more = True
        while more:
            out, more = self.controller.settle_ends(dpid, now, ENDED_AT_ONCE)
            self._send(out)
            if more:
                hub.sleep(0)

    def _speak(self) -> None:
        """BGP: what routers have taught goes in, what has changed here goes out."""
        now = time.monotonic()
        for speaker in self.speakers:
            self._speak_at(speaker, now)

    @_alone
    def _speak_at(self, speaker: Speaker, now: float) -> None:
        if speaker.changed:
            speaker.changed = False
            self._send(self.controller.set_taught(speaker.uplink.name, dict(speaker.routes), now))
        prefixes = self.controller.to_tell(speaker.uplink, now)
        if prefixes is not None:
            speaker.announce(prefixes)
            speaker.start()

    def _look(self) -> None:
        """For the log: who is missing, and whether all is well."""
        now = time.monotonic()
        if said := self._attendance.look(self.controller.missing_switches(), now):
            LOG.info("%s", said)
        view = self.health(now)
        if self.controller.health.is_news(now):
            level = logging.INFO if view["status"] == "ok" else logging.WARNING
            reasons = listed(view["reasons"], 3, "; ")
            LOG.log(level, "health: %s%s", view["status"], f": {reasons}" if reasons else "")

    def health(self, now: float) -> dict[str, Any]:
        """As it is at this moment."""
        views = [speaker.view() for speaker in self.speakers]
        sessions = [Session(view.uplink, view.neighbour, view.state, view.problem) for view in views]
        self.controller.look_at_health(sessions, now, self._database_problem())
        return self.controller.health_view(now, time.time())

    def _inspect(self) -> None:
        self.inspections.run_due(self.channels)

    @_alone
    def _sweep(self, switch: Channel) -> None:
        translation = self.controller.sweep_of(switch.id)
        began = time.monotonic()

        @_alone
        def end_idle(numbers: list[int]) -> None:
            self._send(self.controller.end_idle(switch.id, numbers, time.monotonic()))

        def end(idle: list[int]) -> None:
            for start in range(0, len(idle), ENDED_AT_ONCE):
                end_idle(idle[start : start + ENDED_AT_ONCE])
                hub.sleep(0)
            translation.swept(began, time.monotonic())

        def read(inward: bool, counters: Iterable[tuple[int, int]], asked: float) -> list[int]:
            return translation.counters_read(inward, counters, asked, time.monotonic())

        SweepRun(switch, translation.begin_sweep(), read, end).proceed()

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        act_alone = _alone(act)
        while self.is_active:
            hub.sleep(seconds)
            act_alone()

    def _work_in_slices(self) -> None:
        """What follows from large events, with turns for others between."""
        while self.is_active:
            self._work_is_left.wait()
            self._work_is_left.clear()
            while self.is_active and self.controller.is_busy():
                turn_ends = time.monotonic() + SLICE_S
                while self.controller.is_busy() and time.monotonic() < turn_ends:
                    if not self._slice():
                        hub.sleep(TICK_S)  # it may fail again, and others must go on
                hub.sleep(0)

    @_alone
    def _slice(self) -> None:
        garbage.look()
        self._send(self.controller.work(time.monotonic()))
        garbage.keep()

    def _send(self, out: Outbox) -> None:
        if self.controller.is_busy():
            garbage.keep()  # that was a first slice
            if not self._work_is_left.is_set():
                self._work_is_left.set()
        for dpid, messages in out.items():
            if switch := self.channels.get(dpid):
                self._tell(switch, messages)

    @_alone
    def _tell(self, switch: Channel, messages: list[Message]) -> None:
        switch.tell(messages)


class ControllerViews:
    """What the REST API shows, at the time of asking (``rest.Views``)."""

    def __init__(self, app: AnycastApp) -> None:
        self._app = app
        self._controller = app.controller

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        return self._controller.flows(wanted, after, limit, time.monotonic(), time.time())

    def flow_summary(self) -> dict[str, Any]:
        return self._controller.flow_summary(time.monotonic())

    def edges(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        self._app.inspections.fresh(self._app.channels)
        return self._controller.edge_views(time.monotonic(), turn)

    def edge(self, name: str, turn: Callable[[], None]) -> dict[str, Any]:
        edges = self._controller.edges
        here = {dpid: switch for dpid, switch in self._app.channels.items() if edges[dpid].switch.name == name}
        self._app.inspections.fresh(here)  # no other switch has to say anything
        return self._controller.edge_view(name, time.monotonic(), turn)

    def topology(self, without: Sequence[str], turn: Callable[[], None]) -> dict[str, Any]:
        sessions = [speaker.view()._asdict() for speaker in self._app.speakers]
        return self._controller.topology(without, time.monotonic(), turn) | {"bgp": sessions}

    def link(self, end: Port) -> dict[str, Any]:
        return self._controller.link_view(end, time.monotonic())

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        self._app.set_cost(end, cost)
        return self._controller.link_view(end, time.monotonic())

    def health(self) -> dict[str, Any]:
        now = time.monotonic()
        return self._app.health(now) | {"hub": self._app.gauge.stalls.view(now)}

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        return self._controller.server_status(address)


def _enrolled(groups: Groups) -> str:
    servers = sum(len(group.servers) for group in groups)
    return f"{counted(len(list(groups)), 'group')}, {counted(servers, 'server')}"


def _expected(network: Network) -> list[str]:
    return [f"{switch.name} (datapath id {switch.dpid:#x})" for switch in network.switches]


def run(
    ending: Ending,
    file: Path,
    openflow: tuple[str, int],
    rest_address: tuple[str, int],
    database: str,
    rest_names: Sequence[str] = (),
) -> None:
    """Serve until a signal asks for the end.  Raises ConfigurationError."""
    network = reading.load(file)
    app: AnycastApp | None = None

    def on_change(groups: Groups) -> None:
        if app:
            app.set_groups(groups)

    store = MemoryStore() if database == ":memory:" else SqliteStore(str(Path(database).absolute()))
    registry = Registry(network, store, on_change)
    raise_file_limit()
    acceptor = Acceptor(openflow, len(network.switches))
    manager = app_manager.AppManager.get_instance()
    app = manager.instantiate(AnycastApp, network, registry.groups, lambda: store.problem)
    api = RestApi(registry, ControllerViews(app), pause=server.pause_in_line())
    # Requests that begin have a line of their own: what is soon done does not wait for what takes long.
    rest = server.serve(api, rest_address, rest_names, pause=server.pause_in_line())
    manager.instantiate_apps()
    hub.spawn(acceptor.serve, app)
    LOG.info("network %s; OpenFlow on %s, REST on http://%s", network.name, shown(openflow), shown(rest_address))
    LOG.info("enrolments: %s, in %s", _enrolled(registry.groups), store.path)
    LOG.info("waiting for %s: %s", counted(len(network.switches), "switch"), listed(_expected(network)))
    garbage.search_by_hand()
    _wait_for(ending, store)
    _finish(rest, acceptor)
    manager.close()
    store.close()
    LOG.info("stopped")


def _wait_for(ending: Ending, store: Store) -> None:
    """Returns when the end is asked for; until then, sees to the database."""
    look, check = 0.0, _alone(store.check)
    while not ending.asked:
        if (now := time.monotonic()) >= look:
            check()
            look = now + STORE_LOOK_S
        if ending.hung_up:
            ending.hung_up = False
            LOG.info("SIGHUP: there is nothing to read again; the network file is read at start")
        hub.sleep(ENDING_LOOK_S)
    LOG.info("%s: stopping; switches keep their rules", ending.asked)


def _finish(rest: Server, acceptor: Acceptor) -> None:
    """Answers the requests that are here, sends what switches have still to be sent, and ends their connections."""
    rest.close()
    deadline = time.monotonic() + FINISH_S
    while rest.busy and time.monotonic() < deadline:
        hub.sleep(STEP_S)
    acceptor.stop()
    deadline = time.monotonic() + FINISH_S
    while acceptor.connections and time.monotonic() < deadline:
        hub.sleep(STEP_S)
