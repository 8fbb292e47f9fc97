"""Fields of ARP and of neighbour discovery, as a switch sees and sets them in a frame without a tag.

A switch sets what it is told: whether that makes sense is a question to the rule.
"""

from __future__ import annotations

from anycast_sdn.core.model import ICMPV6
from anycast_sdn.openflow import oxm
from anycast_sdn.openflow.frames import (
    L3,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    IpPacket,
    transport_checksum,
)
from anycast_sdn.openflow.rules import Value

_ARP = {"arp_op": 6, "arp_sha": 8, "arp_spa": 14, "arp_tha": 18, "arp_tpa": 24}  # where they stand in the packet, …
_ARP_BYTES = 28
_ND = {"icmpv6_type": 0, "nd_reserved": 4, "ipv6_nd_target": 8}  # … and in the ICMPv6 message
_OPTION = {"nd_options_type": 24, "ipv6_nd_tll": 26}  # likewise, in the first option, if there is one
_OPTION_BYTES = 8
_DISCOVERY = (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT)
ARP_FIELDS, ND_FIELDS = frozenset(_ARP), frozenset((*_ND, *_OPTION))


def arp_fields(frame: bytes) -> dict[str, Value]:
    """All are 0 if it is cut short."""
    packet = frame[L3:] if len(frame) >= L3 + _ARP_BYTES else bytes(_ARP_BYTES)
    return {name: _read(packet, at, name) for name, at in _ARP.items()}


def nd_fields(frame: bytes, packet: IpPacket) -> dict[str, Value]:
    """None if it is no solicitation or advertisement, or is cut short."""
    message = frame[packet.l4 : packet.end]
    if packet.icmp_type not in _DISCOVERY or packet.key.protocol != ICMPV6 or len(message) < 24:
        return {}
    return {"ipv6_nd_target": _read(message, _ND["ipv6_nd_target"], "ipv6_nd_target")}


def _read(data: bytes, at: int, name: str) -> Value:
    return oxm.value_of(name, data[at : at + oxm.NUMBERS[name].width])


def with_arp_field(frame: bytes, name: str, value: Value) -> bytes:
    return _written(frame, L3 + _ARP[name], name, value)


def with_nd_field(frame: bytes, packet: IpPacket, name: str, value: Value) -> bytes:
    """``packet``: as it was read from the frame.  What has no option stays without one."""
    if name in _OPTION and packet.l4 + 24 + _OPTION_BYTES > packet.end:
        return frame
    changed = _written(frame, packet.l4 + (_ND | _OPTION)[name], name, value)
    message = bytearray(changed[packet.l4 : packet.end])
    message[2:4] = bytes(2)
    message[2:4] = transport_checksum(*packet.key[:3], bytes(message)).to_bytes(2, "big")
    return changed[: packet.l4] + bytes(message) + changed[packet.end :]


def _written(frame: bytes, at: int, name: str, value: Value) -> bytes:
    width = oxm.NUMBERS[name].width
    return frame[:at] + oxm.packed(value, width) + frame[at + width :]
