"""EdgeEngine: what every way to be a client edge has in common: packets become events of ``ClientEdge``.

The engines differ in how a decision is carried out at the switch: by a pair of rules (``FlowRules``), or by a
connection of its tracker (``Conntrack``).  What a packet means, what is answered to it, and what is counted is the
same.

Nothing is sent from here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import BindingNotAdopted, Drop, Event, FrameMalformed, PacketsDropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptConnection, KeptFlow
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, WHOLE, Address, FlowKey, Neighbour
from anycast_sdn.core.network_events import PoolExhausted, PoolLow, PoolRecovered, RangeExhausted, RangeRecovered
from anycast_sdn.core.pool_watch import Level
from anycast_sdn.core.transitions import RELEASES, Do, FlowEvent
from anycast_sdn.engines import found_rules, icmp_errors
from anycast_sdn.engines.engine import Engine, PacketHandler, Shortcoming, Statistics, Surroundings
from anycast_sdn.engines.flow_reading import Found
from anycast_sdn.openflow import frames
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.reaction import Reaction, through_pipeline
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Message

_MATCHED_INTO = frozenset((ICMP, ICMPV6, SCTP, TCP, UDP))  # protocols of which rules match header fields

# Protocols whose checksums cover the addresses, and are not corrected by switches (RFC 3828 §3.1, RFC 4340 §9.2,
# RFC 6275 §6.1.1, RFC 7401 §5.1.1), or that sign them (RFC 4302 §3.3.3.1): every server would drop such a packet.
COVER_ADDRESSES = {33: "DCCP", 51: "AH", 135: "Mobility Header", 136: "UDP-Lite", 139: "HIP"}
# The ICMP error that answers a dropped first packet, unless that is a TCP SYN; by default: administratively prohibited.
_REASONS = dict.fromkeys((Drop.NO_SERVICE, Drop.NO_ABLE_EDGE, Drop.SWITCH_UNABLE), Unreachable.NO_SERVICE)


def _cannot_follow(packet: frames.IpPacket) -> bool:
    """Is this the first of several fragments of a flow that rules cannot match?

    Switches match no ports in fragments, not even in the first, and in IPv6 no protocol in later fragments.
    """
    v6 = len(packet.key.source) == 16
    return packet.more_fragments and (v6 or packet.key.protocol in _MATCHED_INTO)


def _is_echo_or_no_icmp(packet: frames.IpPacket, echo: Mapping[int, int]) -> bool:
    """``echo``: protocol → the type of the echoes that flows have in this direction."""
    return packet.icmp_type < 0 or packet.icmp_type == echo[packet.key.protocol]


class EdgeEngine(Engine):
    """``edge`` decides, and has the flows."""

    follows_fragments = False  # does the switch know of later fragments which flow they are of?
    begins_flows_alone = False  # do flows begin while no controller is there?
    switch_allocates = False  # does the switch choose PR1X of all flows that are bound by themselves?

    def __init__(self, around: Surroundings, edge: ClientEdge) -> None:
        self.name, self.subnets, self.anycast, self._answers, self.is_enrolled = around
        self.edge = edge
        self.first_replies = edge.first_replies
        self.flow_changes = edge.changes
        self.flow_record = edge.record
        self.last_sweep_s: float | None = None

    # ---------------------------------------------------------------- how decisions are carried out

    @abstractmethod
    def carry_out(self, decision: Decision, frame: bytes) -> Reaction:
        """What a decision leads to, and the packet that it is about goes on."""

    @abstractmethod
    def messages_of(self, decision: Decision) -> list[Message]:
        """What a decision leads to at the switch, apart from a packet."""

    @abstractmethod
    def removed(self, decisions: Iterable[Decision]) -> Reaction:
        """Bindings have ended.  ``changed``: rules for a server may no longer be wanted either."""

    @abstractmethod
    def unpinned(self, decision: Decision, server: Address) -> Iterable[Message]:
        """What takes a binding that goes on away from this server, which it has lost."""

    def carry_out_fragment(self, decision: Decision, packet: frames.IpPacket, frame: bytes, now: float) -> Reaction:
        """As ``carry_out``, of the first of several fragments."""
        return self.carry_out(decision, frame)

    def later_fragment(self, in_port: int, frame: bytes, now: float) -> Reaction | None:
        """What becomes of a further fragment; None: that is not decided by its first one."""
        return None

    # ---------------------------------------------------------------- what is shown

    @property
    def flows(self) -> BindingTable:
        return self.edge.bindings

    def validity_s(self, flow: Binding) -> int:
        return self.edge.validity_s(flow)

    def statistics(self, now: float) -> Statistics:
        addresses, opened, closed = self.edge.addresses, self.edge.opened, self.edge.closed
        return Statistics(
            addresses.use(now), addresses.outlooks(now), self.last_sweep_s, opened, closed,
            switch_allocates=self.switch_allocates, ranges=self.edge.ranges.uses() if self.switch_allocates else {},
        )  # fmt: skip

    @property
    def shortcoming(self) -> Shortcoming | None:
        return None

    @property
    def zone_timeouts(self) -> Mapping[int, Mapping[str, int]]:
        return {}

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
            if packet.more_fragments and self.follows_fragments:
                return self.drop(Drop.LOOPED)
            return self.looped(key, frame, groups, now)
        if key.protocol in COVER_ADDRESSES:
            return self._refuse(in_port, frame, Unreachable.PROTOCOL, self.dropped(Drop.UNSUPPORTED_PROTOCOL), now)
        if packet.icmp_type >= 0 or packet.more_fragments:
            if packet.is_icmp_error:
                return self._error_from_client(frame)
            follows = self.follows_fragments or not _cannot_follow(packet)
            if not _is_echo_or_no_icmp(packet, frames.ECHO_REQUEST) or not follows:
                if not self.edge.binds_whole(key, groups):
                    return self._refuse_alone(in_port, frame, packet, now)
                key = key.whole
        syn = tcp_flags(packet, frame) & (TCP_SYN | TCP_ACK) == TCP_SYN
        leases = packet.more_fragments or not self.switch_allocates  # else it had no address for this flow
        decision = self.edge.client_packet(key, groups, now, port=in_port, syn=syn, leases=leases)
        if decision.drop is None:
            if decision.do is Do.LEASE and decision.binding:
                self.first_replies.asked(decision.binding)
            if packet.more_fragments:
                return self.carry_out_fragment(decision, packet, frame, now)
            return self.carry_out(decision, frame)
        self.flow_record.refused(key.source, decision.drop)
        if syn or decision.do is Do.RESET:
            # A refused SYN gets a reset alone: ``connect`` fails at once on every system, with "connection refused".
            # ICMP errors are hints that TCP may ignore (RFC 1122 §4.2.3.9, RFC 5461).  Linux ends ``connect`` as fast
            # by these, but of (1, 1) it makes "permission denied"; other systems repeat their SYN, and firewalls drop
            # errors.
            reset = self._answers.reset(in_port, frame, now, lost=decision.do is Do.RESET)
            return Reaction([*reset], events=[self.dropped(decision.drop)])
        reason = _REASONS.get(decision.drop, Unreachable.ADMINISTRATIVELY_PROHIBITED)
        return self._refuse(in_port, frame, reason, self.dropped(decision.drop), now)

    def _refuse_alone(self, in_port: int, frame: bytes, packet: frames.IpPacket, now: float) -> Reaction:
        """A client's packet that only a binding of the whole client could carry."""
        if not _cannot_follow(packet):
            raise frames.BadFrame("icmp type")
        malformed = FrameMalformed(self.name, "fragment")
        return self._refuse(in_port, frame, Unreachable.ADMINISTRATIVELY_PROHIBITED, malformed, now)

    def _later_fragment(
        self, error: frames.BadFrame, in_port: int, frame: bytes, groups: Groups, now: float
    ) -> Reaction:
        """Not the first of a packet.  Without a binding of the whole client it raises ``error``."""
        if str(error) != "fragment":
            raise error
        if (reaction := self.later_fragment(in_port, frame, now)) is not None:
            return reaction
        key = FlowKey(frames.source_of(frame), frames.destination_of(frame), WHOLE, 0, 0)
        binding = self.flows.by_key(key) or self.flows.by_reply(key)
        if binding is None or not binding.key.is_whole:
            raise error
        if in_port == OFPP_CONTROLLER:
            return self.looped(key, frame, groups, now)
        if binding.key == key:
            return self.carry_out(self.edge.client_packet(key, groups, now, port=in_port), frame)
        decision = self.edge.reply(key, groups, now)
        return self.carry_out(decision, frame) if decision.drop is None else self.drop(decision.drop)

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
            return self.looped(key, frame, groups, now)
        covers, strange = key.protocol in COVER_ADDRESSES, not _is_echo_or_no_icmp(packet, frames.ECHO_REPLY)
        in_parts = packet.more_fragments and not self.follows_fragments and _cannot_follow(packet)
        if covers or strange or in_parts:
            whole = self.edge.is_reply_to_whole(key, now)
            if covers and whole:
                return self.drop(Drop.UNSUPPORTED_PROTOCOL)
            if strange and not whole:
                return self.drop(Drop.UNSUPPORTED_ICMP)
            if in_parts and not whole:
                raise frames.BadFrame("fragment")
        decision = self.edge.reply(key, groups, now)
        if decision.do is Do.RESET and decision.binding:
            resets = self._answers.reset_both(in_port, frame, decision.binding.key.reverse, now)
            return Reaction([*resets], events=[self.dropped(Drop.SERVER_LOST)])
        if decision.do is Do.PIN and decision.binding:
            self.first_replies.replied(decision.binding, key.source, tcp_flags(packet, frame) & TCP_RST != 0, now)
        if decision.drop is not None:
            return self.drop(decision.drop)
        if packet.more_fragments:
            return self.carry_out_fragment(decision, packet, frame, now)
        return self.carry_out(decision, frame)

    def looped(self, key: FlowKey, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A packet from the controller to a binding's rule has not matched that: it is lost, refused or different."""
        decision = self.edge.missed(key, now)
        reaction = self.carry_out(decision, frame) if decision.drop is None else Reaction()
        reaction.events.append(self.dropped(Drop.LOOPED))
        return reaction

    def _tcp_end(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A copy of a FIN or RST that a binding's rule has translated."""
        packet = frames.parse_ip(frame)
        key, flags = packet.key, tcp_flags(packet, frame)
        half = Half.OUT
        binding = self.flows.by_reply(key.reverse)
        if binding is None:
            half = Half.IN
            binding = self.flows.by_key(key.reverse)
        if binding is None or not flags & (TCP_FIN | TCP_RST):
            return Reaction()
        decision = self.edge.tcp_end(binding.number, half, bool(flags & TCP_RST), now)
        return Reaction(self.messages_of(decision))

    def _icmp_error(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """An ICMP error about a flow's packet, on its way to the client."""
        error = frames.parse_icmp_error(frame)
        binding = self.flows.by_reply(error.quoted.reverse._replace(destination=error.destination))
        if binding is None:
            return self.drop(Drop.STRANGER if self.flows.holders.of(error.destination) else Drop.NO_BINDING)
        group = groups.get(binding.group)
        servers = [binding.server] if binding.server else list(group.servers if group else ())
        translated = icmp_errors.to_client(frame, error, binding, servers)
        if translated:
            self.first_replies.replied(binding, error.source, True, now)
        return Reaction([through_pipeline(translated)]) if translated else self.drop(Drop.STRANGER)

    def _error_from_client(self, frame: bytes) -> Reaction:
        """An ICMP error about a reply, on its way to the server."""
        error = frames.parse_icmp_error(frame)
        binding = self.flows.by_key(icmp_errors.client_key(error))
        translated = icmp_errors.to_server(frame, error, binding) if binding else None
        return Reaction([through_pipeline(translated)]) if translated else self.drop(Drop.NO_BINDING)

    def drop(self, reason: Drop) -> Reaction:
        return Reaction(events=[self.dropped(reason)])

    def dropped(self, reason: Drop) -> PacketsDropped:
        return PacketsDropped(self.name, reason)

    # ---------------------------------------------------------------- what is found on the switch

    def kept_connections(self, flow: Binding) -> Iterable[KeptConnection]:
        return ()

    def remember(self, flows: Iterable[KeptFlow], groups: Groups, to_epoch: float, now: float) -> int:
        count = 0
        for flow in flows:
            with suppress(ValueError):  # PRh/k has changed, for example
                self.edge.adopt(flow.binding(groups, min(now, flow.since - to_epoch)), now)
                count += 1
        return count

    def set_aside(self) -> list[Address]:
        return self.edge.addresses.set_aside()

    @property
    def aside(self) -> list[Address]:
        return self.edge.addresses.aside

    def keep_back(self, addresses: Iterable[Address], now: float) -> None:
        role = self.edge.role
        self.edge.addresses.keep_back(addresses, now + role.validity.udp_s + role.quarantine_s)

    def resting(self) -> list[tuple[Address, float]]:
        return self.edge.addresses.resting()

    def rest(self, released: Iterable[tuple[Address, float]], now: float) -> None:
        self.edge.addresses.rest(released, now)

    def adopt(self, found: Found, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> list[Event]:
        """Rules of flows that were found at the controller's start: their bindings go on."""
        events: list[Event] = []
        for number, rules in found.items():
            if self.flows.by_number(number):
                continue  # adopted already, before the switch reconnected in the middle of reading
            binding = found_rules.binding_of(number, rules, groups, now)
            if binding is None:
                continue
            host = hosts.get(binding.key.source)
            try:
                self.edge.adopt(binding._replace(port=host.port if host else 0), now)
            except ValueError:
                events.append(BindingNotAdopted(self.name, number))  # PRh/k has changed, or the address is in use
        return events

    # ---------------------------------------------------------------- ends of flows

    def forget_flows(self) -> None:
        self.edge.forget()

    def retire(self) -> list[Message]:
        return []

    def end(self, number: int, now: float) -> Reaction:
        binding = self.flows.by_number(number)
        return self.removed([self.edge.apply(binding, FlowEvent.ENDED, now)]) if binding else Reaction()

    def close(self, numbers: Iterable[int], now: float) -> Reaction:
        return self.removed(self.edge.close(numbers, now))

    def lose(self, numbers: Iterable[int], server: Address, groups: Groups, now: float) -> tuple[Reaction, int]:
        decisions = self.edge.lose(numbers, server, groups, now)
        reaction = self.removed(decision for decision in decisions if decision.do in RELEASES)
        for decision in decisions:
            if decision.do is Do.FREE:
                reaction.messages += self.unpinned(decision, server)
        reaction.changed |= self.is_left(server)
        return reaction, len(decisions)

    def is_left(self, server: Address | None) -> bool:
        """May the rules of this server, that a flow has had, be no longer wanted?"""
        return server is not None and not self.is_enrolled(server) and not self.flows.pinned_to(server)

    def is_wanted_again(self, decision: Decision) -> bool:
        """Has a flow come back to a server that is no longer enrolled?  Then the rules of that are wanted."""
        server = decision.binding.server if decision.do is Do.REVIVE and decision.binding else None
        return server is not None and not self.is_enrolled(server)

    def end_connections(self, now: float, most: int) -> tuple[Reaction, int]:
        decisions = self.edge.end_due(now, most)
        reaction = self.removed(decision for decision in decisions if decision.do in RELEASES)
        for decision in decisions:
            if decision.do not in RELEASES:
                reaction.messages += self.messages_of(decision)
        return reaction, len(decisions)

    def watch_pools(self, now: float) -> list[Event]:
        events: list[Event] = []
        for family, level in self.edge.addresses.watch(now).items():
            use, outlook = self.edge.addresses.use(now)[family], self.edge.addresses.outlooks(now)[family]
            if level is Level.EXHAUSTED:
                events.append(PoolExhausted(self.name, family, use.size, use.leased, use.resting))
            elif level is Level.PLENTY:
                events.append(PoolRecovered(self.name, family, outlook.left, use.size))
            else:
                events.append(PoolLow(self.name, family, outlook.left, use.size, outlook.used_up_in_s))
        for family, level in self.edge.ranges.watch(now).items():
            exhausted = level is Level.EXHAUSTED
            events.append(RangeExhausted(self.name, family) if exhausted else RangeRecovered(self.name, family))
        return events


def tcp_flags(packet: frames.IpPacket, frame: bytes) -> int:
    """0 where there are none."""
    return frame[packet.l4 + 13] if packet.key.protocol == TCP and not packet.more_fragments else 0
