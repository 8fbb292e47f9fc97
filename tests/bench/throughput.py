"""Table 4: TCP throughput to the service address against plain forwarding on the same switches.

iperf3 in both cases, from the same client to the same server by the same hops: once to ANY, translated in
both directions at ARh and again at ARs until the flow is pinned; once to the server's own address.
"""

from __future__ import annotations

import json
from typing import Any

from flows import SERVICE
from realnet import SERVER, controlled, testbed
from tables import Options, Spread, progress, show
from testbed import Testbed

STREAMS = (1, 8)


def run(options: Options) -> dict[str, Any]:
    seconds, rounds = (1, 2) if options.quick else (3, options.rounds)
    results: dict[tuple[int, int], dict[str, list[float]]] = {}
    with testbed(options.directory) as (bed, product), controlled(bed, product):
        for number in range(rounds):
            for family in (4, 6):
                for streams in STREAMS:
                    progress(f"throughput, round {number + 1}: IPv{family}, {streams} streams")
                    measured = results.setdefault((family, streams), {"plain": [], "anycast": []})
                    turns = [("plain", SERVER), ("anycast", SERVICE)]
                    for name, addresses in turns if number % 2 else reversed(turns):
                        measured[name].append(_gbit_s(bed, addresses[family], streams, seconds))
    rows = []
    for (family, streams), measured in results.items():
        ratios = [ours / plain for ours, plain in zip(measured["anycast"], measured["plain"], strict=True)]
        rows.append({
            "IPv": family,
            "streams": streams,
            "to ANY Gbit/s": Spread.of(measured["anycast"]),
            "plain Gbit/s": Spread.of(measured["plain"]),
            "ratio of each pair": Spread.of(ratios),
        })  # fmt: skip
    show("TCP throughput through ARh and ARs against plain forwarding", rows)
    return {f"IPv{family}, {streams} streams": measured for (family, streams), measured in results.items()}


def _gbit_s(bed: Testbed, address: str, streams: int, seconds: int) -> float:
    bed.spawn("as2", ["iperf3", "--server", "--one-off"])
    bed.wait_listening("as2", 5201)
    words = ["iperf3", "--client", address, "--time", str(seconds), "--parallel", str(streams), "--json"]
    done = bed.run("h1", words, timeout_s=seconds + 20)
    report = json.loads(done.stdout)
    if "error" in report:
        raise RuntimeError(f"iperf3 to {address}: {report['error']}")
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
