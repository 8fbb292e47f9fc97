"""A plain web server for a test host: it answers every GET with one line: "NAME answers CLIENT".

A path such as /300 makes it a download: behind the line come 300 KiB.

    python web_server.py NAME [PORT]

Only the standard library's HTTP server, for both families on one socket; nothing here is made for anycast.
A connection stays open for further requests.
"""

from __future__ import annotations

import socket
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        client = self.client_address[0].removeprefix("::ffff:")  # an IPv4 address on an IPv6 socket
        kib = int(self.path[1:]) if self.path[1:].isdigit() else 0
        body = f"{sys.argv[1]} answers {client}\n".encode() + bytes(1024 * kib)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's own: that asks a name server, and there is none in the testbed.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = sys.argv[1], self.server_address[1]


if __name__ == "__main__":
    _Server(("::", int(sys.argv[2]) if len(sys.argv) > 2 else 80), _Handler).serve_forever()
