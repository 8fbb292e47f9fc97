"""Shorthand of the tests of checks: networks whose servers are checked, and servers that fail in many ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from scenes import SECOND_SERVICE, SERVICE, group, managed, topology

from anycast_sdn.core.checks import AnyCheck, HealthStatus, IcmpCheck, TcpCheck, UdpCheck
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, packed
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.frames import IpPacket, parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.simulation.host import SimulatedHost
from anycast_sdn.simulation.network import SimulatedNetwork

TCP80 = TcpCheck(port=80, interval_s=1.0, timeout_s=0.5)
TCP81 = TcpCheck(port=81, interval_s=1.0, timeout_s=0.5)
DNS = UdpCheck(port=53, dns="example.org", interval_s=1.0, timeout_s=0.5)
PING = IcmpCheck(interval_s=1.0, timeout_s=0.5)
AS2 = {False: packed("10.2.0.10"), True: packed("2001:db8:2::10")}
AS3 = {False: packed("10.3.0.10"), True: packed("2001:db8:3::10")}
PASSING, WARNING, CRITICAL, UNKNOWN = (
    HealthStatus.PASSING, HealthStatus.WARNING, HealthStatus.CRITICAL, HealthStatus.UNKNOWN
)  # fmt: skip


def checked(
    *checks: AnyCheck,
    second: tuple[AnyCheck, ...] | None = None,
    hosts: Iterable[str] = ("as2", "as3"),
    more: dict[str, Any] | None = None,
    **settings: Any,
) -> SimulatedNetwork:
    """Figure 1 with these hosts in group web, which has these checks; ``second``: those of a second group of theirs.

    ``more``: options of ``SimulatedNetwork``; ``settings``: of group web.
    """
    description = topology("figure1")
    groups = {"web": replace(group(description, "web", SERVICE, *hosts), checks=checks, **settings)}
    if second is not None:
        groups["second"] = replace(group(description, "second", SECOND_SERVICE, *hosts), checks=second)
    return SimulatedNetwork(description, Groups(groups), **(more or {}))


def change(net: SimulatedNetwork, name: str = "web", **settings: Any) -> None:
    """An operator changes settings of a group."""
    before = net.controller.groups.get(name)
    assert before
    net.set_groups(net.controller.groups.replaced(replace(before, **settings)))
    net.settle()


def status(net: SimulatedNetwork, server: bytes, name: str = "web") -> HealthStatus:
    return net.controller.health.status(name, server)


def reason(net: SimulatedNetwork, server: bytes, name: str = "web") -> str:
    return net.controller.health.of(name, server).reason


def probes_to(net: SimulatedNetwork, host: str, v6: bool = False) -> list[bytes]:
    """The packets that the host has got from its gateway."""
    subnet = net.network.subnet_of(net.host(host).address(v6))
    assert subnet
    gateways = {gateway.address for gateway in subnet.gateways if (len(gateway.address) == 16) is v6}
    return [frame for frame in net.host(host).received if parse_ip(frame).key.source in gateways]


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


def freeze(host: SimulatedHost) -> None:
    """It answers nothing at all."""
    host.receive = lambda frame: ()  # type: ignore[method-assign]


def recover(host: SimulatedHost) -> None:
    host.on_packet = host.serve
    vars(host).pop("receive", None)


def serve_dns(host: SimulatedHost, code: int, **header: int) -> None:
    """All its answers to UDP have this code of DNS; ``identifier``: added to the right one."""

    def answer(frame: bytes, packet: IpPacket) -> Iterable[bytes]:
        if packet.key.protocol != UDP:
            return host.serve(frame, packet)
        query = frame[packet.l4 + 8 : packet.end]
        identifier = (int.from_bytes(query[:2], "big") + header.get("identifier", 0)) % (1 << 16)
        said = identifier.to_bytes(2, "big") + bytes((0x81, 0x80 | code)) + query[4:]
        return (host.reply(frame, packet, payload=said),)

    host.on_packet = answer


def rules_of_checks(net: SimulatedNetwork, edge: str = "ars2") -> int:
    """How many rules the switch has for answers to checks."""
    flows = net.switches[edge].flows.values()
    return sum(kind_of(rule.cookie) is Kind.CHECK_ANSWER for rule in flows)


def mac_of(net: SimulatedNetwork, edge: str) -> bytes:
    return managed(net, edge).mac
