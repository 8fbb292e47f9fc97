"""select: golden tables, and what holds for any servers, demand and costs (M26)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.model import Distance, ServerState
from anycast_sdn.core.selection import (
    Candidate,
    Exclusion,
    Learnt,
    Measured,
    Memory,
    Rule,
    Selection,
    Standing,
    select,
)

PASSING, WARNING, CRITICAL = HealthStatus.PASSING, HealthStatus.WARNING, HealthStatus.CRITICAL
ANY = Rule(Distance.ANY)
NOT_ACTIVE = [state for state in ServerState if state is not ServerState.ACTIVE]


def line(*edges: str) -> dict[tuple[str, str], float]:
    """Edges in a line, 10 from one to the next."""
    return {(a, b): 10.0 * abs(i - j) for i, a in enumerate(edges) for j, b in enumerate(edges)}


def server(name: str, edge: str, **members: object) -> Candidate:
    return Candidate(name.encode(), edge, **{"health": PASSING, **members})  # type: ignore[arg-type]


def counts(selection: Selection) -> dict[str, str]:
    """Edge → 'a16 b48'."""
    return {edge: " ".join(f"{name.decode()}{count}" for name, count in sorted(Counter(slots).items()))
            for edge, slots in selection.memory.slots.items()}  # fmt: skip


def shares(selection: Selection, edge: str) -> dict[str, float]:
    return {name.decode(): pytest.approx(share, abs=6e-5) for name, share in selection.shares[edge].items()}


def tables(**slots: str) -> Memory:
    """Edge → all its slots are of this server."""
    return Memory({edge: (name.encode(),) * 64 for edge, name in slots.items()})


def ceiling(selection: Selection, name: str) -> float:
    return selection.memory.learnt[name.encode()].ceiling


# ---------------------------------------------------------------- golden tables


def test_without_capacities_each_edge_serves_by_weight():
    servers = [server("a", "e0", weight=1), server("b", "e0", weight=3), server("c", "e1")]
    got = select(Rule(), servers, {"e0": 500}, line("e0", "e1"))
    assert shares(got, "e0") == {"a": 0.25, "b": 0.75}
    assert counts(got) == {"e0": "a16 b48", "e1": "c64"}


THREE = [
    server("a", "e0", capacity=100, sessions=75),
    server("b", "e1", capacity=100, sessions=40),
    server("c", "e2", capacity=100),
]
STEP = {"e0": 150.0, "e1": 40.0}
E3 = line("e0", "e1", "e2")
ALL_OWN = tables(e0="a", e1="b", e2="c")


def test_what_an_edge_cannot_serve_goes_to_the_nearest_with_room_in_steps():
    memory, seen = ALL_OWN, []
    for _ in range(5):
        got = select(Rule(), THREE, STEP, E3, memory)
        memory = got.memory
        seen.append(counts(got)["e0"])
        assert shares(got, "e0") == {"a": 0.5333, "b": 0.2667, "c": 0.2}
        assert (counts(got)["e1"], counts(got)["e2"]) == ("b64", "c64")
    assert seen == ["a56 b6 c2", "a48 b10 c6", "a40 b14 c10", "a34 b17 c13", "a34 b17 c13"]


def test_a_server_past_its_capacity_is_aimed_below_its_limit_and_gives_away_twice_as_fast():
    servers, memory, seen = [replace(THREE[0], sessions=100), *THREE[1:]], ALL_OWN, []
    for _ in range(3):
        got = select(Rule(), servers, STEP, E3, memory)
        memory = got.memory
        seen.append(counts(got)["e0"])
        assert shares(got, "e0") == {"a": 0.4, "b": 0.2667, "c": 0.3333}
    assert seen == ["a48 b6 c10", "a32 b14 c18", "a26 b17 c21"]


def test_with_any_distance_all_that_can_be_reached_are_alike():
    got = select(ANY, THREE, STEP, E3)
    assert shares(got, "e0") == {"a": 0.3333, "b": 0.3333, "c": 0.3333}
    assert counts(got)["e0"] == "a22 b21 c21"


def test_when_all_are_overloaded_limits_rise_alike():
    servers = [THREE[0], replace(THREE[1], sessions=75), replace(THREE[2], capacity=200)]
    got = select(Rule(), servers, {"e0": 150, "e1": 150, "e2": 150}, E3)
    assert [got.standings[name].limit for name in (b"a", b"b", b"c")] == pytest.approx([100, 100, 200])
    assert shares(got, "e1") == {"b": 0.6667, "c": 0.3333}
    assert counts(got) == {"e0": "a64", "e1": "b43 c21", "e2": "c64"}


def test_reports_move_the_ceiling_and_each_counts_once():
    memory, seen = Memory(), []
    for number, load in enumerate([0.90, 0.90, None, 1.00, 0.50, 0.50]):
        measured = None if load is None else Measured(load, 40, number)
        one = server("a", "e0", capacity=100, sessions=40, measured=measured)
        memory = select(Rule(), [one], {"e0": 40}, {}, memory).memory
        seen.append(memory.learnt[b"a"].ceiling)
        assert select(Rule(), [one], {"e0": 40}, {}, memory).memory == memory
    assert seen == pytest.approx([57.778, 46.667, 46.667, 42.0, 44.6, 47.33], abs=5e-3)


@pytest.mark.parametrize(("load", "sessions"), [(0.44, 40), (0.85, 80)])
def test_a_load_that_its_sessions_explain_teaches_nothing(load, sessions):
    one = server("a", "e0", capacity=100, sessions=sessions, measured=Measured(load, sessions, 1))
    assert ceiling(select(Rule(), [one], {"e0": sessions}, {}), "a") == math.inf


def test_without_a_capacity_the_ceiling_is_learnt_from_the_first_hot_report():
    def pair(load: float, number: int) -> list[Candidate]:
        return [server("a", "e0", sessions=60, measured=Measured(load, 60, number)), server("b", "e1", capacity=100)]

    first = select(Rule(), pair(0.9, 1), {"e0": 60}, line("e0", "e1"))
    assert ceiling(first, "a") == pytest.approx(56.667, abs=5e-4)
    assert shares(first, "e0") == {"a": 0.8889, "b": 0.1111}
    assert counts(first)["e0"] == "a57 b7"
    cool = select(Rule(), pair(0.5, 2), {"e0": 60}, line("e0", "e1"), first.memory)
    assert ceiling(cool, "a") == pytest.approx(60.0)
    assert counts(cool)["e0"] == "a64"


SICK = [
    server("a", "e0", health=CRITICAL),
    server("b", "e0", health=WARNING),
    server("c", "e0", weight=2, up_s=15),
    server("d", "e1", health=CRITICAL),
]


def test_critical_servers_get_nothing_those_with_warnings_and_new_ones_less():
    got = select(Rule(), SICK, {}, line("e0", "e1"))
    assert got.announce == {"e0"}
    assert shares(got, "e0") == {"b": 0.3333, "c": 0.6667}
    assert counts(got) == {"e0": "b21 c43"}


def test_with_fewer_healthy_servers_than_min_healthy_all_serve():
    assert counts(select(Rule(min_healthy=3), SICK, {}, line("e0", "e1"))) == {"e0": "a22 b21 c21", "e1": "d64"}


def test_when_all_are_critical_nobody_announces_unless_one_has_to_be_healthy():
    dead = [replace(each, health=CRITICAL) for each in SICK]
    assert select(Rule(), dead, {}, line("e0", "e1")).announce == frozenset()
    assert counts(select(Rule(min_healthy=1), dead, {}, line("e0", "e1"))) == {"e0": "a22 b21 c21", "e1": "d64"}


# ---------------------------------------------------------------- cases at the edge


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"state": ServerState.DRAINING}, Exclusion.DRAINING),
        ({"state": ServerState.DRAINED}, Exclusion.DRAINED),
        ({"state": ServerState.DISABLED}, Exclusion.DISABLED),
        ({"edge_drains": True}, Exclusion.EDGE_DRAINING),
        ({"weight": 0}, Exclusion.NO_WEIGHT),
        ({"reachable": False}, Exclusion.UNREACHABLE),
        ({"health": CRITICAL}, Exclusion.CRITICAL),
    ],
)
def test_who_takes_no_new_flows_loses_all_slots_at_once_and_it_is_said_why(members, why):
    servers = [server("a", "e0", **members), server("b", "e0")]
    got = select(Rule(), servers, {"e0": 10}, {}, tables(e0="a"))
    assert counts(got) == {"e0": "b64"}
    assert got.standings[b"a"] == Standing(why)
    assert got.standings[b"b"].excluded is None
    assert select(Rule(), servers[:1], {"e0": 10}, {}, tables(e0="a")).announce == frozenset()


def test_unreachable_servers_do_not_serve_even_if_too_few_are_healthy():
    assert select(Rule(min_healthy=2), [server("a", "e0", reachable=False)], {}, {}).announce == frozenset()


def test_one_server_has_all_slots_whatever_its_load():
    one = server("a", "e0", capacity=1, sessions=1000, measured=Measured(1.0, 1000, 1))
    assert counts(select(Rule(), [one], {"e0": 1000}, {})) == {"e0": "a64"}


def test_edges_without_a_way_to_each_other_keep_their_excess():
    servers = [server("a", "e0", capacity=10, sessions=100), server("b", "e1", capacity=1000)]
    assert counts(select(Rule(), servers, {"e0": 100}, {})) == {"e0": "a64", "e1": "b64"}


def test_more_than_32_enrolled_servers_have_448_slots():
    servers = [server(f"s{number:02}", "e0") for number in range(33)]
    (slots,) = select(Rule(), servers, {}, {}).memory.slots.values()
    assert len(slots) == 448
    assert set(Counter(slots).values()) == {13, 14}
    (slots,) = select(Rule(), servers[:32], {}, {}).memory.slots.values()
    assert len(slots) == 64
    assert set(Counter(slots).values()) == {2}


def test_a_server_that_always_reports_1_keeps_a_tenth_of_its_limit():
    memory = Memory()
    for number in range(200):
        liar = server("a", "e0", capacity=100, sessions=10, measured=Measured(1.0, 10, number))
        memory = select(Rule(), [liar], {"e0": 10}, {}, memory).memory
    assert memory.learnt[b"a"].ceiling == pytest.approx(8.0)


def test_a_server_of_unknown_size_that_reports_0_attracts_at_most_a_quarter_more_than_it_has():
    idle = Measured(0, 20, 1)
    servers = [server("a", "e0", capacity=100, sessions=80), server("b", "e1", sessions=20, measured=idle)]
    got = select(Rule(), servers, {"e0": 1000, "e1": 20}, line("e0", "e1"))
    assert got.shares["e0"][b"b"] * 1000 <= 1.25 * 20 + 1


def test_what_was_learnt_is_held_while_reports_are_missing():
    hot = server("a", "e0", capacity=100, sessions=40, measured=Measured(0.9, 40, 1))
    memory = select(Rule(), [hot], {"e0": 40}, {}).memory
    held = select(Rule(), [replace(hot, measured=None)], {"e0": 40}, {}, memory).memory
    assert held.learnt == memory.learnt


# ---------------------------------------------------------------- what holds for all inputs

EDGES = ["e0", "e1", "e2", "e3"]
candidate = st.builds(
    Candidate,
    st.just(b""),
    st.sampled_from(EDGES),
    st.integers(0, 1000),
    st.none() | st.floats(1, 1e5),
    st.floats(0, 2e5),
    st.none() | st.builds(Measured, st.floats(0, 1), st.floats(0, 2e5), st.integers(0, 5)),
    st.sampled_from(HealthStatus),
    st.sampled_from([ServerState.ACTIVE, ServerState.ACTIVE, ServerState.ACTIVE, *NOT_ACTIVE]),
    st.sampled_from([False, False, False, True]),
    st.booleans(),
    st.just(math.inf) | st.floats(0, 100),
)
candidates = st.lists(candidate, max_size=40).map(
    lambda found: [replace(each, address=f"s{number:02}".encode()) for number, each in enumerate(found)]
)
costs = st.dictionaries(st.tuples(st.sampled_from(EDGES), st.sampled_from(EDGES)), st.integers(0, 100).map(float))
demands = st.dictionaries(st.sampled_from(EDGES), st.floats(0, 3e5))
rules = st.builds(Rule, st.sampled_from(Distance), st.floats(0.1, 1), st.integers(0, 5), st.floats(0, 60))


def may_serve(rule: Rule, servers: Sequence[Candidate]) -> dict[bytes, str]:
    """Server → its edge."""
    able = [each for each in servers if each.state is ServerState.ACTIVE
            and each.reachable and each.weight and not each.edge_drains]  # fmt: skip
    healthy = [each for each in able if each.health is not CRITICAL]
    return {each.address: each.edge for each in (able if len(healthy) < rule.min_healthy else healthy)}


def check_tables(
    got: Selection, before: Memory, pool: Mapping[bytes, str], ways: Mapping[tuple[str, str], float], size: int
) -> None:
    assert got.announce == set(pool.values()) == set(got.memory.slots)
    for edge, slots in got.memory.slots.items():
        assert len(slots) == size
        assert set(slots) <= pool.keys()
        assert sum(got.shares[edge].values()) == pytest.approx(1, abs=1e-6)
        assert all(pool[name] == edge or (edge, pool[name]) in ways for name in got.shares[edge])
        old = before.slots.get(edge, ())
        if len(old) == size:
            # A server that is not selected, or that is behind an edge now to which no way leads from here.
            gone = sum(not (pool.get(name) == edge or (edge, pool.get(name, "")) in ways) for name in old)
            changed = [(was, name) for was, name in zip(old, slots, strict=True) if was != name]
            assert len(changed) <= gone + size // 4
            kept = {was for was, _ in changed if was in pool}
            assert not kept & {name for _, name in changed}  # no two servers swap slots


@settings(max_examples=300, deadline=None)
@given(rules, candidates, demands, costs, candidates, demands)
def test_tables_are_whole_and_reachable_and_change_in_steps_in_any_order_of_inputs(rule, s1, d1, ways, s2, d2):
    memory = Memory()
    for number, (servers, demand) in enumerate([(s1, d1), (s1, d1), (s2, d2), (s2, d2)]):
        servers = [
            replace(each, measured=each.measured and each.measured._replace(number=number)) for each in servers
        ]
        got = select(rule, servers, demand, ways, memory)
        assert got == select(rule, servers[::-1], dict(reversed(demand.items())), ways, memory)
        check_tables(got, memory, may_serve(rule, servers), ways, 64 if len(servers) <= 32 else 448)
        assert all(learnt.ceiling >= 1 for learnt in got.memory.learnt.values())
        assert {name for name, each in got.standings.items() if not each.excluded} == may_serve(rule, servers).keys()
        memory = got.memory


@settings(max_examples=200, deadline=None)
@given(rules, candidates, demands, costs)
def test_with_the_same_inputs_the_tables_come_to_rest(rule, servers, demand, ways):
    memory = Memory()
    for _ in range(70):
        got = select(rule, servers, demand, ways, memory)
        if got.memory == memory:
            break
        memory = got.memory
    assert select(rule, servers, demand, ways, memory).memory == memory
    for edge, slots in memory.slots.items():
        count = Counter(slots)
        if len(got.shares[edge]) <= 4:
            assert all(abs(count[name] - share * len(slots)) < 2 for name, share in got.shares[edge].items())


@settings(max_examples=200, deadline=None)
@given(candidates, demands, costs)
def test_without_capacities_and_reports_each_edge_serves_by_weight_whatever_the_demand(servers, demand, ways):
    ways = {way: cost + 1 for way, cost in ways.items()}
    servers = [replace(each, capacity=None, measured=None, up_s=math.inf, health=PASSING) for each in servers]
    got = select(Rule(), servers, demand, ways)
    pool = may_serve(Rule(), servers)
    for edge, share in got.shares.items():
        weights = {each.address: each.weight for each in servers if each.edge == edge and each.address in pool}
        whole = sum(weights.values())
        assert share == pytest.approx({name: weight / whole for name, weight in weights.items()}, abs=1e-9)


def fit(servers: Sequence[Candidate]) -> list[Candidate]:
    return [
        replace(each, capacity=each.capacity or 100.0, measured=None, up_s=math.inf, health=PASSING, sessions=0)
        for each in servers
    ]


@settings(max_examples=200, deadline=None)
@given(candidates, demands, costs)
def test_an_edge_whose_own_servers_have_room_keeps_all_its_flows(servers, demand, ways):
    ways = {way: cost + 1 for way, cost in ways.items()}
    servers = fit(servers)
    got = select(Rule(), servers, demand, ways)
    pool = may_serve(Rule(), servers)
    room = {each.address: 0.8 * each.capacity for each in servers if each.address in pool}
    want = {edge: max(1.0, demand.get(edge, 0.0)) for edge in got.announce}
    if 1.05 * sum(want.values()) < sum(room.values()):
        for edge in want:
            if want[edge] < 0.999 * sum(room[name] for name, at in pool.items() if at == edge):
                assert all(pool[name] == edge for name in got.shares[edge])


@settings(max_examples=200, deadline=None)
@given(candidates, demands)
def test_nobody_is_past_its_limit_while_there_is_room_nor_ever_past_its_capacity_for_others(servers, demand):
    servers = fit(servers)
    got = select(Rule(), servers, demand, {(a, b): 1.0 for a in EDGES for b in EDGES})
    pool = may_serve(Rule(), servers)
    capacity = {each.address: each.capacity for each in servers if each.address in pool}
    want = {edge: max(1.0, demand.get(edge, 0.0)) for edge in got.announce}
    for name, home in pool.items():
        own = want[home] * got.shares[home].get(name, 0.0)
        guests = sum(want[edge] * got.shares[edge].get(name, 0.0) for edge in want if edge != home)
        assert guests < 1e-6 * (1 + own) or own + guests <= capacity[name] * (1 + 1e-6)
        if 1.05 * sum(want.values()) < 0.8 * sum(capacity.values()):
            assert own + guests <= 0.8 * capacity[name] * (1 + 1e-6) + 1e-6


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1e5), st.none() | st.floats(1, 1e5), st.floats(1, 1e5) | st.just(math.inf))
def test_one_report_takes_at_most_half_of_a_ceiling_and_returns_a_twentieth(load, held, capacity, before):
    one = server("a", "e0", capacity=capacity, sessions=held, measured=Measured(load, held, 1))
    top = math.inf if capacity is None else 0.8 * capacity
    known = before if capacity is None or before < math.inf else top
    now = min(known, top) if min(known, top) < math.inf else max(1.0, held)
    memory = Memory({}, {b"a": Learnt(0, 0.0, before)})
    after = select(Rule(), [one], {}, {}, memory).memory.learnt[b"a"].ceiling
    assert after >= 0.499 * now
    assert after == math.inf or after <= max(1.05 * before + 0.5, now, 1.0, 0.1 * top)
