"""A TCP server for a test host: it says "NAME" and a newline, then sends back whatever it gets.

python3 tcp_server.py NAME PORT
"""

from __future__ import annotations

import socket
import socketserver
import sys


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(f"{sys.argv[1]}\n".encode())
        try:
            while chunk := self.request.recv(1 << 16):
                self.request.sendall(chunk)
        except ConnectionResetError:
            print("reset by the client", flush=True)


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256  # connections at once

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    _Server(("::", int(sys.argv[2])), _Handler).serve_forever()
