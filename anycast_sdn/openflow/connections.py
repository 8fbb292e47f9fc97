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

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, WHOLE, Address
from anycast_sdn.core.tracked_address import PEER
from anycast_sdn.openflow.pipeline import Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    Action,
    BeginConnection,
    EndConnection,
    Nat,
    PacketOut,
    SetField,
    Track,
)

_LABEL_BYTES = 16


def with_first_packet(message: BeginConnection) -> PacketOut:
    """Its packet as the tracker is to see it, with a connection committed for it; ANY is remembered in a register."""
    _, inside, anycast, translated, server, zone = message
    v6 = len(anycast) == 16
    family = "ipv6" if v6 else "ipv4"
    actions: tuple[Action, ...] = (
        SetField("xxreg1", anycast) if v6 else SetField("reg4", int.from_bytes(anycast, "big")),
        SetField(f"{family}_src", inside),
        SetField(f"{family}_dst", PEER[v6]),
        Track(
            zone,
            Table.TRACKED_OUT,
            commit=True,
            nat=Nat(True, translated, translated),
            label=None if server is None else server.rjust(_LABEL_BYTES, b"\0"),
        ),
    )
    return PacketOut(message.frame, OFPP_CONTROLLER, actions)


class Beginnings:
    """Packs them from templates: one for each zone, family, and whether there is a server.

    ``serialise``: the packet-out as bytes, with transaction id 0.
    """

    def __init__(self, serialise: Callable[[PacketOut], bytes]) -> None:
        self._serialise = serialise
        self._known: dict[tuple[int, int, bool], tuple[int, list[bytes]]] = {}

    def pack(self, message: BeginConnection) -> bytes:
        frame, inside, anycast, translated, server, zone = message
        shape = (zone, len(anycast), server is None)
        template = self._known.get(shape)
        if template is None:
            template = self._known[shape] = self._template(message)
        length, (version, to_anycast, to_inside, to_translated, to_server, rest) = template
        return b"".join((
            version, (length + len(frame)).to_bytes(2, "big"), to_anycast, anycast, to_inside, inside, to_translated,
            translated, to_server, server or b"", rest, frame,
        ))  # fmt: skip

    def _template(self, message: BeginConnection) -> tuple[int, list[bytes]]:
        """(its length without a frame, the bytes between length, ANY, H', PR1X and ASg)."""
        size = len(message.anycast)
        inside, anycast, translated, server = (bytes([0xC1 + 7 * end] * size) for end in range(4))
        sample = BeginConnection(
            b"", inside, anycast, translated, None if message.server is None else server, message.zone
        )
        rest = whole = self._serialise(with_first_packet(sample))
        parts = [rest[:2]]
        rest = rest[4:]
        for marker in (anycast, inside, translated):
            before, rest = rest.split(marker)
            parts.append(before)
        parts += rest.split(server) if sample.server else (b"", rest)
        return len(whole), parts


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
