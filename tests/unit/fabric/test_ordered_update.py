"""Ordered updates: no packet is lost at any moment, whichever routes each switch has installed so far (M24)."""

from __future__ import annotations

import random

import networkx
import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Link, Port
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.fabric.ordered_update import CONFIRM_S, OrderedUpdate
from anycast_sdn.fabric.routing import Routing

P = Prefix.parse("198.18.0.1/32")
AROUND_P = Prefix.parse("198.0.0.0/8")
SQUARE = {"ab": 1, "bd": 1, "ac": 3, "cd": 1}


class Switches:
    """A network whose switches install routes late, each at a different time.

    A link "ab" is at port "b" of a, and at port "a" of b.  ``installed``: the routes that each was sent last;
    ``holds``: those that it holds; ``tickets``: those that it has not installed yet, in order.
    """

    def __init__(self, costs: dict[str, int], announced: dict[Prefix, str]) -> None:
        self.names = sorted(set("".join(costs)))
        self.installed: dict[str, dict[Prefix, int]] = {name: {} for name in self.names}
        self.holds: dict[str, dict[Prefix, int]] = {name: {} for name in self.names}
        self.tickets: dict[str, list[tuple[int, dict[Prefix, int | None]]]] = {name: [] for name in self.names}
        self.out_of_service: set[str] = set()
        self.now = 0.0
        self.routing = Routing(self.names)
        self.update = OrderedUpdate(self.routing, self.installed.__getitem__, self.delivers, lambda switch: False)
        for name in self.names:
            self.update.connected(name)
        self.want(costs, announced)
        self.finish()

    def delivers(self, switch: str, _: Prefix) -> bool:
        return switch not in self.out_of_service

    def want(self, costs: dict[str, int], announced: dict[Prefix, str]) -> None:
        """Links with their costs, and the edges that announce each prefix: "ab" is a and b."""
        ends = [(pair[0], pair[1], cost) for pair, cost in costs.items()]
        self.links = [Link(Port(a, ord(b)), Port(b, ord(a)), cost) for a, b, cost in ends]
        self.announced = announced
        for changes in (self.routing.set_links(self.links), self.routing.announce(announced)):
            self.update.want(changes)
        self.send()

    def send(self) -> dict[str, dict[Prefix, int | None]]:
        ready = self.update.judge()
        for switch, routes in ready.items():
            _install(self.installed[switch], routes)
            self.tickets[switch].append((self.update.issue(switch, tuple(routes), self.now), routes))
        return ready

    def install(self, switch: str) -> None:
        """The switch installs the oldest routes of those that it was sent, and confirms them."""
        ticket, routes = self.tickets[switch].pop(0)
        _install(self.holds[switch], routes)
        self.update.confirmed(switch, ticket)
        self.send()

    def busy(self) -> list[str]:
        return [name for name in self.names if self.tickets[name]]

    def finish(self) -> None:
        while busy := self.busy():
            self.install(busy[0])
        assert not self.update.unconfirmed()
        assert self.holds == self.installed == {name: self.routing.of(name) for name in self.names}

    def path(self, switch: str, prefix: Prefix = P) -> str:
        """The switches on the path of a packet; it ends with "!" when the packet is lost, with "…" when it loops."""
        path = switch
        while True:
            here = path[-1]
            matches = [each for each in self.holds[here] if each.covers(prefix)]
            port = self.holds[here][max(matches, key=lambda each: each.length)] if matches else None
            if port == LOCAL:
                return path
            there = port and self.routing.graph.neighbour(here, port)
            if not there:
                return path + "!"
            if there in path:
                return path + there + "…"
            path += there

    def connects(self, switch: str, prefix: Prefix = P) -> bool:
        return self.path(switch, prefix)[-1] not in "!…"


def _install(held: dict[Prefix, int], routes: dict[Prefix, int | None]) -> None:
    for prefix, hop in routes.items():
        if hop is None:
            held.pop(prefix, None)
        else:
            held[prefix] = hop


def test_a_switch_switches_over_only_after_its_next_hop_has_confirmed() -> None:
    net = Switches(SQUARE, {P: "d"})
    assert net.path("b") == "bd"
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    assert net.update.unconfirmed() == {"a", "b"}
    assert net.busy() == ["a"]  # by c, which has nothing to change; b, which goes by a now, still has to wait
    assert (net.path("a"), net.path("b")) == ("abd", "bd")
    net.install("a")
    assert net.busy() == ["b"]
    assert (net.path("a"), net.path("b")) == ("acd", "bd")
    net.install("b")
    assert net.path("b") == "bacd"
    assert not net.update.unconfirmed()


def test_a_switch_whose_path_is_gone_is_sent_its_new_route_at_once() -> None:
    net = Switches(SQUARE, {P: "d"})
    del (without := dict(SQUARE))["bd"]
    net.want(without, {P: "d"})
    assert net.busy() == ["a", "b"]


