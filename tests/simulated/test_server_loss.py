"""A flow does not outlive its server's death: it is bound anew, or its client is told at once (M32)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, client_edge, drops, group, managed, the_binding, web

from anycast_sdn.control.controller import Pace
from anycast_sdn.control.losses import LOST_AFTER_S
from anycast_sdn.core.bindings import Half, State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Affinity, OnServerLoss
from anycast_sdn.core.roles import Expiry
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import Kind, kind_of
from anycast_sdn.simulation.host import TCP_ACK

AS2, LINK = Port("ars2", 1), Port("core", 11)
SYN, RST = 0x02, 0x04
NOTICED_S = 2.5  # a silence; a port that goes down is noticed at once
OVER_S = LOST_AFTER_S + 0.5


def poll(net, v6=False, port=123, **options):
    ask(net, service=SERVICE[v6], port=port, service_port=123, **options)


def pinned(build, v6=False, *hosts, **options):
    """figure 1 with one flow that is pinned to as2, the nearest."""
    net = build("figure1", *(hosts or ("as2", "as3")), **options)
    poll(net, v6)
    assert the_binding(net).server == net.host("as2").address(v6)
    return net


def server(net, v6=False):
    """The host that the only flow is pinned to, if any."""
    found = the_binding(net).server
    return next((name for name in ("as2", "as3", "as4") if net.host(name).address(v6) == found), None)


def die(net):
    net.set_port(AS2, False)
    net.advance(OVER_S)


def counted(net, name="arh1"):
    return {counter: drops(net, name).get(counter, 0) for counter in ("freed", "server_lost", "server_returned")}


# ------------------------------------------------------------------------------ what becomes of a flow


@pytest.mark.parametrize("expiry", list(Expiry), ids=lambda expiry: expiry.value)
def test_a_flow_whose_server_is_lost_goes_to_another_one_with_the_same_address(build, v6, expiry):
    net = pinned(build, v6, expiry=expiry, idle_timeouts=0)
    before = the_binding(net)
    die(net)
    assert the_binding(net) == before._replace(server=None, installed=Half.OUT)
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


def test_a_freed_flow_that_nobody_uses_ends_and_its_address_rests(build):
    """Also where the controller's sweep ends it: packets of before have carried the address."""
    for expiry in (Expiry.IDLE_TIMEOUT, Expiry.SWEEP):
        net = pinned(build, expiry=expiry, validity={"unanswered_s": 10})
        die(net)
        net.advance(45)
        assert not bindings(net)
        assert client_edge(net).addresses.use(net.now)["ipv4"].resting == 1


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


# ------------------------------------------------------------------------------ who is lost, and who is not


def test_a_silent_server_is_noticed_and_its_flows_are_freed(build, v6):
    net = pinned(build, v6)
    net.silent.add(AS2)
    net.advance(NOTICED_S)
    assert managed(net, "ars2").neighbours.get(net.host("as2").address(v6)) is None
    net.advance(LOST_AFTER_S)
    poll(net, v6)
    assert server(net, v6) == "as3"


@pytest.mark.parametrize("phase_s", [0.0, 0.3, 0.55, 0.8, 1.05])
def test_a_server_that_falls_silent_is_replaced_within_6_s(build, v6, phase_s):
    net = pinned(build, v6)
    net.advance(phase_s)
    net.silent.add(AS2)
    net.advance(5.6)
    poll(net, v6)
    assert server(net, v6) == "as3"


@pytest.mark.parametrize("away_s", [4.0, 4.5])
def test_a_silent_server_that_answers_again_before_it_is_lost_keeps_everything(build, v6, away_s):
    net = pinned(build, v6)
    before = bindings(net)
    net.silent.add(AS2)
    net.advance(away_s)
    assert managed(net, "ars2").neighbours.get(net.host("as2").address(v6)) is None
    net.silent.discard(AS2)
    net.advance(10)
    assert bindings(net) == before


@pytest.mark.parametrize("away_s", [1.0, 2.0, 2.9])
def test_a_server_that_is_back_soon_keeps_everything(build, v6, away_s):
    net = pinned(build, v6)
    before = bindings(net)
    net.set_port(AS2, False)
    net.advance(away_s)
    net.set_port(AS2, True)
    net.advance(10)
    assert bindings(net) == before
    poll(net, v6)
    assert server(net, v6) == "as2"


