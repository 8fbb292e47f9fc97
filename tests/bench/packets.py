"""Real packets: a generator of new UDP flows, and the receiver that counts them.  Run inside namespaces.

    packets.py send INTERFACE RATE SECONDS      → JSON: ``sent``, ``seconds``
    packets.py receive ADDRESS                  → JSON: ``in_time`` and ``late`` (flows), ``p50_ms``, ``p99_ms``

Every packet is a flow of its own and carries its number and the time when it left (CLOCK_MONOTONIC, which
all namespaces share).  A flow is in time within a second.  The generator keeps to its rate by the clock:
late packets are sent at once, so that the number sent is what was asked for unless the machine is too slow;
``seconds`` shows that.  The receiver counts until it is ended by SIGTERM.
"""

from __future__ import annotations

import json
import signal
import socket
import statistics
import sys
import time
from struct import Struct

from flows import SERVICE

from anycast_sdn.core.model import packed
from anycast_sdn.openflow.builders import arp_request
from anycast_sdn.openflow.frames import checksum

PORT = 9000
EDGE_MAC = bytes.fromhex("02ac00000001")  # of the client edge with datapath id 1
CLIENTS = "10.1.0.0"  # the first
HOSTS = 1024  # of them
MAC = bytes.fromhex("020000000001")
ANNOUNCED_PER_S = 5000
IN_TIME_S = 1.0

_PAYLOAD = Struct("!IQ")
_IPV4 = Struct("!BBHHHBBH4s4s")
_UDP = Struct("!HHHH")
_SO_RCVBUFFORCE = 33


def headers(count: int) -> list[bytes]:
    """Ethernet, IP and UDP headers of flows 0, 1, …; without a UDP checksum (RFC 768: 0)."""
    first, service = int.from_bytes(packed(CLIENTS), "big"), packed(SERVICE[4])
    size = 8 + _PAYLOAD.size
    ethernet = EDGE_MAC + MAC + b"\x08\x00"
    made = []
    for flow in range(count):
        client = (first + flow % HOSTS).to_bytes(4, "big")
        ip = _IPV4.pack(0x45, 0, 20 + size, 0, 0x4000, 64, 17, 0, client, service)
        ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
        made.append(ethernet + ip + _UDP.pack(1024 + flow // HOSTS, PORT, size, 0))
    return made


def announce(sock: socket.socket) -> None:
    """The clients announce themselves by ARP: an edge serves only hosts that it knows."""
    first = int.from_bytes(packed(CLIENTS), "big")
    for host in range(HOSTS):
        address = (first + host).to_bytes(4, "big")
        sock.send(arp_request(MAC, address, address))
        time.sleep(1 / ANNOUNCED_PER_S)
    time.sleep(0.5)


def send(interface: str, rate: float, seconds: float) -> None:
    made = headers(int(rate * seconds))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((interface, 0))
    announce(sock)
    count, sent = len(made), 0
    start = time.monotonic_ns()
    while sent < count:
        due = min(count, int((time.monotonic_ns() - start) * rate / 1e9) + 1)
        for flow in range(sent, due):
            sock.send(made[flow] + _PAYLOAD.pack(flow, time.monotonic_ns()))
        sent = due
        time.sleep(0.0005)
    print(json.dumps({"sent": sent, "seconds": (time.monotonic_ns() - start) / 1e9}))


def receive(address: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
    sock.bind((address, PORT))
    sock.settimeout(0.1)
    took: dict[int, int] = {}
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    while not ended:
        try:
            data = sock.recv(2048)
        except TimeoutError:
            continue
        flow, sent_at = _PAYLOAD.unpack(data)
        took.setdefault(flow, time.monotonic_ns() - sent_at)
    in_time = [each / 1e6 for each in took.values() if each <= IN_TIME_S * 1e9]
    cuts = statistics.quantiles(in_time, n=100) if len(in_time) > 1 else [float("nan")] * 99
    late = len(took) - len(in_time)
    print(json.dumps({"in_time": len(in_time), "late": late, "p50_ms": cuts[49], "p99_ms": cuts[98]}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", interface, rate, seconds]:
            send(interface, float(rate), float(seconds))
        case ["receive", address]:
            receive(address)
        case _:
            sys.exit(__doc__)
