"""Tells a sender that its packet was too big, as a router on the way would.

    python3 too_big.py ADDRESS MTU PACKET

PACKET is the IP packet that the error is about, in hexadecimal.
"""

from __future__ import annotations

import socket
import struct
import sys

FRAGMENTATION_NEEDED = (3, 4)  # RFC 1191
PACKET_TOO_BIG = (2, 0)  # RFC 4443 §3.2


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


if __name__ == "__main__":
    address, mtu, packet = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
    if ":" in address:
        error = struct.pack("!BBHI", *PACKET_TOO_BIG, 0, mtu) + packet
        link = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)  # fills in the checksum
    else:
        error = struct.pack("!BBHHH", *FRAGMENTATION_NEEDED, 0, 0, mtu) + packet
        error = error[:2] + checksum(error).to_bytes(2, "big") + error[4:]
        link = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    link.sendto(error, (address, 0))
