"""Settings of health, selection, lease and both addresses: read from the file, and refused where they make no sense."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from anycast_sdn.core.checks import AnyCheck, HttpCheck, IcmpCheck, PassiveCheck, TcpCheck, UdpCheck
from anycast_sdn.core.model import AnycastGroup, Distance, Lease, SelectionSettings, Server, packed
from anycast_sdn.description import enrolment, reading
from tests.unit.network_files import VALID, assert_refused, edited, refusal

NETWORK = reading.parse(VALID, "net.yaml")
WEB, _ = NETWORK.groups
CHECKS: list[dict[str, Any]] = [
    {"type": "icmp", "interval_s": 1},
    {"type": "tcp", "port": 80, "interval_s": 10, "timeout_s": 3.5, "rise": 1, "fall": 5},
    {"type": "udp", "port": 53, "dns": "www.example.com"},
    {"type": "udp", "port": 7, "payload": "0x00ff", "answer": "pong"},
    {"type": "http", "path": "/up", "expect_status": [200, 204]},
    {"type": "passive", "max_unanswered": 0.25, "max_first_reply_s": 0.5},
]


def group(changes: dict[str, Any]) -> AnycastGroup:
    return reading.parse(edited({f"groups[0].{key}": value for key, value in changes.items()}), "net.yaml").groups[0]


def test_a_group_has_checks_of_all_kinds() -> None:
    assert group({"checks": CHECKS}).checks == (
        IcmpCheck(interval_s=1, timeout_s=1),
        TcpCheck(port=80, interval_s=10, timeout_s=3.5, rise=1, fall=5),
        UdpCheck(port=53, dns="www.example.com"),
        UdpCheck(port=7, payload=b"\0\xff", answer=b"pong"),
        HttpCheck(path="/up", expect_status=(200, 204)),
        PassiveCheck(max_unanswered=0.25, max_first_reply_s=0.5),
    )


def test_a_group_says_when_it_fails_open_and_how_its_servers_are_selected() -> None:
    changed = group({"min_healthy": 2, "slow_start_s": 0, "selection": {"distance": "any"}})
    expected = replace(WEB, min_healthy=2, slow_start_s=0, selection=SelectionSettings(Distance.ANY))
    assert changed == expected


def test_a_server_has_a_capacity_and_a_lease() -> None:
    changes = {"servers[0].capacity": 100, "servers[0].lease": {"ttl_s": 30, "deregister_after_s": 600}}
    address = next(iter(WEB.servers))
    assert group(changes).servers[address] == replace(WEB.servers[address], capacity=100, lease=Lease(30, 600))


@pytest.mark.parametrize(
    ("path", "value", "at", "reason"),
    [
        ("checks[0].type", "ping", "checks[0].type", "'ping' is not icmp, tcp, udp, http or passive"),
        ("checks[0]", {"port": 80}, "checks[0].type", "is missing"),
        ("checks[0]", "tcp", "checks[0]", "must be a section of keys and values, not 'tcp'"),
        ("checks[1].port", 0, "checks[1].port", "greater than or equal to 1"),
        ("checks[1].prot", 80, "checks[1].prot", "did you mean 'port'?"),
        ("checks[0].port", 80, "checks[0].port", "unknown key: the keys here are type, interval_s"),
        ("checks[1]", {"type": "tcp"}, "checks[1].port", "is missing"),
        ("checks[1].interval_s", 0.4, "checks[1].interval_s", "greater than or equal to 0.5"),
        ("checks[1].interval_s", math.nan, "checks[1].interval_s", "valid number"),
        ("checks[1].interval_s", math.inf, "checks[1].interval_s", "valid number"),
        ("checks[1].interval_s", "5", "checks[1].interval_s", "valid number"),
        ("checks[1].interval_s", True, "checks[1].interval_s", "valid number"),
        ("checks[1].timeout_s", 11, "checks[1].timeout_s", "longer than the interval of 10 s"),
        ("checks[1].rise", 0, "checks[1].rise", "greater than or equal to 1"),
        ("checks[1].fall", 1.5, "checks[1].fall", "valid whole number"),
        ("checks[2].dns", "a..b", "checks[2].dns", "is no domain name"),
        ("checks[2].dns", "www.exämple.com", "checks[2].dns", "is no domain name"),
        ("checks[2].dns", "a" * 64, "checks[2].dns", "is no domain name"),
        ("checks[2].payload", "x", "checks[2].dns", "in place of payload and answer"),
        ("checks[3].payload", "0x0", "checks[3].payload", "bytes in hexadecimal"),
        ("checks[3].payload", "x" * 513, "checks[3].payload", "it has 513 bytes"),
        ("checks[4].path", "up", "checks[4].path", "must begin with /"),
        ("checks[4].path", "/a b", "checks[4].path", "without blanks"),
        ("checks[4].path", "/\r\nHost: x", "checks[4].path", "without blanks"),
        ("checks[4].expect_status", [99], "checks[4].expect_status[0]", "greater than or equal to 100"),
        ("checks[4].expect_status", 200, "checks[4].expect_status", "valid list"),
        ("checks[5].max_unanswered", 1.1, "checks[5].max_unanswered", "less than or equal to 1"),
        ("checks[5].max_unanswered", -0.1, "checks[5].max_unanswered", "greater than or equal to 0"),
        ("checks", [*CHECKS, dict(CHECKS[0])], "checks[6]", "the same check is there already"),
        ("checks", [{"type": "icmp", "interval_s": 1 + n} for n in range(17)], "checks", "at most 16"),
        ("min_healthy", -1, "min_healthy", "greater than or equal to 0"),
        ("min_healthy", 10_001, "min_healthy", "less than or equal to 10000"),
        ("slow_start_s", -1, "slow_start_s", "greater than or equal to 0"),
        ("slow_start_s", math.nan, "slow_start_s", "valid number"),
        ("selection", {"spill_at": 0}, "selection.spill_at", "greater than or equal to 0.1"),
        ("selection", {"spill_at": 1.01}, "selection.spill_at", "less than or equal to 1"),
        ("selection", {"distance": "far"}, "selection.distance", "is not nearest or any"),
        ("servers[0].weight", -1, "servers[0].weight", "greater than or equal to 0"),
        ("servers[0].capacity", 0, "servers[0].capacity", "greater than or equal to 1"),
        ("servers[0].lease", {"ttl_s": 0.5}, "servers[0].lease.ttl_s", "greater than or equal to 1"),
        ("servers[0].lease", {}, "servers[0].lease.ttl_s", "is missing"),
        ("servers[0].lease", 30, "servers[0].lease", "must be a section"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_their_place_in_the_file(
    path: str, value: Any, at: str, reason: str
) -> None:
    changes = {"groups[0].checks": deepcopy(CHECKS)} if path.startswith("checks[") else {}
    content = edited(changes | {f"groups[0].{path}": deepcopy(value)})
    assert_refused(refusal(content), f"groups[0].{at}", reason)


@pytest.mark.parametrize(
    ("check", "where"),
    [
        (TcpCheck(port=0), "checks[0].port"),
        (TcpCheck(port=80, interval_s=math.nan), "checks[0].interval_s"),
        (TcpCheck(port=80, timeout_s=math.inf), "checks[0].timeout_s"),
        (TcpCheck(port=80, interval_s=1, timeout_s=2), "checks[0].timeout_s"),
        (UdpCheck(port=53, dns="a.b", answer=b""), "checks[0].dns"),
        (UdpCheck(port=53, answer=b"x" * 513), "checks[0].answer"),
        (HttpCheck(expect_status=(200, 600)), "checks[0].expect_status[1]"),
        (HttpCheck(path="/" * 1025), "checks[0].path"),
        (PassiveCheck(max_first_reply_s=0), "checks[0].max_first_reply_s"),
    ],
)
def test_values_are_refused_wherever_they_come_from(check: AnyCheck, where: str) -> None:
    with pytest.raises(enrolment.InvalidSetting) as refused:
        enrolment.check_settings(replace(WEB, checks=(check,)))
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"min_healthy": 10_001}, "min_healthy"),
        ({"slow_start_s": math.nan}, "slow_start_s"),
        ({"selection": SelectionSettings(spill_at=math.nan)}, "selection.spill_at"),
    ],
)
def test_settings_of_a_group_are_refused_wherever_they_come_from(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(enrolment.InvalidSetting, match="must be within") as refused:
        enrolment.check_settings(replace(WEB, **changes))
    assert refused.value.where == where


# ------------------------------------------------------------------------------ both addresses of a server

DUAL = {"groups[0].prefixes": ["198.18.0.1/32", "2001:db8:a::1/128"]}  # as the servers' subnet


def dual(*servers: dict[str, Any]) -> str:
    return edited(DUAL | {"groups[0].servers": list(servers)})


def test_a_server_with_two_addresses_is_one_entry() -> None:
    web, _ = reading.parse(dual({"addresses": ["10.2.0.10", "2001:db8:2::10"], "weight": 3}), "net.yaml").groups
    one, other = packed("10.2.0.10"), packed("2001:db8:2::10")
    assert web.servers == {one: Server(one, 3, twin=other), other: Server(other, 3, twin=one)}


BOTH = {"addresses": ["10.2.0.10", "2001:db8:2::10"]}


@pytest.mark.parametrize(
    ("servers", "at", "reason"),
    [
        ([{}], "[0]", "needs either address or addresses"),
        ([BOTH | {"address": "10.2.0.10"}], "[0]", "needs either address or addresses"),
        ([{"addresses": ["10.2.0.10"]}], "[0].addresses", "needs at least 2 items"),
        ([{"addresses": ["10.2.0.10", "10.2.0.11"]}], "[0].addresses", "are both IPv4"),
        ([BOTH, {"address": "10.2.0.11"}, {"address": "10.9.0.1"}], "[2].address", "in no server subnet"),
        ([BOTH, {"addresses": ["10.2.0.11", "2001:db8:1::9"]}], "[1].addresses[1]", "a client subnet"),
        ([BOTH, {"addresses": ["10.2.0.1", "2001:db8:2::9"]}], "[1].addresses[0]", "the gateway of"),
        ([BOTH, {"address": "2001:db8:2::10"}], "", "is enrolled twice"),
    ],
)
def test_addresses_that_are_not_those_of_one_server_are_refused(
    servers: list[dict[str, Any]], at: str, reason: str
) -> None:
    assert_refused(refusal(dual(*deepcopy(servers))), f"groups[0].servers{at}", reason)


def test_a_server_is_behind_one_edge() -> None:
    content = edited(DUAL | {
        "switches[1].server_edge": True,
        "subnets[2]": {"name": "attic", "edge": "core", "side": "server", "gateways": ["2001:db8:3::1/64"],
                       "ports": [5]},
        "groups[0].servers": [{"addresses": ["10.2.0.10", "2001:db8:3::10"]}],
    })  # fmt: skip
    assert_refused(refusal(content), "groups[0].servers[0].addresses", "behind core: enrol them as two servers")
