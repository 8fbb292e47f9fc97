"""topologies/ring.yaml in operation, and ways to break it, for tests and the benchmark."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import TOPOLOGIES, Running, program, running, until

if TYPE_CHECKING:
    from testbed import Program

ANY = {4: "198.18.0.1", 6: "2001:db8:a::1"}
TCP_PORT = 8000


@contextmanager
def ring(directory: Path, file: Path = TOPOLOGIES / "ring.yaml", *options: str) -> Iterator[Running]:
    """All servers serve, and all links are confirmed.  ``options``: further ones of ``anycast-sdn run``."""
    with running(file, directory, *options) as network:
        network.serve_tcp("as1", "as2", "as3", port=TCP_PORT)
        network.serve_udp("as1", "as2", "as3")
        network.wait_for_servers("web")
        all_links_up(network)
        yield network


def links(network: Running) -> dict[str, str]:
    """'c1:1 c2:2' → its state."""
    return {" ".join(link["ends"]): link["state"] for link in network.call("GET", "/v1/topology")["links"]}


def all_links_up(network: Running) -> None:
    confirmed = "confirmed"
    until(lambda: all(link[confirmed] for link in network.call("GET", "/v1/topology")["links"]), "links are confirmed")
    until(lambda: set(links(network).values()) == {"up"}, "all links are up")


def begin_transfers(network: Running, seconds: float) -> list[Program]:
    """200 of them: 50 from each site in each family."""
    crowds = [
        network.testbed.spawn(host, program("tcp_crowd.py", ANY[v], TCP_PORT, "--transfers", 50, "--seconds", seconds))
        for host in ("h1", "h3")
        for v in (4, 6)
    ]
    for crowd in crowds:
        until(lambda crowd=crowd: "connected" in crowd.output(), "50 transfers are connected")
    return crowds


def end_transfers(crowds: list[Program]) -> tuple[list[dict[str, int]], float]:
    """Waits for them; all must have come to their end → the servers of each crowd, and the longest stall."""
    for crowd in crowds:
        until(lambda crowd=crowd: crowd.process.poll() is not None, "the transfers end", 60)
    results: list[dict[str, Any]] = [json.loads(crowd.output().splitlines()[-1]) for crowd in crowds]
    assert [(result["finished"], result["failed"]) for result in results] == [(50, 0)] * 4, results
    return [result["servers"] for result in results], max(result["longest"] for result in results)


@contextmanager
def cut(network: Running, switch: str, port: int) -> Iterator[None]:
    """The cable is pulled: both ends lose their carrier."""
    interface = network.testbed.interface(switch, port)
    subprocess.run(["ip", "link", "set", interface, "down"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", interface, "up"], check=True)


@contextmanager
def deafened(network: Running, *ports: tuple[str, int]) -> Iterator[None]:
    """What comes in by these ports is lost, and the carrier stays.

    By the ports' settings, because the controller removes rules of others.
    """
    for switch, port in ports:
        network.testbed.ofctl("mod-port", switch, str(port), "no-receive")
    try:
        yield
    finally:
        for switch, port in ports:
            network.testbed.ofctl("mod-port", switch, str(port), "receive")


@contextmanager
def draining(network: Running, *servers: str) -> Iterator[None]:
    """These take no new flow."""

    def make(state: str) -> None:
        for address in servers:
            network.call("PATCH", f"/v1/groups/web/servers/{address}", {"state": state})

    make("draining")
    try:
        yield
    finally:
        make("active")
