"""ControlChannels: simulated switches and their connections to the real ``Controller``.

Rules kept here:
- Messages of one control channel keep their order.  Each takes a little time, so packets can overtake the rules that
  are made for them, as in real networks.
- A full table is reported to the controller as an OpenFlow error, and so is all that a switch with a profile refuses;
  any other refusal is raised.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from anycast_sdn.control.audit import Audit
from anycast_sdn.control.controller import CONFIRMED_AFTER_S, Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Event, Reported
from anycast_sdn.description.profile import ALL_OF_OPENFLOW, OUT_OF_GROUPS
from anycast_sdn.engines.engine import Sweep
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.decoding import concerns_buckets
from anycast_sdn.openflow.direct import DirectPackets
from anycast_sdn.openflow.error_words import error_words
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import number_of
from anycast_sdn.openflow.refusal import NO_ROOM_FOR_GROUPS
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    AddFlow,
    Barrier,
    Message,
    PacketOut,
    PutBinding,
    SetGroup,
    SetMeter,
)
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.simulation.clock import Clock
from anycast_sdn.simulation.effects import Effect, FlowRemoved, PacketIn, Trace, TtlExpired
from anycast_sdn.simulation.observations import Observations, Passed, Sent, is_lldp
from anycast_sdn.simulation.profile import BARRIER, Closed, NotInProfile
from anycast_sdn.simulation.refusals import EqualBuckets, Refused, TableFull
from anycast_sdn.simulation.switch import SimulatedSwitch
from anycast_sdn.simulation.tracker import Timeouts
from anycast_sdn.views.counters import Counters

WORK_S = 0.0001  # from one slice of the controller's work to the next
CHANNEL_S = 0.001  # delay of a control channel
FLOWS_A_TICK = 1 << 20  # of one switch


class ControlChannels:
    """``switches``: by name; ``carry_out``: called with what a switch does because of a message; ``delays``: each
    message to a switch is delayed by a random time between ``CHANNEL_S`` and ``slowest_s``.
    """

    def __init__(
        self,
        controller: Controller,
        switches: Mapping[str, SimulatedSwitch],
        features: Features,
        clock: Clock,
        observations: Observations,
        carry_out: Callable[[str, Iterable[Effect]], None],
        delays: random.Random,
        slowest_s: float,
    ) -> None:
        self.controller = controller
        self.counters = Counters()
        self.reported: list[Reported] = []  # events that operators are told of
        self.switches = dict(switches)
        self.features = features
        self._clock = clock
        self._observations = observations
        self._carry_out = carry_out
        self._delays = delays
        self._slowest_s = slowest_s
        self._names = {switch.dpid: switch.name for switch in controller.network.switches}
        self._dpids = {name: dpid for dpid, name in self._names.items()}
        self._disconnected: set[str] = set()  # switches without a controller
        self.swallowed: set[str] = set()  # switches that are connected, and whose connection swallows what it gets
        self._asked: set[str] = set()  # of these: by an echo request
        self._last_arrivals: dict[int, float] = {}  # datapath id → when the last message to it arrives
        self._work_is_queued = False  # the controller's next slice
        self._direct: dict[str, DirectPackets] = {}  # of switches that take no packets to their tables
        self.term = 0  # by which the controller is the master of all switches; 0: there is no other one

    @property
    def now(self) -> float:
        return self._clock.now

    def dpid(self, name: str) -> int:
        return self._dpids[name]

    # ---------------------------------------------------------------- connections

    def connect(self, name: str, ports: dict[int, bool]) -> list[Message]:
        """The switch connects; ``ports``: which are up.  → the messages that are sent to switches because of that."""
        dpid = self._dpids[name]
        self.open(name)
        sent: list[Message] = []

        def react(out: Outcome) -> None:
            self.react(out)
            sent.extend(itertools.chain.from_iterable(out.outbox.values()))

        known = self.controller.switches[dpid].features
        keeps_ttl = self.controller.switches[dpid].described.keeps_ttl
        features = replace(self.features, equal_buckets=known.equal_buckets, keeps_ttl=keeps_ttl)  # not asked for
        features = self.switches[name].found(features)
        self._direct.pop(name, None)
        if not features.table_output:
            self._direct[name] = DirectPackets()
            self._direct[name].hold(self._held(name).flows.values())
        self.controller.begin_reading(dpid, self._held(name), features, self.term)
        while (out := self.controller.read_on(dpid, self.now)) is not None:
            react(out)
        react(self.controller.end_reading(dpid, ports, self.now))
        while self.controller.is_busy():
            react(self.controller.work(self.now))
        for zone, timeouts in self.controller.switches[dpid].engine.zone_timeouts.items():  # in reality, over OVSDB
            own = {state: timeouts[state] for state in Timeouts._fields}
            self.switches[name].tracker.timeouts[zone] = Timeouts(**own)
        return sent

    def open(self, name: str) -> None:
        """The switch is connected from now on; what it holds is still to be read."""
        self._disconnected.discard(name)

    def disconnect(self, name: str) -> None:
        self._disconnected.add(name)
        self.react(self.controller.disconnected(self._dpids[name], self.now))

    def replace_controller(self, controller: Controller) -> None:
        """No switch is connected to the new one yet."""
        self.controller, self.counters = controller, Counters()
        self._disconnected |= set(self.switches)

    def _held(self, name: str) -> Tables:
        switch = self.switches[name]
        return Tables(switch.flows, dict(switch.groups), switch.meters)

    # ---------------------------------------------------------------- to the switches

    def react(self, out: Outcome) -> None:
        """Count the events, send the messages, and queue the rest of the controller's work."""
        for event in out.events:
            self._note(event)
        for dpid, messages in out.outbox.items():
            self._send(dpid, messages)
        if self.controller.is_busy() and not self._work_is_queued:
            self._work_is_queued = True
            self._clock.after(WORK_S, self._work)

    def _note(self, event: Event) -> None:
        self.counters(event)
        if isinstance(event, Reported) and event.sentence():
            self.reported.append(event)

    def _send(self, dpid: int, messages: list[Message]) -> None:
        name = self._names[dpid]
        if direct := self._direct.get(name):
            messages = direct.as_sent(messages)
            returned, direct.returned = direct.returned, []
            for packet in returned:
                self.report(name, PacketIn(*packet))
        arrival = self.now + self._delays.uniform(CHANNEL_S, self._slowest_s)
        arrival = self._last_arrivals[dpid] = max(arrival, self._last_arrivals.get(dpid, 0.0))
        self._clock.at(arrival, self._apply, name, messages)

    def _work(self) -> None:
        """The controller's next slice of work."""
        self._work_is_queued = False
        self.react(self.controller.work(self.now))

    def _apply(self, name: str, messages: Iterable[Message]) -> None:
        if name in self.swallowed:
            return
        for message in messages:
            steps: Trace = []
            try:
                effects = self.switches[name].apply(message, self.now, steps)
            except TableFull:
                assert isinstance(message, AddFlow | PutBinding)
                rule = message.rule if isinstance(message, AddFlow) else entries.binding(message)
                self._rule_refused(name, rule.cookie, full=True)
                continue
            except EqualBuckets:
                self._refused(name, message)
                continue
            except Closed:
                self.disconnect(name)
                return
            except Refused as refused:
                if self.switches[name].profile is ALL_OF_OPENFLOW:
                    raise
                self._not_done(name, message, refused)
                continue
            if isinstance(message, Barrier) and message.ticket and name not in self._disconnected:
                self._confirmed(name, message.ticket)
            if not (isinstance(message, PacketOut) and is_lldp(message.frame)):
                self._observations.record(Sent(name, message))
            if steps:
                in_port = message.in_port if isinstance(message, PacketOut) else OFPP_CONTROLLER
                self._observations.record(Passed(name, in_port, steps))
            self._carry_out(name, effects)

    def _refused(self, name: str, message: Message) -> None:
        """A switch that does not take equal buckets has refused a group, or a rule that names it."""
        self._rule_refused(name, message.rule.cookie if isinstance(message, AddFlow) else 0)
        if isinstance(message, SetGroup):
            self._group_refused(name, message.group.number)

    def _not_done(self, name: str, message: Message, refused: Refused) -> None:
        """A switch has refused what it does not have by its profile, or what would need that."""
        why = error_words(*refused.error) if isinstance(refused, NotInProfile) else str(refused)
        match message:
            case AddFlow(rule):
                self._rule_refused(name, rule.cookie, why)
            case PutBinding():
                self._rule_refused(name, entries.binding(message).cookie, why)
            case SetGroup(group):
                no_room = isinstance(refused, NotInProfile) and refused.error == OUT_OF_GROUPS
                self._rule_refused(name, 0, NO_ROOM_FOR_GROUPS if no_room else why, full=no_room)
                if isinstance(refused, NotInProfile) and concerns_buckets(*refused.error):
                    self._group_refused(name, group.number)
            case SetMeter():
                self._rule_refused(name, 0, why)

    def _confirmed(self, name: str, ticket: int) -> None:
        profile = self.switches[name].profile
        if profile.ignores("messages", BARRIER):
            return
        confirmed = self.controller.confirmed, [(self._dpids[name], ticket)]
        self._clock.after(CONFIRMED_AFTER_S + profile.lateness_s(BARRIER), self._later, *confirmed)

    def _rule_refused(self, name: str, cookie: int, why: str = "", full: bool = False) -> None:
        self._later(partial(self.controller.rule_refused, why=why, full=full), self._dpids[name], cookie)

    def _group_refused(self, name: str, number: int) -> None:
        self._later(self.controller.group_refused, self._dpids[name], number)

    # ---------------------------------------------------------------- from the switches

    def report(self, name: str, effect: Effect) -> None:
        """A switch reports an event to the controller, if it is connected."""
        if name in self._disconnected or name in self.swallowed:
            return
        dpid = self._dpids[name]
        match effect:
            case PacketIn(cookie, port, frame):
                self._later(self.controller.packet_in, dpid, cookie, port, frame)
            case TtlExpired(port, frame):
                self._later(self.controller.ttl_expired, dpid, port, frame)
            case FlowRemoved(cookie, _, deleted, unused):
                if direct := self._direct.get(name):
                    direct.removed(cookie)
                self._later(self.controller.rule_removed, dpid, cookie, deleted, unused)

    def report_port(self, name: str, number: int, up: bool) -> None:
        if name not in self._disconnected and name not in self.swallowed:
            self._later(self.controller.port_changed, self._dpids[name], number, up)

    def _later(self, event: Callable[..., Outcome], *arguments: Any) -> None:
        """A switch's event reaches the controller ``CHANNEL_S`` later; that time is the event's last argument."""
        self._clock.after(CHANNEL_S, lambda: self.react(event(*arguments, self.now)))

    def request_tables(self, name: str, take: Callable[[Tables], None]) -> None:
        """The request keeps its order among the messages to the switch, and the reply among those from it."""

        def arrive() -> None:
            held = self._held(name)
            self._clock.after(CHANNEL_S, lambda: None if name in self._disconnected else take(held))

        arrival = max(self.now + CHANNEL_S, self._last_arrivals.get(self._dpids[name], 0.0))
        self._clock.at(arrival, arrive)

    # ---------------------------------------------------------------- the controller's clock

    def tick(self) -> None:
        self._asked &= self.swallowed
        self.react(self.controller.tick(self.now, self._asked))
        self._asked |= self.swallowed & self.controller.discovery.doubted(self.now).keys()
        self.react(self.controller.check_servers(self.now))
        for dpid in self.controller.switches:
            self.react(self.controller.tick_switch(dpid, self.now))
            self.react(self.controller.tick_flows(dpid, self.now, FLOWS_A_TICK)[0])
        for dpid, sweep in self.controller.begin_sweeps(self.now).items():
            self._sweep(dpid, sweep, partial(self.controller.end_some, dpid, sweep, FLOWS_A_TICK), self.react)

    def _sweep(
        self, dpid: int, sweep: Sweep, end_some: Callable[[float], Outcome], react: Callable[[Outcome], None]
    ) -> None:
        """A controller reads the counters of the bindings' rules, all at once."""
        for request in sweep.requests:
            rules = self.switches[self._names[dpid]].counters()
            counters = [(number_of(cookie), packets) for cookie, packets in rules if request.covers(cookie)]
            sweep.take(request, counters, self.now, self.now)
        while not sweep.is_over:
            react(end_some(self.now))

    def connected(self) -> list[str]:
        return [name for name in self.switches if name not in self._disconnected]

    def audit_of(self, name: str) -> Audit:
        return self.controller.audits[self._dpids[name]]
