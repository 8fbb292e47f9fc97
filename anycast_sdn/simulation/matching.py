"""A packet's fields as OpenFlow names them, and an installed rule.

``Packet`` keeps a frame and its fields consistent while actions change both.

Of incomplete packets the fields are those that Open vSwitch reports.  Ports are 0 in fragments, also in the first, and
where the transport header is cut short.  The protocol of later IPv6 fragments is that of the fragment header, 44.
Addresses are 0 where the IP header is malformed.  The type of a tagged frame is the one behind all its tags (OF 1.3.5,
table 12); by default Open vSwitch skips only one.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from anycast_sdn.core.model import ICMPV6, TCP, UDP, FlowKey
from anycast_sdn.openflow import builders, packet_fields
from anycast_sdn.openflow.frames import L3, checksum, parse_ip
from anycast_sdn.openflow.rules import (
    CT_ESTABLISHED,
    CT_NEW,
    CT_REPLY,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_QINQ,
    ETH_VLAN,
    FRAGMENT,
    LATER_FRAGMENT,
    PORT_FIELDS,
    VLAN_BITS,
    VLAN_PRESENT,
    FlowRule,
    Move,
    Value,
)
from anycast_sdn.openflow.tracked_frame import TrackedFrame
from anycast_sdn.simulation import neighbour_packets, tracked_packets
from anycast_sdn.simulation.reassembly import part_of
from anycast_sdn.simulation.tracker import NO_LABEL, NOTHING, Found, Tracked

# ------------------------------------------------------------------------------ packets

_NO_CHECKSUM = b"\xde\xad"
_OFFSETS = {"ipv4_src": L3 + 12, "ipv4_dst": L3 + 16, "ipv6_src": L3 + 8, "ipv6_dst": L3 + 24}
_TTL_AT = {ETH_IPV4: L3 + 8, ETH_IPV6: L3 + 7}
_CHECKSUMS = {TCP: 16, UDP: 6}  # where they stand in a transport header
_FIN_OR_RST = 0x05
_TAGS = frozenset((ETH_VLAN, ETH_QINQ))
_VID = (1 << VLAN_BITS) - 1


_WIDE = 4  # registers in one of 128 bits
_REGISTERS = [f"reg{number}" for number in range(16)]
_IN_WIDE = {f"xxreg{number}": _REGISTERS[_WIDE * number : _WIDE * (number + 1)] for number in range(4)}
_WIDE_OF = {name: wide for wide, names in _IN_WIDE.items() for name in names}
_NOT_TRACKED: dict[str, Value] = {
    "ct_state": 0,
    "ct_zone": 0,
    "ct_mark": 0,
    "ct_label": NO_LABEL,
    "ct_nw_src": bytes(4),
    "ct_ipv6_src": bytes(16),
    "ct_tp_src": 0,
}
_FIRST_SOURCES = frozenset(("ct_nw_src", "ct_ipv6_src"))
_HAS_FIRST_SOURCE = CT_NEW | CT_ESTABLISHED | CT_REPLY  # with none of these states, Open vSwitch does not read them
# What a packet has besides what is in its frame, when it comes in.
_BESIDES = {"pkt_mark": 0, **dict.fromkeys(_REGISTERS, 0), **dict.fromkeys(_IN_WIDE, bytes(16)), **_NOT_TRACKED}


class Packet:
    """A frame on its way through the tables, and its fields as OpenFlow names them.

    ``xxreg0`` to ``xxreg3`` are kept equal to the registers of 32 bits that each of them consists of.
    """

    __slots__ = ("_tags", "_untagged", "_whole", "fields", "found", "whole")

    def __init__(self, frame: bytes, in_port: int) -> None:
        behind = 12
        while int.from_bytes(frame[behind : behind + 2], "big") in _TAGS and len(frame) >= behind + 6:
            behind += 4
        self._tags = frame[12:behind]
        self._untagged = frame[:12] + frame[behind:]
        self._whole = True  # its transport header is complete
        self.found = NOTHING  # by the connection tracker, the last time
        self.whole: bytes | None = None  # the packet that this fragment is of, once the tracker has put it together
        kind = int.from_bytes(self._untagged[12:14], "big")
        self.fields: dict[str, Any] = {
            "in_port": in_port,
            "eth_dst": frame[:6],
            "eth_src": frame[6:12],
            "eth_type": kind,
            "vlan_vid": self._vlan_vid(),
            "ip_frag": 0,
            **_BESIDES,
        }
        if kind in packet_fields.ADDRESSES:
            self._read_ip(kind)
        elif kind == ETH_ARP:
            self.fields |= neighbour_packets.arp_fields(self._untagged)

    @property
    def frame(self) -> bytes:
        return self._untagged[:12] + self._tags + self._untagged[12:]

    @property
    def untagged(self) -> bytes:
        return self._untagged

    def _vlan_vid(self) -> int:
        """The VLAN id of the outermost tag; 0 when there is none."""
        return VLAN_PRESENT | int.from_bytes(self._tags[2:4], "big") & _VID if self._tags else 0

    def pop_vlan(self) -> None:
        self._tags = self._tags[4:]
        self.fields["vlan_vid"] = self._vlan_vid()

    def _read_ip(self, kind: int) -> None:
        read, packet = packet_fields.of_ip(self._untagged, kind)
        self.fields |= read
        if packet is None:
            self._whole = False
        elif not packet.more_fragments:
            self.fields |= neighbour_packets.nd_fields(self._untagged, packet)

    @property
    def closing(self) -> bool:
        """TCP with FIN or RST."""
        return bool(self.fields.get("tcp_flags", 0) & _FIN_OR_RST)

    @property
    def flow(self) -> FlowKey | None:
        get = self.fields.get
        names = packet_fields.ADDRESSES.get(self.fields["eth_type"])
        if names is None:
            return None
        protocol = self.fields["ip_proto"]
        ports = (get(name, 0) for name in PORT_FIELDS.get(protocol, ("", "")))
        return FlowKey(self.fields[names[0]], self.fields[names[1]], protocol, *ports)

    @property
    def hashed(self) -> FlowKey | None:
        """What a select group chooses by; of a packet's fragments Open vSwitch hashes the first one otherwise."""
        flow = self.flow
        return flow._replace(destination_port=1) if flow and self.fields["ip_frag"] == FRAGMENT else flow

    def spoil(self) -> None:
        """What userspace Open vSwitch does besides when it sets an address of a later fragment of TCP or UDP."""
        at = L3 + 4 * (self._untagged[L3] & 15) + _CHECKSUMS.get(self.fields["ip_proto"], 0)
        if self.fields["ip_frag"] & LATER_FRAGMENT and self.fields["ip_proto"] in _CHECKSUMS:
            changed = bytearray(self._untagged)
            changed[at : at + 2] = bytes(byte ^ 0xFF for byte in changed[at : at + 2])
            self._untagged = bytes(changed)

    def spoil_icmpv6(self) -> None:
        """What a switch does that changes an address of ICMPv6 and computes another checksum than that of RFC 4443."""
        at = L3 + 40 + 2
        if self.fields["ip_proto"] == ICMPV6 and self._untagged[20] == ICMPV6 and len(self._untagged) >= at + 2:
            self._untagged = self._untagged[:at] + _NO_CHECKSUM + self._untagged[at + 2 :]

    def set_field(self, name: str, value: Value) -> None:
        if name in _WIDE_OF or name in _IN_WIDE:
            self._set_register(name, value)
        elif name == "pkt_mark":
            pass  # not in the frame
        elif name in neighbour_packets.ARP_FIELDS:
            self._untagged = neighbour_packets.with_arp_field(self._untagged, name, value)
        elif name in neighbour_packets.ND_FIELDS:
            packet = parse_ip(self._untagged)
            self._untagged = neighbour_packets.with_nd_field(self._untagged, packet, name, value)
        elif self._whole or name not in _OFFSETS:
            self._untagged = builders.rewrite(self._untagged, name, value)
        else:
            assert isinstance(value, bytes)
            self._untagged = _change_header(self._untagged, _OFFSETS[name], value)
        self.fields[name] = value

    def _set_register(self, name: str, value: Value) -> None:
        """Not in the frame."""
        if isinstance(value, bytes):
            parts = (value[at : at + 4] for at in range(0, len(value), 4))
            self.fields |= zip(_IN_WIDE[name], (int.from_bytes(part, "big") for part in parts), strict=True)
        else:
            wide = _WIDE_OF[name]
            values = (value if each == name else self.fields[each] for each in _IN_WIDE[wide])
            self.fields[wide] = b"".join(each.to_bytes(4, "big") for each in values)

    def load(self, name: str, value: Value, mask: Value | None) -> None:
        """Some bits of a field become those of ``value``."""
        if mask is not None:
            old, bits, taken = _number(self.fields[name]), _number(value), _number(mask)
            value = _like(self.fields[name], old & ~taken | bits & taken)
        self.set_field(name, value)

    def move(self, action: Move) -> None:
        if action.source in _FIRST_SOURCES and not self.fields["ct_state"] & _HAS_FIRST_SOURCE:
            return
        taken = (1 << action.bits) - 1
        bits = _number(self.fields[action.source]) >> action.source_bit & taken
        old = self.fields[action.destination]
        place = action.destination_bit
        self.set_field(action.destination, _like(old, _number(old) & ~(taken << place) | bits << place))

    # ---------------------------------------------------------------- the connection tracker

    @property
    def to_controller(self) -> bytes:
        """Its frame, with what the tracker has found."""
        get = self.fields.__getitem__
        source = next((get(name) for name in ("ct_nw_src", "ct_ipv6_src") if any(get(name))), None)
        return TrackedFrame.of(self.frame, source, get("ct_tp_src"), get("ct_label")) if source else self.frame

    def tracked(self) -> Tracked | None:
        return tracked_packets.tracked(self.whole or self._untagged)

    def track(self, found: Found) -> Packet:
        """The tracker has found this.  → a packet of its own, which goes on from there.

        The frame of this one is translated, too; but its fields stay as they are, and none of them says what was found.
        """
        self.found = found
        if self.whole is None:
            self._untagged = tracked_packets.translated(self._untagged, found)
        elif found.becomes:
            self.whole = tracked_packets.translated(self.whole, found)
            self._untagged = part_of(self.whole, self._untagged)
        first = found.first if found.state & _HAS_FIRST_SOURCE else None
        source = first.source if first else b""
        packet = copy(self)
        packet.fields = self.fields | {
            "ct_state": found.state,
            "ct_zone": found.zone,
            "ct_mark": found.mark,
            "ct_label": found.label,
            "ct_nw_src": source if len(source) == 4 else bytes(4),
            "ct_ipv6_src": source if len(source) == 16 else bytes(16),
            "ct_tp_src": first.source_port if first else 0,
        }
        if found.becomes:
            packet._read_ip(packet.fields["eth_type"])
        self.fields |= _NOT_TRACKED
        return packet

    def decrement_ttl(self) -> bool:
        """False, and nothing is changed, when the TTL has expired."""
        at = _TTL_AT[self.fields["eth_type"]]
        if self._untagged[at] <= 1:
            return False
        self._untagged = _change_header(self._untagged, at, bytes((self._untagged[at] - 1,)))
        return True


