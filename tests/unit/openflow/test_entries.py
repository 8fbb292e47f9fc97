"""Facts → rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, WHOLE, FlowKey, Prefix, packed
from anycast_sdn.description.model import Limits
from anycast_sdn.openflow import entries, meters
from anycast_sdn.openflow.meters import PARTS, REPLY_METERS
from anycast_sdn.openflow.pipeline import check, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FinTimeout, PutBinding, SetField
from anycast_sdn.simulation.switch import SimulatedSwitch

H, ANY, PR1X, AS2 = map(packed, ("10.1.0.10", "198.18.0.1", "203.0.113.9", "10.2.0.10"))
PORTED = (TCP, UDP, SCTP)


@st.composite
def bindings(draw: st.DrawFn) -> Binding:
    """Any binding that can exist, of either family, pinned or not."""
    width = draw(st.sampled_from([4, 16]))
    address = st.binary(min_size=width, max_size=width)
    protocol = draw(st.integers(0, WHOLE))
    ports = st.integers(0, 65535) if protocol in PORTED else st.just(0)
    key = FlowKey(draw(address), draw(address), protocol, draw(ports), draw(ports))
    number = draw(st.integers(1, (1 << 40) - 1))
    return Binding(number, key, draw(address), "web", 0.0, draw(st.none() | address), Half.BOTH)


@st.composite
def puts(draw: st.DrawFn) -> PutBinding:
    binding = draw(bindings())
    half = draw(st.sampled_from(Half.BOTH.parts if binding.server else Half.OUT.parts))
    fin_timeout = draw(st.sampled_from([0, 5])) if binding.key.protocol == TCP else 0
    marks = binding.key.is_whole and draw(st.booleans())
    return PutBinding(binding, half, draw(st.integers(6 if fin_timeout else 0, 65535)), fin_timeout, marks)


@given(puts())
def test_a_bindings_rule_is_accepted_by_a_switch(put: PutBinding) -> None:
    rule = entries.binding(put)
    check(rule)
    SimulatedSwitch().apply(put, 0.0)
    assert rule.notify
    assert rule.idle_timeout == put.idle_timeout
    assert (FinTimeout(5) in rule.actions) is (put.fin_timeout == 5)


@given(bindings(), bindings())
def test_rules_of_different_flows_have_different_matches(first: Binding, second: Binding) -> None:
    if first.key == second.key:
        return
    keys = [entries.binding(PutBinding(binding, Half.OUT, 0, 0)).key for binding in (first, second)]
    assert keys[0] != keys[1]


def test_before_the_pin_only_the_source_is_rewritten() -> None:
    binding = Binding(1, FlowKey(H, ANY, UDP, 40000, 53), PR1X, "web", 0.0)
    rule = entries.binding(PutBinding(binding, Half.OUT, 30, 0))
    assert kind_of(rule.cookie) is Kind.BINDING_OUT_UNANSWERED
    assert rule.actions == (SetField("ipv4_src", PR1X),)


def test_after_the_pin_both_addresses_are_rewritten_both_ways() -> None:
    binding = Binding(1, FlowKey(H, ANY, UDP, 40000, 53), PR1X, "web", 0.0, AS2, Half.BOTH)
    out, back = (entries.binding(PutBinding(binding, half, 300, 0)) for half in Half.BOTH.parts)
    assert out.actions == (SetField("ipv4_src", PR1X), SetField("ipv4_dst", AS2))
    assert back.actions == (SetField("ipv4_src", ANY), SetField("ipv4_dst", H))
    assert {field.name: field.value for field in back.match} == {
        "eth_type": 0x0800,
        "ip_proto": UDP,
        "ipv4_src": AS2,
        "ipv4_dst": PR1X,
        "udp_src": 53,
        "udp_dst": 40000,
    }


@pytest.mark.parametrize(
    ("protocol", "wide", "field", "request_type", "reply_type"),
    [(ICMP, False, "icmpv4_type", 8, 0), (ICMPV6, True, "icmpv6_type", 128, 129)],
)
def test_echoes_are_distinguished_from_other_icmp_by_their_type(
    protocol: int, wide: bool, field: str, request_type: int, reply_type: int
) -> None:
    address = bytes(16) if wide else bytes(4)
    binding = Binding(1, FlowKey(address, address, protocol, 0, 0), address, "web", 0.0, address, Half.BOTH)
    out, back = (entries.binding(PutBinding(binding, half, 60, 0)) for half in Half.BOTH.parts)
    for rule, value in ((out, request_type), (back, reply_type)):
        assert {part.name: part.value for part in rule.match}[field] == value


def test_a_longer_prefix_has_the_higher_priority() -> None:
    lengths = [0, 1, 8, 24, 32]
    routes = [entries.route(Prefix.parse(f"{'0.0.0.0' if n < 8 else '10.0.0.0'}/{n}"), 1) for n in lengths]
    priorities = [rule.priority for rule in routes]
    assert priorities == sorted(set(priorities))


def test_a_meter_allows_a_burst() -> None:
    for meter in meters.rules(Limits(first_packets=20000, icmp_errors=10), hosts=3, links=2):
        assert meter.burst == max(50, meter.rate // 10)


def test_each_port_to_hosts_or_to_another_switch_has_meters_of_its_own() -> None:
    numbers = [meter.number for meter in meters.rules(Limits(), hosts=3, links=2)]
    assert len(numbers) == len(set(numbers)) == 6 + PARTS + REPLY_METERS + 5 * 3 + 2
