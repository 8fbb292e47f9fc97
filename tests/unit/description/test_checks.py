"""A network file whose parts contradict one another is refused, with the path of the part to change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.network_files import EDGE, GONE, SERVICES, TRANSLATION, assert_refused, edited, refusal


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        # names, datapath ids, links
        ("switches[1].name", "west", "node name west is already taken by switches[0].name"),
        ("switches[1].dpid", 1, "datapath id 0x1 is already taken by switches[0].dpid"),
        ("hosts[1].name", "h1", "node name h1 is already taken by hosts[0].name"),
        ("hosts[1].name", "core", "node name core is already taken by switches[1].name"),
        ("subnets[1].name", "desks", "already taken by subnets[0].name"),
        ("groups[1].name", "web", "already taken by groups[0].name"),
        ("hosts[1].addresses[0]", "10.1.0.10", "taken by hosts[0].addresses[0]"),
        ("links[1].ends[0]", "core:1", "port core:1 is already taken by links[0].ends[1]"),
        ("subnets[0].ports[2]", 10, "port west:10 is already taken by links[0].ends[0]"),
        ("subnets[0].ports[2]", 1, "port 1 is written twice"),
        ("links[0].ends[1]", "cor:1", "leads to nowhere: no switch is called 'cor'"),
        # one purpose for each address
        ("anycast_prefixes[2]", "198.18.4.0/24", "overlaps 198.18.0.0/16, an anycast prefix"),
        ("subnets[1].gateways[0]", "10.1.0.129/25", "overlaps 10.1.0.0/24, subnet desks"),
        (f"{TRANSLATION}[0]", "10.2.0.0/28", "overlaps 10.2.0.0/24, subnet racks"),
        (f"{TRANSLATION}[0]", "198.0.0.0/8", "overlaps 198.18.0.0/16, an anycast prefix"),
        (f"{TRANSLATION}[2]", "203.0.113.64/26", f"a translation prefix of west ({TRANSLATION}[0])"),
        (f"{TRANSLATION}[1]", "2001:db8:2::/64", "overlaps 2001:db8:2::/64, subnet racks"),
        ("anycast_prefixes[0]", "0.0.0.0/0", "0.0.0.0/0 overlaps 0.0.0.0/8"),
        ("anycast_prefixes[0]", "224.1.0.0/16", "which is multicast"),
        ("anycast_prefixes[1]", "::/0", "::/0 overlaps"),
        (f"{TRANSLATION}[0]", "127.1.0.0/16", "which is loopback"),
        (f"{TRANSLATION}[1]", "ff05::/16", "which is multicast"),
        (f"{TRANSLATION}[1]", "::ffff:203.0.113.0/120", "IPv4-mapped"),
        ("subnets[0].gateways[0]", "169.254.1.1/24", "which is link-local"),
        ("subnets[0].gateways[1]", "fe80::1/64", "which is link-local"),
        ("subnets[0].gateways[0]", "255.255.255.1/24", "with the broadcast address"),
        # client edges
        (f"{TRANSLATION}[0]", "203.0.113.0/31", "it gives 2 of the 4 addresses that are needed at least"),
        (f"{TRANSLATION}[1]", "2001:db8:1:f::/127", "it gives 2 of the 4 addresses that are needed at least"),
        # subnets
        ("subnets[0].edge", "wets", "no switch is called 'wets'"),
        ("subnets[1].side", "client", "give east a client_edge"),
        ("subnets[0].side", "server", "give west server_edge: true"),
        ("subnets[0].gateways[0]", "10.1.0.0/24", "10.1.0.0 is the network address"),
        ("subnets[0].gateways[0]", "10.1.0.255/24", "is the broadcast address"),
        ("subnets[0].gateways[1]", "2001:db8:1::/64", "is the subnet-router anycast"),
        ("subnets[0].gateways[0]", "10.1.0.1/32", "leaves no room for hosts"),
        ("subnets[0].gateways[2]", "10.9.0.1/24", "the second gateway of its family"),
        # hosts
        ("hosts[0].subnet", "desk", "no subnet is called 'desk'"),
        ("hosts[0].port", 3, "port 3 does not lead to subnet desks (its ports: 1, 2)"),
        ("hosts[0].addresses[0]", "10.2.0.9", "10.2.0.9 is outside subnet desks"),
        ("hosts[0].addresses[0]", "10.1.0.1", "is the gateway of 10.1.0.0/24"),
        ("hosts[0].addresses[0]", "10.1.0.255", "is the broadcast address"),
        # enrolments
        ("groups[0].prefixes[0]", "198.19.0.1/32", "is not within an anycast prefix"),
        ("groups[0].prefixes[0]", "198.0.0.0/8", "is not within an anycast prefix"),
        ("groups[1].prefixes[1]", "198.18.0.0/24", "overlaps 198.18.0.1/32 of group web"),
        ("groups[0].prefixes[1]", "198.18.0.0/24", "overlaps 198.18.0.1/32 of group web"),
        ("groups[0].servers[1].address", "10.7.0.1", "is in no server subnet"),
        ("groups[0].servers[1].address", "10.1.0.10", "a client subnet of its site"),
        ("groups[0].servers[1].address", "10.2.0.1", "is the gateway of"),
        ("groups[0].servers[1].address", "2001:db8:2::1", "has no IPv6 prefix"),
    ],
)
def test_a_contradiction_is_refused_with_path_and_reason(path: str, value: Any, reason: str) -> None:
    assert_refused(refusal(edited({path: value})), path, reason)


@pytest.mark.parametrize(
    ("changed", "value", "path", "reason"),
    [
        (f"{EDGE}.validity", {"udp": 5}, f"{EDGE}.validity.udp", "the keys here are tcp_s"),
        (f"{EDGE}.validity", {"udp_s": 0}, f"{EDGE}.validity.udp_s", "must be greater than or equal to 1"),
        ("limits", {"arp": 5}, "limits.arp", "unknown key: the keys here are first_packets"),
        ("subnets[0].gateways", ["10.1.0.1"], "subnets[0].gateways[0]", "not a gateway"),
        (SERVICES, ["198.19.0.0/16"], f"{SERVICES}[0]", "is not within one of the anycast"),
        (SERVICES, ["198.0.0.0/8"], f"{SERVICES}[0]", "is not within one of the anycast"),
        (SERVICES, ["198.18.0.0/17", "198.18.1.0/24"], f"{SERVICES}[1]", "overlaps 198.18.0.0/17, a service"),
        ("a b\nc", 1, "'a b\\nc'", "unknown key"),
        ("links[0].ends[1]", "west:11", "links[0].ends", "leads from west to itself"),
        ("anycast_prefixes[2]", "10.0.0.0/8", "subnets[0].gateways[0]", "an anycast prefix"),
        (f"{TRANSLATION}[0]", GONE, TRANSLATION, "no IPv4 client of desks could ever be served"),
        (f"{TRANSLATION}[1]", GONE, TRANSLATION, "no IPv6 client of desks could ever be served"),
        ("groups[0].servers[1].address", "10.2.0.10", "groups[0].servers", "10.2.0.10 is enrolled twice"),
    ],
)
def test_the_path_names_the_part_to_change(changed: str, value: Any, path: str, reason: str) -> None:
    assert_refused(refusal(edited({changed: value})), path, reason)


def test_all_problems_are_reported_together() -> None:
    lines = refusal(
        edited({"links[0].ends[1]": "cor:1", "hosts[0].port": 3, "groups[0].servers[0].address": "10.7.0.1"})
    )
    assert len(lines) == 3
    lines = refusal(edited({"links[0].cost": 0, "switches[1].dpid": "x", "colour": "red"}))
    assert len(lines) == 3


def test_an_overlap_of_anycast_prefixes_is_reported_once_although_every_site_may_use_them() -> None:
    assert len(refusal(edited({"anycast_prefixes[2]": "198.18.4.0/24"}))) == 1
