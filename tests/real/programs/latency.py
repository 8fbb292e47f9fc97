"""New UDP flows one after the other, each answered or not within three seconds, asking three times as resolvers do.

    python3 latency.py ADDRESS PORT COUNT PER_SECOND FIRST_PORT     prints JSON: answered, refused, lost, p50_ms, p99_ms
"""

from __future__ import annotations

import json
import socket
import sys
import time


def answers(flow: socket.socket) -> bool:
    try:
        flow.send(b"there?")
        return bool(flow.recv(100))
    except TimeoutError:
        return False


def main() -> None:
    address, port, count, rate, first_port = sys.argv[1], *map(int, sys.argv[2:])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    took: list[float] = []
    refused = lost = 0
    for number in range(count):
        began = time.monotonic()
        with socket.socket(family, socket.SOCK_DGRAM) as flow:
            flow.bind(("", first_port + number))
            flow.connect((address, port))
            flow.settimeout(1)
            try:
                if any(answers(flow) for _ in range(3)):
                    took.append((time.monotonic() - began) * 1000)
                else:
                    lost += 1
            except OSError:
                refused += 1
        time.sleep(max(0, began + 1 / rate - time.monotonic()))
    took.sort()
    shares = {f"p{share}_ms": took[len(took) * share // 100] if took else None for share in (50, 99)}
    print(json.dumps({"answered": len(took), "refused": refused, "lost": lost, **shares}))


if __name__ == "__main__":
    main()
