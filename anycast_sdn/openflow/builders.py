"""Frames that the controller sends in a switch's name, and the changes that a switch makes to a frame.

Three kinds, all pure functions that return complete Ethernet frames with correct checksums:

* what a gateway sends: ARP, neighbour discovery, echo replies, ICMP errors, and the RST of a TCP connection that has
  no other end;
* ``ip_packet``, any flow's packet, for the simulated network and for ``trace``;
* changes: ``rewrite`` and ``decrement_ttl`` do what set-field and dec-ttl do, ``translate_icmp_error``
  also changes the packet that an ICMP error quotes, which no OpenFlow switch can.

Addresses of another family than the frame's are a bug of the caller and raise ValueError; a malformed frame raises
``BadFrame``.
"""

from __future__ import annotations

import enum
from struct import Struct

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Address, FlowKey
from anycast_sdn.openflow.frames import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP_ERRORS,
    L3,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    SOLICITED_NODE,
    UNSPECIFIED,
    BadFrame,
    checksum,
    parse_icmp_error,
    parse_ip,
    transport_checksum,
)
from anycast_sdn.openflow.rules import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    Value,
)

BROADCAST = b"\xff" * 6

_DONT_FRAGMENT = 0x4000
_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_ARP = Struct("!HHBBH6s4s6s4s")
_ECHO = Struct("!BBHHH")
_ICMP = Struct("!BBHI")  # type, code, checksum, the word that most errors leave 0
_TCP = Struct("!HHIIBBHHH")
_PORTS = Struct("!HH")
_UDP = Struct("!HHHH")
_SCTP = Struct("!HHII")
_ND = Struct("!BBHI16s")
_LINK_LAYER = Struct("!BB6s")
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29
ROUTER_ANSWERS = _ROUTER | _SOLICITED | _OVERRIDE  # the flags of a router's answer to a neighbour solicitation


# ------------------------------------------------------------------------------ layers


def _ethernet(destination: bytes, source: bytes, payload: bytes, ethertype: int) -> bytes:
    return destination + source + ethertype.to_bytes(2, "big") + payload


def _ip_frame(
    eth_dst: bytes,
    eth_src: bytes,
    source: Address,
    destination: Address,
    protocol: int,
    segment: bytes,
    ttl: int = 64,
) -> bytes:
    """An IP packet without options or extension headers in its frame."""
    if len(source) == 16:
        header = _IPV6.pack(6 << 28, len(segment), protocol, ttl, source, destination)
        return _ethernet(eth_dst, eth_src, header + segment, ETH_IPV6)
    total = 20 + len(segment)
    # Identification 0 goes with "don't fragment" (RFC 6864 §4.1).
    header = _IPV4.pack(0x45, 0, total, 0, _DONT_FRAGMENT, ttl, protocol, 0, source, destination)
    return _ethernet(eth_dst, eth_src, _with_checksum(header, 10, checksum(header)) + segment, ETH_IPV4)


def _with_checksum(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]


def _icmp(source: Address, destination: Address, message: bytes) -> bytes:
    """An ICMP or ICMPv6 message whose checksum field is 0 → the same with its checksum."""
    protocol = _icmp_protocol(source)
    return _with_checksum(message, 2, transport_checksum(source, destination, protocol, message))


def _icmp_protocol(address: Address) -> int:
    return ICMPV6 if len(address) == 16 else ICMP


# ------------------------------------------------------------------------------ neighbours


def arp_request(mac: bytes, sender_ip: Address, target_ip: Address, destination: bytes = BROADCAST) -> bytes:
    """Asks who has ``target_ip``; as unicast it is a probe (RFC 1122 §2.3.2.1)."""
    body = _ARP.pack(1, ETH_IPV4, 6, 4, 1, mac, sender_ip, bytes(6), target_ip)
    return _ethernet(destination, mac, body, ETH_ARP)


