"""What one host, one absent server or one power cut must not do to everybody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, client_edge, drops, edge, group, payloads, topology, web

from anycast_sdn.control import edge as control_edge
from anycast_sdn.control import neighbours
from anycast_sdn.control.claims import Neighbour
from anycast_sdn.core.model import TCP, UDP, AnycastGroup, Groups, Prefix, Server, packed
from anycast_sdn.openflow import builders
from anycast_sdn.simulation import SimulatedNetwork

ABSENT = {False: packed("10.2.0.99"), True: packed("2001:db8:2::99")}  # behind ars2, where nobody has them
MAC = b"\2\0\0\0\0\1"


def test_a_switch_that_lost_power_gets_its_flows_again_and_they_keep_pr1x_and_server(build, v6):
    net = build("figure1", "as2", "as3")
    ask(net, service=SERVICE[v6])
    before = bindings(net)
    net.kill("arh1")
    net.advance(1)
    net.connect("arh1")
    net.settle()
    ask(net, service=SERVICE[v6], payload=b"again")
    assert bindings(net) == before
    assert payloads(net.host("as2").received)[-1] == b"again"


def test_a_service_whose_servers_are_all_away_takes_no_address_from_the_pool(v6):
    network = topology("figure1")
    away = replace(group(network, "away", SECOND_SERVICE), servers={ABSENT[v6]: Server(ABSENT[v6])})
    net = SimulatedNetwork(network, Groups({each.name: each for each in (*web(network, "as2"), away)}))
    for port in range(40000, 40020):
        ask(net, service=SECOND_SERVICE[v6], port=port)
    assert bindings(net) == []
    assert drops(net, "arh1")["no_able_edge"] == 20
    ask(net, service=SERVICE[v6])
    assert len(bindings(net)) == 1


def test_a_host_with_many_addresses_leaves_room_for_those_behind_other_ports(build, monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_HOSTS", 20)
    net = build("figure1", "as2")
    h1, gateway = net.host("h1"), packed("10.1.0.1")
    for last in range(30, 90):
        net.send("h1", builders.arp_reply(h1.mac, bytes([10, 1, 0, last]), edge(net, "arh1").mac, gateway))
    net.settle()
    assert drops(net, "arh1")["too_many_hosts"] > 30
    ask(net, "h2")
    assert payloads(net.host("h2").received)


@pytest.mark.parametrize("servers", [3, 700])
def test_a_group_never_outgrows_an_openflow_message(servers):
    net = SimulatedNetwork(topology("figure1"))
    ars2 = edge(net, "ars2")
    addresses = [packed(f"2001:db8:2::{number:x}") for number in range(256, 256 + servers)]
    for address in addresses:
        ars2.neighbours.adopt(address, Neighbour(MAC, 1), net.now)
    service = Prefix.host(SERVICE[True])
    big = AnycastGroup("big", (service,), {address: Server(address) for address in addresses})
    assert len(ars2.able_servers(big, service)) == min(servers, control_edge.MOST_BUCKETS)


def test_a_tcp_validity_equal_to_that_of_a_closed_connection_is_not_taken_for_one(build):
    net = build("figure1", "as2", validity={"tcp_s": 5, "tcp_closed_s": 5})
    ask(net, protocol=TCP)
    net.advance(30)
    assert bindings(net) == []
    assert client_edge(net).bindings.rules == 0


def test_a_flood_of_new_flows_from_one_port_leaves_the_other_ports_and_existing_flows_alone(build):
    net = build("figure1", "as2", bindings_per_client=100_000, translation_prefixes=(Prefix.parse("100.64.0.0/16"),))
    ask(net, "h2", port=30000)
    for port in range(1024, 8000):
        net.send("h1", net.host("h1").packet(SERVICE[False], UDP, port, 53))
    net.settle()
    of_h1 = sum(binding.key.source == packed("10.1.0.10") for binding in bindings(net))
    assert of_h1 <= net.network.limits.first_packets // 10 + 100  # the meter's burst, and what little time passed
    ask(net, "h2", port=30001)
    ask(net, "h2", port=30000, payload=b"still here")
    assert {binding.key.source_port for binding in bindings(net) if binding.key.source == packed("10.1.0.11")} == {
        30000,
        30001,
    }
    assert payloads(net.host("as2").received)[-1] == b"still here"
