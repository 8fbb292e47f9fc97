"""Long downloads by TCP, of which the client only receives.

    python3 download.py serve NAME PORT
    python3 download.py get ADDRESS PORT SECONDS

The server says "NAME" and a newline, then sends a line ten times a second for as long as it is asked to.  The client
prints "from NAME", and at the end "whole" or "reset".
"""

from __future__ import annotations

import socket
import socketserver
import sys
import time

EVERY_S = 0.1


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            self.wfile.write(f"{sys.argv[2]}\n".encode())
            ends_at = time.monotonic() + float(self.rfile.readline())
            while time.monotonic() < ends_at:
                self.wfile.write(b"data\n")
                time.sleep(EVERY_S)
            self.wfile.write(b"end\n")
            print("sent whole", flush=True)
        except ConnectionError:
            print("sent in part: reset", flush=True)


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def get(address: str, port: int, seconds: float) -> str:
    with socket.create_connection((address, port), timeout=seconds + 60) as connection:
        connection.sendall(f"{seconds}\n".encode())
        lines = connection.makefile("r")
        print("from", lines.readline().strip(), flush=True)
        last = ""
        try:
            for line in lines:
                last = line
        except ConnectionResetError:
            return "reset"
    return "whole" if last == "end\n" else "in part"


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _Server(("::", int(sys.argv[3])), _Handler).serve_forever()
    print(get(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])), flush=True)
