"""Routes on every small graph lead to the nearest edge and never loop (M23)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

import networkx
import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Link, Port
from anycast_sdn.fabric.graph import LOCAL, Graph
from anycast_sdn.fabric.routing import Routing

SERVICE = Prefix.parse("198.18.0.1/32")
UNICAST = Prefix.parse("10.0.0.0/24")
ATLAS = [graph for graph in networkx.graph_atlas_g() if 2 <= len(graph) <= 6]  # all graphs of two to six nodes


def links_of(graph: networkx.Graph, costs: dict[tuple[int, int], int]) -> list[Link]:
    """Each end of an edge at the port that has the neighbour's number."""
    return [
        Link(Port(f"s{a}", b + 1), Port(f"s{b}", a + 1), costs.get((a, b), 1 + (3 * a + 5 * b) % 4))
        for a, b in graph.edges
    ]


def routes_of(
    switches: Iterable[str], links: list[Link], announced: dict[Prefix, list[str]]
) -> dict[str, dict[Prefix, int]]:
    routing = Routing(switches)
    routing.set_links(links)
    routing.announce(announced)
    return {switch: routing.of(switch) for switch in switches}


def follow(links: list[Link], switches: list[str], prefix: Prefix, announcers: list[str]
) -> dict[str, tuple[str, int] | None]:
    """Switch → (where its packets end, at what cost), None where they are dropped."""
    routes = routes_of(switches, links, {prefix: announcers})
    cables = {end: (link.b if end == link.a else link.a, link.cost) for link in links for end in (link.a, link.b)}
    ends = {}
    for start in switches:
        here, cost, hops = start, 0, 0
        while routes[here].get(prefix, LOCAL) != LOCAL:
            there, step = cables[Port(here, routes[here][prefix])]
            here, cost, hops = there.switch, cost + step, hops + 1
            assert hops <= len(switches), f"packets of {start} loop"
        ends[start] = (here, cost) if prefix in routes[here] else None
        assert (prefix in routes[here]) is (here in announcers)
    return ends


@pytest.mark.parametrize("size", range(2, 7))
def test_each_switch_that_can_reach_an_edge_reaches_it_at_the_least_cost(size: int) -> None:
    for drawn in (graph for graph in ATLAS if len(graph) == size):
        links = links_of(drawn, {})
        switches = [f"s{node}" for node in drawn]
        graph = Graph(switches, links)
        distance = graph.distances("s0")
        for start, end in follow(links, switches, UNICAST, ["s0"]).items():
            assert end == (("s0", distance[start]) if start in distance else None)


@pytest.mark.parametrize("size", range(3, 7))
def test_any_leads_to_a_nearest_edge(size: int) -> None:
    for drawn in (graph for graph in ATLAS if len(graph) == size):
        links = links_of(drawn, {})
        switches = [f"s{node}" for node in drawn]
        graph = Graph(switches, links)
        announcers = ["s0", f"s{size - 1}"]
        distance = {edge: graph.distances(edge) for edge in announcers}
        for start, end in follow(links, switches, SERVICE, announcers).items():
            least = min((distance[edge][start] for edge in announcers if start in distance[edge]), default=None)
            assert (end and end[1]) == least


def test_equal_costs_are_resolved_by_name_each_time_the_same() -> None:
    square = [
        Link(Port("a", 1), Port("b", 1)),
        Link(Port("a", 2), Port("c", 1)),
        Link(Port("b", 2), Port("d", 1)),
        Link(Port("c", 2), Port("d", 2)),
    ]
    for links in (square, square[::-1]):
        assert routes_of("abcd", links, {UNICAST: ["d"]})["a"] == {UNICAST: 1}  # by b
        assert Graph("abcd", links).nearest("a", ["c", "b"]) == "b"


def test_of_parallel_links_the_cheapest_is_used() -> None:
    links = [Link(Port("a", number), Port("b", number), cost) for number, cost in ((1, 5), (2, 2), (3, 9))]
    assert routes_of("ab", links, {UNICAST: ["b"]})["a"] == {UNICAST: 2}
    assert Graph("ab", links).distances("b") == {"b": 0, "a": 2}


def test_an_edge_delivers_itself_what_it_announces() -> None:
    links = [Link(Port("a", 1), Port("b", 1))]
    assert routes_of("ab", links, {SERVICE: ["a", "b"]}) == {"a": {SERVICE: LOCAL}, "b": {SERVICE: LOCAL}}


def test_a_prefix_that_cannot_be_reached_has_no_route() -> None:
    links = [Link(Port("a", 1), Port("b", 1))]
    assert routes_of("abc", links, {UNICAST: ["c"]}) == {"a": {}, "b": {}, "c": {UNICAST: LOCAL}}
    graph = Graph("abc", links)
    assert graph.nearest("a", ["c"]) is None
    assert graph.nearest("a", []) is None


