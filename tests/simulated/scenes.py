"""Shorthand of the simulated tests: topologies with groups, and what tests check afterwards."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from shared import SharedNetwork

from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, AnycastGroup, FlowKey, Prefix, Server, ServerState, packed
from anycast_sdn.core.roles import ClientEdgeRole, EngineName
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network
from anycast_sdn.engines.chosen_engine import ChosenEngine
from anycast_sdn.engines.edge_engine import EdgeEngine
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import ICMP_ERRORS, ICMPV6_ERRORS, parse_arp, parse_ip, parse_nd
from anycast_sdn.openflow.pipeline import kind_of, number_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import ETH_ARP
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.switches import edge_views
from anycast_sdn.views.topology import topology_view
from anycast_sdn.views.trends import Trends

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
SERVICE = {False: packed("198.18.0.1"), True: packed("2001:db8:a::1")}  # ANY, by family
GATEWAY = {False: packed("10.1.0.1"), True: packed("2001:db8:1::1")}  # of h1's subnet, by family
UNUSED = {False: packed("10.1.0.99"), True: packed("2001:db8:1::99")}
STRANGE_MAC = bytes.fromhex("06000000aaaa")
SECOND_SERVICE = {False: packed("198.18.0.2"), True: packed("2001:db8:a::2")}

# Marks of tests, or of all tests of a file: the client edges of networks that the fixture ``build`` makes have each of
# these engines in turn.
both_engines = pytest.mark.engines(*EngineName)
rules_alone = pytest.mark.engines(EngineName.RULES)  # the test looks at rules of flows, or at their expiry


def not_with_conntrack(reason: str, **parameters: Any) -> pytest.MarkDecorator:
    """The test fails with that engine, where it has these parameters, and the reason is known."""
    return pytest.mark.fails_with_conntrack(reason, **parameters)


_load = cache(reading.load)


def topology(name: str, **changes: Any) -> Network:
    """A topology file; ``changes`` are fields of every client edge's role, and ``validity``'s by name."""
    network = _load(TOPOLOGIES / f"{name}.yaml")
    validity = changes.pop("validity", {})
    return replace(
        network,
        switches=tuple(
            replace(switch, client_edge=_changed(switch.client_edge, changes, validity)) for switch in network.switches
        ),
    )


def _changed(role: ClientEdgeRole | None, changes: dict[str, Any], validity: dict[str, int]) -> ClientEdgeRole | None:
    return role and replace(role, **changes, validity=replace(role.validity, **validity))


def group(
    network: Network, name: str, service: dict[bool, bytes], *hosts: str, draining: Container[str] = ()
) -> AnycastGroup:
    """A group of these hosts of the topology, in both families."""
    servers = {
        address: Server(address, state=ServerState.DRAINING if host.name in draining else ServerState.ACTIVE)
        for host in network.hosts
        if host.name in hosts
        for address in host.addresses
    }
    return AnycastGroup(name, tuple(Prefix.host(address) for address in service.values()), servers)


def web(network: Network, *hosts: str, draining: Container[str] = ()) -> Groups:
    """One group, web, at SERVICE."""
    return Groups({"web": group(network, "web", SERVICE, *hosts, draining=draining)})


def network(name: str, *hosts: str, switch: dict[str, Any] | None = None, **changes: Any) -> SimulatedNetwork:
    """A topology with ``hosts`` enrolled as web, or with the file's groups when there are none.

    ``switch``: options of ``SimulatedNetwork``; ``changes``: see ``topology``.
    """
    description = topology(name, **changes)
    return SimulatedNetwork(description, web(description, *hosts) if hosts else None, **(switch or {}))


def managed(net: SimulatedNetwork, name: str) -> ManagedSwitch:
    return next(switch for switch in net.controller.switches.values() if switch.name == name)


def client_edge(net: SimulatedNetwork, name: str = "arh1") -> ClientEdge:
    """The client edge of this switch."""
    engine = (net.of_flows(name) if isinstance(net, SharedNetwork) else managed(net, name)).engine
    if isinstance(engine, ChosenEngine):
        engine = engine.engine
    assert isinstance(engine, EdgeEngine)
    return engine.edge


def bindings(net: SimulatedNetwork, name: str = "arh1") -> list[Binding]:
    return list(client_edge(net, name).bindings)


def the_binding(net: SimulatedNetwork, name: str = "arh1") -> Binding:
    """The only binding there is."""
    (binding,) = bindings(net, name)
    return binding


def carried_out(net: SimulatedNetwork, name: str = "arh1") -> int:
    """How many flows the switch carries out: by rules, or by connections of its tracker."""
    switch = net.switches[name]
    ours = (Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN)
    flows = {number_of(rule.cookie) for rule in switch.flows.values() if kind_of(rule.cookie) in ours}
    connections = (switch.tracker.connections(zone, net.now) for zone in client_edge(net, name).role.conntrack.zones)
    return len(flows) + sum(len(list(each)) for each in connections)


def drops(net: SimulatedNetwork, name: str) -> dict[str, int]:
    """Everything that was dropped at a switch, by its rules and by the controller, without zeroes."""
    dpid = next(switch.dpid for switch in net.network.switches if switch.name == name)
    net.controller.drops_counted(dpid, net.switches[name].packets())
    views = edge_views(net.controller, net.counters, Trends(net.counters), net.now)
    view = next(view for view in views if view["name"] == name)
    counted = view["drops"]
    assert isinstance(counted, dict)
    return {counter: count for counter, count in counted.items() if count}


def ask(
    net: SimulatedNetwork,
    client: str = "h1",
    service: bytes = SERVICE[False],
    port: int = 40000,
    protocol: int = UDP,
    service_port: int = 53,
    **options: Any,
) -> None:
    """One packet of a client to a service, and all that follows from it."""
    net.send(client, net.host(client).packet(service, protocol, port, service_port, **options))
    net.settle()


def served_by(net: SimulatedNetwork, *hosts: str) -> dict[FlowKey, set[str]]:
    """Which hosts got packets of a flow, by the flow as the server sees it but without its own address."""
    seen: dict[FlowKey, set[str]] = {}
    for host in hosts:
        for key in net.host(host).flows():
            seen.setdefault(key._replace(destination=b""), set()).add(host)
    return seen


def errors(host: SimulatedHost) -> list[tuple[int, int]]:
    """(type, code) of each ICMP error that the host has got."""
    packets = [(frame, parse_ip(frame)) for frame in host.received]
    return [
        (packet.icmp_type, frame[packet.l4 + 1])
        for frame, packet in packets
        if packet.icmp_type in (ICMPV6_ERRORS if len(packet.key.source) == 16 else ICMP_ERRORS)
    ]


def payloads(frames: list[bytes], header: int = 8) -> list[bytes]:
    """What the packets carry behind a transport header of that size; by default UDP's."""
    packets = [(frame, parse_ip(frame)) for frame in frames]
    return [frame[packet.l4 + header : packet.end] for frame, packet in packets]


