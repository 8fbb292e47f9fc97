"""A UDP server for a test host: it answers "TEXT" with "NAME TEXT", and prints what it gets.

    python3 udp_server.py NAME PORT [--pass-to ADDRESS ...]

- A text that begins with "quiet" gets no answer; "repeat COUNT SECONDS" gets COUNT answers, that far apart; "fill SIZE"
  gets one of SIZE bytes.
- ``--pass-to``: requests are passed on to the server at the address of the same family, which answers the
  client itself, from its own address (the document's hand-over, blocks B5 and B6).  Servers hand over to
  each other on PORT + 1.
"""

from __future__ import annotations

import argparse
import socket
import threading
import time


def wildcard(port: int) -> socket.socket:
    """A socket for both families; IPv4 addresses appear on it as ::ffff:a.b.c.d."""
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", port))
    return both


def mapped(address: str) -> str:
    return address if ":" in address else f"::ffff:{address}"


def is_v4(address: str) -> bool:
    return mapped(address).startswith("::ffff:")


def answer(server: socket.socket, name: str, text: str, client: tuple[str, int]) -> None:
    count, interval_s = 1, 0.0
    if text.startswith("repeat"):
        count, interval_s = int(text.split()[1]), float(text.split()[2])
    answered = f"{name} {text}"
    if text.startswith("fill"):
        answered = answered.ljust(int(text.split()[1]), ".")
    for number in range(0 if text.startswith("quiet") else count):
        if number:
            time.sleep(interval_s)
        server.sendto(answered.encode(), (mapped(client[0]), client[1]))


def serve(name: str, port: int, pass_to: list[str]) -> None:
    server, handed_over = wildcard(port), wildcard(port + 1)

    def take_over() -> None:
        while True:
            address, client_port, text = handed_over.recv(1 << 16).decode().split(" ", 2)
            answer(server, name, text, (address, int(client_port)))

    threading.Thread(target=take_over, daemon=True).start()
    while True:
        data, client = server.recvfrom(1 << 16)
        text = data.decode()
        print(f"{text} from {client[0].removeprefix('::ffff:')} {client[1]}", flush=True)
        if pass_to:
            other = next(address for address in pass_to if is_v4(address) == is_v4(client[0]))
            handed_over.sendto(f"{client[0]} {client[1]} {text}".encode(), (mapped(other), port + 1))
        else:
            threading.Thread(target=answer, args=(server, name, text, client[:2]), daemon=True).start()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--pass-to", nargs="+", default=[])
    arguments = parser.parse_args()
    serve(arguments.name, arguments.port, arguments.pass_to)
