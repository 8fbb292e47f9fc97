"""A binding's life: in any order of events the table decides, and all indexes and counts agree."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.roles import ClientEdgeRole, Expiry, Pooling, Validity
from anycast_sdn.core.transitions import NO_DETAILS, RELEASES, TRANSITIONS, Details, Do, FlowEvent

ANY, AS2, AS3, STRANGER = map(packed, ("198.18.0.1", "10.2.0.10", "10.3.0.10", "10.9.0.9"))
CLIENTS = packed("10.1.0.10"), packed("10.1.0.11")
WEB = Groups({"web": AnycastGroup("web", (Prefix.host(ANY),), {AS2: Server(AS2), AS3: Server(AS3)})})
ROLE = ClientEdgeRole(
    (Prefix.parse("203.0.113.0/29"),),
    (Prefix.parse("198.18.0.0/16"),),
    validity=Validity(tcp_s=9, tcp_closing_s=5, tcp_closed_s=1, udp_s=6, unanswered_s=2),
    quarantine_s=4,
    expiry=Expiry.AUTO,
    idle_timeouts=2,
    bindings_per_client=5,
    bindings_per_port=5,
)
# Events without details.
BARE = [event for event in FlowEvent if event not in TRANSITIONS[State.NONE] and event is not FlowEvent.MEMBER_REPLY]


def test_every_state_is_in_the_table():
    assert set(TRANSITIONS) == set(State)


def test_every_event_and_every_action_is_in_the_table():
    assert {event for events in TRANSITIONS.values() for event in events} == set(FlowEvent)
    assert {do for events in TRANSITIONS.values() for _, do in events.values()} == set(Do)


def test_a_flow_goes_back_from_pinned_to_unanswered_only_when_its_server_is_lost():
    pinned = TRANSITIONS[State.PINNED].items()
    assert [event for event, (state, _) in pinned if state is State.UNANSWERED] == [FlowEvent.SERVER_LOST]


def test_only_a_release_ends_a_flow():
    for state, events in TRANSITIONS.items():
        for following, do in events.values():
            stays = state is State.NONE and do in (Do.DROP, Do.RESET)
            assert (following is State.NONE) is (do in RELEASES or stays)


def test_a_dropped_packet_changes_no_state():
    drops = [(state, to) for state, events in TRANSITIONS.items() for to, do in events.values() if do is Do.DROP]
    assert all(state is to for state, to in drops)


class WatchedEdge(ClientEdge):
    """Every event that reaches a binding is compared with the table."""

    def apply(
        self, binding: Binding, event: FlowEvent, now: float, details: Details = NO_DETAILS
    ) -> Decision:
        state, before = self.state_of(binding), self.everything(now)
        decision = super().apply(binding, event, now, details)
        following, do = TRANSITIONS[state].get(event, (state, Do.KEEP))
        assert (self.state_of(binding), decision.do) == (following, do)
        if event not in TRANSITIONS[state] or do is Do.DROP:
            assert self.everything(now) == before
        return decision

    def state_of(self, binding: Binding) -> State:
        found = self.bindings.by_number(binding.number)
        return found.state if found else State.NONE

    def everything(self, now: float) -> object:
        return list(self.bindings), self.addresses.use(now), self._ends.planned


class AnyLife(RuleBasedStateMachine):
    """One client edge with six addresses."""

    POOLING = Pooling.AUTO

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.edge = WatchedEdge(replace(ROLE, pooling=self.POOLING), random.Random(3))
        self.ports: dict[int, int] = {}  # number → the port by which its flow began
        self.ended: list[Binding] = []
        self.alive: dict[int, Binding] = {}

    def any_binding(self, data: st.DataObject) -> Binding:
        return data.draw(st.sampled_from(list(self.edge.bindings)))

    # ---------------------------------------------------------------- what happens

    @rule(
        client=st.sampled_from(CLIENTS),
        number=st.integers(0, 3),
        protocol=st.sampled_from([TCP, UDP]),
        syn=st.booleans(),
        port=st.integers(1, 2),
    )
    def a_client_sends(self, client: bytes, number: int, protocol: int, syn: bool, port: int) -> None:
        known = set(self.alive)
        key = FlowKey(client, ANY, protocol, 40000 + number, 80)
        decision = self.edge.client_packet(key, WEB, self.now, port=port, syn=syn and protocol == TCP)
        if decision.binding and decision.binding.number not in known:
            self.ports[decision.binding.number] = port

    @rule(data=st.data(), server=st.sampled_from([AS2, AS3, STRANGER]), ended=st.booleans())
    def a_reply_comes(self, data: st.DataObject, server: bytes, ended: bool) -> None:
        bindings = self.ended if ended else list(self.edge.bindings)
        if bindings:
            binding = data.draw(st.sampled_from(bindings))
            known, key = set(self.alive), binding.key
            reply = FlowKey(server, binding.translated, key.protocol, key.destination_port, key.source_port)
            decision = self.edge.reply(reply, WEB, self.now)
            if decision.binding and decision.binding.number not in known:
                self.ports[decision.binding.number] = decision.binding.port  # as it was: test_tcp_ends

    @rule(data=st.data(), half=st.sampled_from([Half.OUT, Half.IN]), reset=st.booleans())
    @precondition(lambda self: len(self.edge.bindings))
    def a_connection_ends(self, data: st.DataObject, half: Half, reset: bool) -> None:
        self.edge.tcp_end(self.any_binding(data).number, half, reset, self.now)

    @rule(data=st.data(), unused=st.booleans())
    @precondition(lambda self: len(self.edge.bindings))
    def a_rule_expires(self, data: st.DataObject, unused: bool) -> None:
        binding = self.any_binding(data)
        for half in binding.installed.parts[:1]:
            self.edge.rule_removed(binding.number, half, binding.state, unused, self.now)

    @rule(data=st.data(), moved=st.booleans())
    @precondition(lambda self: len(self.edge.bindings))
    def counters_are_read(self, data: st.DataObject, moved: bool) -> None:
        number = self.any_binding(data).number
        unused = self.edge.sweep.record(False, [(number, int(self.now) if moved else 0)], self.now, self.now)
        self.edge.end_idle(unused, self.now)

    @rule(data=st.data(), server=st.sampled_from([AS2, AS3]))
    def a_server_is_lost(self, data: st.DataObject, server: bytes) -> None:
        numbers = data.draw(st.permutations(self.edge.bindings.of_server(server)))
        others = [binding for binding in self.edge.bindings if binding.server != server]
        for decision in self.edge.lose([*numbers, 99], server, WEB, self.now):
            assert decision.binding
            if decision.do is Do.FREE:
                others.append(decision.binding)
                assert decision.binding._replace(number=0, since=0.0).installed is decision.put is Half.OUT
            else:
                assert (decision.do, decision.binding.key.protocol) == (Do.LOSE, TCP)
        assert sorted(self.edge.bindings) == sorted(others)

    @rule(data=st.data(), event=st.sampled_from(BARE), ended=st.booleans())
    def something_else_happens(self, data: st.DataObject, event: FlowEvent, ended: bool) -> None:
        """Also events that do not fit the state, and events of ended bindings."""
        bindings = self.ended if ended else list(self.edge.bindings)
        if bindings:
            self.edge.apply(data.draw(st.sampled_from(bindings)), event, self.now)

    @rule(data=st.data(), installed=st.sampled_from([Half.OUT, Half.IN, Half.BOTH]))
    @precondition(lambda self: self.edge.bindings.pinned())
    def the_switch_connects_again(self, data: st.DataObject, installed: Half) -> None:
        binding = data.draw(st.sampled_from([binding for binding in self.edge.bindings if binding.server]))
        self.edge.apply(binding, FlowEvent.FOUND_AGAIN, self.now, Details(installed=installed))

    @rule(
        last=st.integers(1, 6),
        number=st.integers(1, 40),
        server=st.sampled_from([None, AS2]),
        closed=st.sampled_from([Half.NONE, Half.OUT, Half.BOTH]),
    )
    def a_binding_is_found_on_the_switch(self, last: int, number: int, server: bytes | None, closed: Half) -> None:
        key = FlowKey(CLIENTS[0], ANY, TCP, 50000 + number, 80)
        address = packed(f"203.0.113.{last}")
        ends = closed if server else Half.NONE
        before = self.edge.everything(self.now)
        try:
            self.edge.adopt(Binding(number, key, address, "web", self.now, server, closed=ends))
        except ValueError:
            assert self.edge.everything(self.now) == before
        else:
            self.ports.pop(number, None)

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0]), most=st.integers(1, 3))
    def time_passes(self, seconds: float, most: int) -> None:
        self.now += seconds
        assert len(self.edge.end_due(self.now, most)) <= most

    # ---------------------------------------------------------------- what holds

    @invariant()
    def note_ended_bindings(self) -> None:
        now = {binding.number: binding for binding in self.edge.bindings}
        self.ended += [binding for number, binding in self.alive.items() if number not in now]
        self.alive = now

    @invariant()
    def an_address_is_leased_exactly_while_it_has_a_binding(self) -> None:
        pairs = {(binding.translated, binding.pair) for binding in self.edge.bindings}
        addresses = {translated for translated, _ in pairs}
        assert len(pairs) == len(addresses) == self.edge.addresses.use(self.now)["ipv4"].leased
        assert len(addresses) <= len(self.edge.bindings)

    @invariant()
    def all_indexes_agree(self) -> None:
        table, bindings = self.edge.bindings, list(self.edge.bindings)
        for binding in bindings:
            assert table.by_number(binding.number) is binding
            assert table.by_key(binding.key) is binding
            reply = binding.key.reverse._replace(source=AS2, destination=binding.translated)
            assert table.by_reply(reply) is binding
            assert table.by_reply(reply._replace(source_port=9)) is None
        assert table.numbers_after(0, 100) == sorted(binding.number for binding in bindings)

    @invariant()
    def all_counts_agree(self) -> None:
        table, bindings = self.edge.bindings, list(self.edge.bindings)
        assert table.rules == sum(len(binding.installed.parts) for binding in bindings)
        assert table.swept == sum(binding.swept for binding in bindings)
        servers = Counter(binding.server for binding in bindings if binding.server)
        assert table.pinned() == servers.total()
        assert table.pinned_servers() == set(servers)
        assert [table.pinned_to(server) for server in (AS2, AS3)] == [servers[AS2], servers[AS3]]
        clients = Counter(binding.key.source for binding in bindings)
        assert [table.of_client(client) for client in CLIENTS] == [clients[client] for client in CLIENTS]
        for client in CLIENTS:
            addresses = {binding.translated for binding in bindings if binding.key.source == client}
            assert table.holders.of_client(client) == len(addresses)
        ports = Counter(self.ports.get(binding.number) for binding in bindings)
        assert [table.of_port(port, False) for port in (1, 2)] == [ports[1], ports[2]]

    @invariant()
    def a_pinned_flow_stays_with_a_server_of_its_group(self) -> None:
        assert {binding.server for binding in self.edge.bindings} <= {None, AS2, AS3}


class AnyLifeOneFlowPerAddress(AnyLife):
    POOLING = Pooling.FLOW


class AnyLifePaired(AnyLife):
    POOLING = Pooling.PAIRED


TestAnyLife = AnyLife.TestCase
TestAnyLifeOneFlowPerAddress = AnyLifeOneFlowPerAddress.TestCase
TestAnyLifePaired = AnyLifePaired.TestCase
for _test in (TestAnyLife, TestAnyLifeOneFlowPerAddress, TestAnyLifePaired):
    _test.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)
