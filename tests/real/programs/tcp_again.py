"""Two TCP connections from the same port of a test host: the first is reset, the second begins at once.

    python3 tcp_again.py ADDRESS PORT SOURCE_PORT SILENCE_S

The second one is silent for a while before it asks.  It prints "answered" if it gets its answer then.
"""

from __future__ import annotations

import socket
import struct
import sys
import time


def connect(address: str, port: int, source_port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.settimeout(10)
    connection.bind(("", source_port))
    connection.connect((address, port))
    assert connection.recv(100).endswith(b"\n")  # the server's name
    return connection


def main() -> int:
    address, port, source_port, silence_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    first = connect(address, port, source_port)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first.close()
    second = connect(address, port, source_port)
    time.sleep(silence_s)
    second.sendall(b"still there?")
    assert second.recv(100) == b"still there?"
    print("answered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
