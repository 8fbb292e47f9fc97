"""Frames at a rate, all different, as one host may send them that means no good.

    python3 flood.py INTERFACE RATE SECONDS KIND GATEWAY_MAC SOURCE DESTINATION     prints how many were sent

It says "ready" when all are made.  KIND:

    one        UDP from SOURCE to DESTINATION, all of one flow
    ports      UDP from SOURCE, each from other ports
    syns       TCP SYNs, in the same way
    sources    UDP, each from another address of SOURCE's network (its last 16 bits, or 8 in IPv4)
    targets    UDP from SOURCE, each to another address of DESTINATION's network
    dying      as ports, with a TTL of 1
    fragments  as ports, each the first of several fragments
    tagged     as ports, with a tag of VLAN 5
    errors     ICMP errors from SOURCE to DESTINATION, each quoting other ports
    pings      echo requests from SOURCE to DESTINATION
    asking     ARP or neighbour solicitations of SOURCE, for DESTINATION and others of its network
    arp        ARP requests or neighbour solicitations of SOURCE for DESTINATION
    claims     gratuitous ARP or neighbour advertisements: DESTINATION is here, each with another MAC
    lldp       LLDP of nobody's
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Sequence

MOST = 4_000_000
DISTINCT = 200_000  # then they come again
AT_ONCE = 256
TCP, UDP = 6, 17


def total(data: bytes) -> int:
    """The ones' complement sum of 16-bit words."""
    return int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF


def ip_packet(
    source: bytes,
    destination: bytes,
    protocol: int,
    segment: bytes,
    checksum_at: int,
    ttl: int = 64,
    more: bool = False,
) -> bytes:
    """``more``: it says that fragments follow."""
    pseudo = total(source + destination + struct.pack("!II", len(segment), protocol)) if protocol != 1 else 0
    value = 0xFFFF - (total(segment) + pseudo) % 0xFFFF
    segment = segment[:checksum_at] + (value or 0xFFFF).to_bytes(2, "big") + segment[checksum_at + 2 :]
    if len(source) == 16:
        if more:
            protocol, segment = 44, struct.pack("!BBHI", protocol, 0, 1, 1) + segment
        return struct.pack("!IHBB", 6 << 28, len(segment), protocol, ttl) + source + destination + segment
    flags = 0x2000 if more else 0x4000
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, flags, ttl, protocol, 0) + source + destination
    return head[:10] + (0xFFFF - total(head)).to_bytes(2, "big") + head[12:] + segment


def transport(protocol: int, source_port: int, destination_port: int, text: bytes = b"") -> tuple[bytes, int]:
    """→ a segment without its checksum, and where that goes."""
    if protocol == TCP:
        return struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 0, 5 << 4, 2, 0xFFFF, 0, 0), 16
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(text), 0) + text, 6


