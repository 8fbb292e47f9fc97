"""The demo's H, ARh, ANY and servers: chosen from any network file, never named in the code.

- H is the first host in a client subnet for which all the others exist, in one address family at least.
- Servers are the hosts in server subnets that H's edge can reach.  Those behind H's own switch are taken only
  when there are no others: they would always be nearest, and packets to them cross no link.
- ANY is the first free address out of what H's site may use, one per family.
- Switches that play others (``profile``) and cannot be server edges are not expected to serve.
- The group is the demo's own, whatever groups the file has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from routers import cables

from anycast_sdn.core.model import Address, ConfigurationError, Prefix, packed, text
from anycast_sdn.core.roles import Side
from anycast_sdn.description.model import MAX_COST, Host, Link, Network, Switch
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.simulation.switch import SimulatedSwitch


@dataclass(frozen=True)
class Family:
    """The roles in one address family; addresses as text, servers by host name."""

    name: str  # IPv4 or IPv6
    client: str  # H
    service: str  # ANY
    servers: Mapping[str, str]  # name → ASg
    translation: tuple[Prefix, ...]  # PRh/k

    @property
    def is_v6(self) -> bool:
        return ":" in self.service

    @property
    def filter(self) -> str:
        """tcpdump's name for it."""
        return "ip6" if self.is_v6 else "ip"

    @property
    def url(self) -> str:
        return f"http://[{self.service}]/" if self.is_v6 else f"http://{self.service}/"

    @property
    def prefix(self) -> str:
        """ANY/n."""
        return str(Prefix.host(packed(self.service)))

    def name_of(self, server: str) -> str:
        """What the document calls a server's address."""
        return f"{server.upper()}g"

    def is_translation(self, address: str) -> bool:
        return any(packed(address) in prefix for prefix in self.translation)

    def translation_addresses(self) -> Iterator[str]:
        """The addresses of PRh/k that flows can get, from the upper end."""
        for prefix in self.translation:
            first = int.from_bytes(prefix.network, "big")
            for offset in range((1 << prefix.bits - prefix.length) - 2, 0, -1):
                yield text((first + offset).to_bytes(prefix.bits // 8, "big"))

    def notation(self, translated: str) -> dict[str, str]:
        """Address → what the document calls it; ``translated`` is the PR1X at hand."""
        servers = {address: self.name_of(name) for name, address in self.servers.items()}
        return {self.client: "H", self.service: "ANY", translated: "PR1X"} | servers


@dataclass(frozen=True)
class Roles:
    network: Network
    client: str  # H's name
    edge: Switch  # ARh
    group: str
    families: tuple[Family, ...]  # IPv4 before IPv6

    @property
    def servers(self) -> tuple[str, ...]:
        """Their names, in the file's order."""
        chosen = {name for family in self.families for name in family.servers}
        return tuple(host.name for host in self.network.hosts if host.name in chosen)

    def local_servers(self) -> list[str]:
        """Those that could serve, but are not taken, because they are behind H's own switch."""
        able = [host.name for host, edge in _hosts(self.network, Side.SERVER) if edge == self.edge.name]
        return [name for name in able if name not in self.servers]

    def edge_of(self, host: str) -> str:
        """The switch that a host stands behind."""
        return _edge_of(self.network, next(each for each in self.network.hosts if each.name == host))

    def distances(self) -> dict[str, int]:
        """Edge → its cost from H's, for the edges of the first family's servers; the nearest first."""
        found = _graph(self.network, all_links(self.network)).distances(self.edge.name)
        edges = self._edges()
        return {edge: found[edge] for edge in sorted(edges, key=lambda edge: (found[edge], edge))}

    def _edges(self) -> set[str]:
        """Those of the first family's servers; without those that play switches which cannot be server edges."""
        edges = {self.edge_of(server) for server in self.families[0].servers}
        return {edge for edge in edges if _may_serve(self.network.switch(edge), self.families[0].name)} or edges

    def detour(self) -> tuple[Link, int] | None:
        """A link and a higher cost for it that makes the servers of another edge the nearest ones."""
        edges = self._edges()
        now = _graph(self.network, self.network.links).nearest(self.edge.name, edges)
        for cost, link in itertools.product((10, 100, 1000, MAX_COST), self.network.links):
            links = [replace(each, cost=cost) if each == link else each for each in self.network.links]
            if cost > link.cost and _graph(self.network, links).nearest(self.edge.name, edges) != now:
                return link, cost
        return None


def choose(network: Network) -> Roles:
    """Raises ConfigurationError when the network lacks a host for a role, or a free address."""
    taken = {group.name for group in network.groups}
    names = itertools.chain(["demo"], (f"demo-{number}" for number in itertools.count(2)))
    group = next(name for name in names if name not in taken)
    for client, subnet in _hosts(network, Side.CLIENT):
        edge = network.switch(subnet)
        families = tuple(_families(network, client, edge))
        if families:
            return Roles(network, client.name, edge, group, families)
    raise ConfigurationError(
        f"the demo cannot run on network {network.name}: it needs a host in a client subnet, a host in a server "
        "subnet, both with addresses of one family, and a free address in the services of the client's site"
    )


def _families(network: Network, client: Host, edge: Switch) -> Iterator[Family]:
    assert edge.client_edge is not None  # a client subnet has one: the checks of the network file hold that
    for width, name in ((4, "IPv4"), (16, "IPv6")):
        address = _address(client, width)
        service = _free_service(network, [each for each in edge.client_edge.services if each.bits == 8 * width])
        servers = _servers(network, edge, width)
        if address and service and servers:
            translation = tuple(each for each in edge.client_edge.translation_prefixes if each.bits == 8 * width)
            yield Family(name, text(address), text(service), servers, translation)


def _servers(network: Network, edge: Switch, width: int) -> dict[str, str]:
    reachable = _graph(network, all_links(network)).distances(edge.name)
    able = {
        host: behind for host, behind in _hosts(network, Side.SERVER) if behind in reachable and _address(host, width)
    }
    elsewhere = [host for host, behind in able.items() if behind != edge.name]
    return {host.name: text(_address(host, width) or b"") for host in elsewhere or able}


def _free_service(network: Network, services: list[Prefix]) -> Address | None:
    """The first address in ``services`` that no group of the file has."""
    taken = [prefix for group in network.groups for prefix in group.prefixes]
    for service in services:
        first = int.from_bytes(service.network, "big")
        # Behind the network's own address, or just behind a prefix that is taken.
        starts = [first + (service.length < service.bits)]
        starts += [int.from_bytes(each.network, "big") + (1 << each.bits - each.length) for each in taken]
        for start in sorted(starts):
            if start >> service.bits:
                continue
            candidate = Prefix.host(start.to_bytes(service.bits // 8, "big"))
            if service.covers(candidate) and not any(each.overlaps(candidate) for each in taken):
                return candidate.network
    return None


def _hosts(network: Network, side: Side) -> Iterator[tuple[Host, str]]:
    """The hosts on one side, each with the switch that it stands behind."""
    names = {subnet.name for subnet in network.subnets if subnet.side is side}
    return ((host, _edge_of(network, host)) for host in network.hosts if host.subnet in names)


def _edge_of(network: Network, host: Host) -> str:
    return next(subnet.edge for subnet in network.subnets if subnet.name == host.subnet)


def _address(host: Host, width: int) -> Address | None:
    return next((address for address in host.addresses if len(address) == width), None)


def _may_serve(switch: Switch, family: str) -> bool:
    if switch.profile is None:
        return True
    played = SimulatedSwitch(layout=suited(switch.profile.tables), profile=switch.profile)
    able = judge(Role.SERVER_EDGE, played.found(Features())).able
    return int(family.removeprefix("IPv")) in able


def all_links(network: Network) -> tuple[Link, ...]:
    """Those between switches, and those of the testbed's ordinary routers."""
    return (*network.links, *cables(network))


def _graph(network: Network, links: tuple[Link, ...] | list[Link]) -> Graph:
    ends = {end.switch for link in links for end in (link.a, link.b)}  # the ordinary routers, too
    return Graph(ends.union(switch.name for switch in network.switches), links)
