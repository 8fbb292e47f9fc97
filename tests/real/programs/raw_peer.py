"""An IP protocol that the kernel knows nothing of, on a raw socket: GRE, SCTP by hand, or any number.

    python3 raw_peer.py serve PROTOCOL         answers "NAME" packets of both families, prints "ready"
    python3 raw_peer.py ask PROTOCOL ADDRESS   sends two packets, prints "answered TEXT" for each answer

A packet is a header that fits the protocol, then a text.  SCTP: the common header (ports 4000 and 9000,
the CRC32c of RFC 9260) and a HEARTBEAT chunk, answered by HEARTBEAT ACK with the ports the other way.
"""

from __future__ import annotations

import select
import socket
import struct
import sys

SCTP, GRE = 132, 47
CLIENT_PORT, SERVER_PORT = 4000, 9000
HEARTBEAT, HEARTBEAT_ACK = 4, 5
GRE_HEADER = struct.pack("!HH", 0, 0x88B5)  # no options; an ethertype for experiments


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def build(protocol: int, text: str, answer: bool) -> bytes:
    if protocol == GRE:
        return GRE_HEADER + text.encode()
    if protocol != SCTP:
        return text.encode()
    ports = (SERVER_PORT, CLIENT_PORT) if answer else (CLIENT_PORT, SERVER_PORT)
    parameter = struct.pack("!HH", 1, 4 + len(text)) + text.encode()
    chunk = struct.pack("!BBH", HEARTBEAT_ACK if answer else HEARTBEAT, 0, 4 + len(parameter)) + parameter
    chunk += bytes(-len(chunk) % 4)
    head = struct.pack("!HHI", *ports, 1)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def text_of(protocol: int, packet: bytes) -> str:
    """The text of a packet.  ValueError for an SCTP packet that is damaged."""
    if protocol == GRE:
        return packet[len(GRE_HEADER) :].decode()
    if protocol != SCTP:
        return packet.decode()
    if crc32c(packet[:8] + bytes(4) + packet[12:]) != struct.unpack_from("<I", packet, 8)[0]:
        raise ValueError("wrong CRC32c")
    (size,) = struct.unpack_from("!H", packet, 18)
    return packet[20 : 16 + size].decode()


def received(peer: socket.socket) -> tuple[bytes, tuple[str, int]]:
    """What follows the IP header, and who sent it."""
    packet, address = peer.recvfrom(2048)
    if peer.family == socket.AF_INET:
        packet = packet[4 * (packet[0] & 15) :]
    return packet, address


def serve(protocol: int) -> None:
    peers = [socket.socket(family, socket.SOCK_RAW, protocol) for family in (socket.AF_INET, socket.AF_INET6)]
    print("ready", flush=True)
    while True:
        for peer in select.select(peers, [], [])[0]:
            packet, client = received(peer)
            peer.sendto(build(protocol, text_of(protocol, packet), answer=True), client)


def ask(protocol: int, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    peer = socket.socket(family, socket.SOCK_RAW, protocol)
    peer.connect((address, 0))
    for text in ("first", "second"):
        peer.send(build(protocol, text, answer=False))
        if not select.select([peer], [], [], 5)[0]:
            sys.exit(f"no answer to the {text} packet")
        packet, server = received(peer)
        print("answered", text_of(protocol, packet), "by", server[0], flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask(int(sys.argv[2]), sys.argv[3])
