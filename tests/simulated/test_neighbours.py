"""Hosts and their edge: ARP and ND, moves, duplicate addresses, false claims; nothing is flooded."""

from __future__ import annotations

import pytest
from scenes import (
    GATEWAY,
    SERVICE,
    STRANGE_MAC,
    UNUSED,
    ask,
    bindings,
    claim,
    drops,
    known,
    managed,
    payloads,
    probe,
    questions,
    the_binding,
)

from anycast_sdn.core.model import ICMP, ICMPV6, UDP, packed
from anycast_sdn.openflow.frames import parse_arp, parse_ip, parse_nd
from anycast_sdn.openflow.rules import ETH_ARP

UNSPECIFIED = {False: bytes(4), True: bytes(16)}


def question(host, target):
    host.neighbours.clear()
    return host.question(target)


def replies_to(net, name):
    """The addresses and MACs in ARP and ND replies to a host since the wires were cleared."""
    found = []
    for _, _, receiver, frame in net.wires:
        if receiver != name:
            continue
        if int.from_bytes(frame[12:14], "big") == ETH_ARP:
            packet = parse_arp(frame)
            if packet.op == 2:
                found.append((packet.sender_ip, packet.sender_mac))
        elif parse_ip(frame).icmp_type == 136:
            packet = parse_nd(frame)
            found.append((packet.target, packet.link_layer))
    return found


# ------------------------------------------------------------------------------ the gateway


def test_the_gateway_answers_for_itself(build, v6):
    net = build("figure1", "as2")
    net.send("h1", question(net.host("h1"), GATEWAY[v6]))
    net.settle()
    assert net.host("h1").neighbours == {GATEWAY[v6]: managed(net, "arh1").mac}


def test_the_gateway_answers_ping(build, v6):
    net = build("figure1", "as2")
    net.send("h1", net.host("h1").packet(GATEWAY[v6], ICMPV6 if v6 else ICMP, payload=b"there?"))
    net.settle()
    (frame,) = net.host("h1").received
    assert parse_ip(frame).key.source == GATEWAY[v6]
    assert parse_ip(frame).icmp_type == (129 if v6 else 0)


def test_the_edge_answers_for_other_hosts_and_carries_what_follows(build, v6):
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    net.send("h1", question(h1, h2.address(v6)))
    net.settle()
    assert h1.neighbours == {h2.address(v6): managed(net, "arh1").mac}
    net.send("h1", h1.packet(h2.address(v6), UDP, 1, 2, payload=b"hello"))
    net.settle()
    assert payloads(h2.received) == [b"hello"]


def test_requests_for_an_address_that_no_host_has_are_not_answered(build, v6):
    net = build("figure1", "as2")
    net.send("h1", question(net.host("h1"), UNUSED[v6]))
    net.advance(5)
    assert net.host("h1").neighbours == {}


def test_questions_about_other_subnets_are_not_answered(build, v6):
    net = build("figure1", "as2")
    for target in (SERVICE[v6], net.host("as2").address(v6), packed("2001:db8:1:f::7" if v6 else "203.0.113.7")):
        net.send("h1", question(net.host("h1"), target))
    net.advance(3)
    assert net.host("h1").neighbours == {}
    assert drops(net, "arh1") == {"foreign_questions": 3}


# ------------------------------------------------------------------------------ finding hosts


def silent_network(build):
    """A network in which h2 has sent nothing: its edge does not know it."""
    net = build("figure1", "as2")
    h2 = net.host("h2")
    h2.port = h2.port._replace(number=99)
    net.advance(40)
    assert not set(h2.addresses) & set(known(net))
    h2.port = h2.port._replace(number=2)
    return net


def test_a_packet_for_an_unknown_host_waits_until_the_host_answers(build, v6):
    net = silent_network(build)
    h2, as2 = net.host("h2"), net.host("as2")
    net.send("as2", *(as2.packet(h2.address(v6), UDP, 1, 2, payload=bytes((n,))) for n in range(3)))
    net.settle()
    assert payloads(h2.received) == [b"\0", b"\1", b"\2"]


