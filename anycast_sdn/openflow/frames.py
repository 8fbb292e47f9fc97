"""Bounded header parsing of Ethernet frames: bytes from a host → a flow, ARP, ND or an ICMP error.

Frames come from hosts, so nothing in them is trusted: each read is preceded by a bounds check, each
loop ends after a fixed number of rounds or moves forward through the frame, and a malformed frame
raises ``BadFrame`` with one of the few ``REASONS``, by which the controller counts.

The fields of a flow are exactly those that Open vSwitch extracts, because a packet that does not match the rule
that it has caused would come back to the controller again and again:

* the protocol of an IPv6 packet is the one after its extension headers, AH included (but not so in IPv4);
* for a cut or impossible transport header Open vSwitch extracts no ports: such packets are refused here;
* what follows the IP packet in the frame (Ethernet padding) does not count.

One difference concerns callers: a first fragment (``more_fragments``) parses with its ports, but in its default
fragment mode Open vSwitch matches it as if both were 0.

ARP, ND and LLDP frames may carry one priority tag (VID 0), which ``untagged`` removes.  From IP packets the switch
has removed it.

Not here: other VLAN tags, reassembly, IPv4 header checksums (the next hop's duty, RFC 1812 §5.2.2) and the
frames that the controller sends (``builders``).
"""

from __future__ import annotations

from struct import Struct
from typing import Literal, NamedTuple, TypeAlias, get_args

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Address, AnycastError, FlowKey
from anycast_sdn.openflow.rules import ETH_ARP, ETH_IPV4, ETH_IPV6, ETH_QINQ, ETH_VLAN

Reason: TypeAlias = Literal[
    "truncated",  # ends before what its length fields announce
    "ethertype",  # not the protocol asked for
    "tagged",  # a tag of a VLAN, or two tags
    "source mac",  # a group address cannot send (IEEE 802.3 §3.2.3)
    "ip version",
    "ip length",  # a length field smaller than the headers
    "fragment",  # not the first one: carries no ports
    "extension headers",  # more than MAX_EXTENSION_HEADERS
    "transport header",  # cut short, or an impossible TCP data offset
    "ip source",  # not the address of one host, so no answer is possible
    "checksum",
    "arp",  # not a request or reply for IPv4 over Ethernet
    "neighbour discovery",  # not valid by RFC 4861 §7.1
    "icmp type",  # not the ICMP message asked for
    "lldp",  # not a frame of this controller
    "lldp digest",  # forged
    "lldp replayed",
    "lldp of its own port",
]
REASONS: frozenset[str] = frozenset(get_args(Reason))

MAX_EXTENSION_HEADERS = 8
ICMP_ERRORS = frozenset((3, 11, 12))  # RFC 792: the errors that are translated
ICMPV6_ERRORS = frozenset((1, 2, 3, 4))  # RFC 4443
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
ECHO_REQUEST, ECHO_REPLY = {ICMP: 8, ICMPV6: 128}, {ICMP: 0, ICMPV6: 129}  # by protocol (RFC 792, RFC 4443)
L3 = 14  # where the IP header of an untagged frame starts

_ETHERNET = Struct("!6s6sH")
_IPV4 = Struct("!BxHxxHBBxx4s4s")
_IPV6 = Struct("!IHBB16s16s")
_ARP = Struct("!HHBBH6s4s6s4s")
_ND = Struct("!BBHB3x16s")
_PORTS = Struct("!HH")
_PSEUDO_HEADER = Struct("!IxxxB")

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION_OPTIONS = 0, 43, 44, 51, 60
_EXTENSION_HEADERS = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION_OPTIONS))
_PORTED = {TCP: 20, UDP: 8, SCTP: 12}  # protocols with ports that OpenFlow 1.3 can match; header length
_ARP_ETHERNET_IPV4 = (1, ETH_IPV4, 6, 4)
UNSPECIFIED = bytes(16)
SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # RFC 4291 §2.7.1, and 24 bits of the target


class BadFrame(AnycastError):
    """A malformed or unexpected frame; its text is one of ``REASONS``."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)


class IpPacket(NamedTuple):
    """The fields of an IP packet that the controller uses; offsets are in bytes from the frame's start."""

    eth_dst: bytes
    eth_src: bytes
    key: FlowKey
    ttl: int  # or hop limit
    icmp_type: int  # -1: neither ICMP over IPv4 nor ICMPv6 over IPv6
    l3: int  # the IP header
    l4: int  # the header of the protocol in ``key``
    end: int  # first byte after the IP packet
    more_fragments: bool  # the first fragment of several

    @property
    def is_icmp_error(self) -> bool:
        """One that is translated."""
        return self.icmp_type in (ICMP_ERRORS if self.key.protocol == ICMP else ICMPV6_ERRORS)


