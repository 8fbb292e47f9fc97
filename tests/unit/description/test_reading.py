"""The network file: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from anycast_sdn.core.model import AnycastGroup, ConfigurationError, Gateway, Prefix, packed
from anycast_sdn.core.roles import ClientEdgeRole, Side, Validity
from anycast_sdn.description import enrolment, reading
from anycast_sdn.description.model import Limits, Link, Network, Port
from tests.unit.network_files import VALID, assert_refused, refusal

TOPOLOGIES = Path(__file__).parents[3] / "topologies"

GONE = object()
EDGE = "switches[0].client_edge"
TRANSLATION, SERVICES = f"{EDGE}.translation_prefixes", f"{EDGE}.services"


def edited(changes: dict[str, Any]) -> str:
    """VALID with the values at some paths ("switches[0].dpid") replaced, appended or taken away."""
    tree = yaml.safe_load(VALID)
    for path, value in changes.items():
        *parents, last = [int(p) if p.isdigit() else p for p in re.findall(r"[^][.]+", path)]
        place = tree
        for part in parents:
            place = place[part]
        if value is GONE:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return yaml.safe_dump(tree)


def client_edge(network: Network, name: str) -> ClientEdgeRole:
    role = network.switch(name).client_edge
    assert role
    return role


# ------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_topology_of_the_project_loads_under_its_own_name(path: Path) -> None:
    assert reading.load(path).name == path.stem


def test_figure_1_has_one_client_edge_and_two_server_edges_of_which_ars2_is_the_nearer() -> None:
    network = reading.load(TOPOLOGIES / "figure1.yaml")
    assert [switch.name for switch in network.switches if switch.client_edge] == ["arh1"]
    assert [switch.name for switch in network.switches if switch.server_edge] == ["ars2", "ars3"]
    assert {link.b.switch: link.cost for link in network.links} == {"core": 1, "ars2": 1, "ars3": 2}
    assert [host.name for host in network.hosts] == ["h1", "h2", "as2", "as3", "as4"]


def test_two_sites_has_a_server_inside_a_client_site_and_different_services_per_site() -> None:
    network = reading.load(TOPOLOGIES / "two-sites.yaml")
    assert {subnet.side for subnet in network.subnets_of("arh1")} == {Side.CLIENT, Side.SERVER}
    assert client_edge(network, "arh1").services == network.anycast_prefixes
    assert set(client_edge(network, "arh2").services) < set(network.anycast_prefixes)


def test_a_file_becomes_frozen_values_with_packed_addresses() -> None:
    network = reading.parse(VALID, "net.yaml")
    assert network.links[0] == Link(Port("west", 10), Port("core", 1), 5)
    assert network.subnets[0].gateways[0] == Gateway(packed("10.1.0.1"), Prefix.parse("10.1.0.0/24"))
    assert network.hosts[1].addresses == (packed("10.1.0.11"),)
    assert {server.weight for server in network.groups[0].servers.values()} == {2, 1}
    assert network.groups[0].servers[packed("10.2.0.10")].weight == 2


def test_what_is_left_out_has_the_defaults_of_the_model() -> None:
    network = reading.parse(VALID, "net.yaml")
    role = client_edge(network, "west")
    assert role == ClientEdgeRole(role.translation_prefixes, network.anycast_prefixes)
    assert network.limits == Limits()
    assert network.links[1].cost == 1


def test_a_subnet_may_have_services_of_its_own() -> None:
    network = reading.parse(edited({"subnets[0].services": ["198.18.7.0/24"]}), "net.yaml")
    role = client_edge(network, "west")
    assert network.subnets[0].allowed(role) == (Prefix.parse("198.18.7.0/24"),)
    assert network.subnets[1].allowed(role) == role.services
    none = reading.parse(edited({"subnets[0].services": [], "subnets[1].services": []}), "net.yaml")
    assert [subnet.allowed(role) for subnet in none.subnets] == [(), ()]


def test_services_of_a_subnet_are_some_of_its_edges() -> None:
    changes = {SERVICES: ["198.18.0.0/24"], "subnets[0].services": ["198.18.0.0/25", "198.18.1.0/24", "198.18.0.1/32"]}
    lines = refusal(edited(changes))
    assert_refused(lines, "subnets[0].services[1]", "198.18.1.0/24 is not within the services of west, its client edge")
    assert_refused(lines, "subnets[0].services[2]", "overlaps 198.18.0.0/25")
    lines = refusal(edited({"subnets[1].services": ["198.18.0.0/24"]}))
    assert_refused(lines, "subnets[1].services", "services need a client edge: give east a client_edge, or write []")


def test_links_may_have_an_mtu() -> None:
    network = reading.parse(edited({"links[1].mtu": 1280}), "net.yaml")
    assert [link.mtu for link in network.links] == [0, 1280]
    assert (network.mtus_of("west"), network.mtus_of("core"), network.mtus_of("east")) == ({}, {2: 1280}, {10: 1280})


def test_validity_and_limits_may_be_given_in_part() -> None:
    changes = {f"{EDGE}.validity": {"udp_s": 5}, "limits": {"neighbours": 7}}
    network = reading.parse(edited(changes), "net.yaml")
    assert client_edge(network, "west").validity == Validity(udp_s=5)
    assert network.limits == Limits(neighbours=7)


def test_the_comments_in_figure_1_state_the_true_defaults() -> None:
    network = reading.load(TOPOLOGIES / "figure1.yaml")
    role = client_edge(network, "arh1")
    assert role == ClientEdgeRole(role.translation_prefixes, role.services)
    assert network.limits == Limits()


def test_switches_may_have_addresses_of_their_own_and_undeclared_links_may_be_allowed() -> None:
    changes = {"switches[1].addresses": ["10.255.0.1", "2001:db8:ff::1"], "discovery": {"undeclared_links": True}}
    network = reading.parse(edited(changes), "net.yaml")
    assert network.switch("core").addresses == (packed("10.255.0.1"), packed("2001:db8:ff::1"))
    assert network.undeclared_links
    assert not reading.parse(VALID, "net.yaml").undeclared_links


@pytest.mark.parametrize(
    ("changed", "value", "path", "reason"),
    [
        ("switches[1].addresses", ["10.255.0.1/32"], "switches[1].addresses[0]", "is not an IP address"),
        ("switches[1].addresses", ["10.1.0.7"], "switches[1].addresses[0]", "overlaps 10.1.0.0/24, subnet desks"),
        ("switches[1].addresses", ["10.9.0.1"] * 2, "switches[1].addresses[1]", "an address of core"),
        ("switches[1].addresses", ["127.0.0.1"], "switches[1].addresses[0]", "which is loopback"),
        ("discovery", {"undeclared_links": "yes"}, "discovery.undeclared_links", "must be a valid boolean"),
        ("discovery", {"links": True}, "discovery.links", "unknown key: the keys here are undeclared_links"),
    ],
)
def test_addresses_of_switches_and_discovery_are_checked(changed: str, value: Any, path: str, reason: str) -> None:
    assert_refused(refusal(edited({changed: value})), path, reason)


@pytest.mark.parametrize("key", ["bindings_per_client", "bindings_per_port"])
@pytest.mark.parametrize(("share", "more"), [(14, 15), (1, 4096)])
def test_a_share_of_the_pool_is_not_more_than_the_pool(key: str, share: int, more: int) -> None:
    """The pool of a family; 203.0.113.0/28 has 14 addresses."""
    pools = {"switches[0].client_edge.translation_prefixes": ["203.0.113.0/28", "2001:db8:1:f::/64"]}
    network = reading.parse(edited(pools | {f"switches[0].client_edge.{key}": share}), "net.yaml")
    assert getattr(network.switches[0].client_edge, key) == share
    text = refusal(edited(pools | {f"switches[0].client_edge.{key}": more}))
    assert_refused(text, f"switches[0].client_edge.{key}", f"{more} is more than the 14 addresses of the IPv4")


@pytest.mark.parametrize(
    ("written", "dpid"),
    [
        ("26", 26),
        ("0x1a", 26),
        ("'0x1A'", 26),
        ("000000000000001a", 26),
        ("0000000000000010", 16),
        ("'1000000000000010'", 0x1000000000000010),
        ("ffffffffffffffff", 2**64 - 1),
        ("00:00:00:00:00:00:00:1a", 26),
        ("10:00:00:00:00:00:00:10", 0x1000000000000010),
        ("FE:dc:ba:98:76:54:32:10", 0xFEDCBA9876543210),
    ],
)
def test_a_datapath_id_is_a_number_or_hexadecimal(written: str, dpid: int) -> None:
    network = reading.parse(VALID.replace("dpid: 1\n", f"dpid: {written}\n"), "net.yaml")
    assert network.switches[0].dpid == dpid


@pytest.mark.parametrize("name", ["Core", "core-north-of-the-river", "SW_1.lab", "C" * 64, "a"])
def test_names_are_those_that_people_give_their_switches(name: str) -> None:
    text = VALID.replace("name: core,", f"name: {name},").replace("core:", f"{name}:")
    network = reading.parse(text.replace("office", "Lab_1").replace("desks", "Desks.West"), "net.yaml")
    assert network.switches[1].name == network.links[0].b.switch == name
    assert (network.name, network.hosts[0].subnet) == ("Lab_1", "Desks.West")


def test_an_address_of_decimal_groups_stays_an_address_without_quotes() -> None:
    text = VALID.replace("2001:db8:2::10]", "2001:db8:2::10, 20:10:20:30:40:50:50:10]")
    assert_refused(refusal(text), "hosts[2].addresses[2]", "20:10:20:30:40:50:50:10 is outside subnet racks")


TRUNK = {"name": "x", "edge": "west", "side": "client", "gateways": ["10.9.0.1/24"], "ports": [1]}


@pytest.mark.parametrize(
    "changes",
    [
        {"links": GONE},  # switches that cannot reach one another
        {"hosts": GONE, "groups": GONE},
        {SERVICES: []},  # a site that may use no service
        {"switches[1].server_edge": True},  # a server edge without servers yet
        {"subnets[2]": TRUNK},  # two subnets behind one port
        {"hosts[1].port": 1},  # two hosts behind one port: there is a switch in between
        {"subnets[0].gateways[0]": "10.1.0.10/31", "hosts": []},
        {"groups[1].prefixes": ["198.18.53.0/24"], "groups[1].servers": [{"address": "10.2.0.10"}]},
        {"groups[1].prefixes[1]": "198.18.0.2/32", "groups[1].servers": [{"address": "10.2.0.10"}]},
        # IPv6 hosts where no service has IPv6
        {"anycast_prefixes": ["198.18.0.0/16"], TRANSLATION: ["203.0.113.0/30"], "groups[1]": GONE},
    ],
)
def test_unusual_but_sensible_networks_are_accepted(changes: dict[str, Any]) -> None:
    assert reading.parse(edited(changes), "net.yaml").name == "office"


# ------------------------------------------------------------------------------ text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read: No such file"):
        reading.load(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigurationError, match="is not a text file in UTF-8"):
        reading.load(tmp_path / "net.yaml")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"/dev/zero: is longer than \d+ characters"):
        reading.load("/dev/zero")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "line 1, column 8"),
        ("name: a\nname: b", "line 2, column 1: 'name' stands here twice"),
        ("a: &x [1]\nb: *x", "line 2, column 4: aliases (*name) are not supported"),
        ("a: &a [*a]", "aliases (*name) are not supported"),
        ("a: !!python/object/apply:os.getcwd []", "tags (!name) are not supported"),
        ("a: !!int x", "tags (!name) are not supported"),
        ("? [a, b]\n: c", "a key must be a word"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ("a: \x00", "is not YAML"),
        ("--- a\n--- b", "line 2, column 1"),
        ("a" * (1 << 20), "is longer than"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_not_plain_yaml_is_refused_on_one_line(text: str, reason: str) -> None:
    (line,) = refusal(text)
    assert line.startswith("net.yaml: ")
    assert reason in line


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    assert_refused(refusal("\n".join(lines)), "line 2, column 10", "aliases (*name) are not supported")


# ------------------------------------------------------------------------------ shape


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
        ("links[0].cost", 1.0, "must be a valid whole number, not '1.0'"),
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


def test_a_document_that_is_no_network_at_all_is_refused() -> None:
    for text in ("", "null", "just words", "[1, 2]"):
        (line,) = refusal(text)
        assert line.startswith("net.yaml: must be a section of keys and values")


# ------------------------------------------------------------------------------ sense


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        # names, datapath ids, cables
        ("switches[1].name", "west", "node name west is already taken by switches[0].name"),
        ("switches[1].dpid", 1, "datapath id 0x1 is already taken by switches[0].dpid"),
        ("hosts[1].name", "h1", "node name h1 is already taken by hosts[0].name"),
        ("hosts[1].name", "core", "node name core is already taken by switches[1].name"),
        ("subnets[1].name", "desks", "already taken by subnets[0].name"),
        ("groups[1].name", "web", "already taken by groups[0].name"),
        ("hosts[1].addresses[0]", "10.1.0.10", "taken by hosts[0].addresses[0]"),
        ("links[1].ends[0]", "core:1", "port core:1 is already taken by links[0].ends[1]"),
        ("subnets[0].ports[2]", 10, "port west:10 is already taken by links[0].ends[0]"),
        ("subnets[0].ports[2]", 1, "port 1 stands here twice"),
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
def test_the_path_leads_to_what_must_change(changed: str, value: Any, path: str, reason: str) -> None:
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


# ------------------------------------------------------------------------------ enrolment, as REST uses it

NETWORK = reading.parse(VALID, "net.yaml")
WEB, DNS = NETWORK.groups


def test_a_group_may_be_enrolled_again_and_changed_without_being_in_its_own_way() -> None:
    changed = AnycastGroup("web", (Prefix.parse("198.18.0.0/24"),))
    enrolment.check_group(NETWORK, NETWORK.groups, WEB)
    enrolment.check_group(NETWORK, NETWORK.groups, changed)


@pytest.mark.parametrize(
    ("group", "error", "where"),
    [
        (AnycastGroup("Web", WEB.prefixes), enrolment.InvalidGroup, "name"),
        (AnycastGroup("new", ()), enrolment.InvalidGroup, "prefixes"),
        (AnycastGroup("new", (Prefix.parse("192.0.2.1/32"),)), enrolment.OutsideAnycast, "prefixes[0]"),
        (AnycastGroup("new", (*DNS.prefixes, *WEB.prefixes)), enrolment.Overlap, "prefixes[0]"),
    ],
)
def test_a_group_that_may_not_be_enrolled_has_an_error_of_its_own(
    group: AnycastGroup, error: type[enrolment.EnrolmentError], where: str
) -> None:
    with pytest.raises(error) as caught:
        enrolment.check_group(NETWORK, NETWORK.groups, group)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("10.1.0.10", enrolment.ServerInClientSubnet),
        ("10.9.0.10", enrolment.ServerOutsideEdges),
        ("198.18.0.1", enrolment.ServerOutsideEdges),
        ("2001:db8:2::10", enrolment.WrongFamily),
        ("10.2.0.1", enrolment.NotAHostAddress),
        ("10.2.0.255", enrolment.NotAHostAddress),
    ],
)
def test_a_server_that_may_not_be_enrolled_has_an_error_of_its_own(
    address: str, error: type[enrolment.EnrolmentError]
) -> None:
    with pytest.raises(error, match=re.escape(address)):
        enrolment.check_server(NETWORK, WEB, packed(address))


def test_a_server_behind_a_server_edge_may_be_enrolled_again_and_again() -> None:
    enrolment.check_server(NETWORK, WEB, packed("10.2.0.10"))
    enrolment.check_server(NETWORK, WEB, packed("10.2.0.12"))


# ------------------------------------------------------------------------------ anything at all

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["west", "core:1", "10.1.0.1/24", "198.18.0.0/16", "::/0", "10.2.0.10", "client", "~"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def leaves(value: Any, path: str = "") -> list[str]:
    """The paths of everything inside a document."""
    if isinstance(value, dict):
        inside = [(f"{path}.{key}".strip("."), child) for key, child in value.items()]
    elif isinstance(value, list):
        inside = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        return []
    return [place for child_path, child in inside for place in (child_path, *leaves(child, child_path))]


def only_configuration_errors(text: str) -> None:
    try:
        reading.parse(text, "net.yaml")
    except ConfigurationError as error:
        lines = str(error).split("\n")
    else:
        lines = []
    assert all(line.startswith("net.yaml: ") for line in lines)


@examples(deadline=None)
@given(st.sampled_from(leaves(yaml.safe_load(VALID))), VALUES)
def test_any_value_in_any_place_is_read_or_refused_but_never_breaks_the_reader(path: str, value: Any) -> None:
    only_configuration_errors(edited({path: value}))


@examples(deadline=None)
@given(st.text() | st.text(alphabet="ab:-[]{}&*!?|>#%@'\"\\ \n\tUx019~,"))
def test_any_text_is_read_or_refused_but_never_breaks_the_reader(text: str) -> None:
    only_configuration_errors(text)