def arp_reply(mac: bytes, sender_ip: Address, target_mac: bytes, target_ip: Address) -> bytes:
    """To the target: ``sender_ip`` is at ``mac``."""
    body = _ARP.pack(1, ETH_IPV4, 6, 4, 2, mac, sender_ip, target_mac, target_ip)
    return _ethernet(target_mac, mac, body, ETH_ARP)


def neighbour_solicitation(mac: bytes, source: Address, target: Address, destination_mac: bytes | None = None) -> bytes:
    """Asks who has ``target``; as unicast it is a probe (RFC 4861 §7.2.2, §7.3.3)."""
    message = _ND.pack(NEIGHBOUR_SOLICITATION, 0, 0, 0, target)
    if source != UNSPECIFIED:
        message += _LINK_LAYER.pack(1, 1, mac)
    if destination_mac is None:
        destination = SOLICITED_NODE + target[13:]
        destination_mac = b"\x33\x33" + destination[12:]  # RFC 2464 §7
    else:
        destination = target
    segment = _icmp(source, destination, message)
    return _ip_frame(destination_mac, mac, source, destination, ICMPV6, segment, ttl=255)


def neighbour_advertisement(
    mac: bytes,
    source: Address,
    target: Address,
    destination_mac: bytes,
    destination: Address,
    solicited: bool,
) -> bytes:
    """``target``, a router, is at ``mac``; overrides what the receiver has cached (RFC 4861 §7.2.4)."""
    flags = _ROUTER | _OVERRIDE | (_SOLICITED if solicited else 0)
    message = _ND.pack(NEIGHBOUR_ADVERTISEMENT, 0, 0, flags, target) + _LINK_LAYER.pack(2, 1, mac)
    segment = _icmp(source, destination, message)
    return _ip_frame(destination_mac, mac, source, destination, ICMPV6, segment, ttl=255)


# ------------------------------------------------------------------------------ ICMP


def echo_reply(frame: bytes, mac: bytes, ttl: int = 64) -> bytes:
    """The answer of the host that this echo request is addressed to (RFC 1122 §3.2.2.6, RFC 4443 §4.2).

    Raises BadFrame when it is no echo request, a fragment or damaged, or its source is not the address of one host.
    """
    packet = parse_ip(frame)
    source, destination, protocol, _, _ = packet.key
    if packet.icmp_type < 0 or packet.icmp_type != ECHO_REQUEST[protocol]:
        raise BadFrame("icmp type")
    if not names_one_host(source):
        raise BadFrame("ip source")
    request = frame[packet.l4 : packet.end]
    if transport_checksum(source, destination, protocol, request):
        raise BadFrame("checksum")
    reply = _icmp(destination, source, bytes((ECHO_REPLY[protocol], 0, 0, 0)) + request[4:])
    return _ip_frame(packet.eth_src, mac, destination, source, protocol, reply, ttl)


class Unreachable(enum.Enum):
    """Why a packet is not forwarded; (type, code) in ICMP and in ICMPv6."""

    ADMINISTRATIVELY_PROHIBITED = ((3, 13), (1, 1))
    NET = ((3, 0), (1, 0))  # no route leads there
    HOST = ((3, 1), (1, 3))  # the neighbour does not answer
    NO_SERVICE = ((3, 1), (1, 0))  # no server of this group, or none that can be reached
    PORT = ((3, 3), (1, 4))  # no such port here
    PROTOCOL = ((3, 2), (1, 1))  # not one that can be translated
    TOO_LARGE = ((3, 4), (2, 0))  # for the next link; also without "don't fragment", for no switch fragments
    TTL_EXPIRED = ((11, 0), (3, 0))


