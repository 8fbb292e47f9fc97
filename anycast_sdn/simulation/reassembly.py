"""Fragments in a simulated connection tracker, as in Open vSwitch's userspace datapath (3.1, lib/ipf.c).

Each look-up holds the fragments of a packet until all are there.  Then the whole packet is looked up, and its fragments
go on one behind the other, each with what was found for the whole, and with its part of that as it is translated.
What is not complete after ``WAIT_S`` is dropped.  Of IPv4, fragments below 1,200 bytes are invalid there, apart from
the last one of a packet; here they are not.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, Protocol, TypeVar

from anycast_sdn.openflow.frames import L3, checksum, packet_of

WAIT_S = 15.0
_IPV6_TYPE = b"\x86\xdd"
_FRAGMENT = 44


class Fragment(Protocol):
    """A packet of ``matching``."""

    whole: bytes | None

    @property
    def untagged(self) -> bytes: ...


Packet = TypeVar("Packet", bound=Fragment)


class _Part(NamedTuple, Generic[Packet]):
    packet: Packet
    offset: int
    payload: bytes
    last: bool


class Reassembly(Generic[Packet]):
    def __init__(self) -> None:
        self._held: dict[tuple[int, bytes], tuple[float, list[_Part[Packet]]]] = {}  # by zone → (since when, fragments)

    def take(self, packet: Packet, zone: int, now: float) -> list[Packet]:
        """A fragment comes → all fragments of its packet, if there are no others to come."""
        offset, last, at = _place(packet.untagged)
        key = zone, packet_of(packet.untagged)
        since, parts = self._held.get(key, (now, []))
        if now - since > WAIT_S:
            since, parts = now, []
        end = _end_of(packet.untagged)
        parts = sorted([*parts, _Part(packet, offset, packet.untagged[at:end], last)], key=lambda part: part.offset)
        self._held[key] = since, parts
        size = 0
        for part in parts:
            if part.offset != size:
                return []
            size += len(part.payload)
        if not parts[-1].last:
            return []
        del self._held[key]
        whole = _joined(parts[0].packet.untagged, b"".join(part.payload for part in parts))
        for part in parts:
            part.packet.whole = whole
        return [part.packet for part in parts]


def part_of(whole: bytes, fragment: bytes) -> bytes:
    """The fragment, with its part of the packet as it is now."""
    offset, _, start = _place(fragment)
    ends = (8, 40) if fragment[12:14] == _IPV6_TYPE else (12, 20)
    changed = bytearray(fragment)
    changed[L3 + ends[0] : L3 + ends[1]] = whole[L3 + ends[0] : L3 + ends[1]]
    if ends[1] == 20:
        header = L3 + 4 * (fragment[L3] & 15)
        changed[L3 + 10 : L3 + 12] = bytes(2)
        changed[L3 + 10 : L3 + 12] = checksum(bytes(changed[L3:header])).to_bytes(2, "big")
    body = len(whole) - _body_of(whole)
    size = min(_end_of(fragment) - start, body - offset)
    at = _body_of(whole) + offset
    changed[start : start + size] = whole[at : at + size]
    return bytes(changed)


def _place(fragment: bytes) -> tuple[int, bool, int]:
    """→ (offset in the packet, is it the last one, where its payload begins)."""
    if fragment[12:14] != _IPV6_TYPE:
        field = int.from_bytes(fragment[L3 + 6 : L3 + 8], "big")
        return 8 * (field & 0x1FFF), not field & 0x2000, L3 + 4 * (fragment[L3] & 15)
    at = _fragment_header(fragment)
    field = int.from_bytes(fragment[at + 2 : at + 4], "big")
    return field & 0xFFF8, not field & 1, at + 8


def _fragment_header(fragment: bytes) -> int:
    kind, at = fragment[L3 + 6], L3 + 40
    while kind != _FRAGMENT:
        kind, at = fragment[at], at + 8 * (fragment[at + 1] + 1)
    return at


def _end_of(frame: bytes) -> int:
    if frame[12:14] == _IPV6_TYPE:
        return L3 + 40 + int.from_bytes(frame[L3 + 4 : L3 + 6], "big")
    return L3 + int.from_bytes(frame[L3 + 2 : L3 + 4], "big")


def _body_of(whole: bytes) -> int:
    """Where the transport header of a packet that ``_joined`` has made begins."""
    return L3 + (40 if whole[12:14] == _IPV6_TYPE else 4 * (whole[L3] & 15))


def _joined(first: bytes, payload: bytes) -> bytes:
    """The whole packet; of IPv6 without extension headers."""
    if first[12:14] == _IPV6_TYPE:
        protocol = first[_fragment_header(first)]
        length = len(payload).to_bytes(2, "big")
        return first[: L3 + 4] + length + bytes((protocol,)) + first[L3 + 7 : L3 + 40] + payload
    size = 4 * (first[L3] & 15)
    header = bytearray(first[L3 : L3 + size])
    header[2:4] = (size + len(payload)).to_bytes(2, "big")
    header[6:8] = header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return first[:L3] + bytes(header) + payload
