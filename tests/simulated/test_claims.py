"""No host takes the address of another, or has flows bound with the source address of another or of no host (M30)."""

from __future__ import annotations

import pytest
from scenes import (
    SERVICE,
    STRANGE_MAC,
    UNUSED,
    ask,
    bindings,
    claim,
    client_edge,
    drops,
    known,
    managed,
    payloads,
    probe,
    questions,
    the_binding,
)

from anycast_sdn.control import claims
from anycast_sdn.control.claims import Moves
from anycast_sdn.core.model import UDP, FlowKey, Neighbour, Prefix, packed
from anycast_sdn.openflow import builders


def forge(net, name, source, port=41000, destination=None, payload=b"?"):
    """A host's packet to the service, from a source of its choice."""
    host = net.host(name)
    key = FlowKey(source, destination or SERVICE[len(source) == 16], UDP, port, 53)
    net.send(name, builders.ip_packet(key, eth_src=host.mac, eth_dst=host.gateway_mac, payload=payload))


def sources(v6, count):
    """Addresses of h1's subnet that no host has."""
    return [packed(f"2001:db8:1::{n:x}" if v6 else f"10.1.0.{n}") for n in range(20, 20 + count)]


# ------------------------------------------------------------------------------ moves


def test_another_hosts_address_is_not_taken_while_it_answers(build, v6):
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    ask(net, "h2", SERVICE[v6])
    before = known(net)
    net.wires.clear()
    net.send("h1", claim(h1.mac, h2.address(v6)))
    net.settle()
    assert known(net) == before
    assert questions(net, "h2") == [h2.address(v6)]
    net.advance(2)
    assert known(net) == before
    assert drops(net, "arh1") == {"false_move": 1}
    ask(net, "h2", SERVICE[v6], payload=b"still mine")
    assert payloads(h2.received)[-1] == b"still mine"
    assert not h1.received


def test_a_hosts_traffic_does_not_stop_while_its_address_is_claimed(build, v6):
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    for number in range(40):
        net.send("h1", claim(h1.mac, h2.address(v6)))
        ask(net, "h2", SERVICE[v6], payload=bytes((number,)))
        net.advance(0.1)
    assert payloads(h2.received) == [bytes((number,)) for number in range(40)]
    assert not h1.received


def test_a_claim_that_is_repeated_does_not_make_the_edge_ask_without_end(build, v6):
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    net.wires.clear()
    for _ in range(100):
        net.send("h1", claim(h1.mac, h2.address(v6)))
        net.advance(0.02)
    assert len(questions(net, "h2")) <= 5
    assert drops(net, "arh1")["false_move"] <= 4


@pytest.mark.parametrize("moves", ["port", "mac"])
def test_a_move_is_accepted_when_the_host_has_not_answered_at_its_old_port_for_half_a_second(build, v6, moves):
    net = build("figure1", "as2")
    h2 = net.host("h2")
    address = h2.address(v6)
    old = known(net)[address]
    if moves == "port":
        net.move("h2", 1)
    else:
        h2.mac = STRANGE_MAC
    net.send("h2", claim(h2.mac, address))
    net.advance(0.4)
    assert known(net)[address] == old
    net.advance(0.4)
    assert known(net)[address] == (h2.mac, h2.port.number)
    assert drops(net, "arh1") == {}


def test_a_move_from_a_port_that_is_down_is_accepted_at_once(build, v6):
    net = build("figure1", "as2")
    h2 = net.host("h2")
    old = h2.port
    net.move("h2", 1)
    net.set_port(old, up=False)
    net.settle()
    net.send("h2", claim(h2.mac, h2.address(v6)))
    net.settle()
    assert known(net)[h2.address(v6)] == (h2.mac, 1)


def test_a_move_whose_old_port_goes_down_meanwhile_is_accepted_at_once(build, v6):
    net = build("figure1", "as2")
    h2 = net.host("h2")
    old = h2.port
    net.move("h2", 1)
    net.send("h2", claim(h2.mac, h2.address(v6)))
    net.settle()
    assert known(net)[h2.address(v6)] == (h2.mac, 2)
    net.set_port(old, up=False)
    net.settle()
    assert known(net)[h2.address(v6)] == (h2.mac, 1)


def test_a_moved_hosts_first_packet_waits_until_the_move_is_accepted(build, v6):
    net = build("figure1", "as2")
    net.move("h2", 1)
    ask(net, "h2", SERVICE[v6], payload=b"from my new port")
    assert bindings(net) == []
    net.advance(1)
    assert payloads(net.host("h2").received) == [b"from my new port"]
    assert drops(net, "arh1") == {}


def test_while_a_switch_is_disconnected_no_host_can_take_an_address(build, v6):
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    before = known(net)[h2.address(v6)]
    net.send("h1", claim(h1.mac, h2.address(v6)))
    net.advance(claims.AGAIN_S / 100)  # the old port has been probed, and the reply has not arrived yet
    net.disconnect("arh1")
    net.advance(3)
    net.connect("arh1")
    net.advance(3)
    assert known(net)[h2.address(v6)] == before


def test_a_controller_that_was_held_up_handles_replies_before_deadlines():
    moves = Moves()
    moves.tick(0.0)
    assert moves.claim(b"\12\1\0\13", Neighbour(STRANGE_MAC, 1), 0.1)
    assert moves.tick(7.0) == ([b"\12\1\0\13"], [])
    assert moves.refute(b"\12\1\0\13")
    assert moves.tick(7.3) == ([], [])


