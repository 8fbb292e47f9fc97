"""Frames at a rate, all different, as one host may send them that means no good.

    python3 flood.py INTERFACE RATE SECONDS KIND GATEWAY_MAC SOURCE DESTINATION     prints how many were sent

KIND   ports      UDP from SOURCE, each from other ports
       sources    UDP, each from another address of SOURCE's network (its last 16 bits, or 8 in IPv4)
       targets    UDP from SOURCE, each to another address of DESTINATION's network
       pings      echo requests from SOURCE to DESTINATION
       arp        ARP requests of SOURCE for DESTINATION
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
import time

MOST = 4_000_000


def total(data: bytes) -> int:
    """The ones' complement sum of 16-bit words."""
    return int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF


def ip_packet(source: bytes, destination: bytes, protocol: int, segment: bytearray, checksum_at: int) -> bytes:
    pseudo = total(source + destination + struct.pack("!II", len(segment), protocol)) if protocol != 1 else 0
    value = 0xFFFF - (total(bytes(segment)) + pseudo) % 0xFFFF
    segment[checksum_at : checksum_at + 2] = (value or 0xFFFF).to_bytes(2, "big")
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + source + destination + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, protocol, 0) + source + destination
    return head[:10] + (0xFFFF - total(head)).to_bytes(2, "big") + head[12:] + segment


class Frames:
    def __init__(self, kind: str, mac: bytes, gateway_mac: bytes, source: str, destination: str) -> None:
        self.kind = kind
        self.source = ipaddress.ip_address(source).packed
        self.destination = ipaddress.ip_address(destination).packed
        self.v6 = len(self.source) == 16
        self.mac = mac
        self.ethernet = gateway_mac + mac + (b"\x86\xdd" if self.v6 else b"\x08\x00")

    def frame(self, number: int) -> bytes:
        if self.kind == "arp":
            arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + self.mac + self.source + bytes(6) + self.destination
            return b"\xff" * 6 + self.mac + b"\x08\x06" + arp
        source, destination = self.source, self.destination
        if self.kind == "sources":
            source = self._other(source, number)
        elif self.kind == "targets":
            destination = self._other(destination, number)
        if self.kind == "pings":
            echo = bytearray(struct.pack("!BBHHH", 128 if self.v6 else 8, 0, 0, 1, number & 0xFFFF))
            return self.ethernet + ip_packet(source, destination, 58 if self.v6 else 1, echo, 2)
        head = struct.pack("!HHHH", 1024 + number % 60000, 7000 + number // 60000, 16, 0)
        udp = bytearray(head + b"%08d" % number)
        return self.ethernet + ip_packet(source, destination, 17, udp, 6)

    def _other(self, address: bytes, number: int) -> bytes:
        if self.v6:
            return address[:14] + (0x1000 + number % 0xE000).to_bytes(2, "big")
        return address[:3] + bytes((30 + number % 200,))


def main() -> None:
    interface, rate, seconds, kind, gateway_mac, source, destination = sys.argv[1:]
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((interface, 0))
    frames = Frames(kind, link.getsockname()[4], bytes.fromhex(gateway_mac.replace(":", "")), source, destination)
    distinct = min(20_000, int(float(rate) * float(seconds)))
    made = [frames.frame(number) for number in range(distinct)]
    print("ready", flush=True)
    start, sent = time.monotonic(), 0
    end = start + float(seconds)
    while (now := time.monotonic()) < end and sent < MOST:
        for number in range(sent, int((now - start) * float(rate))):
            try:
                link.send(made[number % distinct])
            except OSError:  # the queue is full
                break
            sent = number + 1
        time.sleep(0.0005)
    print(f"sent {sent}", flush=True)


if __name__ == "__main__":
    main()
