"""BindingTable: what it counts (M26)."""

from __future__ import annotations

import random
from collections import Counter

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.model import UDP, FlowKey, packed

H, ANY = packed("10.1.0.10"), packed("198.18.0.1")
SERVERS = [None, packed("10.2.0.10"), packed("10.3.0.10")]


def binding(number: int, group: str, server: bytes | None) -> Binding:
    return Binding(number, FlowKey(H, ANY, UDP, number, 53), number.to_bytes(4, "big"), group, 0.0, server)


def test_a_group_counts_the_bindings_that_are_pinned_to_each_server_whatever_happens_to_them():
    draw, table, alive = random.Random(1), BindingTable(), {}
    for step in range(2000):
        number = draw.randrange(1, 40)
        if number in alive and draw.random() < 0.4:
            table.remove(alive.pop(number))
        else:
            group = alive[number].group if number in alive else draw.choice(["web", "dns"])
            alive[number] = binding(number, group, draw.choice(SERVERS))
            table.put(alive[number])
        if step % 50 == 0:
            for group in ("web", "dns"):
                pinned = Counter(each.server for each in alive.values() if each.group == group and each.server)
                assert table.in_group(group) == pinned
    for each in alive.values():
        table.remove(each)
    assert not table.in_group("web")


def test_bindings_are_in_the_order_of_their_numbers_whatever_the_order_they_came_in():
    table, numbers = BindingTable(), random.Random(1).sample(range(1, 5000), 1000)
    for number in numbers:
        table.put(binding(number, "web", None))
    assert [each.number for each in table] == sorted(numbers)
    assert [each.number for each in table.ending_with(0b101, 3)] == [
        number for low in range(0b101, 256, 8) for number in numbers if number % 256 == low
    ]
    for number in numbers:
        table.remove(binding(number, "web", None))
    assert (len(table), list(table), table.ending_with(0, 0)) == (0, [], [])


def test_a_table_that_was_cleared_knows_nothing_and_lets_go_of_its_bindings_some_at_a_time():
    table = BindingTable()
    bindings = [binding(number, "web", SERVERS[1]) for number in range(1, 1001)]
    for each in bindings:
        table.put(each)
    table.clear()
    assert (len(table), list(table), table.pinned_to(SERVERS[1]), table.in_group("web")) == (0, [], 0, {})
    assert table.by_key(bindings[7].key) is None
    assert table.holders.of(bindings[7].translated) is None
    table.put(bindings[7])
    assert list(table) == [bindings[7]]
    turns = 0
    while table._former:
        table.let_go(50)
        turns += 1
    assert turns >= 2 * len(bindings) / 50
    assert list(table) == [bindings[7]]
