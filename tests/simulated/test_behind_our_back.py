"""Others delete or edit rules on a switch: what is bound stays bound, and everything is put right (M20)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SERVICE, ask, bindings, client_edge, payloads, web

from anycast_sdn.core.events import Fault
from anycast_sdn.core.transitions import FlowEvent
from anycast_sdn.openflow.pipeline import cookie, kind_of, number_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    AddFlow,
    Field,
    FlowRule,
    GroupRule,
    MeterRule,
    SetGroup,
    SetMeter,
    ToGroup,
    match,
)
from anycast_sdn.views.health import Health


def of_bindings(net, name="arh1"):
    return {key: rule for key, rule in net.switches[name].flows.items() if number_of(rule.cookie)}


def test_rules_of_bindings_that_another_program_deletes_are_put_back_and_no_binding_ends(build, v6):
    net = build("figure1", "as2")
    for port in range(40000, 40010):
        ask(net, port=port, service=SERVICE[v6])
    before, rules = bindings(net), of_bindings(net)
    net.delete_rules("arh1", rules)
    net.advance(1)
    assert (bindings(net), of_bindings(net)) == (before, rules)
    assert net.counters.repairs["arh1"] == {Fault.MISSING: 20}
    ask(net, service=SERVICE[v6], payload=b"still there?")
    assert payloads(net.host("h1").received)[-1] == b"still there?"


def test_health_says_that_rules_of_bindings_were_put_back(build):
    net = build("figure1", "as2")
    ask(net)
    net.delete_rules("arh1", of_bindings(net))
    net.advance(1)
    health = Health(net.counters)
    health.update(net.controller, (), net.now)
    view = health.view(net.controller, net.now, 0.0)
    assert view["status"] == "degraded"
    assert view["switches"]["arh1"]["repaired"] == 2
    assert view["switches"]["arh1"]["last_repair_s"] <= 1


def test_rules_that_the_controller_deletes_are_not_put_back(build):
    """The switch reports them in the same way."""
    net = build("figure1", "as2", validity={"udp_s": 3})
    ask(net)
    net.set_groups(web(net.network))
    net.advance(10)
    assert bindings(net) == []
    assert of_bindings(net) == {}
    assert net.counters.repairs["arh1"] == {}


def test_repeated_deletions_lead_to_no_more_messages_than_deletions(build):
    net = build("figure1", "as2")
    ask(net)
    (binding,) = bindings(net)
    for again in range(1, 9):
        net.delete_rules("arh1", of_bindings(net))
        net.advance(0.3)
        assert net.counters.repairs["arh1"][Fault.MISSING] == 2 * again
    assert bindings(net) == [binding]


def test_many_rules_are_put_back_in_parts(build, monkeypatch):
    monkeypatch.setattr("anycast_sdn.simulation.channels.FLOWS_A_TICK", 3)
    net = build("figure1", "as2")
    for port in range(40000, 40010):
        ask(net, port=port)
    rules = of_bindings(net)
    net.delete_rules("arh1", rules)
    net.advance(0.3)
    assert 0 < len(of_bindings(net)) <= 2 * 2 * 3
    net.advance(2)
    assert of_bindings(net) == rules


def test_a_binding_that_ends_before_its_rule_is_put_back_stays_ended(build):
    net = build("figure1", "as2")
    ask(net)
    (binding,) = bindings(net)
    net.delete_rules("arh1", of_bindings(net))
    net.advance(0.002)
    client_edge(net).apply(binding, FlowEvent.FOUND_GONE, net.now)
    net.advance(1)
    assert of_bindings(net) == {}


def held(net):
    return {name: (switch.flows, dict(switch.groups), switch.meters) for name, switch in net.switches.items()}


def busy(build):
    net = build("figure1", "as2", "as3")
    for v6 in (False, True):
        for port in range(40000, 40005):
            ask(net, port=port, service=SERVICE[v6])
    net.advance(6)
    return net


def no_repairs(net):
    return not any(net.counters.repairs.values())


def test_an_audit_finds_nothing_wrong_if_no_other_program_has_changed_rules(build):
    net = busy(build)
    net.set_groups(web(net.network, "as3"))
    for _ in range(100):
        ask(net, port=41000 + _)
        net.advance(0.3)
    net.set_groups(web(net.network, "as2", "as3"))
    net.advance(400)
    assert no_repairs(net)


def test_a_switch_whose_rules_are_all_deleted_gets_all_of_them_again(build):
    net = busy(build)
    before, bound = held(net), bindings(net)
    for name in net.switches:
        net.delete_rules(name)
    net.advance(10)
    assert held(net) == before
    assert bindings(net) == bound


def test_groups_and_meters_that_are_deleted_or_changed_are_put_right_with_the_rules_that_need_them(build):
    net = busy(build)
    before = held(net)
    ars2, arh1 = net.switches["ars2"], net.switches["arh1"]
    for number in list(ars2.groups):
        net.delete_rules("ars2", [key for key, rule in ars2.flows.items() if ToGroup(number) in rule.actions])
        ars2.groups[number] = replace(ars2.groups[number], buckets=())
    ars2.groups[99] = GroupRule(99, ())
    arh1.apply(SetMeter(MeterRule(16, 1, 1), exists=True), net.now)
    net.advance(10)
    assert held(net) == before


@pytest.mark.parametrize("switch", ["arh1", "core", "ars2"])
def test_rules_that_are_edited_or_added_are_put_right(build, switch):
    net = busy(build)
    before, bound = held(net), bindings(net)
    here = net.switches[switch]
    for rule in list(here.flows.values()):
        here.install_foreign(replace(rule, actions=(), goto=None))
    here.install_foreign(FlowRule(4, 9999, match(Field("eth_type", 0x0800)), 0))  # drops all; has no cookie of ours
    here.install_foreign(FlowRule(4, 9998, match(Field("eth_type", 0x0800)), cookie(Kind.ROUTE)))
    here.install_foreign(FlowRule(1, 9998, match(Field("eth_type", 0x0800)), cookie(Kind.BINDING_OUT, 3)))
    here.install_foreign(FlowRule(1, 9997, match(Field("eth_type", 0x0800)), cookie(Kind.BINDING_OUT, 1234567)))
    net.advance(10)
    assert held(net) == before
    assert bindings(net) == bound
    assert net.counters.repairs[switch][Fault.FOREIGN] == 4
    net.advance(20)
    assert net.counters.repairs[switch][Fault.FOREIGN] == 4  # nothing was found afterwards


def test_a_rule_that_a_switch_refuses_is_sent_again_at_growing_intervals(build):
    net = busy(build)
    here = net.switches["core"]
    key, rule = next((key, rule) for key, rule in here.flows.items() if kind_of(rule.cookie) is Kind.ROUTE)
    here._table_size = len(here.flows) - 1
    net.delete_rules("core", [key])
    net.advance(100)
    assert 0 < net.counters.drops["core"]["rule_refused"] <= 6
    here._table_size = None
    net.advance(200)
    assert here.flows[key] == rule


@pytest.mark.parametrize("stubborn", [SetMeter, SetGroup, AddFlow])
def test_what_a_repair_does_not_change_is_repaired_again_at_growing_intervals(build, monkeypatch, stubborn):
    """For example, a switch that reports other rates of meters than those that were sent."""
    net = busy(build)
    before, here = held(net)["ars2"], net.switches["ars2"]
    if stubborn is SetMeter:
        here.apply(SetMeter(MeterRule(16, 1, 1), exists=True), net.now)
    elif stubborn is SetGroup:
        number = min(here.groups)
        here.groups[number] = replace(here.groups[number], buckets=())
    else:
        rule = next(rule for rule in here.flows.values() if kind_of(rule.cookie) is Kind.ROUTE)
        here.install_foreign(replace(rule, actions=()))
    puts, apply = [], here.apply

    def apply_all_else(message, *more):
        if isinstance(message, stubborn):
            puts.append(message)
            return []
        return apply(message, *more)

    monkeypatch.setattr(here, "apply", apply_all_else)
    net.advance(100)
    assert 0 < len(puts) <= 6
    monkeypatch.undo()
    net.advance(100)
    assert held(net)["ars2"] == before


def test_a_binding_that_is_reported_as_modified_is_audited_at_once(build, monkeypatch):
    monkeypatch.setattr("anycast_sdn.engines.flow_audit.SLICE", 1)
    net = build("figure1", "as2")
    for port in range(40000, 40100):
        ask(net, port=port)
    net.advance(10)
    before, here = of_bindings(net), net.switches["arh1"]
    (audit,) = (net.controller.audits[dpid] for dpid, at in net.controller.switches.items() if at.name == "arh1")
    audit._next_part = 0
    rule = next(rule for rule in before.values() if number_of(rule.cookie) == 60)
    here.install_foreign(replace(rule, actions=()))
    net.advance(6)
    assert of_bindings(net) != before  # it would take a while to find it
    audit.recheck([rule.cookie])
    net.advance(6)
    assert of_bindings(net) == before
    assert net.counters.repairs["arh1"] == {Fault.WRONG: 1}
