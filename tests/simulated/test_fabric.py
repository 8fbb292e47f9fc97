"""The fabric while parts of it fail and come back: what the installed rules connect, on many graphs (M8, M23, M24)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import networkx
import pytest
from scenes import SERVICE, ask, bindings, drops, edge, network, topology

from anycast_sdn.core.model import (
    ICMP,
    ICMPV6,
    UDP,
    AnycastGroup,
    FlowKey,
    Gateway,
    Groups,
    Host,
    Link,
    Network,
    Port,
    Prefix,
    Server,
    ServerState,
    Side,
    Subnet,
    Switch,
    packed,
)
from anycast_sdn.openflow import lldp
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import parse_icmp_error, parse_ip
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, AddFlow, Barrier
from anycast_sdn.openflow.simulator import Transmit
from anycast_sdn.simulation import SimulatedNetwork, Told

ANY = SERVICE[False]
STRANGER = packed("203.0.113.9")
SETTLED_S = 4.0  # silence is noticed within 3 s; a link that fails for the second time is held back for 2 s
ATLAS = [graph for graph in networkx.graph_atlas_g() if 2 <= len(graph) <= 6]  # all graphs of two to six nodes


# ------------------------------------------------------------------------------ any graph


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
        self.cables = {end: there for link in description.links for end, there in ((link.a, link.b), (link.b, link.a))}
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

    def way(self, start: str, destination: bytes) -> tuple[str, int] | None:
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
                    assert self.way(start, address_of(node)) == (goal, distance[goal])
                else:
                    assert self.way(start, address_of(node)) is None
            nearest = min((distance[goal] for goal in able & distance.keys()), default=None)
            reached = self.way(start, ANY)
            assert (reached and reached[1]) == nearest
            assert reached is None or reached[0] in able


@pytest.mark.parametrize("part", range(8))
def test_rules_connect_whoever_can_be_connected_at_the_least_cost_whatever_happened(part):
    for number, graph in list(enumerate(ATLAS))[part::8]:
        made = Fabric(graph, seed=number)
        made.check()
        for _ in range(8):
            made.something_happens()
            made.check()
        for name in sorted(made.dead):
            made.net.connect(name)
        made.net.advance(SETTLED_S)
        made.net.check_recompute_changes_nothing()


@pytest.mark.parametrize("seed", range(4))
def test_the_same_holds_for_larger_random_graphs(seed):
    made = Fabric(networkx.gnm_random_graph(12, 20, seed=seed), seed)
    for _ in range(10):
        made.something_happens()
        made.check()


@pytest.mark.parametrize("seed", range(8))
def test_a_change_of_costs_or_servers_takes_nobodys_way_however_slow_the_switches_are(seed):
    """At every moment, with each switch told at a time of its own, and with changes that overtake one another."""
    graph = networkx.connected_watts_strogatz_graph(7, 4, 0.4, seed=seed)
    made = Fabric(graph, seed, others_drain=True, slowest_s=0.03)
    for _ in range(12):
        if made.draw.random() < 0.5:
            made.cost_changes()
        else:
            made.able = set(made.draw.sample(made.nodes, made.draw.randint(1, 2)))
            made.net.set_groups(made.groups())
        for _ in range(made.draw.randint(1, 30)):
            made.net.advance(0.003)
            for start, node in itertools.product(made.nodes, made.nodes):
                assert made.way(f"s{start}", address_of(node)) is not None
            assert all(made.way(f"s{start}", ANY) for start in made.nodes)
    made.net.settle()
    made.check()


# ------------------------------------------------------------------------------ the ring


@pytest.fixture
def ring(build) -> SimulatedNetwork:
    net = build("ring")
    net.advance(1)
    return net


def state(net: SimulatedNetwork, *ends: str) -> str:
    """Of the link with these ends."""
    topology = net.controller.topology((), net.now)
    assert isinstance(topology["links"], list)
    (found,) = [link["state"] for link in topology["links"] if sorted(link["ends"]) == sorted(ends)]
    return str(found)


def catchment(net: SimulatedNetwork, *without: str) -> dict[str, str | None]:
    shown = net.controller.topology(without, net.now)["catchment"]
    assert isinstance(shown, dict)
    return dict(shown["198.18.0.1/32"])


def test_a_part_that_is_cut_off_keeps_working_within_itself(ring, v6):
    ring.set_port(Port("c6", 1), up=False)
    ring.set_port(Port("c3", 1), up=False)
    ring.settle()
    for client, server in (("h1", "as1"), ("h3", "as3")):
        ask(ring, client, SERVICE[v6])
        assert len(ring.host(client).received) == 1
        assert len(ring.host(server).received) == 1
    assert ring.controller.topology((), ring.now)["parts"] == [
        ["arh1", "ars1", "ars2", "c1", "c2", "c3"],
        ["arh2", "ars3", "c4", "c5", "c6"],
    ]


def test_a_pinned_flow_keeps_its_server_and_a_new_one_goes_to_the_nearest(ring, v6):
    ask(ring, "h1", SERVICE[v6])
    ring.set_port(Port("c1", 1), up=False)
    ring.settle()
    ask(ring, "h1", SERVICE[v6])
    ask(ring, "h1", SERVICE[v6], port=40001)
    servers = [binding.server for binding in bindings(ring)]
    assert servers == [ring.host("as1").address(v6), ring.host("as3").address(v6)]
    assert len(ring.host("h1").received) == 3


def test_switches_that_do_not_confirm_are_counted_and_not_waited_for():
    """They take what they are told, and their answers are lost."""
    net = network("ring")
    controller, begin = net.controller, net.now
    controller.set_cost(Port("c1", 1), 9, begin)
    waiting = controller.updating()
    assert waiting
    controller.tick(begin + 1.0)
    assert controller.updating() == waiting
    for seconds in (1.1, 2.2, 3.3, 4.4):
        controller.tick(begin + seconds)
    assert controller.updating() == []
    unconfirmed = {edge.switch.name for edge in controller.edges.values() if edge.counters["routes_unconfirmed"]}
    assert unconfirmed == set(waiting)


@pytest.mark.parametrize("slowest_s", [0.001, 0.004, 0.03])
def test_no_packet_is_lost_when_the_way_moves(build, v6, slowest_s):
    """Back and forth, under a running flow: also packets whose way turns round while they are on it arrive."""
    ring = build("ring", switch={"slowest_s": slowest_s})
    ring.advance(1)
    ask(ring, "h1", SERVICE[v6])
    h1, sent = ring.host("h1"), 1
    for cost in (9, 1, 9, 1):
        ring.set_cost(Port("c1", 1), cost)
        for _ in range(20):
            ring.send("h1", h1.packet(SERVICE[v6], UDP, 40000, 53))
            ring.advance(0.3 * slowest_s)
            sent += 1
    ring.settle()
    assert len(ring.host("as1").received) == len(h1.received) == sent
    assert len(ring.seen("c1", "c6")) > 20


def test_an_update_sends_what_differs_and_deletes_nothing_that_has_a_successor(ring):
    def told(cost: int) -> list[object]:
        ring.journal = []
        ring.set_cost(Port("c1", 1), cost)
        ring.settle()
        messages = [record.message for record in ring.journal if isinstance(record, Told)]
        return [message for message in messages if not isinstance(message, Barrier)]

    assert told(1) == []
    for cost in (9, 1):
        messages = told(cost)
        assert all(isinstance(message, AddFlow) for message in messages)
        assert 0 < len(messages) < sum(edge.rules for edge in ring.controller.edges.values()) / 4


def test_a_link_that_flaps_carries_nothing_until_it_is_quiet(ring):
    for _ in range(3):
        ring.set_port(Port("c1", 1), up=False)
        ring.advance(1)
        ring.set_port(Port("c1", 1), up=True)
        ring.advance(1)
    assert state(ring, "c1:1", "c2:2") == "held back"
    assert catchment(ring) == {"arh1": "ars3", "arh2": "ars3"}
    ring.advance(4)
    assert state(ring, "c1:1", "c2:2") == "up"
    assert catchment(ring) == {"arh1": "ars1", "arh2": "ars3"}


def test_a_switch_that_returns_gets_exactly_its_rules_again(ring):
    ring.controller.tick(ring.now)
    before = dict(ring.switches["c4"].flows)
    ring.kill("c4")
    ring.advance(5)
    assert ring.switches["c4"].flows == {}
    assert state(ring, "c3:1", "c4:2") == "switch away"
    ring.connect("c4")
    ring.advance(5)
    assert ring.switches["c4"].flows == before


def test_a_switch_without_a_controller_goes_on_for_those_who_have_no_other_way(ring):
    ring.disconnect("c1")
    ring.advance(5)
    ask(ring, "h1")
    assert len(ring.host("h1").received) == 1
    ring.connect("c1")


def test_what_if_is_answered_without_touching_anything(ring):
    before = {name: dict(switch.flows) for name, switch in ring.switches.items()}
    assert catchment(ring, "c1-c2") == catchment(ring, "c2:2-c1:1") == {"arh1": "ars3", "arh2": "ars3"}
    assert catchment(ring, "10.23.0.10") == {"arh1": "ars1", "arh2": "ars2"}
    assert catchment(ring, "c1") == {"arh1": None, "arh2": "ars3"}
    assert catchment(ring, "arh2", "ars1") == {"arh1": "ars2"}
    assert catchment(ring) == {"arh1": "ars1", "arh2": "ars3"}
    assert {name: dict(switch.flows) for name, switch in ring.switches.items()} == before


# ------------------------------------------------------------------------------ cabling


def recabled(*cables: tuple[str, str], undeclared_links: bool = False) -> SimulatedNetwork:
    """The ring, with c1:1–c2:2 not there but these."""

    def port(name: str) -> Port:
        switch, _, number = name.partition(":")
        return Port(switch, int(number))

    description = replace(topology("ring"), undeclared_links=undeclared_links)
    real = [link for link in description.links if link.a != Port("c1", 1)]
    net = SimulatedNetwork(description, cables=[*real, *(Link(port(a), port(b)) for a, b in cables)])
    for name in ("c1:1", "c1:5", "c3:5"):
        net.found_port(port(name))
    net.advance(4)
    return net


def test_wrong_cabling_is_not_used_but_shown():
    net = recabled(("c1:1", "c3:5"))
    assert state(net, "c1:1", "c2:2") == "silent"
    assert state(net, "c1:1", "c3:5") == "not declared"
    links = net.controller.topology((), net.now)["links"]
    assert isinstance(links, list)
    assert links[0]["cabled_instead"] == {"c1:1": "c3:5"}
    assert catchment(net)["arh1"] == "ars3"


def test_an_undeclared_link_carries_traffic_where_that_is_allowed():
    net = recabled(("c1:5", "c3:5"), undeclared_links=True)
    assert state(net, "c1:5", "c3:5") == "up"
    assert catchment(net)["arh1"] == "ars2"
    ask(net, "h1")
    assert len(net.host("as2").received) == len(net.host("h1").received) == 1
    assert len(net.seen("c1", "c3")) == 1
    net.check_recompute_changes_nothing()


def test_lldp_from_a_host_is_dropped_and_counted(ring):
    ring.send("h1", *[lldp.build(lldp.Probe(0x31, 1, 1 << 40), ring.host("h1").mac, bytes(16))] * 3)
    ring.settle()
    assert drops(ring, "arh1") == {"lldp_from_host": 3}


def test_a_forged_frame_between_switches_is_counted(ring):
    frame = lldp.build(lldp.Probe(0x31, 1, 1 << 40), bytes(6), b"another key")
    for effect in ring.switches["c2"].receive(frame, 2, ring.now):
        ring.controller.packet_in(0x32, effect.cookie, effect.in_port, effect.frame, ring.now)
    assert drops(ring, "c2") == {"bad_frame: lldp digest": 1}


# ------------------------------------------------------------------------------ hops

HOPS = {
    False: ["10.1.0.1", "10.255.0.1", "10.255.0.2", "10.21.0.1"],
    True: ["2001:db8:1::1", "2001:db8:ff::1", "2001:db8:ff::2", "2001:db8:21::1"],
}


def errors(net: SimulatedNetwork, host: str) -> Iterator[tuple[bytes, bytes]]:
    """(who says that the TTL is used up, destination of the packet that it quotes) of each."""
    for frame in net.host(host).received:
        if parse_ip(frame).icmp_type == (3 if frame[12:14] == b"\x86\xdd" else 11):
            error = parse_icmp_error(frame)
            yield error.source, error.quoted.destination


@pytest.mark.parametrize("pinned", [False, True], ids=["unanswered", "pinned"])
def test_every_switch_on_the_way_to_any_is_a_hop(ring, v6, pinned):
    if pinned:
        ask(ring, "h1", SERVICE[v6])
    for ttl in range(1, 5):
        ask(ring, "h1", SERVICE[v6], ttl=ttl)
    assert list(errors(ring, "h1")) == [(packed(hop), SERVICE[v6]) for hop in HOPS[v6]]
    ask(ring, "h1", SERVICE[v6], ttl=5)
    assert len(ring.host("as1").received) == 1 + pinned


def test_every_switch_on_the_way_to_a_unicast_address_is_a_hop(ring, v6):
    as1 = ring.host("as1").address(v6)
    for ttl in range(1, 6):
        ring.send("h1", ring.host("h1").packet(as1, ICMPV6 if v6 else ICMP, ttl=ttl))
        ring.settle()
    assert list(errors(ring, "h1")) == [(packed(hop), as1) for hop in HOPS[v6]]


def test_a_switch_that_has_no_address_says_nothing(build):
    net = build("figure1", "as2")
    ask(net, ttl=2)  # core
    assert (net.host("h1").received, drops(net, "core")) == ([], {"ttl_expired": 1})


def test_a_flood_of_packets_without_ttl_is_stopped_at_the_switch(ring):
    h1, as1 = ring.host("h1"), ring.host("as1").address(False)
    for _ in range(3):
        ring.send("h1", *[h1.packet(as1, ICMP, ttl=1)] * 1000)
        ring.advance(0.1)
    assert 100 <= len(h1.received) <= 120
    assert drops(ring, "arh1")["ttl_expired"] <= 1100
    ring.advance(3)
    h1.received.clear()
    ring.send("h1", h1.packet(as1, ICMP, ttl=1))
    ring.settle()
    assert len(h1.received) == 1


def test_switches_answer_ping_and_refuse_datagrams(ring, v6):
    h3 = ring.host("h3")
    for hop in HOPS[v6]:
        ring.send("h3", h3.packet(packed(hop), ICMPV6 if v6 else ICMP), h3.packet(packed(hop), UDP, 40000, 33434))
    ring.settle()
    kinds = sorted(parse_ip(frame).icmp_type for frame in h3.received)
    assert kinds == ([1] * 4 + [129] * 4 if v6 else [0] * 4 + [3] * 4)  # echo replies, and unreachable


def test_an_edge_without_links_is_a_network_of_its_own(build):
    net = build("one-switch")
    net.advance(3)
    assert net.controller.topology((), net.now)["links"] == []
    assert edge(net, "edge").fabric_ports == []
