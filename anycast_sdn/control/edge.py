"""One switch: what it should hold, and what to do with the packets that it sends up.

An ``EdgeSwitch`` joins the switch's facts (network file), its hosts (``Neighbours``), its flows
(``ClientEdge``) and what it is known to hold (``installed``).  It returns messages for its switch and
sends nothing.  What concerns more than one switch is the ``Controller``'s.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from anycast_sdn.control.neighbours import Neighbour, Neighbours, Replies
from anycast_sdn.control.reconcile import Tables, changes
from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.client_edge import ClientEdge, Decision, Do, Drop
from anycast_sdn.core.model import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Address,
    AnycastGroup,
    FlowKey,
    Groups,
    Network,
    Prefix,
    Server,
    Switch,
)
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.server_edge import able_servers
from anycast_sdn.openflow import builders, entries, frames
from anycast_sdn.openflow.pipeline import Kind
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    OFPP_TABLE,
    DeleteFlow,
    FlowRule,
    Message,
    MeterRule,
    Output,
    PacketOut,
    PutBinding,
    RemoveBinding,
)

LONGEST_SWEEP_S = 15.0  # from one sweep to the next
ERRORS_PER_S = 100  # ICMP errors that an edge sends to its clients, with as many at once (RFC 4443 §2.4f)
_NEED_MORE_THAN_IP = frozenset((ICMP, ICMPV6, SCTP, TCP, UDP))  # OpenFlow matches into these protocols' headers
_ECHO_TYPES = {ICMP: (8, 0), ICMPV6: (128, 129)}


@dataclass(frozen=True, slots=True)
class Features:
    """What a switch can do beyond what is required of it."""

    fin_timeout: bool = True
    meters: bool = True


@dataclass(slots=True)
class Reaction:
    """What came of an event: messages for this switch; did it change what switches should hold?"""

    messages: list[Message] = field(default_factory=list)
    changed: bool = False


class EdgeSwitch:
    """A managed switch in any role (M25)."""

    def __init__(self, switch: Switch, network: Network, random: RandomSource) -> None:
        self.switch = switch
        self.subnets = network.subnets_of(switch.name)
        self.mac = b"\x02\xac" + (switch.dpid & 0xFFFFFFFF).to_bytes(4, "big")  # locally administered
        self.neighbours = Neighbours(self.mac, self.subnets)
        self.client_edge = ClientEdge(switch.client_edge, random) if switch.client_edge else None
        self.features = Features()
        self.installed = Tables()  # without the bindings' rules, which ``client_edge`` knows
        self.synchronised = False
        self.ever_synchronised = False
        self.counters: Counter[str] = Counter()  # drops decided here
        self.dropped: dict[str, int] = {}  # drops counted by the switch's own rules
        self.last_sweep_s: float | None = None  # how long the last sweep took
        self._next_sweep = 0.0
        self._limits = network.limits
        self._anycast = network.anycast_prefixes
        self._fabric_ports = sorted(
            end.number for link in network.links for end in (link.a, link.b) if end.switch == switch.name
        )
        self._error_tokens = _TokenBucket(ERRORS_PER_S)
        self._packet_handlers: Mapping[Kind, Callable[[int, bytes, Groups, float], Reaction]] = {
            Kind.ARP: self._arp,
            Kind.ND: self._nd,
            Kind.FIRST_PACKET: self._first_packet,
            Kind.FIRST_REPLY: self._first_reply,
            Kind.ICMP_ERROR: self._icmp_error,
            Kind.GATEWAY: self._gateway,
            Kind.UNRESOLVED: self._unresolved,
        }

    # ---------------------------------------------------------------- what the switch should hold

    @property
    def meters(self) -> int:
        """The highest meter number that this switch needs."""
        return max(meter.number for meter in self._meters())

    def _meters(self) -> Iterator[MeterRule]:
        return entries.meters(self._limits, len(entries.host_ports(self.subnets)))

    def able_servers(self, group: AnycastGroup, service: Prefix) -> tuple[Server, ...]:
        """The servers here that take new flows for ``service`` now; none: this edge does not announce it."""
        if not self.switch.server_edge:
            return ()
        return able_servers(group, service, self.subnets, lambda address: self.neighbours.get(address) is not None)

    def wanted(self, groups: Groups, routes: Mapping[Prefix, int]) -> Tables:
        """All rules but the bindings', from facts, neighbours, enrolments and routes."""
        services = [
            (prefix, servers)
            for group in groups
            for prefix in group.prefixes
            if (servers := self.able_servers(group, prefix))
        ]
        numbers = _group_numbers(prefix for prefix, _ in services)
        flows = [
            *entries.constant(),
            *entries.ingress(self.subnets, self._fabric_ports, self._anycast),
            *self._client_rules(groups),
            *(entries.service(prefix, numbers[prefix]) for prefix, _ in services),
            *self._route_rules(routes),
        ]
        return Tables.of(
            flows if self.features.meters else map(_unmetered, flows),
            [entries.server_group(numbers[prefix], map(self._bucket, servers)) for prefix, servers in services],
            self._meters() if self.features.meters else (),
        )

    def _client_rules(self, groups: Groups) -> Iterator[FlowRule]:
        yield from entries.client_edge(self.switch.client_edge, self.subnets, self._anycast)
        if self.client_edge:
            # A server that is enrolled no more keeps the flows that it has (M20).
            enrolled = {address for group in groups for address in group.servers}
            servers = sorted(enrolled | self.client_edge.bindings.pinned_servers())
            yield from entries.first_replies(self.client_edge.role, servers)

    def _route_rules(self, routes: Mapping[Prefix, int]) -> Iterator[FlowRule]:
        for subnet in self.subnets:
            for gateway in subnet.gateways:
                yield entries.gateway(gateway.address)
                yield entries.connected(gateway.prefix)
        for address, neighbour in self.neighbours.known():
            yield entries.host(address, self.mac, neighbour.mac, neighbour.port)
        for prefix, port in routes.items():
            yield entries.route(prefix, port)

    def _bucket(self, server: Server) -> tuple[Address, int, bytes, bytes, int]:
        neighbour = self.neighbours.get(server.address)
        assert neighbour is not None  # able_servers asked
        return server.address, server.weight, self.mac, neighbour.mac, neighbour.port

    def refresh(self, groups: Groups, routes: Mapping[Prefix, int]) -> list[Message]:
        """The changes from what is installed to what is wanted; nothing while the switch is away."""
        if not self.synchronised:
            return []
        wanted = self.wanted(groups, routes)
        messages = changes(wanted, self.installed)
        self.installed = wanted
        return messages

    # ---------------------------------------------------------------- connection

    def synchronise(self, found: Tables, features: Features, groups: Groups, now: float) -> list[Message]:
        """The switch is here and holds ``found``.  Bindings are settled; ``refresh`` does the rest.

        At the controller's start the switch's own rules are its memory: bindings and hosts are
        rebuilt from them.  After a mere reconnect the controller knows better: what it does not know, goes.
        """
        self.features = features
        on_switch: dict[int, list[tuple[entries.FoundHalf, FlowRule]]] = {}
        others = []
        for rule in found.flows.values():
            half = entries.read_binding(rule)
            if half is None:
                others.append(rule)
            else:
                on_switch.setdefault(half.number, []).append((half, rule))
        if not self.ever_synchronised:
            for address, mac, port in filter(None, map(entries.read_host, others)):
                self.neighbours.adopt(address, Neighbour(mac, port), now)
        if self.client_edge:
            if not self.ever_synchronised:
                self._adopt(self.client_edge, on_switch, groups, now)
            messages = self._settle_bindings(self.client_edge, on_switch, now)
        else:  # it was a client edge when these were made
            messages = [DeleteFlow(rule) for halves in on_switch.values() for _, rule in halves]
        self.installed = Tables.of(others, found.groups.values(), found.meters.values())
        self.synchronised = self.ever_synchronised = True
        return messages

    def _adopt(
        self,
        client_edge: ClientEdge,
        on_switch: Mapping[int, list[tuple[entries.FoundHalf, FlowRule]]],
        groups: Groups,
        now: float,
    ) -> None:
        for number, halves in on_switch.items():
            half, _ = max(halves, key=lambda found: found[0].server is not None)
            group = groups.covering(half.key.destination)
            swept = not any(rule.idle_timeout for _, rule in halves)
            name = group.name if group else ""
            binding = Binding(number, half.key, half.translated, name, now, half.server, swept=swept)
            try:
                client_edge.adopt(binding)
            except ValueError:
                self.counters["not_adopted"] += 1  # PRh/k has changed, or two rules claim one address

    def _settle_bindings(
        self,
        client_edge: ClientEdge,
        on_switch: Mapping[int, list[tuple[entries.FoundHalf, FlowRule]]],
        now: float,
    ) -> list[Message]:
        """Known bindings keep the halves that the switch still holds as they should be."""
        messages: list[Message] = []
        for binding in client_edge.bindings:
            installed = Half.NONE
            for half, rule in on_switch.get(binding.number, ()):
                if (half.half is Half.OUT or binding.server) and self._same(binding, half.half, rule):
                    installed |= half.half
            if installed:
                client_edge.found_installed(binding, installed)
            else:
                client_edge.release(binding, now)
        for number, halves in on_switch.items():
            kept = client_edge.bindings.by_number(number)
            messages += [
                DeleteFlow(rule) for half, rule in halves if not kept or half.half not in kept.installed
            ]
        return messages

    def _same(self, binding: Binding, half: Half, rule: FlowRule) -> bool:
        ours = entries.binding(self._rule_of(binding, half))
        return (ours.key, ours.cookie, ours.actions) == (rule.key, rule.cookie, rule.actions)

    def disconnected(self) -> None:
        self.synchronised = False
        self._next_sweep = 0.0  # one that was under way will not end

    # ---------------------------------------------------------------- packets

    def packet_in(self, kind: Kind, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A frame that a rule of this kind sent up."""
        if in_port == OFPP_CONTROLLER and kind in (Kind.FIRST_PACKET, Kind.FIRST_REPLY):
            # We sent it, behind its rule, and it missed the rule: the switch has refused or misread it.
            return self._count("looped")
        handler = self._packet_handlers.get(kind)
        if handler is None or not self.synchronised:
            self.counters["unexpected_packet_in"] += 1
            return Reaction()
        try:
            return handler(in_port, frame, groups, now)
        except frames.BadFrame as error:
            self.counters[f"bad_frame: {error}"] += 1
            return Reaction()

    def _first_packet(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        packet = frames.parse_ip(frame)
        edge = self.client_edge
        if edge is None:
            return self._count("unexpected_packet_in")
        if packet.more_fragments and packet.key.protocol in _NEED_MORE_THAN_IP:
            raise frames.BadFrame("fragment")  # switches match no ports in fragments, not even in the first
        if packet.icmp_type >= 0 and packet.icmp_type != _ECHO_TYPES[packet.key.protocol][0]:
            return self._icmp_error_from_client(frame, edge)
        decision = edge.client_packet(packet.key, groups, now)
        if decision.drop is not None:
            reaction = self._count(decision.drop.value)
            reason = (
                builders.Unreachable.NO_SERVICE
                if decision.drop is Drop.NO_SERVICE
                else builders.Unreachable.ADMINISTRATIVELY_PROHIBITED
            )
            reaction.messages += self._unreachable(in_port, frame, packet.key.source, reason, now)
            return reaction
        return self._carry_out(decision, frame)

    def _first_reply(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        packet = frames.parse_ip(frame)
        if self.client_edge is None:
            return self._count("unexpected_packet_in")
        if packet.icmp_type >= 0 and packet.icmp_type != _ECHO_TYPES[packet.key.protocol][1]:
            return self._count("icmp_unsupported")
        decision = self.client_edge.reply(packet.key, groups)
        if decision.drop is not None:
            return self._count(decision.drop.value)
        return self._carry_out(decision, frame)

    def _carry_out(self, decision: Decision, frame: bytes) -> Reaction:
        """First the rules, then the packet, which takes the way that later packets take."""
        assert decision.binding is not None
        return Reaction([*self._put(decision), *self._send(frame).messages])

    def _put(self, decision: Decision) -> Iterator[PutBinding]:
        assert decision.binding is not None
        for half in decision.put.parts:
            yield self._rule_of(decision.binding, half)

    def _rule_of(self, binding: Binding, half: Half) -> PutBinding:
        """The rule of one direction of a binding, as it should be now."""
        assert self.client_edge is not None
        tcp = binding.key.protocol == TCP and self.features.fin_timeout
        fin_timeout = self.client_edge.role.validity.tcp_closed_s if tcp else 0
        idle_timeout = 0 if binding.swept else self.client_edge.validity_s(binding)
        return PutBinding(binding, half, idle_timeout, fin_timeout)

    def _icmp_error(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """An error about a flow's packet, on its way to the client (RFC 5508 REQ-4)."""
        error = frames.parse_icmp_error(frame)
        binding = self.client_edge.bindings.by_translated(error.destination) if self.client_edge else None
        if binding is None:
            return self._count(Drop.NO_BINDING.value)
        key = binding.key
        group = groups.get(binding.group)
        servers = [binding.server] if binding.server else list(group.servers if group else ())
        sent_to = error.quoted.destination
        sent = FlowKey(binding.translated, sent_to, *key[2:])
        if error.quoted != sent or sent_to not in (key.destination, *servers):
            return self._count(Drop.STRANGER.value)
        return self._send(
            builders.translate_icmp_error(
                frame,
                source=key.destination if error.source in servers else error.source,
                destination=key.source,
                quoted_source=key.source,
                quoted_destination=key.destination,
            )
        )

    def _icmp_error_from_client(self, frame: bytes, edge: ClientEdge) -> Reaction:
        """An error about a reply, on its way to the server (RFC 5508 REQ-5)."""
        error = frames.parse_icmp_error(frame)
        quoted = error.quoted
        key = FlowKey(
            quoted.destination, quoted.source, quoted.protocol, quoted.destination_port, quoted.source_port
        )
        binding = edge.bindings.by_key(key)
        addressed = (error.source, error.destination) == (key.source, key.destination)
        if binding is None or binding.server is None or not addressed:
            return self._count(Drop.NO_BINDING.value)
        return self._send(
            builders.translate_icmp_error(
                frame,
                source=binding.translated,
                destination=binding.server,
                quoted_source=binding.server,
                quoted_destination=binding.translated,
            )
        )

    def _gateway(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._send(builders.echo_reply(frame, self.mac))

    def _arp(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.arp(frames.parse_arp(frame), in_port, now), now)

    def _nd(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.nd(frames.parse_nd(frame), in_port, now), now)

    def _unresolved(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        destination = frames.parse_ip(frame).key.destination
        if in_port == OFPP_CONTROLLER and self.neighbours.get(destination):
            return self._count("looped")
        return self._neighbours_replied(self.neighbours.wait(frame, destination, now), now)

    def _neighbours_replied(self, replies: Replies, now: float) -> Reaction:
        reaction = Reaction(changed=replies.changed)
        reaction.messages += [PacketOut(frame, OFPP_CONTROLLER, (Output(port),)) for port, frame in replies.frames]
        # A host's route stands before its packets go on, so ``changed`` is acted upon first.
        for frame in replies.resolved:
            reaction.messages += self._send(frame).messages
        return reaction

    # ---------------------------------------------------------------- other events

    def rule_removed(self, cookie_kind: Kind, number: int, idle_timeout: int, now: float) -> Reaction:
        """A binding's rule has expired, or was deleted behind our back (M19)."""
        if self.client_edge is None or cookie_kind not in entries.HALF_OF:
            return Reaction()
        half, state = entries.HALF_OF[cookie_kind]
        closed = idle_timeout == self.client_edge.role.validity.tcp_closed_s
        decision = self.client_edge.rule_removed(number, half, state, closed, now)
        if decision.do is not Do.RELEASE:
            return Reaction()
        assert decision.binding is not None
        # Both should be gone.  Should a message have crossed ours, the switch must not keep a rule
        # of a binding that no longer exists.
        return self._released(decision.binding) if decision.binding.server else Reaction()

    def _released(self, binding: Binding) -> Reaction:
        """A binding has ended: its rules go, and what was there for its server alone."""
        assert self.client_edge is not None
        halves = Half.BOTH if binding.server else Half.OUT
        last = binding.server is not None and not self.client_edge.bindings.pinned_to(binding.server)
        return Reaction([RemoveBinding(self._rule_of(binding, half)) for half in halves.parts], changed=last)

    # ---------------------------------------------------------------- sweep

    def sweep_is_due(self, now: float) -> bool:
        return self.synchronised and bool(self.client_edge and self.client_edge.swept) and now >= self._next_sweep

    def begin_sweep(self) -> int:
        """→ how many bindings there are; the next sweep is due only after this one has ended."""
        self._next_sweep = math.inf
        return len(self.client_edge.bindings) if self.client_edge else 0

    def swept(self, began: float, now: float) -> None:
        assert self.client_edge is not None
        self.last_sweep_s = now - began
        self._next_sweep = now + min(LONGEST_SWEEP_S, self.client_edge.role.validity.shortest_s / 2)

    def counters_read(self, inward: bool, counters: Iterable[tuple[int, int]], now: float) -> list[int]:
        """Counters of bindings' rules → the bindings that may be idle; see ``core.sweep``."""
        return self.client_edge.sweep.read(inward, counters, now) if self.client_edge else []

    def end_idle(self, numbers: Iterable[int], now: float) -> Reaction:
        """Ends those of these bindings that a whole sweep has found idle."""
        reaction = Reaction()
        if self.client_edge:
            for binding in self.client_edge.idle_bindings(numbers, now):
                self.client_edge.release(binding, now)
                released = self._released(binding)
                reaction.messages += released.messages
                reaction.changed |= released.changed
        return reaction

    def rule_refused(self, number: int, now: float) -> Reaction:
        """The switch has no room for a rule of this binding: end it, rather than try for ever."""
        binding = self.client_edge.bindings.by_number(number) if self.client_edge else None
        if binding is None or self.client_edge is None:
            return Reaction()
        self.client_edge.release(binding, now)
        self.counters["rule_refused"] += 1
        return self._released(binding)

    def port_down(self, port: int, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.port_down(port, now), now)

    def tick(self, now: float) -> Reaction:
        if not self.synchronised:
            return Reaction()
        replies = self.neighbours.tick(now)
        reaction = self._neighbours_replied(replies, now)
        for frame in replies.unreachable:
            reaction.messages += self._host_unreachable(frame, now)
        for decision in self.client_edge.closing(now) if self.client_edge else ():
            reaction.messages += self._put(decision)
        return reaction

    # ---------------------------------------------------------------- small things

    def _count(self, name: str) -> Reaction:
        self.counters[name] += 1
        return Reaction()

    def _send(self, frame: bytes) -> Reaction:
        """A frame that leaves through the pipeline, as if it had just come in."""
        return Reaction([PacketOut(frame, OFPP_CONTROLLER, (Output(OFPP_TABLE),))])

    def _gateway_for(self, address: Address) -> Address | None:
        for subnet in self.subnets:
            for gateway in subnet.gateways:
                if address in gateway.prefix:
                    return gateway.address
        return None

    def _unreachable(
        self, port: int, frame: bytes, client: Address, reason: builders.Unreachable, now: float
    ) -> Iterable[Message]:
        """An ICMP error straight back to the port that the packet came from."""
        source = self._gateway_for(client)
        error = builders.unreachable(frame, self.mac, source, reason) if source else None
        if error is None or not self._error_tokens.take(now):
            return ()
        return (PacketOut(error, OFPP_CONTROLLER, (Output(port),)),)

    def _host_unreachable(self, frame: bytes, now: float) -> Iterable[Message]:
        try:
            source = self._gateway_for(frames.parse_ip(frame).key.destination)
            error = builders.unreachable(frame, self.mac, source, builders.Unreachable.HOST) if source else None
        except frames.BadFrame:
            return ()  # it was parsed when it came; nothing to answer otherwise
        return self._send(error).messages if error and self._error_tokens.take(now) else ()


class _TokenBucket:
    """Allows ``rate`` things a second on average, and as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate = self._tokens = rate
        self._last = 0.0

    def take(self, now: float) -> bool:
        self._tokens = min(self._rate, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _group_numbers(prefixes: Iterable[Prefix]) -> dict[Prefix, int]:
    """A select group's number for each ANY/n; the same after a restart, so that groups are recognised."""
    numbers: dict[Prefix, int] = {}
    for prefix in sorted(prefixes):
        number = zlib.crc32(str(prefix).encode()) & 0x7FFFFFFF
        while number in numbers.values():
            number += 1
        numbers[prefix] = number
    return numbers


def _unmetered(rule: FlowRule) -> FlowRule:
    return replace(rule, meter=None)
