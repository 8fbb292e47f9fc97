"""A network whose switches are shared: one controller leads, and another one is the master of all switches.

Both are real, and so is what lets them work together (``process.sharing``); lines between them take a little time, and
may be cut.  ``SharedNetwork`` is a ``SimulatedNetwork`` whose ``controller`` is the leader's.  ``shared`` says which
switches have the other one as their master; of all others, the leader is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from wires import LEADER, LINE_S, MASTER, Channel, Etcd, Wire, WireEnd

from anycast_sdn.cluster.view import Master
from anycast_sdn.control.audit import Audit
from anycast_sdn.control.controller import CONFIRMED_AFTER_S, Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.features import Tried
from anycast_sdn.openflow.pipeline import binding_of
from anycast_sdn.openflow.rules import Message
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.mirroring import Mirroring
from anycast_sdn.process.shared_codes import SharedCodes
from anycast_sdn.process.sharing import Sharing
from anycast_sdn.simulation import channels as simulated
from anycast_sdn.simulation.audits import Audits
from anycast_sdn.simulation.channels import CHANNEL_S, WORK_S, ControlChannels
from anycast_sdn.simulation.effects import Effect, FlowRemoved, PacketIn, TtlExpired
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.simulation.tracker import Timeouts

BEAT_S = 0.002  # after something has happened, members say what has changed



class Member:
    """One controller, and what ``Sharing`` is to know of its process: ``Connections``, and the listener."""

    def __init__(self, channels: SharedChannels, name: str, controller: Controller) -> None:
        self.name, self.controller = name, controller
        self._of = channels
        self.channels: dict[int, Channel] = {}
        self.is_frozen = False
        self.work_is_queued = self.beat_is_queued = False
        self.sent: list[Message] = []
        etcd, end = Etcd(name, channels.masters), WireEnd(channels.wire, name)
        self.sharing = Sharing(
            controller, etcd, self, end,  # type: ignore[arg-type]
            self.react, self, lambda: channels.now,
        )  # fmt: skip
        self.mirroring = Mirroring(
            controller, etcd, self.sharing, self.generation, end, self.react,  # type: ignore[arg-type]
            lambda: channels.now,
        )  # fmt: skip
        self.codes = SharedCodes(controller, etcd, self.sharing, end)
        end.taken = self._take_flows

    def beat(self) -> None:
        self.sharing.beat()
        self.mirroring.beat()
        self.codes.beat()

    def _take_flows(self) -> None:
        while self.mirroring._waiting:
            self.mirroring.take(*self.mirroring._waiting.popleft())

    def react(self, out: Outcome) -> None:
        self._of.react_of(self, out)

    # ---------------------------------------------------------------- Connections

    def generation(self, dpid: int) -> int:
        return self._of.generation(dpid)

    def owes(self, dpid: int) -> bool:
        return False

    def ask(self, dpids: Iterable[int]) -> None: ...

    def manage(self, dpid: int, pass_on: Callable[[bytes], None], generation: int, tried: Tried | None) -> None:
        assert tried
        self.channels[dpid].become_manager(pass_on)
        self.read_rest(dpid, generation)

    def read_rest(self, dpid: int, generation: int) -> None:
        held = self._of.held(dpid)
        without_flows = {key: rule for key, rule in held.flows.items() if not binding_of(rule.cookie)}
        self._of.read(self, dpid, replace(held, flows=without_flows), Share.REST, generation)

    def manage_no_more(self, dpid: int) -> None:
        self.channels[dpid].become_manager(None)
        self.react(self.controller.disconnected(dpid, self._of.now))

    # ---------------------------------------------------------------- the listener

    def _event(self, event: Callable[..., Outcome], *arguments: Any) -> None:
        self.react(event(*arguments, self._of.now))

    def ttl_expired(self, dpid: int, message: PacketInMessage) -> None:
        self._event(self.controller.ttl_expired, dpid, message.in_port, message.frame)

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool) -> None:
        self._event(self.controller.rule_removed, dpid, cookie, deleted, unused)

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None:
        self._event(partial(self.controller.rule_refused, why=reason, full=full), dpid, cookie)

    def group_refused(self, dpid: int, number: int) -> None:
        self._event(self.controller.group_refused, dpid, number)

    def port_changed(self, dpid: int, port: int, up: bool) -> None:
        self._event(self.controller.port_changed, dpid, port, up)

    def confirmed(self, dpid: int, ticket: int) -> None:
        self._of.after(CONFIRMED_AFTER_S, self._event, self.controller.confirmed, [(dpid, ticket)])


class SharedChannels(ControlChannels):
    def share(self, wire: Wire, shared: Collection[str], ports: Callable[[str], dict[int, bool]]) -> None:
        """From now on, before a switch has connected."""
        self.wire, self._ports = wire, ports
        self.shared = {self.dpid(name) for name in shared}
        self.masters = {dpid: Master(MASTER if dpid in self.shared else LEADER, 1, 1) for dpid in self._names}
        self.carried: list[list[Message]] = []
        self._make_members(self.controller)

    def _make_members(self, controller: Controller) -> None:
        master = Controller(controller.network, controller.groups, random.Random(5))
        self.leader, self.master = Member(self, LEADER, controller), Member(self, MASTER, master)
        for member in (self.leader, self.master):
            for dpid in self._names:
                member.channels[dpid] = self._channel(member, dpid)

    def _channel(self, member: Member, dpid: int) -> Channel:
        is_master = self.masters[dpid].member == member.name
        return Channel(is_master, partial(self._send, dpid), self.carried)

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self._clock.after(seconds, act, *arguments)

    def held(self, dpid: int) -> Tables:
        return self._held(self._names[dpid])

    def replace_controller(self, controller: Controller) -> None:
        super().replace_controller(controller)
        self._make_members(controller)

    def lead_anew(self, controller: Controller) -> None:
        """Another member leads; the master is the same."""
        self.controller = controller
        self.leader = Member(self, LEADER, controller)
        for dpid in self._names:
            self.leader.channels[dpid] = self._channel(self.leader, dpid)
        self.master.sharing.beat()
        self._beat_soon(self.leader)

    def of_flows(self, name: str) -> Member:
        """Who decides on the flows of this switch."""
        return self.master if self.dpid(name) in self.shared else self.leader

    # ---------------------------------------------------------------- connections

    def connect(self, name: str, ports: dict[int, bool]) -> list[Message]:
        dpid = self.dpid(name)
        if dpid not in self.shared:
            sent = super().connect(name, ports)
            self._beat_soon(self.leader)
            return sent
        self.open(name)
        for member in (self.leader, self.master):
            if dpid not in member.channels:
                member.channels[dpid] = self._channel(member, dpid)
        self.leader.sent, self.master.sent = [], []
        self.read(self.master, dpid, self._held(name), Share.FLOWS, self.generation(dpid))
        if dpid in self.leader.sharing.managed:
            self.leader.read_rest(dpid, self.generation(dpid))
        else:
            for member in (self.leader, self.master):
                member.sharing.beat()
            self._beat_soon(self.leader)  # so that there is a next event
            self._clock.advance(3 * LINE_S)  # now the leader manages it
        return self.leader.sent + self.master.sent

    def generation(self, dpid: int) -> int:
        return self.masters[dpid].generation

    def move(self, name: str) -> None:
        """The switch has been another one's since, and is the master's again: all is read anew."""
        dpid = self.dpid(name)
        self.masters[dpid] = self.masters[dpid]._replace(generation=self.generation(dpid) + 1)
        self.master.react(self.master.controller.disconnected(dpid, self.now))
        self.read(self.master, dpid, self._held(name), Share.FLOWS, self.generation(dpid))

    def read(self, member: Member, dpid: int, held: Tables, share: Share, generation: int) -> None:
        """A member reads the switch back, and compares it."""
        controller, name = member.controller, self._names[dpid]
        known = controller.switches[dpid].features
        features = replace(self.features, equal_buckets=known.equal_buckets)
        controller.begin_reading(dpid, held, features, generation, share=share)
        while (out := controller.read_on(dpid, self.now)) is not None:
            member.react(out)
        member.react(controller.end_reading(dpid, self._ports(name), self.now))
        while controller.is_busy():
            member.react(controller.work(self.now))
        if share is Share.FLOWS:
            for zone, timeouts in controller.switches[dpid].engine.zone_timeouts.items():
                own = {state: timeouts[state] for state in Timeouts._fields}
                self.switches[name].tracker.timeouts[zone] = Timeouts(**own)

    def disconnect(self, name: str) -> None:
        """From both of them."""
        dpid = self.dpid(name)
        if dpid not in self.shared:
            super().disconnect(name)
            return
        self._disconnected.add(name)
        self.master.react(self.master.controller.disconnected(dpid, self.now))
        if dpid in self.leader.channels and self.leader.channels[dpid].is_manager:
            self.leader.manage_no_more(dpid)
        for member in (self.leader, self.master):
            member.channels.pop(dpid, None)

    # ---------------------------------------------------------------- to the switches

    def react(self, out: Outcome) -> None:
        self.react_of(self.leader, out)

    def react_of(self, member: Member, out: Outcome) -> None:
        for event in out.events:
            self._note(event)
        for dpid, messages in out.outbox.items():
            if self.of_flows(self._names[dpid]) is member:
                self._send(dpid, messages)
            elif member is self.leader:
                member.channels[dpid].send(messages)
        member.sent += [message for messages in out.outbox.values() for message in messages]
        if member.controller.is_busy() and not member.work_is_queued:
            member.work_is_queued = True
            self._clock.after(WORK_S, self._work_of, member)
        self._beat_soon(member)

    def _beat_soon(self, member: Member) -> None:
        if not member.beat_is_queued:
            member.beat_is_queued = True
            self._clock.after(BEAT_S, self._beat, member)

    def _beat(self, member: Member) -> None:
        member.beat_is_queued = False
        if not member.is_frozen:
            member.beat()

    def _work_of(self, member: Member) -> None:
        member.work_is_queued = False
        member.react(member.controller.work(self.now))

    def _confirmed(self, name: str, ticket: int) -> None:
        dpid = self.dpid(name)
        if dpid in self.shared:
            self.master.sharing.pass_on(dpid, "confirmed", ticket)
        else:
            super()._confirmed(name, ticket)

    def _rule_refused(self, name: str, cookie: int, why: str = "", full: bool = False) -> None:
        dpid, member = self.dpid(name), self.of_flows(name)
        if dpid in self.shared and not binding_of(cookie):
            self._clock.after(CHANNEL_S, self.master.sharing.pass_on, dpid, "rule_refused", cookie, full, why)
        else:
            self._later_at(member, partial(member.controller.rule_refused, why=why, full=full), dpid, cookie)

    def _group_refused(self, name: str, number: int) -> None:
        if self.dpid(name) in self.shared:
            self._clock.after(CHANNEL_S, self.master.sharing.pass_on, self.dpid(name), "group_refused", number)
        else:
            super()._group_refused(name, number)

    # ---------------------------------------------------------------- from the switches

    def report(self, name: str, effect: Effect) -> None:
        """As ``AnycastApp``."""
        dpid, sharing, controller = self.dpid(name), self.master.sharing, self.master.controller
        if dpid not in self.shared:
            super().report(name, effect)
            return
        if name in self._disconnected or name in self.swallowed:
            return
        managed = controller.switches[dpid]
        match effect:
            case PacketIn(cookie, port, frame):
                self._clock.after(CHANNEL_S, self._packet_in, managed, cookie, port, frame)
            case TtlExpired(port, frame):
                message = PacketInMessage(0, port, frame)
                self._clock.after(CHANNEL_S, sharing.pass_on_packet, dpid, "ttl_expired", message)
            case FlowRemoved(cookie, _, deleted, unused):
                if binding_of(cookie):
                    self._later_at(self.master, controller.rule_removed, dpid, cookie, deleted, unused)
                else:
                    self._clock.after(CHANNEL_S, sharing.pass_on, dpid, "rule_removed", cookie, deleted, unused)

    def _packet_in(self, managed: ManagedSwitch, cookie: int, port: int, frame: bytes) -> None:
        if managed.is_for_leader(cookie, port, frame):
            self.master.sharing.pass_on_packet(managed.dpid, "packet_in", PacketInMessage(cookie, port, frame))
        else:
            out = self.master.controller.packet_in(managed.dpid, cookie, port, frame, self.now)
            self.master.react(out)

    def report_port(self, name: str, number: int, up: bool) -> None:
        dpid = self.dpid(name)
        if dpid not in self.shared:
            super().report_port(name, number, up)
        elif name not in self._disconnected and name not in self.swallowed:
            self._clock.after(CHANNEL_S, self.master.sharing.pass_on, dpid, "port_changed", number, up)

    def _later_at(self, member: Member, event: Callable[..., Outcome], *arguments: Any) -> None:
        self._clock.after(CHANNEL_S, lambda: member.react(event(*arguments, self.now)))

    # ---------------------------------------------------------------- clocks

    def tick(self) -> None:
        super().tick()
        master = self.master.controller
        self.master.react(master.tick_told(self.now))
        for dpid in self.shared:
            self.master.react(master.tick_switch(dpid, self.now))
            self.master.react(master.tick_flows(dpid, self.now, simulated.FLOWS_A_TICK)[0])
        for dpid, sweep in master.begin_sweeps(self.now).items():
            self._sweep(dpid, sweep, partial(master.end_some, dpid, sweep, simulated.FLOWS_A_TICK), self.master.react)


class _Inspected:
    """What ``Audits`` asks of channels, of one member."""

    def __init__(self, channels: SharedChannels, member: Callable[[], Member]) -> None:
        self._channels, self._member = channels, member
        self.features = channels.features
        self.request_tables = channels.request_tables

    @property
    def now(self) -> float:
        return self._channels.now

    def react(self, out: Outcome) -> None:
        self._member().react(out)

    def audit_of(self, name: str) -> Audit:
        return self._member().controller.audits[self._channels.dpid(name)]


class SharedAudits:
    """The leader inspects all but flows, and the master these."""

    def __init__(self, channels: SharedChannels) -> None:
        self._channels = channels
        self._rest = Audits(_Inspected(channels, lambda: channels.leader))  # type: ignore[arg-type]
        self._flows = Audits(_Inspected(channels, lambda: channels.master))  # type: ignore[arg-type]

    def begin(self, name: str) -> None:
        self._rest.begin(name)
        if self._channels.dpid(name) in self._channels.shared:
            audit = self._channels.master.controller.audits[self._channels.dpid(name)]
            audit.begin()
            self._flows.request_flows(name, audit, audit.begin_flows())


class SharedNetwork(SimulatedNetwork):
    channels: SharedChannels
    channels_class = SharedChannels

    def __init__(self, *arguments: Any, shared: Iterable[str] | None = None, **options: Any) -> None:
        """``shared``: names of switches; None: all of them."""
        self._shared = shared
        super().__init__(*arguments, **options)

    def _start(self) -> None:
        self.wire = Wire(lambda: self.now, self._clock.at)
        names = [switch.name for switch in self.network.switches] if self._shared is None else self._shared
        self.channels.share(self.wire, names, self._ports)
        self._audits = SharedAudits(self.channels)  # type: ignore[assignment]
        super()._start()

    @property
    def master(self) -> Controller:
        return self.channels.master.controller

    def of_flows(self, name: str) -> ManagedSwitch:
        return self.channels.of_flows(name).controller.by_name[name]

    def set_groups(self, groups: Groups) -> None:
        super().set_groups(groups)
        self.channels.leader.sharing.tell_now()
        self.channels.master.react(self.master.set_groups(groups, self.now))

    def hosts_known_to_master(self, name: str) -> set[Address]:
        return {address for address, _ in self.master.by_name[name].neighbours.known()}

    def _bindings(self) -> list[Any]:
        return [list(self.of_flows(switch.name).engine.flows) for switch in self.network.switches]
