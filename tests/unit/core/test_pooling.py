"""How many flows a translation address carries (M13, M30)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import Drop
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, TCP, UDP, Address, AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.roles import ClientEdgeRole, Pooling
from anycast_sdn.core.transitions import Do, FlowEvent

ANY, DNS, AS2, AS3 = map(packed, ("198.18.0.1", "198.18.0.53", "10.2.0.10", "10.3.0.10"))
WEB = Groups({
    "web": AnycastGroup("web", (Prefix.host(ANY),), {AS2: Server(AS2), AS3: Server(AS3)}),
    "dns": AnycastGroup("dns", (Prefix.host(DNS),), {AS3: Server(AS3)}),
})  # fmt: skip


def client_edge(pooling: Pooling, length: int = 24, ports: int = 1) -> ClientEdge:
    pools = (Prefix.parse(f"203.0.0.0/{length}"), Prefix.parse("2001:db8:1:f::/64"))
    role = ClientEdgeRole(pools, (Prefix.parse("198.18.0.0/16"),), pooling=pooling)
    return ClientEdge(role, random.Random(1), ports=ports)


def client(number: int) -> Address:
    return (0x0A010000 + number).to_bytes(4, "big")


def packet(
    edge: ClientEdge, port: int, sender: int = 1, *, service: Address = ANY, protocol: int = UDP, now: float = 0
) -> Decision:
    return edge.client_packet(FlowKey(client(sender), service, protocol, port, 53), WEB, now, port=1)


def flow(edge: ClientEdge, port: int, sender: int = 1, **details: Any) -> Binding:
    binding = packet(edge, port, sender, **details).binding
    assert binding is not None
    return binding


def answer(edge: ClientEdge, binding: Binding, server: Address, now: float = 0) -> Decision:
    return edge.reply(binding.key.reverse._replace(source=server, destination=binding.translated), WEB, now)


def use(edge: ClientEdge, now: float = 0) -> PoolUse:
    return edge.addresses.use(now)["ipv4"]


@pytest.fixture
def paired() -> ClientEdge:
    return client_edge(Pooling.PAIRED)


def test_paired_flows_of_one_client_to_one_service_have_one_address(paired):
    bindings = [flow(paired, port) for port in range(100)]
    assert len({binding.translated for binding in bindings}) == 1
    assert len({binding.number for binding in bindings}) == 100


def test_other_clients_and_other_services_have_other_addresses(paired):
    one, other_client, other_service = flow(paired, 1), flow(paired, 1, sender=2), flow(paired, 1, service=DNS)
    assert len({one.translated, other_client.translated, other_service.translated}) == 3


def test_each_of_the_flows_that_share_an_address_has_a_pin_of_its_own(paired):
    first, second, echo = flow(paired, 1), flow(paired, 2), flow(paired, 0, protocol=ICMP)
    assert answer(paired, first, AS2).binding.server == AS2
    assert answer(paired, second, AS3).binding.server == AS3
    assert paired.bindings.by_number(echo.number).server is None
    assert answer(paired, first, AS3).drop is Drop.STRANGER


def test_a_reply_to_no_flow_of_a_shared_address_is_a_strangers(paired):
    first = flow(paired, 1)
    flow(paired, 2)
    reply = first.key.reverse._replace(source=AS2, destination=first.translated, destination_port=3)
    assert paired.reply(reply, WEB).drop is Drop.STRANGER


def test_a_shared_address_rests_when_its_last_flow_has_ended(paired):
    first, second = flow(paired, 1), flow(paired, 2)
    paired.apply(first, FlowEvent.ALL_IDLE, 1)
    assert (use(paired, 1).leased, use(paired, 1).resting) == (1, 0)
    paired.apply(second, FlowEvent.ALL_IDLE, 2)
    assert (use(paired, 2).leased, use(paired, 2).resting) == (0, 1)


def test_an_address_that_another_flow_has_used_rests_although_the_last_flow_never_left(paired):
    first, second = flow(paired, 1), flow(paired, 2)
    paired.apply(first, FlowEvent.ALL_IDLE, 1)
    paired.apply(second, FlowEvent.REFUSED, 2)
    assert use(paired, 2).resting == 1


@pytest.mark.parametrize("other_goes_on", [True, False])
def test_an_ended_flow_is_restored_whether_others_have_its_address_or_it_rests(paired, other_goes_on):
    first, other = flow(paired, 1), flow(paired, 2)
    pinned = answer(paired, first, AS2).binding
    paired.apply(pinned, FlowEvent.ALL_IDLE, 1)
    if not other_goes_on:
        paired.apply(other, FlowEvent.ALL_IDLE, 1)
    restored = packet(paired, 1, now=2)
    assert restored.do is Do.REVIVE
    assert (restored.binding.translated, restored.binding.server) == (pinned.translated, AS2)
    assert use(paired, 2).leased == 1


def test_a_late_reply_restores_its_own_flow_alone(paired):
    first, second = (answer(paired, flow(paired, port), server).binding for port, server in ((1, AS2), (2, AS3)))
    for binding in (first, second):
        paired.apply(binding, FlowEvent.ALL_IDLE, 1)
    assert answer(paired, first, AS3, 2).drop is Drop.NO_BINDING
    assert answer(paired, second, AS3, 2).binding.key == second.key
    assert [binding.key for binding in paired.bindings] == [second.key]


def test_a_late_reply_restores_its_flow_while_others_have_its_address(paired):
    first, other = flow(paired, 1), flow(paired, 2)
    pinned = answer(paired, first, AS2).binding
    paired.apply(pinned, FlowEvent.ALL_IDLE, 1)
    assert answer(paired, pinned, AS3, 2).drop is Drop.STRANGER
    assert answer(paired, pinned, AS2, 2).do is Do.REVIVE
    assert paired.bindings.by_number(other.number) == other


def test_a_packet_that_comes_back_installs_no_rules_of_other_flows_of_its_address(paired):
    first, other = flow(paired, 1), flow(paired, 2)
    paired.apply(answer(paired, first, AS2).binding, FlowEvent.ALL_IDLE, 1)
    late = first.key.reverse._replace(source=AS2, destination=other.translated)
    assert paired.missed(late, 2).drop is Drop.LOOPED


def test_a_flow_is_not_restored_when_another_client_has_had_its_address():
    edge = client_edge(Pooling.PAIRED, length=30)  # two addresses
    pinned = answer(edge, flow(edge, 1), AS2).binding
    flow(edge, 1, sender=2)
    edge.apply(pinned, FlowEvent.ALL_IDLE, 1)
    assert flow(edge, 1, sender=3, now=10).translated == pinned.translated
    assert packet(edge, 1, now=11).drop is Drop.POOL_EMPTY


def test_auto_leases_an_address_for_each_flow_while_half_of_the_pool_is_free_and_pairs_beyond():
    edge = client_edge(Pooling.AUTO)
    bindings = [flow(edge, port, sender) for port in range(10) for sender in range(100)]
    assert len({binding.translated for binding in bindings[:127]}) == 127
    assert use(edge).leased == 128
    assert use(edge).free == 126


def test_auto_serves_254_clients_with_ten_flows_each_on_a_24():
    edge = client_edge(Pooling.AUTO)
    bindings = [flow(edge, port, sender) for port in range(10) for sender in range(254)]
    assert len(bindings) == 2540
    assert use(edge).free == 0


def test_one_client_alone_leaves_three_quarters_of_the_pool_to_others():
    edge = client_edge(Pooling.AUTO)
    for port in range(5000):
        flow(edge, port)
    assert use(edge).leased == 64


def test_the_clients_at_one_of_several_ports_leave_half_of_the_pool_to_others():
    edge = client_edge(Pooling.AUTO, ports=2)
    for sender in range(500):
        packet(edge, 1, sender)
    assert use(edge).leased == 127
    assert packet(edge, 1, 600).drop is Drop.PORT_FULL
    assert edge.client_packet(FlowKey(client(600), ANY, UDP, 1, 53), WEB, 0, port=2).do is Do.LEASE


def test_single_flows_at_one_of_several_ports_leave_a_quarter_of_the_pool_to_pairs():
    """Each client opens all of its flows before the next one opens any."""
    edge = client_edge(Pooling.AUTO, ports=2)
    decisions = [packet(edge, port, sender) for sender in range(70) for port in range(10)]
    assert {decision.drop for decision in decisions} == {None}
    assert use(edge).leased == 6 * 10 + 4 + 63


def test_a_pair_shares_its_older_address_when_the_latest_has_been_released():
    edge = client_edge(Pooling.AUTO, length=29)
    first, second = flow(edge, 1), flow(edge, 2)
    assert first.translated != second.translated
    edge.apply(second, FlowEvent.REFUSED, 1)
    for sender in range(2, 7):
        flow(edge, 1, sender, now=1)
    assert packet(edge, 1, sender=7, now=1).drop is Drop.POOL_EMPTY
    assert flow(edge, 3, now=1).translated == first.translated


def test_when_no_address_is_free_flows_of_those_who_have_one_still_share_it():
    edge = client_edge(Pooling.AUTO, length=29)
    for sender in range(6):
        flow(edge, 1, sender)
    assert packet(edge, 1, 7).drop is Drop.POOL_EMPTY
    assert packet(edge, 2, 3).do is Do.LEASE


def test_one_flow_for_each_address_where_that_is_asked_for():
    edge = client_edge(Pooling.FLOW)
    decisions = [packet(edge, port) for port in range(65)]
    assert len({decision.binding.translated for decision in decisions[:64]}) == 64
    assert decisions[64].drop is Drop.CLIENT_FULL


def test_a_closed_port_that_is_tried_again_and_again_takes_no_address_from_others():
    """254 attempts a second; each is refused by a RST."""
    edge = client_edge(Pooling.AUTO)
    for number in range(5000):
        now = number / 254
        edge.end_due(now, 1000)
        attempt = flow(edge, number, protocol=TCP, now=now)
        refused = answer(edge, attempt, AS2, now).binding
        edge.tcp_end(refused.number, next(iter(refused.installed.parts)), True, now)
    assert use(edge, now).leased + use(edge, now).resting <= 128
    assert packet(edge, 1, sender=2, now=now).do is Do.LEASE
