"""As many clients as a prefix has addresses, with ten flows each, are served by it (M30).

Figure 1 with room for that many clients, half of them at each of two ports, and in IPv6 a prefix as small as IPv4's.
With ``auto`` they come all at once: the first flows of all, then the second ones and so on.  With ``paired`` they come
one after the other, each with all its flows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest
from crowds import add_clients, ask_by_crowds, udp_flows
from support import V4, V6, WEB, Family, Running, edited, in_both_families, running

SIZE, FLOWS_EACH = 254, 10  # addresses, and clients
ORDER = {"auto": "in-turn", "paired": "one-by-one"}
CLIENTS = {  # by host
    V4: {"h1": [f"10.1.0.{last}" for last in range(100, 227)], "h2": [f"10.1.1.{last}" for last in range(100, 227)]},
    V6: {"h1": [f"2001:db8:1::1:{last}" for last in range(100, 227)],
         "h2": [f"2001:db8:1::2:{last}" for last in range(100, 227)]},
}  # fmt: skip


@pytest.fixture(scope="module", params=ORDER)
def pooling(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, pooling: str) -> Iterator[Running]:
    changes = [
        ("10.1.0.1/24", "10.1.0.1/23"),
        ("2001:db8:1:f::/64", "2001:db8:1:f::/120"),
        ("pooling: auto", f"pooling: {pooling}"),
    ]
    directory = tmp_path_factory.mktemp(pooling)
    with running(edited("figure1.yaml", directory, *changes), directory) as made:
        made.enrol("web", WEB, (V4.as2, V6.as2))
        made.serve_udp("as2")
        yield made


@pytest.mark.row("M30", "254 clients at two ports, with ten flows each, are all served by 254 addresses")
@in_both_families
def test_as_many_clients_as_addresses_have_ten_flows_each(network: Running, family: Family, pooling: str) -> None:
    crowds = CLIENTS[family]
    assert sum(map(len, crowds.values())) == SIZE
    for host, clients in crowds.items():
        add_clients(network, host, family, clients)
    ask_by_crowds(network, family, crowds, FLOWS_EACH, ORDER[pooling])
    users, flows = defaultdict(set), defaultdict(int)
    for client, _, translated, _ in udp_flows(network, family.web).values():
        users[translated].add(client)
        flows[client] += 1
    assert flows == {client: FLOWS_EACH for clients in crowds.values() for client in clients}
    assert len(users) == SIZE
    assert {len(clients) for clients in users.values()} == {1}  # each of them has one, so each has just one
    drops = network.edge("arh1")["drops"]
    assert not {"pool_empty", "client_full", "port_full"}.intersection(name for name, count in drops.items() if count)
