"""Whatever a switch holds can be read: a rule that is not as we would write it is replaced or deleted."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, FlowKey, packed
from anycast_sdn.description import reading as network_file
from anycast_sdn.openflow import decoding, entries, readback
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import cookie, kind_of, number_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    UNREAD,
    AddFlow,
    DecTtl,
    DeleteFlow,
    Field,
    FinTimeout,
    FlowRule,
    Message,
    Output,
    PutBinding,
    RemoveBinding,
    RuleKey,
    SetField,
    ToGroup,
    Unread,
    match,
)
from anycast_sdn.openflow.tables import Tables
from tests.unit.network_files import VALID
from tests.unit.openflow.test_codec import DATAPATH, as_flow_stats, decode_flow_stats, encode, puts

H, ANY, AS2 = map(packed, ("10.1.0.10", "198.18.0.1", "10.2.0.10"))
STRANGE = bytes.fromhex("0001440200ff")  # a match on TCP flags, which we never write
ADDRESSES = st.sampled_from([H, ANY, AS2, packed("203.0.113.9"), packed("2001:db8::1"), bytes(6)])
NAMES = ["in_port", "eth_type", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "ip_proto", "tcp_src", "tcp_dst",
         "udp_src", "udp_dst", "icmpv4_type", "eth_src", "eth_dst"]  # fmt: skip
numbers = st.integers(0, 7) | st.sampled_from([0x0800, 0x86DD, TCP, UDP, 58, 0xFFFF])
fields = st.builds(Field, st.sampled_from(NAMES), ADDRESSES | numbers, st.none() | st.just(b"\xff\xff\0\0"))
actions = st.one_of(
    st.builds(SetField, st.sampled_from(NAMES), ADDRESSES | numbers),
    st.builds(Output, numbers),
    st.builds(ToGroup, numbers),
    st.builds(FinTimeout, numbers),
    st.just(DecTtl()),
    st.just(Unread()),
)
matches = st.lists(fields, max_size=6, unique_by=lambda field: field.name).map(lambda some: match(*some)) | st.just(
    (Field(UNREAD, STRANGE),)
)


@st.composite
def strange_rules(draw: st.DrawFn) -> FlowRule:
    """Any rule with a cookie of ours: made up, or one of ours with anything in it changed."""
    kind = draw(st.sampled_from(Kind))
    changes = {
        "table": draw(st.integers(0, 5)),
        "priority": draw(st.integers(0, 1000) | st.integers(0, 65535)),
        "match": draw(matches),
        "actions": tuple(draw(st.lists(actions, max_size=4))),
        "goto": draw(st.none() | st.integers(0, 5)),
        "meter": draw(st.none() | st.integers(0, 20)),
        "idle_timeout": draw(st.sampled_from([0, 5, 30, 300])),
        "notify": draw(st.booleans()),
    }
    if draw(st.booleans()):
        return FlowRule(cookie=cookie(kind, draw(st.integers(0, 5))), **changes)
    put = draw(puts())
    put = put._replace(binding=put.binding._replace(number=put.binding.number % 6))
    rule = entries.binding(put) if draw(st.booleans()) else entries.host(H, bytes(6), bytes(6), 3)
    some = draw(st.sets(st.sampled_from(sorted(changes)), max_size=2))
    return replace(rule, **{name: changes[name] for name in some})


@given(strange_rules())
def test_a_rule_is_read_as_what_the_controller_would_write_or_not_at_all(rule: FlowRule) -> None:
    if half := readback.binding(rule):
        binding = Binding(half.number, half.key, half.translated, "", 0.0, half.server)
        ours = entries.binding(PutBinding(binding, half.half, rule.idle_timeout, 0))
        assert (ours.key, ours.cookie) == (rule.key, rule.cookie)
        assert set(ours.actions) <= set(rule.actions)
    if host := readback.host(rule):
        address, mac, port = host
        own_mac = next(action.value for action in rule.actions if isinstance(action, SetField))
        assert entries.host(address, own_mac, mac, port) == rule
    for read in (readback.route, readback.egress_route):
        read(rule)


def applied(rules: dict[RuleKey, FlowRule], messages: Iterable[Message]) -> dict[RuleKey, FlowRule]:
    """What a switch holds that held ``rules`` and got ``messages``."""
    held = dict(rules)
    for message in messages:
        if isinstance(message, AddFlow):
            held[message.rule.key] = message.rule
        elif isinstance(message, PutBinding):
            rule = entries.binding(message)
            held[rule.key] = rule
        elif isinstance(message, DeleteFlow):
            held.pop(message.rule.key, None)
        elif isinstance(message, RemoveBinding):
            held.pop(entries.binding(message.put).key, None)
    return held


class Ascending:
    def randrange(self, stop: int, /) -> int:
        return 0


def controller() -> tuple[Controller, int]:
    network = network_file.parse(VALID, "net.yaml")
    made = Controller(network, Groups({group.name: group for group in network.groups}), Ascending())
    return made, next(switch.dpid for switch in network.switches if switch.client_edge)


def found(made: Controller, dpid: int, held: dict[RuleKey, FlowRule]) -> dict[int, list[Message]]:
    """The switch connects, with these rules, and groups and meters as they should be."""
    switch = made.switches[dpid]
    tables = Tables(dict(held), switch.installed.groups, switch.installed.meters)
    outbox = made.synchronise(dpid, tables, Features(), 0.0).outbox
    return {to: messages for to, messages in outbox.items() if messages}


def wanted(made: Controller, dpid: int) -> dict[RuleKey, FlowRule]:
    """All rules that the switch should hold, by what the controller knows."""
    switch = made.switches[dpid]
    rules = list(switch.installed.flows.values())
    rules += [entries.route(prefix, port) for prefix, port in switch.routes.items() if port]
    for binding in switch.engine.flows:
        rules += [entries.binding(switch.engine.wanted_rule(binding, half)) for half in binding.installed.parts]
    return {rule.key: rule for rule in rules}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(strange_rules(), max_size=6), st.lists(strange_rules(), max_size=6))
def test_any_rules_that_a_switch_holds_at_the_start_or_later_are_corrected(
    first: list[FlowRule], later: list[FlowRule]
) -> None:
    made, dpid = controller()
    held: dict[RuleKey, FlowRule] = {}
    for strange in (first, later):
        held |= {rule.key: rule for rule in strange}
        messages = found(made, dpid, held)
        held = applied(held, messages.get(dpid, []))
        assert {key: rule for key, rule in held.items() if rule != wanted(made, dpid).get(key)} == {}
        assert wanted(made, dpid).keys() == held.keys()
        assert found(made, dpid, held) == {}


KEY = FlowKey(H, ANY, TCP, 40000, 80)
PINNED = Binding(7, KEY, packed("203.0.113.9"), "web", 0.0, AS2, Half.BOTH)


def both(binding: Binding = PINNED, idle: int = 7440, fin: int = 7439) -> list[FlowRule]:
    return [entries.binding(PutBinding(binding, half, idle, fin)) for half in Half.BOTH.parts]


@pytest.mark.parametrize(
    "edit",
    [
        lambda out, back: [replace(out, actions=()), back],
        lambda out, back: [out, replace(back, actions=())],
        lambda out, back: [replace(out, actions=(*out.actions, Output(9))), back],
        lambda out, back: [replace(out, priority=100), back],
        lambda out, back: [replace(out, match=out.match[:-1]), back],
        lambda out, back: [replace(out, table=4), back],
        lambda out, back: [replace(out, goto=None), replace(back, goto=3)],
        lambda out, back: [replace(out, match=(Field(UNREAD, STRANGE),)), back],
        lambda out, back: [out, replace(back, idle_timeout=77)],
        lambda out, back: [out, replace(back, notify=False)],
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["to a new controller", "to one that knows the flow"])
def test_an_edited_rule_ends_no_binding_and_is_corrected(edit, known: bool) -> None:
    """One readable half is enough for a controller that has just started; one that knows the flow needs none."""
    made, dpid = controller()
    flows = made.switches[dpid].engine.flows
    if known:
        made.synchronise(dpid, Tables.of(both()), Features(), 0.0)
    found = Tables.of(edit(*both()))
    messages = made.synchronise(dpid, found, Features(), 0.0).outbox
    assert [(b.number, b.key, b.server, b.installed) for b in flows] == [(7, KEY, AS2, Half.BOTH)]
    held = applied(found.flows, messages[dpid])
    assert [held[rule.key] for rule in both()] == both()
    assert len([rule for rule in held.values() if number_of(rule.cookie)]) == 2


@pytest.mark.parametrize(
    "before", [both(fin=6), both(fin=0), both(idle=0, fin=0)], ids=["other fin_timeout", "no fin_timeout", "swept"]
)
def test_another_expiry_installs_rules_anew_and_releases_no_binding(before: list[FlowRule]) -> None:
    """As after a change of the network file, or when a switch is found to have a feature that it did not have."""
    made, dpid = controller()
    made.synchronise(dpid, Tables.of(both()), Features(), 0.0)
    flows = made.switches[dpid].engine.flows
    messages = made.synchronise(dpid, Tables.of(before), Features(), 0.0).outbox
    held = applied(Tables.of(before).flows, messages[dpid])
    assert [held[rule.key] for rule in both()] == both()
    assert len(flows) == 1


def test_a_half_whose_timeout_a_fin_has_shortened_stays_so() -> None:
    made, dpid = controller()
    closed = [replace(rule, idle_timeout=7439) for rule in both()]
    made.synchronise(dpid, Tables.of(both()), Features(), 0.0)
    messages = made.synchronise(dpid, Tables.of(closed), Features(), 0.0).outbox
    assert [message for message in messages[dpid] if isinstance(message, PutBinding | DeleteFlow)] == []


def test_only_a_binding_without_any_rule_ends() -> None:
    made, dpid = controller()
    flows = made.switches[dpid].engine.flows
    other = PINNED._replace(number=8, key=KEY._replace(source_port=40001), translated=packed("203.0.113.10"))
    made.synchronise(dpid, Tables.of([*both(), *both(other)]), Features(), 0.0)
    made.synchronise(dpid, Tables.of(both()[1:]), Features(), 0.0)
    assert [(binding.number, binding.installed) for binding in flows] == [(7, Half.IN)]


# ------------------------------------------------------------------------------ bytes


def entry(conditions: bytes, instructions: bytes, rule_cookie: int, hard_timeout: int = 0) -> bytes:
    """A flow-stats entry."""
    length = 4 + len(conditions)
    rest = struct.pack("!HH", 1, length) + conditions + bytes(-length % 8) + instructions
    return struct.pack("!HBxIIHHHH4xQQQ", 48 + len(rest), 4, 1, 0, 832, 0, hard_timeout, 0, rule_cookie, 5, 500) + rest


HOST = cookie(Kind.HOST)
WRITE_NOTHING = struct.pack("!HH4x", ofp.OFPIT_WRITE_ACTIONS, 8)


def test_a_match_that_is_never_written_is_kept_as_it_is_so_that_just_its_rule_can_be_deleted() -> None:
    ((rule,), foreign) = decode_flow_stats(entry(STRANGE, b"", HOST))
    assert foreign == set()
    assert rule.match == (Field(UNREAD, STRANGE),)
    sent = encode(DATAPATH, [DeleteFlow(rule)])
    assert sent[25] == ofp.OFPFC_DELETE_STRICT
    assert sent[48:] == struct.pack("!HH", 1, 4 + len(STRANGE)) + STRANGE + bytes(-(4 + len(STRANGE)) % 8)
    assert int.from_bytes(sent[2:4], "big") == len(sent)


@pytest.mark.parametrize("instructions", [WRITE_NOTHING, struct.pack("!HH4xHHI", 4, 16, 0xFFFF, 8, 0x2320)])
def test_actions_that_are_never_written_leave_the_rest_of_the_rule_readable(instructions: bytes) -> None:
    ((rule,), _) = decode_flow_stats(entry(b"", instructions, HOST))
    assert (rule.table, rule.priority, rule.actions) == (4, 832, (Unread(),))
    assert len(encode(DATAPATH, [DeleteFlow(rule)])) == 56


def test_a_hard_timeout_makes_a_rule_another() -> None:
    (rule,), (same,) = (decode_flow_stats(entry(b"", b"", HOST, hard_timeout=s))[0] for s in (9, 0))
    assert rule != same
    assert rule == replace(same, hard_timeout=9)


def test_actions_of_different_kinds_are_not_equal_because_of_their_numbers() -> None:
    assert len({Output(5), ToGroup(5), FinTimeout(5)}) == 3
    assert DecTtl() != Unread()


@given(puts())
def test_rules_that_were_not_changed_are_read_as_they_were_written(put: PutBinding) -> None:
    ((rule,), _) = decode_flow_stats(as_flow_stats(entries.binding(put)))
    assert rule == entries.binding(put)
    assert kind_of(rule.cookie)


@pytest.mark.parametrize(
    ("flags", "bands"),
    [
        (ofp.OFPMF_KBPS | ofp.OFPMF_BURST, struct.pack("!HHII4x", 1, 16, 100, 50)),
        (ofp.OFPMF_PKTPS | ofp.OFPMF_BURST, struct.pack("!HHII4x", 2, 16, 100, 50)),
        (ofp.OFPMF_PKTPS | ofp.OFPMF_BURST, 2 * struct.pack("!HHII4x", 1, 16, 100, 50)),
        (ofp.OFPMF_PKTPS | ofp.OFPMF_BURST, b""),
    ],
)
def test_a_meter_with_another_limit_equals_no_wanted_meter(flags: int, bands: bytes) -> None:
    (meter,) = decoding.decode_meters(struct.pack("!HHI", 8 + len(bands), flags, 1) + bands)
    assert meter.rate == 0
    good = struct.pack("!HHII4x", 1, 16, 100, 50)
    (meter,) = decoding.decode_meters(struct.pack("!HHI", 24, ofp.OFPMF_PKTPS | ofp.OFPMF_BURST, 1) + good)
    assert (meter.rate, meter.burst) == (100, 50)
