"""All flows of a controller, slice by slice: each slice is short, none is met twice, none that stays is missed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, FlowKey, Prefix, packed, text
from anycast_sdn.description import reading
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.flows import (
    SLICE,
    Before,
    FlowFilter,
    FlowView,
    Place,
    flow_as_json,
    flow_summary,
    flows_after,
    newest_flows,
)

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
ALL = FlowFilter()
SERVERS = (None, packed("10.2.0.10"), packed("10.3.0.10"))


def binding(number: int, edge: int = 1) -> Binding:
    source = packed(f"10.{edge}.0.{10 + number % 7}")
    key = FlowKey(source, packed("198.18.0.1"), TCP, 1024 + number % 60_000, 80)
    translated = (0xCB007100 + number).to_bytes(4, "big")
    return Binding(number, key, translated, ("web", "dns")[number % 2], since=1.25, server=SERVERS[number % 3])


@pytest.fixture
def controller() -> Controller:
    return Controller(reading.load(TOPOLOGIES / "two-sites.yaml"), Groups(), random.Random(1))


def tables(controller: Controller) -> dict[str, BindingTable]:
    return {edge.name: edge.engine.flows for edge in controller.switches.values() if edge.described.client_edge}


def every(
    controller: Controller,
    wanted: FlowFilter = ALL,
    limit: int = 300,
    between: Callable[[], None] = lambda: None,
) -> list[FlowView]:
    """All slices; ``between``: what happens between two of them."""
    found: list[FlowView] = []
    place: Place | None = ("", 0)
    while place is not None:
        some, place = flows_after(controller, wanted, place, limit, now=10.0, epoch=1_700_000_000.0)
        assert len(some) <= limit
        found += some
        between()
    return found


def test_flows_come_in_order_of_edge_and_number_in_whatever_order_they_were_put(controller: Controller) -> None:
    numbers = list(range(1, 2001))
    random.Random(2).shuffle(numbers)
    names = sorted(tables(controller))
    assert len(names) >= 2
    for name in reversed(names):
        for number in numbers:
            tables(controller)[name].put(binding(number))
    assert [(flow.edge, flow.number) for flow in every(controller)] == [
        (name, number) for name in names for number in range(1, 2001)
    ]


def test_lasting_flows_are_listed_once_while_others_begin_and_end(controller: Controller) -> None:
    table = next(iter(tables(controller).values()))
    for number in range(1, 3001):
        table.put(binding(number))
    chance, last, gone = random.Random(3), 3000, set()

    def others_come_and_go() -> None:
        nonlocal last
        for number in chance.sample(range(1, last), 50):
            if found := table.by_number(number):
                table.remove(found)
                gone.add(number)
        if last < 3020:
            last += 1
            table.put(binding(last))

    seen = [flow.number for flow in every(controller, limit=100, between=others_come_and_go)]
    assert seen == sorted(set(seen))
    assert set(range(1, 3001)) - gone <= set(seen)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (FlowFilter(group="dns"), lambda flow: flow.group == "dns"),
        (FlowFilter(client=packed("10.1.0.12")), lambda flow: flow.client == packed("10.1.0.12")),
        (FlowFilter(server=SERVERS[1]), lambda flow: flow.server == SERVERS[1]),
        (FlowFilter(state="unanswered"), lambda flow: flow.server is None),
        (FlowFilter(group="web", state="pinned"), lambda flow: flow.group == "web" and flow.server),
        (FlowFilter(edge="unknown"), lambda flow: False),
    ],
)
def test_a_filter_selects_the_flows_that_match(
    controller: Controller, wanted: FlowFilter, matches: Callable[[FlowView], bool]
) -> None:
    for table in tables(controller).values():
        for number in range(1, 1500):
            table.put(binding(number))
    assert every(controller, wanted) == [flow for flow in every(controller) if matches(flow)]


def test_a_filter_may_select_one_edge(controller: Controller) -> None:
    for table in tables(controller).values():
        table.put(binding(1))
    name = max(tables(controller))
    assert [flow.edge for flow in every(controller, FlowFilter(edge=name))] == [name]


def test_a_slice_reads_few_bindings_even_when_it_finds_none(controller: Controller) -> None:
    name, table = min(tables(controller).items())
    for number in range(1, 4 * SLICE):
        table.put(binding(number))
    none = FlowFilter(client=packed("192.0.2.1"))
    assert flows_after(controller, none, ("", 0), 10, 0.0, 0.0) == ([], (name, SLICE))


def test_the_summary_reads_no_bindings(controller: Controller) -> None:
    table = next(iter(tables(controller).values()))
    for number in range(1, 31):
        table.put(binding(number))
    assert flow_summary(controller, Counters()) == {"unanswered": 10, "pinned": 20, "pool_exhausted": 0}
    table.put(binding(3)._replace(server=SERVERS[1]))
    table.put(binding(1)._replace(server=SERVERS[2]))
    for number in (1, 2, 6):
        table.remove(binding(number))
    assert flow_summary(controller, Counters()) == {"unanswered": 8, "pinned": 19, "pool_exhausted": 0}


def test_texts_are_those_of_the_model(controller: Controller) -> None:
    table = next(iter(tables(controller).values()))
    service = packed("2001:db8:0:0:1:0:0:1")
    key = FlowKey(packed("2001:db8::"), service, 253, 0, 0)
    table.put(Binding(1, key, packed("fd00:0:1::a0"), "web", since=1.25))
    shown = flow_as_json(every(controller)[0])
    assert (shown["client"], shown["service"], shown["translated"]) == tuple(
        map(text, (key.source, service, packed("fd00:0:1::a0")))
    )
    assert (shown["protocol"], shown["since"]) == ("253", "2023-11-14T22:13:11.250Z")


def test_a_port_that_the_switch_has_chosen_is_shown_and_found(controller: Controller) -> None:
    table = next(iter(tables(controller).values()))
    key = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), 17, 40000, 53)
    table.put(Binding(1, key, packed("203.0.113.9"), "web", since=1.25, translated_port=40001))
    (found,) = every(controller, FlowFilter(q="203.0.113.9:40001"))
    assert flow_as_json(found)["translated_port"] == 40001


@pytest.mark.parametrize("parse", [packed, Prefix.parse])
@pytest.mark.parametrize("written", ["fe80::1%eth0", "2001:db8::1%1", "10.0.0.1%a", "2001:db8::%/128", "%"])
def test_no_address_has_a_zone(parse: Callable[[str], object], written: str) -> None:
    with pytest.raises(ValueError, match="zone"):
        parse(written)


# ------------------------------------------------------------------------------ the newest first, and texts


def newest(controller: Controller, wanted: FlowFilter = ALL, limit: int = 300) -> list[FlowView]:
    """All slices."""
    found: list[FlowView] = []
    before: Before | None = {}
    while before is not None:
        some, before = newest_flows(controller, wanted, before, limit, now=10.0, epoch=1_700_000_000.0)
        assert len(some) <= limit
        found += some
    return found


@pytest.mark.parametrize("limit", [1, 7, 300])
def test_the_newest_flows_of_all_edges_come_first_and_each_once(controller: Controller, limit: int) -> None:
    chance = random.Random(4)
    made = [(name, number, chance.uniform(0, 9)) for name in tables(controller) for number in range(1, 60)]
    for name in tables(controller):
        times = sorted(when for other, _, when in made if other == name)
        for number, when in enumerate(times, 1):
            tables(controller)[name].put(binding(number)._replace(since=when))
    seen = newest(controller, limit=limit)
    times = [flow.since for flow in seen]
    assert times == sorted(times, reverse=True)
    assert len({(flow.edge, flow.number) for flow in seen}) == len(seen) == len(made)


def test_a_flow_that_was_restored_has_its_place_by_its_number(controller: Controller) -> None:
    """It has its old time: whatever waits for it is listed all the same."""
    one, other = sorted(tables(controller))[:2]
    for number in range(1, 3 * SLICE):
        old = 0.0 if number % 5 == 0 else 3.0 + number / 1000
        tables(controller)[one].put(binding(number)._replace(since=old))
        tables(controller)[other].put(binding(number)._replace(since=3.0 + number / 1000))
    seen = newest(controller)
    assert {(flow.edge, flow.number) for flow in seen} == {
        (name, number) for name in (one, other) for number in range(1, 3 * SLICE)
    }
    assert [flow.number for flow in seen if flow.edge == one] == list(range(3 * SLICE - 1, 0, -1))


def test_the_newest_flows_are_filtered_too(controller: Controller) -> None:
    for table in tables(controller).values():
        for number in range(1, 1500):
            table.put(binding(number))
    wanted = FlowFilter(server=SERVERS[1], edge=min(tables(controller)))
    assert newest(controller, wanted) == [flow for flow in newest(controller) if flow in every(controller, wanted)]


@pytest.mark.parametrize(
    ("q", "numbers"),
    [
        ("10.1.0.12", [2, 9]),  # of a whole address, no part of another one
        ("10.1.0.1", []),
        ("10.1.0.", list(range(1, 10))),
        ("0.12:1026", [2]),
        (":1026", [2]),
        ("203.0.113.5", [5]),
        ("10.2.0.10", [1, 4, 7]),
        ("10.2.0.10:80", [1, 4, 7]),
        ("/5", [5]),
        ("nothing", []),
    ],
)
def test_flows_are_found_by_a_part_of_what_is_shown_of_them(controller: Controller, q: str, numbers: list[int]) -> None:
    table = tables(controller)["arh1"]
    for number in range(1, 10):
        table.put(binding(number))
    assert [flow.number for flow in every(controller, FlowFilter(q=q))] == numbers
    assert [flow.number for flow in newest(controller, FlowFilter(q=q))] == numbers[::-1]
