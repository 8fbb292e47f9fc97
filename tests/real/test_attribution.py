"""The binding log: who had a translation address, also over the death of the controller (M34)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import PORT, V4, V6, WEB, Family, Running, anycast_sdn, edited, in_both_families, running, until

NUMBER = (1 << 40) - 1  # the bits of a cookie that are a flow's number


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "bindings.jsonl"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("attribution")
    with running(edited("figure1.yaml", directory), directory, "--binding-log", str(log)) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        yield network


def held(network: Running, address: str, at: str = "now") -> list[dict[str, Any]]:
    answer = network.call("GET", f"/v1/bindings/history?translated={address}&at={at}")
    return list(answer["bindings"])


def gaps_in_files(log: Path, address: str) -> list[str]:
    """Why the log has gaps now; it is read without a controller."""
    done = anycast_sdn("who", address, "--log", str(log), "--json")
    assert done.returncode == 0, done.stderr
    return [gap["reason"] for gap in json.loads(done.stdout)["gaps"]]


def asked(network: Running, family: Family, port: int) -> dict[str, Any]:
    """A flow of h1 that as2 has answered."""
    network.ask("h1", family.web, "--source-port", port)
    return network.flow(family.h1, port)


@in_both_families
@pytest.mark.row("M34", "the binding log tells who has a translation address, and who had it")
def test_the_log_tells_who_has_an_address(network: Running, family: Family) -> None:
    flow = asked(network, family, 24001)
    (found,) = held(network, flow["translated"])
    expected = {"client": family.h1, "client_port": 24001, "service": family.web, "service_port": PORT,
                "protocol": "udp", "server": family.as2, "edge": "arh1", "group": "web", "to": None}  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    network.call("DELETE", f"/v1/flows/{flow['edge']}/{flow['number']}")
    until(lambda: not held(network, flow["translated"]), "the log says that it has ended")
    (then,) = held(network, flow["translated"], found["from"])
    assert then["ended_by"] == "operator"
    printed = network.command("who", flow["translated"], "--at", found["from"]).stdout
    assert f"{family.h1}" in printed
    assert "ended by an operator" in printed


@pytest.mark.row("M34", "the binding log goes on after the death of the controller, and says where it has a gap")
def test_the_log_survives_the_death_of_the_controller(network: Running, log: Path) -> None:
    flow, other = asked(network, V4, 24002), asked(network, V4, 24003)
    (began,) = [each["from"] for each in held(network, other["translated"])]
    network.controller.kill()
    until(lambda: gaps_in_files(log, flow["translated"]) == ["the controller is stopped"], "the log has been closed")
    network.testbed.ofctl("del-flows", other["edge"], f"cookie={other['number']:#x}/{NUMBER:#x}")
    network.controller.start()
    until(lambda: not held(network, other["translated"]), "the flow whose rules are gone has ended")
    assert [each["ended_by"] for each in held(network, other["translated"], began)] == ["unseen"]
    (found,) = held(network, flow["translated"])
    assert (found["client_port"], found["server"], found["to"]) == (24002, V4.as2, None)
