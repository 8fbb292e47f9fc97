"""Flows whose PR1X the switch chooses by itself: all (``allocation: switch``, M36), or those without a controller."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scenes import SERVICE, ask, drops, errors, group, managed, network, topology, web

from anycast_sdn.core.bindings import NOT_KNOWN, Binding, State
from anycast_sdn.core.events import Severity
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Affinity, FlowKey, Prefix
from anycast_sdn.core.network_events import RangeExhausted, RangeRecovered
from anycast_sdn.core.roles import Allocation, ClientEdgeRole, Conntrack, EngineName
from anycast_sdn.openflow.frames import parse_ip, source_of
from anycast_sdn.openflow.meters import Meter, port_meter
from anycast_sdn.openflow.pipeline import REPORTS, kind_of
from anycast_sdn.openflow.rules import TCP_RST, TCP_SYN, MeterRule, SetMeter
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.reasons import Reason, reasons

PROHIBITED = {False: (3, 13), True: (1, 1)}
UDP_LITE = 136
GONE_S = 4.0  # after so long the switch knows that no controller lives
ENGINES = (EngineName.CONNTRACK,)


def switched(*hosts: str, **changes: Any) -> SimulatedNetwork:
    return network("figure1", *hosts, engines=ENGINES, conntrack=Conntrack(Allocation.SWITCH), **changes)


def controlled(*hosts: str, reserve: int = 8) -> SimulatedNetwork:
    return network("figure1", *hosts, engines=ENGINES, conntrack=Conntrack(reserve=reserve))


def flows(net: SimulatedNetwork) -> list[Binding]:
    return list(managed(net, "arh1").engine.flows)


def role_of(net: SimulatedNetwork) -> ClientEdgeRole:
    role = net.network.switch("arh1").client_edge
    assert role
    return role


def fill(net: SimulatedNetwork) -> None:
    """From now on, the tracker takes one connection in each zone."""
    net.switches["arh1"].tracker.limits.update(dict.fromkeys(role_of(net).conntrack.zones, 1))


def copies(net: SimulatedNetwork) -> int:
    """How many packets of flows have been copied to the controller, or were to be."""
    return sum(packets for cookie, packets in net.switches["arh1"].counters() if kind_of(cookie) in REPORTS)


def without_controller(net: SimulatedNetwork) -> None:
    net.disconnect("arh1")
    net.advance(GONE_S)


def sources(net: SimulatedNetwork, host: str) -> list[tuple[bytes, int]]:
    """PR1X and port of the packets that this host has got."""
    return [(flow.source, flow.source_port) for flow in net.host(host).flows()]


def send(net: SimulatedNetwork, v6: bool, port: int = 40000, **options: Any) -> None:
    ask(net, service=SERVICE[v6], port=port, **options)


# ------------------------------------------------------------------------------ all flows


def test_the_switch_begins_flows_by_itself_and_the_controller_learns_of_them(v6: bool) -> None:
    net = switched("as2")
    send(net, v6)
    (flow,) = flows(net)
    assert flow.key == FlowKey(net.host("h1").address(v6), SERVICE[v6], UDP, 40000, 53)
    assert (flow.group, flow.server, flow.state) == ("web", net.host("as2").address(v6), State.PINNED)
    assert sources(net, "as2") == [(flow.translated, flow.port_there)]
    assert any(flow.translated in prefix for prefix in role_of(net).translation_prefixes)
    assert managed(net, "arh1").engine.flows.of_client(net.host("h1").address(v6)) == 1
    assert len(net.host("h1").flows()) == 1
    net.check_recompute_changes_nothing()


def test_its_packets_do_not_wait_for_the_controller(v6: bool) -> None:
    net = switched("as2")
    net.disconnect("arh1")
    send(net, v6)
    assert len(sources(net, "as2")) == len(net.host("h1").flows()) == 1


def test_what_has_begun_without_the_controller_is_learned_when_it_is_back(v6: bool) -> None:
    net = switched("as2")
    without_controller(net)
    send(net, v6)
    net.connect("arh1")
    net.advance(1)
    assert flows(net) == []
    send(net, v6)
    (flow,) = flows(net)
    assert (flow.server, flow.reply_s) == (net.host("as2").address(v6), NOT_KNOWN)


def test_clients_share_an_address_and_are_told_apart_by_ports() -> None:
    """A range of two addresses, and three clients with the same ports."""
    net = switched("as2", translation_prefixes=(Prefix.parse("203.0.113.0/30"),))
    for client in ("h1", "h2"):
        for port in (40000, 40001, 40002):
            ask(net, client, port=port)
    assert len({flow.translated for flow in flows(net)}) < len(flows(net)) == 6
    table = managed(net, "arh1").engine.flows
    for flow in flows(net):
        seen = FlowKey(net.host("as2").address(False), flow.translated, UDP, 53, flow.port_there)
        assert table.by_reply(seen) == flow
    assert sorted(sources(net, "as2")) == sorted((flow.translated, flow.port_there) for flow in flows(net))
    assert len(net.host("h1").flows()) == len(net.host("h2").flows()) == 3


def test_a_flow_that_has_ended_in_the_switch_is_replaced_by_the_next_with_its_ports() -> None:
    net = switched("as2")
    send(net, False)
    (before,) = flows(net)
    net.switches["arh1"].tracker.end(*_connection(net), net.now)
    send(net, False)
    (after,) = flows(net)
    assert after.translated == before.translated  # the same hash
    assert after.server == before.server


def _connection(net: SimulatedNetwork) -> tuple[int, FlowKey]:
    tracker = net.switches["arh1"].tracker
    zone = role_of(net).conntrack.zone_of(False, udp=True)
    (connection,) = tracker.connections(zone, net.now)
    return zone, connection.key


def test_a_stranger_and_a_second_server_get_nothing_through(v6: bool) -> None:
    net = switched("as2")
    send(net, v6)
    (flow,) = flows(net)
    net.set_groups(Groups({"web": group(net.network, "web", SERVICE, "as2", "as3")}))
    net.settle()
    heard = len(net.host("h1").flows())
    for sender in ("as3", "as4"):  # of the group, and of none
        net.send(sender, net.host(sender).packet(flow.translated, UDP, 53, flow.port_there))
        net.settle()
    assert len(net.host("h1").flows()) == heard
    counted = drops(net, "arh1")
    assert (counted["stranger_reply"], counted["unknown_translated"]) == (1, 1)
    assert flows(net) == [flow]


@pytest.mark.parametrize("syn", [False, True])
def test_when_the_switch_has_no_address_left_the_client_gets_an_error(v6: bool, syn: bool) -> None:
    net = switched("as2")
    fill(net)
    protocol, options = (TCP, {"tcp_flags": TCP_SYN}) if syn else (UDP, {})
    for port in (40000, 40001):
        send(net, v6, port, protocol=protocol, service_port=53, **options)
    assert len(sources(net, "as2")) == len(flows(net)) == 1
    assert drops(net, "arh1") == {"pool_empty": 1}
    assert errors(net.host("h1")) == ([] if syn else [PROHIBITED[v6]])
    last = net.host("h1").received[-1]
    assert not syn or last[parse_ip(last).l4 + 13] & TCP_RST


def test_it_is_told_that_the_switch_has_no_address_left_and_that_it_has_again(v6: bool) -> None:
    net = switched("as2")
    family = "ipv6" if v6 else "ipv4"
    fill(net)
    send(net, v6, 40000)
    net.advance(1)
    assert _exhaustion(net) == []
    send(net, v6, 40001)
    net.advance(1)
    (reason,) = _exhaustion(net)
    assert (reason.about, reason.subject.name, reason.severity) == (family, "arh1", Severity.CRITICAL)
    assert "refused until now: 1 packet" in reason.sentence
    use = managed(net, "arh1").engine.statistics(net.now).ranges
    assert {of: found.refused for of, found in use.items()} == {"ipv4": 0, "ipv6": 0} | {family: 1}
    net.advance(20)
    assert _exhaustion(net) == []
    told = [event for event in net.channels.reported if isinstance(event, RangeExhausted | RangeRecovered)]
    assert told == [RangeExhausted("arh1", family), RangeRecovered("arh1", family)]


def _exhaustion(net: SimulatedNetwork) -> list[Reason]:
    found = reasons(net.controller, net.counters, [], "", net.now)
    return [each for each in found if each.code.startswith(("range.", "pool."))]


@pytest.mark.parametrize("removed", [False, True], ids=["no active server", "no group"])
@pytest.mark.parametrize("syn", [False, True])
def test_a_new_flow_to_a_service_that_only_flows_have_gets_an_error(v6: bool, syn: bool, removed: bool) -> None:
    """The switch begins none, although it has the rules of the service for the flows that go on."""
    net = switched("as2")
    send(net, v6, 40000)
    if removed:
        net.set_groups(Groups({}))
    else:
        net.set_groups(web(net.network, "as2", draining=("as2",)))
    net.advance(1.0)
    before = len(net.host("h1").received)
    protocol, options = (TCP, {"tcp_flags": TCP_SYN}) if syn else (UDP, {})
    send(net, v6, 40001, protocol=protocol, service_port=53, **options)
    assert [flow.key.source_port for flow in flows(net)] == [40000]
    assert drops(net, "arh1") == {"no_service": 1}
    (answer,) = net.host("h1").received[before:]
    assert not syn or answer[parse_ip(answer).l4 + 13] & TCP_RST
    send(net, v6, 40000)
    assert len(sources(net, "as2")) == 2


def test_clients_that_are_bound_as_a_whole_are_the_controllers(v6: bool) -> None:
    """M31: their flows have one address, from the part of PRh/k that the switch leaves to the controller."""
    description = topology("figure1", engines=ENGINES, conntrack=Conntrack(Allocation.SWITCH))
    bound = replace(group(description, "web", SERVICE, "as2", "as3"), affinity=Affinity.CLIENT)
    net = SimulatedNetwork(description, Groups({"web": bound}))
    send(net, v6, 40000)
    send(net, v6, 40001)
    (flow,) = flows(net)
    assert flow.key.is_whole
    assert flow.translated not in managed(net, "arh1").engine.flows.shared
    assert {source for host in ("as2", "as3") for source, _ in sources(net, host)} == {flow.translated}


def test_a_protocol_whose_checksum_covers_addresses_is_refused_by_the_controller(v6: bool) -> None:
    net = switched("as2")
    send(net, v6, 0, protocol=UDP_LITE, service_port=0)
    assert sources(net, "as2") == flows(net) == []
    assert drops(net, "arh1") == {"unsupported_protocol": 1}


def test_pings_are_begun_by_the_switch_too(v6: bool) -> None:
    net = switched("as2")
    send(net, v6, 7, protocol=ICMPV6 if v6 else ICMP, service_port=0, identifier=7)
    (flow,) = flows(net)
    assert flow.server == net.host("as2").address(v6)
    assert len(net.host("h1").flows()) == 1


def test_flows_that_are_not_reported_are_counted() -> None:
    net = switched("as2")
    net.advance(1)  # counters have been read once
    send(net, False, 40000)
    no_more = MeterRule(port_meter(Meter.REPORTS, 0), rate=0, burst=0)
    net.switches["arh1"].apply(SetMeter(no_more, exists=True), net.now)
    send(net, False, 40001)
    send(net, False, 40002)
    net.advance(12)
    assert [flow.key.source_port for flow in flows(net)] == [40000]
    assert drops(net, "arh1") == {"unreported": 2}


def test_a_reply_to_a_flow_that_was_never_reported_says_nothing_of_a_later_one_with_its_ports() -> None:
    net = switched("as2")
    reports = port_meter(Meter.REPORTS, 0)
    limit = net.switches["arh1"].meters[reports]
    net.switches["arh1"].apply(SetMeter(MeterRule(reports, rate=0, burst=0), exists=True), net.now)
    send(net, False)
    net.switches["arh1"].tracker.end(*_connection(net), net.now)
    net.advance(60)
    net.switches["arh1"].apply(SetMeter(limit, exists=True), net.now)
    net.host("as2").on_packet = lambda frame, packet: ()
    send(net, False)
    assert [flow.state for flow in flows(net)] == [State.UNANSWERED]


# ------------------------------------------------------------------------------ the reserve


def test_new_flows_are_served_out_of_the_reserve_while_no_controller_answers(v6: bool) -> None:
    net = controlled("as2")
    send(net, v6, 40000)
    without_controller(net)
    send(net, v6, 40001)
    reserve = role_of(net).reserve(v6)
    assert reserve
    (first, _), (second, _) = sources(net, "as2")
    assert first not in reserve
    assert second in reserve
    assert len(net.host("h1").flows()) == 2


def test_they_go_on_and_become_known_when_the_controller_is_back(v6: bool) -> None:
    net = controlled("as2")
    without_controller(net)
    send(net, v6, 40001)
    net.connect("arh1")
    net.advance(1)
    send(net, v6, 40001)
    send(net, v6, 40002)
    known, new = flows(net)
    assert (known.key.source_port, known.server) == (40001, net.host("as2").address(v6))
    assert {source for source, port in sources(net, "as2") if port == 40001} == {known.translated}
    assert known.translated in managed(net, "arh1").engine.flows.shared
    assert new.translated not in managed(net, "arh1").engine.flows.shared
    net.check_recompute_changes_nothing()


def test_they_are_reported_once(v6: bool) -> None:
    net = controlled("as2")
    without_controller(net)
    send(net, v6, 40001)
    net.connect("arh1")
    net.advance(1)
    for _ in range(3):
        send(net, v6, 40001)
    assert copies(net) == 1


def test_the_pool_never_gives_an_address_of_the_reserve() -> None:
    net = controlled("as2", reserve=2)
    pools = managed(net, "arh1").engine.statistics(net.now).pools
    assert pools["ipv4"].size == 254 - 127


def test_a_controller_that_ends_in_an_orderly_way_leaves_no_gap(v6: bool) -> None:
    net = controlled("as2")
    net.react(net.controller.retire(net.now))
    net.settle()
    net.disconnect("arh1")
    send(net, v6)
    assert len(sources(net, "as2")) == 1


def test_without_a_reserve_new_flows_wait_for_the_controller(v6: bool) -> None:
    net = controlled("as2", reserve=0)
    without_controller(net)
    send(net, v6)
    assert sources(net, "as2") == []


def test_when_the_reserve_is_used_up_no_packet_leaves_untranslated(v6: bool) -> None:
    net = controlled("as2")
    fill(net)
    without_controller(net)
    for port in (40000, 40001, 40002):
        send(net, v6, port)
    assert len(sources(net, "as2")) == 1
    behind = [sighting.frame for sighting in net.wires if sighting.sender == "arh1" and sighting.receiver == "c1"]
    assert net.host("h1").address(v6) not in map(source_of, behind)
