"""Who is asked when what has become of first packets."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.reply_times import MOST, STEPS
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.first_replies import WAIT_S
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, FlowKey
from anycast_sdn.description import reading

EDGES = 2 * STEPS


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    """Of a network of many client edges."""
    switches: list[dict[str, Any]] = [{"name": "core", "dpid": 1}]
    links, subnets = [], []
    for number in range(EDGES):
        role = {"translation_prefixes": [f"203.0.{number}.0/24"]}
        switches.append({"name": f"arh{number}", "dpid": 2 + number, "client_edge": role})
        links.append({"ends": [f"arh{number}:10", f"core:{1 + number}"]})
        subnets.append({"name": f"n{number}", "edge": f"arh{number}", "side": "client", "ports": [1],
                        "gateways": [f"10.1.{number}.1/24"]})  # fmt: skip
    described = {"name": "wide", "anycast_prefixes": ["198.18.0.0/16"], "switches": switches, "links": links}
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(described | {"subnets": subnets}))
    return Controller(reading.load(tmp_path / "wide.yaml"), Groups(), random.Random(1))


def ask(controller: Controller, edge: str, flows: int) -> None:
    switch = controller.switch(edge)
    assert switch
    for number in range(1, flows + 1):
        key = FlowKey(b"\n\1\0\1", b"\xc6\x12\0\1", UDP, number % 65536, 53)
        switch.engine.first_replies.asked(Binding(number, key, bytes(4), "web", 0.0))


def told(controller: Controller, steps: int) -> dict[str, int]:
    """Client edge → how many flows it has told of."""
    counted: dict[str, int] = {}
    for _ in range(steps):
        for client, observed in controller.reply_times.step(controller.groups, WAIT_S):
            counted[client] = counted.get(client, 0) + sum(observed.unanswered.values())
    return counted


def test_each_edge_is_asked_once_a_second(controller: Controller) -> None:
    for number in range(EDGES):
        ask(controller, f"arh{number}", 1)
    assert told(controller, STEPS) == dict.fromkeys((f"arh{number}" for number in range(EDGES)), 1)


def test_a_flood_at_one_edge_is_told_of_as_it_comes(controller: Controller) -> None:
    ask(controller, "arh7", 3 * MOST)
    assert told(controller, 4)["arh7"] >= 2 * MOST
