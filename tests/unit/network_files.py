"""A network file that is right, and what is said of one that is not."""

from __future__ import annotations

import pytest

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


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        reading.parse(text, "net.yaml")
    return str(caught.value).splitlines()


def assert_refused(lines: list[str], path: str, reason: str) -> None:
    assert any(line.startswith(f"net.yaml: {path}: ") and reason in line for line in lines), lines
