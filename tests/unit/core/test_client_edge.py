"""ClientEdge, one class per state of a flow (M13–M20)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import Drop
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, AnycastGroup, FlowKey, Prefix, Server, ServerState, packed
from anycast_sdn.core.roles import ClientEdgeRole, Expiry, Pooling
from anycast_sdn.core.transitions import Do, FlowEvent

H, ANY, AS2, AS3, STRANGER = map(packed, ("10.1.0.10", "198.18.0.1", "10.2.0.10", "10.3.0.10", "10.9.0.9"))
KEY = FlowKey(H, ANY, UDP, 40000, 53)
ROLE = ClientEdgeRole(
    (Prefix.parse("203.0.113.0/29"),),
    (Prefix.parse("198.18.0.0/16"),),
    quarantine_s=10,
    pooling=Pooling.FLOW,
    bindings_per_client=7,
    bindings_per_port=7,
)


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
    return edge.addresses.use(now)["ipv4"]


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

    @pytest.mark.parametrize("inactive", [groups(), groups(AS2, state=ServerState.DRAINING)], ids=["empty", "draining"])
    def test_a_packet_to_a_group_without_active_servers_is_dropped(self, edge, inactive):
        assert edge.client_packet(KEY, inactive, 0) == Decision(Do.DROP, drop=Drop.NO_SERVICE)
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
        to_a_free_address = FlowKey(AS2, packed("203.0.113.3"), UDP, 53, 40000)
        assert edge.reply(to_a_free_address, WEB) == Decision(Do.DROP, drop=Drop.NO_BINDING)

    def test_a_report_about_a_rule_changes_nothing(self, edge):
        assert edge.rule_removed(99, Half.OUT, State.PINNED, False, 0) == Decision(Do.KEEP)


class TestUnanswered:
    def test_another_packet_keeps_pr1x_and_installs_no_rule_that_the_switch_has(self, edge):
        binding = made(edge)
        assert edge.client_packet(KEY, WEB, 1) == Decision(Do.SEND_OUT, binding, Half.NONE)
        assert use(edge).leased == 1

    def test_the_first_reply_of_any_server_of_the_group_pins(self, edge):
        binding = made(edge)
        decision = edge.reply(reply(binding, AS3), WEB, 0.5)
        assert decision == Decision(Do.PIN, binding._replace(server=AS3, installed=Half.BOTH, reply_s=0.5), Half.BOTH)
        assert edge.bindings.pinned_to(AS3) == 1

    def test_a_draining_server_may_pin(self, edge):
        binding = made(edge)
        assert edge.reply(reply(binding), groups(AS2, state=ServerState.DRAINING)).do is Do.PIN

    @pytest.mark.parametrize(
        "changed",
        [{"source": STRANGER}, {"source_port": 54}, {"destination_port": 40001}, {"protocol": TCP}],
        ids=lambda changed: next(iter(changed)),
    )
    def test_a_reply_with_another_source_port_or_protocol_is_dropped(self, edge, changed):
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
    def test_a_clients_packet_installs_the_outward_rule_again(self, edge):
        binding = pinned(edge)
        edge.rule_removed(binding.number, Half.OUT, State.PINNED, False, 300)
        assert edge.client_packet(KEY, WEB, 301) == Decision(Do.SEND_OUT, binding, Half.OUT)

    def test_a_packet_of_its_server_installs_the_inward_rule_again(self, edge):
        binding = pinned(edge)
        edge.rule_removed(binding.number, Half.IN, State.PINNED, False, 300)
        assert edge.reply(reply(binding), WEB) == Decision(Do.SEND_IN, binding, Half.IN)

    def test_a_reply_of_another_server_is_dropped(self, edge):
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
    """A TCP connection of which FIN or RST was seen."""

    TCP_KEY = FlowKey(H, ANY, TCP, 40000, 80)

    def ended(self, edge: ClientEdge, *ends: Half, reset: bool = False, now: float = 100.0) -> Binding:
        binding = pinned(edge, self.TCP_KEY)
        for half in ends:
            edge.tcp_end(binding.number, half, reset, now)
        found = edge.bindings.by_number(binding.number)
        assert found is not None
        return found

    def packet(self, edge: ClientEdge, now: float, *, syn: bool = False) -> Decision:
        return edge.client_packet(self.TCP_KEY, WEB, now, syn=syn)

    def test_it_has_the_short_validity_of_a_closing_connection(self, edge):
        binding = self.ended(edge, Half.IN)
        assert binding.closing
        assert edge.validity_s(binding) == ROLE.validity.tcp_closing_s

    def test_its_rules_get_that_validity_a_little_later(self, edge):
        binding = self.ended(edge, Half.IN)
        assert edge.end_due(105.9, 9) == []
        assert edge.end_due(106, 9) == [Decision(Do.SHORTEN, binding, Half.BOTH)]
        assert edge.end_due(900, 9) == []

    @pytest.mark.parametrize("expiry", list(Expiry))
    def test_its_rules_get_a_short_timeout_once_the_other_side_has_closed_too(self, expiry):
        edge = ClientEdge(replace(ROLE, expiry=expiry, idle_timeouts=0), random.Random(1))
        binding = self.ended(edge, Half.IN)
        decision = edge.tcp_end(binding.number, Half.OUT, False, 103)
        assert (decision.do, decision.put, decision.binding.swept) == (Do.SHORTEN, Half.BOTH, False)
        assert edge.bindings.swept == 0
        assert edge.validity_s(decision.binding) == ROLE.validity.tcp_closed_s
        assert edge.end_due(1000, 9) == []
        for half in Half.BOTH.parts:
            edge.rule_removed(binding.number, half, State.PINNED, False, 108)
        assert (use(edge, 108).leased, use(edge, 108).resting) == (0, 1)

    def test_a_second_fin_in_the_same_direction_changes_nothing(self, edge):
        binding = self.ended(edge, Half.IN)
        assert edge.tcp_end(binding.number, Half.IN, False, 103) == Decision(Do.KEEP, binding)
        assert [decision.do for decision in edge.end_due(106, 9)] == [Do.SHORTEN]

    @pytest.mark.parametrize("half", [Half.OUT, Half.IN])
    def test_the_address_of_a_reset_connection_is_leased_to_another_flow_within_5_s(self, edge, half):
        binding = self.ended(edge, half, reset=True)
        others = [made(edge, KEY._replace(source_port=port)) for port in range(5)]
        assert [decision.do for decision in edge.end_due(101, 9)] == [Do.RELEASE]
        assert edge.client_packet(KEY, WEB, 102).drop is Drop.POOL_EMPTY
        assert made(edge, KEY, 105).translated == binding.translated
        assert binding.translated not in {other.translated for other in others}

    def test_no_address_is_leased_early_while_others_are_free(self, edge):
        binding = self.ended(edge, Half.OUT, reset=True)
        edge.end_due(101, 9)
        others = [made(edge, KEY._replace(source_port=port), 109) for port in range(5)]
        assert binding.translated not in {other.translated for other in others}

    def test_at_most_the_given_number_of_connections_ends_in_one_call(self, edge):
        bindings = [pinned(edge, self.TCP_KEY._replace(source_port=port)) for port in range(5)]
        for binding in bindings:
            edge.tcp_end(binding.number, Half.IN, True, 100)
        assert [len(edge.end_due(101, 2)) for _ in range(4)] == [2, 2, 1, 0]

    @pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
    def test_a_syn_clears_fin_and_rst_and_installs_the_rules_again(self, edge, reset):
        binding = self.ended(edge, Half.IN, Half.OUT, reset=reset)
        fresh = binding._replace(closed=Half.NONE, reset=False)
        assert self.packet(edge, 100.5, syn=True) == Decision(Do.RENEW, fresh, Half.BOTH)
        assert edge.validity_s(fresh) == ROLE.validity.tcp_s
        # Once more, because the switch may process the FIN late, and shorten the new rule's timeout.
        assert edge.end_due(102.5, 9) == [Decision(Do.PUT_AGAIN, fresh, Half.BOTH)]
        assert edge.end_due(1000, 9) == []

    @pytest.mark.parametrize("closes_again", [False, True])
    def test_a_report_about_the_old_rules_that_crosses_the_new_ones_changes_nothing(self, edge, closes_again):
        binding = self.ended(edge, Half.IN, Half.OUT)
        renewed = self.packet(edge, 105, syn=True).binding
        if closes_again:
            renewed = edge.tcp_end(binding.number, Half.IN, False, 105.1).binding
        for half in (Half.IN, Half.OUT):
            assert edge.rule_removed(binding.number, half, State.PINNED, False, 105.2) == Decision(Do.KEEP, renewed)
        left = edge.rule_removed(binding.number, Half.IN, State.PINNED, False, 112).binding
        assert left.installed is Half.OUT

    def test_a_retransmitted_syn_installs_nothing(self, edge):
        binding = pinned(edge, self.TCP_KEY)
        assert self.packet(edge, 1, syn=True) == Decision(Do.RENEW, binding, Half.NONE)

    @pytest.mark.parametrize("from_server", [False, True], ids=["from the client", "from the server"])
    def test_a_packet_while_its_address_rests_restores_it(self, edge, from_server):
        binding = self.ended(edge, Half.IN, reset=True)
        edge.end_due(101, 9)
        reply = FlowKey(AS2, binding.translated, TCP, 80, 40000)
        decision = edge.reply(reply, groups(AS3), 110) if from_server else self.packet(edge, 110)
        restored = binding._replace(number=binding.number + 1, reset=False)
        assert decision == Decision(Do.REVIVE, restored, Half.BOTH)
        assert (use(edge, 110).leased, use(edge, 110).resting) == (1, 0)
        assert edge.bindings.pinned_to(AS2) == 1
        assert edge.validity_s(decision.binding) == ROLE.validity.tcp_s

    def test_a_late_packet_of_a_connection_that_both_sides_have_closed_restores_it_for_a_short_time(self, edge):
        binding = self.ended(edge, Half.IN, Half.OUT)
        edge.apply(binding, FlowEvent.ALL_IDLE, 105)
        decision = self.packet(edge, 106)
        assert decision.do is Do.REVIVE
        assert edge.validity_s(decision.binding) == ROLE.validity.tcp_closed_s

    def test_a_syn_while_its_address_rests_gets_another_address(self, edge):
        binding = self.ended(edge, Half.IN, reset=True)
        edge.end_due(101, 9)
        decision = self.packet(edge, 102, syn=True)
        assert decision.do is Do.LEASE
        assert decision.binding.translated != binding.translated
        late = FlowKey(AS2, binding.translated, TCP, 80, 40000)
        assert edge.reply(late, WEB, 103).drop is Drop.NO_BINDING

    def test_a_reply_of_another_server_or_port_does_not_restore_it(self, edge):
        binding = self.ended(edge, Half.IN, reset=True)
        edge.end_due(101, 9)
        assert edge.reply(FlowKey(AS3, binding.translated, TCP, 80, 40000), WEB, 102).drop is Drop.NO_BINDING
        assert edge.reply(FlowKey(AS2, binding.translated, TCP, 80, 40001), WEB, 102).drop is Drop.NO_BINDING

    def test_after_the_quarantine_nothing_is_remembered(self, edge):
        self.ended(edge, Half.IN, reset=True)
        edge.end_due(101, 9)
        assert self.packet(edge, 111).do is Do.LEASE

    def test_a_reset_before_any_server_has_answered_releases_the_address(self, edge):
        binding = made(edge, self.TCP_KEY)
        edge.tcp_end(binding.number, Half.OUT, True, 1)
        assert [decision.do for decision in edge.end_due(2, 9)] == [Do.RELEASE]

    def test_fin_is_ignored_in_other_protocols_than_tcp(self, edge):
        binding = pinned(edge)
        edge.tcp_end(binding.number, Half.IN, False, 100)
        assert not edge.bindings.by_number(binding.number).closing
        assert edge.end_due(200, 9) == []


class TestMissingRules:
    """Rules that the switch has refused or lost."""

    def test_the_address_of_a_flow_whose_first_rule_was_refused_needs_no_quarantine(self, edge):
        binding = made(edge)
        edge.apply(binding, FlowEvent.REFUSED, 1)
        assert use(edge, 1).free == 6

    def test_the_address_of_a_rule_that_no_packet_has_met_needs_no_quarantine(self, edge):
        binding = made(edge)
        edge.rule_removed(binding.number, Half.OUT, State.UNANSWERED, True, 30)
        assert use(edge, 30).free == 6

    def test_the_address_of_a_pinned_flow_whose_rule_is_refused_rests(self, edge):
        edge.apply(pinned(edge), FlowEvent.REFUSED, 1)
        assert (use(edge, 1).resting, use(edge, 1).free) == (1, 5)

    def test_a_packet_that_comes_back_gets_its_rules_again_once_a_second(self, edge):
        binding = pinned(edge)
        again = Decision(Do.PUT_AGAIN, binding, Half.BOTH)
        assert edge.missed(KEY, 10) == again
        assert edge.missed(reply(binding), 10.9) == Decision(Do.DROP, binding, drop=Drop.LOOPED)
        assert edge.missed(reply(binding), 11.1) == again

    def test_a_packet_without_binding_that_comes_back_is_dropped(self, edge):
        assert edge.missed(KEY, 10) == Decision(Do.DROP, drop=Drop.LOOPED)


class TestShares:
    """How much of the pool one client, and one host port, may have."""

    def edge(self, length: int = 24, ports: int = 2, **changes: int) -> ClientEdge:
        pools = (Prefix.parse(f"203.0.0.0/{length}"), Prefix.parse("2001:db8:1:f::/64"))
        changes = {"bindings_per_client": None, "bindings_per_port": None} | changes
        role = replace(ROLE, translation_prefixes=pools, **changes)
        return ClientEdge(role, random.Random(1), ports=ports)

    def until_refused(self, edge: ClientEdge, clients: int, port: int) -> tuple[int, Drop | None]:
        made = 0
        for number in range(70_000):
            client = (0x0A010000 + number % clients).to_bytes(4, "big")
            decision = edge.client_packet(FlowKey(client, ANY, UDP, number // clients, 53), WEB, 0, port=port)
            if decision.drop:
                return made, decision.drop
            made += 1
        return made, None

    def test_one_client_gets_a_quarter_of_the_pool(self):
        assert self.until_refused(self.edge(), 1, 1) == (64, Drop.CLIENT_FULL)

    def test_one_client_gets_16384_at_the_most(self):
        assert self.until_refused(self.edge(length=15), 1, 1) == (1 << 14, Drop.CLIENT_FULL)

    def test_the_clients_at_one_port_get_half_of_the_pool(self):
        edge = self.edge()
        assert self.until_refused(edge, 100, 1) == (127, Drop.PORT_FULL)
        assert edge.client_packet(FlowKey(H, ANY, UDP, 60000, 53), WEB, 0, port=2).do is Do.LEASE

    def test_the_clients_at_the_only_port_get_the_whole_pool(self):
        assert self.until_refused(self.edge(ports=1), 100, 1) in ((254, Drop.PORT_FULL), (254, Drop.POOL_EMPTY))

    def test_ended_bindings_do_not_count(self):
        edge = self.edge(bindings_per_port=1)
        binding = edge.client_packet(KEY, WEB, 0, port=1).binding
        assert edge.client_packet(KEY._replace(source_port=1), WEB, 0, port=1).drop is Drop.PORT_FULL
        edge.apply(binding, FlowEvent.ALL_IDLE, 1)
        assert edge.client_packet(KEY._replace(source_port=1), WEB, 1, port=1).do is Do.LEASE


class TestAnOperatorEndsAFlow:
    def test_no_packet_restores_it_nor_an_older_connection_of_the_same_ports(self, edge):
        """The older one has ended by itself, and was remembered."""
        key = KEY._replace(protocol=TCP)
        edge.apply(pinned(edge, key), FlowEvent.ALL_IDLE, 1)
        binding = edge.client_packet(key, WEB, 2, syn=True).binding
        edge.apply(binding, FlowEvent.ENDED, 3)
        decision = edge.client_packet(key, WEB, 4)
        assert (decision.do, decision.binding.server) == (Do.LEASE, None)


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

    def test_flows_that_shared_an_address_share_it_again(self, edge):
        """Also when flows do not share any more: what is bound stays bound."""
        other = self.FOUND._replace(number=18, key=KEY._replace(source_port=1))
        edge.adopt(self.FOUND)
        edge.adopt(other)
        assert list(edge.bindings) == [self.FOUND, other]
        assert use(edge).leased == 1

    def test_bindings_of_two_clients_with_one_address_are_refused(self, edge):
        edge.adopt(self.FOUND)
        with pytest.raises(ValueError, match="another pair's"):
            edge.adopt(self.FOUND._replace(number=18, key=KEY._replace(source=packed("10.1.0.11"))))
        assert list(edge.bindings) == [self.FOUND]
