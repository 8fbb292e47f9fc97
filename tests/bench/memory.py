"""Table 3, by itself too: the controller's memory for each connection, by engine, and what of it is kept afterwards.

No switches and no wires: the controller, the client edge's engine and the views, called as ``app`` calls them, in a
process of its own for each engine.  Each of 1,024 clients has its share of the connections.  By itself:
``python tests/bench/memory.py [--quick]``; ``--where`` shows which lines have made what is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "mininet")]  # this project, also where it is not installed

import yaml  # noqa: E402
from contenders import ENGINES, SERVER_EDGE_DPID, network  # noqa: E402
from flows import EDGE_PORT, FABRIC_PORT, SERVER, SERVICE, Packets, edges  # noqa: E402
from tables import Options, progress, show  # noqa: E402

from anycast_sdn.control.controller import Controller  # noqa: E402
from anycast_sdn.control.outcome import Outcome  # noqa: E402
from anycast_sdn.core.groups import Groups  # noqa: E402
from anycast_sdn.core.model import AnycastGroup, Neighbour, Prefix, Server, packed  # noqa: E402
from anycast_sdn.core.tracked_address import layout_of  # noqa: E402
from anycast_sdn.description import reading  # noqa: E402
from anycast_sdn.engines.engine import Sweep  # noqa: E402
from anycast_sdn.openflow.features import Features  # noqa: E402
from anycast_sdn.openflow.pipeline import cookie, number_of  # noqa: E402
from anycast_sdn.openflow.row import Kind  # noqa: E402
from anycast_sdn.openflow.rules import BeginConnection  # noqa: E402
from anycast_sdn.openflow.tables import Tables  # noqa: E402
from anycast_sdn.openflow.tracked_frame import TrackedFrame  # noqa: E402
from anycast_sdn.process import garbage  # noqa: E402
from anycast_sdn.views.counters import Counters  # noqa: E402

SIZES, QUICK = (100_000, 500_000), (20_000,)
FAMILY = 4
PER_S = 10_000  # new connections, by the controller's clock
TICK = 500  # connections from one tick to the next
MOST = 256  # of what ends in one step


class Held(NamedTuple):
    connections: int
    resident: int  # bytes of the process


class ClientEdge:
    """The controller, and packets of the flows of its one client edge."""

    def __init__(self, engine: str) -> None:
        (edge,) = edges(1)
        self.now = 1000.0
        described = reading.parse(yaml.safe_dump(network([edge], **ENGINES[engine])), "bench")
        servers = {packed(address): Server(packed(address)) for address in SERVER.values()}
        service = tuple(Prefix.host(packed(address)) for address in SERVICE.values())
        self._controller = Controller(described, Groups(), random.Random(1))
        self._counters = Counters()
        self._dpid = edge.dpid
        self._packets = Packets(edge, FAMILY, (0, 0), (0, 0))
        self._allocates = engine == "conntrack switch"
        self._kind = Kind.MEMBER_REPLY if engine.startswith("conntrack") else Kind.FIRST_REPLY
        role, subnets = described.switches[0].client_edge, described.subnets
        assert role
        self._layout = layout_of(role, [subnet for subnet in subnets if subnet.edge == edge.name], False)
        self._first = int.from_bytes(role.translation_prefixes[0].network, "big") + 1
        self._take(self._controller.set_groups(Groups({"bench": AnycastGroup("bench", service, servers)}), self.now))
        hosts = {edge.dpid: edge.client_addresses(), SERVER_EDGE_DPID: [*servers]}
        for dpid, addresses in hosts.items():
            for address in addresses:
                self._controller.switches[dpid].neighbours.adopt(address, Neighbour(b"\2\0\0\0\0\1", 1), self.now)
        for dpid in hosts:
            self._take(self._controller.synchronise(dpid, Tables(), Features(connections=True), self.now))
        while self._controller.is_busy():
            self._take(self._controller.work(self.now))
        self._engine = self._controller.switches[edge.dpid].engine
        self._engine.flow_changes.is_watched = self._engine.needs_keeping
        garbage.disable_automatic()

    def _take(self, out: Outcome) -> None:
        for event in out.events:
            self._counters(event)

    def fill(self, size: int) -> None:
        """Open connections; each is answered."""
        for first in range(len(self._engine.flows), size, TICK):
            for flow in range(first, first + TICK):
                self._open(flow)
            self._tick(TICK / PER_S)
        for _ in range(100):
            self._tick(0.1)
        if size and self._kind is Kind.FIRST_REPLY:
            while (sweep := self._engine.begin_sweep(self.now)) is None:
                self._tick(0.1)
            self._sweep(sweep)
        assert len(self._engine.flows) == self._engine.flows.pinned() == size

    def _open(self, flow: int) -> None:
        frame = self._packets.first(flow)[-self._packets.frame_size :]
        if self._allocates:
            self._report(flow, frame)
            return
        out = self._packet(Kind.FIRST_PACKET, EDGE_PORT, frame)
        (begun, *_) = out.outbox[self._dpid]
        to = begun.inside if isinstance(begun, BeginConnection) else begun.binding.translated
        self._packet(self._kind, FABRIC_PORT, self._packets.reply(flow, to)[-self._packets.frame_size :])

    def _packet(self, kind: Kind, port: int, frame: bytes) -> Outcome:
        out = self._controller.packet_in(self._dpid, cookie(kind), port, frame, self.now)
        self._take(out)
        return out

    def _tick(self, seconds: float) -> None:
        garbage.collect_new()
        self.now += seconds
        more = True
        while more:
            out, more = self._controller.tick_flows(self._dpid, self.now, MOST)
            self._take(out)
        self._take(self._controller.check_servers(self.now))
        self._engine.flow_changes.pop()

    def _report(self, flow: int, frame: bytes) -> None:
        """The switch has chosen PR1X; the copies of the first packet and of the first reply."""
        inside, translated = self._layout.encode(1, frame[26:30]), (self._first + flow).to_bytes(4, "big")
        chosen = TrackedFrame.of(frame[:26] + translated + frame[30:], inside, 0, bytes(16))
        self._packet(Kind.REPORT, EDGE_PORT, chosen)
        self._packet(self._kind, FABRIC_PORT, self._packets.reply(flow, inside)[-self._packets.frame_size :])

    def _sweep(self, sweep: Sweep) -> None:
        """All rules have carried a packet."""
        numbers = [flow.number for flow in self._engine.flows]
        parts = len(sweep.requests) // 2
        for request in sweep.requests:
            part = number_of(request.cookie)
            counters = [(number, 300) for number in numbers if number % parts == part]
            sweep.take(request, counters, self.now, self.now)
        while not sweep.is_over:
            self._take(self._controller.end_some(self._dpid, sweep, MOST, self.now))

    def end(self) -> None:
        """All connections end, and their addresses rest no more."""
        numbers = [flow.number for flow in self._engine.flows]
        for number in numbers:
            self._take(self._controller.end_flow("c0", number, self.now))
            if number % TICK == 0:
                self._tick(0.01)
        for _ in range(len(numbers) // MOST + 1000):
            self._tick(0.25)
        assert not len(self._engine.flows)



def alone(engine: str, sizes: Sequence[int]) -> Iterator[Held]:
    """In this process: without connections, with so many, after their end, and with the most again."""
    edge = ClientEdge(engine)
    for size in (0, *sizes):
        edge.fill(size)
        yield _held(size)
    edge.end()
    yield _held(0)
    edge.fill(sizes[-1])
    yield _held(sizes[-1])


def where(engine: str, size: int) -> None:
    """Which lines have made what is kept for so many connections; with all other figures of Python's memory."""
    edge = ClientEdge(engine)
    tracemalloc.start()
    edge.fill(size)
    rows = [
        {"bytes for each": f"{line.size / size:.1f}", "objects": f"{line.count / size:.2f}",
         "made by": str(line.traceback[0]).removeprefix(str(ROOT))}
        for line in tracemalloc.take_snapshot().statistics("lineno")[:40]
    ]  # fmt: skip
    show(f"{engine}: {tracemalloc.get_traced_memory()[0] / size:,.0f} bytes for each of {size:,} connections", rows)


