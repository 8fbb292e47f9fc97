"""Groups of next hops are put right when two looks have found the same, and who is cut off is known."""

from __future__ import annotations

from dataclasses import replace

from anycast_sdn.control.next_hop_audit import CutOff, NextHopAudit, cut_off
from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.model import TCP, FlowKey, packed
from anycast_sdn.openflow.rules import Bucket, DecTtl, DeleteGroup, GroupRule, Output, SetGroup

H, ANY, PR1X, SERVER = map(packed, ("10.1.0.10", "198.18.0.1", "203.0.113.7", "10.3.0.10"))
TO_H = GroupRule(1 << 31, (Bucket(0, (DecTtl(), Output(1))),), indirect=True)
TO_SERVER = GroupRule(TO_H.number + 1, (Bucket(0, (DecTtl(), Output(2))),), indirect=True)
WANTED = {H: TO_H, SERVER: TO_SERVER}
RIGHT = {group.number: group for group in WANTED.values()}
DROPS = replace(TO_H, buckets=(Bucket(0, ()),))


def test_what_is_right_is_left_alone() -> None:
    audit = NextHopAudit()
    assert [audit.repairs(WANTED, RIGHT) for _ in range(3)] == [[], [], []]
    assert not audit.is_doubtful


def test_what_is_wrong_or_missing_is_put_right_when_it_is_found_twice() -> None:
    audit = NextHopAudit()
    found = {TO_H.number: DROPS}
    assert audit.repairs(WANTED, found) == []
    assert audit.is_doubtful
    assert audit.repairs(WANTED, found) == [SetGroup(TO_H, exists=True), SetGroup(TO_SERVER, exists=False)]
    assert audit.repairs(WANTED, RIGHT) == []


def test_a_group_that_is_made_while_the_switch_answers_is_not_made_again() -> None:
    audit = NextHopAudit()
    assert audit.repairs(WANTED, {TO_H.number: TO_H}) == []
    assert audit.repairs(WANTED, RIGHT) == []
    assert audit.repairs(WANTED, {TO_SERVER.number: TO_SERVER}) == [], "another difference than two looks before"


def test_clients_and_servers_without_a_next_hop_are_cut_off_if_they_have_flows() -> None:
    flows = BindingTable()
    wanted = {**WANTED, H: DROPS}
    assert cut_off(wanted, flows) == CutOff()
    flows.put(Binding(1, FlowKey(H, ANY, TCP, 40000, 80), PR1X, "", 0.0, SERVER))
    assert cut_off(wanted, flows) == CutOff((H,), 1)
    assert cut_off(WANTED, flows) == CutOff()


def test_a_group_is_deleted_when_two_looks_find_no_flow_that_could_name_it() -> None:
    audit, flows = NextHopAudit(), BindingTable()
    wanted = {**WANTED, ANY: GroupRule(TO_SERVER.number + 1, (Bucket(1, ()),))}
    pinned = Binding(1, FlowKey(H, ANY, TCP, 40000, 80), PR1X, "", 0.0, SERVER)
    flows.put(pinned)
    assert [audit.deletions(wanted, flows) for _ in range(2)] == [[], []]
    flows.remove(pinned)
    assert audit.deletions(wanted, flows) == [], "rules may still be under way"
    flows.put(pinned)
    assert audit.deletions(wanted, flows) == []
    flows.remove(pinned)
    assert audit.deletions(wanted, flows) == []
    assert audit.deletions(wanted, flows) == [DeleteGroup(TO_H.number + each) for each in range(3)]
