"""A switch that is shared: its master inspects the rules of flows, and the leader all others."""

from __future__ import annotations

import pytest

from anycast_sdn.control.share import Share
from anycast_sdn.core.events import Fault
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule
from tests.unit.control.test_reading_back import both
from tests.unit.process.test_inspection import Inspected


@pytest.mark.parametrize("share", [Share.FLOWS, Share.REST])
def test_a_shared_switch_is_put_right_by_its_master_where_flows_are_wrong_and_by_the_leader_elsewhere(
    monkeypatch, share: Share
) -> None:
    here = Inspected(monkeypatch, share)
    before = dict(here.switch.held)
    binding, other = both()
    of_no_flow = next(key for key, rule in before.items() if kind_of(rule.cookie) is Kind.NO_ROUTE)
    del here.switch.held[of_no_flow]
    del here.switch.held[binding.key]
    foreign = FlowRule(2, 7, (), 0x1234)
    here.switch.held[foreign.key] = foreign
    here.edit(other)
    for _ in range(4):
        here.inspect()
    if share is Share.FLOWS:
        assert before.items() - here.switch.held.items() == {(of_no_flow, before[of_no_flow])}
        assert foreign.key in here.switch.held
        assert here.repairs == {Fault.MISSING: 1, Fault.WRONG: 1}
    else:
        assert {key for key in before if here.switch.held.get(key) != before[key]} == {binding.key, other.key}
        assert foreign.key not in here.switch.held
        assert here.repairs == {Fault.MISSING: 1, Fault.FOREIGN: 1}


def test_the_leader_leaves_flows_alone_that_it_does_not_know(monkeypatch) -> None:
    here = Inspected(monkeypatch, Share.REST)
    for _ in range(4):
        here.inspect()
    assert all(rule.key in here.switch.held for rule in both())
    assert not here.repairs


@pytest.mark.parametrize("share", [Share.ALL, Share.FLOWS, Share.REST])
def test_drops_of_a_shared_switch_are_counted_by_the_leader_alone(monkeypatch, share: Share) -> None:
    here = Inspected(monkeypatch, share)
    here.inspect()
    assert bool(here.managed.dropped.get("not_ip")) is (share is not Share.FLOWS)
    before = here.waits
    here.pass_time(1)
    here.wait_until_fresh()
    assert (here.waits == before) is (share is Share.FLOWS)


def test_what_the_leader_has_just_sent_to_a_shared_switch_may_be_on_its_way(monkeypatch) -> None:
    """It arrives by the master: what is not there yet is missed only when it is missed again."""
    here = Inspected(monkeypatch, Share.REST)
    gone = next(rule for rule in here.switch.held.values() if kind_of(rule.cookie) is Kind.NO_ROUTE)
    here.pass_time(4.5)
    here.managed.installed.add(gone)  # and is sent
    del here.switch.held[gone.key]
    here.pass_time(0.1)
    here.pass_time(0.4)
    assert here.switch.asked
    assert not here.repairs
    here.switch.held[gone.key] = gone
    for _ in range(4):
        here.inspect()
    assert not here.repairs
    del here.switch.held[gone.key]
    for _ in range(4):
        here.inspect()
    assert here.repairs == {Fault.MISSING: 1}
