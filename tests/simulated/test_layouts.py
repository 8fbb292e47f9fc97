"""Layouts: a network does the same with the same packets on fewer tables, whatever is enrolled and installed (M38)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scenes import GATEWAY, SECOND_SERVICE, SERVICE, UNUSED, bindings, topology, web

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Address, FlowKey, packed
from anycast_sdn.core.roles import Side
from anycast_sdn.description.model import Network, Port
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import IpPacket
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.next_hops import TWO_TABLES
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.effects import Effect
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.network import SimulatedNetwork

# Rules for anything else that only lead to the next table: where two tables are one, priorities do that.
MERELY_ONWARD = {Kind.OUT_ELSE, Kind.SERVICE_ELSE, Kind.IN_ELSE}
SHORT = {"tcp_s": 6, "udp_s": 3, "unanswered_s": 2, "tcp_closing_s": 4, "tcp_closed_s": 1}
STRANGERS = ("198.18.9.9", "2001:db8:a::99", "192.0.2.9", "2001:db8:99::9", "224.0.0.5", "ff02::5")
TAGS = [b""] * 5 + [b"\x81\0\x20\0", b"\x81\0\0\7", b"\x81\0\x20\0\x81\0\0\7"]  # a priority, a VLAN, two tags

Step: TypeAlias = Callable[["Recorded"], None]


class Recorded(SimulatedNetwork):
    """Records what switches send to hosts, to each other and to the controller."""

    def __init__(self, network: Network, layout: Layout, **features: bool) -> None:
        self.effects: list[tuple[str, Effect]] = []
        super().__init__(network, web(network, *servers(network)), layout=layout, **features)
        echoing = {address for name in servers(network) for address in self.host(name).addresses}
        for name in servers(network):
            self.host(name).on_packet = partial(answer, self.host(name), echoing)

    def carry_out(self, name: str, effects: Iterable[Effect]) -> None:
        effects = list(effects)
        self.effects += [(name, effect) for effect in effects]
        super().carry_out(name, effects)

    def counted(self, but: Collection[Kind] = ()) -> dict[str, Counter[Kind]]:
        """How many packets the rules of each kind have matched."""
        others = MERELY_ONWARD.union(but)
        return {
            name: Counter({kind: count for kind, count in switch.packets().items() if kind not in others})
            for name, switch in self.switches.items()
        }


def described(name: str) -> Network:
    """A topology of which one link takes smaller packets than the others."""
    network = topology(name, validity=SHORT)
    return replace(network, links=tuple(replace(link, mtu=1300) for link in network.links[:1]) + network.links[1:])


def answer(server: SimulatedHost, echoing: Collection[Address], frame: bytes, packet: IpPacket) -> Iterable[bytes]:
    """As any server, but not to another one: two that return what they get would do so for ever."""
    return () if packet.key.source in echoing else server.serve(frame, packet)


def servers(network: Network) -> list[str]:
    return hosts_at(network, Side.SERVER)


def hosts_at(network: Network, side: Side) -> list[str]:
    sides = {subnet.name: subnet.side for subnet in network.subnets}
    return [host.name for host in network.hosts if sides[host.subnet] is side]


def ports(network: Network) -> list[Port]:
    """All that a packet may come in by."""
    edges = {subnet.name: subnet.edge for subnet in network.subnets}
    to_hosts = {Port(edges[host.subnet], host.port) for host in network.hosts}
    return sorted(to_hosts | {end for link in network.links for end in (link.a, link.b)})


def addresses(network: Network, v6: bool) -> list[Address]:
    """Of every purpose."""
    hosts = [address for host in network.hosts for address in host.addresses]
    gateways = [gateway.address for subnet in network.subnets for gateway in subnet.gateways]
    unused = [prefix.network for switch in network.switches if switch.client_edge
              for prefix in switch.client_edge.translation_prefixes]  # fmt: skip
    others = [*SERVICE.values(), *SECOND_SERVICE.values(), *GATEWAY.values(), *UNUSED.values(), *map(packed, STRANGERS)]
    return [address for address in (*hosts, *gateways, *unused, *others) if (len(address) == 16) is v6]


@st.composite
def packets(draw: st.DrawFn, network: Network) -> Step:
    """Any packet comes in by any port; in the place of an address there may be the PR1X of a binding."""
    v6 = draw(st.booleans())
    known = st.sampled_from(addresses(network, v6))
    protocol = draw(st.sampled_from([TCP, TCP, UDP, ICMPV6 if v6 else ICMP, 47]))
    numbers = (draw(st.integers(40000, 40001)), 80) if protocol in (TCP, UDP) else (0, 0)
    key = FlowKey(draw(known), draw(known), protocol, *(numbers if draw(st.booleans()) else numbers[::-1]))
    port, tag, which = draw(st.sampled_from(ports(network))), draw(st.sampled_from(TAGS)), draw(st.integers(0, 9))
    to_pr1x, from_pr1x = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    flags, ttl = draw(st.sampled_from([0x02, 0x10, 0x11, 0x04])), draw(st.sampled_from([1, 2, 64, 64]))
    payload = bytes(draw(st.sampled_from([0, 0, 1290, 1500])))

    def step(net: Recorded) -> None:
        leased = [each.translated for switch in network.switches if switch.client_edge
                  for each in bindings(net, switch.name) if (len(each.translated) == 16) is v6]  # fmt: skip
        ends = key
        if leased and to_pr1x:
            ends = key._replace(destination=leased[which % len(leased)])
        if leased and from_pr1x:
            ends = key._replace(source=leased[which % len(leased)])
        frame = ip_packet(ends, eth_src=bytes.fromhex("0600000000aa"), eth_dst=bytes.fromhex("02ac00000001"), ttl=ttl,
                          tcp_flags=flags, payload=payload)  # fmt: skip
        net.receive(port, frame[:12] + tag + frame[12:])
        net.settle()

    return step


@st.composite
def flows(draw: st.DrawFn, network: Network) -> Step:
    """A client's packet to the service: the server answers, and there is a binding."""
    client = draw(st.sampled_from(hosts_at(network, Side.CLIENT)))
    service, protocol = SERVICE[draw(st.booleans())], draw(st.sampled_from([TCP, UDP]))
    port, flags = draw(st.integers(40000, 40001)), draw(st.sampled_from([0x02, 0x10, 0x11, 0x04]))

    def step(net: Recorded) -> None:
        net.send(client, net.host(client).packet(service, protocol, port, 80, tcp_flags=flags))
        net.settle()

    return step


