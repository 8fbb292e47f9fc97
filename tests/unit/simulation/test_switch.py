"""The simulated switch itself: what it refuses, and what it does as OpenFlow 1.3.5 says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import TCP, FlowKey, Prefix, packed
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.meters import Meter
from anycast_sdn.openflow.pipeline import Undeclared
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    OFPP_TABLE,
    AddFlow,
    Bucket,
    DecTtl,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    Field,
    FlowRule,
    GroupRule,
    MeterRule,
    Output,
    PacketOut,
    PutBinding,
    SetField,
    SetGroup,
    SetMeter,
    ToGroup,
    eth_type,
    match,
)
from anycast_sdn.simulation.effects import Effect, FlowRemoved, PacketIn, Trace, TraceStep, Transmit, TtlExpired
from anycast_sdn.simulation.refusals import Refused, TableFull
from anycast_sdn.simulation.switch import SimulatedSwitch, choose

H, ANY, PR1X = map(packed, ("10.1.0.10", "198.18.0.1", "203.0.113.9"))
KEY = FlowKey(H, ANY, TCP, 40000, 80)
packet_of = partial(ip_packet, eth_src=b"\x06\0\0\0\0\1", eth_dst=b"\x02\xac\0\0\0\1")
FRAME = packet_of(KEY)
ROUTE = entries.route(Prefix.parse("198.18.0.0/16"), 10)
GATEWAY = entries.gateway(ANY)  # one that goes to the controller, metered
METER = MeterRule(GATEWAY.meter or 0, 10, 50)
LLDP_METER = MeterRule(Meter.LLDP, 10, 50)
BINDING = Binding(7, KEY, PR1X, "web", 0.0)
FROM_FABRIC = next(entries.ingress((), [3], (), hairpin=False))


def switch(*rules: FlowRule, meters: bool = True, **options: Any) -> SimulatedSwitch:
    """A switch whose packets from port 3 get as far as its tables let them."""
    made = SimulatedSwitch(meters=meters, **options)
    if meters:
        made.apply(SetMeter(METER, exists=False), 0)
        made.apply(SetMeter(LLDP_METER, exists=False), 0)
    for rule in (FROM_FABRIC, *entries.constant(), *rules):
        made.apply(AddFlow(rule), 0)
    return made


def transmitted(effects: Iterable[Effect]) -> list[Transmit]:
    """The effects, if frames that leave are all of them."""
    frames = list(effects)
    assert all(isinstance(effect, Transmit) for effect in frames)
    return [effect for effect in frames if isinstance(effect, Transmit)]


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "rule",
    [
        replace(ROUTE, match=tuple(field for field in ROUTE.match if field.name != "eth_type")),
        replace(ROUTE, match=match(eth_type(True), *(field for field in ROUTE.match if field.name != "eth_type"))),
        replace(ROUTE, match=match(eth_type(False), Field("ipv4_dst", ANY, b"\xff\xff\0\0"))),
        replace(ROUTE, match=(*ROUTE.match, ROUTE.match[0])),
        entries.service(Prefix.host(ANY), 5),
    ],
    ids=["no eth_type", "wrong eth_type", "bits beyond the mask", "field twice", "no such group"],
)
def test_a_rule_that_a_real_switch_would_refuse_is_refused(rule: FlowRule) -> None:
    made = switch()
    before = made.flows
    with pytest.raises(Refused):
        made.apply(AddFlow(rule), 0)
    assert made.flows == before


def test_a_rule_that_the_pipeline_does_not_declare_is_refused() -> None:
    made = switch()
    with pytest.raises(Undeclared):
        made.apply(AddFlow(replace(ROUTE, priority=1)), 0)


def test_a_rule_needs_its_meter() -> None:
    made = switch()
    made.apply(DeleteMeter(METER.number), 0)
    with pytest.raises(Refused, match="no such meter"):
        made.apply(AddFlow(GATEWAY), 0)


def test_a_switch_without_an_extension_refuses_it() -> None:
    with pytest.raises(Refused, match="no meters"):
        SimulatedSwitch(meters=False).apply(SetMeter(METER, exists=False), 0)
    with pytest.raises(Refused, match="fin_timeout"):
        SimulatedSwitch(fin_timeout=False).apply(PutBinding(BINDING, Half.OUT, 30, 5), 0)


@pytest.mark.parametrize("message", [SetGroup(GroupRule(1, ()), exists=True), SetMeter(METER, exists=False)])
def test_adding_what_is_there_and_changing_what_is_not_are_refused(message: SetGroup | SetMeter) -> None:
    with pytest.raises(Refused):
        switch().apply(message, 0)


def test_a_full_table_takes_changes_but_nothing_new() -> None:
    made = switch(ROUTE)
    made = switch(ROUTE, table_size=len(made.flows))
    with pytest.raises(TableFull):
        made.apply(PutBinding(BINDING, Half.OUT, 30, 0), 0)
    made.apply(AddFlow(replace(ROUTE, actions=(DecTtl(), Output(11)))), 0)
    assert transmitted(made.receive(FRAME, 3, 0))[0].port == 11


# ------------------------------------------------------------------------------ packets


def test_the_highest_priority_counts() -> None:
    made = switch(ROUTE, entries.route(Prefix.parse("198.18.0.0/24"), 11), entries.route(Prefix.host(ANY), 12))
    assert [sent.port for sent in transmitted(made.receive(FRAME, 3, 0))] == [12]
    made.apply(DeleteFlow(entries.route(Prefix.host(ANY), 12)), 0)
    assert [sent.port for sent in transmitted(made.receive(FRAME, 3, 0))] == [11]


def test_a_packet_that_no_rule_matches_is_dropped() -> None:
    assert SimulatedSwitch().receive(FRAME, 3, 0) == []


def test_a_packet_is_not_sent_back_by_its_ingress_port() -> None:
    made = switch(entries.route(Prefix.parse("198.18.0.0/16"), 3))
    assert made.receive(FRAME, 3, 0) == []


def test_the_last_hop_of_a_ttl_is_not_sent() -> None:
    made = switch(ROUTE)
    trace: Trace = []
    frame = packet_of(KEY, ttl=1)
    assert made.receive(frame, 3, 0, trace) == [TtlExpired(3, frame)]
    (*_, last) = trace
    assert isinstance(last, TraceStep)
    assert last.end == "ttl"
    (sent,) = transmitted(made.receive(packet_of(KEY, ttl=2), 3, 0))
    assert parse_ip(sent.frame).ttl == 1


def test_a_meter_lets_its_rate_and_a_burst_pass() -> None:
    made = switch(GATEWAY)
    assert sum(len(made.receive(FRAME, 3, 0)) for _ in range(200)) == METER.burst
    assert sum(len(made.receive(FRAME, 3, 1)) for _ in range(200)) == METER.rate


def test_a_packet_in_has_the_cookie_of_its_rule_and_its_ingress_port() -> None:
    assert switch(GATEWAY).receive(FRAME, 3, 0) == [PacketIn(GATEWAY.cookie, 3, FRAME)]


def test_a_packet_out_goes_through_the_tables() -> None:
    made = switch(ROUTE)
    (sent,) = transmitted(made.apply(PacketOut(FRAME, OFPP_CONTROLLER, (Output(OFPP_TABLE),)), 0))
    assert (sent.port, parse_ip(sent.frame).key) == (10, KEY)
    assert made.apply(PacketOut(FRAME, OFPP_CONTROLLER, (Output(4),)), 0) == [Transmit(4, FRAME)]


def test_the_trace_has_a_step_for_each_table() -> None:
    trace: Trace = []
    made = switch(ROUTE)
    made.apply(PutBinding(BINDING, Half.OUT, 30, 0), 0)
    made.receive(FRAME, 3, 0, trace)
    assert [step.table for step in trace] == list(Table)[: Table.EGRESS]  # and those are all that every switch has
    step = trace[1]
    assert isinstance(step, TraceStep)
    assert (step.before, step.after) == (KEY, KEY._replace(source=PR1X))
    assert step.done == (SetField("ipv4_src", PR1X),)


# ------------------------------------------------------------------------------ groups


def bucket(weight: int, port: int) -> Bucket:
    return Bucket(weight, (Output(port),))


def test_a_flow_always_gets_the_same_bucket_and_flows_share_by_weight() -> None:
    group = GroupRule(1, (bucket(1, 1), bucket(3, 2)))
    flows = [KEY._replace(source_port=port) for port in range(1, 4001)]
    chosen = [choose(group, flow) for flow in flows]
    assert chosen == [choose(group, flow) for flow in flows]
    assert 800 <= chosen.count(group.buckets[0]) <= 1200


def test_a_group_without_buckets_drops() -> None:
    assert choose(GroupRule(1, ()), KEY) is None


def test_the_rules_of_a_group_go_with_it() -> None:
    made = switch()
    made.apply(SetGroup(GroupRule(5, (bucket(1, 1),)), exists=False), 0)
    made.apply(AddFlow(entries.service(Prefix.host(ANY), 5)), 0)
    assert made.receive(FRAME, 3, 0) == [Transmit(1, FRAME)]
    made.apply(DeleteGroup(5), 0)
    assert not any(ToGroup(5) in rule.actions for rule in made.flows.values())


# ------------------------------------------------------------------------------ time


def test_a_rule_expires_when_it_has_been_idle_and_is_reported() -> None:
    made = switch(ROUTE)
    made.apply(PutBinding(BINDING, Half.OUT, 30, 0), 0)
    made.receive(FRAME, 3, 20)
    assert made.expire(49.9) == []
    cookie = next(rule.cookie for rule in made.flows.values() if rule.idle_timeout)
    assert made.expire(50) == [FlowRemoved(cookie, 30)]
    assert made.expire(51) == []


def test_a_fin_shortens_the_idle_timeout() -> None:
    made = switch(ROUTE)
    made.apply(PutBinding(BINDING, Half.OUT, 30, 5), 0)
    made.receive(packet_of(KEY, tcp_flags=0x11), 3, 1)
    assert [rule.idle_timeout for rule in made.flows.values() if rule.notify] == [5]
    (removed,) = made.expire(6)
    assert isinstance(removed, FlowRemoved)
    assert removed.idle_timeout == 5


def test_a_rule_that_is_added_again_keeps_its_count_and_starts_its_time_anew() -> None:
    made = switch(ROUTE)
    made.apply(PutBinding(BINDING, Half.OUT, 30, 0), 0)
    made.receive(FRAME, 3, 0)
    made.apply(PutBinding(BINDING, Half.OUT, 30, 0), 20)
    assert made.packets()[Kind.BINDING_OUT_UNANSWERED] == 1
    assert made.expire(40) == []


@given(st.binary(max_size=200))
def test_no_frame_makes_the_switch_fail(frame: bytes) -> None:
    made = switch(ROUTE, GATEWAY)
    made.receive(frame, 3, 0)
    made.receive(FRAME[:14] + frame, 3, 0)
