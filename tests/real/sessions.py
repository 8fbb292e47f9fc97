"""Sessions of two groups side by side: ``web``, whose servers have a capacity, and ``near``, whose servers have none.

Both have the same hosts, with servers of their own that hold the same number of connections, and clients that begin
sessions at the same times.  So what differs is the selection: with it, or to the nearest edge by weight alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from support import V6, Family, Running, edited, program

FAMILY: Family = V6  # its pool is large enough
PORTS = {"web": 7001, "near": 7002}
SERVICES = {"web": "2001:db8:a::1", "near": "2001:db8:a::2"}
HOSTS = ("as2", "as3", "as4")


class Request(NamedTuple):
    at_s: float
    server: str  # "-": refused


@dataclass
class Scene:
    """``demand``: sessions that there would be at once if none was refused, from each time on."""

    name: str
    demand: Mapping[float, float]
    length_s: float
    capacity: int = 100
    lifetime_s: float = 10.0
    limits: Mapping[str, int] = field(default_factory=dict)  # host → what it can really hold, if not its capacity
    says: Callable[[str, float], float | None] = lambda host, share: None  # (host, share of its limit) → reported load
    checks: tuple[dict[str, object], ...] = ()
    hosts: tuple[str, ...] = ("as2", "as3")
    dies_at_s: float | None = None  # as2's servers


def network_file(directory: Path) -> Path:
    """Figure 1, where an ended connection is forgotten after a second."""
    return edited("figure1.yaml", directory, ("tcp_closed_s: 5 ", "tcp_closed_s: 1 "))


def play(network: Running, scene: Scene, directory: Path) -> dict[str, list[Request]]:
    """→ the requests of each group, in order."""
    servers: dict[tuple[str, str], Any] = {}
    for group, port in PORTS.items():
        for host in scene.hosts:
            limit = scene.limits.get(host, scene.capacity)
            words = program("session_server.py", host, port, limit, directory / f"{group}-{host}")
            servers[group, host] = network.testbed.spawn(host, words)
    for port in PORTS.values():
        for host in scene.hosts:
            network.testbed.wait_listening(host, port)
    for group in PORTS:
        enrol(network, group, scene)
    steps = [f"{at}:{demand / scene.lifetime_s}" for at, demand in scene.demand.items()]
    clients = {
        group: network.testbed.spawn(
            "h1", program("session_client.py", SERVICES[group], port, scene.lifetime_s, 1, *steps, scene.length_s)
        )
        for group, port in PORTS.items()
    }
    over = threading.Event()
    reports = threading.Thread(target=_report, args=(network, scene, directory, over))
    reports.start()
    try:
        if scene.dies_at_s is not None:
            over.wait(scene.dies_at_s)
            for group in PORTS:
                servers[group, "as2"].stop()
        for client in clients.values():
            client.process.wait(scene.length_s + 60)
        return {group: _requests(client.output()) for group, client in clients.items()}
    finally:
        over.set()
        reports.join()
        for server in servers.values():
            server.stop()
        for group in PORTS:
            network.call("DELETE", f"/v1/groups/{group}")


def enrol(network: Running, group: str, scene: Scene) -> None:
    settings: dict[str, object] = {"prefixes": [f"{SERVICES[group]}/128"]}
    if group == "web":
        settings |= {"checks": list(scene.checks), "slow_start_s": 0}
    network.call("PUT", f"/v1/groups/{group}", settings)
    for host in scene.hosts:
        server = {"capacity": scene.capacity} if group == "web" else {}
        network.call("PUT", f"/v1/groups/{group}/servers/{getattr(FAMILY, host)}", server)
    network.wait_for_servers(group)


def _report(network: Running, scene: Scene, directory: Path, over: threading.Event) -> None:
    """Each server of web says its load every 5 s, as its agent would."""
    while not over.wait(5.0):
        for host in scene.hosts:
            held = int((directory / f"web-{host}").read_text() or 0)
            load = scene.says(host, min(1.0, held / scene.limits.get(host, scene.capacity)))
            if load is not None:
                network.call("PUT", f"/v1/groups/web/servers/{getattr(FAMILY, host)}/load", {"cpu": load})


def _requests(output: str) -> list[Request]:
    lines = (line.split() for line in output.splitlines())
    return sorted(Request(float(at), server) for at, server in lines)


def served(requests: Iterable[Request], from_s: float = 0.0, to_s: float = 1e9) -> float:
    """The share of the requests of this time that a server has accepted."""
    some = [request for request in requests if from_s <= request.at_s < to_s]
    return sum(request.server != "-" for request in some) / max(1, len(some))