def unreachable(
    frame: bytes, mac: bytes, source: Address, reason: Unreachable, ttl: int = 64, mtu: int = 0
) -> bytes | None:
    """The ICMP error to the sender of ``frame``: its packet is not forwarded.  ``source``: an address of the switch.

    ``mtu``: of the next link, for ``TOO_LARGE``.

    None where no error may be sent (RFC 1122 §3.2.2, RFC 4443 §2.4e): about an ICMP error, a broadcast
    or multicast, a sender that is not one host, any but a first fragment, or a malformed packet.
    Directed broadcasts are not recognised here: the caller has to.
    """
    try:
        packet = parse_ip(frame)
    except BadFrame:
        return None
    sender, destination, protocol, _, _ = packet.key
    if packet.eth_dst[0] & 1 or not names_one_host(sender) or not names_one_host(destination):
        return None
    if _is_error(protocol, packet.icmp_type):
        return None
    v6 = len(sender) == 16
    kind, code = reason.value[v6]
    room = 1280 - 48 if v6 else 576 - 28  # RFC 4443 §2.4c, RFC 1812 §4.3.2.3
    message = _ICMP.pack(kind, code, 0, mtu) + frame[L3 : packet.end][:room]
    segment = _icmp(source, sender, message)
    return _ip_frame(packet.eth_src, mac, source, sender, _icmp_protocol(sender), segment, ttl)


def quoting_error(eth_dst: bytes, eth_src: bytes, source: Address, destination: Address, quoted: bytes) -> bytes:
    """An ICMP error from ``source`` that a host is unreachable; ``quoted``: the packet that it is about."""
    kind, code = Unreachable.HOST.value[len(source) == 16]
    segment = _icmp(source, destination, _ICMP.pack(kind, code, 0, 0) + quoted)
    return _ip_frame(eth_dst, eth_src, source, destination, _icmp_protocol(source), segment)


def _is_error(protocol: int, icmp_type: int) -> bool:
    if protocol == ICMP:
        return icmp_type in ICMP_ERRORS or icmp_type in (4, 5)  # source quench, redirect
    return protocol == ICMPV6 and (0 <= icmp_type < 128 or icmp_type == 137)  # redirect


