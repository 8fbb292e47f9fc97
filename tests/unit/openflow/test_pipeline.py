"""The pipeline's declaration: consistent with itself, and enforced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import TCP, FlowKey, Prefix, packed
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.meters import Meter
from anycast_sdn.openflow.pipeline import DROPS, ROW, ROWS, Undeclared, as_markdown, check, cookie, kind_of, number_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, DecTtl, Field, FlowRule, Output, PutBinding, SetField, match

ROUTE = entries.route(Prefix.parse("10.2.0.0/24"), 10)
HOST = entries.host(packed("10.1.0.10"), bytes(6), bytes(6), 1)
FLOW = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), TCP, 40000, 80)
BOUND = entries.binding(
    PutBinding(Binding(1, FLOW, packed("203.0.113.1"), "web", 0.0, packed("10.2.0.10")), Half.OUT, 30, 29)
)
GATEWAY = entries.gateway(packed("10.1.0.1"))


def kind(rule: FlowRule) -> Kind:
    found = kind_of(rule.cookie)
    assert found
    return found


def test_each_kind_has_one_row() -> None:
    assert sorted(row.kind for row in ROWS) == sorted(Kind)
    assert {row.kind: row for row in ROWS} == ROW


def test_packets_go_forward_only() -> None:
    assert all(row.goto is None or row.goto > row.table for row in ROWS)


@pytest.mark.parametrize("table", list(Table))
def test_every_table_says_what_to_do_with_anything_else(table: Table) -> None:
    (last,) = [row for row in ROWS if row.table is table and row.priority == 0]
    assert not last.fields


def test_a_row_that_drops_is_counted_and_no_other() -> None:
    for row in ROWS:
        drops = row.goto is None and not row.actions
        refuses = row.meter in (Meter.REFUSED, Meter.UNDELIVERABLE)  # the sender gets an ICMP error
        assert bool(row.counter) is (drops or refuses), row.kind
    # Two rows share a counter only if they drop packets for the same reason at different ports.
    assert len({(name, ROW[kind].table) for kind, name in DROPS.items()}) == len(set(DROPS.values()))


def test_whatever_goes_to_the_controller_unasked_is_metered() -> None:
    rows = [row for row in ROWS if row.to_controller and not row.answers]
    copied = {meter for row in ROWS for meter in row.copies}
    assert {row.meter for row in rows} | copied == set(Meter)
    assert all(row.actions[-1] is Output for row in rows)
    assert {row.kind for row in ROWS if row.answers} == {Kind.CONNECTION_FOUND, Kind.CONNECTION_MISSING}


@pytest.mark.parametrize("rule", [ROUTE, HOST, GATEWAY, *entries.constant()], ids=lambda rule: kind(rule).name)
def test_what_the_builders_make_is_declared(rule: FlowRule) -> None:
    assert check(rule) is ROW[kind(rule)]


def test_a_rule_without_a_meter_is_declared_for_switches_that_have_none() -> None:
    check(replace(GATEWAY, meter=None))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (replace(ROUTE, cookie=0x1234), "belongs to no row"),
        (replace(BOUND, idle_timeout=0), "Open vSwitch may crash"),
        (replace(ROUTE, cookie=cookie(Kind.HOST) & ~(0xFF << 40)), "belongs to no row"),
        (replace(ROUTE, table=Table.SERVICE), "belongs in table"),
        (replace(HOST, priority=799), "has no priority"),
        (replace(HOST, priority=801), "has no priority"),
        (replace(ROUTE, priority=200 + 129), "has no priority"),
        (replace(ROUTE, match=match(*ROUTE.match, Field("ip_proto", 6))), "does not match on ip_proto"),
        (replace(ROUTE, goto=Table.ROUTES), "goes to"),
        (replace(ROUTE, meter=Meter.NEIGHBOURS), "goes to"),
        (replace(GATEWAY, meter=Meter.FIRST_PACKETS), "goes to"),
        (replace(ROUTE, actions=(SetField("ipv4_dst", bytes(4)), Output(1))), "does not do"),
        (replace(HOST, actions=(SetField("ipv4_dst", bytes(4)), Output(1))), "does not do"),
        (replace(ROUTE, actions=(DecTtl(), Output(OFPP_CONTROLLER))), "does not send"),
        (replace(GATEWAY, actions=(Output(1),)), "does not send"),
    ],
)
def test_a_rule_that_no_row_allows_is_refused(rule: FlowRule, why: str) -> None:
    with pytest.raises(Undeclared, match=why):
        check(rule)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_cookie_carries_kind_and_number(kind: Kind) -> None:
    value = cookie(kind, 123456789)
    assert (kind_of(value), number_of(value)) == (kind, 123456789)
    assert value < 1 << 64


@pytest.mark.parametrize("value", [0, 1, (1 << 64) - 1, 0xA17D << 48 | 1 << 40])
def test_a_cookie_that_is_not_ours_has_no_kind(value: int) -> None:
    assert kind_of(value) is None


def test_the_printed_table_has_a_line_for_each_row() -> None:
    lines = as_markdown().splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert all(line.count("|") == 6 for line in lines)