def test_a_removed_server_that_answers_keeps_its_flows(build, v6):
    net = pinned(build, v6)
    net.set_groups(web(net.network, "as3"))
    net.advance(60)
    poll(net, v6)
    assert server(net, v6) == "as2"


@pytest.mark.parametrize("first", ["removal", "death"])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "port down"])
def test_a_removed_server_that_dies_is_lost(build, v6, first, silent):
    net = pinned(build, v6)

    def remove():
        net.set_groups(web(net.network, "as3"))

    def kill():
        net.silent.add(AS2) if silent else net.set_port(AS2, False)

    for act in (remove, kill) if first == "removal" else (kill, remove):
        act()
        net.advance(1.0)
    net.advance(NOTICED_S + OVER_S)
    poll(net, v6)
    assert server(net, v6) == "as3"


def test_a_removed_server_is_watched_for_as_long_as_it_has_flows(build):
    net = pinned(build, validity={"udp_s": 20})
    address, neighbours = net.host("as2").address(False), managed(net, "ars2").neighbours
    net.set_groups(web(net.network, "as3"))
    net.settle()
    assert neighbours.is_watched(address)
    net.advance(30)
    assert not bindings(net)
    assert not neighbours.is_watched(address)


def test_a_server_edge_that_has_lost_the_controller_loses_no_server(build):
    net = pinned(build)
    net.disconnect("ars2")
    net.advance(60)
    poll(net)
    assert server(net) == "as2"
    net.connect("ars2")
    net.advance(10)
    assert server(net) == "as2"


def test_servers_of_an_edge_that_no_route_leads_to_are_lost(build, v6):
    net = pinned(build, v6)
    before = the_binding(net)
    net.set_port(LINK, False)
    net.advance(2.5)
    assert the_binding(net) == before
    net.advance(1.0)
    poll(net, v6)
    assert server(net, v6) == "as3"
    net.set_port(LINK, True)
    net.advance(10)
    poll(net, v6)
    assert server(net, v6) == "as3"
    assert counted(net) == {"freed": 1, "server_lost": 0, "server_returned": 1}


def test_an_edge_that_is_reached_again_soon_keeps_its_flows(build):
    net = pinned(build)
    net.set_port(LINK, False)
    net.advance(0.5)
    net.set_port(LINK, True)
    net.advance(10)
    assert server(net) == "as2"


def test_a_server_that_returns_serves_new_flows_and_its_late_packets_pin_nothing(build):
    net = pinned(build)
    die(net)
    net.set_port(AS2, True)
    net.advance(5)
    assert counted(net) == {"freed": 1, "server_lost": 0, "server_returned": 1}
    poll(net, port=124)
    (new,) = [binding for binding in bindings(net) if binding.key.source_port == 124]
    assert new.server == net.host("as2").address(False)


def test_flows_of_other_servers_do_not_notice(build):
    net = build("figure1")
    both = {
        "web": group(net.network, "web", SERVICE, "as2", "as3"),
        "dns": group(net.network, "dns", SECOND_SERVICE, "as4"),
    }
    net.set_groups(Groups(both))
    net.advance(1)
    poll(net)
    ask(net, service=SECOND_SERVICE[False])
    (other,) = [binding for binding in bindings(net) if binding.group == "dns"]
    rules = [rule for rule in net.switches["arh1"].flows.values() if rule.cookie & 0xFF == other.number]
    die(net)
    assert client_edge(net).bindings.by_number(other.number) is other
    assert rules == [rule for rule in net.switches["arh1"].flows.values() if rule.cookie & 0xFF == other.number]
    assert counted(net)["freed"] == 1


def test_a_server_that_comes_back_while_nobody_watches_it_is_not_lost_when_it_is_enrolled_again(build):
    net = pinned(build)
    die(net)
    net.set_groups(web(net.network, "as3"))
    net.advance(40)
    net.set_port(AS2, True)
    net.send("as2", net.host("as2").question(net.host("as4").address(False)))
    net.advance(5)
    net.set_groups(web(net.network, "as2", "as3"))
    net.advance(1)
    poll(net)
    assert server(net) == "as2"


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "port down"])
def test_a_dead_server_that_is_removed_has_not_returned(build, silent):
    net = pinned(build)
    net.silent.add(AS2) if silent else net.set_port(AS2, False)
    net.advance(NOTICED_S + OVER_S)
    net.set_groups(web(net.network, "as3"))
    net.advance(10)
    assert counted(net) == {"freed": 1, "server_lost": 0, "server_returned": 0}
    assert net.controller.losses.is_lost("arh1", net.host("as2").address(False))
    net.silent.discard(AS2)
    net.set_port(AS2, True)
    net.advance(5)
    assert counted(net)["server_returned"] == 1
    assert not managed(net, "ars2").neighbours.is_watched(net.host("as2").address(False))


