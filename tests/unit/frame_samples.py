"""Frames and parts of frames for the tests of ``frames`` and ``builders``, built independently of both."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, FlowKey, packed
from anycast_sdn.openflow.builders import ip_packet
from anycast_sdn.openflow.frames import REASONS, BadFrame

MAC_A, MAC_B = bytes.fromhex("020000000a01"), bytes.fromhex("020000000b02")
V4 = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000, 53)
V6 = FlowKey(packed("2001:db8:1::10"), packed("2001:db8:ff::1"), UDP, 40000, 53)
ALL_NODES = packed("ff02::1")
BOTH = pytest.mark.parametrize("key", [V4, V6], ids=["IPv4", "IPv6"])

macs = st.binary(min_size=6, max_size=6).map(lambda mac: bytes([mac[0] & 0xFE]) + mac[1:])
ports = st.integers(0, 65535)
v4_hosts = st.binary(min_size=3, max_size=3).map(lambda rest: b"\x0a" + rest)
v6_hosts = st.binary(min_size=15, max_size=15).map(lambda rest: b"\x20" + rest)


@st.composite
def keys(draw: st.DrawFn, protocols: tuple[int, ...] = (TCP, UDP, SCTP, ICMP, ICMPV6, 47, 253)) -> FlowKey:
    hosts = draw(st.sampled_from((v4_hosts, v6_hosts)))
    source, destination, protocol = draw(hosts), draw(hosts), draw(st.sampled_from(protocols))
    if protocol == (ICMPV6 if len(source) == 4 else ICMP):
        protocol = ICMP + ICMPV6 - protocol
    numbers = (draw(ports), draw(ports)) if protocol in (TCP, UDP, SCTP) else (0, 0)
    return FlowKey(source, destination, protocol, *numbers)


def build(key: FlowKey, payload: bytes = b"", **more: Any) -> bytes:
    return ip_packet(key, eth_src=MAC_A, eth_dst=MAC_B, payload=payload, **more)


def ones_complement_sum(data: bytes) -> int:
    total = 0
    for high, low in zip(data[::2], data[1::2] + b"\0" * (len(data) % 2), strict=True):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total


def assert_checksums_hold(frame: bytes) -> None:
    """IPv4 header and transport, without options or extension headers."""
    if frame[12:14] == b"\x08\x00":
        l4, protocol, addresses = 34, frame[23], frame[26:34]
        end = 14 + int.from_bytes(frame[16:18], "big")
        assert ones_complement_sum(frame[14:34]) == 0xFFFF
    else:
        l4, protocol, addresses = 54, frame[20], frame[22:54]
        end = 54 + int.from_bytes(frame[18:20], "big")
    segment = frame[l4:end]
    if protocol in (TCP, UDP, ICMPV6):
        assert ones_complement_sum(addresses + struct.pack("!HH", len(segment), protocol) + segment) == 0xFFFF
    elif protocol == ICMP:
        assert ones_complement_sum(segment) == 0xFFFF


def ipv4_frame(protocol: int, body: bytes, options: bytes = b"", fragment: int = 0, total: int | None = None) -> bytes:
    length = 20 + len(options)
    total = length + len(body) if total is None else total
    head = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0, total, 0, fragment, 64, protocol, 0)
    return MAC_B + MAC_A + b"\x08\x00" + head + V4.source + V4.destination + options + body


def ipv6_frame(
    protocol: int, body: bytes, source: bytes = V6.source, destination: bytes = V6.destination, hop_limit: int = 64
) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(body), protocol, hop_limit)
    return MAC_B + MAC_A + b"\x86\xdd" + head + source + destination + body


def reason(parse: Callable[[bytes], object], frame: bytes) -> str:
    with pytest.raises(BadFrame) as caught:
        parse(frame)
    assert str(caught.value) in REASONS
    return str(caught.value)


UDP_BODY = struct.pack("!HHHH", 40000, 53, 8, 0)
TCP_BODY = struct.pack("!HHIIBBHHH", 40000, 53, 0, 0, 0x50, 2, 0, 0, 0)


def extended(kinds: list[int], upper_layer: int = UDP, body: bytes = UDP_BODY, hop_limit: int = 64) -> bytes:
    """IPv6 extension headers, all zero but for their chaining and AH's own idea of its length."""
    chain = b""
    for kind, following in zip(kinds, [*kinds[1:], upper_layer], strict=True):
        chain += bytes([following]) + (b"\4" + bytes(22) if kind == 51 else bytes(7))
    return ipv6_frame(kinds[0], chain + body, hop_limit=hop_limit)


def portless(key: FlowKey, protocol: int) -> FlowKey:
    return key._replace(protocol=protocol, source_port=0, destination_port=0)


def fragment_of_v6(offset_field: int) -> bytes:
    return ipv6_frame(44, struct.pack("!BBHI", UDP, 0, offset_field, 7) + UDP_BODY)


def mac(address: bytes) -> str:
    return address.hex(":")
