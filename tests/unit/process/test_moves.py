"""Switches that change their masters, and members that begin or end to lead, where switches are shared."""

from __future__ import annotations

import time

import pytest

from anycast_sdn.cluster.cluster import Claim
from anycast_sdn.control.share import Share, Told
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.network_events import LinkDown
from anycast_sdn.core.switch_events import SwitchManaged, SwitchMastered
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.connections import BETWEEN_S
from tests.unit.process.test_mirroring import flow
from tests.unit.process.test_read_ahead import OpenVSwitch, asks_for_flows, flows, rules_of
from tests.unit.process.test_roles import ARH1, Controller, End, Switch

ARS2 = 2


@pytest.fixture
def leader() -> Controller:
    one = Controller()
    one.app.connections.shares = one.cluster.leader = True
    return one


def as_master(one: Controller, dpid: int, generation: int = 5) -> End:
    """It is the master of this switch from now on."""
    end = one.connect(Switch(dpid))
    one.work(end)
    one.cluster.claims[dpid] = Claim(True, generation)
    one.cluster.ask_again(dpid)
    one.work(end)
    return end


def as_manager(one: Controller, dpid: int) -> End:
    """It leads, and another member is the master of this switch."""
    end = one.connect(Switch(dpid))
    one.work(end)
    one.app.connections.manage(dpid, lambda data: None, 7, None)
    one.work(end)
    return end


def is_present(one: Controller, dpid: int) -> bool:
    """Does it count as connected where links are judged?"""
    return one.app.controller.switches[dpid].name in one.app.controller.discovery._present


def change_leader(one: Controller, leads: bool, *ends: End) -> None:
    one.cluster.leader = leads
    one.app._masters_changed([])
    one.work(*ends)


def test_a_switch_whose_master_changes_is_there_for_the_leader_all_the_time(leader: Controller) -> None:
    end = as_manager(leader, ARH1)
    leader.app.connections.manage_no_more(ARH1)
    assert is_present(leader, ARH1)
    assert leader.app.connections.owing() == {"arh1"}, "its links are not judged by what is not heard meanwhile"
    leader.app.connections.manage(ARH1, lambda data: None, 9, None)
    leader.work(end)
    assert is_present(leader, ARH1)
    assert leader.app.connections.owing() == set()
    assert not leader.events(LinkDown)


def test_a_switch_that_has_no_master_for_long_is_away(leader: Controller) -> None:
    as_manager(leader, ARH1)
    leader.app.connections.manage_no_more(ARH1)
    leader.app.connections.end_long_changes(time.monotonic() + BETWEEN_S - 1)
    assert is_present(leader, ARH1)
    leader.app.connections.end_long_changes(time.monotonic() + BETWEEN_S + 1)
    assert not is_present(leader, ARH1)


def test_a_switch_that_is_lost_while_its_master_changes_is_away(leader: Controller) -> None:
    end = as_manager(leader, ARH1)
    leader.app.connections.manage_no_more(ARH1)
    leader.app.disconnected(end)
    assert not is_present(leader, ARH1)


def test_a_leader_that_becomes_the_master_of_a_switch_reads_that_one_alone(leader: Controller) -> None:
    other = as_master(leader, ARS2)
    end = as_manager(leader, ARH1)
    controller, parts = leader.app.controller, leader.app.controller.discovery
    leader.cluster.claims[ARH1] = Claim(True, 8)
    leader.cluster.ask_again()
    leader.work(end, other)
    assert controller.discovery is parts
    assert controller.switches[ARH1].synchronised
    assert controller.switches[ARH1].share is Share.ALL
    assert [type(each) for each in leader.told if isinstance(each, SwitchManaged | SwitchMastered)] == [
        SwitchMastered, SwitchManaged, SwitchMastered
    ]  # fmt: skip


def test_flows_of_a_master_that_begins_to_lead_go_on_and_the_rest_is_read() -> None:
    one = Controller()
    one.app.connections.shares = True
    end = as_master(one, ARH1)
    before = one.app.controller.switches[ARH1]
    assert (before.share, before.serves_flows, before.synchronised) == (Share.FLOWS, True, False)
    one.cluster.leader = True
    one.app._masters_changed([])
    now = one.app.controller.switches[ARH1]
    assert now is not before
    assert now.engine is before.engine
    assert now.serves_flows
    one.work(end)
    assert (now.share, now.serves_flows, now.synchronised) == (Share.ALL, True, True)
    assert len(one.events(SwitchMastered)) == 1


