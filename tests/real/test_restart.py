"""The controller may die: flows go on, and a new one finds everything as it was (M19, M20, M27)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from programs import TestbedError
from support import PORT, V4, V6, WEB, Running, edited, program, running, until

BOTH = (V4, V6)
SWITCHES = ("arh1", "core", "ars2", "ars3")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Figure 1, but echoes are forgotten after 2 s."""
    directory = tmp_path_factory.mktemp("restart")
    with running(edited("figure1.yaml", directory, ("icmp_s: 60", "icmp_s: 2")), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2, V4.as3, V6.as3])
        network.enrol("other", ["198.18.6.0/28"], [V4.as4])
        network.call("PATCH", f"/v1/groups/web/servers/{V4.as3}", {"weight": 3, "state": "disabled"})
        network.serve_udp("as2", "as3", "as4")
        network.serve_tcp("as2", "as3")
        yield network


def flows(network: Running) -> list[dict[str, Any]]:
    """The flow listing without "since", which a restart begins anew."""
    return [{name: value for name, value in flow.items() if name != "since"} for flow in network.flows()]


def enrolments(network: Running) -> list[dict[str, Any]]:
    """All groups with their servers, but what is observed of these."""
    groups: list[dict[str, Any]] = network.call("GET", "/v1/groups")["groups"]
    observed = {"health", "load", "shares", "effective_weight", "excluded", "reachable", "flows"}
    for group in groups:
        group["servers"] = [{name: server[name] for name in server.keys() - observed} for server in group["servers"]]
    return groups


def rules(network: Running, of_flows: bool = True) -> dict[str, list[str]]:
    """What each switch holds: rules, with or without those of flows, groups and meters; without counters."""
    held = {}
    for switch in SWITCHES:
        lines = network.testbed.ofctl("dump-flows", switch, "--no-stats").splitlines()[1:]
        lines += network.testbed.ofctl("dump-groups", switch).splitlines()[1:]
        lines += network.testbed.ofctl("dump-meters", switch).splitlines()[1:]
        held[switch] = sorted(line for line in lines if of_flows or "idle_timeout" not in line)
    return held


def changed(network: Running, before: dict[str, list[str]]) -> list[str]:
    """What is held now and was not, or was and is not."""
    return [
        f"{switch}: {line}" for switch, held in rules(network).items() for line in set(held) ^ set(before[switch])
    ]


@pytest.mark.row("M20", "the controller is killed and comes back: TCP goes on meanwhile, PR1X and servers are the same")
@pytest.mark.row("M27", "enrolments, weights and states are there after a restart (SQLite)")
@pytest.mark.row("M29", "the flow listing after the restart is the one before; so are all rules on all switches")
def test_nothing_is_lost_when_the_controller_is_killed(network: Running) -> None:
    with network.transfer("h1", V4.web, "as2"), network.transfer("h1", V6.web, "as2"):
        for family in BOTH:
            assert network.ask("h2", family.web, "--source-port", 21101) == ["as2 hello"]
            network.ask("h2", family.web, "--source-port", 21102, "--text", "quiet", "--answers", 0)
        before = flows(network), rules(network), enrolments(network)

        network.controller.kill()
        for family in BOTH:  # pinned flows need no controller
            assert network.ask("h2", family.web, "--source-port", 21101) == ["as2 hello"]
        network.controller.start()

        network.wait_for_servers("web", "other")
        with suppress(TestbedError):  # the next line shows the difference
            until(lambda: not changed(network, before[1]), "the switches hold what they held")
        assert changed(network, before[1]) == []
        assert (flows(network), enrolments(network)) == (before[0], before[2])
        for family in BOTH:
            assert network.ask("h2", family.web, "--source-port", 21101) == ["as2 hello"]
            assert network.ask("h2", family.web, "--source-port", 21102) == ["as2 hello"]
            assert network.ask("h2", family.web, "--source-port", 21103) == ["as2 hello"]
    translated = [flow["translated"] for flow in network.flows()]
    assert len(translated) == len(set(translated))


@pytest.mark.row("M19", "flows that ended while the controller was away are gone, rules of other programs are removed")
def test_what_happened_meanwhile_is_found(network: Running) -> None:
    held = rules(network, of_flows=False)
    for family in BOTH:
        network.run("h2", "ping", "-c", "1", "-W", "2", family.web)
    assert [flow["protocol"] for flow in network.flows() if flow["protocol"].startswith("icmp")] == ["icmp", "icmpv6"]
    network.controller.kill()
    until(lambda: "idle_timeout=2," not in network.testbed.ofctl("dump-flows", "arh1"), "the echoes' rules expire")
    network.testbed.ofctl("add-flow", "ars2", "table=4,priority=9999,ip,actions=drop")
    network.testbed.ofctl("del-flows", "core")
    network.controller.start()
    until(lambda: rules(network, of_flows=False) == held, "the switches hold what they should")
    assert [flow for flow in network.flows() if flow["protocol"].startswith("icmp")] == []
    for family in BOTH:
        assert network.ask("h1", family.web) == ["as2 hello"]


@pytest.mark.row("M13", "a connection that begins while the controller is away is made once it is back")
def test_a_new_connection_waits_for_the_controller(network: Running) -> None:
    network.controller.stop()
    client = network.testbed.spawn("h2", program("tcp_client.py", V6.web, PORT))
    with network.testbed.capture("h2", 0, "ip6 and tcp") as syns:
        syns.wait_for(1)
    network.controller.start()
    until(lambda: client.process.poll() is not None, "the connection is served")
    assert client.output().splitlines()[1] == "1000 bytes, checksum right", client.output()
