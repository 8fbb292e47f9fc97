"""Table 10: three controllers that share sixteen switches, against one controller.

Real Open vSwitch in namespaces: twelve client edges with a client each, three server edges with a server each, and a
core between them.  The clients begin new flows of UDP, all together ``RATE`` a second.  One machine cannot give three
controllers a core each, so what is measured is their processor time: of each controller while the flows begin, less
what it takes while none begins.  The controller that takes most is the one that limits the rate; one controller alone
has the same flows in the same round.

``as hashed``: who is the master of which switch follows from rendezvous hashing; ``even``: an operator has moved
switches so that each member is the master of four client edges.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))  # members.py

from members import decides, parted
from programs import wait_until
from support import PORT, Running, program
from tables import Options, Spread, progress, show

EDGES, SITES = 12, 3
RATE = 1_200  # new flows a second
SECONDS, QUICK_S = 10, 3
SERVICE = "198.18.0.1"
TICKS = os.sysconf("SC_CLK_TCK")


def network() -> dict[str, Any]:
    edges, sites = range(1, EDGES + 1), range(1, SITES + 1)
    return {
        "name": "sixteen",
        "limits": {"first_packets": 1_000_000},
        "anycast_prefixes": ["198.18.0.0/16"],
        "switches": [
            *({"name": f"arh{edge}", "dpid": edge, "client_edge": {"translation_prefixes": [f"100.{64 + edge}.0.0/16"]}}
              for edge in edges),
            *({"name": f"ars{site}", "dpid": 100 + site, "server_edge": True} for site in sites),
            {"name": "core", "dpid": 200},
        ],
        "links": [
            *({"ends": [f"arh{edge}:10", f"core:{edge}"]} for edge in edges),
            *({"ends": [f"ars{site}:10", f"core:{100 + site}"]} for site in sites),
        ],
        "subnets": [
            *({"name": f"c{edge}", "edge": f"arh{edge}", "side": "client", "ports": [1],
               "gateways": [f"10.{edge}.0.1/24"]} for edge in edges),
            *({"name": f"s{site}", "edge": f"ars{site}", "side": "server", "ports": [1],
               "gateways": [f"172.16.{site}.1/24"]} for site in sites),
        ],
        "hosts": [
            *({"name": f"h{edge}", "subnet": f"c{edge}", "port": 1, "addresses": [f"10.{edge}.0.10"]}
              for edge in edges),
            *({"name": f"as{site}", "subnet": f"s{site}", "port": 1, "addresses": [f"172.16.{site}.10"]}
              for site in sites),
        ],
    }  # fmt: skip


@contextmanager
def cluster(directory: Path, count: int) -> Iterator[tuple[Any, Sequence[Any]]]:
    """So many controllers → the testbed, and these; the first one leads."""
    file = directory / "sixteen.yaml"
    file.write_text(yaml.safe_dump(network(), sort_keys=False))
    with parted(file, directory, count) as (testbed, several):
        first = several.members[0]
        wait_until(lambda: decides(first), "the first member has all switches", 60)
        running = Running(testbed, first)
        running.enrol("web", [f"{SERVICE}/32"], [f"172.16.{site}.10" for site in range(1, SITES + 1)])
        for site in range(1, SITES + 1):
            running.serve_udp(f"as{site}")
        yield testbed, several.members


def masters(member: Any) -> dict[str, str]:
    return {each["switch"]: each["master"] for each in member.rest("GET", "/v1/cluster").body["switches"]}


def share(members: Sequence[Any], even: bool) -> None:
    first = members[0]
    assert first.rest("POST", "/v1/cluster/share").status == 204
    wanted = {f"arh{edge}": members[edge % len(members)].name for edge in range(1, EDGES + 1)} if even else {}
    for switch, name in wanted.items():
        assert first.rest("POST", f"/v1/cluster/members/{name}/switches/{switch}").status == 204
    wait_until(lambda: wanted.items() <= masters(first).items(), "the switches are shared", 30)
    wait_until(lambda: first.rest("GET", "/healthz").body["status"] == "ok", "all is well", 30)
    time.sleep(2)


def used(member: Any) -> float:
    """Processor time, in seconds."""
    fields = Path(f"/proc/{member.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def loaded(testbed: Any, members: Sequence[Any], seconds: float) -> tuple[list[float], int, int]:
    """→ (µs of each member for a flow, flows, flows that were answered)."""
    before, began = [*map(used, members)], time.monotonic()
    time.sleep(seconds)
    idle = [(now - then) / (time.monotonic() - began) for now, then in zip(map(used, members), before, strict=True)]
    flows = int(RATE * seconds / EDGES)
    words = ["--flows", flows, "--apart", EDGES / RATE, "--answers", flows, "--wait", 5]
    before, began = [*map(used, members)], time.monotonic()
    clients = [
        testbed.spawn(f"h{edge}", program("udp_client.py", SERVICE, PORT, *words)) for edge in range(1, EDGES + 1)
    ]
    wait_until(lambda: all(each.process.poll() is not None for each in clients), "all flows have begun", 10 * seconds)
    time.sleep(1)
    passed = time.monotonic() - began
    spent = [now - then - part * passed for now, then, part in zip(map(used, members), before, idle, strict=True)]
    answered = sum(each.output().count("hello") for each in clients)
    return [each * 1e6 / (flows * EDGES) for each in spent], flows * EDGES, answered


def measure(options: Options, count: int, even: bool) -> tuple[list[float], int, int]:
    with tempfile.TemporaryDirectory(dir=options.directory) as directory, cluster(Path(directory), count) as found:
        testbed, members = found
        if count > 1:
            share(members, even)
        return loaded(testbed, members, QUICK_S if options.quick else SECONDS)


def run(options: Options) -> dict[str, Any]:
    cases = {"one": (1, False), "three, as hashed": (3, False), "three, even": (3, True)}
    found: dict[str, list[list[float]]] = {name: [] for name in cases}
    lost = dict.fromkeys(cases, 0)
    for _ in range(options.rounds):
        for name, (count, even) in cases.items():
            progress(f"sharing: {name}")
            spent, flows, answered = measure(options, count, even)
            found[name].append(sorted(spent, reverse=True))
            lost[name] += flows - answered
    rows = [
        {"controllers": name, "µs a flow, the busiest": Spread.of(most for most, *_ in each),
         "all together": Spread.of(map(sum, each)),
         "rate against one": Spread.of(alone[0] / most for alone, (most, *_) in zip(found["one"], each, strict=True)),
         "flows not answered": lost[name]}
        for name, each in found.items()
    ]  # fmt: skip
    show(f"Three controllers share sixteen switches: processor time at {RATE:,} new flows/s", rows)
    return {"us": found, "lost": lost}
