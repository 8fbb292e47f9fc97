"""SimulatedNetwork: a whole network in one process and in virtual time.

It joins the real ``Controller``, one ``SimulatedSwitch`` per switch and simple hosts by control channels and links.
All events stand in one queue, ordered by time and then by the order in which they were added, so the same calls always
have the same result.

Rules kept here:
- Messages of one control channel and frames of one link keep their order.  Each takes a little time, so packets can
  overtake the rules that are made for them, as in real networks.
- Too many events between two ticks raise ``Runaway``: something loops.
- LLDP between switches is carried, but not recorded, because it never ends.
- A full table is reported to the controller as an OpenFlow error; any other refusal of a switch is raised.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from anycast_sdn.control.audit import Audit
from anycast_sdn.control.controller import CONFIRMED_AFTER_S, Controller, Pace
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.bindings import Half
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastError, FlowKey, Prefix
from anycast_sdn.core.roles import Side
from anycast_sdn.description.model import Host, Link, Network, Port
from anycast_sdn.engines.flow_audit import Slice
from anycast_sdn.fabric.egress import Route
from anycast_sdn.openflow import builders, entries, readback
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.frames import L3, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, parse_ip
from anycast_sdn.openflow.layout import FIVE_TABLES, Layout
from anycast_sdn.openflow.pipeline import binding_of, kind_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import ETH_ARP, ETH_LLDP, AddFlow, Barrier, Message, PacketOut, PutBinding, RuleKey
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.switch import (
    Effect,
    FlowRemoved,
    PacketIn,
    SimulatedSwitch,
    TableFull,
    Trace,
    Transmit,
    TtlExpired,
)
from anycast_sdn.views.counters import Counters

TICK_S = 0.25
AUDIT_S = 5.0
LINK_S = 0.0001  # delay of a link
WORK_S = 0.0001  # from one slice of the controller's work to the next
CHANNEL_S = 0.001  # delay of a control channel
FLOWS_A_TICK = 1 << 20  # of one switch
MAX_EVENTS_PER_TICK = 50_000


class Runaway(AnycastError):
    """Too many events between two ticks: something loops."""


class Sighting(NamedTuple):
    """A frame on a link; sender and receiver are names of switches and hosts."""

    time: float
    sender: str
    receiver: str
    frame: bytes


class Passed(NamedTuple):
    """A frame, received at a port or sent by packet-out, has passed these tables of a switch."""

    switch: str
    in_port: int
    steps: Trace


class Sent(NamedTuple):
    """A message of the controller has reached a switch."""

    switch: str
    message: Message


class Arrived(NamedTuple):
    """A frame has reached a host."""

    host: str
    frame: bytes


Record: TypeAlias = Passed | Sent | Arrived


def _is_lldp(frame: bytes) -> bool:
    return int.from_bytes(frame[12:14], "big") == ETH_LLDP


# ------------------------------------------------------------------------------ the network


class SimulatedNetwork:
    """``network`` in operation: its switches are connected, and their neighbour tables hold its hosts.

    ``seed``: of the order in which translated addresses are leased, and of delays.
    ``layout``, ``fin_timeout``, ``tcp_flags`` (None: as ``fin_timeout``), ``packet_size``, ``fragment_flags``,
    ``fragments``, ``meters``, ``table_size``: see ``SimulatedSwitch``; the same for all switches.
    ``cables``: the links that exist, where they differ from those of the network file.
    ``slowest_s``: each message to a switch is delayed by a random time between ``CHANNEL_S`` and this.
    ``pace``: how small the controller's slices of work are.
    """

    def __init__(
        self,
        network: Network,
        groups: Groups | None = None,
        seed: int = 1,
        *,
        layout: Layout = FIVE_TABLES,
        fin_timeout: bool = True,
        packet_size: bool = True,
        tcp_flags: bool | None = None,
        fragment_flags: bool = True,
        fragments: bool = True,
        meters: bool = True,
        table_size: int | None = None,
        cables: Iterable[Link] | None = None,
        slowest_s: float = CHANNEL_S,
        pace: Pace | None = None,
    ) -> None:
        self.network = network
        self.now = 0.0
        self.wires: list[Sighting] = []
        self.journal: list[Record] | None = None  # a list: records are appended to it
        self.counters = Counters()
        self._pace = pace
        self._seed = seed
        self._slowest_s = slowest_s
        self._delays = random.Random(seed)
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._events = 0  # since the last tick
        self._next_audit = AUDIT_S
        self._work_is_queued = False  # the controller's next slice
        self._last_arrivals: dict[int, float] = {}  # datapath id → when the last message to it arrives
        has = {"fin_timeout": fin_timeout, "tcp_flags": fin_timeout if tcp_flags is None else tcp_flags}
        has |= {"packet_size": packet_size, "meters": meters}
        has |= {"fragment_flags": fragment_flags, "fragments": fragments}
        self._features = Features(**has)
        self._names = {switch.dpid: switch.name for switch in network.switches}
        self._dpids = {name: dpid for dpid, name in self._names.items()}
        self._new_switch = partial(SimulatedSwitch, **has, layout=layout, table_size=table_size)
        self.switches = {name: self._new_switch() for name in self._dpids}
        cables = network.links if cables is None else tuple(cables)
        self._links = {end: link.b if end == link.a else link.a for link in cables for end in (link.a, link.b)}
        self._down: set[Port] = set()
        self.silent: set[Port] = set()  # ports that lose all frames, without a port status
        self._disconnected: set[str] = set()  # switches without a controller
        groups = groups if groups is not None else Groups({group.name: group for group in network.groups})
        self.controller = Controller(network, groups, random.Random(seed), pace=pace)
        self._hosts = {host.name: self._host(host, number) for number, host in enumerate(network.hosts, 1)}
        self._start()

    def _start(self) -> None:
        """Connect all switches; hosts send their first ARP and ND."""
        self._connect_all()
        self._tick()
        self.settle()
        for host in self._hosts.values():
            self._announce(host)
        self.settle()

    def _host(self, host: Host, number: int) -> SimulatedHost:
        """A host of a subnet, or a router at an uplink."""
        subnets = (*self.network.subnets, *(uplink.subnet for uplink in self.network.uplinks))
        subnet = next(subnet for subnet in subnets if subnet.name == host.subnet)
        mac = b"\x06\0\0\0" + number.to_bytes(2, "big")
        port = Port(subnet.edge, host.port)
        return SimulatedHost(host.name, port, mac, host.addresses, serves=subnet.side is Side.SERVER)

    def _announce(self, host: SimulatedHost) -> None:
        """The host resolves its gateways, as hosts do before their first packet."""
        for gateway in self.gateways(host):
            self.send(host.name, host.question(gateway))
        self.settle()
        host.gateway_mac = next(iter(host.neighbours.values()), builders.BROADCAST)

    def gateways(self, host: SimulatedHost) -> Iterator[Address]:
        for address in host.addresses:
            for subnet in self.network.subnets:
                yield from (gateway.address for gateway in subnet.gateways if address in gateway.prefix)

    # ---------------------------------------------------------------- time

    def advance(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while self._queue[0][0] <= end:
            self.now, _, event, arguments = heapq.heappop(self._queue)
            self._events += 1
            if self._events > MAX_EVENTS_PER_TICK:
                raise Runaway(f"more than {MAX_EVENTS_PER_TICK} events in {TICK_S} s, at {self.now:.3f} s")
            event(*arguments)
        self.now = end

    def settle(self) -> None:
        """Advance until no packet and no message is under way; timeouts are not waited for."""
        self.advance(0.05)
        while len(self._queue) > 1:  # the next tick is always in the queue
            self.advance(LINK_S)

    def _after(self, seconds: float, event: Callable[..., None], *arguments: Any) -> None:
        self._at(self.now + seconds, event, *arguments)

    def _at(self, time: float, event: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._queue, (time, next(self._order), event, arguments))

    def _tick(self) -> None:
        self._events = 0
        for name, switch in self.switches.items():
            self._carry_out(name, switch.expire(self.now))
        self._react(self.controller.tick(self.now))
        for dpid in self.controller.switches:
            self._react(self.controller.tick_switch(dpid, self.now))
            self._react(self.controller.tick_flows(dpid, self.now, FLOWS_A_TICK)[0])
        for dpid in self.controller.sweeps_due(self.now):
            self._sweep(dpid)
        if self.now >= self._next_audit:
            self._next_audit = self.now + AUDIT_S
            for name in self.switches.keys() - self._disconnected:
                self._audit(name)
        self._after(TICK_S, self._tick)

    def _sweep(self, dpid: int) -> None:
        """The controller reads the counters of the bindings' rules, all at once."""
        self.controller.begin_sweep(dpid)
        unused: list[int] = []
        for inward in (True, False):
            counters = [
                (number, packets)
                for kind, number, packets in self.switches[self._names[dpid]].counters()
                if kind in readback.HALF_OF and (readback.HALF_OF[kind][0] is Half.IN) is inward
            ]
            unused += self.controller.counters_read(dpid, inward, counters, self.now, self.now)
        self._react(self.controller.end_idle(dpid, unused, self.now))
        self.controller.end_sweep(dpid, self.now, self.now)

    # ---------------------------------------------------------------- audits

    def _audit(self, name: str) -> None:
        """The controller reads all that a switch holds, and compares it with what is wanted."""
        audit = self.controller.audits[self._dpids[name]]
        audit.begin()
        self._request_tables(name, partial(self._take_tables, name, audit))

    def _request_tables(self, name: str, take: Callable[[Tables], None]) -> None:
        """The request keeps its order among the messages to the switch, and the reply among those from it."""

        def arrive() -> None:
            switch = self.switches[name]
            held = Tables(switch.flows, dict(switch.groups), switch.meters)
            self._after(CHANNEL_S, lambda: None if name in self._disconnected else take(held))

        arrival = max(self.now + CHANNEL_S, self._last_arrivals.get(self._dpids[name], 0.0))
        self._at(arrival, arrive)

    def _take_tables(self, name: str, audit: Audit, held: Tables) -> None:
        audit.take_groups(held.groups.values())
        if self._features.meters:
            audit.take_meters(held.meters.values())
        rules = [rule for rule in held.flows.values() if kind_of(rule.cookie) and not binding_of(rule.cookie)]
        audit.take_rules(rules, {rule.cookie for rule in held.flows.values() if kind_of(rule.cookie) is None})
        self._react_at(name, audit.end(self.now))
        self._request_slices(name, audit, audit.begin_flows())

    def _request_slices(self, name: str, audit: Audit, slices: list[Slice]) -> None:
        """The rules of bindings, slice by slice."""
        if slices:
            audit.begin_slice(slices[0])
            self._request_tables(name, partial(self._take_slice, name, audit, slices))

    def _take_slice(self, name: str, audit: Audit, slices: list[Slice], held: Tables) -> None:
        audit.take_flows(slices[0], held.flows.values())
        self._react_at(name, audit.end_slice(slices[0], self.now)[0])
        self._request_slices(name, audit, slices[1:])

    # ---------------------------------------------------------------- control channels

    def connect(self, name: str) -> list[Message]:
        """The switch connects to the controller.  → the messages that are sent to switches because of that."""
        switch, dpid = self.switches[name], self._dpids[name]
        self._disconnected.discard(name)
        sent: list[Message] = []

        def react(out: Outcome) -> None:
            self._react(out)
            sent.extend(itertools.chain.from_iterable(out.outbox.values()))

        found = Tables(switch.flows, dict(switch.groups), switch.meters)
        self.controller.begin_reading(dpid, found, self._features)
        while (out := self.controller.read_on(dpid, self.now)) is not None:
            react(out)
        ends = {*self._links, *(host.port for host in self._hosts.values())}
        ports = {end.number: end not in self._down for end in sorted(ends) if end.switch == name}
        react(self.controller.end_reading(dpid, ports, self.now))
        while self.controller.is_busy():
            react(self.controller.work(self.now))
        return sent

    def disconnect(self, name: str) -> None:
        """The control channel of the switch ends; its rules stay."""
        self._disconnected.add(name)
        self._react(self.controller.disconnected(self._dpids[name], self.now))

    def kill(self, name: str) -> None:
        """The switch loses its rules and its control channel; its links stay up.  ``connect`` connects it again."""
        self.switches[name] = self._new_switch()
        self.disconnect(name)

    def _connect_all(self) -> list[Message]:
        return [message for name in self.switches for message in self.connect(name)]

    def _react_at(self, name: str, reaction: Reaction) -> None:
        self._react(Outcome.at(self._dpids[name], reaction))

    def _react(self, out: Outcome) -> None:
        """Count the events, send the messages, and queue the rest of the controller's work."""
        for event in out.events:
            self.counters(event)
        for dpid, messages in out.outbox.items():
            arrival = self.now + self._delays.uniform(CHANNEL_S, self._slowest_s)
            arrival = self._last_arrivals[dpid] = max(arrival, self._last_arrivals.get(dpid, 0.0))
            self._at(arrival, self._apply, self._names[dpid], messages)
        if self.controller.is_busy() and not self._work_is_queued:
            self._work_is_queued = True
            self._after(WORK_S, self._work)

    def _work(self) -> None:
        """The controller's next slice of work."""
        self._work_is_queued = False
        self._react(self.controller.work(self.now))

    def _apply(self, name: str, messages: Iterable[Message]) -> None:
        for message in messages:
            steps: Trace = []
            try:
                effects = self.switches[name].apply(message, self.now, steps)
            except TableFull:
                assert isinstance(message, AddFlow | PutBinding)
                rule = message.rule if isinstance(message, AddFlow) else entries.binding(message)
                self._report(self.controller.rule_refused, self._dpids[name], rule.cookie)
                continue
            if isinstance(message, Barrier) and message.ticket and name not in self._disconnected:
                confirmed = self.controller.confirmed, [(self._dpids[name], message.ticket)]
                self._after(CONFIRMED_AFTER_S, self._report, *confirmed)
            if not (isinstance(message, PacketOut) and _is_lldp(message.frame)):
                self._record(Sent(name, message))
            if steps:
                self._record(Passed(name, getattr(message, "in_port", 0), steps))
            self._carry_out(name, effects)

    def _carry_out(self, name: str, effects: Iterable[Effect]) -> None:
        """The effects of a message, a frame or a timeout at a switch: frames leave, events are reported."""
        dpid = self._dpids[name]
        for effect in effects:
            match effect:
                case Transmit(number, frame):
                    self._transmit(Port(name, number), frame)
                case _ if name in self._disconnected:
                    pass
                case PacketIn(cookie, port, frame):
                    self._report(self.controller.packet_in, dpid, cookie, port, frame)
                case TtlExpired(port, frame):
                    self._report(self.controller.ttl_expired, dpid, port, frame)
                case FlowRemoved(cookie, _, deleted, unused):
                    self._report(self.controller.rule_removed, dpid, cookie, deleted, unused)

    def _report(self, event: Callable[..., Outcome], *arguments: Any) -> None:
        """A switch's event reaches the controller ``CHANNEL_S`` later; that time is the event's last argument."""
        self._after(CHANNEL_S, lambda: self._react(event(*arguments, self.now)))

    # ---------------------------------------------------------------- links

    def send(self, name: str, *frames: bytes) -> None:
        """The host sends frames, back to back."""
        host = self._hosts[name]
        for frame in frames:
            self.wires.append(Sighting(self.now, name, host.port.switch, frame))
            self._after(LINK_S, self.receive, host.port, frame)

    def _transmit(self, port: Port, frame: bytes) -> None:
        """A switch sends a frame by a port: to another switch, or to all hosts there."""
        mtu = self.controller.switches[self._dpids[port.switch]].mtus.get(port.number, len(frame))
        if port in self._down or port in self.silent or len(frame) > L3 + mtu:
            return
        if port in self._links:
            peer = self._links[port]
            if not _is_lldp(frame):
                self.wires.append(Sighting(self.now, port.switch, peer.switch, frame))
            self._after(LINK_S, self.receive, peer, frame)
        for host in self._hosts.values():
            if host.port == port:
                self.wires.append(Sighting(self.now, port.switch, host.name, frame))
                self._after(LINK_S, self._arrive, host, frame)

    def receive(self, port: Port, frame: bytes) -> None:
        """A switch receives a frame at a port."""
        if port in self._down or port in self.silent:
            return
        steps: Trace = []
        effects = self.switches[port.switch].receive(frame, port.number, self.now, steps)
        if not _is_lldp(frame):
            self._record(Passed(port.switch, port.number, steps))
        self._carry_out(port.switch, effects)

    def _arrive(self, host: SimulatedHost, frame: bytes) -> None:
        self._record(Arrived(host.name, frame))
        self.send(host.name, *host.receive(frame))

    def _record(self, record: Record) -> None:
        if self.journal is not None:
            self.journal.append(record)

    # ---------------------------------------------------------------- hosts, operators, routers, failures

    def host(self, name: str) -> SimulatedHost:
        return self._hosts[name]

    def move(self, name: str, port: int) -> None:
        """Connect a host to another port of its switch; it sends nothing."""
        host = self._hosts[name]
        host.port = Port(host.port.switch, port)

    def set_groups(self, groups: Groups) -> None:
        self._react(self.controller.set_groups(groups, self.now))

    def set_learned(self, uplink: str, routes: Mapping[Prefix, Route]) -> None:
        """All routes that the router at an uplink advertises by BGP."""
        self._react(self.controller.set_learned(uplink, routes, self.now))

    def set_cost(self, end: Port, cost: int) -> None:
        self._react(self.controller.set_cost(end, cost, self.now))

    def set_port(self, port: Port, up: bool) -> None:
        """The link at a port gets or loses its carrier; both of its ends report that."""
        for end in {port, self._links.get(port, port)}:
            (self._down.discard if up else self._down.add)(end)
            if end.switch not in self._disconnected:
                self._report(self.controller.port_changed, self._dpids[end.switch], end.number, up)

    def delete_rules(self, name: str, keys: Iterable[RuleKey] | None = None) -> None:
        """Another program deletes these rules of a switch, or all of them."""
        switch = self.switches[name]
        self._carry_out(name, switch.delete(switch.flows if keys is None else keys))

    def report_port(self, port: Port) -> None:
        """The switch reports that a port is up; the port may be missing in the network file."""
        self._react(self.controller.port_changed(self._dpids[port.switch], port.number, True, self.now))

    def replace_controller(self) -> None:
        """Start a new controller, which has the enrolments only; no switch is connected to it yet."""
        self.settle()
        self._seed += 1
        self.counters = Counters()
        self.controller = Controller(self.network, self.controller.groups, random.Random(self._seed), pace=self._pace)
        self._disconnected |= set(self.switches)

    def restart_controller(self) -> list[Message]:
        """As ``replace_controller``; then all switches connect.  → the messages that are sent to them."""
        self.replace_controller()
        return self._connect_all()

    # ---------------------------------------------------------------- observations

    def peers(self, port: Port) -> list[str]:
        """The names of the switch or the hosts at the other end of a port."""
        if port in self._links:
            return [self._links[port].switch]
        return [host.name for host in self._hosts.values() if host.port == port]

    def seen(self, sender: str, receiver: str) -> list[FlowKey]:
        """The flows of the IP packets, ND excepted, that one node has sent to a neighbour, in order."""
        found = []
        for _, source, target, frame in self.wires:
            if (source, target) == (sender, receiver) and int.from_bytes(frame[12:14], "big") != ETH_ARP:
                packet = parse_ip(frame)
                if packet.icmp_type not in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
                    found.append(packet.key)
        return found

    def check_recompute_changes_nothing(self) -> None:
        """Reconnecting all switches sends no message and changes no binding: what is wanted is installed."""
        self.settle()
        before = self._bindings()
        messages = self._connect_all()
        assert not messages, f"a recompute would send {messages}"
        assert self._bindings() == before, "a recompute changes bindings"

    def _bindings(self) -> list[Any]:
        return [list(switch.engine.flows) for switch in self.controller.switches.values()]
