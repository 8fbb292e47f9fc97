"""Checks of very many servers, for the table of what holds the hub (``holds``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pieces import Held, Piece

from anycast_sdn.core.checks import AnyCheck, HealthStatus, IcmpCheck, TcpCheck, UdpCheck
from anycast_sdn.core.model import ICMP, TCP, UDP, AnycastGroup, Prefix, Server
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import TCP_ACK, TCP_SYN, Output, PacketOut

if TYPE_CHECKING:
    from holds import Hub

COUNT, GROUPS = 1000, 20  # servers, and their groups
STEP_S, TICK_STEPS = 0.05, 5  # as ``app``; between two ticks of the switches
SECONDS = 10.0
CHECKS: dict[str, AnyCheck] = {
    "tcp": TcpCheck(port=80), "dns": UdpCheck(port=53, dns="example.org"), "icmp": IcmpCheck()
}  # fmt: skip


def operations(hub: Hub, address_of: Callable[[int], bytes]) -> Iterator[tuple[str, Held]]:
    addresses = [address_of(number) for number in range(min(COUNT, hub.scale.servers - 1))]
    before = hub.controller.groups
    for name, check in CHECKS.items():
        for interval_s in (5.0, 1.0):
            wanted = _groups(addresses, replace(check, interval_s=interval_s, timeout_s=1.0))
            yield (
                f"{len(addresses):,} servers of {GROUPS} groups are to be checked by {name} every {interval_s:g} s",
                Held([*itertools.chain.from_iterable(_replace(hub, group).pieces for group in wanted)]),
            )
            yield f"{SECONDS:g} s of that", _run(hub, answers=True)
            assert _status(hub, addresses) == {HealthStatus.PASSING}
    yield f"all of them are silent: {SECONDS:g} s", _run(hub, answers=False)
    assert _status(hub, addresses) == {HealthStatus.CRITICAL}
    yield f"all of them answer again: {SECONDS:g} s", _run(hub, answers=True)
    yield "their groups are removed", hub.measure(lambda: hub.controller.set_groups(before, hub.now))


def _groups(addresses: list[bytes], check: AnyCheck) -> list[AnycastGroup]:
    return [
        AnycastGroup(
            f"checked{number}", (Prefix.parse(f"198.200.0.{number}/32"),),
            {address: Server(address) for address in addresses[number::GROUPS]}, checks=(check,),
        )
        for number in range(GROUPS)
    ]  # fmt: skip


def _replace(hub: Hub, group: AnycastGroup) -> Held:
    return hub.measure(lambda: hub.controller.set_groups(hub.controller.groups.replaced(group), hub.now))


def _status(hub: Hub, addresses: list[bytes]) -> set[HealthStatus]:
    status = hub.controller.health.status
    return {status(f"checked{number % GROUPS}", address) for number, address in enumerate(addresses)}


def _run(hub: Hub, answers: bool) -> Held:
    """Each step is a piece, and all answers to its probes are another one, as if they were read at once.

    Switches are heard of and hosts answer ARP all the time: otherwise a server's silence would be excused.
    """
    pieces: list[Piece] = []
    for step in range(int(SECONDS / STEP_S)):
        hub.now += STEP_S
        if step % TICK_STEPS == 0:
            hub.tick_switches()
        hub.sent = []
        pieces += hub.measure(lambda: hub.controller.check_servers(hub.now)).pieces
        sent, hub.sent = hub.sent, None
        probes = [(dpid, message) for dpid, message in sent if isinstance(message, PacketOut)]
        replies = [(dpid, *_reply(message)) for dpid, message in probes if answers]

        def hear(replies: list[tuple[int, int, bytes]] = replies) -> None:
            for dpid, port, frame in replies:
                hub._take(hub.controller.packet_in(dpid, cookie(Kind.CHECK_ANSWER), port, frame, hub.now))

        pieces += hub.measure(hear).pieces
    return Held(pieces)


def _reply(probe: PacketOut) -> tuple[int, bytes]:
    """→ (port, frame)"""
    (output,) = probe.actions
    assert isinstance(output, Output)
    packet = parse_ip(probe.frame)
    mac, segment = {"eth_src": packet.eth_dst, "eth_dst": packet.eth_src}, probe.frame[packet.l4 : packet.end]
    if packet.key.protocol == ICMP:
        return output.port, builders.echo_reply(probe.frame, packet.eth_dst)
    if packet.key.protocol == UDP:
        said = segment[8:10] + b"\x81\x80" + segment[12:]
        return output.port, builders.ip_packet(packet.key.reverse, **mac, payload=said)
    assert packet.key.protocol == TCP
    acknowledged = (int.from_bytes(segment[4:8], "big") + 1) % (1 << 32)
    flags = TCP_SYN | TCP_ACK
    return output.port, builders.ip_packet(packet.key.reverse, **mac, tcp_flags=flags, acknowledged=acknowledged)