def test_a_packet_for_a_host_that_does_not_exist_is_answered_with_an_error(build, v6):
    net = build("figure1", "as2")
    net.send("as2", net.host("as2").packet(UNUSED[v6], UDP, 1, 2))
    net.advance(5)
    (frame,) = net.host("as2").received
    packet = parse_ip(frame)
    assert (packet.icmp_type, frame[packet.l4 + 1]) == ((1, 3) if v6 else (3, 1))  # host unreachable
    assert packet.key.source == GATEWAY[v6]


def test_nothing_is_flooded(build, v6):
    net = build("figure1", "as2", "as3", "as4")
    net.wires.clear()
    ask(net, service=SERVICE[v6])
    net.send("h1", net.host("h1").packet(net.host("h2").address(v6), UDP, 1, 2))
    net.send("h1", question(net.host("h1"), net.host("h2").address(v6)))
    net.settle()
    receivers = {receiver for _, _, receiver, _ in net.wires}
    assert receivers == {"arh1", "core", "ars2", "as2", "h1", "h2"}


def test_a_request_is_sent_to_its_own_subnet_only(build, v6):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("as2", net.host("as2").packet(UNUSED[v6], UDP, 1, 2))
    net.settle()
    assert questions(net, "h1") == questions(net, "h2") == [UNUSED[v6]]
    assert questions(net, "as2") == questions(net, "as3") == []


# ------------------------------------------------------------------------------ hosts that change


def test_a_host_that_moved_to_another_port_is_found_when_it_sends(build, v6):
    net = build("figure1", "as2")
    ask(net, "h2", SERVICE[v6])
    net.move("h2", 1)
    net.send("h2", claim(net.host("h2").mac, net.host("h2").address(v6)))
    net.advance(0.8)  # no reply at the old port
    assert known(net)[net.host("h2").address(v6)] == (net.host("h2").mac, 1)
    ask(net, "h2", SERVICE[v6])
    assert len(net.host("h2").received) == 2


def test_a_host_that_moved_and_sends_nothing_is_found_by_a_request(build, v6):
    net = build("figure1", "as2")
    net.move("h2", 1)
    net.advance(40)
    assert known(net)[net.host("h2").address(v6)] == (net.host("h2").mac, 1)


def test_a_server_with_a_new_mac_keeps_its_flows(build, v6):
    net = build("figure1", "as2")
    ask(net, service=SERVICE[v6])
    as2 = net.host("as2")
    as2.mac = STRANGE_MAC
    net.send("as2", claim(STRANGE_MAC, as2.address(v6)))
    net.advance(0.8)  # no reply at the old MAC
    ask(net, service=SERVICE[v6])
    ask(net, service=SERVICE[v6], port=40001)
    assert len(as2.received) == 3
    assert {binding.server for binding in bindings(net)} == {as2.address(v6)}


def test_a_server_behind_a_dead_port_gets_no_new_flows(build, v6):
    net = build("figure1", "as2", "as3")
    net.set_port(net.host("as2").port, up=False)
    net.settle()
    ask(net, service=SERVICE[v6])
    assert the_binding(net).server == net.host("as3").address(v6)


def test_a_server_that_is_back_serves_again(build, v6):
    net = build("figure1", "as2", "as3")
    port = net.host("as2").port
    net.set_port(port, up=False)
    net.settle()
    net.set_port(port, up=True)
    net.advance(5)  # the edge looks for enrolled servers by itself
    ask(net, service=SERVICE[v6])
    assert the_binding(net).server == net.host("as2").address(v6)


# ------------------------------------------------------------------------------ duplicates and false claims


