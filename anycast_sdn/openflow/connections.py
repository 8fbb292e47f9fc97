"""Connections of Open vSwitch's connection tracker: the messages that begin and end one.

A connection begins with its first packet, in one packet-out (M13), which is the message of the first-packet path of a
client edge inside the tracker.  ``with_first_packet`` is what it means; ``Beginnings`` packs it fast, and a test holds
the two equal.

NXT_CT_FLUSH ends one; Open vSwitch has it from 3.1 on.  It is never sent where it would do something else: Open vSwitch
with its userspace datapath (seen in 3.1.0) aborts at one for ICMPv6, and at one for ICMP that is no request; and a port
of 0 stands there for any port.  Connections that no message can end do so when they are idle.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, WHOLE, Address, FlowKey
from anycast_sdn.core.tracked_address import PEER
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.connection_queries import Ends, is_icmp
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    Action,
    BeginConnection,
    EndConnection,
    Field,
    Nat,
    PacketOut,
    SetField,
    Track,
)

BEGUN = Field("pkt_mark", 1)  # in first packets on their way to the tracker, and in no others
_LABEL_BYTES = 16
_NO_MAC = bytes(6)
_NUMBERS = Struct("!II")  # of a TCP header: sequence number, acknowledgment number


def with_first_packet(message: BeginConnection) -> PacketOut:
    """Its packet as the tracker is to see it, with a connection committed for it; ANY is remembered in a register.

    With the ingress port and the registers of a packet that comes to the tracker by itself, it goes on by the datapath
    flow of those.  Open vSwitch would make one for it alone if any of these were different; the mark may be.
    """
    _, inside, anycast, translated, server, zone, port, in_port = message
    v6 = len(anycast) == 16
    family = "ipv6" if v6 else "ipv4"
    actions: tuple[Action, ...] = (
        SetField("xxreg1", anycast) if v6 else SetField("reg4", int.from_bytes(anycast, "big")),
        SetField(f"{family}_src", inside),
        SetField(f"{family}_dst", PEER[v6]),
        SetField(*BEGUN[:2]),
        _commit(zone, translated, port, server, Table.TRACKED_OUT),
    )
    return PacketOut(message.frame, in_port, actions)


def source_port_of(flow: Binding, key: FlowKey | None = None) -> int:
    """That of its packets to servers; 0 where the tracker has none.  ``key``: of one of a whole client's flows."""
    key = key or flow.key
    return (flow.translated_port or key.source_port) if key.protocol in (TCP, UDP) else 0


def with_reply(frame: bytes, inside: Address, server: Address, zone: int) -> PacketOut:
    """As ``with_first_packet``, for a packet of a server: the connection begins in the other direction, from K to PR1X.

    Its packets have the same ends on both sides as if the client had begun it.
    """
    v6 = len(server) == _LABEL_BYTES
    family = "ipv6" if v6 else "ipv4"
    label = server.rjust(_LABEL_BYTES, b"\0")
    actions: tuple[Action, ...] = (
        SetField("xxreg1", server) if v6 else SetField("reg4", int.from_bytes(server, "big")),
        SetField(f"{family}_src", PEER[v6]),
        Track(zone, Table.TRACKED_IN, commit=True, nat=Nat(False, inside, inside), label=label),
    )
    return PacketOut(frame, OFPP_CONTROLLER, actions)


def _commit(zone: int, translated: Address, port: int, server: Address | None, table: int | None = None) -> Track:
    label = None if server is None else server.rjust(_LABEL_BYTES, b"\0")
    return Track(zone, table, commit=True, nat=Nat(True, translated, translated, port), label=label)


class Beginnings:
    """Packs them from templates: one for each zone, family, ingress port, whether there is a port, and a server.

    ``serialise``: the packet-out as bytes, with transaction id 0.
    """

    def __init__(self, serialise: Callable[[PacketOut], bytes]) -> None:
        self._serialise = serialise
        self._known: dict[tuple[int, int, int, bool, bool], tuple[int, list[bytes]]] = {}

    def pack(self, message: BeginConnection) -> bytes:
        frame, inside, anycast, translated, server, zone, port, in_port = message
        shape = (zone, len(anycast), in_port, server is None, port == 0)
        template = self._known.get(shape)
        if template is None:
            template = self._known[shape] = self._template(message)
        length, (version, to_anycast, to_inside, to_translated, to_server, rest) = template
        return b"".join((
            version, (length + len(frame)).to_bytes(2, "big"), to_anycast, anycast, to_inside, inside, to_translated,
            translated, port.to_bytes(2, "big") if port else b"", to_server, server or b"", rest, frame,
        ))  # fmt: skip

    def _template(self, message: BeginConnection) -> tuple[int, list[bytes]]:
        """(its length without a frame, the bytes between length, ANY, H', PR1X and ASg)."""
        size = len(message.anycast)
        inside, anycast, translated, server = (bytes([0xC1 + 7 * end] * size) for end in range(4))
        sample = message._replace(
            frame=b"", inside=inside, anycast=anycast, translated=translated, server=message.server and server
        )
        rest = whole = self._serialise(with_first_packet(sample))
        parts = [rest[:2]]
        rest = rest[4:]
        for marker in (anycast, inside, translated):
            before, rest = rest.split(marker)
            parts.append(before)
        rest = rest[2 if message.port else 0 :]  # the port, which is behind the address
        parts += rest.split(server) if sample.server else (b"", rest)
        return len(whole), parts


