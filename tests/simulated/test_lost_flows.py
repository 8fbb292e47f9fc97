"""A flow does not outlive its server's death: it is bound anew, or its client is told at once (M32)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lost_servers import AS2, RST, counted, die, pinned, poll, server
from scenes import SERVICE, ask, bindings, both_engines, client_edge, drops, group, managed, rules_alone, the_binding

from anycast_sdn.control.controller import Pace
from anycast_sdn.core.bindings import Half, State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Affinity
from anycast_sdn.core.roles import EngineName, Expiry
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import TCP_ACK

pytestmark = both_engines


@pytest.mark.parametrize("expiry", list(Expiry), ids=lambda expiry: expiry.value)
def test_a_flow_whose_server_is_lost_goes_to_another_one_with_the_same_address(build, engine, v6, expiry):
    net = pinned(build, v6, expiry=expiry, idle_timeouts=0)
    before = the_binding(net)
    die(net)
    after = the_binding(net)
    assert after == before._replace(server=None, installed=Half.OUT, choice=after.choice)
    if engine is EngineName.RULES:
        kinds = [kind_of(rule.cookie) for rule in net.switches["arh1"].flows.values()]
        assert (kinds.count(Kind.BINDING_OUT_UNANSWERED), Kind.BINDING_IN in kinds) == (1, False)
    poll(net, v6)
    assert (server(net, v6), the_binding(net).translated) == ("as3", before.translated)
    assert counted(net) == {"freed": 1, "server_lost": 0, "server_returned": 0}


@pytest.mark.parametrize("protocol", [UDP, SCTP, ICMP, 47])
def test_flows_of_every_protocol_but_tcp_go_on(build, v6, protocol):
    net = build("figure1", "as2", "as3")
    asked = ICMPV6 if v6 and protocol == ICMP else protocol
    ports = {"port": 5060, "service_port": 5060} if protocol in (UDP, SCTP) else {"port": 0, "service_port": 0}
    ask(net, service=SERVICE[v6], protocol=asked, **ports)
    die(net)
    ask(net, service=SERVICE[v6], protocol=asked, **ports)
    assert server(net, v6) == "as3"


def test_a_silent_client_finds_another_server_when_it_sends_again(build):
    net = pinned(build, validity={"unanswered_s": 60})
    die(net)
    net.advance(40)
    poll(net)
    assert server(net) == "as3"


def test_a_freed_flow_that_nobody_uses_ends_and_its_address_rests(build, engine):
    """Also where the controller's sweep ends it: packets of before have carried the address."""
    udp_s = 300 if engine is EngineName.RULES else 30  # the tracker goes on to wait so long
    for expiry in (Expiry.IDLE_TIMEOUT, Expiry.SWEEP):
        net = pinned(build, expiry=expiry, validity={"unanswered_s": 10, "udp_s": udp_s})
        die(net)
        net.advance(45)
        assert not bindings(net)
        assert client_edge(net).addresses.use(net.now)["ipv4"].resting == 1


@rules_alone
@pytest.mark.parametrize("installed", [Half.OUT, Half.IN])
def test_a_flow_with_one_of_its_rules_is_freed_as_well(build, installed):
    net = pinned(build, validity={"udp_s": 20})
    net.host("as2").on_packet = lambda frame, packet: ()
    before = the_binding(net)
    for _ in range(3):  # one direction is in use, the other one expires
        net.advance(10)
        if installed is Half.OUT:
            poll(net)
        else:
            net.send("as2", net.host("as2").packet(before.translated, UDP, 123, 123))
            net.settle()
    assert the_binding(net).installed is installed
    die(net)
    assert (the_binding(net).state, the_binding(net).installed) == (State.UNANSWERED, Half.OUT)


def test_a_connection_is_reset_at_its_next_packet_and_the_client_connects_again(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    die(net)
    assert not bindings(net)
    h1 = net.host("h1")
    for _ in range(2):  # as often as it sends
        h1.received.clear()
        packet = h1.packet(SERVICE[v6], TCP, 40000, 80, tcp_flags=TCP_ACK, payload=b"more")
        net.send("h1", packet)
        net.settle()
        (reset,) = h1.received
        found = parse_ip(reset)
        assert (found.key.source, found.key.source_port) == (SERVICE[v6], 80)
        assert reset[found.l4 + 13] == RST
        sent = parse_ip(packet)
        assert reset[found.l4 + 4 : found.l4 + 8] == packet[sent.l4 + 8 : sent.l4 + 12]  # what it acknowledged
    assert not bindings(net)
    assert counted(net) == {"freed": 1, "server_lost": 2, "server_returned": 0}
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)  # a SYN from the same port
    assert server(net, v6) == "as3"


def test_a_syn_is_simply_a_new_connection(build):
    net = build("figure1", "as2", "as3")
    ask(net, protocol=TCP, service_port=80)
    die(net)
    ask(net, protocol=TCP, service_port=80)
    assert server(net) == "as3"
    ask(net, protocol=TCP, service_port=80, tcp_flags=TCP_ACK)
    assert counted(net)["server_lost"] == 0


