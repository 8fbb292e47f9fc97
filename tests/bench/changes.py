"""Table 6: what changes of the network cost its users, on topologies/ring.yaml with real switches.

While 200 TCP transfers run from both sites to ANY, in both families, a part fails: the longest time that any
of them waited for a block, TCP's own waiting included; every transfer must end with the right checksum.  And
while pings run to a server, 2,000 a second, the cost of a link on their path goes up and down ten times: pings
lost, and how long the operator's request took, which is answered when all switches have confirmed.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))  # ring.py

from programs import wait_until
from ring import all_links_up, begin_transfers, cut, deafened, draining, end_transfers, links, ring
from support import Running, Turn, edited
from tables import Options, Spread, progress, show

SERVER = {4: "10.21.0.10", 6: "2001:db8:21::10"}
ALL_BUT_AS2 = (*SERVER.values(), "10.23.0.10", "2001:db8:23::10")
# Several rounds need more addresses at once than the file's PRh/23 have.
ROOM = (("203.0.112.0/23", "100.64.0.0/16"), ("203.0.114.0/23", "100.65.0.0/16"))
SECONDS = 8.0  # of the transfers
PINGS, APART_S = 12_000, 0.0005


def _link_is_cut(network: Running) -> None:
    with cut(network, "c1", 1):
        wait_until(lambda: links(network)["c1:1 c2:2"] == "port down", "the link is down")
        time.sleep(1)
    wait_until(lambda: links(network)["c1:1 c2:2"] == "up", "the link is back")


def _link_is_silent(network: Running) -> None:
    with deafened(network, ("c1", 1), ("c2", 2)):
        wait_until(lambda: links(network)["c1:1 c2:2"] == "silent", "the link is given up")


def _switch_dies(network: Running) -> None:
    """c4, which is on the path from site 2 to as2, and not the only one."""
    network.testbed.stop_switch("c4")
    try:
        time.sleep(2)
    finally:
        network.testbed.start_switch("c4")


def _cost_changes(network: Running) -> None:
    for cost in (9, 1):
        network.call("PATCH", "/v1/topology/links/c1:1", {"cost": cost})
        time.sleep(0.5)


def _server_drains(network: Running) -> None:
    with draining(network, *SERVER.values()):
        time.sleep(0.5)


EVENTS: dict[str, Callable[[Running], None]] = {
    "nothing": lambda network: time.sleep(1),
    "a link's cost changes and changes back": _cost_changes,
    "the nearest server drains and returns": _server_drains,
    "a link is cut and comes back": _link_is_cut,
    "a link falls silent, its carrier stays": _link_is_silent,
    "a core switch dies and comes back": _switch_dies,
}


def run(options: Options) -> dict[str, Any]:
    stalls: dict[str, list[float]] = {name: [] for name in EVENTS}
    lost: dict[int, list[float]] = {4: [], 6: []}
    took: list[float] = []
    file = edited("ring.yaml", options.directory, *ROOM)
    Turn.alone = True
    with ring(options.directory, file) as network:
        for number in range(options.rounds):
            for name, event in EVENTS.items():
                progress(f"changes, round {number + 1}: {name}")
                with draining(network, *ALL_BUT_AS2) if event is _switch_dies else nullcontext():
                    crowds = begin_transfers(network, SECONDS)
                    event(network)
                    stalls[name].append(end_transfers(crowds)[1])
                all_links_up(network)
            for family in lost:
                progress(f"changes, round {number + 1}: pings, IPv{family}")
                lost[family].append(_lost_pings(network, family, took))
    show(
        f"200 TCP transfers during a change: the longest wait of any, in seconds; {options.rounds} rounds, "
        "all finished with the right checksum",
        [{"while": name, "longest wait (s)": Spread.of(values)} for name, values in stalls.items()],
    )
    show(
        f"What {PINGS:,} pings, {1 / APART_S:,.0f} a second, during ten changes of cost",
        [{"IPv": family, "lost": Spread.of(values)} for family, values in lost.items()],
    )
    print(f"Each change was answered after {Spread.of(took)} s, when all switches had taken it up.\n")
    return {"stalls": stalls, "lost": lost, "took": took}


def _lost_pings(network: Running, family: int, took: list[float]) -> int:
    words = ["ping", "-n", "-q", "-i", str(APART_S), "-c", str(PINGS), SERVER[family]]
    ping = network.testbed.spawn("h1", words)
    for cost in (9, 1) * 5:
        time.sleep(0.25)
        begin = time.monotonic()
        network.call("PATCH", "/v1/topology/links/c1:1", {"cost": cost})
        took.append(time.monotonic() - begin)
    if ping.process.poll() is not None:
        raise RuntimeError(f"the pings ended before the changes: {ping.output()}")
    wait_until(lambda: ping.process.poll() is not None, "all pings are sent")
    (received,) = re.findall(r"packets transmitted, (\d+) received", ping.output())
    return PINGS - int(received)
