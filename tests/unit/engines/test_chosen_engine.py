"""A client edge with several engines uses the first that its switch is able to carry out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_sdn.core.roles import EngineName
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import check, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Message, PacketOut, PutBinding
from tests.unit.engines.samples import CLIENT_EDGE, FEATURES, GROUPS, KEY, NETWORK, Ascending, controller, packet

PORT = 1
ABLE, UNABLE = FEATURES, replace(FEATURES, connections=False)
CONNTRACK, RULES = EngineName.CONNTRACK, EngineName.RULES


def engine(*engines: EngineName) -> Engine:
    first, *others = NETWORK.switches
    assert first.client_edge
    role = replace(first.client_edge, engines=engines)
    network = replace(NETWORK, switches=(replace(first, client_edge=role), *others))
    return type(controller())(network, GROUPS, Ascending()).switches[CLIENT_EDGE].engine


def connect(one: Engine, features: Features, begins: bool = True) -> list[Message]:
    """→ what is sent because of that."""
    reading = one.begin_reading(features, begins=begins, wiped=False)
    sent: list[Message] = []
    while reaction := reading.step(GROUPS, 1, {}):
        sent += reaction.messages
    return sent


def begin_flow(one: Engine) -> None:
    one.packet_handlers[Kind.FIRST_PACKET](PORT, packet(), GROUPS, 1)


def test_a_switch_that_is_able_has_what_the_file_prefers() -> None:
    for one in (engine(CONNTRACK), engine(CONNTRACK, RULES), engine(RULES)):
        connect(one, ABLE)
        assert one.shortcoming is None
        begin_flow(one)
        assert one.flows.by_key(KEY)


def test_rules_suit_every_switch() -> None:
    one = engine(RULES)
    connect(one, UNABLE)
    assert one.shortcoming is None


def test_a_switch_that_is_not_able_is_served_by_rules_if_the_file_allows_it() -> None:
    one = engine(CONNTRACK, RULES)
    connect(one, UNABLE)
    assert one.shortcoming
    assert one.shortcoming.is_served
    begin_flow(one)
    assert one.flows.by_key(KEY)


def test_a_switch_that_is_not_able_serves_nobody_if_the_file_has_nothing_else() -> None:
    one = engine(CONNTRACK)
    connect(one, UNABLE)
    assert one.shortcoming
    assert not one.shortcoming.is_served
    assert one.packet_handlers == {}
    assert all(map(check, one.wanted_rules()))
    assert {Kind.PROHIBITED, Kind.UNAUTHORISED} == {kind_of(rule.cookie) for rule in one.wanted_rules()}


@pytest.mark.parametrize("engines", [(CONNTRACK,), (CONNTRACK, RULES)])
def test_flows_and_what_is_told_of_them_stay_the_same_objects(engines: tuple[EngineName, ...]) -> None:
    one = engine(*engines)
    known = (one.flows, one.first_replies, one.flow_record)
    for features in (ABLE, UNABLE, ABLE):
        connect(one, features)
        now = (one.flows, one.first_replies, one.flow_record)
        assert [*map(id, now)] == [*map(id, known)]


def test_flows_end_when_the_switch_connects_and_can_be_served_by_no_engine_any_more() -> None:
    one = engine(CONNTRACK)
    connect(one, ABLE)
    begin_flow(one)
    connect(one, UNABLE, begins=False)
    assert len(one.flows) == 0
    assert one.statistics(1).pools["ipv4"].leased == 0
    connect(one, ABLE, begins=False)
    begin_flow(one)
    assert one.flows.by_key(KEY)


def test_flows_move_when_the_switch_connects_and_is_served_by_another_engine() -> None:
    one = engine(CONNTRACK, RULES)
    connect(one, ABLE)
    begin_flow(one)
    flow = one.flows.by_key(KEY)
    for features, kind in ((UNABLE, PutBinding), (ABLE, PacketOut)):
        (message,) = connect(one, features, begins=False)
        assert isinstance(message, kind)
        assert one.flows.by_key(KEY) == flow
