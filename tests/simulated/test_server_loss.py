"""Which servers are lost, and which are not (M32)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lost_servers import AS2, LINK, NOTICED_S, OVER_S, counted, die, pinned, poll, server
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, both_engines, client_edge, group, managed, the_binding, web

from anycast_sdn.control.losses import LOST_AFTER_S
from anycast_sdn.core.bindings import State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import OnServerLoss

pytestmark = both_engines


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
