"""Servers that are lost are examined in slices, however many there are (M32)."""

from __future__ import annotations

from types import SimpleNamespace

from anycast_sdn.control.losses import EXAMINED, LOST_AFTER_S, Losses
from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Gateway, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.description.model import Network, Switch

EDGES, SUBNETS = 100, 100
ROLE = ClientEdgeRole((Prefix.parse("172.16.0.0/20"),), (Prefix.parse("198.18.0.0/15"),))
SERVERS = [bytes((10, number % SUBNETS, 1 + number // SUBNETS, 1)) for number in range(10_000)]


class Flows(BindingTable):
    """Without any; it counts what is asked."""

    asked = 0

    def pinned_to(self, server: Address) -> int:
        Flows.asked += 1
        return 0


class Routes:
    """Which edges have a route to which subnets."""

    def __init__(self) -> None:
        self.hops = dict.fromkeys((f"e{number}" for number in range(EDGES)), 1)

    def next_hops(self, subnet: Prefix) -> dict[str, int]:
        return self.hops


def losses(routes: Routes) -> Losses:
    subnets = [Subnet(f"n{number}", f"e{number}", Side.SERVER, (Gateway.parse(f"10.{number}.0.1/16"),), (1,))
               for number in range(SUBNETS)]  # fmt: skip
    described = [Switch(f"e{number}", number + 1, ROLE, True) for number in range(EDGES)]
    network = Network("n", ROLE.services, tuple(described), (), tuple(subnets))
    switches = {
        switch.name: SimpleNamespace(
            described=switch, dpid=switch.dpid, engine=SimpleNamespace(flows=Flows()), synchronised=True
        )
        for switch in described
    }
    no = lambda *_: False  # noqa: E731
    return Losses(network, switches, routes.next_hops, no, RemovedServers(lambda: set()), no)  # type: ignore[arg-type]


def test_ten_thousand_servers_at_a_hundred_edges_are_examined_in_slices() -> None:
    examined = losses(Routes())
    examined.tick(0.0)
    while examined.is_busy():  # the first routes
        examined.work(Groups(), 64, 0.0)
    for server in SERVERS:
        examined.noticed(server, False, 1.0)
    Flows.asked, most = 0, 0
    examined.tick(1.25 + LOST_AFTER_S)
    while examined.is_busy():
        before = Flows.asked
        examined.work(Groups(), 64, 5.0)
        most = max(most, Flows.asked - before)
    assert Flows.asked == len(SERVERS) * EDGES
    assert most <= EXAMINED
    assert all(examined.is_lost("e7", server) for server in SERVERS)


def test_routes_to_a_hundred_subnets_are_examined_in_slices() -> None:
    routes = Routes()
    examined = losses(routes)
    examined.tick(0.0)
    slices = 0
    while examined.is_busy():
        examined.work(Groups(), 64, 0.0)
        slices += 1
    assert slices >= EDGES * SUBNETS // (2 * EXAMINED)
    routes.hops = {name: 1 for name in routes.hops if name != "e7"}
    examined.tick(1.0)
    while examined.is_busy():
        examined.work(Groups(), 64, 1.0)
    examined.tick(1.25 + LOST_AFTER_S)
    assert examined.is_lost("e7", SERVERS[9])
    assert not examined.is_lost("e8", SERVERS[9])


def test_servers_that_cannot_be_asked_are_not_lost() -> None:
    """Their edge does not answer any more: so they were found silent, and that does not count when it is back."""
    examined = losses(Routes())
    examined.tick(0.0)
    first, second = SERVERS[:2]
    for server in (first, second):
        examined.noticed(server, False, 1.0)
    edge = examined._switches["e0"]
    edge.synchronised = False
    for now in range(2, 20):
        examined.tick(now)
    assert not examined.is_lost("e7", first)
    assert examined.is_lost("e7", second)
    edge.synchronised = True
    examined.tick(19.0 + LOST_AFTER_S)
    assert not examined.is_lost("e7", first)
    examined.tick(19.25 + LOST_AFTER_S)
    assert examined.is_lost("e7", first)