# ------------------------------------------------------------------------------ put back


class Numbers(NamedTuple):
    """Of a TCP connection: the next that its client sends, and the next that it awaits."""

    sequence: int = 1
    acknowledged: int = 1


MADE_UP = Numbers()


def put_back(
    flow: Binding, ends: Ends, inside: Address, zone: int, numbers: Numbers = MADE_UP
) -> list[PacketOut]:
    """What makes a tracker know a connection of a flow as it was, by packets that are sent nowhere.

    One that has a server was seen in both directions then, and has its full validity again.  A TCP connection is
    picked up in the middle.  None for a TCP connection that no server has answered: its client begins it again.
    """
    server, (protocol, first, second) = flow.server, ends
    if protocol == TCP and server is None:
        return []
    peer = PEER[len(inside) == 16]
    there = source_port_of(flow, FlowKey(flow.key.source, flow.key.destination, *ends))
    sent = _made_up(FlowKey(inside, peer, protocol, first, second), False, numbers.sequence, numbers.acknowledged)
    begun = PacketOut(sent, OFPP_CONTROLLER, (_commit(zone, flow.translated, there, server),))
    if server is None:
        return [begun]
    look_up = (Track(zone, translate=True),)
    key = FlowKey(peer, flow.translated, protocol, second, there or first)
    answered = _made_up(key, True, numbers.acknowledged, numbers.sequence)
    return [begun, PacketOut(answered, OFPP_CONTROLLER, look_up), PacketOut(sent, OFPP_CONTROLLER, look_up)]


def _made_up(key: FlowKey, answers: bool, sequence: int, acknowledged: int) -> bytes:
    """With ICMP, the identifier and the type of the request are in the place of the client's ports (``Ends``)."""
    identifier, kind = (key.destination_port, key.source_port) if answers else (key.source_port, key.destination_port)
    icmp_type = frames.ECHO_REPLY[key.protocol] if answers and is_icmp(key.protocol, key.source) else kind >> 8
    return builders.ip_packet(
        key, eth_src=_NO_MAC, eth_dst=_NO_MAC, tcp_flags=TCP_ACK, sequence=sequence, acknowledged=acknowledged,
        identifier=identifier, icmp_type=icmp_type,
    )  # fmt: skip


def numbers_of(frame: bytes, packet: frames.IpPacket) -> Numbers | None:
    """Those after a client's TCP segment; None: it opens or ends a connection, or acknowledges nothing."""
    l4 = packet.l4
    flags, header = frame[l4 + 13], 4 * (frame[l4 + 12] >> 4)
    if flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) != TCP_ACK:
        return None
    sequence, acknowledged = _NUMBERS.unpack_from(frame, l4 + 4)
    return Numbers(sequence + packet.end - l4 - header & 0xFFFFFFFF, acknowledged)


# ------------------------------------------------------------------------------ their end

CT_FLUSH = 32  # NXT_CT_FLUSH
# Properties: a type, a length and a value.  The connection's first packet as it was before its translation, in a
# property of its own: source, destination, then ports, or ICMP's identifier, type and code; and the zone.
_ENDS = "B7x HH4x HH16s4x HH16s4x"
_WITH_PORTS = Struct(f"!{_ENDS} HHH2x HHH2x HHH2x")
_OF_ICMP = Struct(f"!{_ENDS} HHH2x HHB3x HHB3x HHH2x")
_ORIGINAL, _ZONE = 0, 2  # NXT_CT_*
_SOURCE, _DESTINATION, _SOURCE_PORT, _DESTINATION_PORT, _ICMP_ID, _ICMP_TYPE, _ICMP_CODE = range(7)  # NXT_CT_TUPLE_*
_REQUESTS = (8 << 8, 13 << 8, 15 << 8)  # type and code of ICMP's: echo, timestamp, information
_MAPPED = bytes(10) + b"\xff\xff"  # an IPv4 address in IPv6's, RFC 4291 §2.5.5.2


def can_end(message: EndConnection) -> bool:
    """Is there a message that ends just this connection, and does nothing else?"""
    protocol = message.protocol
    if protocol in (TCP, UDP):
        return bool(message.source_port and message.destination_port)
    if protocol == ICMP:
        return message.destination_port in _REQUESTS
    return protocol not in (ICMPV6, WHOLE)


def end(message: EndConnection) -> bytes:
    """What is in a CT_FLUSH, for one that can be ended."""
    assert can_end(message)
    zone, source, destination, protocol, first, second = message
    ends = (_SOURCE, 20, _as_ipv6(source), _DESTINATION, 20, _as_ipv6(destination))
    if protocol == ICMP:
        kind, code = divmod(second, 256)
        echo = (_ICMP_ID, 8, first, _ICMP_TYPE, 5, kind, _ICMP_CODE, 5, code)
        return _OF_ICMP.pack(protocol, _ORIGINAL, 80, *ends, *echo, _ZONE, 8, zone)
    ports = (_SOURCE_PORT, 8, first, _DESTINATION_PORT, 8, second)
    return _WITH_PORTS.pack(protocol, _ORIGINAL, 72, *ends, *ports, _ZONE, 8, zone)


def _as_ipv6(address: Address) -> bytes:
    return address if len(address) == 16 else _MAPPED + address
