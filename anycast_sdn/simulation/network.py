"""SimulatedNetwork: a whole network in one process and in virtual time.

The real ``Controller`` and one ``SimulatedSwitch`` per switch, with links, control channels and simple
hosts between them.  Everything that happens is an event in one queue, ordered by time and then by the
order of its making, so that the same calls always give the same result.

Rules kept here:
- Messages of one control channel and frames of one link keep their order.  Each takes a little time,
  so that packets do overtake the rules that are made for them, as they do in reality.
- Too many events between two ticks raise ``Runaway``: something loops.
- What switches say to one another by LLDP is carried, but not recorded: it goes on all the time.
- A switch that refuses a rule for want of room tells the controller; any other refusal is raised.
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
LINK_S = 0.0001  # a frame's time on a link
WORK_S = 0.0001  # from one slice of the controller's work to the next
CHANNEL_S = 0.001  # a message's time between switch and controller
MAX_EVENTS_PER_TICK = 50_000


class Runaway(AnycastError):
    """Too much happens at once: something loops."""


class Sighting(NamedTuple):
    """A frame on a wire; sender and receiver are names of switches and hosts."""

    time: float
    sender: str
    receiver: str
    frame: bytes


class Passed(NamedTuple):
    """A frame went through a switch, or into it by packet-out."""

    switch: str
    in_port: int
    steps: Trace


class Told(NamedTuple):
    """The controller told a switch to do something, because of what the packet did."""

    switch: str
    message: Message


class Arrived(NamedTuple):
    host: str
    frame: bytes


Record: TypeAlias = Passed | Told | Arrived


def _is_lldp(frame: bytes) -> bool:
    return int.from_bytes(frame[12:14], "big") == ETH_LLDP


# ------------------------------------------------------------------------------ the network


class SimulatedNetwork:
    """``network`` in operation: switches connected, hosts known to their edges.

    ``seed`` orders the translation pools; ``layout``, ``fin_timeout``, ``tcp_flags`` (None: as that), ``packet_size``,
    ``meters`` and ``table_size`` are those of ``SimulatedSwitch``, the same for all switches; ``cables`` are the
    real ones, if not the network's links;
    ``slowest_s``: what the controller says takes a time of its own to each switch, each time, not more than that;
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
        meters: bool = True,
        table_size: int | None = None,
        cables: Iterable[Link] | None = None,
        slowest_s: float = CHANNEL_S,
        pace: Pace | None = None,
    ) -> None:
        self.network = network
        self.now = 0.0
        self.wires: list[Sighting] = []
        self.journal: list[Record] | None = None  # a list: what happens is recorded there
        self._pace = pace
        self._works = False  # the controller's next slice is in the queue
        self._seed = seed
        self._slowest_s = slowest_s
        self._delays = random.Random(seed)
        self._next_audit = AUDIT_S
        self._told_until: dict[int, float] = {}  # switch → when the last of its messages arrives
        has = {"fin_timeout": fin_timeout, "tcp_flags": fin_timeout if tcp_flags is None else tcp_flags}
        has |= {"packet_size": packet_size, "meters": meters}
        self._features = Features(**has)
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._events = 0
        self.counters = Counters()
        self._names = {switch.dpid: switch.name for switch in network.switches}
        self._dpids = {name: dpid for dpid, name in self._names.items()}
        self._new_switch = partial(SimulatedSwitch, **has, layout=layout, table_size=table_size)
        self.switches = {name: self._new_switch() for name in self._dpids}
        cables = network.links if cables is None else tuple(cables)
        self._links = {end: link.b if end == link.a else link.a for link in cables for end in (link.a, link.b)}
        self._down: set[Port] = set()
        self.silent: set[Port] = set()  # what should leave or enter here is lost, and nobody notices
        self._away: set[str] = set()  # switches without a controller
        groups = groups if groups is not None else Groups({group.name: group for group in network.groups})
        self.controller = Controller(network, groups, random.Random(seed), pace=pace)
        self._hosts = {host.name: self._host(host, number) for number, host in enumerate(network.hosts, 1)}
        self._connect_all()
        self._tick()
        self.settle()
        for host in self._hosts.values():
            self._announce(host)
        self.settle()

    def _host(self, host: Host, number: int) -> SimulatedHost:
        """A host, or a router at an uplink that is named as its subnet."""
        subnets = (*self.network.subnets, *(uplink.subnet for uplink in self.network.uplinks))
        subnet = next(subnet for subnet in subnets if subnet.name == host.subnet)
        mac = b"\x06\0\0\0" + number.to_bytes(2, "big")
        port = Port(subnet.edge, host.port)
        return SimulatedHost(host.name, port, mac, host.addresses, serves=subnet.side is Side.SERVER)

    def _announce(self, host: SimulatedHost) -> None:
        """The host asks for its gateways, as a host does before its first packet."""
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
        """Let what is under way come to rest: packets and messages, no timeouts."""
        self.advance(0.05)
        while len(self._queue) > 1:  # the next tick is always there
            self.advance(LINK_S)

    def _after(self, seconds: float, event: Callable[..., None], *arguments: Any) -> None:
        self._at(self.now + seconds, event, *arguments)

    def _at(self, time: float, event: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._queue, (time, next(self._order), event, arguments))

    def _tick(self) -> None:
        self._events = 0
        for name, switch in self.switches.items():
            self._follow(name, switch.expire(self.now))
        self._react(self.controller.tick(self.now))
        for dpid in self.controller.switches:
            self._react(self.controller.tick_switch(dpid, self.now))
            self._react(self.controller.end_connections(dpid, self.now, 1 << 20)[0])
        for dpid in self.controller.sweeps_due(self.now):
            self._sweep(dpid)
        if self.now >= self._next_audit:
            self._next_audit = self.now + AUDIT_S
            for name in self.switches.keys() - self._away:
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
        """The controller looks at all that a switch holds."""
        audit = self.controller.audits[self._dpids[name]]
        audit.begin()
        self._ask(name, partial(self._audited, name, audit))

    def _ask(self, name: str, answer: Callable[[Tables], None]) -> None:
        """A question takes its turn among the messages to a switch, and the answer comes after what it has said."""

        def asked() -> None:
            switch = self.switches[name]
            held = Tables(switch.flows, dict(switch.groups), switch.meters)
            self._after(CHANNEL_S, lambda: None if name in self._away else answer(held))

        arrival = max(self.now + CHANNEL_S, self._told_until.get(self._dpids[name], 0.0))
        self._at(arrival, asked)

    def _audited(self, name: str, audit: Audit, held: Tables) -> None:
        audit.take_groups(held.groups.values())
        if self._features.meters:
            audit.take_meters(held.meters.values())
        rules = [rule for rule in held.flows.values() if kind_of(rule.cookie) and not binding_of(rule.cookie)]
        audit.take_rules(rules, {rule.cookie for rule in held.flows.values() if kind_of(rule.cookie) is None})
        self._react_at(name, audit.end(self.now))
        self._look_at(name, audit, audit.slices())

    def _look_at(self, name: str, audit: Audit, pieces: list[Slice]) -> None:
        if pieces:
            audit.begin_slice(pieces[0])
            self._ask(name, partial(self._looked_at, name, audit, pieces))

    def _looked_at(self, name: str, audit: Audit, pieces: list[Slice], held: Tables) -> None:
        audit.take_flows(pieces[0], held.flows.values())
        self._react_at(name, audit.end_slice(pieces[0], self.now)[0])
        self._look_at(name, audit, pieces[1:])

    # ---------------------------------------------------------------- control channels

    def connect(self, name: str) -> list[Message]:
        """The switch reaches the controller.  → what all switches get because of that."""
        switch, dpid = self.switches[name], self._dpids[name]
        self._away.discard(name)
        sent: list[Message] = []

        def react(out: Outcome) -> None:
            self._react(out)
            sent.extend(itertools.chain.from_iterable(out.outbox.values()))

        found = Tables(switch.flows, dict(switch.groups), switch.meters)
        self.controller.begin_reading(dpid, found, self._features)
        while (out := self.controller.read_on(dpid, self.now)) is not None:
            react(out)
        react(self.controller.end_reading(dpid, self.now))
        ends = {*self._links, *(host.port for host in self._hosts.values())}
        for end in sorted(end for end in ends if end.switch == name):
            react(self.controller.port_changed(dpid, end.number, end not in self._down, self.now))
        while self.controller.is_busy():
            react(self.controller.work(self.now))
        return sent

    def disconnect(self, name: str) -> None:
        """The switch loses the controller; it goes on with the rules that it has."""
        self._away.add(name)
        self._react(self.controller.disconnected(self._dpids[name], self.now))

    def kill(self, name: str) -> None:
        """The switch dies, with all that it holds; its neighbours notice nothing.  ``connect`` brings it back."""
        self.switches[name] = self._new_switch()
        self.disconnect(name)

    def _connect_all(self) -> list[Message]:
        return [message for name in self.switches for message in self.connect(name)]

    def _react_at(self, name: str, reaction: Reaction) -> None:
        self._react(Outcome.at(self._dpids[name], reaction))

    def _react(self, out: Outcome) -> None:
        """An event has led to this, and perhaps to work that is done later."""
        for event in out.events:
            self.counters(event)
        for dpid, messages in out.outbox.items():
            arrival = self.now + self._delays.uniform(CHANNEL_S, self._slowest_s)
            arrival = self._told_until[dpid] = max(arrival, self._told_until.get(dpid, 0.0))
            self._at(arrival, self._apply, self._names[dpid], messages)
        if self.controller.is_busy() and not self._works:
            self._works = True
            self._after(WORK_S, self._work)

    def _work(self) -> None:
        """The controller's next slice; others may have their turn before."""
        self._works = False
        self._react(self.controller.work(self.now))

    def _apply(self, name: str, messages: Iterable[Message]) -> None:
        for message in messages:
            steps: Trace = []
            try:
                effects = self.switches[name].apply(message, self.now, steps)
            except TableFull:
                assert isinstance(message, AddFlow | PutBinding)
                rule = message.rule if isinstance(message, AddFlow) else entries.binding(message)
                self._hear(self.controller.rule_refused, self._dpids[name], rule.cookie)
                continue
            if isinstance(message, Barrier) and message.ticket and name not in self._away:
                confirmed = self.controller.confirmed, [(self._dpids[name], message.ticket)]
                self._after(CONFIRMED_AFTER_S, self._hear, *confirmed)
            if not (isinstance(message, PacketOut) and _is_lldp(message.frame)):
                self._record(Told(name, message))
            if steps:
                self._record(Passed(name, getattr(message, "in_port", 0), steps))
            self._follow(name, effects)

    def _follow(self, name: str, effects: Iterable[Effect]) -> None:
        """What came of a message, a frame or a timeout at a switch."""
        dpid = self._dpids[name]
        for effect in effects:
            match effect:
                case Transmit(number, frame):
                    self._leave(Port(name, number), frame)
                case _ if name in self._away:
                    pass
                case PacketIn(cookie, port, frame):
                    self._hear(self.controller.packet_in, dpid, cookie, port, frame)
                case TtlExpired(port, frame):
                    self._hear(self.controller.ttl_expired, dpid, port, frame)
                case FlowRemoved(cookie, _, deleted, unused):
                    self._hear(self.controller.rule_removed, dpid, cookie, deleted, unused)

    def _hear(self, event: Callable[..., Outcome], *arguments: Any) -> None:
        """The controller learns of an event; its last argument is the time then."""
        self._after(CHANNEL_S, lambda: self._react(event(*arguments, self.now)))

    # ---------------------------------------------------------------- links

    def send(self, name: str, *frames: bytes) -> None:
        """The host sends frames, back to back."""
        host = self._hosts[name]
        for frame in frames:
            self.wires.append(Sighting(self.now, name, host.port.switch, frame))
            self._after(LINK_S, self._enter, host.port, frame)

    def _leave(self, port: Port, frame: bytes) -> None:
        """A switch sends a frame by a port: to another switch, or to all hosts there."""
        mtu = self.controller.switches[self._dpids[port.switch]].mtus.get(port.number, len(frame))
        if port in self._down or port in self.silent or len(frame) > L3 + mtu:
            return
        if port in self._links:
            there = self._links[port]
            if not _is_lldp(frame):
                self.wires.append(Sighting(self.now, port.switch, there.switch, frame))
            self._after(LINK_S, self._enter, there, frame)
        for host in self._hosts.values():
            if host.port == port:
                self.wires.append(Sighting(self.now, port.switch, host.name, frame))
                self._after(LINK_S, self._arrive, host, frame)

    def _enter(self, port: Port, frame: bytes) -> None:
        if port in self._down or port in self.silent:
            return
        steps: Trace = []
        effects = self.switches[port.switch].receive(frame, port.number, self.now, steps)
        if not _is_lldp(frame):
            self._record(Passed(port.switch, port.number, steps))
        self._follow(port.switch, effects)

    def _arrive(self, host: SimulatedHost, frame: bytes) -> None:
        self._record(Arrived(host.name, frame))
        self.send(host.name, *host.receive(frame))

    def _record(self, record: Record) -> None:
        if self.journal is not None:
            self.journal.append(record)

    # ---------------------------------------------------------------- what happens to it

    def host(self, name: str) -> SimulatedHost:
        return self._hosts[name]

    def move(self, name: str, port: int) -> None:
        """Plug a host into another port of its edge; it says nothing."""
        host = self._hosts[name]
        host.port = Port(host.port.switch, port)

    def set_groups(self, groups: Groups) -> None:
        self._react(self.controller.set_groups(groups, self.now))

    def teach(self, uplink: str, routes: Mapping[Prefix, Route]) -> None:
        """All that the router at an uplink says by BGP."""
        self._react(self.controller.set_learned(uplink, routes, self.now))

    def set_cost(self, end: Port, cost: int) -> None:
        self._react(self.controller.set_cost(end, cost, self.now))

    def set_port(self, port: Port, up: bool) -> None:
        """Pull or plug a cable; both of its ends notice."""
        for end in {port, self._links.get(port, port)}:
            (self._down.discard if up else self._down.add)(end)
            if end.switch not in self._away:
                self._hear(self.controller.port_changed, self._dpids[end.switch], end.number, up)

    def delete_rules(self, name: str, keys: Iterable[RuleKey] | None = None) -> None:
        """Somebody deletes rules of a switch behind the controller's back; all of them, unless told which."""
        switch = self.switches[name]
        self._follow(name, switch.delete(switch.flows if keys is None else keys))

    def found_port(self, port: Port) -> None:
        """The switch tells of a port that the network file does not know."""
        self._react(self.controller.port_changed(self._dpids[port.switch], port.number, True, self.now))

    def replace_controller(self) -> None:
        """A new controller that knows only the enrolments, and to which no switch has connected yet."""
        self.settle()
        self._seed += 1
        self.counters = Counters()
        self.controller = Controller(self.network, self.controller.groups, random.Random(self._seed), pace=self._pace)
        self._away |= set(self.switches)

    def restart_controller(self) -> list[Message]:
        """As ``replace_controller``, and all switches connect.  → what they are told at first."""
        self.replace_controller()
        return self._connect_all()

    # ---------------------------------------------------------------- what can be seen

    def beyond(self, port: Port) -> list[str]:
        """The names of what a port leads to."""
        if port in self._links:
            return [self._links[port].switch]
        return [host.name for host in self._hosts.values() if host.port == port]

    def seen(self, sender: str, receiver: str) -> list[FlowKey]:
        """The flows of the IP packets that went from one node to a neighbour, in order; not ND."""
        found = []
        for _, here, there, frame in self.wires:
            if (here, there) == (sender, receiver) and int.from_bytes(frame[12:14], "big") != ETH_ARP:
                packet = parse_ip(frame)
                if packet.icmp_type not in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
                    found.append(packet.key)
        return found

    def check_recompute_changes_nothing(self) -> None:
        """All that the switches hold is what they should hold, and the controller knows it."""
        self.settle()
        before = self._bindings()
        messages = self._connect_all()
        assert not messages, f"a recompute would send {messages}"
        assert self._bindings() == before, "a recompute changes bindings"

    def _bindings(self) -> list[Any]:
        return [list(edge.engine.flows) for edge in self.controller.switches.values()]
