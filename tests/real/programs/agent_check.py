"""Answers HAProxy's agent check on a test host: each connection gets what is in a file, as it is then.

    python3 agent_check.py PORT FILE
"""

from __future__ import annotations

import socketserver
import sys
from pathlib import Path


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(Path(sys.argv[2]).read_bytes())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
