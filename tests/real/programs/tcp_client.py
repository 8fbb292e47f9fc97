"""A TCP client for a test host: bytes go to the server at a bounded rate, come back, and are compared.

    python3 tcp_client.py ADDRESS PORT [--bytes N] [--rate BYTES_PER_S] [--end close|reset]

After a SIGUSR1 there is no bound any more.

It prints "connected to NAME from PORT", later "N bytes, checksum right" (or wrong), and ends the
connection in order, or by a reset.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import socket
import struct
import sys
import threading
import time

BLOCK = 1 << 14
UNBOUND = threading.Event()


def send(connection: socket.socket, size: int, rate: float, digest: hashlib._Hash) -> None:
    noise = random.Random(size)
    start, sent = time.monotonic(), 0
    while sent < size:
        block = noise.randbytes(min(BLOCK, size - sent))
        digest.update(block)
        connection.sendall(block)
        sent += len(block)
        UNBOUND.wait(max(0.0, start + sent / rate - time.monotonic()))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1e9)
    parser.add_argument("--end", choices=["close", "reset"], default="close")
    arguments = parser.parse_args()
    signal.signal(signal.SIGUSR1, lambda *_: UNBOUND.set())
    with socket.create_connection((arguments.address, arguments.port), timeout=20) as connection:
        name = b""
        while not name.endswith(b"\n"):
            name += connection.recv(1)
        print(f"connected to {name.decode().strip()} from {connection.getsockname()[1]}", flush=True)
        sent, received = hashlib.sha256(), hashlib.sha256()
        sender = threading.Thread(target=send, args=(connection, arguments.bytes, arguments.rate, sent), daemon=True)
        sender.start()
        left = arguments.bytes
        while left and (chunk := connection.recv(BLOCK)):
            received.update(chunk)
            left -= len(chunk)
        if not left:
            sender.join()
        right = not left and sent.digest() == received.digest()
        print(f"{arguments.bytes - left} bytes, checksum {'right' if right else 'wrong'}", flush=True)
        if arguments.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
