"""A packet's fields as OpenFlow names them, and the table that finds the rule for it.

``Packet`` keeps a frame and its fields consistent while actions change both.  ``FlowTable`` is a tuple space: rules
that match on the same bits share a dictionary, so a look-up takes one step for each combination of fields, not for
each rule.

Of incomplete packets the fields are those that Open vSwitch reports.  Ports are 0 in fragments, also in the first, and
where the transport header is cut short.  The protocol of later IPv6 fragments is that of the fragment header, 44.
Addresses are 0 where the IP header is malformed.  The type of a tagged frame is the one behind all its tags (OF 1.3.5,
table 12); by default Open vSwitch skips only one.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, FlowKey
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import L3, BadFrame, checksum, parse_ip
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
    Match,
    Move,
    Value,
)
from anycast_sdn.openflow.tracked_frame import TrackedFrame
from anycast_sdn.simulation import neighbour_packets, tracked_packets
from anycast_sdn.simulation.reassembly import part_of
from anycast_sdn.simulation.tracker import NO_LABEL, NOTHING, Found, Tracked

# ------------------------------------------------------------------------------ packets

_TYPES = {(ETH_IPV4, ICMP): "icmpv4_type", (ETH_IPV6, ICMPV6): "icmpv6_type"}
_ADDRESSES = {ETH_IPV4: ("ipv4_src", "ipv4_dst", 4), ETH_IPV6: ("ipv6_src", "ipv6_dst", 16)}
_OFFSETS = {"ipv4_src": L3 + 12, "ipv4_dst": L3 + 16, "ipv6_src": L3 + 8, "ipv6_dst": L3 + 24}
_TTL_AT = {ETH_IPV4: L3 + 8, ETH_IPV6: L3 + 7}
_EXTENSIONS = frozenset((0, 43, 60))  # those with a length in units of 8 bytes
_FRAGMENT = 44
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
        if kind in _ADDRESSES:
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
        try:
            packet = parse_ip(self._untagged)
        except BadFrame as error:
            self._whole = False
            if str(error) == "fragment":
                self.fields["ip_frag"] = FRAGMENT | LATER_FRAGMENT
            cut = str(error) in ("fragment", "transport header")
            nothing = FlowKey(*2 * (bytes(_ADDRESSES[kind][2]),), 0, 0, 0)
            self._set_flow(kind, _flow_without_ports(self._untagged, kind) if cut else nothing, 0)
            return
        if packet.more_fragments:
            self.fields["ip_frag"] = FRAGMENT
            self._set_flow(kind, FlowKey(*packet.key[:3], 0, 0), 0)
        else:
            self._set_flow(kind, packet.key, packet.icmp_type)
            self.fields |= neighbour_packets.nd_fields(self._untagged, packet)
            if packet.key.protocol == TCP:
                self.fields["tcp_flags"] = self._untagged[packet.l4 + 13]

    @property
    def closing(self) -> bool:
        """TCP with FIN or RST."""
        return bool(self.fields.get("tcp_flags", 0) & _FIN_OR_RST)

    def _set_flow(self, kind: int, key: FlowKey, icmp_type: int) -> None:
        source, destination, _ = _ADDRESSES[kind]
        self.fields |= {source: key.source, destination: key.destination, "ip_proto": key.protocol}
        if key.protocol in PORT_FIELDS:
            self.fields |= zip(PORT_FIELDS[key.protocol], key[3:], strict=True)
        elif (kind, key.protocol) in _TYPES:
            self.fields[_TYPES[kind, key.protocol]] = icmp_type

    @property
    def flow(self) -> FlowKey | None:
        get = self.fields.get
        names = _ADDRESSES.get(self.fields["eth_type"])
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


class _Space:
    """The rules of one table that match on the same bits, in one dictionary."""

    def __init__(self, fields: Match) -> None:
        self._bits = [(field.name, field.mask) for field in fields]
        self._entries: dict[tuple[Value | None, ...], dict[int, Entry]] = {}
        self.highest = -1  # no rule here has a higher priority; removals do not lower it

    def put(self, entry: Entry) -> None:
        values = tuple(field.value for field in entry.rule.match)
        self._entries.setdefault(values, {})[entry.rule.priority] = entry
        self.highest = max(self.highest, entry.rule.priority)

    def remove(self, rule: FlowRule) -> None:
        values = tuple(field.value for field in rule.match)
        del self._entries[values][rule.priority]
        if not self._entries[values]:
            del self._entries[values]

    def find(self, fields: Mapping[str, Value]) -> Entry | None:
        entries = self._entries.get(tuple(masked(fields.get(name), mask) for name, mask in self._bits))
        return entries[max(entries)] if entries else None


def masked(value: Value | None, mask: Value | None) -> Value | None:
    if mask is None or value is None:
        return value
    if isinstance(value, bytes) and isinstance(mask, bytes):
        return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(len(mask), "big")
    assert isinstance(value, int)
    assert isinstance(mask, int)
    return value & mask


class FlowTable:
    """One flow table: finds the rule of the highest priority that matches a packet."""

    def __init__(self) -> None:
        self._spaces: dict[tuple[tuple[str, Value | None], ...], _Space] = {}
        self._order: list[_Space] = []
        self.size = 0

    def _space(self, rule: FlowRule) -> _Space:
        return self._spaces.setdefault(tuple((field.name, field.mask) for field in rule.match), _Space(rule.match))

    def put(self, entry: Entry) -> None:
        self._space(entry.rule).put(entry)
        self._order = sorted(self._spaces.values(), key=lambda space: -space.highest)

    def remove(self, rule: FlowRule) -> None:
        self._space(rule).remove(rule)

    def find(self, fields: Mapping[str, Value]) -> Entry | None:
        best: Entry | None = None
        for space in self._order:
            if best and best.rule.priority >= space.highest:
                break
            entry = space.find(fields)
            if entry and (best is None or entry.rule.priority > best.rule.priority):
                best = entry
        return best
