"""SimulatedHost: an unmodified host (M1) of the simulated network.

It returns the frames that it answers with; ``SimulatedNetwork`` sends them.  It verifies the checksums of all packets
that it receives: a wrong one is a fault of the controller or of a simulated switch, and raises ``Damaged``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Address, AnycastError, FlowKey
from anycast_sdn.description.model import Port
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import (
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    BadFrame,
    IpPacket,
    checksum,
    parse_arp,
    parse_ip,
    parse_nd,
    transport_checksum,
)
from anycast_sdn.openflow.rules import ETH_ARP

TCP_SYN, TCP_ACK = 0x02, 0x10


class Damaged(AnycastError):
    """A frame arrived with a wrong checksum."""


class SimulatedHost:
    """An unmodified host (M1): it resolves its gateway, and answers ARP and ND for its addresses.

    ``on_packet`` is called for each packet to one of its addresses, and returns the frames to send.  By default it is
    ``serve`` for hosts of a server subnet, and ``answer_ping`` for clients.
    """

    def __init__(self, name: str, port: Port, mac: bytes, addresses: Iterable[Address], serves: bool) -> None:
        self.name = name
        self.port = port
        self.mac = mac
        self.addresses = tuple(addresses)
        self.neighbours: dict[Address, bytes] = {}  # as learned by ARP and ND
        self.gateway_mac = builders.BROADCAST
        self.received: list[bytes] = []  # IP packets, without ND
        self.on_packet: Callable[[bytes, IpPacket], Iterable[bytes]] = (
            self.serve if serves else self.answer_ping
        )

    def address(self, v6: bool) -> Address:
        return next(address for address in self.addresses if (len(address) == 16) is v6)

    def packet(
        self, destination: Address, protocol: int, source_port: int = 0, destination_port: int = 0, **options: Any
    ) -> bytes:
        """A packet of this host; ``options`` are those of ``builders.ip_packet``."""
        source = self.address(len(destination) == 16)
        key = FlowKey(source, destination, protocol, source_port, destination_port)
        return builders.ip_packet(key, eth_src=self.mac, eth_dst=self.gateway_mac, **options)

    def question(self, target: Address) -> bytes:
        """An ARP request or a neighbour solicitation for ``target``."""
        own = self.address(len(target) == 16)
        if len(target) == 4:
            return builders.arp_request(self.mac, own, target)
        return builders.neighbour_solicitation(self.mac, own, target)

    def flows(self) -> list[FlowKey]:
        """The flows of the received packets, in order."""
        return [parse_ip(frame).key for frame in self.received]

    # ---------------------------------------------------------------- received frames

    def receive(self, frame: bytes) -> Iterable[bytes]:
        if frame[:6] != self.mac and not frame[0] & 1:
            return ()  # the network card does not take it
        if int.from_bytes(frame[12:14], "big") == ETH_ARP:
            return self._arp(frame)
        try:
            packet = parse_ip(frame)
        except BadFrame as error:
            if str(error) != "fragment":
                raise
            self.received.append(frame)  # is not reassembled, and gets no answer
            return ()
        _verify(frame, packet)
        if packet.key.protocol == ICMPV6 and packet.icmp_type in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
            return self._nd(frame)
        self.received.append(frame)
        source, destination, *_ = packet.key
        # RFC 1122 §3.2.1.3: hosts drop what names itself or a group as its sender; one would answer itself for ever.
        forged = source in self.addresses or not builders.names_one_host(source)
        return self.on_packet(frame, packet) if destination in self.addresses and not forged else ()

    def _arp(self, frame: bytes) -> Iterable[bytes]:
        packet = parse_arp(frame)
        if packet.op == 2:
            self.neighbours[packet.sender_ip] = packet.sender_mac
        elif packet.target_ip in self.addresses and packet.sender_mac != self.mac:
            return (builders.arp_reply(self.mac, packet.target_ip, packet.sender_mac, packet.sender_ip),)
        return ()

    def _nd(self, frame: bytes) -> Iterable[bytes]:
        packet = parse_nd(frame)
        if packet.advertisement:
            self.neighbours[packet.target] = packet.link_layer or packet.eth_src
        elif packet.target in self.addresses:
            own, asker = packet.target, packet.eth_src
            return (builders.neighbour_advertisement(self.mac, own, own, asker, packet.source, solicited=True),)
        return ()

    def answer_ping(self, frame: bytes, packet: IpPacket) -> Iterable[bytes]:
        asked = packet.icmp_type == (8 if packet.key.protocol == ICMP else 128)
        return (builders.echo_reply(frame, self.mac),) if asked else ()

    def serve(self, frame: bytes, packet: IpPacket) -> Iterable[bytes]:
        """A SYN gets a SYN-ACK, an echo request a reply, other TCP and ICMP nothing; all else: the payload back."""
        if packet.icmp_type >= 0:
            return self.answer_ping(frame, packet)
        if packet.key.protocol != TCP:
            return (self.reply(frame, packet),)
        syn = frame[packet.l4 + 13] & (TCP_SYN | TCP_ACK) == TCP_SYN
        if not syn:
            return ()
        acknowledged = (int.from_bytes(frame[packet.l4 + 4 : packet.l4 + 8], "big") + 1) % (1 << 32)
        return (self.reply(frame, packet, tcp_flags=TCP_SYN | TCP_ACK, acknowledged=acknowledged),)

    def reply(self, frame: bytes, packet: IpPacket, source: Address | None = None, **options: Any) -> bytes:
        """The packet's payload back to its sender; by default from the address to which it was sent."""
        to, own, protocol, to_port, own_port = packet.key
        header = {TCP: 20, UDP: 8}.get(protocol, 12 if own_port else 0)
        payload = frame[packet.l4 + header : packet.end]
        key = FlowKey(source or own, to, protocol, own_port, to_port)
        return builders.ip_packet(
            key, eth_src=self.mac, eth_dst=self.gateway_mac, **{"payload": payload, **options}
        )


def _verify(frame: bytes, packet: IpPacket) -> None:
    """Raises Damaged when a checksum that covers an address is wrong."""
    source, destination, protocol, *_ = packet.key
    if len(source) == 4 and checksum(frame[packet.l3 : packet.l4]):
        raise Damaged(f"IPv4 header checksum of {packet.key}")
    segment = frame[packet.l4 : packet.end]
    unsummed = protocol == UDP and segment[6:8] == b"\0\0"
    summed = protocol in (TCP, UDP) or packet.icmp_type >= 0
    if packet.more_fragments or unsummed or not summed:
        return
    if transport_checksum(source, destination, protocol, segment):
        raise Damaged(f"transport checksum of {packet.key}")