def test_an_edge_delivers_until_the_others_have_switched_over() -> None:
    net = Switches(SQUARE, {P: "bd"})
    assert net.path("a") == "ab"
    net.want(SQUARE, {P: "d"})
    assert net.busy() == ["b"]  # d is the next, and has always been an edge; a forwards to b as before
    net.install("b")
    assert net.path("a") == "abd"
    net.want(SQUARE | {"bd": 9}, {P: "b"})
    for switch in "bcd":  # b announces first; a forwards there anyway, then c switches over to a, then d to c
        assert net.busy() == [switch]
        net.install(switch)
    assert net.path("d") == "dcab"


def test_an_edge_that_cannot_deliver_any_more_does_not_keep_its_route() -> None:
    net = Switches({"ab": 1, "bc": 1, "cd": 1}, {P: "ad"})
    net.out_of_service = {"a"}
    net.want({"ab": 1, "bc": 1, "cd": 1}, {P: "d"})
    assert net.busy() == ["a", "b"]


def test_a_switch_without_a_route_uses_the_route_to_the_covering_prefix() -> None:
    """When a more specific route is removed, no switch may move to one that still has it."""
    line = {"ab": 1, "bc": 1, "cd": 1}
    net = Switches(line, {P: "d", AROUND_P: "a"})
    net.want(line, {AROUND_P: "a"})
    while busy := net.busy():
        net.install(busy[-1])
        assert all(map(net.connects, net.names))
    assert net.path("d") == "dcba"
    net.want(line, {P: "d", AROUND_P: "a"})
    while busy := net.busy():
        net.install(busy[0])
        assert all(map(net.connects, net.names))
    assert net.path("a") == "abcd"


def test_no_switch_waits_for_one_that_has_disconnected() -> None:
    net = Switches(SQUARE, {P: "d"})
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    net.update.remove_switch("a")
    assert net.send().keys() == {"b"}


def test_a_ticket_that_is_not_confirmed_becomes_overdue() -> None:
    net = Switches(SQUARE, {P: "d"})
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    assert net.update.pop_overdue(CONFIRM_S) == []
    ((switch, ticket),) = net.update.pop_overdue(CONFIRM_S + 0.1)
    assert switch == "a"
    net.update.confirmed("b", ticket)  # it is not b's
    assert net.send().keys() == set()
    net.update.confirmed("a", ticket)
    assert net.send().keys() == {"b"}
    net.update.confirmed("a", ticket)  # too late: it is ignored


def test_others_wait_longer_for_a_switch_that_has_confirmed_late() -> None:
    net = Switches(SQUARE, {P: "d"})
    net.update.patience.sent(99, "a", 0.0)
    net.update.patience.answered("a", 99, 2.0)
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    asked = [half / 2 for half in range(9)]  # until 4.0, twice as long as it took then
    assert [net.update.pop_overdue(now) for now in asked] == [[]] * 9
    assert [switch for switch, _ in net.update.pop_overdue(4.5)] == ["a"]


def test_a_ticket_becomes_overdue_once_and_never_after_the_switch_has_disconnected() -> None:
    net = Switches(SQUARE, {P: "d"})
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    assert net.update.pop_overdue(CONFIRM_S) == []
    assert len(net.update.pop_overdue(CONFIRM_S + 0.1)) == 1
    assert net.update.pop_overdue(CONFIRM_S + 0.3) == []
    gone = Switches(SQUARE, {P: "d"})
    gone.want(SQUARE | {"bd": 9}, {P: "d"})
    assert gone.update.pop_overdue(CONFIRM_S) == []
    (ticket,) = gone.update.remove_switch("a")
    assert gone.update.pop_overdue(CONFIRM_S + 0.1) == []
    gone.update.confirmed("a", ticket)
    assert gone.send().keys() == {"b"}


def test_no_ticket_becomes_overdue_just_after_the_controller_itself_was_late() -> None:
    net = Switches(SQUARE, {P: "d"})
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    assert net.update.pop_overdue(0.2) == []
    assert net.update.pop_overdue(5.0) == []
    assert net.update.pop_overdue(5.5) == []
    assert [switch for switch, _ in net.update.pop_overdue(6.1)] == ["a"]


def test_tickets_may_be_confirmed_in_any_order() -> None:
    net = Switches(SQUARE, {P: "d"})
    net.want(SQUARE | {"bd": 9}, {P: "d"})
    net.want(SQUARE, {P: "d"})
    (earlier, _), (later, _) = net.tickets["a"]
    net.update.confirmed("a", later)
    assert "a" in net.update.unconfirmed()
    net.update.confirmed("a", earlier)
    assert not net.update.unconfirmed()


