"""Routes on every small graph: what they connect, and that they never loop (M23)."""

from __future__ import annotations

import networkx
import pytest

from anycast_sdn.core.model import Link, Port, Prefix
from anycast_sdn.core.network import Graph

SERVICE = Prefix.parse("198.18.0.1/32")
UNICAST = Prefix.parse("10.0.0.0/24")
ATLAS = [graph for graph in networkx.graph_atlas_g() if 2 <= len(graph) <= 6]  # all graphs of two to six nodes


def links_of(graph: networkx.Graph, costs: dict[tuple[int, int], int]) -> list[Link]:
    """Each end of an edge at the port that has the neighbour's number."""
    return [
        Link(Port(f"s{a}", b + 1), Port(f"s{b}", a + 1), costs.get((a, b), 1 + (3 * a + 5 * b) % 4))
        for a, b in graph.edges
    ]


def follow(graph: Graph, links: list[Link], switches: list[str], prefix: Prefix, announcers: list[str]) -> dict:
    """Switch → (where its packets end, at what cost), None where they are dropped."""
    routes = graph.routes({prefix: announcers})
    cables = {end: (link.b if end == link.a else link.a, link.cost) for link in links for end in (link.a, link.b)}
    ends = {}
    for start in switches:
        here, cost, hops = start, 0, 0
        while prefix in routes[here]:
            there, step = cables[Port(here, routes[here][prefix])]
            here, cost, hops = there.switch, cost + step, hops + 1
            assert hops <= len(switches), f"packets of {start} go round"
        ends[start] = (here, cost) if here in announcers else None
    return ends


@pytest.mark.parametrize("size", range(2, 7))
def test_whoever_can_reach_an_edge_reaches_it_at_the_least_cost(size):
    for drawn in (graph for graph in ATLAS if len(graph) == size):
        links = links_of(drawn, {})
        switches = [f"s{node}" for node in drawn]
        graph = Graph(switches, links)
        distance = graph.distances("s0")
        for start, end in follow(graph, links, switches, UNICAST, ["s0"]).items():
            assert end == (("s0", distance[start]) if start in distance else None)


@pytest.mark.parametrize("size", range(3, 7))
def test_any_leads_to_a_nearest_edge(size):
    for drawn in (graph for graph in ATLAS if len(graph) == size):
        links = links_of(drawn, {})
        switches = [f"s{node}" for node in drawn]
        graph = Graph(switches, links)
        announcers = ["s0", f"s{size - 1}"]
        distance = {edge: graph.distances(edge) for edge in announcers}
        for start, end in follow(graph, links, switches, SERVICE, announcers).items():
            least = min((distance[edge][start] for edge in announcers if start in distance[edge]), default=None)
            assert (end and end[1]) == least


def test_equal_costs_are_resolved_by_name_each_time_the_same():
    square = [
        Link(Port("a", 1), Port("b", 1)),
        Link(Port("a", 2), Port("c", 1)),
        Link(Port("b", 2), Port("d", 1)),
        Link(Port("c", 2), Port("d", 2)),
    ]
    for links in (square, square[::-1]):
        graph = Graph("abcd", links)
        assert graph.routes({UNICAST: ["d"]})["a"] == {UNICAST: 1}  # by b
        assert graph.nearest("a", ["c", "b"]) == "b"


def test_of_parallel_links_the_cheapest_is_used():
    links = [Link(Port("a", number), Port("b", number), cost) for number, cost in ((1, 5), (2, 2), (3, 9))]
    graph = Graph("ab", links)
    assert graph.routes({UNICAST: ["b"]})["a"] == {UNICAST: 2}
    assert graph.distances("b") == {"b": 0, "a": 2}


def test_an_edge_has_no_route_to_what_it_announces_itself():
    graph = Graph("ab", [Link(Port("a", 1), Port("b", 1))])
    assert graph.routes({SERVICE: ["a", "b"]}) == {"a": {}, "b": {}}


def test_what_cannot_be_reached_has_no_route():
    graph = Graph("abc", [Link(Port("a", 1), Port("b", 1))])
    assert graph.routes({UNICAST: ["c"]}) == {"a": {}, "b": {}, "c": {}}
    assert graph.nearest("a", ["c"]) is None
    assert graph.nearest("a", []) is None
