"""What a member of a cluster shows of the switches whose flows it serves, while another one leads."""

from __future__ import annotations

import time

from anycast_sdn.cluster.cluster import Claim
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.core.switch_events import SwitchConnected, SwitchLost, SwitchManaged, SwitchMastered, SwitchReleased
from anycast_sdn.process.rest_views import ControllerViews
from tests.unit.process.test_roles import ARH1, Controller, End, Switch
from tests.unit.views.test_cluster import STATE

KEY = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000, 53)
FLOW = Binding(1, KEY, packed("203.0.113.7"), "web", 5.0)


def master() -> tuple[Controller, End]:
    """It does not lead, and is the master of arh1."""
    one = Controller()
    one.app.connections.shares = True
    end = one.connect(Switch())
    one.work(end)
    one.cluster.claims[ARH1] = Claim(True, 5)
    one.cluster.ask_again()
    one.work(end)
    return one, end


def manager() -> tuple[Controller, End, list[bytes]]:
    """It leads, and another member is the master of arh1 → what it has that one write."""
    one, written = Controller(), list[bytes]()
    one.app.connections.shares = one.cluster.leader = True
    end = one.connect(Switch())
    one.work(end)
    one.app.connections.manage(ARH1, written.append, 7, None)
    one.work(end)
    return one, end, written


def codes(one: Controller) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for reason in one.app.health(time.monotonic())["reasons"]:
        found.setdefault(reason["code"], []).append(reason["subject"]["name"])
    return found


def test_a_master_that_does_not_lead_misses_none_of_its_switches() -> None:
    one, _ = master()
    others = [switch.name for switch in one.app.controller.network.switches if switch.dpid != ARH1]
    found = codes(one)
    assert found.pop("switch.degraded") == ["arh1"] * 2  # this one sends packets back as they came
    assert {code: sorted(names) for code, names in found.items()} == {"switch.unreached": sorted(others)}
    assert one.app.health(time.monotonic())["switches"]["arh1"] == {"connected": True}


def test_a_master_that_does_not_lead_says_what_its_switch_refuses_of_flows() -> None:
    one, _ = master()
    one.app.controller.switches[ARH1].lacks.refused_at = time.monotonic()
    assert codes(one)["rules.refused"] == ["arh1"]


def test_a_master_that_does_not_lead_tells_when_its_switch_is_ready_and_when_it_is_lost() -> None:
    one, end = master()
    (connected,) = one.events(SwitchConnected)
    assert connected == SwitchConnected("arh1", end.peer, 1, 0)
    assert len(one.events(SwitchMastered)) == 1
    one.app.disconnected(end)
    assert [event.is_client_edge for event in one.events(SwitchLost)] == [True]  # type: ignore[attr-defined]
    assert "switch.unreached" in codes(one)


def test_a_leader_that_decides_on_all_but_the_flows_of_a_switch_does_not_say_that_it_is_its_master() -> None:
    one, _, written = manager()
    assert [len(one.events(of)) for of in (SwitchManaged, SwitchConnected, SwitchMastered)] == [1, 1, 0]
    assert written
    one.app.connections.manage_no_more(ARH1)
    assert not one.events(SwitchReleased)


def test_flows_that_the_leader_does_not_know_yet_are_said_to_be_missing_with_the_name_of_their_master() -> None:
    one, _, _ = manager()
    views = ControllerViews(one.app)
    assert views.masters_not_known() == []
    one.app.cluster_state = lambda: STATE  # arh1's master is m1
    assert views.masters_not_known() == ["m1"]
    mirror = one.app.controller.switches[ARH1].mirror
    mirror.begin()
    mirror.whole()
    assert views.masters_not_known() == []
    one.app.connections.manage_no_more(ARH1)
    assert views.masters_not_known() == ["m1"]


def test_a_leader_that_leads_no_more_and_is_the_master_of_nothing_begins_anew() -> None:
    """Also when all its switches have other masters; flows that it was told of are not taken for its own."""
    one, _, _ = manager()
    switch = one.app.controller.switches[ARH1]
    switch.mirror.begin()
    switch.engine.flows.put(FLOW)
    one.cluster.leader = False
    one.app.connections.manage_no_more(ARH1)
    assert one.app.controller.switches[ARH1] is not switch


def test_a_master_that_leads_no_more_knows_nothing_of_the_flows_that_others_have_told_it() -> None:
    """Their addresses are not leased here: what follows them on the switch would end them with an error."""
    one, _, _ = manager()
    switch = one.app.controller.switches[ARH1]
    switch.mirror.begin()
    switch.engine.flows.put(FLOW)
    switch.let_go()
    assert not len(switch.engine.flows)
