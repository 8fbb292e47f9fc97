"""The fabric at scale: routes and rules of a whole network, at first, after one link's failure, and when it is back.

No switches and no wires: the controller's own work, from the event to the messages for all switches.  A failure is
repaired in one step.  Better routes come into use in several steps, each when all switches have confirmed the last one.
The networks are random, the same ones in each run: a ring, so that everything is connected, and chords.  By itself:
``python tests/bench/fabric.py [--quick]``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this project, also where it is not installed

from tabulate import tabulate  # noqa: E402

from anycast_sdn.control.controller import Controller  # noqa: E402
from anycast_sdn.control.outcome import Outcome  # noqa: E402
from anycast_sdn.core.groups import Groups  # noqa: E402
from anycast_sdn.core.model import Gateway, Prefix  # noqa: E402
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet  # noqa: E402
from anycast_sdn.description.model import Link, Network, Port, Switch  # noqa: E402
from anycast_sdn.openflow.features import Features  # noqa: E402
from anycast_sdn.openflow.pipeline import cookie  # noqa: E402
from anycast_sdn.openflow.row import Kind  # noqa: E402
from anycast_sdn.openflow.rules import AddFlow, Barrier, DeleteFlow, Output, PacketOut  # noqa: E402
from anycast_sdn.openflow.tables import Tables  # noqa: E402
from anycast_sdn.process import garbage  # noqa: E402


class Size(NamedTuple):
    switches: int
    links: int
    prefixes: int


SIZES = (Size(10, 20, 25), Size(25, 75, 60), Size(50, 200, 125), Size(100, 450, 250), Size(200, 1000, 500))
TARGET_FIRST_S, TARGET_FAILURE_S = 2.0, 0.2  # of the largest


def drawn(size: Size) -> Network:
    """Every switch is an edge with its share of the prefixes: subnets, and a PRh/k where it serves clients."""
    draw = random.Random(size.switches)
    names = [f"s{number}" for number in range(size.switches)]
    pairs = {(number, (number + 1) % size.switches) for number in range(size.switches)}
    while len(pairs) < size.links:
        a, b = sorted(draw.sample(range(size.switches), 2))
        if (b, a) not in pairs:
            pairs.add((a, b))
    ports = dict.fromkeys(names, 100)
    links = []
    for a, b in sorted(pairs):
        ends = []
        for name in (names[a], names[b]):
            ports[name] += 1
            ends.append(Port(name, ports[name]))
        links.append(Link(*ends, cost=draw.randint(1, 20)))
    clients = range(0, size.switches, 4)
    subnets = []
    for number in range(size.prefixes - len(clients)):
        edge = names[number % size.switches]
        gateway = Gateway.parse(f"10.{number >> 8}.{number & 255}.1/24")
        subnets.append(Subnet(f"n{number}", edge, Side.SERVER, (gateway,), (1 + number // size.switches,)))
    roles = {names[at]: ClientEdgeRole((Prefix.parse(f"172.16.{at}.0/24"),), ()) for at in clients}
    switches = [Switch(name, number, roles.get(name), True) for number, name in enumerate(names, 1)]
    return Network("drawn", (Prefix.parse("198.18.0.0/16"),), tuple(switches), tuple(links), tuple(subnets))


class Fabric:
    """The controller of a random network, with links that carry its LLDP frames."""

    def __init__(self, size: Size) -> None:
        self.network = drawn(size)
        self.dpids = {switch.name: switch.dpid for switch in self.network.switches}
        self.names = {dpid: name for name, dpid in self.dpids.items()}
        self.peers = {end: peer for link in self.network.links for end, peer in ((link.a, link.b), (link.b, link.a))}
        self.now = 0.0
        begin = time.perf_counter()
        self.controller = Controller(self.network, Groups(), random.Random(1))
        out = Outcome()
        for dpid in self.names:
            out.add(self.controller.synchronise(dpid, Tables(), Features(), self.now))
        out = self.finish_work(out)
        self.first_s = time.perf_counter() - begin
        self.first_s += self.confirm(out)[0]

    def fail(self, link: Link) -> tuple[float, int]:
        """→ seconds, and how many rules change."""
        begin = time.perf_counter()
        out = self.finish_work(self.controller.port_changed(self.dpids[link.a.switch], link.a.number, False, self.now))
        seconds = time.perf_counter() - begin
        self.confirm(out)
        return seconds, _rule_changes(out)

    def repair(self, link: Link) -> tuple[float, int]:
        """The link is back, confirmed, and not held back any more → seconds and steps of the update that follows."""
        seconds, steps = 0.0, 0
        port = self.dpids[link.a.switch], link.a.number
        self.confirm(self.finish_work(self.controller.port_changed(*port, True, self.now)))
        for _ in range(4):
            self.now += 0.5
            begin = time.perf_counter()
            out = self.finish_work(self.controller.tick(self.now))
            if _rule_changes(out):
                seconds += time.perf_counter() - begin
                more, more_steps = self.confirm(out)
                seconds, steps = seconds + more, steps + more_steps
            for dpid, messages in out.outbox.items():
                for message in messages:
                    if isinstance(message, PacketOut) and isinstance(output := message.actions[0], Output):
                        end = self.peers[Port(self.names[dpid], output.port)]
                        self.receive_lldp(self.dpids[end.switch], end.number, message.frame)
        return seconds, steps

    def receive_lldp(self, dpid: int, port: int, lldp: bytes) -> None:
        """An LLDP frame arrives; switches confirm the messages that it leads to."""
        self.confirm(self.finish_work(self.controller.packet_in(dpid, cookie(Kind.LLDP), port, lldp, self.now)))

    def finish_work(self, out: Outcome) -> Outcome:
        """``out``, with all the work that is left for the controller."""
        while self.controller.is_busy():
            out.add(self.controller.work(self.now))
        return out

    def confirm(self, out: Outcome) -> tuple[float, int]:
        """All switches confirm their messages, step by step → seconds of the controller's work, and how many steps."""
        seconds, steps = 0.0, 0
        while tickets := [(dpid, message.ticket) for dpid, messages in out.outbox.items() for message in messages
                          if isinstance(message, Barrier) and message.ticket]:  # fmt: skip
            steps += 1
            begin = time.perf_counter()
            out = self.finish_work(self.controller.confirmed(tickets, self.now))
            seconds += time.perf_counter() - begin
        assert not self.controller.updating()
        return seconds, steps


