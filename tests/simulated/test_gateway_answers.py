"""While no controller is there, Open vSwitch answers hosts' ARP and ND for their gateways (M36)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scenes import GATEWAY, SERVICE, STRANGE_MAC, UNUSED, ask, claim, known, managed, network, probe

from anycast_sdn.core.model import packed
from anycast_sdn.core.roles import EngineName
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.presence import LIVES_S
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.network import SimulatedNetwork

GONE_S = LIVES_S + 1.0  # after so long the switch knows that no controller lives
OWN_ROWS = (Kind.CONTROLLER_ANSWERS, Kind.GATEWAY_ASKED, Kind.GATEWAY_ANSWER)
SERVERS_GATEWAY = {False: packed("10.2.0.1"), True: packed("2001:db8:2::1")}
ELSEWHERE = {False: packed("10.2.0.10"), True: packed("2001:db8:2::10")}
LINK_LOCAL = packed("fe80::1")


def tracked(**options: Any) -> SimulatedNetwork:
    return network("figure1", "as2", engines=(EngineName.CONNTRACK, EngineName.RULES), **options)


def alone(*switches: str, **options: Any) -> SimulatedNetwork:
    """These switches have lost their controller."""
    net = tracked(**options)
    for switch in switches:
        net.disconnect(switch)
    net.advance(GONE_S)
    return net


def answers(net: SimulatedNetwork, host: str, *frames: bytes) -> list[bytes]:
    """The frames that ``host`` gets because of these; no other host gets any."""
    before = len(net.wires)
    net.send(host, *frames)
    net.settle()
    hosts = {each.name for each in net.network.hosts}
    got = [sighting for sighting in net.wires[before:] if sighting.receiver in hosts]
    assert {sighting.receiver for sighting in got} <= {host}
    return [sighting.frame for sighting in got]


def matched(net: SimulatedNetwork, switch: str = "arh1") -> Counter[Kind]:
    counted = net.switches[switch].packets()
    return Counter({kind: counted[kind] for kind in OWN_ROWS if counted[kind]})


@pytest.mark.row("M36", "no controller: the switch answers ARP and ND for its gateways, as the controller does")
@pytest.mark.parametrize(
    ("switch", "host", "gateways"),
    [("arh1", "h1", GATEWAY), ("ars2", "as2", SERVERS_GATEWAY)],
    ids=["client", "server"],
)
def test_the_switch_gives_the_answer_that_the_controller_gives(v6: bool, switch: str, host: str, gateways: Any) -> None:
    net = tracked()
    question = net.host(host).question(gateways[v6])
    answer = answers(net, host, question)
    assert len(answer) == 1
    assert Kind.GATEWAY_ASKED not in matched(net, switch)
    net.disconnect(switch)
    net.advance(GONE_S)
    assert answers(net, host, question) == answer
    assert matched(net, switch)[Kind.GATEWAY_ANSWER] == 1


def test_probes_for_a_gateway_that_is_known_are_answered(v6: bool) -> None:
    """To the switch alone; in IPv6, from the link-local address, as hosts do it."""
    net = alone("arh1")
    host, mac = net.host("h1"), managed(net, "arh1").mac
    if v6:
        probes = builders.neighbour_solicitation(host.mac, LINK_LOCAL, GATEWAY[v6], mac)
        expected = builders.neighbour_advertisement(mac, GATEWAY[v6], GATEWAY[v6], host.mac, LINK_LOCAL, solicited=True)
    else:
        probes = builders.arp_request(host.mac, host.address(v6), GATEWAY[v6], mac)
        expected = builders.arp_reply(mac, GATEWAY[v6], host.mac, host.address(v6))
    assert answers(net, "h1", probes) == [expected]


def test_other_questions_get_no_answer(v6: bool) -> None:
    net = alone("arh1")
    host = net.host("h1")
    strange = builders.neighbour_solicitation if v6 else builders.arp_request
    frames = [
        probe(STRANGE_MAC, UNUSED[v6]),  # nobody has these addresses: their duplicate-address detection succeeds
        probe(STRANGE_MAC, GATEWAY[v6]),
        claim(STRANGE_MAC, UNUSED[v6]),
        host.question(UNUSED[v6]),
        host.question(SERVERS_GATEWAY[v6]),
        strange(STRANGE_MAC, ELSEWHERE[v6], GATEWAY[v6]),  # the sender is in no subnet of the port
        strange(STRANGE_MAC, SERVICE[v6], GATEWAY[v6]),
    ]
    assert answers(net, "h1", *frames) == []
    tagged = host.question(GATEWAY[v6])
    assert answers(net, "h1", tagged[:12] + b"\x81\x00\x00\x05" + tagged[12:]) == []


def test_the_controller_answers_and_learns_hosts_again_when_it_is_back(v6: bool) -> None:
    net = alone("arh1")
    net.connect("arh1")
    net.advance(1)
    moved = packed("10.1.0.77"), packed("2001:db8:1::77")
    asks = builders.neighbour_solicitation if v6 else builders.arp_request
    assert len(answers(net, "h1", asks(STRANGE_MAC, moved[v6], GATEWAY[v6]))) >= 1
    assert known(net)[moved[v6]][0] == STRANGE_MAC
    assert Kind.GATEWAY_ASKED not in matched(net)
    net.check_recompute_changes_nothing()


def test_a_controller_that_ends_in_an_orderly_way_leaves_no_gap(v6: bool) -> None:
    net = tracked()
    net.react(net.controller.retire(net.now))
    net.settle()
    net.disconnect("arh1")
    assert len(answers(net, "h1", net.host("h1").question(GATEWAY[v6]))) == 1


def test_a_flood_of_questions_is_limited_for_each_port(v6: bool) -> None:
    net = alone("arh1")
    question = net.host("h1").question(GATEWAY[v6])
    count = 2 * net.network.limits.neighbours
    assert len(answers(net, "h1", *[question] * count)) < count / 2
    assert len(answers(net, "h2", net.host("h2").question(GATEWAY[v6]))) == 1


@pytest.mark.parametrize("missing", ["gateway_answers", "tcp_flags"])
def test_a_switch_without_the_extensions_has_no_such_rules(missing: str) -> None:
    net = alone("arh1", switch={missing: False, "connections": missing != "tcp_flags"})
    assert not {*OWN_ROWS} & {*net.switches["arh1"].packets()}
    ask(net)


def test_nor_has_a_network_where_no_flow_begins_without_a_controller() -> None:
    net = network("figure1", "as2", engines=(EngineName.RULES,))
    assert not {*OWN_ROWS} & {*net.switches["arh1"].packets()}