def test_flows_of_a_leader_that_leads_no_more_go_on_by_what_it_has_decided(leader: Controller) -> None:
    end = as_master(leader, ARH1)
    before, announced = leader.app.controller.switches[ARH1], set(leader.app.controller.announcements.announcers)
    change_leader(leader, False, end)
    now = leader.app.controller.switches[ARH1]
    assert now.engine is before.engine
    assert (now.share, now.serves_flows, now.synchronised) == (Share.FLOWS, True, False)
    assert all(map(leader.app.controller.announcements.is_announced, announced))
    assert leader.app.controller.obeys
    asked = len(end.asked)
    leader.work(end)
    assert len(end.asked) == asked, "nothing is read"


def test_a_leader_of_which_another_has_decided_meanwhile_decides_anew() -> None:
    one = Controller()
    one.app.connections.shares = True
    end = as_master(one, ARH1)
    service = Prefix.parse("198.18.7.7/32")
    one.app.controller.be_told(Told(frozenset((service,))))
    change_leader(one, True, end)
    assert not one.app.controller.obeys
    assert not one.app.controller.announcements.is_announced(service)
    change_leader(one, False, end)
    one.app.controller.be_told(Told(frozenset((service,))))
    assert one.app.controller.announcements.is_announced(service)


def test_a_member_that_is_the_master_of_nothing_is_told_for_later() -> None:
    one = Controller()
    one.app.connections.shares = True
    announced = set(one.app.controller.announcements.announcers)
    service = Prefix.parse("198.18.7.7/32")
    one.app.controller.be_told(Told(frozenset((service,))))
    assert set(one.app.controller.announcements.announcers) == announced
    as_master(one, ARH1)
    assert one.app.controller.announcements.is_announced(service)


def test_a_former_master_follows_the_flows_of_its_switch_from_what_it_knows() -> None:
    one = Controller()
    one.app.connections.shares = True
    end, other = as_master(one, ARH1), as_master(one, ARS2)
    engine = one.app.controller.switches[ARH1].engine
    one.cluster.claims[ARH1] = Claim(False, 8)
    one.cluster.ask_again()
    one.work(end, other)
    switch = one.app.controller.switches[ARH1]
    assert switch.engine is engine
    assert not switch.ever_synchronised, "it is followed"
    assert one.app.controller.switches[ARS2].serves_flows


def test_who_begins_to_lead_reads_no_flows_that_it_has_followed() -> None:
    """It becomes the master of a switch of the leader before it, whose new flows would wait meanwhile."""
    one = Controller()
    one.app.connections.shares = True
    other = as_master(one, ARS2)
    end = OpenVSwitch(one, Switch(), rules_of(1, 2, 3))
    one.work(end)
    one.app.connections._ahead._step_all()
    end.install(*rules_of(4))
    one.cluster.leader = True
    one.cluster.claims[ARH1] = Claim(True, 8)
    one.app._masters_changed([ARH1])
    for quarter in range(8):
        one.work(end, other)
        end.tick(quarter / 4)  # the fragment that the switch is to send back does not come in time
    switch = one.app.controller.switches[ARH1]
    assert (switch.share, switch.serves_flows, switch.synchronised) == (Share.ALL, True, True)
    assert sorted(flows(one)) == [1, 2, 3, 4]
    assert not asks_for_flows(end)


def test_a_leader_that_becomes_a_master_serves_no_new_flow_before_it_knows_the_others(leader: Controller) -> None:
    """It would give a new flow an address that another one has."""
    end = as_manager(leader, ARH1)
    switch = leader.app.controller.switches[ARH1]
    leader.app.connections.manage_no_more(ARH1)
    found = {rule.key: rule for rule in rules_of(7)}
    leader.app.controller.begin_reading(ARH1, Tables(found), switch.features)
    assert not switch.serves_flows
    while leader.app.controller.read_on(ARH1, 1.0) is not None and not switch.serves_flows:
        assert end.is_admitted
    assert switch.serves_flows
    assert [binding.number for binding in switch.engine.flows] == [7]


def test_what_a_leader_was_told_of_flows_is_no_beginning_for_following_them() -> None:
    one = Controller()
    one.app.connections.shares = one.cluster.leader = True
    end = as_manager(one, ARH1)
    engine = one.app.controller.switches[ARH1].engine
    engine.flows.put(flow(7))
    change_leader(one, False, end)
    one.app.connections.manage_no_more(ARH1)
    assert not len(one.app.controller.switches[ARH1].engine.flows)


def test_a_flow_that_ends_before_its_new_master_has_read_it_is_no_error_and_its_address_rests(
    leader: Controller,
) -> None:
    as_manager(leader, ARH1)
    switch = leader.app.controller.switches[ARH1]
    told = flow(7)
    switch.engine.flows.put(told)
    (rule,) = rules_of(7)[:1]
    leader.app.rule_removed(ARH1, rule.cookie, False, False)
    assert [address for address, _ in leader.app.connections.released.pop(ARH1)] == [told.translated]
