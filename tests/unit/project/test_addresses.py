"""docs/addresses.md: what a prefix of each size carries is what the code makes of it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, AnycastGroup, FlowKey, Prefix, Server, packed
from anycast_sdn.core.roles import ClientEdgeRole, Pooling

ANY, AS2 = packed("198.18.0.1"), packed("10.2.0.10")
WEB = Groups({"web": AnycastGroup("web", (Prefix.host(ANY),), {AS2: Server(AS2)})})
TABLE = re.findall(
    r"^\| /(2\d) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) "
    r"\| ([\d,]+) \+ ([\d,]+), or ([\d,]+) pairs \| ([\d,]+) to ([\d,]+),",
    (Path(__file__).parents[3] / "docs/addresses.md").read_text(),
    re.MULTILINE,
)
ROWS = [tuple(int(cell.replace(",", "")) for cell in row) for row in TABLE]


def client_edge(length: int, pooling: Pooling, ports: int) -> ClientEdge:
    role = ClientEdgeRole((Prefix.parse(f"20.0.0.0/{length}"),), (Prefix.parse("198.18.0.0/16"),), pooling=pooling)
    return ClientEdge(role, random.Random(1), ports=ports)


def bound(edge: ClientEdge, clients: int, flows: int, *, in_turn: bool) -> tuple[int, int]:
    """How many flows get a binding, and how many clients; ``in_turn``: each client opens one flow at a time."""
    orders = [(number, port) for number in range(clients) for port in range(flows)]
    served = []
    for number, port in sorted(orders, key=lambda order: order[::-1] if in_turn else order):
        key = FlowKey((0x0A000000 + number).to_bytes(4, "big"), ANY, UDP, port, 53)
        if edge.client_packet(key, WEB, 0, port=1).binding:
            served.append(number)
    return len(served), len(set(served))


def test_the_table_has_rows() -> None:
    assert [row[0] for row in ROWS] == [28, 26, 24, 22, 20]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"a /{row[0]}")
def test_a_prefix_carries_what_the_table_says(row: tuple[int, ...]) -> None:
    length, size, single, pairs, first_half, second_half, all_pairs, fewest, most = row
    assert bound(client_edge(length, Pooling.FLOW, 1), 2 * size, 1, in_turn=True) == (single, single)
    assert bound(client_edge(length, Pooling.PAIRED, 1), 2 * size, 3, in_turn=False) == (3 * pairs, pairs)
    assert size == first_half + second_half
    assert bound(client_edge(length, Pooling.AUTO, 1), 2 * size, 3, in_turn=True)[1] == all_pairs
    assert bound(client_edge(length, Pooling.AUTO, 1), 2 * size, 3, in_turn=False)[1] >= second_half
    assert bound(client_edge(length, Pooling.AUTO, 2), 2 * size, 3, in_turn=True)[1] == most
    assert fewest <= bound(client_edge(length, Pooling.AUTO, 2), 2 * size, 3, in_turn=False)[1] <= most