class Arp(NamedTuple):
    eth_src: bytes
    op: int  # 1 request, 2 reply
    sender_mac: bytes
    sender_ip: Address
    target_mac: bytes
    target_ip: Address


class Nd(NamedTuple):
    """A neighbour solicitation or advertisement."""

    eth_src: bytes
    advertisement: bool
    source: Address
    destination: Address
    target: Address
    link_layer: bytes | None  # the source (solicitation) or target (advertisement) link-layer address option
    solicited: bool
    override: bool


class IcmpError(NamedTuple):
    """An ICMP or ICMPv6 error and the packet that it is about; offsets as in ``IpPacket``."""

    eth_dst: bytes
    eth_src: bytes
    source: Address
    destination: Address
    type: int
    code: int
    quoted: FlowKey  # of the packet as it was sent
    l4: int
    end: int
    quoted_l3: int
    quoted_l4: int
    quoted_end: int  # errors quote only the beginning of a packet


_IPV6_TYPE = ETH_IPV6.to_bytes(2, "big")
_TAGS = frozenset((ETH_VLAN.to_bytes(2, "big"), ETH_QINQ.to_bytes(2, "big")))


def untagged(frame: bytes) -> bytes:
    """The frame without its priority tag, if it has one.  Raises BadFrame: "tagged", any other tag."""
    if frame[12:14] not in _TAGS:
        return frame
    if len(frame) < L3 + 4:
        raise BadFrame("truncated")
    if frame[14] & 0x0F or frame[15] or frame[16:18] in _TAGS:
        raise BadFrame("tagged")
    return frame[:12] + frame[16:]


# ------------------------------------------------------------------------------ checksums


def checksum(data: bytes) -> int:
    """The internet checksum of ``data`` (RFC 1071); 0 when ``data`` holds its own, correct checksum."""
    total = int.from_bytes(data, "big") << (8 * (len(data) & 1))
    # 2**16 is 1 modulo 0xFFFF, so this remainder is the sum of the 16-bit words with its carries added back.
    return -total % 0xFFFF if total else 0xFFFF


def transport_checksum(source: Address, destination: Address, protocol: int, segment: bytes) -> int:
    """The checksum of a segment and its pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1), which ICMP lacks."""
    if protocol == ICMP:
        return checksum(segment)
    # Both families' pseudo-headers hold the same words in another order, which does not change the sum.
    return checksum(source + destination + _PSEUDO_HEADER.pack(len(segment), protocol) + segment)


# ------------------------------------------------------------------------------ IP


def source_of(frame: bytes) -> Address:
    """The source address of an IP packet, without any check."""
    return frame[L3 + 8 : L3 + 24] if frame[12:14] == _IPV6_TYPE else frame[L3 + 12 : L3 + 16]


def destination_of(frame: bytes) -> Address:
    """The destination address of an IP packet, without any check."""
    return frame[L3 + 24 : L3 + 40] if frame[12:14] == _IPV6_TYPE else frame[L3 + 16 : L3 + 20]


def packet_of(fragment: bytes) -> bytes:
    """What the fragments of one packet have in common, and those of others do not (RFC 791 §3.2, RFC 8200 §4.5).

    Without any check, of an untagged frame.  b"": it is no fragment of IPv6.
    """
    if fragment[12:14] != _IPV6_TYPE:
        return fragment[L3 + 4 : L3 + 6] + fragment[L3 + 9 : L3 + 10] + fragment[L3 + 12 : L3 + 20]
    kind, at = fragment[L3 + 6], L3 + 40
    while kind in _EXTENSION_HEADERS and at + 8 <= len(fragment):
        if kind == _FRAGMENT:
            return fragment[at + 4 : at + 8] + fragment[L3 + 8 : L3 + 40]
        kind, at = fragment[at], at + (fragment[at + 1] + 1) * 8
    return b""


# source, destination, protocol, TTL, start of the upper layer, announced end of packet, more fragments
_Header: TypeAlias = tuple[Address, Address, int, int, int, int, bool]


