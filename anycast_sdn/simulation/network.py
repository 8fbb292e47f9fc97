"""SimulatedNetwork: a whole network in one process and in virtual time.

It joins the real ``Controller``, one ``SimulatedSwitch`` per switch and simple hosts by control channels
(``ControlChannels``) and links.  The ``Clock`` orders all events, so the same calls always have the same result.

Rules kept here:
- Frames of one link keep their order, and each takes a little time.
- Too many events between two ticks raise ``Runaway``: something loops.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.pace import Pace
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import Address, FlowKey, Prefix
from anycast_sdn.core.roles import Side
from anycast_sdn.description.model import Host, Link, Network, Port
from anycast_sdn.description.profile import Profile
from anycast_sdn.fabric.egress import Route
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.frames import L3
from anycast_sdn.openflow.layout import FIVE_TABLES, Layout
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.openflow.rules import Message, RuleKey
from anycast_sdn.simulation.audits import Audits
from anycast_sdn.simulation.channels import CHANNEL_S, ControlChannels
from anycast_sdn.simulation.clock import Clock
from anycast_sdn.simulation.effects import Effect, Trace, Transmit
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.observations import Arrived, Observations, Passed, Sighting, is_lldp
from anycast_sdn.simulation.switch import SimulatedSwitch
from anycast_sdn.simulation.tracker import Tracker
from anycast_sdn.views.counters import Counters

AUDIT_S = 5.0
LINK_S = 0.0001  # delay of a link


class SimulatedNetwork:
    """``network`` in operation: its switches are connected, and their neighbour tables hold its hosts.

    ``seed``: of the order in which translated addresses are leased, and of delays.
    ``layout``, ``fin_timeout``, ``tcp_flags`` (None: as ``fin_timeout``), ``packet_size``, ``fragment_flags``,
    ``fragments``, ``meters``, ``table_size``, ``connections``: see ``SimulatedSwitch``; the same for all switches.
    ``tracker``: the connection tracker that all switches share; None: each has its own, and loses it by ``kill``.
    ``profiles``: of switches that do not do all that OpenFlow has, by name, besides those of the network file.
    ``cables``: the links that exist, where they differ from those of the network file.
    ``slowest_s``: each message to a switch is delayed by a random time between ``CHANNEL_S`` and this.
    ``pace``: how small the controller's slices of work are.
    """

    channels_class: type[ControlChannels] = ControlChannels

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
        equal_buckets: bool = True,
        connections: bool = True,
        gateway_answers: bool = True,
        tracker: Tracker | None = None,
        profiles: Mapping[str, Profile] | None = None,
        cables: Iterable[Link] | None = None,
        slowest_s: float = CHANNEL_S,
        pace: Pace | None = None,
    ) -> None:
        self.network = network
        self._pace = pace
        self._seed = seed
        self._next_audit = AUDIT_S
        has: dict[str, Any] = {"fin_timeout": fin_timeout, "tcp_flags": fin_timeout if tcp_flags is None else tcp_flags}
        has |= {"packet_size": packet_size, "meters": meters}
        has |= {"fragment_flags": fragment_flags, "fragments": fragments}
        has |= {"connections": connections, "gateway_answers": gateway_answers}
        self._new_switch = partial(
            SimulatedSwitch, layout=layout, table_size=table_size, equal_buckets=equal_buckets, tracker=tracker, **has
        )
        cables = network.links if cables is None else tuple(cables)
        self._links = {end: link.b if end == link.a else link.a for link in cables for end in (link.a, link.b)}
        self._down: set[Port] = set()
        self.silent: set[Port] = set()  # ports that lose all frames, without a port status
        groups = groups if groups is not None else Groups({group.name: group for group in network.groups})
        self._clock = Clock(self._tick)
        self.observations = Observations()
        written = {switch.name: switch.profile for switch in network.switches if switch.profile}
        self._profiles = written | dict(profiles or {})
        self.channels = self.channels_class(
            self._new_controller(groups), {switch.name: self._switch(switch.name) for switch in network.switches},
            replace(Features(), **has), self._clock, self.observations, self.carry_out, random.Random(seed), slowest_s,
        )  # fmt: skip
        self._audits = Audits(self.channels)
        self._hosts = {host.name: self._host(host, number) for number, host in enumerate(network.hosts, 1)}
        self._start()

    def _new_controller(self, groups: Groups) -> Controller:
        return Controller(self.network, groups, random.Random(self._seed), pace=self._pace)

    def _switch(self, name: str) -> SimulatedSwitch:
        profile = self._profiles.get(name)
        return self._new_switch(profile=profile, layout=suited(profile.tables)) if profile else self._new_switch()

    def _start(self) -> None:
        """Connect all switches; hosts send their first ARP and ND."""
        self._connect_all()
        self._clock.start()
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

    # ---------------------------------------------------------------- what it is made of

    @property
    def controller(self) -> Controller:
        return self.channels.controller

    @property
    def counters(self) -> Counters:
        return self.channels.counters

    @property
    def switches(self) -> dict[str, SimulatedSwitch]:
        return self.channels.switches

    @property
    def wires(self) -> list[Sighting]:
        return self.observations.wires

    # ---------------------------------------------------------------- time

    @property
    def now(self) -> float:
        return self._clock.now

    def advance(self, seconds: float) -> None:
        """Let that much time pass."""
        self._clock.advance(seconds)

    def settle(self) -> None:
        """Advance until no packet and no message is under way; timeouts are not waited for."""
        self._clock.settle()

    def _tick(self) -> None:
        for name, switch in self.switches.items():
            self.carry_out(name, switch.expire(self.now))
        self.channels.tick()
        if self.now >= self._next_audit:
            self._next_audit = self.now + AUDIT_S
            for name in self.channels.connected():
                self._audits.begin(name)

    # ---------------------------------------------------------------- control channels

    def connect(self, name: str) -> list[Message]:
        """The switch connects to the controller.  → the messages that are sent to switches because of that."""
        return self.channels.connect(name, self._ports(name))

    def _ports(self, name: str) -> dict[int, bool]:
        """Which of the switch's ports are up?"""
        ends = {*self._links, *(host.port for host in self._hosts.values())}
        return {end.number: end not in self._down for end in sorted(ends) if end.switch == name}

    def _connect_all(self) -> list[Message]:
        return [message for name in self.switches for message in self.connect(name)]

    def disconnect(self, name: str) -> None:
        """The control channel of the switch ends; its rules stay."""
        self.channels.disconnect(name)

    def kill(self, name: str) -> None:
        """The switch loses its rules and its control channel; its links stay up.  ``connect`` connects it again."""
        self.switches[name] = self._switch(name)
        self.disconnect(name)

    def replace_controller(self) -> None:
        """Start a new controller; no switch is connected to it yet.

        It has the enrolments, and what the former one has kept of flows in connection trackers.
        """
        self.settle()
        self._seed += 1
        former = self.controller
        self.channels.replace_controller(self._new_controller(former.groups))
        for switch in former.switches.values():
            if switch.engine.needs_keeping:
                flows, connections = switch.engine.flows, switch.engine.kept_connections
                kept = [KeptFlow.of(each, 0.0, connections(each)) for each in flows]
                self.controller.remember(switch.name, kept, 0.0, self.now)

    def restart_controller(self) -> list[Message]:
        """As ``replace_controller``; then all switches connect.  → the messages that are sent to them."""
        self.replace_controller()
        return self._connect_all()

    def react(self, out: Outcome) -> None:
        """An event has led to this."""
        self.channels.react(out)

    def carry_out(self, name: str, effects: Iterable[Effect]) -> None:
        """The effects of a message, a frame or a timeout at a switch: frames leave, events are reported."""
        for effect in effects:
            if isinstance(effect, Transmit):
                self._transmit(Port(name, effect.port), effect.frame)
            else:
                self.channels.report(name, effect)

    # ---------------------------------------------------------------- links

    def send(self, name: str, *frames: bytes) -> None:
        """The host sends frames, back to back."""
        host = self._hosts[name]
        for frame in frames:
            self.observations.frame_sent(self.now, name, host.port.switch, frame)
            self._clock.after(LINK_S, self.receive, host.port, frame)

    def _transmit(self, port: Port, frame: bytes) -> None:
        """A switch sends a frame by a port: to another switch, or to all hosts there."""
        mtu = self.controller.switches[self.channels.dpid(port.switch)].mtus.get(port.number, len(frame))
        if port in self._down or port in self.silent or len(frame) > L3 + mtu:
            return
        if port in self._links:
            peer = self._links[port]
            if not is_lldp(frame):
                self.observations.frame_sent(self.now, port.switch, peer.switch, frame)
            self._clock.after(LINK_S, self.receive, peer, frame)
        for host in self._hosts.values():
            if host.port == port:
                self.observations.frame_sent(self.now, port.switch, host.name, frame)
                self._clock.after(LINK_S, self._arrive, host, frame)

    def receive(self, port: Port, frame: bytes) -> None:
        """A switch receives a frame at a port."""
        if port in self._down or port in self.silent:
            return
        steps: Trace = []
        effects = self.switches[port.switch].receive(frame, port.number, self.now, steps)
        if not is_lldp(frame):
            self.observations.record(Passed(port.switch, port.number, steps))
        self.carry_out(port.switch, effects)

    def _arrive(self, host: SimulatedHost, frame: bytes) -> None:
        self.observations.record(Arrived(host.name, frame))
        self.send(host.name, *host.receive(frame))

    # ---------------------------------------------------------------- hosts, operators, routers, failures

    def host(self, name: str) -> SimulatedHost:
        return self._hosts[name]

    def move(self, name: str, port: int) -> None:
        """Connect a host to another port of its switch; it sends nothing."""
        host = self._hosts[name]
        host.port = Port(host.port.switch, port)

    def set_groups(self, groups: Groups) -> None:
        self.react(self.controller.set_groups(groups, self.now))

    def set_learned(self, uplink: str, routes: Mapping[Prefix, Route]) -> None:
        """All routes that the router at an uplink advertises by BGP."""
        self.react(self.controller.set_learned(uplink, routes, self.now))

    def set_cost(self, end: Port, cost: int) -> None:
        self.react(self.controller.set_cost(end, cost, self.now))

    def set_port(self, port: Port, up: bool) -> None:
        """The link at a port gets or loses its carrier; both of its ends report that."""
        for end in {port, self._links.get(port, port)}:
            (self._down.discard if up else self._down.add)(end)
            self.channels.report_port(end.switch, end.number, up)

    def delete_rules(self, name: str, keys: Iterable[RuleKey] | None = None) -> None:
        """Another program deletes these rules of a switch, or all of them."""
        switch = self.switches[name]
        self.carry_out(name, switch.delete(switch.flows if keys is None else keys))

    def report_port(self, port: Port) -> None:
        """The switch reports that a port is up; the port may be missing in the network file."""
        self.react(self.controller.port_changed(self.channels.dpid(port.switch), port.number, True, self.now))

    # ---------------------------------------------------------------- observations

    def peers(self, port: Port) -> list[str]:
        """The names of the switch or the hosts at the other end of a port."""
        if port in self._links:
            return [self._links[port].switch]
        return [host.name for host in self._hosts.values() if host.port == port]

    def seen(self, sender: str, receiver: str) -> list[FlowKey]:
        """See ``Observations.seen``."""
        return self.observations.seen(sender, receiver)

    def check_recompute_changes_nothing(self) -> None:
        """Reconnecting all switches sends no message and changes no binding: what is wanted is installed."""
        self.settle()
        before = self._bindings()
        messages = self._connect_all()
        assert not messages, f"a recompute would send {messages}"
        assert self._bindings() == before, "a recompute changes bindings"

    def _bindings(self) -> list[Any]:
        return [list(switch.engine.flows) for switch in self.controller.switches.values()]