def names_one_host(address: Address) -> bool:
    """False for unspecified, loopback, multicast, broadcast and class E addresses."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and address[:15] != bytes(15)


# ------------------------------------------------------------------------------ TCP


def tcp_reset(frame: bytes, mac: bytes, ttl: int = 64) -> bytes | None:
    """The RST to the sender of ``frame`` from the address that it was sent to, which has no such connection.

    Its sequence number is one that the sender has to accept, be the frame a SYN or a segment in the middle of a
    connection (RFC 9293 §3.10.7.1).

    None where there is nothing to reset: about a RST, a damaged or malformed segment, a fragment, any other protocol, a
    broadcast or multicast, or a sender that is not one host.
    """
    try:
        packet = parse_ip(frame)
    except BadFrame:
        return None
    source, destination, protocol, source_port, destination_port = packet.key
    if protocol != TCP or packet.more_fragments or packet.eth_dst[0] & 1:
        return None
    segment = frame[packet.l4 : packet.end]
    if not names_one_host(source) or not names_one_host(destination):
        return None
    _, _, sequence, acknowledged, offset, flags, _, _, _ = _TCP.unpack_from(segment)
    if flags & TCP_RST or transport_checksum(source, destination, TCP, segment):
        return None
    if flags & TCP_ACK:
        numbers, answer = (acknowledged, 0), TCP_RST
    else:
        length = len(segment) - (offset >> 4) * 4 + bool(flags & TCP_SYN) + bool(flags & TCP_FIN)
        numbers, answer = (0, (sequence + length) % (1 << 32)), TCP_RST | TCP_ACK
    reset = _TCP.pack(destination_port, source_port, *numbers, 5 << 4, answer, 0, 0, 0)
    reset = _with_checksum(reset, 16, transport_checksum(destination, source, TCP, reset))
    return _ip_frame(packet.eth_src, mac, destination, source, TCP, reset, ttl)


def tcp_reset_on(frame: bytes, mac: bytes, key: FlowKey, ttl: int = 64) -> bytes | None:
    """The RST to the receiver of ``frame``, a packet of a connection, in its place; ``key``: the receiver knows it so.

    It has the packet's sequence number, which the receiver expects if it has received all that came before.
    """
    try:
        packet = parse_ip(frame)
    except BadFrame:
        return None
    _, _, sequence, acknowledged, _, flags, _, _, _ = _TCP.unpack_from(frame, packet.l4)
    if flags & TCP_RST:
        return None
    flags = TCP_RST | TCP_ACK
    numbers = {"sequence": sequence, "acknowledged": acknowledged}
    return ip_packet(key, eth_src=mac, eth_dst=mac, ttl=ttl, tcp_flags=flags, **numbers)


# ------------------------------------------------------------------------------ any flow's packet


def ip_packet(
    key: FlowKey,
    *,
    eth_src: bytes,
    eth_dst: bytes,
    ttl: int = 64,
    payload: bytes = b"",
    icmp_type: int | None = None,
    tcp_flags: int = TCP_SYN,
    identifier: int = 1,
    sequence: int = 1,
    acknowledged: int = 0,
) -> bytes:
    """A packet of this flow: TCP, UDP, SCTP, ICMP (an echo request by default) or any other protocol."""
    source, destination, protocol, *ports = key
    if protocol == TCP:
        segment = _TCP.pack(*ports, sequence, acknowledged, 5 << 4, tcp_flags, 0xFFFF, 0, 0) + payload
        segment = _with_checksum(segment, 16, transport_checksum(source, destination, TCP, segment))
    elif protocol == UDP:
        segment = _UDP.pack(*ports, 8 + len(payload), 0) + payload
        value = transport_checksum(source, destination, UDP, segment) or 0xFFFF  # RFC 768: 0 means "none"
        segment = _with_checksum(segment, 6, value)
    elif protocol == SCTP:
        segment = _SCTP.pack(*ports, 0, 0) + payload
        segment = segment[:8] + _crc32c(segment).to_bytes(4, "little") + payload
    elif protocol == _icmp_protocol(source):
        kind = icmp_type if icmp_type is not None else ECHO_REQUEST[protocol]
        segment = _icmp(source, destination, _ECHO.pack(kind, 0, 0, identifier, sequence) + payload)
    else:
        segment = payload
    return _ip_frame(eth_dst, eth_src, source, destination, protocol, segment, ttl)


def _crc32c(data: bytes) -> int:
    """SCTP's checksum (RFC 9260 appendix A), bit by bit: no hot path builds SCTP."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# ------------------------------------------------------------------------------ changes

_WIDTH = {"eth_src": 6, "eth_dst": 6, "ipv4_src": 4, "ipv4_dst": 4, "ipv6_src": 16, "ipv6_dst": 16}
_CHECKSUM_FIELD = {TCP: 16, UDP: 6, ICMPV6: 2}  # those that cover the addresses; offset in the segment


def rewrite(frame: bytes, field_name: str, value: Value) -> bytes:
    """What set-field does to a frame: a MAC, or an IP address and the checksums that cover it."""
    if not isinstance(value, bytes) or len(value) != _WIDTH.get(field_name):
        raise ValueError(f"cannot set {field_name} to {value!r}")
    if field_name == "eth_dst":
        return value + frame[6:]
    if field_name == "eth_src":
        return frame[:6] + value + frame[12:]
    packet = parse_ip(frame)
    source, destination, protocol, _, _ = packet.key
    if field_name.endswith("src"):
        source = value
    else:
        destination = value
    changed = bytearray(frame)
    _readdress(changed, L3, packet.l4, packet.end, protocol, source, destination)
    return bytes(changed)


def set_ports(frame: bytes, source: int, destination: int) -> bytes:
    """The frame of TCP or UDP with these ports."""
    packet = parse_ip(frame)
    changed = bytearray(frame)
    _renumber(changed, packet.l4, packet.end, packet.key.protocol, (source, destination))
    return bytes(changed)