def parse_ip(frame: bytes) -> IpPacket:
    """An untagged Ethernet frame with an IPv4 or IPv6 packet.  Raises BadFrame.

    Ports are 0 in protocols other than TCP, UDP and SCTP.
    """
    size = len(frame)
    if size < L3:
        raise BadFrame("truncated")
    eth_dst, eth_src, ethertype = _ETHERNET.unpack_from(frame)
    if eth_src[0] & 1:
        raise BadFrame("source mac")
    if ethertype == ETH_IPV4:
        source, destination, protocol, ttl, l4, end, more = _ipv4_header(frame, L3, size)
        icmp = ICMP
    elif ethertype == ETH_IPV6:
        source, destination, protocol, ttl, l4, end, more = _ipv6_header(frame, L3, size)
        icmp = ICMPV6
    else:
        raise BadFrame("ethertype")
    if end > size:
        raise BadFrame("truncated")
    source_port = destination_port = 0
    icmp_type = -1
    if protocol in _PORTED:
        source_port, destination_port = _ports(frame, protocol, l4, end)
    elif protocol == icmp:
        if l4 + 8 > end:
            raise BadFrame("transport header")
        icmp_type = frame[l4]
    key = FlowKey(source, destination, protocol, source_port, destination_port)
    return IpPacket(eth_dst, eth_src, key, ttl, icmp_type, L3, l4, end, more)


def _ports(frame: bytes, protocol: int, l4: int, end: int) -> tuple[int, int]:
    """The ports in a whole header of TCP, UDP or SCTP."""
    if l4 + _PORTED[protocol] > end:
        raise BadFrame("transport header")
    if protocol == TCP and not 20 <= (frame[l4 + 12] >> 4) * 4 <= end - l4:
        raise BadFrame("transport header")
    ports: tuple[int, int] = _PORTS.unpack_from(frame, l4)
    return ports


def _ipv4_header(frame: bytes, start: int, limit: int) -> _Header:
    """The header at ``start``; nothing at or after ``limit`` is read."""
    if start + 20 > limit:
        raise BadFrame("truncated")
    version, total, fragment, ttl, protocol, source, destination = _IPV4.unpack_from(frame, start)
    if version >> 4 != 4:
        raise BadFrame("ip version")
    length = (version & 15) * 4
    if not 20 <= length <= total:
        raise BadFrame("ip length")
    if start + length > limit:
        raise BadFrame("truncated")
    if fragment & 0x1FFF:
        raise BadFrame("fragment")
    return source, destination, protocol, ttl, start + length, start + total, fragment & 0x2000 != 0


def _ipv6_header(frame: bytes, start: int, limit: int) -> _Header:
    """The header at ``start`` with its extension headers; nothing at or after ``limit`` is read."""
    l4 = start + 40
    if l4 > limit:
        raise BadFrame("truncated")
    version, payload, protocol, hop_limit, source, destination = _IPV6.unpack_from(frame, start)
    if version >> 28 != 6:
        raise BadFrame("ip version")
    end = l4 + payload
    more = False
    if protocol in _EXTENSION_HEADERS:
        protocol, l4, more = _skip_extension_headers(frame, protocol, l4, end, limit)
    return source, destination, protocol, hop_limit, l4, end, more


def _skip_extension_headers(frame: bytes, kind: int, at: int, end: int, limit: int) -> tuple[int, int, bool]:
    """An extension header's kind and offset → (the protocol behind all of them, its offset, more fragments)."""
    more = False
    for _ in range(MAX_EXTENSION_HEADERS):
        if at + 8 > end:
            raise BadFrame("ip length")
        if at + 8 > limit:
            raise BadFrame("truncated")
        length = (frame[at + 1] + 1) * 8
        if kind == _FRAGMENT:
            offset = int.from_bytes(frame[at + 2 : at + 4], "big")
            if offset >> 3:
                raise BadFrame("fragment")
            more = more or offset & 1 != 0
            length = 8
        elif kind == _AH:
            length = (frame[at + 1] + 2) * 4  # RFC 4302 §2.2
        kind = frame[at]
        at += length
        if kind not in _EXTENSION_HEADERS:
            if at > end:
                raise BadFrame("ip length")
            if at > limit:
                raise BadFrame("truncated")
            return kind, at, more
    raise BadFrame("extension headers")


# ------------------------------------------------------------------------------ neighbours


