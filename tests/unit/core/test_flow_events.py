"""FlowRecord: what becomes of flows, for those who watch."""

from __future__ import annotations

import random

import pytest

from anycast_sdn.core import flow_events
from anycast_sdn.core.bindings import Half, State
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.events import Drop
from anycast_sdn.core.flow_events import Change, EndedBy, FlowRecord, ended_by, reported
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.roles import ClientEdgeRole
from anycast_sdn.core.transitions import RELEASES, TRANSITIONS, FlowEvent

H, ANY, AS2, AS3 = map(packed, ("10.1.0.10", "198.18.0.1", "10.2.0.10", "10.3.0.10"))
KEY = FlowKey(H, ANY, UDP, 40000, 53)
ROLE = ClientEdgeRole((Prefix.parse("203.0.113.0/28"),), (Prefix.parse("198.18.0.0/16"),), quarantine_s=10)
WEB = Groups({"web": AnycastGroup("web", (Prefix.host(ANY),), {each: Server(each) for each in (AS2, AS3)})})


@pytest.fixture
def edge() -> ClientEdge:
    edge = ClientEdge(ROLE, random.Random(1))
    edge.record.watch(True)
    return edge


def opened(edge, now=0.0, key=KEY):
    return edge.client_packet(key, WEB, now).binding


def answered(edge, flow, server=AS2, now=1.0):
    key = flow.key
    return edge.reply(FlowKey(server, flow.translated, key.protocol, key.destination_port, key.source_port), WEB, now)


def noted(edge):
    return [(each.what, each.when, each.ended_by) for each in edge.record.pop(100)]


def test_a_flow_is_opened_pinned_and_closed(edge):
    flow = opened(edge)
    answered(edge, flow)
    edge.client_packet(KEY, WEB, 2.0)
    edge.apply(flow, FlowEvent.ENDED, 3.0)
    assert noted(edge) == [
        (Change.OPENED, 0.0, None), (Change.PINNED, 1.0, None), (Change.CLOSED, 3.0, EndedBy.OPERATOR)
    ]  # fmt: skip


def test_nothing_is_noted_while_nobody_watches(edge):
    edge.record.watch(False)
    opened(edge)
    assert not noted(edge)


def test_a_flow_that_loses_its_server_is_bound_anew(edge):
    flow = opened(edge)
    answered(edge, flow)
    edge.lose([flow.number], AS2, WEB, 2.0)
    answered(edge, flow, AS3, 3.0)
    *_, last = edge.record.pop(100)
    assert (last.what, last.before, last.flow.server) == (Change.REPINNED, AS2, AS3)
    assert reported("arh1", last).sentence() == "web flow 10.1.0.10:40000 is bound anew: 10.2.0.10 → 10.3.0.10"


@pytest.mark.parametrize(("event", "because"), [
    (FlowEvent.ALL_IDLE, EndedBy.IDLE),
    (FlowEvent.SWEPT, EndedBy.IDLE),
    (FlowEvent.OVER, EndedBy.RESET),
    (FlowEvent.REFUSED, EndedBy.REFUSED),
    (FlowEvent.ENDED, EndedBy.OPERATOR),
    (FlowEvent.FOUND_GONE, EndedBy.GONE),
])  # fmt: skip
def test_it_says_why_a_flow_has_ended(edge, event, because):
    edge.apply(opened(edge), event, 3.0)
    assert edge.record.pop(100)[-1].ended_by is because


def test_a_connection_that_both_ends_have_closed_is_not_idle(edge):
    flow = opened(edge, key=KEY._replace(protocol=TCP))
    flow = answered(edge, flow).binding
    for half in Half.BOTH.parts:
        edge.tcp_end(flow.number, half, False, 2.0)
    edge.apply(edge.bindings.by_number(flow.number), FlowEvent.ALL_IDLE, 3.0)
    assert edge.record.pop(100)[-1].ended_by is EndedBy.CLOSED


def test_flows_found_on_the_switch_are_adopted_at_that_time(edge):
    other = ClientEdge(ROLE, random.Random(1))
    other.record.watch(True)
    other.adopt(opened(edge), now=7.0)
    assert noted(other) == [(Change.ADOPTED, 7.0, None)]


def test_what_there_is_no_room_for_is_counted(edge, monkeypatch):
    monkeypatch.setattr(flow_events, "MOST_NOTED", 1)
    for port in range(1, 4):
        opened(edge, key=KEY._replace(source_port=port))
    assert (len(edge.record.pop(100)), edge.record.pop_missing(), edge.record.pop_missing()) == (1, 2, 0)


def test_refusals_of_a_client_are_counted_together():
    record = FlowRecord()
    record.watch(True)
    for _ in range(3):
        record.refused(H, Drop.CLIENT_FULL)
    assert record.pop_refused() == [(H, Drop.CLIENT_FULL, 3)]
    assert not record.pop_refused()


def test_each_change_is_an_event_with_a_sentence(edge):
    flow = opened(edge)
    answered(edge, flow)
    edge.record.adopted(flow, 2.0)
    edge.apply(flow, FlowEvent.ALL_IDLE, 3.0)
    events = [reported("arh1", change) for change in edge.record.pop(100)]
    assert [each.type for each in events] == ["flow.opened", "flow.pinned", "flow.adopted", "flow.closed"]
    assert all(each.sentence().startswith("web flow 10.1.0.10:40000") for each in events)
    assert {each.subject for each in events} == {("flow", f"arh1/{flow.number}")}


def test_whatever_ends_a_flow_has_a_reason(edge):
    flow = opened(edge)
    rows = [row for state, row in TRANSITIONS.items() if state is not State.NONE]
    ends = {event for row in rows for event, (_, do) in row.items() if do in RELEASES}
    assert {ended_by(event, flow) for event in ends} == set(EndedBy) - {EndedBy.CLOSED}
