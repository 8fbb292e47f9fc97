"""A UDP client for a test host: it sends texts, and prints each answer and each error as a line.

    python3 udp_client.py ADDRESS PORT [--source ADDRESS] [--source-port N] [--first-port N] [--flows N]
                          [--count N] [--text T] [--seconds S] [--apart S] [--answers N] [--wait S]
                          [--protocol N]

SIGUSR1 makes each flow send a datagram "hello" besides.

Every flow is a connected socket with a port of its own, the first port and those after it if that is given.
On each, ``count`` datagrams "TEXT" leave, back to back or ``seconds`` apart; the flows are ``apart`` seconds
apart.  It ends when ``answers`` lines are there, or ``wait`` seconds after the last datagram.  Connected sockets
take answers from ADDRESS alone, and hear of ICMP errors ("error ECONNREFUSED").
"""

from __future__ import annotations

import argparse
import errno
import selectors
import signal
import socket
import time


def report(client: socket.socket) -> None:
    try:
        print(client.recv(1 << 16).decode(), flush=True)
    except OSError as error:
        print("error", errno.errorcode[error.errno or 0], flush=True)


def send(client: socket.socket, text: str) -> None:
    try:
        client.send(text.encode())
    except OSError as error:  # a pending ICMP error: it comes instead of sending
        print("error", errno.errorcode[error.errno or 0], flush=True)
        client.send(text.encode())


def listen(selector: selectors.BaseSelector, until: float, most: int) -> int:
    """Prints answers until the time, or until there are ``most``; → how many."""
    taken = 0
    while taken < most and (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            report(key.fileobj)  # type: ignore[arg-type]
            taken += 1
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--source-port", type=int, default=0)
    parser.add_argument("--source", default="")
    parser.add_argument("--first-port", type=int, default=0)
    parser.add_argument("--flows", type=int, default=1)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--text", default="hello")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--apart", type=float, default=0.0)
    parser.add_argument("--answers", type=int)
    parser.add_argument("--wait", type=float, default=3.0)
    parser.add_argument("--protocol", type=int, default=0)  # another one with datagrams, such as UDP-Lite
    arguments = parser.parse_args()
    selector = selectors.DefaultSelector()
    clients = []
    for flow in range(arguments.flows):
        family = socket.AF_INET6 if ":" in arguments.address else socket.AF_INET
        client = socket.socket(family, socket.SOCK_DGRAM, arguments.protocol)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        source_port = arguments.source_port or (arguments.first_port and arguments.first_port + flow)
        if source_port:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((arguments.source, source_port))
        client.connect((arguments.address, arguments.port))
        selector.register(client, selectors.EVENT_READ)
        clients.append(client)
    signal.signal(signal.SIGUSR1, lambda *_: [send(client, "hello") for client in clients])
    missing = arguments.flows * arguments.count if arguments.answers is None else arguments.answers
    for number in range(arguments.count):
        if number and arguments.seconds:
            # All of the pause is listened to, so that datagrams leave on time.
            missing -= listen(selector, time.monotonic() + arguments.seconds, 1 << 30)
        for client in clients:
            send(client, arguments.text.replace("#", str(number)))
            if arguments.apart:
                missing -= listen(selector, time.monotonic() + arguments.apart, 1 << 30)
    listen(selector, time.monotonic() + arguments.wait, missing)


if __name__ == "__main__":
    main()