def test_a_free_address_passes_duplicate_address_detection(build, v6):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("h1", probe(net.host("h1").mac, UNUSED[v6]))
    net.advance(5)
    assert replies_to(net, "h1") == []


def test_an_address_that_another_host_holds_fails_duplicate_address_detection(build, v6):
    net = build("figure1", "as2")
    taken = net.host("h2").address(v6)
    net.wires.clear()
    net.send("h1", probe(net.host("h1").mac, taken))
    net.settle()
    assert replies_to(net, "h1") == [(taken, managed(net, "arh1").mac)]
    assert known(net)[taken] == (net.host("h2").mac, 2)


def test_an_address_whose_holder_has_gone_passes_duplicate_address_detection(build, v6):
    net = build("figure1", "as2")
    taken = net.host("h2").address(v6)
    net.move("h2", 99)
    net.wires.clear()
    net.send("h1", probe(net.host("h1").mac, taken))
    net.advance(5)
    assert replies_to(net, "h1") == []


def test_a_hosts_own_address_passes_its_duplicate_address_detection(build, v6):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("h1", probe(net.host("h1").mac, net.host("h1").address(v6)))
    net.advance(2)
    assert replies_to(net, "h1") == []


def test_of_two_hosts_that_try_the_same_address_at_once_one_fails(build, v6):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("h1", probe(net.host("h1").mac, UNUSED[v6]))
    net.send("h2", probe(net.host("h2").mac, UNUSED[v6]))
    net.settle()
    assert replies_to(net, "h1") == []
    assert replies_to(net, "h2") == [(UNUSED[v6], managed(net, "arh1").mac)]


def test_the_gateways_address_fails_duplicate_address_detection(build, v6):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("h1", probe(net.host("h1").mac, GATEWAY[v6]))
    net.settle()
    assert replies_to(net, "h1") == [(GATEWAY[v6], managed(net, "arh1").mac)]


@pytest.mark.parametrize(
    "address",
    ["10.1.0.1", "198.18.0.1", "203.0.113.7", "10.2.0.10", "2001:db8:1::1", "2001:db8:a::1", "2001:db8:1:f::7"],
    ids=["gateway", "service", "translation", "server", "gateway6", "service6", "translation6"],
)
def test_an_address_that_no_host_may_have_cannot_be_claimed(build, address):
    net = build("figure1", "as2")
    before = known(net)
    net.send("h1", claim(net.host("h1").mac, packed(address)))
    net.settle()
    assert known(net) == before
    assert drops(net, "arh1") == {"false_claims": 1}


def test_an_address_of_another_subnet_of_the_same_edge_cannot_be_claimed(build, v6):
    net = build("two-sites")
    before = known(net)
    net.send("h1", claim(net.host("h1").mac, net.host("as4").address(v6)))
    net.settle()
    assert known(net) == before
    assert drops(net, "arh1") == {"false_claims": 1}


def test_a_group_mac_is_not_learned(build):
    net = build("figure1", "as2")
    before = known(net)
    group_mac = bytes.fromhex("0700000000aa")
    net.send("h1", claim(group_mac, UNUSED[False]))
    net.settle()
    assert known(net) == before
    assert drops(net, "arh1") == {"bad_frame: source mac": 1}


def test_the_gateway_is_defended(build, v6):
    net = build("figure1", "as2")
    net.wires.clear()
    net.send("h1", claim(net.host("h1").mac, GATEWAY[v6]))
    net.settle()
    assert replies_to(net, "h1") == [(GATEWAY[v6], managed(net, "arh1").mac)]


def test_an_arp_packet_with_the_mac_of_another_sender_is_ignored(build):
    net = build("figure1", "as2")
    before = known(net)
    frame = claim(STRANGE_MAC, UNUSED[False])
    net.send("h1", frame[:6] + net.host("h1").mac + frame[12:])
    net.settle()
    assert known(net) == before
    assert drops(net, "arh1") == {"arp_mac_mismatch": 1}
