"""The end of a flow: both directions idle, a closed connection, quarantine (M19)."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, both_engines, carried_out, client_edge, payloads, rules_alone, the_binding

from anycast_sdn.core.model import ICMP, TCP, UDP
from anycast_sdn.core.roles import EngineName
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = both_engines

FIN, RST = 0x01, 0x04
LATE_S = {EngineName.RULES: 0, EngineName.CONNTRACK: 2}  # the controller asks the tracker from time to time
SHORT = {"udp_s": 4, "icmp_s": 2, "other_s": 3, "unanswered_s": 2}


def binding_rules(net):
    kinds = [kind_of(rule.cookie) for rule in net.switches["arh1"].flows.values()]
    return [kind for kind in kinds if kind in (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)]


def pool(net, family="ipv4"):
    return client_edge(net).addresses.use(net.now)[family]


def keep_silent(frame, packet):
    return ()


def send_to_client(net, server, payload=b"", protocol=UDP, **options):
    """The server sends to the client of the only binding."""
    binding = the_binding(net)
    host = net.host(server)
    key = binding.key
    frame = host.packet(binding.translated, protocol, key.destination_port, key.source_port, payload=payload, **options)
    net.send(server, frame)
    net.settle()


def test_a_flow_idle_in_both_directions_leaves_nothing_but_an_address_at_rest(build, engine, v6):
    net = build("figure1", "as2", validity=SHORT, quarantine_s=10)
    family = "ipv6" if v6 else "ipv4"
    ask(net, service=SERVICE[v6])
    net.advance(3.5)
    assert carried_out(net) == 1
    net.advance(1 + LATE_S[engine])
    assert carried_out(net) == 0
    assert bindings(net) == []
    assert (pool(net, family).leased, pool(net, family).resting) == (0, 1)
    net.advance(10)
    assert pool(net, family).free == pool(net, family).size


def test_an_address_at_rest_is_not_leased(build):
    net = build("figure1", "as2", validity=SHORT, quarantine_s=10)
    seen = set()
    for port in range(40000, 40005):
        ask(net, port=port)
        seen.add(the_binding(net).translated)
        net.advance(5)
    assert len(seen) == 5


def test_each_protocol_has_its_validity(build):
    net = build("figure1", "as2", validity=SHORT)
    ask(net)
    ask(net, protocol=ICMP, port=0, service_port=0)
    ask(net, protocol=253, port=0, service_port=0)
    lives = {}
    start = net.now
    while bindings(net):
        net.advance(0.25)
        for protocol in {UDP, ICMP, 253} - {binding.key.protocol for binding in bindings(net)}:
            lives.setdefault(protocol, round(net.now - start))
    assert lives == {UDP: 4, ICMP: 2, 253: 3}


def test_an_unanswered_flow_ends_soon(build):
    net = build("figure1", "as2", validity=SHORT)
    net.host("as2").on_packet = keep_silent
    ask(net)
    net.advance(2.5)
    assert bindings(net) == []
    assert binding_rules(net) == []
    assert pool(net).resting == 1


def test_a_stream_from_the_client_alone_keeps_the_whole_binding(build, engine, v6):
    net = build("figure1", "as2", validity=SHORT)
    ask(net, service=SERVICE[v6])
    net.host("as2").on_packet = keep_silent
    before = the_binding(net)
    for _ in range(15):
        net.advance(1)
        ask(net, service=SERVICE[v6])
    if engine is EngineName.RULES:
        assert binding_rules(net) == [Kind.BINDING_OUT]  # the other half is idle, and stays in the binding
    send_to_client(net, "as2", b"at last")
    assert payloads(net.host("h1").received)[-1] == b"at last"
    assert the_binding(net) == before


def test_a_stream_from_the_server_alone_keeps_the_whole_binding(build, engine, v6):
    net = build("figure1", "as2", validity=SHORT)
    ask(net, service=SERVICE[v6])
    before = the_binding(net)
    for _ in range(15):
        net.advance(1)
        send_to_client(net, "as2", b"news")
    if engine is EngineName.RULES:
        assert binding_rules(net) == [Kind.BINDING_IN]
    ask(net, service=SERVICE[v6], payload=b"thanks")
    assert payloads(net.host("as2").received)[-1] == b"thanks"
    assert the_binding(net) == before
    assert len(net.host("h1").received) == 17


def test_an_idle_half_is_installed_again_without_losing_a_packet(build):
    net = build("figure1", "as2", validity=SHORT)
    ask(net)
    for _ in range(6):
        net.advance(1)
        send_to_client(net, "as2")
    h1 = net.host("h1")
    sent = [bytes((number,)) for number in range(20)]
    net.host("as2").received.clear()
    net.send("h1", *(h1.packet(SERVICE[False], UDP, 40000, 53, payload=payload) for payload in sent))
    net.settle()
    assert sorted(payloads(net.host("as2").received)) == sent


@pytest.mark.parametrize("pause", [0, 0.3, 1, 4])
def test_a_tcp_connection_closed_by_both_sides_ends_within_seconds(build, v6, pause):
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    send_to_client(net, "as2", protocol=TCP, tcp_flags=FIN | TCP_ACK)
    net.advance(pause)
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80, tcp_flags=FIN | TCP_ACK)
    net.advance(6)
    assert binding_rules(net) == []
    assert bindings(net) == []


def test_a_connection_that_only_the_server_closes_ends_after_the_closing_time(build):
    net = build("figure1", "as2", validity={"tcp_closing_s": 10})
    ask(net, protocol=TCP, service_port=80)
    send_to_client(net, "as2", protocol=TCP, tcp_flags=FIN | TCP_ACK)
    net.advance(7)
    assert carried_out(net) == 1
    net.advance(11)
    assert bindings(net) == []


def test_a_half_closed_connection_goes_on_for_as_long_as_the_server_sends(build):
    net = build("figure1", "as2", validity={"tcp_closing_s": 10})
    ask(net, protocol=TCP, service_port=80)
    ask(net, protocol=TCP, service_port=80, tcp_flags=FIN | TCP_ACK)
    for _ in range(20):
        net.advance(3)
        send_to_client(net, "as2", protocol=TCP, tcp_flags=TCP_ACK)
    ask(net, protocol=TCP, service_port=80, tcp_flags=TCP_ACK)
    assert the_binding(net).closing
    assert len(net.host("as2").received) == 3
    assert len(net.host("h1").received) == 21


@rules_alone
def test_without_fin_timeout_a_closed_connection_follows_its_idle_validity(build):
    net = build("figure1", "as2", switch={"fin_timeout": False}, validity={"tcp_s": 60})
    ask(net, protocol=TCP, service_port=80)
    send_to_client(net, "as2", protocol=TCP, tcp_flags=FIN | TCP_ACK)
    ask(net, protocol=TCP, service_port=80, tcp_flags=FIN | TCP_ACK)
    net.advance(55)
    assert len(binding_rules(net)) == 2
    net.advance(10)
    assert bindings(net) == []


@rules_alone
def test_an_established_connection_survives_two_hours_of_silence(build):
    net = build("figure1", "as2")
    ask(net, protocol=TCP, service_port=80)
    before = the_binding(net)
    net.advance(7400)
    ask(net, protocol=TCP, service_port=80, tcp_flags=TCP_ACK)
    assert the_binding(net) == before
    assert len(net.host("as2").received) == 2
