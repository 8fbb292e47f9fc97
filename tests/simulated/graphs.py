"""Networks of any shape, what breaks in them, and what must hold afterwards by another computation."""

from __future__ import annotations

import random
from dataclasses import replace

import networkx
from scenes import SERVICE

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, AnycastGroup, FlowKey, Gateway, Prefix, Server, ServerState, packed
from anycast_sdn.core.roles import Side, Subnet
from anycast_sdn.description.model import Host, Link, Network, Port, Switch
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.rules import OFPP_CONTROLLER
from anycast_sdn.simulation.effects import Transmit
from anycast_sdn.simulation.network import SimulatedNetwork

ANY = SERVICE[False]
STRANGER = packed("203.0.113.9")
SETTLED_S = 4.0  # silence is noticed within 3 s; a link that fails for the second time is held back for 2 s


def fabric(graph: networkx.Graph, draw: random.Random) -> Network:
    """Each node a server edge with one host; a link's port has the number of the neighbour, the host's is 99."""
    switches = tuple(Switch(f"s{node}", node + 1, server_edge=True) for node in graph)
    links = tuple(Link(Port(f"s{a}", b + 1), Port(f"s{b}", a + 1), draw.randint(1, 3)) for a, b in graph.edges)
    subnets = tuple(
        Subnet(f"n{node}", f"s{node}", Side.SERVER, (Gateway.parse(f"10.{node}.0.1/24"),), (99,)) for node in graph
    )
    hosts = tuple(Host(f"h{node}", f"n{node}", 99, (address_of(node),)) for node in graph)
    return Network("drawn", (Prefix.parse("198.18.0.0/16"),), switches, links, subnets, hosts)


def address_of(node: int) -> bytes:
    return packed(f"10.{node}.0.10")


class Fabric:
    """A simulated network, what is broken in it, and what follows from that by another computation.

    ``able``: whose servers take new flows; the others' are not enrolled, or only draining if ``others_drain``.
    """

    def __init__(self, graph: networkx.Graph, seed: int, *, others_drain: bool = False, **options: float) -> None:
        self.draw = random.Random(seed)
        self.others_drain = others_drain
        self.nodes = list(graph)
        description = fabric(graph, self.draw)
        self.links = {link.a: link for link in description.links}
        self.cables = {end: peer for link in description.links for end, peer in ((link.a, link.b), (link.b, link.a))}
        self.able = set(self.draw.sample(self.nodes, min(2, len(self.nodes))))
        self.broken: dict[Port, int] = {}  # a link's first end → how often it has failed
        self.cut: set[Port] = set()
        self.silent: set[Port] = set()
        self.dead: set[str] = set()
        self.net = SimulatedNetwork(description, self.groups(), **options)

    def groups(self) -> Groups:
        servers = {address_of(node): Server(address_of(node)) for node in sorted(self.able)}
        for address in map(address_of, self.nodes if self.others_drain else ()):
            servers.setdefault(address, Server(address, state=ServerState.DRAINING))
        return Groups({"web": AnycastGroup("web", (Prefix.host(ANY),), servers)})

    # ---------------------------------------------------------------- what happens

    def something_happens(self) -> None:
        happenings = [self.cost_changes, self.server_comes_or_goes, self.switch_dies_or_returns]
        if self.links:
            happenings += [self.link_breaks] * 3 + [self.link_returns] * 2
        self.draw.choice(happenings)()
        self.net.advance(SETTLED_S)

    def link_breaks(self) -> None:
        end = self.draw.choice(sorted(self.links))
        if end in self.cut | self.silent or self.broken.get(end, 0) == 2:
            return
        self.broken[end] = self.broken.get(end, 0) + 1
        if self.draw.random() < 0.5:
            self.cut.add(end)
            self.net.set_port(end, up=False)
        else:
            self.silent.add(end)
            self.net.silent.add(self.draw.choice((end, self.cables[end])))

    def link_returns(self) -> None:
        for end in sorted(self.cut | self.silent)[:1]:
            if end in self.cut:
                self.net.set_port(end, up=True)
            self.net.silent -= {end, self.cables[end]}
            self.cut.discard(end)
            self.silent.discard(end)

    def cost_changes(self) -> None:
        for end in self.draw.sample(sorted(self.links), min(1, len(self.links))):
            cost = self.draw.randint(1, 4)
            self.links[end] = replace(self.links[end], cost=cost)
            self.net.set_cost(end, cost)

    def server_comes_or_goes(self) -> None:
        self.able ^= {self.draw.choice(self.nodes)}
        self.net.set_groups(self.groups())

    def switch_dies_or_returns(self) -> None:
        name = f"s{self.draw.choice(self.nodes)}"
        if name in self.dead:
            self.dead.remove(name)
            self.net.connect(name)
        else:
            self.dead.add(name)
            self.net.kill(name)

    # ---------------------------------------------------------------- what must hold

    def distances(self) -> dict[str, dict[str, int]]:
        """Between switches that live, by links that work."""
        graph = networkx.Graph()
        graph.add_nodes_from({f"s{node}" for node in self.nodes} - self.dead)
        for end, link in self.links.items():
            ends = {link.a.switch, link.b.switch}
            if end not in self.cut | self.silent and not ends & self.dead:
                graph.add_edge(*ends, cost=link.cost)
        return dict(networkx.all_pairs_dijkstra_path_length(graph, weight="cost"))

    def path(self, start: str, destination: bytes) -> tuple[str, int] | None:
        """Where the installed rules take a packet, and at what cost; None when they lose it."""
        key = FlowKey(STRANGER, destination, UDP, 40000, 53)
        frame = ip_packet(key, eth_src=b"\2\0\0\0\0\1", eth_dst=b"\2\0\0\0\0\2")
        here, cost = Port(start, OFPP_CONTROLLER), 0
        for _ in range(len(self.nodes) + 1):
            effects = self.net.switches[here.switch].receive(frame, here.number, self.net.now)
            sent = [effect for effect in effects if isinstance(effect, Transmit)]
            if not sent:
                return None
            ((port, frame),) = sent
            out = Port(here.switch, port)
            if port == 99:
                return here.switch, cost
            link = self.links.get(out) or self.links[self.cables[out]]
            if {link.a, link.b} & (self.cut | self.silent):
                return None
            here, cost = self.cables[out], cost + link.cost
        raise AssertionError(f"a packet from {start} goes round")

    def check(self) -> None:
        distances = self.distances()
        able = {f"s{node}" for node in self.able}
        for start, distance in distances.items():
            for node in self.nodes:
                goal = f"s{node}"
                if goal in distance:
                    assert self.path(start, address_of(node)) == (goal, distance[goal])
                else:
                    assert self.path(start, address_of(node)) is None
            nearest = min((distance[goal] for goal in able & distance.keys()), default=None)
            reached = self.path(start, ANY)
            assert (reached and reached[1]) == nearest
            assert reached is None or reached[0] in able
