"""Many UDP clients on one test host, each with an address and several flows of its own; every flow asks until it hears.

    python3 udp_crowd.py ADDRESS PORT FLOWS ORDER SOURCE…

``FLOWS`` of each SOURCE ask, some at a time.  ORDER is "in-turn": the first ones of all, then the second ones and so
on; or "one-by-one": all of the first SOURCE, then all of the second and so on.  A flow has the same ports each time
that this is run.  It prints JSON at its end:
{"answered": how many of all flows, "errors": what sockets heard instead}.
"""

from __future__ import annotations

import collections
import errno
import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

FIRST_PORT, AT_ONCE, AGAIN_S, TRIES = 23000, 25, 1.0, 4


class Crowd:
    def __init__(self, address: str, port: int, flows: int, order: str, sources: list[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._flows = []
        ends = [(source, FIRST_PORT + number) for number in range(flows) for source in sources]
        for end in ends if order == "in-turn" else sorted(ends, key=lambda end: sources.index(end[0])):
            flow = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            flow.bind(end)
            flow.connect((address, port))
            self._selector.register(flow, selectors.EVENT_READ)
            self._flows.append(flow)

    def ask(self) -> str:
        self._errors: collections.Counter[str] = collections.Counter()
        answered = 0
        for start in range(0, len(self._flows), AT_ONCE):
            asked = self._flows[start : start + AT_ONCE]
            waiting = set(asked)
            for _ in range(TRIES):
                for flow in waiting:
                    self._heard(flow.send, b"hello")
                self._listen(waiting, time.monotonic() + AGAIN_S)
            answered += len(asked) - len(waiting)
        return json.dumps({"answered": answered, "errors": self._errors})

    def _listen(self, waiting: set[socket.socket], until: float) -> None:
        while waiting and (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if self._heard(key.fileobj.recv, 100):
                    waiting.discard(key.fileobj)

    def _heard(self, call: Callable[[Any], object], argument: object) -> bool:
        try:
            return bool(call(argument))
        except OSError as error:
            self._errors[errno.errorcode[error.errno or 0]] += 1
            return False


def main() -> None:
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # a socket for each flow
    address, port, flows, order, *sources = sys.argv[1:]
    print(Crowd(address, int(port), int(flows), order, sources).ask())


if __name__ == "__main__":
    main()
