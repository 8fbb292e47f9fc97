"""Known flows that go on, and new ones at a steady rate: the load of a test host at echo_server.py.

    python load.py ADDRESS TCP_PORT UDP_PORT --tcp N --udp N --new PER_S --first-port PORT [--every S]

Each known flow asks every ``--every`` seconds.  A new flow is one UDP datagram from a port that no flow before has had;
a server answers it within ``PATIENCE_S``, or it is unserved: nothing is sent again.  It prints "ready" when every known
flow was answered, and new ones begin.  SIGUSR1 ends it: then each known flow is asked once more, and may repeat that.
It prints JSON: see ``Load.result``; times are those of the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field

PATIENCE_S = 2.0
LAST_S, AGAIN_S = 15.0, 1.0  # in which known flows have to answer at the end; between two tries


@dataclass
class Known:
    flow: socket.socket
    is_tcp: bool
    next_s: float
    sent: int = 0  # probes
    heard: int = 0  # UDP: the latest that was answered; TCP: as many
    sent_s: float = 0.0  # the first that is not answered yet
    rest: bytes = b""
    server: str = ""
    dead: str = ""


@dataclass
class Load:
    arguments: argparse.Namespace
    known: list[Known] = field(default_factory=list)
    new: dict[socket.socket, float] = field(default_factory=dict)  # → when it began
    began: int = 0  # new flows
    unserved: list[float] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)  # packets of known UDP flows
    moved: int = 0  # known flows that another server has answered
    longest_s: float = 0.0  # that a known TCP flow waited for its echo
    is_ending: bool = False

    def __post_init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.of: dict[socket.socket, Known] = {}
        self.family = socket.AF_INET6 if ":" in self.arguments.address else socket.AF_INET
        self.next_port = self.arguments.first_port

    # ---------------------------------------------------------------- known flows

    def connect(self) -> None:
        for number in range(self.arguments.tcp + self.arguments.udp):
            is_tcp = number < self.arguments.tcp
            flow = self.opened(socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
            flow.settimeout(LAST_S)
            flow.connect((self.arguments.address, self.arguments.tcp_port if is_tcp else self.arguments.udp_port))
            flow.setblocking(False)
            if is_tcp:
                flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            known = Known(flow, is_tcp, 0.0)
            self.known.append(known)
            self.of[flow] = known
            self.selector.register(flow, selectors.EVENT_READ)
        self.spread()
        while not all(known.heard for known in self.known):
            self.probe_all(time.monotonic())
            self.listen(0.002)
        self.unanswered.clear()  # before a flow is known it may have to ask twice
        self.longest_s = 0.0
        print("ready", flush=True)

    def opened(self, kind: socket.SocketKind) -> socket.socket:
        flow = socket.socket(self.family, kind)
        flow.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        flow.bind(("", self.next_port))
        self.next_port += 1
        return flow

    def spread(self) -> None:
        """The next probes are spread evenly: userspace Open vSwitch loses packets of a burst."""
        now, apart = time.monotonic(), self.arguments.every / max(1, len(self.known))
        for number, known in enumerate(self.known):
            known.next_s = now + number * apart

    def probe_all(self, now: float) -> None:
        for known in self.known:
            if known.next_s <= now and not known.dead:
                self.probe(known, now)

    def probe(self, known: Known, now: float) -> None:
        known.next_s = now + self.arguments.every
        if known.is_tcp and known.sent > known.heard:  # TCP repeats by itself
            return
        if known.sent > known.heard:
            self.unanswered.append(known.sent_s)
        known.sent += 1
        known.sent_s = now
        try:
            known.flow.send(b"%08d" % known.sent)
        except BlockingIOError:
            known.sent -= 1
        except OSError as error:
            self.failed(known, error)

    def failed(self, known: Known, error: OSError) -> None:
        """A UDP flow goes on after an ICMP error, which has told of a lost packet."""
        if known.is_tcp:
            known.dead = repr(error)
            self.selector.unregister(known.flow)

    def hear(self, known: Known) -> None:
        try:
            said = known.flow.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self.failed(known, error)
            return
        if not known.is_tcp:
            server, _, number = said.decode().partition(" ")
            self.moved += known.server not in ("", server)
            known.server, known.heard = server, max(known.heard, int(number))
        elif not said:
            self.failed(known, ConnectionResetError("the end of the connection"))
        else:
            known.rest += said
            while len(known.rest) >= 8:
                known.heard += 1
                if known.rest[:8] != b"%08d" % known.heard:
                    known.dead = f"{known.rest[:8]!r} came back, not {known.heard}"
                known.rest = known.rest[8:]
                self.longest_s = max(self.longest_s, time.monotonic() - known.sent_s)

    # ---------------------------------------------------------------- new flows

    def begin(self, now: float) -> None:
        flow = self.opened(socket.SOCK_DGRAM)
        flow.setblocking(False)
        self.began += 1
        try:
            flow.connect((self.arguments.address, self.arguments.udp_port))
            flow.send(b"%08d" % 1)
        except OSError:
            self.unserved.append(now)
            flow.close()
            return
        self.new[flow] = now
        self.selector.register(flow, selectors.EVENT_READ)

    def close(self, flow: socket.socket, was_served: bool) -> None:
        began = self.new.pop(flow)
        if not was_served:
            self.unserved.append(began)
        self.selector.unregister(flow)
        flow.close()

    def give_up(self, now: float) -> None:
        for flow, began in list(self.new.items()):
            if now - began < PATIENCE_S:
                break
            self.close(flow, False)

    # ---------------------------------------------------------------- all of it

    def listen(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            flow = key.fileobj
            assert isinstance(flow, socket.socket)
            if flow in self.new:
                try:
                    self.close(flow, bool(flow.recv(100)))
                except OSError:
                    self.close(flow, False)
            elif not self.of[flow].dead:
                self.hear(self.of[flow])

    def run(self) -> None:
        next_s = time.monotonic()
        while not self.is_ending:
            now = time.monotonic()
            while self.arguments.new and next_s <= now and self.next_port < 65000:
                self.begin(now)
                next_s += 1 / self.arguments.new
            self.probe_all(now)
            self.give_up(now)
            self.listen(0.002)

    def end(self) -> None:
        until = time.monotonic() + LAST_S
        asked: dict[int, int] = {}
        for number, known in enumerate(self.known):
            asked[number] = known.sent + (not known.is_tcp or known.sent == known.heard)
        self.arguments.every = AGAIN_S
        self.spread()
        while time.monotonic() < until and not all(
            known.dead or known.heard >= asked[number] for number, known in enumerate(self.known)
        ):
            self.probe_all(time.monotonic())
            self.listen(0.002)
        for number, known in enumerate(self.known):
            if not known.dead and known.heard < asked[number]:
                known.dead = f"no answer within {LAST_S:.0f} s"
        for flow in list(self.new):
            self.close(flow, False)

    def result(self) -> dict[str, object]:
        dead = [f"{'TCP' if each.is_tcp else 'UDP'}: {each.dead}" for each in self.known if each.dead]
        return {
            "known": len(self.known), "lost": len(dead), "why": sorted(set(dead))[:5], "moved": self.moved,
            "asked": sum(each.sent for each in self.known if not each.is_tcp), "unanswered": self.unanswered,
            "longest_s": round(self.longest_s, 3), "new": self.began, "unserved": sorted(self.unserved),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("tcp_port", type=int)
    parser.add_argument("udp_port", type=int)
    parser.add_argument("--tcp", type=int, default=0)
    parser.add_argument("--udp", type=int, default=0)
    parser.add_argument("--new", type=float, default=0.0)
    parser.add_argument("--first-port", type=int, default=20000)
    parser.add_argument("--every", type=float, default=1.0)
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # a socket for each flow
    load = Load(parser.parse_args())

    def end(*_: object) -> None:
        load.is_ending = True

    signal.signal(signal.SIGUSR1, end)
    load.connect()
    load.run()
    load.end()
    print(json.dumps(load.result()), flush=True)


if __name__ == "__main__":
    main()
