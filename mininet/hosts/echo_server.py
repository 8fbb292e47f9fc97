"""An echo server for a test host, over TCP and UDP and in both families, for many flows at once.

    python echo_server.py NAME TCP_PORT UDP_PORT

Over UDP the answer is "NAME " and what was sent; over TCP, just what was sent.  Nothing here is made for anycast.
"""

from __future__ import annotations

import selectors
import socket
import sys


def wildcard(kind: socket.SocketKind, port: int) -> socket.socket:
    """A socket for both families; IPv4 addresses appear on it as ::ffff:a.b.c.d."""
    both = socket.socket(socket.AF_INET6, kind)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    both.bind(("::", port))
    both.setblocking(False)
    return both


def serve(name: bytes, tcp_port: int, udp_port: int) -> None:
    listener, datagrams = wildcard(socket.SOCK_STREAM, tcp_port), wildcard(socket.SOCK_DGRAM, udp_port)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    listener.listen(1024)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(datagrams, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            each: socket.socket = key.fileobj
            try:
                if each is datagrams:
                    said, client = each.recvfrom(2048)
                    each.sendto(name + b" " + said, client)
                elif each is listener:
                    connection, _ = each.accept()
                    connection.settimeout(1)
                    selector.register(connection, selectors.EVENT_READ)
                elif said := each.recv(1 << 16):
                    each.sendall(said)
                else:
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                if each not in (datagrams, listener):
                    selector.unregister(each)
                    each.close()


if __name__ == "__main__":
    serve(sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3]))
