"""Many clients at one host's port, each with an address of its own and several UDP flows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from support import PORT, V6, Family, Running, program, until


def add_clients(network: Running, host: str, family: Family, addresses: Sequence[str]) -> None:
    """The host has these addresses, too; returns when their edge knows them."""
    device, options = network.testbed.interface(host), "nodad" if family is V6 else ""
    add = f"ip address add $each dev {device} {options} && ping -c 1 -W 5 -I $each {family.gateway} &"
    network.run(host, "sh", "-c", f"for each in {' '.join(addresses)}; do {add} done; wait")


def ask_by_crowds(
    network: Running, family: Family, crowds: Mapping[str, Sequence[str]], flows: int, order: str = "in-turn"
) -> None:
    """So many flows of each client of each host ask group web, all hosts at once, and each is answered."""
    running = {
        host: network.testbed.spawn(host, program("udp_crowd.py", family.web, PORT, flows, order, *clients))
        for host, clients in crowds.items()
    }
    until(lambda: all(crowd.process.poll() is not None for crowd in running.values()), "all have asked", 60)
    said = {host: json.loads(crowd.output()) for host, crowd in running.items()}
    assert said == {host: {"answered": len(clients) * flows, "errors": {}} for host, clients in crowds.items()}


def udp_flows(network: Running, service: str) -> dict[int, tuple[str, ...]]:
    """Every UDP flow to port PORT of a service: its number, and what must not change."""
    path, found = "/v1/flows?limit=1000&group=web", {}
    while path:
        page = network.call("GET", path)
        for flow in page["flows"]:
            if (flow["service"], flow["service_port"], flow["protocol"]) == (service, PORT, "udp"):
                fixed = (str(flow[name]) for name in ("client", "client_port", "translated", "server"))
                found[flow["number"]] = tuple(fixed)
        path = page["next"]
    return found
