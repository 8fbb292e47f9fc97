"""Which hosts may use which services: those of a subnet, behind a client edge (M6); servers are hosts, too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, drops, errors, group, topology

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, Prefix
from anycast_sdn.description.model import Network
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.topology import topology_view

PROHIBITED = {False: (3, 13), True: (1, 1)}
WEB_ONLY = tuple(map(Prefix.host, SERVICE.values()))


def built(network: Network, *servers: str, **options: bool) -> SimulatedNetwork:
    """Two groups of these servers, web and another."""
    names = {"web": SERVICE, "other": SECOND_SERVICE}
    groups = {name: group(network, name, service, *servers) for name, service in names.items()}
    net = SimulatedNetwork(network, Groups(groups), **options)
    for host in network.hosts:
        serve_only(net.host(host.name))
    return net


def serve_only(host: SimulatedHost) -> None:
    """It answers requests, and no answers: it may be its own client."""
    serve = host.on_packet
    host.on_packet = lambda frame, packet: serve(frame, packet) if packet.key.destination_port in (53, 80) else ()


def with_services(name: str, side: str, services: tuple[Prefix, ...]) -> Network:
    network = topology(name)
    return replace(
        network,
        subnets=tuple(replace(s, services=services) if s.side.value == side else s for s in network.subnets),
    )


def hosts_of(network: Network, side: str) -> list[str]:
    subnets = {subnet.name for subnet in network.subnets if subnet.side.value == side}
    return [host.name for host in network.hosts if host.subnet in subnets]


def answers(net: SimulatedNetwork, name: str, service: bytes) -> int:
    return sum(parse_ip(frame).key.source == service for frame in net.host(name).received)


@pytest.mark.parametrize("itself", [True, False], ids=["its own", "another's"])
def test_a_server_behind_a_client_edge_uses_services(v6, itself):
    """Also a service that it serves itself: packets leave by their ingress port."""
    network = topology("one-switch")
    first, second = hosts_of(network, "server")[:2]
    net = built(network, first if itself else second)
    for turn in range(1, 4):
        ask(net, first, SERVICE[v6])
        assert answers(net, first, SERVICE[v6]) == turn
    (binding,) = bindings(net, network.switches[0].name)
    assert binding.server == net.host(first if itself else second).address(v6)
    ask(net, first, SERVICE[v6], port=40001, protocol=TCP, service_port=80)
    assert answers(net, first, SERVICE[v6]) == 4
    net.check_recompute_changes_nothing()


def test_a_server_behind_an_edge_that_is_no_client_edge_gets_an_error_at_once(v6):
    net = built(topology("figure1"), "as2", "as3")
    for name, at in (("as3", "ars3"), ("as4", "ars3"), ("as2", "ars2")):  # one that serves, one that does not
        net.send(name, net.host(name).packet(SERVICE[v6], UDP, 40000, 53))
        net.advance(0.01)
        assert errors(net.host(name)) == [PROHIBITED[v6]]
        assert drops(net, at)["unauthorised"]


def test_a_subnet_may_be_kept_from_services(v6):
    network = with_services("one-switch", "server", ())
    server, client = hosts_of(network, "server")[0], hosts_of(network, "client")[0]
    net = built(network, server)
    ask(net, server, SERVICE[v6])
    ask(net, client, SERVICE[v6])
    assert errors(net.host(server)) == [PROHIBITED[v6]]
    assert (errors(net.host(client)), answers(net, client, SERVICE[v6])) == ([], 1)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_subnet_may_use_fewer_services_than_its_edge(v6, side):
    network = with_services("one-switch", side, WEB_ONLY)
    host = hosts_of(network, side)[0]
    net = built(network, hosts_of(network, "server")[1])
    ask(net, host, SERVICE[v6])
    assert answers(net, host, SERVICE[v6]) == 1
    ask(net, host, SECOND_SERVICE[v6])
    assert errors(net.host(host)) == [PROHIBITED[v6]]
    net.check_recompute_changes_nothing()


def test_the_catchment_shows_services_that_no_client_may_use():
    net = built(with_services("one-switch", "client", WEB_ONLY), "s1")
    shown = topology_view(net.controller, (), net.now)["catchment"]
    assert shown["198.18.0.1/32"] != shown["198.18.0.2/32"] == {net.network.switches[0].name: "unauthorised"}
