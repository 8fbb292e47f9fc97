"""New TCP connections to one address, one after another, for a test host.

    python3 connector.py ADDRESS PORT EVERY_S

It prints "WHEN SAID" for each: the time of the monotonic clock when it was begun, and the name of the server that has
answered, "refused", "silent" (nobody answered within a second) or another error.
"""

from __future__ import annotations

import socket
import sys
import time


def said(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=1.0) as connection:
            return connection.recv(64).decode().strip() or "closed"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return str(error).replace(" ", "-")


if __name__ == "__main__":
    address, port, every_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    while True:
        began = time.monotonic()
        print(f"{began:.3f} {said(address, port)}", flush=True)
        time.sleep(max(0.0, began + every_s - time.monotonic()))