def test_the_number_of_moves_that_are_checked_is_bounded_for_each_port(build, monkeypatch):
    monkeypatch.setattr(claims, "MAX_MOVES", 3)
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    hosts = sources(False, 10)
    for address in hosts:
        net.send("h2", claim(h2.mac, address))
    net.settle()
    net.wires.clear()
    for address in hosts:
        net.send("h1", claim(h1.mac, address))
    net.settle()
    assert len(questions(net, "h2")) == 3


def test_a_free_address_belongs_to_the_first_host_that_claims_it(build):
    net = build("figure1", "as2")
    h1, h2 = net.host("h1"), net.host("h2")
    address = h2.address(False)
    net.move("h2", 99)
    net.send("h1", claim(h1.mac, address))
    net.advance(0.8)
    assert known(net)[address] == (h1.mac, 1)


def test_a_probe_takes_nothing(build, v6):
    net = build("figure1", "as2")
    before = known(net)
    net.send("h1", probe(net.host("h1").mac, net.host("h2").address(v6)))
    net.advance(2)
    assert known(net) == before
    assert drops(net, "arh1") == {}


# ------------------------------------------------------------------------------ sources


def test_forged_sources_take_no_address_from_the_pool(build, v6):
    net = build("figure1", "as2")
    for source in sources(v6, 200):
        forge(net, "h1", source)
    net.advance(5)
    assert bindings(net) == []
    assert drops(net, "arh1") == {"unknown_source": 200}
    ask(net, "h1", SERVICE[v6])
    ask(net, "h2", SERVICE[v6])
    assert len(bindings(net)) == 2


def test_a_host_cannot_have_flows_bound_with_the_source_of_a_host_at_another_port(build, v6):
    net = build("figure1", "as2")
    for port in range(41000, 41020):
        forge(net, "h1", net.host("h2").address(v6), port)
    net.advance(3)
    assert bindings(net) == []
    assert drops(net, "arh1") == {"unknown_source": 20}


def test_forged_sources_lead_to_few_requests_at_a_time_and_to_none_at_other_ports(build, v6, monkeypatch):
    monkeypatch.setattr(claims, "MAX_SOURCES", 10)
    net = build("figure1", "as2")
    net.wires.clear()
    for source in sources(v6, 200):
        forge(net, "h1", source)
    net.settle()
    assert len(questions(net, "h1")) == 10
    assert questions(net, "h2") == []


def test_a_host_that_its_edge_does_not_know_is_probed_and_its_first_packet_goes_on(build, v6):
    """As with addresses that a host gives itself (RFC 8981): it has asked for its gateway from another one."""
    net = build("figure1", "as2")
    h1 = net.host("h1")
    h1.addresses += (UNUSED[v6],)
    forge(net, "h1", UNUSED[v6], payload=b"one")
    forge(net, "h1", UNUSED[v6], payload=b"two")
    net.settle()
    assert payloads(h1.received) == [b"one", b"two"]
    assert the_binding(net).key.source == UNUSED[v6]
    assert known(net)[UNUSED[v6]] == (h1.mac, 1)
    assert drops(net, "arh1") == {}


def test_the_number_of_waiting_packets_of_an_unknown_host_is_bounded(build, v6):
    net = build("figure1", "as2")
    for port in range(100):
        forge(net, "h1", UNUSED[v6], 41000 + port)
    net.settle()
    assert drops(net, "arh1") == {"unknown_source": 100 - claims.WAITING_PER_SOURCE}
    net.advance(3)
    assert drops(net, "arh1") == {"unknown_source": 100}


def test_packets_that_wait_for_a_host_are_dropped_and_counted_when_its_port_goes_down(build, v6):
    net = build("figure1", "as2")
    forge(net, "h1", UNUSED[v6])
    net.settle()
    net.set_port(net.host("h1").port, up=False)
    net.settle()
    assert drops(net, "arh1")["unknown_source"] == 1


def test_a_restarted_controller_knows_the_hosts_that_were_known_before(build, v6):
    net = build("figure1", "as2")
    net.restart_controller()
    net.advance(1)  # each host is asked whether it is still there
    net.wires.clear()
    ask(net, "h1", SERVICE[v6])
    assert len(bindings(net)) == 1
    assert questions(net, "h1") == []


def test_flows_that_are_bound_go_on_whether_their_client_is_known_or_not(build, v6):
    net = build("figure1", "as2", validity={"udp_s": 300})
    ask(net, "h1", SERVICE[v6])
    arh1 = managed(net, "arh1")
    before = bindings(net)
    h1 = net.host("h1")
    address, h1.addresses = h1.address(v6), ()
    net.advance(40)
    assert address not in known(net)
    net.send("h1", builders.ip_packet(before[0].key, eth_src=h1.mac, eth_dst=arh1.mac, payload=b"silent so far"))
    net.settle()
    assert payloads(net.host("as2").received)[-1] == b"silent so far"
    assert bindings(net) == before


def test_a_small_pool_serves_others_while_one_port_forges(build):
    net = build("figure1", "as2", translation_prefixes=(Prefix.parse("203.0.113.0/28"),))
    for source in sources(False, 200):
        forge(net, "h2", source)
    for port in range(40000, 40003):
        ask(net, "h1", port=port)
    assert len(bindings(net)) == 3
    assert client_edge(net).addresses.use(net.now)["ipv4"].leased == 3
