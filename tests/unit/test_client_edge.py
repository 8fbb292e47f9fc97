"""ClientEdge, one class per state of a flow, and the table that decides (M13–M20)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.client_edge import TRANSITIONS, ClientEdge, Decision, Do, Drop, Event
from anycast_sdn.core.model import (
    TCP,
    UDP,
    AnycastGroup,
    ClientEdgeRole,
    FlowKey,
    Groups,
    Prefix,
    Server,
    ServerState,
    Validity,
    packed,
)

H, ANY, AS2, AS3, STRANGER = map(packed, ("10.1.0.10", "198.18.0.1", "10.2.0.10", "10.3.0.10", "10.9.0.9"))
KEY = FlowKey(H, ANY, UDP, 40000, 53)
ROLE = ClientEdgeRole((Prefix.parse("203.0.113.0/29"),), (Prefix.parse("198.18.0.0/16"),), Validity(), 10)


def groups(*servers: bytes, state: ServerState = ServerState.ACTIVE) -> Groups:
    members = {address: Server(address, state=state) for address in servers}
    return Groups({"web": AnycastGroup("web", (Prefix.host(ANY),), members)})


WEB = groups(AS2, AS3)


def reply(binding: Binding, source: bytes = AS2) -> FlowKey:
    """The five fields of a reply on the wire."""
    return FlowKey(source, binding.translated, UDP, 53, 40000)


def made(edge: ClientEdge, key: FlowKey = KEY, now: float = 0.0) -> Binding:
    binding = edge.client_packet(key, WEB, now).binding
    assert binding is not None
    return binding


def pinned(edge: ClientEdge, key: FlowKey = KEY) -> Binding:
    binding = made(edge, key)
    source = FlowKey(AS2, binding.translated, key.protocol, key.destination_port, key.source_port)
    found = edge.reply(source, WEB).binding
    assert found is not None
    return found


@pytest.fixture
def edge() -> ClientEdge:
    return ClientEdge(ROLE, random.Random(1))


def use(edge: ClientEdge, now: float = 0.0):
    return edge.pool_use(now)["ipv4"]


class TestNone:
    def test_a_clients_packet_leases_an_address_and_goes_on(self, edge):
        decision = edge.client_packet(KEY, WEB, now=7.0)
        binding = decision.binding
        assert decision == Decision(Do.LEASE, binding, Half.OUT)
        assert (binding.key, binding.group, binding.since, binding.server) == (KEY, "web", 7.0, None)
        assert binding.translated in ROLE.translation_prefixes[0]
        assert binding.state is State.UNANSWERED

    def test_a_packet_to_an_address_without_a_group_is_dropped(self, edge):
        other = KEY._replace(destination=packed("198.18.0.2"))
        assert edge.client_packet(other, WEB, 0) == Decision(Do.DROP, drop=Drop.NO_SERVICE)
        assert use(edge).leased == 0

    @pytest.mark.parametrize("nobody", [groups(), groups(AS2, state=ServerState.DRAINING)], ids=["empty", "draining"])
    def test_a_packet_to_a_group_without_active_servers_is_dropped(self, edge, nobody):
        assert edge.client_packet(KEY, nobody, 0) == Decision(Do.DROP, drop=Drop.NO_SERVICE)
        assert use(edge).leased == 0

    def test_a_packet_is_dropped_when_the_pool_is_empty(self, edge):
        for port in range(6):
            made(edge, KEY._replace(source_port=port))
        assert edge.client_packet(KEY, WEB, 0) == Decision(Do.DROP, drop=Drop.POOL_EMPTY)
        assert len(edge.bindings) == 6

    def test_a_packet_of_a_family_without_translation_prefix_is_dropped(self, edge):
        any6 = packed("2001:db8:a::1")
        web = Groups({"web": AnycastGroup("web", (Prefix.host(any6),), {AS2: Server(AS2)})})
        key = FlowKey(packed("2001:db8:1::10"), any6, UDP, 1, 2)
        assert edge.client_packet(key, web, 0) == Decision(Do.DROP, drop=Drop.POOL_EMPTY)

    def test_a_packet_of_a_client_with_too_many_flows_is_dropped(self):
        edge = ClientEdge(replace(ROLE, bindings_per_client=2), random.Random(1))
        for port in range(2):
            made(edge, KEY._replace(source_port=port))
        assert edge.client_packet(KEY, WEB, 0) == Decision(Do.DROP, drop=Drop.CLIENT_FULL)
        assert edge.client_packet(KEY._replace(source=packed("10.1.0.11")), WEB, 0).do is Do.LEASE

    def test_a_reply_is_dropped(self, edge):
        to_nobody = FlowKey(AS2, packed("203.0.113.3"), UDP, 53, 40000)
        assert edge.reply(to_nobody, WEB) == Decision(Do.DROP, drop=Drop.NO_BINDING)

    def test_a_report_about_a_rule_changes_nothing(self, edge):
        assert edge.rule_removed(99, Half.OUT, State.PINNED, False, 0) == Decision(Do.KEEP)


class TestUnanswered:
    def test_another_packet_keeps_pr1x_and_puts_the_rule_again(self, edge):
        binding = made(edge)
        assert edge.client_packet(KEY, WEB, 1) == Decision(Do.SEND_OUT, binding, Half.OUT)
        assert use(edge).leased == 1

    def test_the_first_reply_of_any_server_of_the_group_pins(self, edge):
        binding = made(edge)
        decision = edge.reply(reply(binding, AS3), WEB)
        assert decision == Decision(Do.PIN, binding._replace(server=AS3, installed=Half.BOTH), Half.BOTH)
        assert edge.bindings.pinned_to(AS3) == 1

    def test_a_draining_server_may_pin(self, edge):
        binding = made(edge)
        assert edge.reply(reply(binding), groups(AS2, state=ServerState.DRAINING)).do is Do.PIN

    @pytest.mark.parametrize(
        "changed",
        [{"source": STRANGER}, {"source_port": 54}, {"destination_port": 40001}, {"protocol": TCP}],
        ids=lambda changed: next(iter(changed)),
    )
    def test_a_reply_that_is_not_one_is_dropped(self, edge, changed):
        binding = made(edge)
        assert edge.reply(reply(binding)._replace(**changed), WEB) == Decision(Do.DROP, binding, drop=Drop.STRANGER)
        assert edge.bindings.by_key(KEY) == binding

    def test_a_reply_of_a_server_that_was_removed_is_dropped(self, edge):
        binding = made(edge)
        assert edge.reply(reply(binding), groups(AS3)).drop is Drop.STRANGER

    def test_it_ends_when_its_rule_is_idle(self, edge):
        binding = made(edge)
        assert edge.rule_removed(binding.number, Half.OUT, State.UNANSWERED, False, 30) == Decision(Do.RELEASE, binding)
        assert edge.bindings.by_key(KEY) is None
        assert (use(edge, 30).leased, use(edge, 30).resting, use(edge, 40).resting) == (0, 1, 0)

    def test_a_report_about_a_rule_of_another_state_changes_nothing(self, edge):
        binding = made(edge)
        assert edge.rule_removed(binding.number, Half.OUT, State.PINNED, False, 30) == Decision(Do.KEEP, binding)
        assert edge.bindings.by_key(KEY) == binding

    def test_it_has_a_short_validity(self, edge):
        assert edge.validity_s(made(edge)) == ROLE.validity.unanswered_s


class TestPinned:
    def test_a_clients_packet_puts_the_outward_rule_back(self, edge):
        binding = pinned(edge)
        edge.rule_removed(binding.number, Half.OUT, State.PINNED, False, 300)
        assert edge.client_packet(KEY, WEB, 301) == Decision(Do.SEND_OUT, binding, Half.OUT)

    def test_its_servers_packet_puts_the_inward_rule_back(self, edge):
        binding = pinned(edge)
        edge.rule_removed(binding.number, Half.IN, State.PINNED, False, 300)
        assert edge.reply(reply(binding), WEB) == Decision(Do.SEND_IN, binding, Half.IN)

    def test_another_server_is_a_stranger(self, edge):
        binding = pinned(edge)
        assert edge.reply(reply(binding, AS3), WEB) == Decision(Do.DROP, binding, drop=Drop.STRANGER)

    @pytest.mark.parametrize("later", [groups(AS3), Groups({})], ids=["server removed", "group removed"])
    def test_it_keeps_its_server_whatever_happens_to_the_group(self, edge, later):
        binding = pinned(edge)
        assert edge.client_packet(KEY, later, 1).binding == binding
        assert edge.reply(reply(binding), later).do is Do.SEND_IN

    @pytest.mark.parametrize("half", [Half.OUT, Half.IN])
    def test_one_idle_half_keeps_it_whole(self, edge, half):
        binding = pinned(edge)
        decision = edge.rule_removed(binding.number, half, State.PINNED, False, 300)
        assert decision == Decision(Do.KEEP, binding._replace(installed=Half.BOTH & ~half))
        assert use(edge, 300).leased == 1

    @pytest.mark.parametrize("order", [(Half.OUT, Half.IN), (Half.IN, Half.OUT)])
    def test_two_idle_halves_end_it(self, edge, order):
        binding = pinned(edge)
        edge.rule_removed(binding.number, order[0], State.PINNED, False, 300)
        decision = edge.rule_removed(binding.number, order[1], State.PINNED, False, 301)
        assert decision.do is Do.RELEASE
        assert len(edge.bindings) == 0
        assert edge.bindings.pinned_servers() == set()
        assert use(edge, 301).resting == 1

    def test_a_report_about_the_rule_from_before_the_pin_changes_nothing(self, edge):
        binding = pinned(edge)
        assert edge.rule_removed(binding.number, Half.OUT, State.UNANSWERED, False, 30) == Decision(Do.KEEP, binding)

    @pytest.mark.parametrize(("protocol", "validity"), [(TCP, 7440), (UDP, 300), (1, 60), (47, 300)])
    def test_it_has_its_protocols_validity(self, edge, protocol, validity):
        assert edge.validity_s(pinned(edge, KEY._replace(protocol=protocol))) == validity


class TestClosing:
    """A TCP connection of which one direction has seen FIN or RST."""

    TCP_KEY = FlowKey(H, ANY, TCP, 40000, 80)

    def closed(self, edge: ClientEdge, half: Half = Half.IN, now: float = 100.0) -> Binding:
        binding = pinned(edge, self.TCP_KEY)
        edge.rule_removed(binding.number, half, State.PINNED, True, now)
        found = edge.bindings.by_number(binding.number)
        assert found is not None
        return found

    def test_it_has_the_short_validity_of_a_closing_connection(self, edge):
        binding = self.closed(edge)
        assert binding.closing
        assert edge.validity_s(binding) == ROLE.validity.tcp_closing_s

    def test_the_other_half_is_put_with_that_validity_a_little_later(self, edge):
        binding = self.closed(edge)
        assert list(edge.closing(105.9)) == []
        assert list(edge.closing(106)) == [Decision(Do.KEEP, binding, Half.OUT)]
        assert list(edge.closing(200)) == []

    def test_nothing_is_put_when_the_other_side_closed_meanwhile(self, edge):
        binding = self.closed(edge)
        edge.rule_removed(binding.number, Half.OUT, State.PINNED, True, 103)
        assert list(edge.closing(106)) == []

    def test_a_flow_of_another_protocol_does_not_close(self, edge):
        binding = pinned(edge)
        edge.rule_removed(binding.number, Half.IN, State.PINNED, True, 100)
        assert not edge.bindings.by_number(binding.number).closing
        assert list(edge.closing(200)) == []


class TestAdopting:
    """A binding that was found on the switch after a restart."""

    FOUND = Binding(17, KEY, packed("203.0.113.3"), "web", 0, AS2, Half.OUT)

    def test_it_goes_on_as_it_was(self, edge):
        edge.adopt(self.FOUND)
        assert edge.client_packet(KEY, WEB, 1).binding == self.FOUND
        assert edge.reply(reply(self.FOUND), WEB).do is Do.SEND_IN

    def test_its_address_and_number_are_taken(self, edge):
        edge.adopt(self.FOUND)
        others = [made(edge, KEY._replace(source_port=port)) for port in range(5)]
        assert self.FOUND.translated not in {binding.translated for binding in others}
        assert min(binding.number for binding in others) > 17
        assert edge.client_packet(KEY._replace(source_port=9), WEB, 0).drop is Drop.POOL_EMPTY

    @pytest.mark.parametrize("address", ["203.0.113.8", "192.0.2.1", "2001:db8::1"])
    def test_an_address_outside_the_pool_is_refused(self, edge, address):
        with pytest.raises(ValueError, match=r"not in the pool|no translation prefix"):
            edge.adopt(self.FOUND._replace(translated=packed(address)))
        assert len(edge.bindings) == 0

    def test_two_bindings_with_one_address_are_refused(self, edge):
        edge.adopt(self.FOUND)
        with pytest.raises(ValueError, match="leased already"):
            edge.adopt(self.FOUND._replace(number=18, key=KEY._replace(source_port=1)))
        assert list(edge.bindings) == [self.FOUND]


class TestTransitions:
    def test_every_state_is_in_the_table(self):
        assert set(TRANSITIONS) == set(State)

    def test_every_event_and_every_deed_is_in_the_table(self):
        assert {event for events in TRANSITIONS.values() for event in events} == set(Event)
        assert {do for events in TRANSITIONS.values() for _, do in events.values()} == set(Do)

    def test_a_flow_never_goes_back_from_pinned_to_unanswered(self):
        assert State.UNANSWERED not in {state for state, _ in TRANSITIONS[State.PINNED].values()}

    def test_only_a_release_ends_a_flow(self):
        for state, events in TRANSITIONS.items():
            for following, do in events.values():
                assert (following is State.NONE) is (do is Do.RELEASE or (state is State.NONE and do is Do.DROP))

    def test_a_dropped_packet_changes_no_state(self):
        drops = [(state, to) for state, events in TRANSITIONS.items() for to, do in events.values() if do is Do.DROP]
        assert all(state is to for state, to in drops)
