"""50,000 packets a second from one port: the flows of the hosts at other ports open as before (M30).

How long they take depends on how much of the machine the flood itself takes; what is shown here is that none is
refused, and that each is answered, if not at once then when it asks again, as programs do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import ARH1_MAC, ARS2_MAC, PORT, V4, V6, WEB, Family, Running, program, until

RATE, SECONDS = 50_000, 3
FLOWS, PER_SECOND = 40, 30
QUIET = {"IPv4": "198.18.9.9", "IPv6": "2001:db8:a::9"}  # the flood's service, of a server of its own


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    figure1.enrol("quiet", ["198.18.9.9/32", "2001:db8:a::9/128"], [V4.as3, V6.as3])
    figure1.serve_udp("as2")
    for family in (V4, V6):
        assert figure1.ask("h2", family.web) == ["as2 hello"]
    return figure1


@contextmanager
def flood(network: Running, kind: str, host: str, source: str, destination: str) -> Iterator[None]:
    """The host floods from before the block begins; the block should end first."""
    gateway = {"h1": ARH1_MAC, "as3": ARS2_MAC[:-1] + b"\3"}[host].hex(":")
    words = program("flood.py", network.testbed.interface(host), RATE, SECONDS, kind, gateway, source, destination)
    sender = network.testbed.spawn(host, words)
    until(lambda: "ready" in sender.output(), "the flood begins")
    yield
    until(lambda: "sent" in sender.output(), "the flood ends")
    assert int(sender.output().split()[-1]) > RATE * SECONDS / 10


def opened(network: Running, family: Family) -> dict[str, Any]:
    """What programs/latency.py says of new flows of h2."""
    first = network._new_ports(FLOWS)
    said: dict[str, Any] = json.loads(
        network.run("h2", *program("latency.py", family.web, PORT, FLOWS, PER_SECOND, first))
    )
    return said


@pytest.mark.row("M30", "50,000 packets/s from one port: every new flow of another port is answered, none refused")
@pytest.mark.parametrize(
    ("kind", "family"),
    [("ports", V6), ("sources", V4), ("pings", V4), ("unknown hosts", V6), ("arp", V4), ("replies", V6)],
    ids=["new flows", "invented sources", "pings", "unknown hosts", "ARP", "replies of nobody's"],
)
def test_a_flood_from_one_port_keeps_nobody_else_from_a_service(network: Running, kind: str, family: Family) -> None:
    if kind == "replies":
        host, how, source, destination = "as3", "targets", family.as3, "2001:db8:1:f::1:0"
    else:
        host, how, source = "h1", "targets" if kind == "unknown hosts" else kind, family.h1
        destination = {"ports": QUIET[family.name], "sources": family.web, "unknown hosts": family.h2}.get(
            kind, family.gateway
        )
    with flood(network, how, host, source, destination):
        # IPv6 but once: a client's share of a small IPv4 pool is soon used up by such measurements.
        during = opened(network, V4 if kind == "sources" else V6)
    assert during["answered"] == FLOWS, during
