"""A part of the network file that has the wrong form is refused, with its path."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.network_files import EDGE, GONE, assert_refused, edited, refusal


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("nmae", "x", "unknown key: the keys here are name, anycast_prefixes, switches"),
        ("switches[1].role", "core", "unknown key: the keys here are name, dpid"),
        (f"{EDGE}.prefixes", [], "unknown key: the keys here are translation_prefixes"),
        ("links[0].weight", 1, "unknown key: the keys here are ends, cost, mtu"),
        ("subnets[0].vlan", 1, "unknown key: the keys here are name, edge, side"),
        ("hosts[0].mac", "x", "unknown key: the keys here are name, subnet"),
        ("groups[0].servers[1].port", 80, "unknown key: the keys here are address"),
        ("switches[1].dpid", GONE, "is missing"),
        ("switches[1].dpid", 0, "must be above 0"),
        ("switches[1].dpid", 1.5, "not a datapath id"),
        ("switches[1].dpid", True, "not a datapath id"),
        ("switches[1].dpid", "0x10000000000000000", "not a datapath id"),
        ("switches[1].dpid", 1122334455667788, "not a datapath id"),
        ("switches[2].server_edge", "yes", "must be a valid boolean, not 'yes'"),
        ("switches[2].server_edge", 1, "must be a valid boolean, not 1"),
        ("switches[1].addresses", "10.255.0.1", "must be a valid list"),
        ("discovery", "all", "must be a section of keys and values, not 'all'"),
        ("switches[0].client_edge", "", "must be a section of keys and values, not ''"),
        ("switches[1]", "core", "must be a section of keys and values, not 'core'"),
        ("switches", [], "needs at least 1 item, not 0"),
        ("links[0].ends", ["west:10"], "needs at least 2 items, not 1"),
        ("links[0].ends[0]", "west", "not a switch's port such as core:10"),
        ("links[0].ends[0]", "west:65280", "a port number is 1-65279"),
        ("links[0].cost", 0, "must be greater than or equal to 1, not 0"),
        ("links[0].cost", 1.0, "must be a valid whole number, not 1.0"),
        ("subnets[0].services", "198.18.0.0/16", "must be a valid list"),
        ("links[0].mtu", 575, "must be greater than or equal to 576, not 575"),
        ("links[0].mtu", 65521, "must be less than or equal to 65520, not 65521"),
        ("links[0].mtu", "1400 bytes", "must be a valid whole number, not '1400 bytes'"),
        ("links[0].mtu", 1279, "1279 is too small for IPv6: write 1280 or more, or leave out all IPv6 addresses"),
        ("links[0].cost", True, "must be a valid whole number, not True"),
        ("links[0].cost", 10**30, "must be a valid whole number"),
        ("subnets[0].ports[0]", 65280, "must be less than or equal to 65279"),
        ("subnets[0].side", "left", "must be 'client' or 'server', not 'left'"),
        ("hosts[0].addresses[0]", "10.1.0.256", "'10.1.0.256' is not an IP address"),
        ("hosts[0].addresses[0]", "fe80::1%eth0", "is not an IP address"),
        ("hosts[0].addresses[0]", 167837706, "167837706 is not an IP address"),
        ("anycast_prefixes[0]", "198.18.0.1/16", "write 198.18.0.0/16"),
        ("anycast_prefixes[0]", "198.18.0.0", "not a prefix such as"),
        ("groups[0].servers[0].weight", 1001, "must be less than or equal to 1000"),
        ("groups[0].name", "w" * 65, "is not a name: use 1-64"),
        ("groups[0].name", "Web", "'Web' is not a name: use 1-64 of a-z"),
        ("switches[1].name", "c" * 65, "is not a name: use 1-64"),
        ("switches[1].name", "4core", "a letter first"),
        ("switches[1].name", "core 1", "'core 1' is not a name"),
        ("switches[1].name", "core/1", "'core/1' is not a name"),
        ("switches[1].name", "Köln", "is not a name"),
        ("switches[1].dpid", "0:0:0:0:0:0:0:1", "not a datapath id"),
        ("switches[1].dpid", "00:00:00:00:00:01", "not a datapath id"),
        ("switches[1].dpid", "00:00:00:00:00:00:00:00", "must be above 0"),
        ("hosts[0].name", "h1\n", "'h1\\n' is not a name"),
        (f"{EDGE}.quarantine_s", -1, "not -1"),
    ],
)
def test_a_part_of_the_wrong_form_is_refused_with_path_and_reason(path: str, value: Any, reason: str) -> None:
    assert_refused(refusal(edited({path: value})), path, reason)


def test_a_document_that_is_not_a_network_is_refused() -> None:
    for text in ("", "null", "just words", "[1, 2]"):
        (line,) = refusal(text)
        assert line.startswith("net.yaml: must be a section of keys and values")
