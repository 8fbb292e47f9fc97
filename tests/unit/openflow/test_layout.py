"""Layouts: a rule has one place on a switch, and is found there again."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import Gateway, Neighbour, Prefix, packed
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.openflow import codec, decoding, entries, gateway_entries
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.layouts import carries, suited
from anycast_sdn.openflow.one_table import ONE_TABLE
from anycast_sdn.openflow.pipeline import BINDING_KINDS, ROWS, check, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    AddFlow,
    DeleteFlow,
    Field,
    FlowRule,
    Output,
    PutBinding,
    RemoveBinding,
    Resubmit,
    SetGroup,
    Track,
    Unread,
)
from anycast_sdn.openflow.states import State
from tests.unit.openflow.test_codec import DATAPATH, puts
from tests.unit.switch_end import HELLO, Peer, features

LAYOUTS = pytest.mark.parametrize("layout", [FIVE_TABLES, THREE_TABLES], ids=["five tables", "three"])
HERE, ANY, PR = map(Prefix.parse, ("10.1.0.0/24", "198.18.0.0/16", "203.0.113.0/24"))
GATEWAYS = Gateway.parse("10.1.0.1/24"), Gateway.parse("2001:db8:1::1/64")
SUBNETS = [Subnet("n1", "e", Side.CLIENT, GATEWAYS, (1, 2))]
ROLE = ClientEdgeRole((PR,), (ANY,))
RULES = [
    *entries.constant(),
    *entries.ingress(SUBNETS, [10], [ANY], hairpin=True),
    *gateway_entries.lives(),
    *gateway_entries.answers(SUBNETS, bytes(6)),
    *entries.client_edge(ROLE, SUBNETS, [ANY], tcp_flags=True),
    *entries.first_replies(ROLE, [packed("10.2.0.10")]),
    entries.service(ANY, 1),
    entries.service_alone(Prefix.parse("198.19.0.0/16"), packed("10.2.0.10"), bytes(6), Neighbour(bytes(6), 1)),
    entries.service_fragments(ANY, packed("10.2.0.10"), bytes(6), Neighbour(bytes(6), 1), hairpin=True),
    entries.service_fragments(ANY, packed("10.2.0.10"), bytes(6), None),
    *entries.spoiled_fragments([ANY]),
    *entries.no_route(SUBNETS),
    *entries.for_each_port(SUBNETS, [packed("192.0.2.1")]),
    entries.gateway(packed("10.1.0.1")),
    entries.check_answers(packed("10.1.0.10"), packed("10.1.0.1"), 1),
    entries.connected(HERE),
    entries.host(packed("10.1.0.10"), bytes(6), bytes(6), 1, limit=1400, hairpin=True),
    entries.route(HERE, 10, limit=1400),
    entries.egress_route(Prefix.parse("0.0.0.0/0"), bytes(6), bytes(6), 3),
    *entries.egress({10: 1400}),
]


def held(layout: Layout, message: AddFlow | PutBinding) -> bytes:
    """What the switch would show of a rule that it was sent."""
    mod = codec.encoder(layout).encode(DATAPATH, [message])
    table, priority = mod[24], int.from_bytes(mod[30:32], "big")
    rule = message.rule if isinstance(message, AddFlow) else entries.binding(message)
    head = struct.pack("!HBxIIHHHH4xQQQ", len(mod), table, 1, 0, priority, rule.idle_timeout, rule.hard_timeout,
                       rule.notify, rule.cookie, 5, 500)  # fmt: skip
    return head + mod[48:]


def test_the_rules_here_are_of_all_rows_but_those_of_bindings_connections_and_uplinks() -> None:
    bindings = set(BINDING_KINDS.values())
    kinds = {kind_of(rule.cookie) for rule in RULES}
    inside_the_tracker = {row.kind for row in ROWS if row.table > Table.EGRESS or row.tracked}
    inside_the_tracker |= {Kind.TO_TRACKER, Kind.NOT_BEGUN}
    assert kinds == set(Kind) - bindings - inside_the_tracker - {Kind.FROM_UPLINK, Kind.OWN_SOURCE}
    assert all(map(check, RULES))


def test_five_tables_take_rules_as_they_are() -> None:
    for rule in RULES:
        assert FIVE_TABLES.on_switch(rule) is rule
        assert FIVE_TABLES.logical(rule) is rule


@LAYOUTS
def test_each_rule_has_a_place_of_its_own(layout: Layout) -> None:
    keys = {rule.key for rule in RULES}
    assert len({layout.on_switch(rule).key for rule in RULES}) == len(keys)


@LAYOUTS
def test_a_switchs_rules_are_read_as_the_rules_that_were_sent(layout: Layout) -> None:
    body = b"".join(held(layout, AddFlow(rule)) for rule in RULES)
    assert decoding.decode_flow_stats(body, layout) == (RULES, set())


def test_one_table_holds_the_rules_of_the_pipeline_and_they_are_read_as_they_were_sent() -> None:
    rules = [rule for rule in RULES if not any(isinstance(action, Resubmit) for action in rule.actions)]
    rules = [*rules, *entries.closed([3, 4])]
    placed = [ONE_TABLE.on_switch(rule) for rule in rules]
    assert [rule.table > 0 for rule in placed] == [rule.table >= Table.EGRESS for rule in rules]
    assert all(rule.goto is None for rule in placed)
    assert len({rule.key for rule in placed}) == len({rule.key for rule in rules})
    body = b"".join(held(ONE_TABLE, AddFlow(rule)) for rule in rules)
    assert decoding.decode_flow_stats(body, ONE_TABLE) == (rules, set())


@pytest.mark.parametrize(("tables", "most"), [(0, 5), (1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (254, 5)])
def test_no_switch_gets_a_layout_that_it_cannot_hold(tables: int, most: int) -> None:
    used = {suited(tables).table(table) for table in Table if table < Table.EGRESS}
    assert used == set(range(most))


@LAYOUTS
@given(put=puts())
def test_templates_write_a_bindings_rule_into_the_same_table_as_the_serialiser(layout: Layout, put: PutBinding) -> None:
    rule = entries.binding(put)
    encode = codec.encoder(layout).encode
    assert encode(DATAPATH, [put]) == encode(DATAPATH, [AddFlow(rule)])
    assert encode(DATAPATH, [RemoveBinding(put)]) == encode(DATAPATH, [DeleteFlow(rule)])
    assert decoding.decode_flow_stats(held(layout, put), layout) == ([rule], set())


def test_three_tables_are_enough_without_the_extensions_of_open_vswitch() -> None:
    for rule in RULES:
        on_switch = THREE_TABLES.on_switch(rule)
        assert on_switch.table <= 2 or rule.table >= Table.EGRESS
        assert on_switch.goto is None or on_switch.table < on_switch.goto
        assert on_switch.goto is None or on_switch.goto <= 2 or (rule.goto or 0) >= Table.EGRESS


@LAYOUTS
@pytest.mark.parametrize(
    ("table", "leads_to"),
    [  # rules of the connection tracker: by which table they lead to which
        (Table.CLIENT_OUT, Resubmit(Table.TRACK_OUT)),
        (Table.TRACK_OUT, Resubmit(Table.CLIENT_OUT)),
        (Table.TRACK_OUT, Track(4, Table.TRACKED_OUT, translate=True)),
        (Table.TRACKED_OUT, Resubmit(Table.CLIENT_OUT)),
        (Table.TRACKED_OUT, Resubmit(Table.SERVICE)),
        (Table.CLIENT_IN, Track(4, Table.TRACKED_IN, translate=True)),
        (Table.PIN, Track(4, commit=True, label=bytes(16))),
        (Table.PIN, Resubmit(Table.RESTORE_IN)),
        (Table.RESTORE_IN, Resubmit(Table.ROUTES)),
    ],
)
def test_a_packet_goes_on_in_the_switchs_table_that_carries_the_next(
    layout: Layout, table: Table, leads_to: Resubmit | Track
) -> None:
    rule = FlowRule(table, 5, (), 7, (leads_to,))
    (on_switch,) = layout.on_switch(rule).actions
    assert isinstance(on_switch, Resubmit | Track)
    assert on_switch.table == (None if leads_to.table is None else layout.table(leads_to.table))
    assert layout.logical(layout.on_switch(rule)) == rule


def test_rules_of_the_first_table_come_before_those_of_the_second() -> None:
    for first, second in ((Table.CLIENT_OUT, Table.CLIENT_IN), (Table.SERVICE, Table.ROUTES)):
        rules = {
            table: [THREE_TABLES.on_switch(rule) for rule in RULES if rule.table == table and rule.priority]
            for table in (first, second)
        }
        assert min(rule.priority for rule in rules[first]) > max(rule.priority for rule in rules[second])


def test_packets_match_only_the_second_tables_rule_for_anything_else() -> None:
    for first, second in ((Kind.OUT_ELSE, Kind.IN_ELSE), (Kind.SERVICE_ELSE, Kind.NO_ROUTE)):
        below, above = (
            next(THREE_TABLES.on_switch(rule) for rule in RULES if kind_of(rule.cookie) is kind)
            for kind in (first, second)
        )
        assert below.table == above.table
        assert below.match == above.match == ()
        assert below.priority < above.priority
        assert below.goto is None


@pytest.mark.parametrize("table", [Table.CLIENT_OUT, Table.CLIENT_IN, Table.SERVICE])
def test_each_row_of_tables_that_may_be_shared_matches_a_destination(table: Table) -> None:
    """A row that matches none may drop, or be the one for anything else."""
    for row in ROWS:
        if row.table is table and row.priority and (row.actions or row.goto):
            assert {"ipv4_dst", "ipv6_dst"} <= row.fields, row.kind


@LAYOUTS
@given(
    table=st.integers(0, 253), priority=st.integers(0, 65535), goto=st.none() | st.integers(0, 253),
    to=st.integers(0, 253), matches=st.sampled_from([(), (Field("in_port", 3),)]),
)  # fmt: skip
def test_rules_of_other_programs_can_be_named_and_deleted_in_any_table(
    layout: Layout, table: int, priority: int, goto: int | None, to: int, matches: tuple[Field, ...]
) -> None:
    found = FlowRule(table, priority, matches, 7, (Output(1), Resubmit(to)), goto)
    there = layout.on_switch(layout.logical(found))
    assert there.key == found.key


def test_a_rule_with_a_goto_that_no_row_has_equals_none_of_ours() -> None:
    service_else = next(rule for rule in RULES if kind_of(rule.cookie) is Kind.SERVICE_ELSE)
    route = THREE_TABLES.on_switch(entries.route(HERE, 10))
    for edited in (
        replace(THREE_TABLES.on_switch(service_else), goto=2),
        replace(route, goto=1),
        replace(route, goto=9),
        replace(route, actions=(Resubmit(1),)),
    ):
        assert Unread() in THREE_TABLES.logical(edited).actions


def test_a_rule_of_the_five_tables_is_found_as_a_stray_in_three() -> None:
    """The switch had another layout before."""
    no_route = next(rule for rule in RULES if kind_of(rule.cookie) is Kind.NO_ROUTE)
    found = THREE_TABLES.logical(FIVE_TABLES.on_switch(no_route))
    assert found.key not in {rule.key for rule in RULES}
    assert THREE_TABLES.on_switch(found).key == no_route.key


@LAYOUTS
def test_buckets_to_servers_behind_other_edges_lead_to_the_table_of_the_routes(layout: Layout) -> None:
    here, there = packed("10.2.0.10"), packed("10.3.0.10")
    hosts = {here: Neighbour(bytes(6), 1), there: None}
    buckets = {server: entries.bucket(server, bytes(6), host) for server, host in hosts.items()}
    group = entries.server_group(7, [here, there], buckets)
    on_switch = layout.group_on_switch(group)
    tables = [each.table for each in on_switch.buckets[1].actions if isinstance(each, Resubmit)]
    assert tables == [layout.table(Table.ROUTES)]
    assert layout.logical_group(on_switch) == group
    mod = codec.encoder(layout).encode(DATAPATH, [SetGroup(group, exists=False)])
    described = struct.pack("!HBxI", len(mod) - 8, 1, 7) + mod[16:]
    assert decoding.decode_groups(described, layout) == [group]


@pytest.mark.parametrize(
    ("tables", "layout"), [(254, FIVE_TABLES), (5, FIVE_TABLES), (4, THREE_TABLES), (3, THREE_TABLES), (0, FIVE_TABLES)]
)
def test_the_layout_follows_from_how_many_tables_a_switch_says_that_it_has(tables: int, layout: Layout) -> None:
    """And is known when it is admitted, before anything is read."""
    peer = Peer(State.HELLO)
    peer.say(HELLO + features(tables=tables))
    assert peer.connection.state is State.IDENTIFIED
    assert peer.connection.layout is layout


@pytest.mark.parametrize(("tables", "has"), [(3, False), (4, True), (0, True)])
def test_what_needs_a_table_of_its_own_is_not_for_switches_without_one(tables: int, has: bool) -> None:
    assert carries(THREE_TABLES, tables, Table.ROUTES)
    assert carries(THREE_TABLES, tables, Table.EGRESS) is has