def decrement_ttl(frame: bytes) -> bytes | None:
    """The frame with its TTL or hop limit one less; None when that would be 0."""
    packet = parse_ip(frame)
    if packet.ttl <= 1:
        return None
    changed = bytearray(frame)
    if len(packet.key.source) == 16:
        changed[L3 + 7] -= 1
    else:
        changed[L3 + 8] -= 1
        _adjust(changed, L3 + 10, frame[L3 + 8 : L3 + 10], bytes(changed[L3 + 8 : L3 + 10]))
    return bytes(changed)


def translate_icmp_error(
    frame: bytes,
    *,
    source: Address,
    destination: Address,
    quoted_source: Address,
    quoted_destination: Address,
    quoted_ports: tuple[int, int] | None = None,
) -> bytes:
    """An ICMP error as the other side of the translation must see it (RFC 5508 REQ-4, REQ-5).

    Both the packet's addresses and those of the packet it quotes change; all checksums follow, the quoted
    transport checksum where it is part of the quote.  ``quoted_ports``: those that a packet of TCP or UDP gets, if
    others.  Raises BadFrame as ``parse_icmp_error`` does.
    """
    error = parse_icmp_error(frame)
    protocol = _icmp_protocol(error.source)
    changed = bytearray(frame)
    quoted = error.quoted_l3, error.quoted_l4, error.quoted_end, error.quoted.protocol
    _readdress(changed, *quoted, quoted_source, quoted_destination)
    if quoted_ports:
        _renumber(changed, error.quoted_l4, error.quoted_end, error.quoted.protocol, quoted_ports)
    _readdress(changed, L3, error.l4, error.end, protocol, source, destination)
    changed[error.l4 + 2 : error.l4 + 4] = bytes(2)
    changed[error.l4 : error.end] = _icmp(source, destination, bytes(changed[error.l4 : error.end]))
    return bytes(changed)


def _readdress(
    frame: bytearray, l3: int, l4: int, end: int, protocol: int, source: Address, destination: Address
) -> None:
    """Changes both addresses of the IP header at ``l3`` and the checksums that cover them, up to ``end``."""
    width = 16 if frame[l3] >> 4 == 6 else 4
    if (len(source), len(destination)) != (width, width):
        raise ValueError("these addresses are not of the packet's family")
    at = l3 + 8 if width == 16 else l3 + 12
    old, new = bytes(frame[at : at + 2 * width]), source + destination
    frame[at : at + 2 * width] = new
    if width == 4:
        _adjust(frame, l3 + 10, old, new)
    offset = _CHECKSUM_FIELD.get(protocol)
    if offset is None or l4 + offset + 2 > end or (protocol == ICMPV6 and width == 4):
        return
    _adjust_segment(frame, l4 + offset, protocol, old, new)


def _renumber(frame: bytearray, l4: int, end: int, protocol: int, ports: tuple[int, int]) -> None:
    """Changes both ports of the segment at ``l4`` and its checksum, if that is before ``end``."""
    old, new = bytes(frame[l4 : l4 + 4]), _PORTS.pack(*ports)
    frame[l4 : l4 + 4] = new
    field = l4 + _CHECKSUM_FIELD[protocol]
    if field + 2 <= end:
        _adjust_segment(frame, field, protocol, old, new)


def _adjust_segment(frame: bytearray, field: int, protocol: int, old: bytes, new: bytes) -> None:
    """Corrects the checksum of a segment, at ``field``, for bytes that it covers."""
    if protocol != UDP:
        _adjust(frame, field, old, new)
    elif frame[field : field + 2] != b"\0\0":  # RFC 768: the sender computed none
        _adjust(frame, field, old, new)
        if frame[field : field + 2] == b"\0\0":
            frame[field : field + 2] = b"\xff\xff"


def _adjust(frame: bytearray, field: int, old: bytes, new: bytes) -> None:
    """Corrects the checksum at ``field`` for covered bytes that were ``old`` and are ``new`` (RFC 1624)."""
    value = int.from_bytes(frame[field : field + 2], "big")
    value = (value + int.from_bytes(old, "big") - int.from_bytes(new, "big")) % 0xFFFF
    frame[field : field + 2] = value.to_bytes(2, "big")
