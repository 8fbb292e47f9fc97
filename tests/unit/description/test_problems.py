"""Messages about mistakes in the network file: the position, and the name that was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.description.problems import did_you_mean
from anycast_sdn.description.reading import SUGGESTIONS
from tests.unit.network_files import VALID, edited, refusal, with_uplink


def line_of(text: str, content: str) -> int:
    return next(number for number, line in enumerate(content.split("\n"), 1) if text in line)


@pytest.mark.parametrize(
    ("right", "wrong", "path", "key"),
    [
        ("{name: core, dpid: 2}", "{name: core, dpid: 3}", "switches[2].dpid", "dpid: 3, server_edge"),
        ("    dpid: 1", "    dpid: none", "switches[0].dpid", "dpid: none"),
        ("cost: 5", "cots: 5", "links[0].cots", "cots: 5"),
        ("[core:2, east:10]", "[core:2, aest:10]", "links[1].ends[1]", "aest:10"),
        ("  - {name: dns, prefixes: [2001:db8:a::53/128]}", "  - {name: dns}", "groups[1].prefixes", "{name: dns}"),
    ],
)
def test_a_problem_has_the_line_and_the_column_of_its_key(right: str, wrong: str, path: str, key: str) -> None:
    assert right in VALID
    content = VALID.replace(right, wrong)
    number = line_of(key, content)
    column = content.split("\n")[number - 1].index(key) + 1
    assert refusal(content)[0].startswith(f"net.yaml:{number}:{column}: {path}: ")


def test_problems_come_in_the_order_of_the_file() -> None:
    content = VALID.replace("desks, edge: west", "desks, edge: wets").replace("core:1]", "cor:1]")
    content = content.replace("subnet: racks", "subnet: rack")
    paths = [line.split(": ")[1] for line in refusal(content)]
    assert paths == ["links[0].ends[1]", "subnets[0].edge", "hosts[2].subnet"]


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("nmae", "x", "name"),
        ("switches[1].client_egde", {}, "client_edge"),
        ("switches[0].client_edge.validity", {"udp": 3}, "udp_s"),
        ("limits", {"first_packet": 3}, "first_packets"),
        ("links[0].ends[1]", "cor:1", "core"),
        ("subnets[0].edge", "West", "west"),
        ("hosts[0].subnet", "desk", "desks"),
    ],
)
def test_the_name_that_was_probably_meant_is_suggested(path: str, value: Any, meant: str) -> None:
    (line, *_) = (line for line in refusal(edited({path: value})) if "did you mean" in line)
    assert line.endswith(f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("uplinks__0__edge", "wset", "west"),
        ("legacy_core__routers__0__uplinks", ["upp"], "up"),
        ("legacy_core__cables__0__ends", ["r1", "r22"], "r2"),
        ("uplinks__0__bgp__neighbor", "198.51.100.2", "neighbour"),
    ],
)
def test_the_name_that_was_probably_meant_is_suggested_for_uplinks(path: str, value: Any, meant: str) -> None:
    (line, *_) = (line for line in refusal(with_uplink(**{path: value})) if "did you mean" in line)
    assert line.endswith(f"; did you mean {meant!r}?")


def test_no_name_is_suggested_when_none_is_similar() -> None:
    assert did_you_mean("zzz", ["core", "west"]) == ""
    assert did_you_mean("", []) == ""


def test_a_file_full_of_mistakes_is_refused_quickly() -> None:
    """Suggestions are made for the first problems only: each is compared with every name."""
    switches = [{"name": f"sw{number}", "dpid": number} for number in range(1, 2001)]
    links = [{"ends": [f"sx{number}:1", f"sy{number}:2"]} for number in range(1000)]
    lines = refusal(edited({"switches": switches, "links": links, "subnets": [], "hosts": [], "groups": []}))
    assert len(lines) == 2000
    assert 0 < sum("did you mean" in line for line in lines) <= SUGGESTIONS
