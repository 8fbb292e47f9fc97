"""Known flows and new ones of UDP, for a test host: which are answered, and when?

    python3 new_flows.py ADDRESS PORT [--seconds S] [--apart S] [--known N] [--first-port N]

The known flows begin first, and ask every 50 ms from then on.  When all of them have been answered it prints "begin":
new flows begin, one every ``apart`` seconds, for so many seconds; each asks once.  At its end it prints a line
"new SENT ANSWERED" for each new flow, on the clock that all processes have (CLOCK_MONOTONIC), 0 for one that was not
answered, "lost SENT" for each packet of a known flow that was not answered, and "known ASKED ANSWERED".
"""

from __future__ import annotations

import argparse
import selectors
import socket
import time

EVERY_S = 0.05
TURNS = 10  # in which known flows ask, so that they do not ask all at once
WAIT_S = 1.0  # for the last answers


class Flows:
    def __init__(self, address: str, port: int, first_port: int) -> None:
        self._to = address, port
        self._next_port = first_port
        self._selector = selectors.DefaultSelector()
        self.answered: dict[socket.socket, float] = {}
        self.answers: set[bytes] = set()

    def begin(self) -> socket.socket:
        flow = socket.socket(socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET, socket.SOCK_DGRAM)
        flow.setblocking(False)
        flow.bind(("", self._next_port))
        self._next_port += 1
        flow.connect(self._to)
        self._selector.register(flow, selectors.EVENT_READ)
        return flow

    def listen(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                flow = key.fileobj
                assert isinstance(flow, socket.socket)
                try:
                    answer = flow.recv(1 << 16)
                except OSError:
                    continue
                self.answers.add(answer.split()[-1])
                self.answered.setdefault(flow, time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--apart", type=float, default=0.01)
    parser.add_argument("--known", type=int, default=50)
    parser.add_argument("--first-port", type=int, default=20000)
    arguments = parser.parse_args()
    known = Flows(arguments.address, arguments.port, arguments.first_port)
    sockets = [known.begin() for _ in range(arguments.known)]
    while len(known.answered) < len(sockets):
        for flow in sockets:
            if flow not in known.answered:
                flow.send(b"known")
        known.listen(time.monotonic() + EVERY_S)
    known.listen(time.monotonic() + WAIT_S)
    asked: list[float] = []
    print("begin", flush=True)
    new = Flows(arguments.address, arguments.port, arguments.first_port + arguments.known)
    sent: dict[socket.socket, float] = {}
    turn = 0
    now = next_new = next_known = time.monotonic()
    end = now + arguments.seconds
    while now < end:
        if now >= next_new:
            flow = new.begin()
            flow.send(b"new")
            sent[flow] = now
            next_new += arguments.apart
        if now >= next_known:
            for flow in sockets[turn::TURNS]:
                flow.send(f"q{len(asked)}".encode())
                asked.append(now)
            turn = (turn + 1) % TURNS
            next_known += EVERY_S / TURNS
        due = min(next_new, next_known)
        middle = (time.monotonic() + due) / 2
        known.listen(middle)
        new.listen(due)
        now = time.monotonic()
    known.listen(end + WAIT_S / 2)
    new.listen(end + WAIT_S)
    for flow, when in sent.items():
        print(f"new {when:.4f} {new.answered.get(flow, 0):.4f}")
    lost = [when for number, when in enumerate(asked) if f"q{number}".encode() not in known.answers]
    for when in lost:
        print(f"lost {when:.4f}")
    print("known", len(asked), len(asked) - len(lost), flush=True)


if __name__ == "__main__":
    main()
