"""FlowRules: the engine that installs a pair of rules for each binding, one for each direction.

``ClientEdge`` decides.  This engine turns packets and reports of the switch into its events, and its decisions into
rules; it rebuilds bindings from rules after a restart of the controller, and says when counters are to be read.

- Rules are sent before the packet, which then passes through the switch's own tables, as later packets of its flow do.
- The cookie of a rule has the number and the direction of its binding, so that each report about a rule leads
  to the binding.
- Rules that another program deletes are soon installed again.

Nothing is sent from here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import (
    BindingNotAdopted,
    Drop,
    Event,
    Fault,
    FrameMalformed,
    PacketsDropped,
    RuleRefused,
    repaired,
)
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, WHOLE, Address, FlowKey, Neighbour, Prefix
from anycast_sdn.core.network_events import PoolExhausted, PoolLow, PoolRecovered
from anycast_sdn.core.pool_watch import Level
from anycast_sdn.core.roles import Subnet
from anycast_sdn.core.transitions import RELEASES, Details, Do, FlowEvent
from anycast_sdn.engines import found_rules, icmp_errors
from anycast_sdn.engines.engine import Engine, PacketHandler, Shortcoming, Statistics
from anycast_sdn.engines.flow_audit import FlowAudit
from anycast_sdn.engines.flow_reading import FlowReading, Found
from anycast_sdn.engines.flow_sweep import FlowSweep
from anycast_sdn.openflow import entries, frames, readback
from anycast_sdn.openflow.answers import Answers
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import Kind, kind_of, number_of
from anycast_sdn.openflow.reaction import Reaction, through_pipeline
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    DeleteFlow,
    FlowRule,
    Message,
    PutBinding,
    RemoveBinding,
)

LONGEST_SWEEP_S = 15.0  # from one sweep to the next
_MATCHED_INTO = frozenset((ICMP, ICMPV6, SCTP, TCP, UDP))  # protocols of which rules match header fields

# Protocols whose checksums cover the addresses, and are not corrected by switches (RFC 3828 §3.1, RFC 4340 §9.2,
# RFC 6275 §6.1.1, RFC 7401 §5.1.1), or that sign them (RFC 4302 §3.3.3.1): every server would drop such a packet.
COVER_ADDRESSES = {33: "DCCP", 51: "AH", 135: "Mobility Header", 136: "UDP-Lite", 139: "HIP"}
# The ICMP error that answers a dropped first packet, unless that is a TCP SYN; by default: administratively prohibited.
_REASONS = {Drop.NO_SERVICE: Unreachable.NO_SERVICE, Drop.NO_ABLE_EDGE: Unreachable.NO_SERVICE}


def _cannot_follow(packet: frames.IpPacket) -> bool:
    """Is this the first of several fragments of a flow that rules cannot match?

    Switches match no ports in fragments, not even in the first, and in IPv6 no protocol in later fragments.
    """
    v6 = len(packet.key.source) == 16
    return packet.more_fragments and (v6 or packet.key.protocol in _MATCHED_INTO)


def _is_echo_or_no_icmp(packet: frames.IpPacket, echo: Mapping[int, int]) -> bool:
    """``echo``: protocol → the type of the echoes that flows have in this direction."""
    return packet.icmp_type < 0 or packet.icmp_type == echo[packet.key.protocol]


class FlowRules(Engine):
    """The bindings of one switch and their rules.

    ``subnets``: those of the switch; ``anycast``: the network's ANY/m; ``is_enrolled``: is this server in any group?
    """

    def __init__(
        self,
        name: str,
        edge: ClientEdge,
        subnets: Sequence[Subnet],
        anycast: Sequence[Prefix],
        answers: Answers,
        is_enrolled: Callable[[Address], bool],
    ) -> None:
        self._name = name
        self.edge = edge
        self._subnets = subnets
        self._anycast = anycast
        self._answers = answers
        self._features = Features()
        self._is_enrolled = is_enrolled
        self._lost: dict[int, Half] = {}  # binding's number → its rules that another program has deleted
        self._used: set[int] | None = None  # bindings used while the switch is being read; None: it is not being read
        self.first_replies = edge.first_replies
        self.flow_record = edge.record
        self._audit = FlowAudit(name, edge.bindings, self.wanted_rule)
        self._last_sweep_s: float | None = None
        self._sweep_ended = -math.inf  # the last one; while one is under way, inf

    # ---------------------------------------------------------------- what is shown

    @property
    def flows(self) -> BindingTable:
        return self.edge.bindings

    def validity_s(self, flow: Binding) -> int:
        return self.edge.validity_s(flow)

    def statistics(self, now: float) -> Statistics:
        addresses, opened, closed = self.edge.addresses, self.edge.opened, self.edge.closed
        return Statistics(addresses.use(now), addresses.outlooks(now), self._last_sweep_s, opened, closed)

    @property
    def shortcoming(self) -> Shortcoming | None:
        return None

    # ---------------------------------------------------------------- what the switch should hold, besides flows

    def wanted_rules(self) -> Iterator[FlowRule]:
        return entries.client_edge(self.edge.role, self._subnets, self._anycast, self._features.tcp_flags)

    def rules_for_server(self, server: Address) -> list[FlowRule]:
        return list(entries.first_replies(self.edge.role, [server]))

    def wanted_rule(self, flow: Binding, half: Half) -> PutBinding:
        """A rule can record a FIN only by a shorter idle timeout, so only if it has one: see ``entries.binding``."""
        idle_timeout = 0 if flow.swept else self.edge.validity_s(flow)
        can_record = self._features.tcp_flags and self._features.fin_timeout
        records_fin = can_record and flow.key.protocol == TCP and flow.server
        fin_timeout = idle_timeout - (half not in flow.closed) if records_fin else 0
        marks = flow.key.protocol == WHOLE and self._features.tcp_flags
        return PutBinding(flow, half, idle_timeout, max(0, fin_timeout), marks)

    # ---------------------------------------------------------------- packets

    @property
    def packet_handlers(self) -> Mapping[Kind, PacketHandler]:
        return {
            Kind.FIRST_PACKET: self._first_packet,
            Kind.SYN: self._first_packet,
            Kind.CLIENT_ERROR: self._first_packet,
            Kind.LOOPED: self._first_packet,
            Kind.TCP_END: self._tcp_end,
            Kind.FIRST_REPLY: self._first_reply,
            Kind.ICMP_ERROR: self._icmp_error,
        }

    @property
    def checked_kinds(self) -> Collection[Kind]:
        return (Kind.FIRST_PACKET, Kind.SYN, Kind.CLIENT_ERROR)

    def _first_packet(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A client's packet to ANY that has matched no rule of a binding (M13, M14)."""
        try:
            packet = frames.parse_ip(frame)
        except frames.BadFrame as error:
            return self._later_fragment(error, in_port, frame, groups, now)
        key = packet.key
        if in_port == OFPP_CONTROLLER:
            return self._looped(key, frame, now)
        if key.protocol in COVER_ADDRESSES:
            return self._refuse(in_port, frame, Unreachable.PROTOCOL, self._dropped(Drop.UNSUPPORTED_PROTOCOL), now)
        if packet.is_icmp_error:
            return self._error_from_client(frame)
        if not _is_echo_or_no_icmp(packet, frames.ECHO_REQUEST) or _cannot_follow(packet):
            if not self.edge.binds_whole(key, groups):
                return self._refuse_alone(in_port, frame, packet, now)
            key = key.whole
        syn = _tcp_flags(packet, frame) & (TCP_SYN | TCP_ACK) == TCP_SYN
        decision = self.edge.client_packet(key, groups, now, port=in_port, syn=syn)
        if decision.drop is None:
            if decision.do is Do.LEASE and decision.binding:
                self.first_replies.asked(decision.binding)
            return self._carry_out(decision, frame)
        self.flow_record.refused(key.source, decision.drop)
        if syn or decision.do is Do.RESET:
            # A refused SYN gets a reset alone: ``connect`` fails at once on every system, with "connection refused".
            # ICMP errors are hints that TCP may ignore (RFC 1122 §4.2.3.9, RFC 5461).  Linux ends ``connect`` as fast
            # by these, but of (1, 1) it makes "permission denied"; other systems repeat their SYN, and firewalls drop
            # errors.
            reset = self._answers.reset(in_port, frame, now, lost=decision.do is Do.RESET)
            return Reaction([*reset], events=[self._dropped(decision.drop)])
        reason = _REASONS.get(decision.drop, Unreachable.ADMINISTRATIVELY_PROHIBITED)
        return self._refuse(in_port, frame, reason, self._dropped(decision.drop), now)

    def _refuse_alone(self, in_port: int, frame: bytes, packet: frames.IpPacket, now: float) -> Reaction:
        """A client's packet that only a binding of the whole client could carry."""
        if not _cannot_follow(packet):
            raise frames.BadFrame("icmp type")
        malformed = FrameMalformed(self._name, "fragment")
        return self._refuse(in_port, frame, Unreachable.ADMINISTRATIVELY_PROHIBITED, malformed, now)

    def _later_fragment(
        self, error: frames.BadFrame, in_port: int, frame: bytes, groups: Groups, now: float
    ) -> Reaction:
        """Not the first of a packet.  Without a binding of the whole client it raises ``error``."""
        if str(error) != "fragment":
            raise error
        key = FlowKey(frames.source_of(frame), frames.destination_of(frame), WHOLE, 0, 0)
        binding = self.flows.by_key(key) or self.flows.by_reply(key)
        if binding is None or not binding.key.is_whole:
            raise error
        if in_port == OFPP_CONTROLLER:
            return self._looped(key, frame, now)
        if binding.key == key:
            return self._carry_out(self.edge.client_packet(key, groups, now, port=in_port), frame)
        decision = self.edge.reply(key, groups, now)
        return self._carry_out(decision, frame) if decision.drop is None else self._drop(decision.drop)

    def _refuse(self, in_port: int, frame: bytes, reason: Unreachable, event: Event, now: float) -> Reaction:
        return Reaction([*self._answers.refuse(in_port, frame, reason, now)], events=[event])

    def _first_reply(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A server's packet to PR1X that has matched no rule of a binding (M16–M18)."""
        try:
            packet = frames.parse_ip(frame)
        except frames.BadFrame as error:
            return self._later_fragment(error, in_port, frame, groups, now)
        key = packet.key
        if in_port == OFPP_CONTROLLER:
            return self._looped(key, frame, now)
        covers, strange = key.protocol in COVER_ADDRESSES, not _is_echo_or_no_icmp(packet, frames.ECHO_REPLY)
        if covers or strange or _cannot_follow(packet):
            whole = self.edge.is_reply_to_whole(key, now)
            if covers and whole:
                return self._drop(Drop.UNSUPPORTED_PROTOCOL)
            if strange and not whole:
                return self._drop(Drop.UNSUPPORTED_ICMP)
            if _cannot_follow(packet) and not whole:
                raise frames.BadFrame("fragment")
        decision = self.edge.reply(key, groups, now)
        if decision.do is Do.RESET and decision.binding:
            resets = self._answers.reset_both(in_port, frame, decision.binding.key.reverse, now)
            return Reaction([*resets], events=[self._dropped(Drop.SERVER_LOST)])
        if decision.do is Do.PIN and decision.binding:
            self.first_replies.replied(decision.binding, key.source, _tcp_flags(packet, frame) & TCP_RST != 0, now)
        return self._carry_out(decision, frame) if decision.drop is None else self._drop(decision.drop)

    def _looped(self, key: FlowKey, frame: bytes, now: float) -> Reaction:
        """A packet from the controller to a binding's rule has not matched that: it is lost, refused or different."""
        decision = self.edge.missed(key, now)
        reaction = self._carry_out(decision, frame) if decision.drop is None else Reaction()
        reaction.events.append(self._dropped(Drop.LOOPED))
        return reaction

    def _tcp_end(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A copy of a FIN or RST that a binding's rule has translated."""
        packet = frames.parse_ip(frame)
        key, flags = packet.key, _tcp_flags(packet, frame)
        half = Half.OUT
        binding = self.flows.by_reply(key.reverse)
        if binding is None:
            half = Half.IN
            binding = self.flows.by_key(key.reverse)
        if binding is None or not flags & (TCP_FIN | TCP_RST):
            return Reaction()
        decision = self.edge.tcp_end(binding.number, half, bool(flags & TCP_RST), now)
        self._note_used(decision)
        return Reaction(list[Message](self._rules_of(decision)))

    def _carry_out(self, decision: Decision, frame: bytes) -> Reaction:
        if self._used is not None:
            self._note_used(decision)
        server = decision.binding.server if decision.do is Do.REVIVE and decision.binding else None
        returned = server is not None and not self._is_enrolled(server)
        return Reaction([*self._rules_of(decision), through_pipeline(frame)], changed=returned)

    def _icmp_error(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """An ICMP error about a flow's packet, on its way to the client."""
        error = frames.parse_icmp_error(frame)
        binding = self.flows.by_reply(error.quoted.reverse._replace(destination=error.destination))
        if binding is None:
            return self._drop(Drop.STRANGER if self.flows.holders.of(error.destination) else Drop.NO_BINDING)
        group = groups.get(binding.group)
        servers = [binding.server] if binding.server else list(group.servers if group else ())
        translated = icmp_errors.to_client(frame, error, binding, servers)
        if translated:
            self.first_replies.replied(binding, error.source, True, now)
        return Reaction([through_pipeline(translated)]) if translated else self._drop(Drop.STRANGER)

    def _error_from_client(self, frame: bytes) -> Reaction:
        """An ICMP error about a reply, on its way to the server."""
        error = frames.parse_icmp_error(frame)
        binding = self.flows.by_key(icmp_errors.client_key(error))
        translated = icmp_errors.to_server(frame, error, binding) if binding else None
        return Reaction([through_pipeline(translated)]) if translated else self._drop(Drop.NO_BINDING)

    def _drop(self, reason: Drop) -> Reaction:
        return Reaction(events=[self._dropped(reason)])

    def _dropped(self, reason: Drop) -> PacketsDropped:
        return PacketsDropped(self._name, reason)

    # ---------------------------------------------------------------- decisions become rules

    def _rules_of(self, decision: Decision) -> list[PutBinding]:
        """The rules that a decision installs."""
        binding = decision.binding
        return [self.wanted_rule(binding, half) for half in decision.put.parts] if binding else []

    def _note_used(self, decision: Decision) -> None:
        """What was found of a binding that has been used since may be out of date: see ``settle``."""
        if self._used is not None and decision.binding:
            self._used.add(decision.binding.number)

    def _removed(self, decisions: Iterable[Decision]) -> Reaction:
        """Bindings have ended: remove their rules.  ``changed``: rules for a server may no longer be wanted either."""
        reaction = Reaction()
        for decision in decisions:
            assert decision.binding is not None
            binding, server = decision.binding, decision.binding.server
            for half in (Half.BOTH if server else Half.OUT).parts:
                reaction.messages.append(RemoveBinding(self.wanted_rule(binding, half)))
            if server is not None and not self._is_enrolled(server) and not self.flows.pinned_to(server):
                reaction.changed = True
        return reaction

    # ---------------------------------------------------------------- what becomes of rules

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        kind, number = kind_of(cookie), number_of(cookie)
        if kind is None or kind not in readback.HALF_OF:
            return Reaction()
        half, state = readback.HALF_OF[kind]
        if deleted:
            # The controller deletes only rules of ended bindings and of earlier states.  A rule that another program
            # has deleted says nothing about the flow's packets, and is installed again (M20).
            binding = self.flows.by_number(number)
            if binding and binding.state is state and half in binding.installed:
                self._lost[number] = self._lost.get(number, Half.NONE) | half
                return Reaction(others_deleted=True)
            return Reaction()
        decision = self.edge.rule_removed(number, half, state, unused, now)
        if decision.do not in RELEASES or decision.binding is None or not decision.binding.server:
            return Reaction()
        # Both rules should be gone.  But the report may have crossed a message to the switch that installs one again.
        return self._removed([decision])

    def rule_refused(self, number: int, now: float) -> Reaction:
        """The switch has refused a rule of this binding, for example because its table is full: end the binding."""
        binding = self.flows.by_number(number)
        if binding is None:
            return Reaction()
        reaction = self._removed([self.edge.apply(binding, FlowEvent.REFUSED, now)])
        reaction.events.append(RuleRefused(self._name, number))
        return reaction

    def _watch_pools(self, now: float) -> list[Event]:
        events: list[Event] = []
        for family, level in self.edge.addresses.watch(now).items():
            use, outlook = self.edge.addresses.use(now)[family], self.edge.addresses.outlooks(now)[family]
            if level is Level.EXHAUSTED:
                events.append(PoolExhausted(self._name, family, use.size, use.leased, use.resting))
            elif level is Level.PLENTY:
                events.append(PoolRecovered(self._name, family, outlook.left, use.size))
            else:
                events.append(PoolLow(self._name, family, outlook.left, use.size, outlook.used_up_in_s))
        return events

    def end(self, number: int, now: float) -> Reaction:
        binding = self.flows.by_number(number)
        return self._removed([self.edge.apply(binding, FlowEvent.ENDED, now)]) if binding else Reaction()

    def close(self, numbers: Iterable[int], now: float) -> Reaction:
        return self._removed(self.edge.close(numbers, now))

    def lose(self, numbers: Iterable[int], server: Address, groups: Groups, now: float) -> tuple[Reaction, int]:
        decisions = self.edge.lose(numbers, server, groups, now)
        reaction = self._removed(decision for decision in decisions if decision.do in RELEASES)
        for decision in decisions:
            if decision.do is Do.FREE:
                assert decision.binding is not None
                pinned = decision.binding._replace(server=server)
                reaction.messages.append(RemoveBinding(self.wanted_rule(pinned, Half.IN)))
                reaction.messages += self._rules_of(decision)
        reaction.changed = not self._is_enrolled(server) and not self.flows.pinned_to(server)
        return reaction, len(decisions)

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        """Connections that have ended come first: another program may delete rules as fast as they are put back."""
        reaction, ended = self._end_connections(now, most)
        put_back = self._put_back(most - ended)
        reaction.messages += put_back
        reaction.events += repaired(self._name, (Fault.MISSING for _ in put_back))
        reaction.events += self._watch_pools(now)
        return reaction, ended == most or bool(self._lost)

    def _end_connections(self, now: float, most: int) -> tuple[Reaction, int]:
        decisions = self.edge.end_due(now, most)
        reaction = self._removed(decision for decision in decisions if decision.do in RELEASES)
        for decision in decisions:
            if decision.do not in RELEASES:
                self._note_used(decision)
                reaction.messages += self._rules_of(decision)
        return reaction, len(decisions)

    def _put_back(self, most: int) -> list[Message]:
        """The rules of ``most`` bindings that another program has deleted."""
        messages: list[Message] = []
        for number in list(itertools.islice(self._lost, most)):
            binding, halves = self.flows.by_number(number), self._lost.pop(number)
            if binding:
                messages += [self.wanted_rule(binding, half) for half in (halves & binding.installed).parts]
        return messages

    # ---------------------------------------------------------------- sweeps of counters

    def begin_sweep(self, now: float) -> FlowSweep | None:
        due = self._sweep_ended + min(LONGEST_SWEEP_S, self.edge.shortest_validity_s / 2)
        if not self.flows.swept or now < due:
            return None
        self._sweep_ended = math.inf
        return FlowSweep(len(self.flows), self.edge.sweep.record, self._end_idle, partial(self._end_sweep, now))

    def _end_idle(self, numbers: Iterable[int], now: float) -> Reaction:
        return self._removed(self.edge.end_idle(numbers, now))

    def _end_sweep(self, began: float, now: float) -> None:
        self._last_sweep_s = now - began
        self._sweep_ended = now

    # ---------------------------------------------------------------- what is found on the switch

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> FlowReading:
        """A sweep that was under way at an earlier connection will not end; all lost rules are found."""
        self._features = features
        self._used = set()
        self._sweep_ended = -math.inf
        self._lost.clear()
        return FlowReading(self, begins, wiped)

    def adopt(self, found: Found, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> list[Event]:
        events: list[Event] = []
        for number, rules in found.items():
            if self.flows.by_number(number):
                continue  # adopted already, before the switch reconnected in the middle of reading
            binding = found_rules.binding_of(number, rules, groups, now)
            if binding is None:
                continue
            host = hosts.get(binding.key.source)
            try:
                self.edge.adopt(binding, host.port if host else 0, now)
            except ValueError:
                events.append(BindingNotAdopted(self._name, number))  # PRh/k has changed, or the address is in use
        return events

    def settle(self, flow: Binding, rules: Sequence[FlowRule], wiped: bool, now: float) -> Reaction:
        """A flow keeps the directions for which the switch has rules.  It ends only when there are none (M20).

        If the flow was used or has changed since the switch was asked, what was found is out of date: nothing is done,
        and an audit finds what may be wrong.
        """
        if (self._used and flow.number in self._used) or self.flows.by_number(flow.number) is not flow:
            return Reaction()
        if wiped:
            return Reaction([*self._rules_of(self.edge.apply(flow, FlowEvent.WIPED, now))])
        installed = found_rules.halves_of(flow, rules)
        if not installed:
            self.edge.apply(flow, FlowEvent.FOUND_GONE, now)
            return Reaction([*map(DeleteFlow, rules)])
        kept = self.edge.apply(flow, FlowEvent.FOUND_AGAIN, now, Details(installed=installed)).binding
        for half in found_rules.closed_halves(rules):
            if kept and not kept.reset:
                kept = self.edge.tcp_end(flow.number, half, False, now).binding
        assert kept is not None  # neither event ends it
        return self._corrected(kept, installed, rules)

    @property
    def audit(self) -> FlowAudit:
        return self._audit

    def _corrected(self, flow: Binding, installed: Half, rules: Sequence[FlowRule]) -> Reaction:
        messages = found_rules.corrections([self.wanted_rule(flow, half) for half in installed.parts], rules)
        return Reaction(messages, events=repaired(self._name, found_rules.faults(messages, rules)))

    def end_reading(self) -> None:
        if self._used is not None:
            self.flow_record.settle()
        self._used = None


def _tcp_flags(packet: frames.IpPacket, frame: bytes) -> int:
    """0 where there are none."""
    return frame[packet.l4 + 13] if packet.key.protocol == TCP and not packet.more_fragments else 0