def _number(value: Value) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "big")


def _like(old: Value, number: int) -> Value:
    """A number as the value of a field that has had the value ``old``."""
    return number if isinstance(old, int) else number.to_bytes(len(old), "big")


def _change_header(frame: bytes, at: int, value: bytes) -> bytes:
    """The frame with other bytes in its IP header, and in IPv4 another header checksum; the rest stays as it is."""
    changed = bytearray(frame)
    changed[at : at + len(value)] = value
    if frame[L3] >> 4 == 4:
        changed[L3 + 10 : L3 + 12] = bytes(2)
        header = bytes(changed[L3 : L3 + 4 * (frame[L3] & 15)])
        changed[L3 + 10 : L3 + 12] = checksum(header).to_bytes(2, "big")
    return bytes(changed)


# ------------------------------------------------------------------------------ rules


class Entry:
    """An installed rule; its idle timeout counts from ``used``, its hard timeout from ``put``."""

    __slots__ = ("idle_timeout", "packets", "put", "rule", "used")

    def __init__(self, rule: FlowRule, now: float) -> None:
        self.rule = rule
        self.idle_timeout = rule.idle_timeout
        self.used = self.put = now
        self.packets = 0

    def is_over(self, now: float) -> bool:
        """Has one of its timeouts passed?"""
        idle_s, hard_s = self.idle_timeout, self.rule.hard_timeout
        return bool((idle_s and now - self.used >= idle_s) or (hard_s and now - self.put >= hard_s))