def test_no_switch_moves_to_a_disconnected_one_that_would_send_packets_back() -> None:
    """c is disconnected and holds its route by b; it cannot be sent its new route."""
    line = {"ab": 1, "bc": 1, "cd": 1}
    net = Switches(line, {P: "a"})
    assert net.path("d") == "dcba"
    net.update.remove_switch("c")
    net.want(line, {P: "d"})
    net.install("d")
    assert net.busy() == []
    assert (net.path("a"), net.path("b")) == ("a", "ba")
    net.update.connected("c")
    net.update.want({"c": dict(net.routing.of("c"))})
    net.send()
    net.finish()
    assert net.path("a") == "abcd"


@pytest.mark.parametrize("seed", range(200))
def test_no_packet_is_lost_after_any_changes_installed_in_any_order(seed: int) -> None:
    """Costs change and edges come and go, also while earlier changes are not finished; no link fails."""
    draw = random.Random(seed)
    graph = networkx.gnm_random_graph(draw.randint(4, 9), draw.randint(6, 20), seed=seed)
    graph.remove_nodes_from([node for node, degree in graph.degree if not degree])
    costs = {"".join("abcdefghi"[node] for node in edge): draw.randint(1, 5) for edge in graph.edges}

    def announced() -> dict[Prefix, str]:
        edges = {P: "".join(draw.sample(part, draw.randint(0, 2))), AROUND_P: draw.choice(part)}
        return {prefix: names for prefix, names in edges.items() if names}

    parts = networkx.connected_components(networkx.Graph(map(tuple, costs)))
    largest: set[str] = max(parts, key=len)
    part = sorted(largest)
    net = Switches(costs, {AROUND_P: part[0]})
    for _ in range(40):
        if draw.random() < 0.3:
            link = draw.choice(sorted(costs))
            costs = costs | {link: draw.randint(1, 5)}
            net.want(costs, announced() if draw.random() < 0.5 else net.announced)
        elif busy := net.busy():
            net.install(draw.choice(busy))
        for name in part:
            assert net.connects(name), net.path(name)
            assert net.connects(name, AROUND_P), net.path(name, AROUND_P)
    net.finish()


@pytest.mark.parametrize("seed", range(40))
def test_after_a_failure_working_paths_keep_working_and_all_routes_are_installed(seed: int) -> None:
    """One failure at a time; only switches whose path it breaks lose packets."""
    draw = random.Random(seed)
    graph = networkx.gnm_random_graph(8, 14, seed=seed)
    links = {"".join("abcdefgh"[node] for node in edge): draw.randint(1, 3) for edge in graph.edges}
    costs = dict(links)
    net = Switches(costs, {P: "".join(draw.sample(sorted(set("".join(links))), 1))})
    for _ in range(8):
        if draw.random() < 0.5 and costs:
            del costs[draw.choice(sorted(costs))]
        else:
            costs = costs | {link: cost for link, cost in links.items() if draw.random() < 0.3}
        announced = net.announced
        net.want(costs, announced)
        kept = [name for name in net.names if net.connects(name)]
        while busy := net.busy():
            net.install(draw.choice(busy))
            for name in kept:
                assert net.connects(name), net.path(name)
        net.finish()


@pytest.mark.parametrize("seed", range(30))
def test_a_reconnected_switch_with_any_routes_is_sent_the_same_in_portions_as_at_once(seed: int) -> None:
    """Wanted routes change and it reconnects again before all its routes are compared; none is judged until then."""
    draw = random.Random(seed)
    prefixes = [Prefix.parse(f"198.18.{number}.0/24") for number in range(80)]
    line = {"ab": 1, "bc": 1, "cd": 1, "ad": 2}
    net = Switches(line, {prefix: draw.choice("abcd") for prefix in prefixes})
    for _ in range(draw.randint(1, 3)):
        net.installed["c"].clear()
        some = draw.sample(prefixes, 50)
        net.installed["c"].update({prefix: draw.choice([LOCAL, *map(ord, "bd")]) for prefix in some})
        net.holds["c"] = dict(net.installed["c"])
        net.tickets["c"].clear()
        for ticket in net.update.remove_switch("c"):
            net.update.confirmed("c", ticket)
        net.update.connected("c")
        assert net.update.judge(1) == {}
        if draw.random() < 0.5:
            announced = {**net.announced, **{prefix: draw.choice("abcd") for prefix in draw.sample(prefixes, 5)}}
            for prefix in draw.sample(prefixes, 5):
                announced.pop(prefix, None)
            net.update.want(net.routing.announce(announced))
            net.announced = announced
        for _ in range(draw.randint(0, 4)):
            net.update.judge(1)
        assert "c" in net.update.unconfirmed()
    held = net.installed["c"]
    different = {prefix for prefix in prefixes if held.get(prefix) != net.routing.next_hops(prefix).get("c")}
    while net.update._to_compare:
        ready = net.update.judge(1)
        assert not (ready and net.update._to_compare)
    assert different == {prefix for prefix, waiting in net.update._waiting.items() if "c" in waiting}
    net.send()
    net.finish()