def catchment(net: SimulatedNetwork, *without: str, service: str = "198.18.0.1/32") -> dict[str, str | None]:
    """Site → where its packets to the service go."""
    shown = topology_view(net.controller, without, net.now)["catchment"]
    assert isinstance(shown, dict)
    return dict(shown[service])


# ------------------------------------------------------------------------------ hosts and their edge


def probe(mac: bytes, target: bytes) -> bytes:
    """Duplicate-address detection: a request from an unspecified sender (RFC 5227, RFC 4862)."""
    if len(target) == 4:
        return builders.arp_request(mac, bytes(4), target)
    return builders.neighbour_solicitation(mac, bytes(16), target)


def claim(mac: bytes, address: bytes) -> bytes:
    """An unsolicited announcement of ``address`` by a host."""
    if len(address) == 4:
        return builders.arp_request(mac, address, address)
    all_nodes, mac_of_all = packed("ff02::1"), bytes.fromhex("333300000001")
    return builders.neighbour_advertisement(mac, address, address, mac_of_all, all_nodes, solicited=False)


def questions(net: SimulatedNetwork, name: str) -> list[bytes]:
    """The addresses in ARP and ND requests that a host has received."""
    found = []
    for _, _, receiver, frame in net.wires:
        if receiver != name:
            continue
        if int.from_bytes(frame[12:14], "big") == ETH_ARP:
            packet = parse_arp(frame)
            if packet.op == 1:
                found.append(packet.target_ip)
        elif parse_ip(frame).icmp_type == 135:
            found.append(parse_nd(frame).target)
    return found


def known(net: SimulatedNetwork, name: str = "arh1") -> dict[bytes, tuple[bytes, int]]:
    """The hosts that an edge knows: their MACs and ports."""
    return {address: (neighbour.mac, neighbour.port) for address, neighbour in managed(net, name).neighbours.known()}
