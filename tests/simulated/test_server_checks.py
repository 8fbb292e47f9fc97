"""Checks of servers through the switch: what they see, and that nothing else notices them (M33)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from scenes import bindings, catchment, drops, managed, topology, web

from anycast_sdn.core.checks import AnyCheck, HealthStatus, IcmpCheck, TcpCheck, UdpCheck
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, packed
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.frames import IpPacket, parse_ip
from anycast_sdn.openflow.rules import TCP_RST
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.network import SimulatedNetwork

TCP80 = TcpCheck(port=80, interval_s=1.0, timeout_s=0.5)
DNS = UdpCheck(port=53, dns="example.org", interval_s=1.0, timeout_s=0.5)
PING = IcmpCheck(interval_s=1.0, timeout_s=0.5)
AS2 = {False: packed("10.2.0.10"), True: packed("2001:db8:2::10")}
PASSING, CRITICAL, UNKNOWN = HealthStatus.PASSING, HealthStatus.CRITICAL, HealthStatus.UNKNOWN


def checked(*checks: AnyCheck, hosts: Iterable[str] = ("as2", "as3"), **settings: object) -> SimulatedNetwork:
    """Figure 1 with these hosts in group web, which has these checks."""
    description = topology("figure1")
    group = web(description, *hosts).get("web")
    assert group
    return SimulatedNetwork(description, Groups({"web": replace(group, checks=checks, **settings)}))


def status(net: SimulatedNetwork, server: bytes, group: str = "web") -> HealthStatus:
    return net.controller.health.status(group, server)


def reason(net: SimulatedNetwork, server: bytes, group: str = "web") -> str:
    return net.controller.health.of(group, server).reason


def refuse(host: SimulatedHost, *ports: int) -> None:
    """Its kernel is alive, but no program listens at these ports."""

    def answer(frame: bytes, packet: IpPacket) -> Iterator[bytes]:
        if packet.key.destination_port not in ports:
            yield from host.serve(frame, packet)
        elif packet.key.protocol == TCP:
            if reset := builders.tcp_reset(frame, host.mac):
                yield reset
        elif error := builders.unreachable(frame, host.mac, packet.key.destination, Unreachable.PORT):
            yield error

    host.on_packet = answer


def be_silent(host: SimulatedHost) -> None:
    """It answers ARP and ND alone."""
    host.on_packet = lambda frame, packet: ()


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("check", [TCP80, UdpCheck(port=53, payload=b"hello", answer=b"hell"), PING])
def test_a_server_that_answers_passes_and_nothing_else_comes_of_it(check: AnyCheck, v6: bool) -> None:
    net = checked(check)
    net.advance(6)
    assert status(net, AS2[v6]) is PASSING
    assert not bindings(net)
    assert drops(net, "ars2") == {}
    assert all(parse_ip(frame).icmp_type in (-1, 8, 128) for frame in net.host("as2").received), "no errors go to it"
    net.check_recompute_changes_nothing()


@pytest.mark.parametrize("v6", [False, True])
def test_a_connection_that_is_accepted_is_reset_at_once(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3)
    flags = [
        frame[packet.l4 + 13]
        for frame, packet in ((frame, parse_ip(frame)) for frame in net.host("as2").received)
        if packet.key.source == managed(net, "ars2").subnets[0].gateways[v6].address
    ]
    assert len(flags) >= 4
    assert set(flags[::2]) == {0x02}
    assert set(flags[1::2]) == {TCP_RST}


@pytest.mark.parametrize("v6", [False, True])
def test_a_server_whose_program_is_dead_gets_no_new_flows_within_3_s(v6: bool) -> None:
    net = checked(TCP80)
    net.advance(3)
    assert catchment(net)["arh1"] == "ars2"
    refuse(net.host("as2"), 80)
    net.advance(3)
    assert status(net, AS2[v6]) is CRITICAL
    assert reason(net, AS2[v6]) == "tcp 80: connection refused"
    assert catchment(net)["arh1"] == "ars3"
    net.host("as2").on_packet = net.host("as2").serve
    net.advance(3)
    assert status(net, AS2[v6]) is PASSING
    assert catchment(net)["arh1"] == "ars2"
