"""Table 4: TCP throughput to the service address against plain forwarding on the same switches, by engine.

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
FAMILIES = (4, 6)


def run(options: Options) -> dict[str, Any]:
    seconds, rounds = (1, 2) if options.quick else (3, options.rounds)
    results: dict[tuple[int, int, str], dict[str, list[float]]] = {
        (family, streams, engine): {"plain": [], "anycast": []}
        for family in FAMILIES for streams in STREAMS for engine in options.engines
    }  # fmt: skip
    with testbed(options.directory, options.engines) as (bed, products):
        for number in range(rounds):
            for product in products:
                with controlled(bed, product):
                    for family in FAMILIES:
                        for streams in STREAMS:
                            progress(f"throughput, round {number + 1}: {product.name}, IPv{family}, {streams} streams")
                            measured = results[family, streams, product.name]
                            turns = [("plain", SERVER), ("anycast", SERVICE)]
                            for name, addresses in turns if number % 2 else reversed(turns):
                                measured[name].append(_gbit_s(bed, addresses[family], streams, seconds))
    rows = []
    for (family, streams, engine), measured in results.items():
        ratios = [ours / plain for ours, plain in zip(measured["anycast"], measured["plain"], strict=True)]
        rows.append({
            "IPv": family,
            "streams": streams,
            "engine": engine,
            "to ANY Gbit/s": Spread.of(measured["anycast"]),
            "plain Gbit/s": Spread.of(measured["plain"]),
            "ratio of each pair": Spread.of(ratios),
        })  # fmt: skip
    show("TCP throughput through ARh and ARs against plain forwarding", rows)
    return {
        f"IPv{family}, {streams} streams, {engine}": measured for (family, streams, engine), measured in results.items()
    }


def _gbit_s(bed: Testbed, address: str, streams: int, seconds: int) -> float:
    bed.spawn("as2", ["iperf3", "--server", "--one-off"])
    bed.wait_listening("as2", 5201)
    words = ["iperf3", "--client", address, "--time", str(seconds), "--parallel", str(streams), "--json"]
    done = bed.run("h1", words, timeout_s=seconds + 20)
    report = json.loads(done.stdout)
    if "error" in report:
        raise RuntimeError(f"iperf3 to {address}: {report['error']}")
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
