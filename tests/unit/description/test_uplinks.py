"""The network file: uplinks, their BGP sessions, and the testbed's ordinary routers."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from anycast_sdn.core.model import packed
from anycast_sdn.core.roles import Side
from anycast_sdn.description import reading
from tests.unit.network_files import UPLINK, assert_refused, refusal, with_uplink


def test_an_uplink_is_read_with_its_session() -> None:
    more = {"uplinks__0__bgp__communities": ["65001:100"], "uplinks__0__bgp__password": "open-sesame"}
    network = reading.parse(with_uplink(**more), "net.yaml")
    (uplink,) = network.uplinks
    assert uplink.bgp is not None
    assert uplink.bgp.router_id == packed("10.9.1.1")
    assert uplink.bgp.communities == (65001 << 16 | 100,)
    assert uplink.bgp.password == "open-sesame"
    assert "sesame" not in repr(network), "it is in no log"
    assert (uplink.bgp.hold_s, uplink.bgp.ttl, uplink.bgp.med) == (10, 1, None)
    assert uplink.subnet.side is Side.UPLINK
    assert network.legacy_core is not None
    assert network.legacy_core.routers[0].router_id == packed("10.255.0.1")


@pytest.mark.parametrize(
    ("path", "value", "where", "reason"),
    [
        ("uplinks__0__edge", "north", "uplinks[0].edge", "no switch is called 'north'"),
        ("uplinks__0__port", 10, "uplinks[0].port", "port west:10 is already taken by links[0].ends[0]"),
        ("uplinks__0__port", 1, "uplinks[0].port", "port west:1 is already taken by subnets[0].ports[0]"),
        ("uplinks__0__addresses__0", "10.1.0.9/24", "uplinks[0].addresses[0]", "overlaps 10.1.0.0/24"),
        ("uplinks__0__addresses__0", "10.9.1.0/30", "uplinks[0].addresses[0]", "is the network address"),
        ("uplinks__0__addresses__0", "10.9.1.1/32", "uplinks[0].addresses[0]", "no room for a router"),
        ("uplinks__0__addresses__1", "10.9.5.1/30", "uplinks[0].addresses[1]", "second address of its family"),
        ("uplinks__0__routers__0", "10.9.2.2", "uplinks[0].routers[0]", "10.9.2.2 is not on the link"),
        ("uplinks__0__routers__0", "10.9.1.1", "uplinks[0].routers[0]", "the edge's own address"),
        ("uplinks__0__routers__0", "10.9.1.3", "uplinks[0].routers[0]", "is the broadcast address"),
        ("uplinks__0__routers__1", "10.9.1.2", "uplinks[0].routers[1]", "second router of its family"),
        ("uplinks__0__routers", ["2001:db8:9::2"], "uplinks[0].routes[0]", "the uplink has no IPv4 router"),
        ("uplinks__0__bgp__local_address", "2001:db8::1", "uplinks[0].bgp.local_address", "of another family"),
        ("uplinks__0__bgp__local_address", "198.51.100.2", "uplinks[0].bgp.neighbour", "the controller's own address"),
        ("uplinks__0__bgp__router_id", "2001:db8::1", "uplinks[0].bgp.router_id", "must be an IPv4 address"),
        ("uplinks__0__routes", ["224.0.0.0/4"], "uplinks[0].routes[0]", "224.0.0.0/4 is multicast"),
        ("uplinks__0__routes", ["10.1.0.0/25"], "uplinks[0].routes[0]", "is the edge's own (10.1.0.0/24)"),
        ("uplinks__0__routes", ["203.0.113.0/24"], "uplinks[0].routes[0]", "is the edge's own"),
        ("uplinks__0__routes", ["10.7.0.0/16", "10.7.0.0/16"], "uplinks[0].routes[1]", "is written twice"),
        ("uplinks__0__bgp__local_address", "0.0.0.0", "uplinks[0].bgp.local_address", "is reserved for this host"),
        ("uplinks__0__bgp__neighbour", "224.0.0.5", "uplinks[0].bgp.neighbour", "is multicast"),
        ("uplinks__0__bgp__neighbour", "198.18.0.9", "uplinks[0].bgp.neighbour", "an anycast prefix"),
        ("uplinks__0__bgp__neighbour", "203.0.113.9", "uplinks[0].bgp.neighbour", "a translation prefix of west"),
        ("uplinks__0__bgp__local_as", 0, "uplinks[0].bgp.local_as", "0 is no AS number"),
        ("uplinks__0__bgp__local_as", 23456, "uplinks[0].bgp.local_as", "23456 is no AS number"),
        ("uplinks__0__bgp__local_as", "65001", "uplinks[0].bgp.local_as", "'65001' is no AS number"),
        ("uplinks__0__bgp__local_as", 65000, "uplinks[0].bgp.local_as", "is the router's AS, too"),
        ("uplinks__0__bgp__communities", 65 * ["65001:1"], "uplinks[0].bgp.communities", "at most 64 items"),
        ("uplinks__0__bgp__communities", ["65001:70000"], "uplinks[0].bgp.communities[0]", "each half is 0-65535"),
        ("uplinks__0__mtu", 1200, "uplinks[0].mtu", "1200 is too small for IPv6"),
        ("uplinks__0__mtu", 70000, "uplinks[0].mtu", "less than or equal to 65520"),
        ("uplinks__0__bgp__password", "", "uplinks[0].bgp.password", "is no password"),
        ("uplinks__0__bgp__password", 81 * "x", "uplinks[0].bgp.password", "is no password"),
        ("uplinks__0__bgp__password", 12345, "uplinks[0].bgp.password", "digits in quotes"),
        ("uplinks__0__bgp__hold", 3, "uplinks[0].bgp.hold", "unknown key: the keys here are local_as, "),
        ("legacy_core__as_number", 65009, "legacy_core.routers[0].uplinks[0]", "but up expects 65000"),
        ("legacy_core__routers__0__uplinks", ["down"], "legacy_core.routers[0].uplinks[0]", "no uplink is called"),
        ("legacy_core__routers__1__uplinks", ["up"], "legacy_core.routers[1].uplinks[0]", "is already taken"),
        ("legacy_core__routers__1__name", "east", "legacy_core.routers[1].name", "node name east is already taken"),
        ("legacy_core__routers__1__loopbacks", ["2001:db8::9"], "legacy_core.routers[1].loopbacks", "one IPv4 address"),
        ("legacy_core__routers__1__loopbacks", ["127.0.0.1"], "legacy_core.routers[1].loopbacks[0]", "loopback"),
        ("legacy_core__routers__1__loopbacks", ["10.9.1.2"], "legacy_core.routers[1].loopbacks[0]", "overlaps 10"),
        ("legacy_core__cables__0__ends", ["r1", "r9"], "legacy_core.cables[0].ends[1]", "no router is called 'r9'"),
        ("legacy_core__cables__0__ends", ["r1", "r1"], "legacy_core.cables[0].ends", "leads from r1 to itself"),
        ("legacy_core__cables__0__prefixes", ["10.8.1.0/31"], "legacy_core.cables[0].prefixes[0]", "is too small"),
        ("legacy_core__cables__0__prefixes", ["10.2.0.0/24"], "legacy_core.cables[0].prefixes[0]", "overlaps 10.2"),
    ],
)
def test_a_mistake_in_an_uplink_is_refused_with_path_and_reason(path: str, value: Any, where: str, reason: str) -> None:
    assert_refused(refusal(with_uplink(**{path: value})), where, reason)


def test_a_malformed_password_is_not_shown() -> None:
    for written in ("my secret", 123456789):
        assert str(written) not in "\n".join(refusal(with_uplink(uplinks__0__bgp__password=written)))


def test_an_uplink_without_ipv4_needs_a_router_id() -> None:
    changes = {"addresses": ["2001:db8:9::1/64"], "routers": ["2001:db8:9::2"], "routes": []}
    text = with_uplink(**{f"uplinks__0__{key}": value for key, value in changes.items()})
    assert_refused(refusal(text), "uplinks[0].bgp.router_id", "is missing")


def test_two_edges_of_an_as_need_different_router_ids() -> None:
    other = copy.deepcopy(UPLINK) | {"name": "down", "edge": "east"}
    other |= {"addresses": ["10.9.2.1/30"], "routers": ["10.9.2.2"]}
    bgp = other["bgp"] | {"neighbour": "198.51.100.6", "router_id": "10.9.1.1"}
    lines = refusal(with_uplink(uplinks=[UPLINK, other | {"bgp": bgp}]))
    assert_refused(lines, "uplinks[1].bgp.router_id", "the router id 10.9.1.1 of AS 65001 is already taken")


# ------------------------------------------------------------------------------ several controllers

MEMBERS = [
    {"name": "m0", "local_address": "198.51.100.1", "router_id": "10.9.1.1"},
    {"name": "m1", "local_address": "198.51.100.5", "router_id": "10.255.1.2", "neighbour": "198.51.100.6"},
]


def test_each_member_of_a_cluster_has_a_session_of_its_own() -> None:
    (uplink,) = reading.parse(with_uplink(uplinks__0__bgp__members=MEMBERS), "net.yaml").uplinks
    session = uplink.bgp
    assert session is not None
    first, second = session.of_member("m0"), session.of_member("m1")
    assert first is not None
    assert second is not None
    assert (first.local_address, first.neighbour) == (session.local_address, session.neighbour)
    assert (second.local_address, second.neighbour) == (packed("198.51.100.5"), packed("198.51.100.6"))
    assert second.router_id == packed("10.255.1.2")
    assert (second.local_as, second.neighbour_as) == (session.local_as, session.neighbour_as)
    assert session.of_member("m2") is None
    assert len(session.all_sessions()) == 2


@pytest.mark.parametrize(
    ("number", "key", "value", "reason"),
    [
        (1, "name", "m0", "is already taken by"),
        (1, "router_id", "10.9.1.1", "is already taken by"),
        (1, "router_id", "2001:db8::1", "must be an IPv4 address"),
        (1, "local_address", "198.51.100.6", "the controller's own address"),
        (1, "local_address", "2001:db8::1", "of another family"),
        (1, "neighbour", "224.0.0.5", "is multicast"),
    ],
)
def test_members_that_cannot_have_their_sessions_are_refused(number: int, key: str, value: str, reason: str) -> None:
    members = copy.deepcopy(MEMBERS)
    members[number][key] = value
    where = f"uplinks[0].bgp.members[{number}]"
    (refused,) = refusal(with_uplink(uplinks__0__bgp__members=members))
    assert where in refused
    assert reason in refused


def test_two_members_do_not_share_an_address_for_one_router() -> None:
    members = [MEMBERS[0], {**MEMBERS[0], "name": "m1", "router_id": "10.255.1.2"}]
    (refused,) = refusal(with_uplink(uplinks__0__bgp__members=members))
    assert "is already taken by uplinks[0].bgp.members[0].local_address" in refused
