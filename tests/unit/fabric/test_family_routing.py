"""A family is routed around switches that cannot forward it; the other family is not affected."""

from __future__ import annotations

import random

from anycast_sdn.core.model import Prefix
from anycast_sdn.description.model import Link, Port
from anycast_sdn.fabric.family_routing import FamilyRouting
from anycast_sdn.fabric.routing import Changes, Routing

SWITCHES = [f"s{number}" for number in range(7)]
PREFIXES = [Prefix.parse(f"10.{n}.0.0/16") for n in range(4)] + [Prefix.parse(f"2001:db8:{n}::/48") for n in range(4)]


def some_links(random: random.Random) -> list[Link]:
    pairs = [(a, b) for a in range(7) for b in range(a) if random.random() < 0.5]
    return [Link(Port(f"s{a}", b + 1), Port(f"s{b}", a + 1), random.randint(1, 4)) for a, b in pairs]


def routes_alone(links: list[Link], announced: dict[Prefix, list[str]], excluded: frozenset[str]) -> Routing:
    routing = Routing(SWITCHES)
    routing.set_links(link for link in links if excluded.isdisjoint((link.a.switch, link.b.switch)))
    routing.announce(announced)
    return routing


def applied(routes: dict[str, dict[Prefix, int | None]], changes: Changes) -> None:
    for switch, some in changes.items():
        routes.setdefault(switch, {}).update(some)


def test_the_routes_of_each_family_are_those_of_its_own_links_whatever_happened_before() -> None:
    for seed in range(40):
        chance = random.Random(seed)
        routing = FamilyRouting(SWITCHES)
        told: dict[str, dict[Prefix, int | None]] = {}
        announced: dict[Prefix, list[str]] = {}
        for _ in range(12):
            links = some_links(chance)
            unable = {v6: frozenset(chance.sample(SWITCHES, chance.choice((0, 0, 1, 2)))) for v6 in (False, True)}
            routing.begin_links(links, unable)
            for prefix in chance.sample(PREFIXES, 3):  # also while prefixes are on their way to a routing of their own
                announced[prefix] = chance.sample(SWITCHES, chance.randint(0, 2))
                applied(told, routing.announce_some({prefix: announced[prefix]}))
                applied(told, routing.follow_links(1))
            while routing.is_following():
                applied(told, routing.follow_links(3))
            for v6 in (False, True):
                mine = {prefix: edges for prefix, edges in announced.items() if prefix.is_v6 is v6 and edges}
                alone = routes_alone(links, mine, unable[v6])
                for switch in SWITCHES:
                    expected = alone.of(switch)
                    assert {each: port for each, port in routing.of(switch).items() if each.is_v6 is v6} == expected
                    held = told.get(switch, {}).items()
                    assert {each: port for each, port in held if each.is_v6 is v6 and port is not None} == expected
            assert {*routing.announced()} == {prefix for prefix, edges in announced.items() if edges}


def test_the_routes_to_one_prefix_move_at_once_and_those_of_the_other_family_not_at_all() -> None:
    direct = Link(Port("s0", 3), Port("s2", 1), 9)
    links = [Link(Port("s0", 2), Port("s1", 1)), Link(Port("s1", 3), Port("s2", 2)), direct]
    routing = FamilyRouting(["s0", "s1", "s2"])
    routing.begin_links(links)
    four, six, other = PREFIXES[0], PREFIXES[4], PREFIXES[5]
    routing.announce_some({each: ["s2"] for each in (four, six, other)})
    while routing.is_following():
        routing.follow_links(100)
    routing.begin_links(links, {False: frozenset(), True: frozenset(("s1",))})
    first = routing.follow_links(1)
    assert first == {"s0": {six: 3}, "s1": {six: None}}
    assert routing.next_hops(other)["s0"] == 2, "it is still where it was"
    assert routing.follow_links(1) == {"s0": {other: 3}, "s1": {other: None}}
    assert not routing.is_following()
    assert routing.next_hops(four) == {"s0": 2, "s1": 3, "s2": 0}
