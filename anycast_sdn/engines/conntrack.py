"""Conntrack: the engine that has a connection of Open vSwitch's tracker for each flow, and no rule.

``ClientEdge`` decides, as for any engine.  A decision is carried out by a connection: the first packet goes back to the
switch in one message, which commits its connection with exactly the PR1X that the pool has chosen.  From then on the
switch translates both directions, pins the flow to the server of the group that answers first (the connection's label),
and ends it when it is idle.  How packets go through the tables: ``openflow.tracked_entries``; how the tracker knows a
flow: ``core.tracked_address``.

- The controller learns of the first reply by a copy, and of the ends of TCP connections as with rules.
- What a flow is translated to is known from what was leased, never from a dump of the tracker, which stops forwarding.
- A connection ends when its binding does; a flow that goes on is then a new one for the switch, and asked for.

Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from anycast_sdn.core import tracker_timeouts
from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import Drop
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptConnection, KeptFlow
from anycast_sdn.core.model import TCP, UDP, Address, FlowKey, Prefix
from anycast_sdn.core.roles import EngineName
from anycast_sdn.core.transitions import Do, FlowEvent
from anycast_sdn.engines.connection_reading import ConnectionReading
from anycast_sdn.engines.edge_engine import COVER_ADDRESSES, EdgeEngine, tcp_flags
from anycast_sdn.engines.engine import PacketHandler, Surroundings, Sweep
from anycast_sdn.engines.flow_audit import FlowAudit
from anycast_sdn.engines.live_connections import Connection, LiveConnections, has_several
from anycast_sdn.engines.no_client_edge import no_rule
from anycast_sdn.engines.put_back import PutBack
from anycast_sdn.engines.service_codes import ServiceCodes
from anycast_sdn.engines.switch_allocation import SwitchAllocation
from anycast_sdn.engines.tracked_fragments import TrackedFragments
from anycast_sdn.openflow import (
    connection_queries,
    connections,
    entries,
    fragment_entries,
    frames,
    readback,
    tracked_entries,
)
from anycast_sdn.openflow.connection_queries import Ends
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import REPORTS, kind_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, TCP_RST, BeginConnection, FlowRule, Message, RuleKey


class Conntrack(EdgeEngine):
    """The bindings of one switch and their connections."""

    follows_fragments = True
    begins_flows_alone = True

    def __init__(self, around: Surroundings, edge: ClientEdge) -> None:
        super().__init__(around, edge)
        self._settings = edge.role.conntrack
        self._codes = ServiceCodes(edge.role, self.subnets)
        self._groups_of: dict[Address, tuple[str, ...]] = {}  # server → the groups for which it has rules
        self._without_group: set[Prefix] = set()  # services that only flows have
        self._returned: set[Prefix] = set()  # services that flows have again, and that have no rules yet
        self._features = Features()
        self._know_no_connections()
        self._audit = FlowAudit(self.name, BindingTable(), no_rule)
        self._allocation = SwitchAllocation(self.name, edge, self.subnets, self._codes.ends_of, [*COVER_ADDRESSES])
        self.switch_allocates = self._allocation.all_flows

    def _know_no_connections(self) -> None:
        self._unserved: list[Binding] = []  # that have come back, and have no connection for want of a code
        self._connections = LiveConnections(self.flows, self.edge.validity_s, self._settings, self.edge.changes)
        self._put_back = PutBack(self._connections, self.flows, self._codes)
        self._fragments = TrackedFragments(self._settings)
        self._fragments.spoils = self._features.spoils_fragments

    @property
    def shown_as(self) -> str:
        return EngineName.CONNTRACK.value

    @property
    def needs_keeping(self) -> bool:
        return True

    @property
    def may_report(self) -> bool:
        return True

    # ---------------------------------------------------------------- what the switch should hold

    def wanted_rules(self) -> Iterator[FlowRule]:
        layouts = [layout for layout in self._codes.layouts.values() if layout.subnets]
        for rule in entries.client_edge(self.edge.role, self.subnets, self.anycast, self._features.tcp_flags):
            if kind_of(rule.cookie) is not Kind.SYN or not self._allocation.some_flows:
                yield rule  # a SYN of which the tracker knows no connection is a first packet without that, too
        yield from tracked_entries.edge(self.edge.role, self.subnets, layouts)
        yield from fragment_entries.edge(self.edge.role, self.subnets, spoils=self._fragments.spoils)
        yield from self._allocation.wanted_rules()

    def places_of_server(self, server: Address, groups: Groups) -> Iterator[tuple[RuleKey, FlowRule | None]]:
        before, now = self._groups_of.pop(server, ()), groups.of_server(server)
        if now:
            self._groups_of[server] = now
        is_wanted = now or self.flows.pinned_to(server)
        prefixes, spoils = self.edge.role.translation_prefixes, self._fragments.spoils
        for rule in tracked_entries.server(server, prefixes, self._settings, spoils=spoils):
            yield rule.key, rule if is_wanted else None
        for group in dict.fromkeys((*before, *now)):
            for rule in tracked_entries.member(server, group, self._settings):
                yield rule.key, rule if group in now else None

    def places_of_service(self, service: Prefix, groups: Groups) -> Iterator[tuple[RuleKey, FlowRule | None]]:
        """Where no group has it any more, its flows go on (M20); new ones are the controller's, which refuses them."""
        group, codes, layout = groups.owner(service), self._codes, self._codes.layouts[service.is_v6]
        code = codes.give(service) if group else codes.get(service)
        if code is None or not layout.subnets:
            return
        name = group.name if group else ""
        asks = self._allocation.some_flows and (group is None or group.binds_clients or not groups.is_active(group))
        is_wanted = group or self._codes.keeps or self.flows.use_any_of(service)
        for rule in tracked_entries.service(service, code, name, layout, self._settings, asks=asks):
            yield rule.key, rule if is_wanted else None
        self._without_group.discard(service)
        self._returned.discard(service)
        if not is_wanted:
            codes.discard(service)
        elif not group:
            self._without_group.add(service)

    @property
    def services(self) -> Iterator[Prefix]:
        return iter(self._codes)

    @property
    def services_to_recheck(self) -> list[Prefix]:
        unused = () if self._codes.keeps else self._without_group
        return [*self._returned, *(each for each in unused if not self.flows.use_any_of(each))]

    @property
    def codes(self) -> ServiceCodes:
        return self._codes

    @property
    def zone_timeouts(self) -> dict[int, Mapping[str, int]]:
        return tracker_timeouts.of_zones(self.edge.role.conntrack, self.edge.role.validity)

    @property
    def tracks_fragments(self) -> bool:
        return self._fragments.spoils

    # ---------------------------------------------------------------- packets

    @property
    def packet_handlers(self) -> Mapping[Kind, PacketHandler]:
        return {
            **super().packet_handlers,
            **dict.fromkeys(REPORTS, self._reported),
            Kind.MEMBER_REPLY: self._member_reply,
            Kind.MEMBER_REPLY_UDP: self._member_reply,
            Kind.UNTRACKED_REPLY: self._first_reply,
            Kind.NOT_BEGUN: self._not_begun,
            Kind.OTHER_NUMBERS: self._other_numbers,
            Kind.FIRST_FRAGMENT_IN: self._fragment_in,
            Kind.CONNECTION_FOUND: self._connection_found,
            Kind.CONNECTION_MISSING: self._connection_missing,
        }

    def _reported(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A copy of a packet whose PR1X the switch has chosen by itself."""
        changes = self._allocation.reported(in_port, frame, groups, now)
        reaction = Reaction()
        for decision in changes[:-1]:  # the switch has replaced these flows: nothing is left of them there
            assert decision.binding is not None
            self._connections.forget(decision.binding)
            reaction.changed |= self.is_left(decision.binding.server)
        if changes and (binding := changes[-1].binding):
            ends = connection_queries.ends_of(frame) if has_several(binding) else Ends(*binding.key[2:])
            self._connections.begun(binding, Connection(ends))
        return reaction

    def _member_reply(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A copy of a first reply, from the server to H': the switch has pinned its flow."""
        try:
            packet = frames.parse_ip(frame)
        except frames.BadFrame as error:
            if str(error) == "fragment":
                return Reaction()  # the first one of its packet has said it all
            raise
        server, tracked, protocol, source_port, destination_port = packet.key
        client, anycast = self._codes.ends_of(tracked)
        if client is None or anycast is None:
            return self.drop(Drop.NO_BINDING)
        key = FlowKey(client, anycast, protocol, destination_port, source_port)
        binding = self.flows.by_key(key)
        if binding is None and self._allocation.some_flows:  # nothing is dropped: it is a copy
            self._allocation.answered(key, server, now)
            return Reaction()
        if binding is None:
            return self.drop(Drop.NO_BINDING)
        port = binding.translated_port or destination_port
        reply = packet.key._replace(destination=binding.translated, destination_port=port)
        decision = self.edge.reply(reply, groups, now)
        if decision.do is Do.PIN and decision.binding:
            reset = tcp_flags(packet, frame) & TCP_RST != 0
            self.first_replies.replied(decision.binding, server, reset, now)
            return Reaction([*self._fragments.pinned(decision.binding)])
        if decision.drop is None:
            return Reaction()
        reaction = self.drop(decision.drop)  # by the connection's label, it is pinned: to a server that was lost
        if binding.server is None:
            reaction.messages += self._connections.unpin(binding)
        return reaction

    def looped(self, key: FlowKey, frame: bytes, groups: Groups, now: float) -> Reaction:
        """No connection could begin with a packet that the controller has sent, and it came back.

        For some seconds after the end of a connection, Open vSwitch (before 3.2) begins no other one with the same
        ends.  A client's flow begins anew then, with another address; once, for there may be another reason.
        """
        binding = self.flows.by_key(key)
        if binding is None or binding.key.is_whole:
            return self.drop(Drop.LOOPED)
        is_first = self.edge.missed(key, now).drop is None
        port = self.flows.port_of(binding.translated)
        reaction = self.removed([self.edge.apply(binding, FlowEvent.ADDRESS_REFUSED, now)])
        reaction.events.append(self.dropped(Drop.LOOPED))
        if is_first:
            decision = self.edge.client_packet(key, groups, now, port=port, leases=not self.switch_allocates)
            if decision.drop is None:
                self.edge.missed(key, now)  # the next time it is not the first
                reaction.messages += self.carry_out(decision, frame).messages
        return reaction

    def _not_begun(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A first packet has come back, which the controller has sent in by the port of its client."""
        return self._first_packet(OFPP_CONTROLLER, frame, groups, now)

    def _other_numbers(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A copy of a client's TCP segment with others than the tracker expects: perhaps those were made up."""
        packet = frames.parse_ip(frame)
        binding = self.flows.by_reply(packet.key.reverse)
        inside = self._codes.inside(binding.key) if binding and self._put_back.is_made_up(binding) else None
        if binding is None or inside is None:
            return Reaction()
        return Reaction([*self._put_back.with_numbers_of(frame, binding, inside)])

    def _connection_found(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """The tracker has a connection that was asked for, and perhaps pinned it without the controller's knowledge."""
        answer = connection_queries.answer(frame, True)
        binding = self.flows.by_number(answer.number)
        inside = self._codes.inside(binding.key) if binding else None
        if inside and answer.inside and inside != answer.inside:  # it is another client's
            return self._connection_missing(in_port, frame, groups, now)
        binding = self._connections.answered(answer, True, now)
        if binding is None:
            return Reaction()
        if binding.closed is Half.BOTH:  # the tracker waits longer for packets that are on their way
            return self.removed([self.edge.apply(binding, FlowEvent.ALL_IDLE, now)])
        if answer.server and binding.server is None:
            protocol, first, second = answer.ends
            reply = FlowKey(answer.server, binding.translated, protocol, second, first)
            binding = self.edge.reply(reply, groups, now).binding or binding
            return Reaction([*self._fragments.pinned(binding)])
        return Reaction()

    def _connection_missing(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """The tracker has no such connection any more: both directions have been idle (M19)."""
        binding = self._connections.answered(connection_queries.answer(frame, False), False, now)
        if binding is None or self._connections.has_any(binding):
            return Reaction()
        return self.removed([self.edge.apply(binding, FlowEvent.ALL_IDLE, now)])

    # ---------------------------------------------------------------- decisions become connections

    def carry_out(self, decision: Decision, frame: bytes) -> Reaction:
        binding = decision.binding
        assert binding is not None
        inside = self._codes.inside(binding.key) or self._inside_again(binding.key)
        if inside is None:
            if self._codes.gives or decision.do is Do.LEASE:
                self._unserved.append(binding)
            return self.drop(Drop.NO_SERVICE)
        if frames.destination_of(frame) == binding.translated:
            return self._begin_inward(binding, inside, frame)
        if has_several(binding):
            ends = connection_queries.ends_of(frame)
            if self._connections.is_full(binding, ends):
                return self.drop(Drop.CLIENT_FULL)
        else:
            ends = Ends(*binding.key[2:])
        self._connections.begun(binding, Connection(ends))
        zone = self._settings.zone_of(len(inside) == 16, ends.protocol == UDP)
        anycast, translated, server = binding.key.destination, binding.translated, binding.server
        port = binding.translated_port or ends.first if ends.protocol in (TCP, UDP) else 0
        in_port = self.flows.port_of(translated) or OFPP_CONTROLLER
        begun = BeginConnection(frame, inside, anycast, translated, server, zone, port, in_port)
        return Reaction([begun], changed=self.is_wanted_again(decision) or bool(self._returned))

    def _begin_inward(self, binding: Binding, inside: Address, frame: bytes) -> Reaction:
        """A server's packet, of no connection that the tracker has: it begins one with the client."""
        ends = connection_queries.ends_of_reply(frame)
        if ends is None or binding.server is None or binding.translated_port:
            return self.drop(Drop.NO_BINDING)
        if self._connections.is_full(binding, ends):
            return self.drop(Drop.CLIENT_FULL)
        self._connections.begun(binding, Connection(ends, inward=True))
        zone = self._connections.zone(binding, ends)
        begun = connections.with_reply(frame, inside, binding.server, zone)
        return Reaction([begun], changed=not self.is_enrolled(binding.server))

    # ---------------------------------------------------------------- fragments

    def carry_out_fragment(self, decision: Decision, packet: frames.IpPacket, frame: bytes, now: float) -> Reaction:
        binding, key = decision.binding, packet.key
        assert binding is not None
        reaction = self.carry_out(decision, frame)
        if not reaction.messages:
            return reaction
        self._fragments.remember(frame, binding.number, key, now)
        if self._fragments.are_translated(key):
            reaction.messages = [*self._known(binding, key), *self._fragments.begin(binding, key, now)]
            reaction.messages.append(self._fragments.out(frame))
        return reaction

    def later_fragment(self, in_port: int, frame: bytes, now: float) -> Reaction | None:
        found = self._fragments.flow_of(frame, now)
        binding = self.flows.by_number(found[0]) if found else None
        if found is None or binding is None:
            return None
        if in_port == OFPP_CONTROLLER:
            return self.drop(Drop.LOOPED)
        return Reaction([*self._onward(binding, found[1], frame)])

    def _onward(self, binding: Binding, key: FlowKey, frame: bytes) -> Iterator[Message]:
        """One fragment of a packet goes on.  ``key``: the packet's."""
        if self._fragments.are_translated(key):
            inward = key.destination == binding.translated
            yield self._fragments.back(frame) if inward else self._fragments.out(frame)
        elif (inside := self._codes.inside(binding.key)) is not None:
            zone = self._settings.zone_of(len(inside) == 16, key.protocol == UDP)
            if key.destination == binding.translated and binding.server:
                yield connections.with_reply(frame, inside, binding.server, zone)
            elif key.destination != binding.translated:
                ends, port = (key.destination, binding.translated), connections.source_port_of(binding, key)
                yield BeginConnection(frame, inside, *ends, binding.server, zone, port)

    def _fragment_in(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A server's packet in fragments to PR1X, for which the tracker has no connection."""
        try:
            key = frames.parse_ip(frame).key
        except frames.BadFrame as error:
            return self._later_fragment(error, in_port, frame, groups, now)
        if in_port == OFPP_CONTROLLER:
            return self.drop(Drop.LOOPED)
        decision = self.edge.reply(key, groups, now)
        binding = decision.binding
        if decision.drop or binding is None:
            return self.drop(decision.drop or Drop.NO_BINDING)
        self._fragments.remember(frame, binding.number, key, now)
        sent = binding.key
        if sent.is_whole:
            sent = FlowKey(*sent[:2], key.protocol, key.destination_port, key.source_port)
        reaction = Reaction([*self._fragments.begin(binding, sent, now)])
        if decision.do is Do.PIN:
            self.first_replies.replied(binding, key.source, False, now)
            reaction.messages += self._known(binding, sent)
        reaction.messages += self._onward(binding, key, frame)
        return reaction

    def _known(self, binding: Binding, key: FlowKey) -> Iterator[Message]:
        """The connection of whole packets is there, and has the binding's server.  ``key``: of the client's packets."""
        if (inside := self._codes.inside(binding.key)) is not None:
            ends = Ends(UDP, key.source_port, key.destination_port)
            yield from connections.put_back(binding, ends, inside, self._settings.zone_of(len(inside) == 16, udp=True))
            self._connections.recheck(binding)

    def _inside_again(self, key: FlowKey) -> Address | None:
        """H' of a flow that had ended, and whose service had no group, and no flow, any more."""
        if service := self._codes.give_again(key):
            self._returned.add(service)
        return self._codes.inside(key)

    def messages_of(self, decision: Decision) -> list[Message]:
        """A connection that goes on needs none, but may end sooner now."""
        binding = decision.binding
        if binding is not None and decision.do is not Do.KEEP:
            self._connections.recheck(binding)
        return []

    def removed(self, decisions: Iterable[Decision]) -> Reaction:
        reaction, binding = Reaction(), None
        for decision in decisions:
            binding = decision.binding
            assert binding is not None
            inside, server = self._codes.inside(binding.key), binding.server
            if inside is not None:
                reaction.messages += self._connections.end(binding, inside)
            reaction.messages += self._fragments.end(binding)
            self._connections.forget(binding)
            self._put_back.forget(binding)
            reaction.changed |= self.is_left(server)
        if binding:
            reaction.changed |= bool(self.services_to_recheck)
        return reaction

    # ---------------------------------------------------------------- events

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        return Reaction()

    def rule_refused(self, number: int, now: float) -> Reaction:
        return Reaction()

    def unpinned(self, decision: Decision, server: Address) -> list[Message]:
        """The flow keeps its connection, and PR1X; it only loses its label, and perhaps ends sooner now."""
        binding = decision.binding
        assert binding is not None
        self._connections.recheck(binding)
        return [*self._connections.unpin(binding), *self._fragments.unpin(binding, server)]

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        reaction, count = self.end_connections(now, most)
        inquiries, more = self._connections.tick(now, most)
        reaction.messages += inquiries
        ended = [self.edge.apply(binding, FlowEvent.ALL_IDLE, now) for binding in self._connections.pop_ended()]
        ended += [self.edge.apply(binding, FlowEvent.ADDRESS_REFUSED, now) for binding in self._unserved]
        self._unserved.clear()
        if ended:
            removed = self.removed(ended)
            reaction.messages += removed.messages
            reaction.changed |= removed.changed
        reaction.messages += self._allocation.tick(now)
        reaction.messages += self._put_back.late()
        reaction.messages += self._fragments.tick(self.flows, now, most)
        reaction.events += self.watch_pools(now)
        return reaction, more or count == most or self._put_back.has_more

    def retire(self) -> list[Message]:
        return self._allocation.retire()

    # ---------------------------------------------------------------- what is asked of the switch

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> ConnectionReading:
        self._features = features
        self._fragments.spoils = features.spoils_fragments
        self._allocation.begin_reading()
        return ConnectionReading(self, begins, wiped)

    def adopt_code(self, rule: FlowRule) -> None:
        """Services keep the codes by which the connections in the tracker are known."""
        if found := readback.tracked_service(rule, self._codes.layouts):
            service, code = found
            self._codes.adopt({service: code})

    def doubt(self, flow: Binding, now: float) -> Reaction:
        """It was there when the controller ended."""
        if self._connections.of(flow):
            self._connections.ask_soon(flow, now)
            return Reaction()
        return self.removed([self.edge.apply(flow, FlowEvent.ALL_IDLE, now)])

    def put_back(self, flow: Binding, groups: Groups) -> Sequence[Message]:
        if service := groups.service(flow.key.destination):
            self._codes.give(service)
        return [*self._put_back.connections_of(flow)]

    def forget_flows(self) -> None:
        super().forget_flows()
        self._know_no_connections()

    def remember(self, flows: Iterable[KeptFlow], groups: Groups, to_epoch: float, now: float) -> int:
        known = list(flows)
        count = super().remember(known, groups, to_epoch, now)
        for flow in known:
            if binding := self.flows.by_number(flow.number):
                self._connections.remembered(binding, flow.connections)
        return count

    def kept_connections(self, flow: Binding) -> Iterable[KeptConnection]:
        for ends, inward in self._connections.of(flow):
            if inward or has_several(flow):
                yield KeptConnection(flow.number, *ends, inward)

    def end_reading(self) -> None:
        self.flow_record.settle()

    def begin_sweep(self, now: float) -> Sweep | None:
        return self._allocation.begin_sweep(now)

    @property
    def audit(self) -> FlowAudit:
        return self._audit
