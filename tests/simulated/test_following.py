"""A controller that only follows what another one does to a switch knows the same flows as one that reads it anew."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant
from scenes import ask, client_edge, network
from test_any_history import AnyHistory

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.flow_events import Change
from anycast_sdn.core.roles import EngineName, Pooling
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.decoding import decode_flow_stats
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.flow_monitor import Update
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.rules import FlowRule, PutBinding, RuleKey
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.simulation.network import SimulatedNetwork
from tests.unit.openflow.test_codec import as_flow_stats

EDGE = "arh1"


class Follower:
    """Another controller of the network, which is told of all changes of its first client edge's rules."""

    def __init__(self, net: SimulatedNetwork) -> None:
        self._net = net
        self.controller = Controller(net.network, net.controller.groups, random.Random(7))
        self.switch = by_name(self.controller)
        following = self.switch.engine.follow(lambda entries: decode_flow_stats(entries, FIVE_TABLES)[0])
        assert following
        self.following = following
        self._told: dict[RuleKey, FlowRule] = {}
        self.hear()
        following.listed()

    def hear(self) -> None:
        """What has changed since: what the switch says about it, and nothing about a rule that another has replaced."""
        now = {key: entry.rule for key, entry in self._net.switches[EDGE]._entries.items()}
        for key, rule in self._told.items():
            if key not in now:
                self.following.take(Update(rule.cookie, True, as_flow_stats(rule)))
        for key, rule in now.items():
            if self._told.get(key) is not rule:
                self.following.take(Update(rule.cookie, False, as_flow_stats(rule)))
        self._told = now

    def catch_up(self) -> None:
        self.hear()
        while self.following.has_more:
            self.following.step(self._net.controller.groups, self._net.now)

    def flows(self) -> list[Binding]:
        return [comparable(flow) for flow in self.switch.engine.flows]


def by_name(controller: Controller) -> ManagedSwitch:
    return next(switch for switch in controller.switches.values() if switch.name == EDGE)


def read_anew(net: SimulatedNetwork) -> list[Binding]:
    """The flows that a controller which is started now would adopt."""
    controller = Controller(net.network, net.controller.groups, random.Random(7))
    switch = by_name(controller)
    held = net.switches[EDGE]
    rules = {key: entry.rule for key, entry in held._entries.items()}  # a FIN may have shortened a timeout since
    controller.begin_reading(switch.dpid, Tables(rules, dict(held.groups), held.meters), Features())
    while controller.read_on(switch.dpid, net.now) is not None:
        pass
    return [comparable(flow) for flow in switch.engine.flows]


def comparable(flow: Binding) -> Binding:
    """Without what is not in rules."""
    return flow._replace(since=0, choice=0, reply_s=None, port=0)


class FollowedHistory(AnyHistory):
    """Whatever happens at the edge, the follower has been told of it."""

    @invariant()
    def the_follower_knows_what_a_reading_would_find(self) -> None:
        if self.engine is not EngineName.RULES:
            return
        if not hasattr(self, "follower"):
            self.follower, self.looks = Follower(self.net), 0
        self.follower.hear()
        self.looks += 1
        if self.looks % 3 == 0:
            self.follower.catch_up()
            assert self.follower.following.is_complete
            assert self.follower.flows() == read_anew(self.net)


FollowedHistory.TestCase.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestFollowedHistory = FollowedHistory.TestCase


# ------------------------------------------------------------------------------ single cases


def busy() -> SimulatedNetwork:
    net = network("figure1", "as2", validity={"udp_s": 3}, quarantine_s=60, pooling=Pooling.FLOW)
    for port in range(40000, 40010):
        ask(net, port=port)
    return net


def test_addresses_of_flows_that_have_ended_rest_at_the_follower_too() -> None:
    net = busy()
    follower = Follower(net)
    follower.catch_up()
    assert len(follower.flows()) == 10
    net.advance(5)
    follower.catch_up()
    assert follower.flows() == []
    assert follower.switch.engine.statistics(net.now).pools["ipv4"].resting == 10


def test_clients_are_at_the_ports_that_the_switch_names() -> None:
    follower = Follower(busy())
    follower.catch_up()
    assert {flow.port for flow in follower.switch.engine.flows} == {1}


def test_a_rule_that_takes_the_place_of_another_flows_ends_that() -> None:
    """The switch says nothing of a rule that is replaced."""
    net = busy()
    follower = Follower(net)
    follower.catch_up()
    first = next(iter(client_edge(net).bindings))
    again = first._replace(number=77, translated=bytes((*first.translated[:3], 250)), server=None)
    rule = entries.binding(PutBinding(again, Half.OUT, 30, 0, False))
    follower.following.take(Update(rule.cookie, False, as_flow_stats(rule)))
    follower.following.step(net.controller.groups, net.now)
    assert follower.following.is_complete
    assert [flow.number for flow in follower.switch.engine.flows if flow.key == first.key] == [77]


def test_nothing_is_complete_before_all_rules_have_been_told_and_had_their_turn() -> None:
    net = busy()
    follower = Follower(net)
    assert not follower.following.is_complete
    follower.catch_up()
    assert follower.following.is_complete
    ask(net, port=41000)
    follower.hear()
    assert not follower.following.is_complete


def test_a_binding_that_cannot_be_made_makes_all_incomplete_and_what_is_known_can_be_forgotten() -> None:
    net = busy()
    follower = Follower(net)
    follower.catch_up()
    first = next(iter(client_edge(net).bindings))
    other = first._replace(number=77, key=first.key._replace(source=bytes((10, 1, 0, 99))))
    rule = entries.binding(PutBinding(other, Half.OUT, 30, 0, False))
    follower.following.take(Update(rule.cookie, False, as_flow_stats(rule)))
    follower.following.step(net.controller.groups, net.now)
    assert not follower.following.is_complete
    while follower.following.forget(net.now):
        pass
    assert follower.flows() == []


def test_a_fault_of_our_own_in_one_flow_makes_all_incomplete() -> None:
    """Its address would count as free."""
    net = busy()
    follower = Follower(net)
    follower.catch_up()
    ask(net, port=41000)
    follower.hear()
    switch: Any = follower.switch
    switch.engine.edge.adopt = lambda *_: 1 // 0
    with pytest.raises(ZeroDivisionError):
        follower.following.step(net.controller.groups, net.now)
    assert not follower.following.is_complete
    assert not follower.following.has_more


def test_what_another_controller_does_is_in_no_count_here() -> None:
    net = busy()
    follower = Follower(net)
    follower.catch_up()
    net.advance(5)
    follower.catch_up()
    shown = follower.switch.engine.statistics(net.now)
    assert (shown.opened, shown.closed) == (0, {})


def test_who_watches_flows_is_told_of_those_that_were_followed_when_the_switch_is_taken_over() -> None:
    """And not before: another controller tells of them."""
    net = busy()
    follower = Follower(net)
    record = follower.switch.engine.flow_record
    record.watch(True)
    follower.catch_up()
    assert record.pop(100) == []
    flows = list(follower.switch.engine.flows)
    reading = follower.following.begin_reading(Features())
    while reading.step(net.controller.groups, net.now, {}) is not None:
        pass
    told = [(change.what, change.flow.number) for change in record.pop(100)]
    assert sorted(told, key=lambda each: each[1]) == [(Change.ADOPTED, flow.number) for flow in flows]
    assert record.pop_settled()
    assert list(follower.switch.engine.flows) == flows