def _held(connections: int) -> Held:
    return Held(connections, 4096 * int(Path("/proc/self/statm").read_text().split()[1]))


def run(options: Options) -> dict[str, Any]:
    results: dict[str, list[Held]] = {}
    for engine in options.engines:
        progress(f"memory: {engine}")
        words = [sys.executable, __file__, "--alone", engine, *(["--quick"] if options.quick else [])]
        lines = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        results[engine] = [Held(*json.loads(line)) for line in lines]
    _show(results)
    return {engine: [held._asdict() for held in all_held] for engine, all_held in results.items()}


def _show(results: Mapping[str, Sequence[Held]]) -> None:
    rows = []
    for engine, (empty, *filled, ended, again) in results.items():
        row = {"engine": engine, "MB without any": f"{empty.resident / 1e6:.0f}"}
        for connections, resident in filled:
            row[f"bytes for each of {connections:,}"] = f"{(resident - empty.resident) / connections:,.0f}"
        row["MB with the most"] = f"{filled[-1].resident / 1e6:.0f}"
        row["when they have ended"] = f"{ended.resident / 1e6:.0f}"
        row["with as many again"] = f"{again.resident / 1e6:.0f}"
        rows.append(row)
    show(f"The controller's memory for connections, IPv{FAMILY}, by engine; no switch", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]:,} connections")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="this one alone; may be repeated")
    parser.add_argument("--where", action="store_true", help="which lines have made what is kept, instead")
    parser.add_argument("--alone", metavar="ENGINE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes, engines = QUICK if arguments.quick else SIZES, tuple(arguments.engine or ENGINES)
    if arguments.alone:
        for held in alone(arguments.alone, sizes):
            print(json.dumps(held), flush=True)
    elif arguments.where:
        for engine in engines:
            where(engine, sizes[0])
    else:
        run(Options(1, arguments.quick, Path(), engines=engines))


if __name__ == "__main__":
    main()