def test_a_reset_is_answered_by_nothing(build):
    net = build("figure1", "as2", "as3")
    ask(net, protocol=TCP, service_port=80)
    die(net)
    net.host("h1").received.clear()
    ask(net, protocol=TCP, service_port=80, tcp_flags=RST)
    assert not net.host("h1").received


def test_a_connection_that_was_ending_is_lost_like_any_other(build):
    net = build("figure1", "as2", "as3")
    ask(net, protocol=TCP, service_port=80)
    net.host("as2").on_packet = lambda frame, packet: ()
    ask(net, protocol=TCP, service_port=80, tcp_flags=0x11)
    die(net)
    assert not bindings(net)
    net.advance(300)
    assert not bindings(net)


@rules_alone
def test_a_flow_that_had_ended_does_not_come_back_to_a_lost_server(build):
    net = pinned(build, validity={"udp_s": 10})
    ask(net, protocol=TCP, service_port=80)
    number = the_tcp(net).number
    client_edge_end(net, number)
    net.advance(30)
    assert not bindings(net)
    die(net)
    poll(net)
    assert server(net) == "as3"
    ask(net, protocol=TCP, service_port=80, tcp_flags=TCP_ACK)
    assert counted(net)["server_lost"] == 1


def the_tcp(net):
    (found,) = [binding for binding in bindings(net) if binding.key.protocol == TCP]
    return found


def client_edge_end(net, number):
    """The rules of a connection expire."""
    for half in Half.BOTH.parts:
        client_edge(net).rule_removed(number, half, State.PINNED, False, net.now)
    net.delete_rules("arh1", [rule.key for rule in net.switches["arh1"].flows.values() if rule.cookie & 0xFF == number])


# ------------------------------------------------------------------------------ many flows


def test_many_flows_are_freed_in_slices_and_all_of_them(build):
    net = build("figure1", "as2", "as3", switch={"pace": Pace(freed=7)}, bindings_per_client=200)
    for port in range(100):
        poll(net, port=1000 + port)
    die(net)
    assert {binding.state for binding in bindings(net)} == {State.UNANSWERED}
    assert counted(net)["freed"] == 100


def test_flows_that_are_not_freed_yet_when_the_server_returns_stay(build):
    net = build("figure1", "as2", "as3", switch={"pace": Pace(freed=1)}, bindings_per_client=200)
    for port in range(60):
        poll(net, port=1000 + port)
    net.set_port(AS2, False)
    while not net.controller.losses.is_busy():
        net.advance(0.001)
    net.controller.losses.noticed(net.host("as2").address(False), True, net.now)
    net.set_port(AS2, True)
    net.advance(5)
    states = [binding.state for binding in bindings(net)]
    assert State.PINNED in states
    assert counted(net)["freed"] == states.count(State.UNANSWERED)


def test_a_server_that_returns_while_its_flows_are_freed_is_reported(build):
    net = build("figure1", "as2", "as3", switch={"pace": Pace(freed=1)}, bindings_per_client=200)
    for port in range(60):
        poll(net, port=1000 + port)
    net.set_port(AS2, False)
    while not counted(net)["freed"] and not net.controller.losses.is_busy():
        net.advance(0.001)
    net.controller.work(net.now)
    net.controller.losses.noticed(net.host("as2").address(False), True, net.now)
    net.set_port(AS2, True)
    net.advance(5)
    assert 0 < counted(net)["freed"] < 60
    assert counted(net)["server_returned"] == 1


def test_a_client_that_is_bound_as_a_whole_goes_to_another_server_with_all_its_flows(build, v6):
    net = build("figure1")
    whole = replace(group(net.network, "web", SERVICE, "as2", "as3"), affinity=Affinity.CLIENT)
    net.set_groups(Groups({"web": whole}))
    net.advance(1)
    poll(net, v6)
    before = the_binding(net)
    die(net)
    for port in (123, 5060):
        poll(net, v6, port=port)
    assert server(net, v6) == "as3"
    assert (the_binding(net).number, the_binding(net).translated) == (before.number, before.translated)
    assert len(net.host("as3").received) == 2


def test_a_thousand_lost_connections_are_freed_in_slices_and_all_are_reset_at_their_next_packet(build):
    net = build("figure1", "as2", "as3", switch={"pace": Pace(freed=64)}, bindings_per_client=2000)
    for port in range(1000):
        ask(net, protocol=TCP, port=10000 + port, service_port=80)
    slices = []
    lose = managed(net, "arh1").engine.lose
    managed(net, "arh1").engine.lose = lambda numbers, *rest: slices.append(len(numbers)) or lose(numbers, *rest)
    die(net)
    assert not bindings(net)
    assert (sum(slices), max(slices)) == (1000, 64)
    h1 = net.host("h1")
    h1.received.clear()
    for port in range(1000):
        net.send("h1", h1.packet(SERVICE[False], TCP, 10000 + port, 80, tcp_flags=TCP_ACK))
    net.settle()
    packets = [(frame, parse_ip(frame)) for frame in h1.received]
    resets = {packet.key.destination_port for frame, packet in packets if frame[packet.l4 + 13] == RST}
    assert len(resets) == 1000
    assert counted(net) == {"freed": 1000, "server_lost": 1000, "server_returned": 0}
    net.advance(0.5)
    assert "port_held_back" not in drops(net, "arh1")  # other clients at this port begin connections as before