def test_after_any_changes_the_routes_are_those_of_a_fresh_computation() -> None:
    """Links fail, come back and change cost, edges come and go, one or several at once."""
    draw = random.Random(4)
    for _ in range(80):
        drawn = networkx.gnm_random_graph(draw.randint(3, 9), draw.randint(2, 20), seed=draw.randint(0, 1 << 30))
        switches = [f"s{node}" for node in drawn]
        all_links = links_of(drawn, {edge: draw.randint(1, 3) for edge in drawn.edges})
        routing = Routing(switches)
        known: dict[str, dict[Prefix, int | None]] = {switch: {} for switch in switches}
        for _ in range(40):
            links = [
                replace(link, cost=draw.choice((link.cost, link.cost, draw.randint(1, 4))))
                for link in all_links
                if draw.random() < 0.8
            ]
            prefixes = [prefix for prefix in (SERVICE, UNICAST) if draw.random() < 0.9]
            announced = {prefix: draw.sample(switches, draw.randint(1, 2)) for prefix in prefixes}
            for changes in (routing.set_links(links), routing.announce(announced)):
                for switch, routes in changes.items():
                    assert all(known[switch].get(prefix) != port for prefix, port in routes.items()), "no change at all"
                    known[switch].update(routes)
            fresh = routes_of(switches, links, announced)
            assert {switch: routing.of(switch) for switch in switches} == fresh
            result = {switch: {p: port for p, port in known[switch].items() if port is not None} for switch in switches}
            assert result == fresh


@pytest.mark.parametrize("most", [1, 7, 200])
def test_routes_that_follow_from_links_in_portions_are_those_that_follow_at_once(most: int) -> None:
    """Links and announcements change again before all routes have followed; the routes to a prefix change together."""
    draw = random.Random(most)
    prefixes = [Prefix.parse(f"198.18.{number}.0/24") for number in range(6)]
    for _ in range(40):
        drawn = networkx.gnm_random_graph(draw.randint(3, 8), draw.randint(3, 16), seed=draw.randint(0, 1 << 30))
        switches = [f"s{node}" for node in drawn]
        all_links = links_of(drawn, {edge: draw.randint(1, 3) for edge in drawn.edges})
        routing = Routing(switches)
        known: dict[str, dict[Prefix, int]] = {switch: {} for switch in switches}
        cables = {end: (link.b if end == link.a else link.a).switch for link in all_links for end in (link.a, link.b)}
        links, announced = [], {}
        for step in range(40):
            if draw.random() < 0.3 and step < 39:
                links = [replace(link, cost=draw.randint(1, 4)) for link in all_links if draw.random() < 0.8]
                routing.begin_links(links)
            elif draw.random() < 0.3:
                some = prefixes[draw.randint(0, 3) :]
                announced = {prefix: draw.sample(switches, draw.randint(1, 2)) for prefix in some}
                _follow_changes(known, routing.announce(announced))
            for _ in range(draw.randint(0, 3)):
                _follow_changes(known, routing.follow_links(most))
            for prefix in prefixes:
                ports = {switch: routes[prefix] for switch, routes in known.items() if prefix in routes}
                assert ports == routing.next_hops(prefix)
                for here in ports:
                    hops = 0
                    while ports[here] != LOCAL:  # each hop has a next hop
                        here, hops = cables[Port(here, ports[here])], hops + 1
                        assert hops < len(switches), "packets loop"
        while routing.is_following():
            _follow_changes(known, routing.follow_links(most))
        fresh = routes_of(switches, links, announced)
        assert {switch: routing.of(switch) for switch in switches} == known == fresh


def _follow_changes(known: dict[str, dict[Prefix, int]], changes: Mapping[str, Mapping[Prefix, int | None]]) -> None:
    for switch, routes in changes.items():
        for prefix, port in routes.items():
            assert known[switch].get(prefix) != port, "no change at all"
            if port is None:
                del known[switch][prefix]
            else:
                known[switch][prefix] = port


def test_a_prefix_announced_during_a_short_link_failure_is_reached_as_soon_as_the_link_is_back() -> None:
    routing = Routing(["s0", "s1", "s2", "s3"])
    near, far = Link(Port("s0", 1), Port("s1", 1), 1), Link(Port("s1", 2), Port("s2", 1), 1)
    routing.set_links([near, far])
    routing.announce({UNICAST: ["s2"]})
    routing.begin_links([near])
    routing.announce_some({SERVICE: ["s2", "s3"]})  # s0 reaches none of them now
    routing.begin_links([near, far])  # before any route has followed: the trees are those of the beginning
    changes = routing.follow_links(None)
    assert changes["s0"] == {SERVICE: 1}
    assert routing.of("s0") == {UNICAST: 1, SERVICE: 1}


def test_a_link_that_is_in_no_shortest_path_leaves_the_trees_alone() -> None:
    triangle = [Link(Port("a", 1), Port("b", 1)), Link(Port("b", 2), Port("c", 1)), Link(Port("a", 2), Port("c", 2), 5)]
    graph = Graph("abc", triangle)
    kept = graph.distances("a"), graph.distances("b")
    touched, dropped = graph.set_links(triangle[:2])
    assert (touched, dropped) == ({"a", "c"}, {})
    assert (graph.distances("a"), graph.distances("b")) == kept
    _, dropped = graph.set_links(triangle[1:])
    assert sorted(dropped) == ["a", "b"]