def test_a_flow_that_had_ended_does_not_come_back_to_a_dead_server_that_is_removed(build, v6):
    net = pinned(build, v6, validity={"udp_s": 10})
    net.advance(30)
    assert not bindings(net)
    die(net)
    net.set_groups(web(net.network, "as3"))
    net.advance(10)
    poll(net, v6)
    assert server(net, v6) == "as3"


def test_a_dead_server_is_forgotten_when_no_flow_of_it_is_remembered(build):
    net = pinned(build, quarantine_s=30, validity={"unanswered_s": 5})
    address = net.host("as2").address(False)
    die(net)
    net.set_groups(web(net.network, "as3"))
    net.advance(25)
    assert net.controller.losses.is_lost("arh1", address)
    assert managed(net, "ars2").neighbours.is_watched(address)
    net.advance(10)
    assert not net.controller.losses.is_lost("arh1", address)
    assert not managed(net, "ars2").neighbours.is_watched(address)
    assert counted(net)["server_returned"] == 0


# ------------------------------------------------------------------------------ the group's choice


def test_a_group_may_keep_its_flows_at_a_lost_server(build):
    net = build("figure1", "as2", "as3")
    kept = replace(web(net.network, "as2", "as3").get("web"), on_server_loss=OnServerLoss.KEEP)
    net.set_groups(Groups({"web": kept}))
    net.advance(1)
    poll(net)
    die(net)
    assert server(net) == "as2"
    assert counted(net)["freed"] == 0
    net.set_port(AS2, True)
    net.advance(5)
    poll(net)
    assert server(net) == "as2"


def test_flows_of_a_group_that_is_gone_leave_a_lost_server(build):
    net = pinned(build)
    net.set_groups(Groups({}))
    net.advance(1)
    die(net)
    assert the_binding(net).state is State.UNANSWERED


@pytest.mark.parametrize("deleted", [False, True], ids=["changed", "deleted"])
@pytest.mark.parametrize("lost", [AS2, LINK], ids=["port down", "no route"])
def test_flows_that_a_group_has_kept_are_freed_when_it_keeps_them_no_more(build, v6, lost, deleted):
    net = build("figure1", "as2", "as3")
    group = web(net.network, "as2", "as3").get("web")
    net.set_groups(Groups({"web": replace(group, on_server_loss=OnServerLoss.KEEP)}))
    net.advance(1)
    poll(net, v6)
    net.set_port(lost, False)
    net.advance(OVER_S)
    assert server(net, v6) == "as2"
    net.set_groups(Groups({} if deleted else {"web": group}))
    net.advance(1)
    assert the_binding(net).state is State.UNANSWERED


# ------------------------------------------------------------------------------ switches and controllers that are away


def test_flows_of_a_client_edge_that_is_away_are_freed_when_it_is_back(build, v6):
    net = pinned(build, v6)
    net.disconnect("arh1")
    die(net)
    assert server(net, v6) == "as2"
    net.connect("arh1")
    net.settle()
    assert the_binding(net).state is State.UNANSWERED
    poll(net, v6)
    assert server(net, v6) == "as3"


def test_a_restarted_controller_frees_the_flows_of_a_dead_server(build, v6):
    net = pinned(build, v6)
    net.replace_controller()
    net.set_port(AS2, False)
    net.restart_controller()
    assert server(net, v6) == "as2"
    net.advance(NOTICED_S + OVER_S)
    poll(net, v6)
    assert server(net, v6) == "as3"


def test_a_restarted_controller_frees_the_flows_of_a_removed_server_that_died_before(build):
    net = pinned(build)
    net.set_groups(web(net.network, "as3"))
    net.replace_controller()
    net.silent.add(AS2)
    net.restart_controller()
    net.advance(2 * NOTICED_S + OVER_S)
    poll(net)
    assert server(net) == "as3"


def test_a_restart_frees_no_flow_of_a_living_server(build, v6):
    net = pinned(build, v6)
    net.set_groups(web(net.network, "as3"))
    net.restart_controller()
    net.advance(20)
    assert server(net, v6) == "as2"


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
