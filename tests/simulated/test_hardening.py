"""One host, one absent server or one power cut does not harm other hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import (
    GATEWAY,
    SECOND_SERVICE,
    SERVICE,
    UNUSED,
    ask,
    bindings,
    client_edge,
    drops,
    group,
    managed,
    payloads,
    topology,
    web,
)

from anycast_sdn.control import neighbours, throttle
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, AnycastGroup, Neighbour, Prefix, Server, packed
from anycast_sdn.core.slots import apportioned, table_size
from anycast_sdn.openflow import builders, entries
from anycast_sdn.openflow.codec import PACKER
from anycast_sdn.openflow.meters import Meter, port_meter, reply_meter
from anycast_sdn.simulation.network import SimulatedNetwork

ABSENT = {False: packed("10.2.0.99"), True: packed("2001:db8:2::99")}  # behind ars2, where no host has them
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
        net.send("h1", builders.arp_reply(h1.mac, bytes([10, 1, 0, last]), managed(net, "arh1").mac, gateway))
    net.settle()
    assert drops(net, "arh1")["too_many_hosts"] > 30
    ask(net, "h2")
    assert payloads(net.host("h2").received)


def test_asking_for_addresses_before_claiming_them_gains_no_more_of_them(build, monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_HOSTS", 20)
    net = build("figure1", "as2")
    h1, gateway, mac = net.host("h1"), packed("10.1.0.1"), managed(net, "arh1").mac
    for last in range(30, 90):
        address = bytes([10, 1, 0, last])
        net.send("h1", builders.arp_request(h1.mac, packed("10.1.0.10"), address, builders.BROADCAST))
        net.send("h1", builders.arp_reply(h1.mac, address, mac, gateway))
        net.advance(0.1)
    assert sum(neighbour.port == 1 for _, neighbour in managed(net, "arh1").neighbours.known()) <= 20
    assert drops(net, "arh1")["too_many_hosts"] > 30


@pytest.mark.parametrize("servers", [3, 33, 700])
def test_a_group_never_outgrows_an_openflow_message(servers):
    """Not even with the longest buckets: IPv6, MACs, back by the same port."""
    addresses = [packed(f"2001:db8:2::{number:x}") for number in range(256, 256 + servers)]
    big = AnycastGroup("big", (Prefix.host(SERVICE[True]),), {address: Server(address) for address in addresses})
    slots = apportioned(big.servers.values(), table_size(big, True))
    assert (len(slots), len(set(slots))) == (64 if servers < 33 else 448, min(servers, 448))
    buckets = {server: entries.bucket(server, MAC, Neighbour(MAC, 1), hairpin=True) for server in slots}
    message = PACKER.group_mod(entries.server_group(7, slots, buckets), 0, 1)
    assert len(message) + 16 < 1 << 16, "also as a switch describes it"


def test_a_tcp_validity_equal_to_the_closing_time_does_not_make_connections_count_as_closed(build):
    net = build("figure1", "as2", validity={"tcp_s": 5, "tcp_closed_s": 5})
    ask(net, protocol=TCP)
    net.advance(30)
    assert bindings(net) == []
    assert client_edge(net).bindings.rules == 0


def test_a_flood_of_new_flows_from_one_port_does_not_affect_other_ports_or_existing_flows(build):
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


# ------------------------------------------------------------------------------ one host's flood does not affect others


FLOOD = 2000  # packets at once: far more than any meter's burst


def test_a_flood_of_pings_to_the_gateway_does_not_affect_replies_to_others(build, v6):
    net = build("figure1", "as2")
    gateway, ping = GATEWAY[v6], ICMPV6 if v6 else ICMP
    h1, h2, as2 = map(net.host, ("h1", "h2", "as2"))
    net.send("h1", *[h1.packet(gateway, ping)] * FLOOD)
    net.send("h2", h2.packet(gateway, ping))
    net.send("as2", as2.packet(gateway, ping))
    net.settle()
    assert len(h1.received) < FLOOD / 10
    assert len(h2.received) == len(as2.received) == 1


def test_a_flood_of_pings_from_another_switch_does_not_affect_replies_to_hosts_of_the_gateway(build, v6):
    net = build("figure1", "as2")
    gateway, ping = GATEWAY[v6], ICMPV6 if v6 else ICMP
    net.send("as2", *[net.host("as2").packet(gateway, ping)] * FLOOD)
    net.settle()
    net.send("h1", net.host("h1").packet(gateway, ping))
    net.settle()
    assert len(net.host("h1").received) == 1


def forget(net, name):
    """The host is not known at its edge, and sends nothing by itself."""
    host = net.host(name)
    home, host.port = host.port, host.port._replace(number=99)
    net.advance(40)
    host.port = home


@pytest.mark.parametrize("flooder", ["h1", "as3"])
def test_a_flood_to_absent_hosts_does_not_affect_packets_to_other_unknown_hosts(v6, flooder):
    net = SimulatedNetwork(topology("figure1"))
    h2, as2 = net.host("h2"), net.host("as2")
    forget(net, "as2")
    net.send(flooder, *(net.host(flooder).packet(ABSENT[v6], UDP, port, 9) for port in range(1, FLOOD)))
    net.settle()
    forget(net, "h2")
    net.send(flooder, *(net.host(flooder).packet(UNUSED[v6], UDP, port, 9) for port in range(1, FLOOD)))
    net.settle()
    asker = net.host({"h1": "as4", "as3": "h1"}[flooder])
    net.send(asker.name, asker.packet(h2.address(v6), UDP, 1, 9, payload=b"found"))
    net.settle()
    assert payloads(h2.received) == [b"found"]
    assert as2.received == []


def test_a_scan_behind_one_port_leaves_other_ports_their_share_of_addresses_to_resolve(v6, monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_UNKNOWN", 20)
    net = SimulatedNetwork(topology("figure1"))
    h2 = net.host("h2")
    forget(net, "h2")
    for last in range(30, 90):
        address = packed(f"2001:db8:1::{last:x}" if v6 else f"10.1.0.{last}")
        net.send("h1", net.host("h1").packet(address, UDP, 1, 9))
    net.settle()
    assert drops(net, "arh1")["unresolvable"] > 20
    net.send("as4", net.host("as4").packet(h2.address(v6), UDP, 1, 9, payload=b"found"))
    net.settle()
    assert payloads(h2.received) == [b"found"]


def test_a_server_that_floods_a_translation_prefix_does_not_affect_replies_of_others(build, v6):
    net = build("figure1", "as2", "as3")
    unused = packed("2001:db8:1:f::77" if v6 else "203.0.113.77")
    as3 = net.host("as3")
    net.send("as3", *(as3.packet(unused, UDP, 53, port) for port in range(1, 3000)))
    net.settle()
    assert drops(net, "arh1")["no_binding"] < 2100
    ask(net, "h1", SERVICE[v6])
    assert bindings(net)[0].server == net.host("as2").address(v6)


def test_the_servers_of_figure_1_have_meters_of_their_own(v6):
    net = SimulatedNetwork(topology("figure1"))
    servers = [host.address(v6) for name in ("as2", "as3", "as4") for host in [net.host(name)]]
    assert len(set(map(reply_meter, servers))) == 3


def test_a_port_whose_flood_is_refused_is_limited_for_a_while(build):
    net = build("figure1", "as2", bindings_per_client=5)
    limit = net.network.limits.first_packets
    meter = port_meter(Meter.FIRST_PACKETS, 0)
    h1 = net.host("h1")
    for _ in range(4):
        net.send("h1", *(h1.packet(SERVICE[False], UDP, port, 53) for port in range(20000, 20500)))
        net.advance(0.25)
    assert net.switches["arh1"].meters[meter].rate == throttle.HELD_PER_S
    assert net.switches["arh1"].meters[port_meter(Meter.FIRST_PACKETS, 1)].rate == limit
    assert drops(net, "arh1")["port_held_back"] == 1
    ask(net, "h2")
    assert payloads(net.host("h2").received)
    net.advance(1)
    assert net.switches["arh1"].meters[meter].rate == limit


def test_a_port_whose_flood_is_served_is_not_limited(build):
    net = build("figure1", "as2", bindings_per_client=100_000, translation_prefixes=(Prefix.parse("100.64.0.0/16"),))
    h1 = net.host("h1")
    for start in range(20000, 24000, 500):
        net.send("h1", *(h1.packet(SERVICE[False], UDP, port, 53) for port in range(start, start + 500)))
        net.advance(0.25)
    assert len(bindings(net)) == 4000
    assert "port_held_back" not in drops(net, "arh1")