def steps(network: Network, least: int = 0) -> st.SearchStrategy[Step]:
    """``least``: how many servers are always enrolled."""
    enrolled = st.sets(st.sampled_from(servers(network)), min_size=least)
    return st.one_of(
        packets(network),
        packets(network),
        packets(network),
        flows(network),
        flows(network),
        st.sampled_from([0.002, 0.5, 2.0, 5.0]).map(lambda seconds: lambda net: net.advance(seconds)),
        enrolled.map(lambda names: lambda net: net.set_groups(web(network, *sorted(names)))),
    )


# The shared tables, in the orders of their rules that differ most.
MET = {
    Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN, Kind.FIRST_PACKET, Kind.FIRST_REPLY,
    Kind.PROHIBITED, Kind.UNKNOWN_TRANSLATED, Kind.STILL_TAGGED,
    Kind.SERVICE, Kind.HOST, Kind.TCP_END, Kind.GATEWAY_HERE,
}  # fmt: skip


PHASES = (Phase.explicit, Phase.generate)  # a shorter history is not worth the minutes that it takes to find it
TOPOLOGIES = pytest.mark.parametrize("name", ["figure1", "one-switch", "two-sites"])
# Where bindings name groups, packets of bound flows match no rule of these.
NOT_AFTER_A_BINDING = {Kind.SERVICE, Kind.HOST, Kind.ROUTE, Kind.EGRESS_ROUTE}
WITHOUT_EXTENSIONS = {"tcp_flags": False, "fin_timeout": False, "packet_size": False, "connections": False}


def compare(network: Network, other: Layout, **features: bool) -> Counter[Kind]:
    """Random histories of two networks, of which one has this layout → how many packets the kinds of rules matched."""
    met: Counter[Kind] = Counter()
    uncounted = NOT_AFTER_A_BINDING if other.names_next_hops else set[Kind]()
    least = int(other.names_next_hops)  # a group without a next hop drops, and tells nobody

    @settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=PHASES)
    @given(st.lists(steps(network, least), min_size=25, max_size=50))
    def same(history: list[Step]) -> None:
        five, few = (Recorded(network, layout, **features) for layout in (FIVE_TABLES, other))
        for step in history:
            step(five)
            step(few)
            assert few.effects == five.effects
            five.effects.clear()
            few.effects.clear()
        assert few.wires == five.wires
        assert few.counted(uncounted) == five.counted(uncounted)
        for there, here in zip(few.switches.values(), five.switches.values(), strict=True):
            assert (there.flows, there.groups, there.meters) == (here.flows, here.groups, here.meters)
        for counted in five.counted().values():
            met.update(counted)
        assert few.restart_controller() == five.restart_controller()  # from what was read back

    same()
    return met


@TOPOLOGIES
def test_the_same_comes_out_of_three_tables_as_of_five(name: str) -> None:
    met = compare(described(name), THREE_TABLES)
    assert met.keys() >= MET, "else there was too little to compare"


@TOPOLOGIES
def test_the_same_comes_out_of_two_tables_and_groups_of_next_hops_as_of_five(name: str) -> None:
    met = compare(described(name), TWO_TABLES, **WITHOUT_EXTENSIONS)
    assert met.keys() >= MET - {Kind.TCP_END}, "else there was too little to compare"
