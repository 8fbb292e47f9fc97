"""A UDP client for a test host: sends texts from one connected socket, prints the answer to each.

    python udp_client.py ADDRESS PORT TEXT...

A connected socket takes answers from ADDRESS alone.  Status 1 when one does not come within 5 s.
"""

from __future__ import annotations

import socket
import sys

DEADLINE_S = 5.0


def main(address: str, port: str, *texts: str) -> str | None:
    """Why it failed, if it did."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(DEADLINE_S)
        server.connect((address, int(port)))
        for text in texts:
            server.send(text.encode())
            try:
                print(server.recv(2048).decode(), flush=True)
            except OSError as error:
                return f"no answer to {text!r}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