class Frames:
    def __init__(self, kind: str, mac: bytes, gateway_mac: bytes, source: str, destination: str) -> None:
        self.kind = kind
        self.source = ipaddress.ip_address(source).packed
        self.destination = ipaddress.ip_address(destination).packed
        self.v6 = len(self.source) == 16
        self.mac = mac
        self.gateway_mac = gateway_mac
        tag = b"\x81\x00\x00\x05" if kind == "tagged" else b""
        self.ethernet = gateway_mac + mac + tag + (b"\x86\xdd" if self.v6 else b"\x08\x00")

    def frame(self, number: int) -> bytes:
        if self.kind == "lldp":
            chassis = b"\x02\x07\x04" + number.to_bytes(6, "big") + b"\x04\x05\x07" + number.to_bytes(4, "big")
            return bytes.fromhex("0180c200000e") + self.mac + b"\x88\xcc" + chassis + b"\x06\x02\x00\x78\x00\x00"
        if self.kind in ("arp", "asking", "claims"):
            target = self._other(self.destination, number) if self.kind == "asking" else self.destination
            return self._nd(number, target) if self.v6 else self._arp(number, target)
        return self.ethernet + self._packet(number)

    def _packet(self, number: int) -> bytes:
        source = self._other(self.source, number) if self.kind == "sources" else self.source
        destination = self._other(self.destination, number) if self.kind == "targets" else self.destination
        ports = (1024 + number % 60000, 7000 + number // 60000)
        if self.kind == "pings":
            echo = struct.pack("!BBHHH", 128 if self.v6 else 8, 0, 0, 1, number & 0xFFFF)
            return ip_packet(source, destination, 58 if self.v6 else 1, echo, 2)
        if self.kind == "errors":
            quoted = ip_packet(destination, source, UDP, *transport(UDP, *ports))
            error = struct.pack("!BBHI", *((1, 4) if self.v6 else (3, 3)), 0, 0) + quoted
            return ip_packet(source, destination, 58 if self.v6 else 1, error, 2)
        if self.kind == "one":
            return ip_packet(source, destination, UDP, *transport(UDP, 1024, 7000, b"%08d" % number))
        protocol = TCP if self.kind == "syns" else UDP
        segment = transport(protocol, *ports, b"%08d" % number)
        ttl = 1 if self.kind == "dying" else 64
        return ip_packet(source, destination, protocol, *segment, ttl=ttl, more=self.kind == "fragments")

    def _arp(self, number: int, target: bytes) -> bytes:
        mac, sender = self.mac, self.source
        if self.kind == "claims":
            mac, sender = self._invented(number), target
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + sender + bytes(6) + target
        return b"\xff" * 6 + mac + b"\x08\x06" + arp

    def _nd(self, number: int, target: bytes) -> bytes:
        if self.kind == "claims":
            mac = self._invented(number)
            message = struct.pack("!BBHI", 136, 0, 0, 1 << 29) + target + b"\x02\x01" + mac
            everybody = ipaddress.ip_address("ff02::1").packed
            packet = ip_packet(target, everybody, 58, message, 2, ttl=255)
            return bytes.fromhex("333300000001") + mac + b"\x86\xdd" + packet
        message = struct.pack("!BBHI", 135, 0, 0, 0) + target + b"\x01\x01" + self.mac
        group = ipaddress.ip_address("ff02::1:ff00:0").packed[:13] + target[13:]
        packet = ip_packet(self.source, group, 58, message, 2, ttl=255)
        return b"\x33\x33" + group[12:] + self.mac + b"\x86\xdd" + packet

    def _invented(self, number: int) -> bytes:
        return b"\x02\x66" + number.to_bytes(4, "big")

    def _other(self, address: bytes, number: int) -> bytes:
        if self.v6:
            return address[:14] + (0x1000 + number % 0xE000).to_bytes(2, "big")
        return address[:3] + bytes((30 + number % 200,))


class Batch:
    """Frames that one system call each sends by the hundred."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._data = ctypes.create_string_buffer(b"".join(frames))
        at = ctypes.addressof(self._data)
        parts, heads = bytearray(), bytearray()
        self._parts = ctypes.create_string_buffer(16 * len(frames))
        for number, frame in enumerate(frames):
            parts += struct.pack("QQ", at, len(frame))
            heads += struct.pack("QI4xQQQQi4xI4x", 0, 0, ctypes.addressof(self._parts) + 16 * number, 1, 0, 0, 0, 0)
            at += len(frame)
        self._parts.raw = bytes(parts)
        self._heads = ctypes.create_string_buffer(bytes(heads))
        self._count = len(frames)

    def send(self, link: socket.socket, first: int, count: int) -> int:
        """→ how many the interface has taken."""
        first %= self._count
        count = min(count, self._count - first, AT_ONCE)
        start = ctypes.c_void_p(ctypes.addressof(self._heads) + 64 * first)
        return max(0, int(self._library.sendmmsg(link.fileno(), start, count, 0)))


def main() -> None:
    interface, rate, seconds, kind, gateway_mac, source, destination = sys.argv[1:]
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.bind((interface, 0))
    frames = Frames(kind, link.getsockname()[4], bytes.fromhex(gateway_mac.replace(":", "")), source, destination)
    batch = Batch([frames.frame(number) for number in range(min(DISTINCT, int(float(rate) * float(seconds))))])
    print("ready", flush=True)
    start, sent = time.monotonic(), 0
    end = start + float(seconds)
    while (now := time.monotonic()) < end and sent < MOST:
        due = int((now - start) * float(rate)) - sent
        while due > 0 and (taken := batch.send(link, sent, due)):
            sent += taken
            due -= taken
        time.sleep(0.0005)
    print(f"sent {sent}", flush=True)


if __name__ == "__main__":
    main()