def measure(size: Size, failures: int) -> dict[str, Any]:
    """Each failure is followed by its repair."""
    fabric = Fabric(size)
    seconds, changes, repairs = [], [], []
    for link in random.Random(2).sample(fabric.network.links, failures):
        took, changed = fabric.fail(link)
        seconds.append(took)
        changes.append(changed)
        repairs.append(fabric.repair(link))
    return {
        **size._asdict(),
        "first_s": fabric.first_s,
        "failure_median_s": statistics.median(seconds),
        "failure_worst_s": max(seconds),
        "repair_median_s": statistics.median(took for took, _ in repairs),
        "repair_worst_s": max(took for took, _ in repairs),
        "repair_steps_worst": max(steps for _, steps in repairs),
        "rule_changes_median": statistics.median(changes),
        "rule_changes_worst": max(changes),
        "rules": sum(len(switch.installed) for switch in fabric.controller.switches.values()),
    }


def _rule_changes(out: Outcome) -> int:
    return sum(isinstance(message, AddFlow | DeleteFlow) for messages in out.outbox.values() for message in messages)


def run(options: Any) -> dict[str, Any]:
    """The table; ``options.quick``: fewer failures."""
    garbage.disable_automatic()  # as the running controller does
    rows = [measure(size, min(size.links, 10 if options.quick else 60)) for size in SIZES]
    print(
        f"\nThe controller's work for a fabric: at first, after one link's failure, and when it is back.  "
        f"For the last line not more than {TARGET_FIRST_S:g} s and {1000 * TARGET_FAILURE_S:g} ms are wanted.\n"
    )
    print(tabulate(
        [
            {
                "switches": row["switches"], "links": row["links"], "prefixes": row["prefixes"], "rules": row["rules"],
                "first (s)": f"{row['first_s']:.2f}",
                "failure (ms)": f"{1000 * row['failure_median_s']:.1f} [≤ {1000 * row['failure_worst_s']:.1f}]",
                "back again (ms)": f"{1000 * row['repair_median_s']:.1f} [≤ {1000 * row['repair_worst_s']:.1f}]",
                "steps": f"≤ {row['repair_steps_worst']}",
                "rule changes": f"{row['rule_changes_median']:.0f} [≤ {row['rule_changes_worst']}]",
            }
            for row in rows
        ],
        headers="keys",
    ))  # fmt: skip
    return {"rows": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer failures: a look, not a result")
    run(parser.parse_args())
