"""Asks several services four times a second, each always from the same port, as NTP, SIP and syslog do.

    python3 poller.py ADDRESS WHAT ...

WHAT is udp:PORT (source and destination), tcp:SOURCE_PORT:PORT (one connection, and another from the same port when it
is reset), raw:PROTOCOL (without ports, GRE for example) or ping.  For each answer it prints the time, WHAT, and the
answer; for each connection that ends "reset".
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time

EVERY_S = 0.25


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bound(address: str, kind: socket.SocketKind, port: int) -> socket.socket:
    """A socket of the address's family alone: another program may have the same port in the other."""
    peer = socket.socket(family_of(address), kind)
    if peer.family == socket.AF_INET6:
        peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    peer.bind(("", port))
    return peer


def say(what: str, said: str) -> None:
    sys.stdout.write(f"{time.monotonic():.3f} {what} {said}\n")
    sys.stdout.flush()


def poll(peer: socket.socket, what: str, question: bytes, answers: bytes) -> None:
    """``answers``: how an answer begins; other packets are somebody else's."""
    peer.settimeout(EVERY_S)
    while True:
        asked = time.monotonic()
        try:
            peer.send(question)
            if (answer := peer.recv(2048)).startswith(answers) or not answers:
                say(what, answer.decode("latin-1").split()[0] if not answers else "answered")
        except OSError:  # no answer in time, or an ICMP error
            pass
        time.sleep(max(0.0, asked + EVERY_S - time.monotonic()))


def poll_udp(address: str, what: str, port: int) -> None:
    peer = bound(address, socket.SOCK_DGRAM, port)
    peer.connect((address, port))
    poll(peer, what, b"hello", b"")


def poll_raw(address: str, what: str, protocol: int) -> None:
    """GRE: no options, an ethertype for experiments."""
    peer = socket.socket(family_of(address), socket.SOCK_RAW, protocol)
    peer.connect((address, 0))
    question = struct.pack("!HH", 0, 0x88B5) + b"hello"
    poll(peer, what, question, b"E" if family_of(address) == socket.AF_INET else question)


def poll_ping(address: str, what: str) -> None:
    """By the kernel's ping socket, which makes identifier and checksum."""
    v6 = family_of(address) == socket.AF_INET6
    peer = socket.socket(family_of(address), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    peer.connect((address, 0))
    poll(peer, what, struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0, 1), bytes([129 if v6 else 0]))


def poll_tcp(address: str, what: str, source_port: int, port: int) -> None:
    while True:
        peer = bound(address, socket.SOCK_STREAM, source_port)
        peer.settimeout(5)
        try:
            peer.connect((address, port))
            name = peer.recv(100).decode().strip()
            peer.settimeout(EVERY_S)
            while True:
                peer.send(b"hello")
                try:
                    if peer.recv(2048):
                        say(what, name)
                except TimeoutError:
                    continue
                time.sleep(EVERY_S)
        except OSError:
            say(what, "reset")
        finally:
            peer.close()
        time.sleep(0.01)


if __name__ == "__main__":
    POLLS = {"udp": poll_udp, "tcp": poll_tcp, "raw": poll_raw, "ping": poll_ping}
    for what in sys.argv[2:]:
        kind, *numbers = what.split(":")
        threading.Thread(target=POLLS[kind], args=(sys.argv[1], what, *map(int, numbers)), daemon=True).start()
    threading.Event().wait()
