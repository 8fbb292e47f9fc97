"""A UDP server for a test host that can hand a request over to a colleague.

    python udp_server.py NAME PORT COLLEAGUE

It answers a text with "NAME answers".  The text "hand over" it passes on to the server at the address
COLLEAGUE, which answers the client itself, from its own ordinary address: "NAME answers for OTHER".
Servers pass requests to each other on PORT + 1.  Nothing here is made for anycast.
"""

from __future__ import annotations

import select
import socket
import sys


def wildcard(port: int) -> socket.socket:
    """A socket for both families; IPv4 addresses appear on it as ::ffff:a.b.c.d."""
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", port))
    return both


def serve(name: str, port: int, colleague: str) -> None:
    clients, colleagues = wildcard(port), wildcard(port + 1)
    while True:
        ready, _, _ = select.select([clients, colleagues], [], [])
        if clients in ready:
            request, (address, client_port, *_) = clients.recvfrom(2048)
            if request == b"hand over":
                colleagues.sendto(f"{name} {address} {client_port}".encode(), (colleague, port + 1))
            else:
                clients.sendto(f"{name} answers".encode(), (address, client_port))
        if colleagues in ready:
            other, address, client_port = colleagues.recv(2048).decode().split()
            clients.sendto(f"{name} answers for {other}".encode(), (address, int(client_port)))


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3] if ":" in sys.argv[3] else f"::ffff:{sys.argv[3]}")