def parse_arp(frame: bytes) -> Arp:
    """An ARP request or reply for IPv4 over Ethernet (RFC 826).  Raises BadFrame."""
    frame = untagged(frame)
    if len(frame) < L3 + _ARP.size:
        raise BadFrame("truncated")
    _, eth_src, ethertype = _ETHERNET.unpack_from(frame)
    if ethertype != ETH_ARP:
        raise BadFrame("ethertype")
    *kind, op, sender_mac, sender_ip, target_mac, target_ip = _ARP.unpack_from(frame, L3)
    if tuple(kind) != _ARP_ETHERNET_IPV4 or op not in (1, 2):
        raise BadFrame("arp")
    if (eth_src[0] | sender_mac[0]) & 1:  # RFC 1812 §3.3.2: no host has a group address
        raise BadFrame("source mac")
    return Arp(eth_src, op, sender_mac, sender_ip, target_mac, target_ip)


def parse_nd(frame: bytes) -> Nd:
    """A neighbour solicitation or advertisement that is valid by RFC 4861 §7.1.1–2.  Raises BadFrame.

    Stricter than that in one way: no extension headers at all (RFC 6980 forbids the fragment header).
    """
    frame = untagged(frame)
    packet = parse_ip(frame)
    source, destination, protocol, _, _ = packet.key
    if protocol != ICMPV6 or packet.icmp_type not in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
        raise BadFrame("icmp type")
    if packet.l4 != L3 + 40 or packet.ttl != 255 or packet.l4 + _ND.size > packet.end:
        raise BadFrame("neighbour discovery")
    kind, code, _, flags, target = _ND.unpack_from(frame, packet.l4)
    if code or target[0] == 0xFF or source[0] == 0xFF:
        raise BadFrame("neighbour discovery")
    if transport_checksum(source, destination, ICMPV6, frame[packet.l4 : packet.end]):
        raise BadFrame("checksum")
    advertisement = kind == NEIGHBOUR_ADVERTISEMENT
    link_layer = _link_layer_option(frame, 2 if advertisement else 1, packet.l4 + _ND.size, packet.end)
    if advertisement:
        valid = destination[0] != 0xFF or not flags & 0x40
    else:
        probe = source == UNSPECIFIED  # duplicate address detection, RFC 4862 §5.4
        valid = not probe or (destination.startswith(SOLICITED_NODE) and link_layer is None)
    if not valid:
        raise BadFrame("neighbour discovery")
    solicited, override = advertisement and flags & 0x40 != 0, advertisement and flags & 0x20 != 0
    return Nd(packet.eth_src, advertisement, source, destination, target, link_layer, solicited, override)


def _link_layer_option(frame: bytes, wanted: int, at: int, end: int) -> bytes | None:
    """The Ethernet address in the first option of the wanted type, if there is one (RFC 4861 §4.6)."""
    found = None
    while at < end:
        length = 8 * frame[at + 1] if at + 2 <= end else 0
        if length == 0 or at + length > end:
            raise BadFrame("neighbour discovery")
        if frame[at] == wanted and found is None:
            if length != 8:
                raise BadFrame("neighbour discovery")
            found = frame[at + 2 : at + 8]
            if found[0] & 1:
                raise BadFrame("source mac")
        at += length
    return found


# ------------------------------------------------------------------------------ ICMP errors


def parse_icmp_error(frame: bytes) -> IcmpError:
    """An error that may belong to a flow: ICMP types 3, 11, 12, ICMPv6 types 1–4.  Raises BadFrame.

    The checksums of the message and of a quoted IPv4 header must be correct (RFC 5508 REQ-3); the quoted transport
    checksum is not verified.
    """
    packet = parse_ip(frame)
    source, destination, protocol, _, _ = packet.key
    l4, end = packet.l4, packet.end
    if packet.icmp_type not in (ICMP_ERRORS if protocol == ICMP else ICMPV6_ERRORS):
        raise BadFrame("icmp type")
    if transport_checksum(source, destination, protocol, frame[l4:end]):
        raise BadFrame("checksum")
    l3 = l4 + 8
    read_header = _ipv4_header if protocol == ICMP else _ipv6_header
    q_source, q_destination, q_protocol, _, q_l4, q_end, _ = read_header(frame, l3, end)
    if protocol == ICMP and checksum(frame[l3:q_l4]):
        raise BadFrame("checksum")
    q_end = min(q_end, end)
    ports = (0, 0)
    if q_protocol in _PORTED:
        if q_l4 + 8 > q_end:  # RFC 792: at least that much is quoted
            raise BadFrame("truncated")
        ports = _PORTS.unpack_from(frame, q_l4)
    quoted = FlowKey(q_source, q_destination, q_protocol, *ports)
    addresses = packet.eth_dst, packet.eth_src, source, destination
    return IcmpError(*addresses, frame[l4], frame[l4 + 1], quoted, l4, end, l3, q_l4, q_end)
