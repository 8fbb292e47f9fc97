"""The first packet of a flow, its reply, and the packets after them (M9, M13, M14, M17, M18)."""

from __future__ import annotations

import gc

from scenes import SERVICE, ask, bindings, both_engines, client_edge, payloads, the_binding

from anycast_sdn.core.bindings import State
from anycast_sdn.core.model import TCP, UDP, FlowKey
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = both_engines


def test_the_clients_first_packet_crosses_the_network_from_pr1x_to_any(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    h1, as2, pr1x = net.host("h1").address(v6), net.host("as2").address(v6), the_binding(net).translated
    assert pr1x in client_edge(net).role.translation_prefixes[v6]
    assert net.seen("h1", "arh1") == [FlowKey(h1, SERVICE[v6], TCP, 40000, 80)]
    assert net.seen("arh1", "core") == [FlowKey(pr1x, SERVICE[v6], TCP, 40000, 80)]
    assert net.seen("core", "ars2") == [FlowKey(pr1x, SERVICE[v6], TCP, 40000, 80)]
    assert net.seen("ars2", "as2") == [FlowKey(pr1x, as2, TCP, 40000, 80)]


def test_the_servers_first_reply_comes_to_the_client_from_any(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    h1, as2, pr1x = net.host("h1").address(v6), net.host("as2").address(v6), the_binding(net).translated
    assert net.seen("as2", "ars2") == [FlowKey(as2, pr1x, TCP, 80, 40000)]
    assert net.seen("core", "arh1") == [FlowKey(as2, pr1x, TCP, 80, 40000)]
    assert net.seen("arh1", "h1") == [FlowKey(SERVICE[v6], h1, TCP, 80, 40000)]
    assert the_binding(net).server == as2
    assert the_binding(net).state is State.PINNED


def test_later_packets_go_from_pr1x_straight_to_the_server(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    net.observations.journal = []
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80, tcp_flags=TCP_ACK)
    as2, pr1x = net.host("as2").address(v6), the_binding(net).translated
    assert net.seen("arh1", "core")[1:] == [FlowKey(pr1x, as2, TCP, 40000, 80)]
    assert net.host("as2").flows()[1:] == [FlowKey(pr1x, as2, TCP, 40000, 80)]


def test_later_packets_do_not_reach_the_controller(build):
    net = build("figure1", "as2")
    ask(net)
    net.observations.journal = []
    ask(net)
    assert [type(record).__name__ for record in net.observations.journal] == (
        ["Passed"] * 3 + ["Arrived"] + ["Passed"] * 3 + ["Arrived"]  # arh1, core, ars2, as2, and back
    )


def test_a_burst_of_one_new_flow_makes_one_binding_and_arrives_whole(build, v6):
    net = build("figure1", "as2", "as3")
    h1 = net.host("h1")
    sent = [bytes((number,)) for number in range(50)]
    net.send("h1", *(h1.packet(SERVICE[v6], UDP, 40000, 53, payload=payload) for payload in sent))
    net.settle()
    assert the_binding(net).server == net.host("as2").address(v6)
    assert sorted(payloads(net.host("as2").received)) == sent  # none lost, none twice
    assert sorted(payloads(h1.received)) == sent  # and so are the echoes
    assert net.host("as3").received == []


def test_a_packet_that_comes_between_the_first_and_its_reply_has_the_same_pr1x(build):
    net = build("figure1", "as2")
    net.host("as2").on_packet = lambda frame, packet: ()  # a slow server
    ask(net)
    ask(net)
    assert len({key.source for key in net.host("as2").flows()}) == 1
    assert len(net.host("as2").flows()) == 2
    assert the_binding(net).state is State.UNANSWERED


def test_each_flow_has_a_pr1x_of_its_own(build, v6):
    net = build("figure1", "as2")
    for port in range(40000, 40050):
        ask(net, service=SERVICE[v6], port=port)
    assert len({binding.translated for binding in bindings(net)}) == 50
    assert len(net.host("h1").received) == 50


def test_clients_with_the_same_ports_have_flows_of_their_own(build, v6):
    net = build("figure1", "as2")
    ask(net, "h1", SERVICE[v6], payload=b"from h1")
    ask(net, "h2", SERVICE[v6], payload=b"from h2")
    assert payloads(net.host("h1").received) == [b"from h1"]
    assert payloads(net.host("h2").received) == [b"from h2"]


def test_flows_that_are_set_up_leave_no_cycles(build, v6):
    """``process.FirstPackets`` relies on it: what a turn makes is exempt from the search for them."""
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6])
    gc.collect()
    gc.disable()
    try:
        for port in range(20):
            ask(net, port=41000 + port, service=SERVICE[v6])
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert len(bindings(net)) == 21
