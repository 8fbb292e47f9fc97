"""Real Open vSwitch that cannot carry out a role in one family: it is not used for it, and clients are told (M35)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from played import playing, roles
from support import Running, until

NO_IPV6 = "{hardware: IPv4 only, refuse: [{set: [ipv6_src, ipv6_dst]}]}"
COULD_NOT_CONNECT = 7  # curl's status; 28 is a timeout


@pytest.fixture(scope="module")
def client_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with playing(tmp_path_factory.mktemp("withdrawn"), arh1=NO_IPV6) as network:
        yield network


def curl(network: Running, url: str) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    done = network.testbed.run("h1", ["curl", "-gsS", "-m", "5", url])
    return done, time.monotonic() - began


@pytest.mark.row("M35", "a client edge that cannot set IPv6 addresses: IPv4 is served, IPv6 refused at once")
def test_ipv4_is_served_and_ipv6_is_refused_at_once_and_takes_no_address(client_edge: Running) -> None:
    assert {answer.split()[0] for answer in client_edge.ask("h1", "198.18.0.1", "--flows", 8)} == {"as2"}
    before = client_edge.drops("arh1", "switch_unable")
    for _ in range(5):
        done, took = curl(client_edge, "http://[2001:db8:a::1]/")
        assert done.returncode == COULD_NOT_CONNECT, done
        assert took < 2
    until(lambda: client_edge.drops("arh1", "switch_unable") >= before + 5, "arh1 counts them")
    pool = client_edge.edge("arh1")["pools"]["ipv6"]
    assert (pool["leased"], pool["resting"]) == (0, 0)


def test_health_says_what_the_switch_lacks_and_what_follows(client_edge: Running) -> None:
    assert roles(client_edge, "arh1")["client edge"]["families"] == ["ipv4"]
    reasons = client_edge.controller.rest("GET", "/healthz").body["reasons"]
    (reason,) = (each for each in reasons if each["subject"].get("name") == "arh1")
    assert "cannot be a client edge for IPv6: it cannot set IPv6 addresses" in reason["detail"]
    assert reason["effect"] == "New IPv6 flows of its clients are refused."
    assert "bad set type" in client_edge.controller.log()
