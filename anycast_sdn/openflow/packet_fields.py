"""The fields of a packet as OpenFlow names them, for those who look up rules themselves.

Of incomplete packets the fields are those that Open vSwitch reports.  Ports are 0 in fragments, also in the first, and
where the transport header is cut short.  The protocol of later IPv6 fragments is that of the fragment header, 44.
Addresses are 0 where the IP header is malformed.
"""

from __future__ import annotations

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, FlowKey
from anycast_sdn.openflow.frames import L3, BadFrame, IpPacket, parse_ip
from anycast_sdn.openflow.rules import ETH_IPV4, ETH_IPV6, FRAGMENT, LATER_FRAGMENT, PORT_FIELDS, Value

ADDRESSES = {ETH_IPV4: ("ipv4_src", "ipv4_dst", 4), ETH_IPV6: ("ipv6_src", "ipv6_dst", 16)}
_TYPES = {(ETH_IPV4, ICMP): "icmpv4_type", (ETH_IPV6, ICMPV6): "icmpv6_type"}
_EXTENSIONS = frozenset((0, 43, 60))  # those with a length in units of 8 bytes
_FRAGMENT = 44


def of_frame(frame: bytes, in_port: int) -> dict[str, Value]:
    """Of an untagged frame."""
    kind = int.from_bytes(frame[12:14], "big")
    fields: dict[str, Value] = {
        "in_port": in_port, "eth_dst": frame[:6], "eth_src": frame[6:12], "eth_type": kind, "vlan_vid": 0, "ip_frag": 0
    }  # fmt: skip
    return fields | of_ip(frame, kind)[0] if kind in ADDRESSES else fields


def of_ip(frame: bytes, kind: int) -> tuple[dict[str, Value], IpPacket | None]:
    """→ (the fields of the IP packet in a frame, the packet, if it is complete up to its transport header).

    ``kind``: the frame's type.
    """
    try:
        packet = parse_ip(frame)
    except BadFrame as error:
        cut = str(error) in ("fragment", "transport header")
        nothing = FlowKey(*2 * (bytes(ADDRESSES[kind][2]),), 0, 0, 0)
        fields = _of_flow(kind, _flow_without_ports(frame, kind) if cut else nothing, 0)
        if str(error) == "fragment":
            fields["ip_frag"] = FRAGMENT | LATER_FRAGMENT
        return fields, None
    if packet.more_fragments:
        return _of_flow(kind, FlowKey(*packet.key[:3], 0, 0), 0) | {"ip_frag": FRAGMENT}, packet
    fields = _of_flow(kind, packet.key, packet.icmp_type)
    if packet.key.protocol == TCP:
        fields["tcp_flags"] = frame[packet.l4 + 13]
    return fields, packet


def _of_flow(kind: int, key: FlowKey, icmp_type: int) -> dict[str, Value]:
    source, destination, _ = ADDRESSES[kind]
    fields: dict[str, Value] = {source: key.source, destination: key.destination, "ip_proto": key.protocol}
    if key.protocol in PORT_FIELDS:
        fields.update(zip(PORT_FIELDS[key.protocol], key[3:], strict=True))
    elif (kind, key.protocol) in _TYPES:
        fields[_TYPES[kind, key.protocol]] = icmp_type
    return fields


def _flow_without_ports(frame: bytes, kind: int) -> FlowKey:
    """The flow of a packet without a complete transport header: it is cut short, or in another fragment."""
    if kind == ETH_IPV4:
        return FlowKey(frame[26:30], frame[30:34], frame[23], 0, 0)
    protocol, at = frame[20], L3 + 40
    while protocol in _EXTENSIONS:  # ``parse_ip`` has found them complete
        protocol, at = frame[at], at + 8 * (frame[at + 1] + 1)
    if protocol == _FRAGMENT and int.from_bytes(frame[at + 2 : at + 4], "big") >> 3 == 0:
        protocol = frame[at]
    return FlowKey(frame[22:38], frame[38:54], protocol, 0, 0)
