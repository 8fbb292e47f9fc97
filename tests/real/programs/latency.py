"""New flows one after the other, each answered or not within three seconds.

    python3 latency.py PROTOCOL ADDRESS PORT COUNT PER_SECOND FIRST_PORT

prints JSON: answered, refused, lost, p50_ms, p99_ms, most_ms, tries.  UDP asks three times, as resolvers do; TCP is
over with the server's first word.  Source ports are those from FIRST_PORT, or the kernel's where that is 0.  SIGTERM
ends it before COUNT, when the flow that is under way has ended.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time

TRIES, PATIENCE_S = 3, 1


def asked(flow: socket.socket) -> int:
    """How often it had to be asked; 0: in vain."""
    flow.settimeout(PATIENCE_S)
    for tries in range(1, TRIES + 1):
        try:
            flow.send(b"there?")
            if flow.recv(100):
                return tries
        except TimeoutError:
            pass
    return 0


def connected(flow: socket.socket, address: str, port: int) -> int:
    flow.settimeout(TRIES * PATIENCE_S)
    try:
        flow.connect((address, port))
        return 1 if flow.recv(100) else 0
    except TimeoutError:
        return 0


def main() -> None:
    protocol, address, port, count, rate, first_port = *sys.argv[1:3], *map(int, sys.argv[3:])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    took: list[float] = []
    refused = lost = most_tries = 0
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    for number in range(count):
        began = time.monotonic()
        with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as flow:
            if first_port:
                flow.bind(("", first_port + number))
            try:
                if protocol == "tcp":
                    tries = connected(flow, address, port)
                else:
                    flow.connect((address, port))
                    tries = asked(flow)
                if tries:
                    took.append((time.monotonic() - began) * 1000)
                else:
                    lost += 1
                most_tries = max(most_tries, tries)
            except OSError:
                refused += 1
        if told_to_end.wait(max(0, began + 1 / rate - time.monotonic())):
            break
    took.sort()
    shares = {f"p{share}_ms": took[len(took) * share // 100] if took else None for share in (50, 99)}
    most = took[-1] if took else None
    said = {"answered": len(took), "refused": refused, "lost": lost, **shares, "most_ms": most, "tries": most_tries}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
