"""Real packets: generators of new UDP flows, and who receives or answers them.  Run inside namespaces.

    packets.py send INTERFACE ADDRESS RATE SECONDS  → JSON: ``sent``, ``seconds``
    packets.py receive ADDRESS                      → JSON: ``in_time`` and ``late`` (flows), ``p50_ms``, ``p99_ms``,
                                                      ``worst_ms``
    packets.py ask INTERFACE ADDRESS WINDOW FIRST MOST SECONDS
                                                    → JSON: ``done``, ``lost`` (flows), ``seconds``, and times likewise
    packets.py answer ADDRESS

Every packet is a flow of its own and carries its number and the time when it left (CLOCK_MONOTONIC, which
all namespaces share).  A flow is in time within a second.

``send`` keeps to its rate by the clock: late packets are sent at once, so that the number sent is what was asked for
unless the machine is too slow; ``seconds`` shows that.  ``receive`` counts until it is ended by SIGTERM.

``ask`` sends the first packets of flows FIRST, FIRST + 1, … and begins the next one when one is answered: WINDOW flows
are outstanding, MOST at the most are begun, for so many seconds.  Its times are those of first packets until they are
answered.  ``answer`` sends every packet back, until SIGTERM.
"""

from __future__ import annotations

import json
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from struct import Struct
from typing import Any

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
_IPV4_TYPE = 0x0800
_PAYLOAD_AT = 14 + 20 + 8


def headers(address: str, flows: range) -> list[bytes]:
    """Ethernet, IP and UDP headers of these flows to this address; without a UDP checksum (RFC 768: 0)."""
    first, service = int.from_bytes(packed(CLIENTS), "big"), packed(address)
    size = 8 + _PAYLOAD.size
    ethernet = EDGE_MAC + MAC + b"\x08\x00"
    made = []
    for flow in flows:
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


def bound(interface: str) -> socket.socket:
    """It sends any frame, and receives those of IPv4; the clients are announced."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
    sock.bind((interface, _IPV4_TYPE))
    announce(sock)
    return sock


def send(interface: str, address: str, rate: float, seconds: float) -> None:
    made = headers(address, range(int(rate * seconds)))
    sock = bound(interface)
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
    took: dict[int, int] = {}
    for data, _ in received(listening(address)):
        flow, sent_at = _PAYLOAD.unpack(data)
        took.setdefault(flow, time.monotonic_ns() - sent_at)
    in_time = [each for each in took.values() if each <= IN_TIME_S * 1e9]
    print(json.dumps({"in_time": len(in_time), "late": len(took) - len(in_time), **times(in_time)}))


def received(sock: socket.socket) -> Iterator[tuple[bytes, Any]]:
    """(packet, from where) until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    while not ended:
        with suppress(TimeoutError):
            yield sock.recvfrom(2048)


def listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
    sock.bind((address, PORT))
    sock.settimeout(0.1)
    return sock


def answer(address: str) -> None:
    sock = listening(address)
    for data, origin in received(sock):
        sock.sendto(data, origin)


def ask(interface: str, address: str, window: int, first: int, most: int, seconds: float) -> None:
    made = iter([*enumerate(headers(address, range(first, first + most)), first)])
    sock = bound(interface)
    sock.settimeout(0.1)
    outstanding: dict[int, int] = {}
    took: list[int] = []
    lost = 0

    def begin(count: int) -> None:
        for flow, header in islice(made, count):
            outstanding[flow] = now = time.monotonic_ns()
            sock.send(header + _PAYLOAD.pack(flow, now))

    start = end = time.monotonic_ns()
    begin(window)
    while outstanding:
        try:
            frame = sock.recv(2048)
        except TimeoutError:
            late = [flow for flow, sent_at in outstanding.items() if time.monotonic_ns() - sent_at > IN_TIME_S * 1e9]
            for flow in late:
                del outstanding[flow]
            lost += len(late)
            answered = len(late)
        else:
            flow, _ = _PAYLOAD.unpack_from(frame, _PAYLOAD_AT)
            sent_at = outstanding.pop(flow, None)
            if sent_at is None:
                continue
            end = time.monotonic_ns()
            took.append(end - sent_at)
            answered = 1
        if time.monotonic_ns() - start < seconds * 1e9:
            begin(answered)
    print(json.dumps({"done": len(took), "lost": lost, "seconds": (end - start) / 1e9, **times(took)}))


def times(took: list[int]) -> dict[str, float]:
    in_ms = [each / 1e6 for each in took]
    cuts = statistics.quantiles(in_ms, n=100, method="inclusive") if len(in_ms) > 1 else [float("nan")] * 99
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "worst_ms": max(in_ms, default=float("nan"))}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", interface, address, rate, seconds]:
            send(interface, address, float(rate), float(seconds))
        case ["receive", address]:
            receive(address)
        case ["ask", interface, address, window, first, most, seconds]:
            ask(interface, address, int(window), int(first), int(most), float(seconds))
        case ["answer", address]:
            answer(address)
        case _:
            sys.exit(__doc__)
