"""A network file that is right, and what is said of one that is not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import reading

VALID = """
name: office
anycast_prefixes: [198.18.0.0/16, 2001:db8:a::/48]
switches:
  - name: west
    dpid: 1
    client_edge: {translation_prefixes: [203.0.113.0/24, 2001:db8:1:f::/64]}
  - {name: core, dpid: 2}
  - {name: east, dpid: 3, server_edge: true}
links:
  - {ends: [west:10, core:1], cost: 5}
  - {ends: [core:2, east:10]}
subnets:
  - {name: desks, edge: west, side: client, gateways: [10.1.0.1/24, 2001:db8:1::1/64], ports: [1, 2]}
  - {name: racks, edge: east, side: server, gateways: [10.2.0.1/24, 2001:db8:2::1/64], ports: [1]}
hosts:
  - {name: h1, subnet: desks, port: 1, addresses: [10.1.0.10, 2001:db8:1::10]}
  - {name: h2, subnet: desks, port: 2, addresses: [10.1.0.11]}
  - {name: s1, subnet: racks, port: 1, addresses: [10.2.0.10, 2001:db8:2::10]}
groups:
  - {name: web, prefixes: [198.18.0.1/32], servers: [{address: 10.2.0.10, weight: 2}, {address: 10.2.0.11}]}
  - {name: dns, prefixes: [2001:db8:a::53/128]}
"""

GONE = object()
EDGE = "switches[0].client_edge"
TRANSLATION, SERVICES = f"{EDGE}.translation_prefixes", f"{EDGE}.services"

UPLINK: dict[str, Any] = {
    "name": "up", "edge": "west", "port": 20, "addresses": ["10.9.1.1/30", "2001:db8:9::1/64"],
    "routers": ["10.9.1.2", "2001:db8:9::2"], "routes": ["0.0.0.0/0"],
    "bgp": {"local_as": 65001, "local_address": "198.51.100.1", "neighbour": "198.51.100.2", "neighbour_as": 65000},
}  # fmt: skip
CORE = {
    "as_number": 65000,
    "routers": [{"name": "r1", "loopbacks": ["10.255.0.1"], "uplinks": ["up"]},
                {"name": "r2", "loopbacks": ["10.255.0.2"]}],
    "cables": [{"ends": ["r1", "r2"], "prefixes": ["10.8.1.0/30"]}],
}  # fmt: skip


def edited(changes: dict[str, Any]) -> str:
    """VALID with the values at some paths ("switches[0].dpid") replaced, appended or taken away."""
    tree = yaml.safe_load(VALID)
    for path, value in changes.items():
        *parents, last = [int(p) if p.isdigit() else p for p in re.findall(r"[^][.]+", path)]
        place = tree
        for part in parents:
            place = place[part]
        if value is GONE:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return yaml.safe_dump(tree)


def with_uplink(**changes: Any) -> str:
    """VALID with an uplink and routers, and these values at some of their paths, "." written as "__"."""
    tree = yaml.safe_load(VALID) | {"uplinks": [UPLINK], "legacy_core": CORE}
    tree = yaml.safe_load(yaml.safe_dump(tree, default_flow_style=None))  # a copy
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        place = tree
        for part in parents:
            place = place[part]
        place[last] = value
    return yaml.safe_dump(tree)


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        reading.parse(text, "net.yaml")
    return str(caught.value).splitlines()


def assert_refused(lines: list[str], path: str, reason: str) -> None:
    """One line says FILE:LINE:COLUMN, this path and this reason; only the file as a whole has no line."""
    begins = re.compile(rf"net\.yaml(:\d+:\d+)?: {re.escape(path)}: ")
    assert any(begins.match(line) and reason in line for line in lines), lines
