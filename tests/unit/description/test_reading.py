"""The network file: the values that are read from it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from anycast_sdn.core.model import (
    Affinity,
    AnycastGroup,
    ConfigurationError,
    Gateway,
    GroupValidity,
    OnServerLoss,
    Prefix,
    packed,
)
from anycast_sdn.core.roles import ClientEdgeRole, Side, Validity, in_force
from anycast_sdn.description import reading
from anycast_sdn.description.model import Limits, Link, Network, Port
from tests.unit.network_files import EDGE, GONE, SERVICES, TRANSLATION, VALID, assert_refused, edited, refusal

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def client_edge(network: Network, name: str) -> ClientEdgeRole:
    role = network.switch(name).client_edge
    assert role
    return role


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


def test_keys_that_are_left_out_have_the_defaults_of_the_model() -> None:
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


def test_a_group_has_settings_and_a_validity_in_part() -> None:
    changes = {
        "groups[0].affinity": "client",
        "groups[0].on_server_loss": "keep",
        "groups[0].validity": {"udp_s": 10, "tcp_closed_s": 65535},
    }
    web, dns = reading.parse(edited(changes), "net.yaml").groups
    assert (web.affinity, web.on_server_loss) == (Affinity.CLIENT, OnServerLoss.KEEP)
    assert web.validity == GroupValidity(udp_s=10, tcp_closed_s=65535)
    assert dns == AnycastGroup("dns", dns.prefixes)


def test_what_a_group_sets_of_the_validity_overrides_that_of_the_edge_and_nothing_else() -> None:
    assert {each.name for each in fields(Validity)} == set(GroupValidity._fields)
    edge = Validity(udp_s=100, tcp_s=200)
    assert in_force(edge, GroupValidity()) == edge
    assert in_force(edge, GroupValidity(udp_s=10)) == replace(edge, udp_s=10)


@pytest.mark.parametrize(
    ("given", "least"), [({}, 5), ({"quarantine_s": 3}, 3), ({"quarantine_s": 0}, 0), ({"quarantine_min_s": 0}, 0),
                         ({"quarantine_s": 7, "quarantine_min_s": 7}, 7)],
)  # fmt: skip
def test_an_address_rests_for_quarantine_min_s_at_the_least(given: dict[str, int], least: int) -> None:
    content = edited({f"{EDGE}.{name}": value for name, value in given.items()})
    assert client_edge(reading.parse(content, "net.yaml"), "west").quarantine_min_s == least


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (f"{EDGE}.pooling", "PAIRED", "'PAIRED' is not flow, paired or auto"),
        (f"{EDGE}.pooling", None, "is not flow, paired or auto"),
        (f"{EDGE}.pooling", ["auto"], "is not flow, paired or auto"),
        (f"{EDGE}.poling", "auto", "did you mean 'pooling'?"),
        (f"{EDGE}.quarantine_min_s", 121, "121 is more than quarantine_s, 120"),
        (f"{EDGE}.quarantine_min_s", -1, "must be greater than or equal to 0"),
        (f"{EDGE}.quarantine_min_s", "5", "must be a valid whole number, not '5'"),
        ("groups[0].affinity", "host", "'host' is not flow or client"),
        ("groups[0].affinity", "Client", "'Client' is not flow or client"),
        ("groups[0].affinity", None, "is not flow or client"),
        ("groups[0].on_server_loss", True, "is not repin or keep"),
        ("groups[0].on_server_loss", {"keep": 1}, "is not repin or keep"),
        ("groups[0].validity", 10, "must be a section of keys and values, not 10"),
    ],
)
def test_settings_of_groups_and_pools_are_checked(path: str, value: Any, reason: str) -> None:
    assert_refused(refusal(edited({path: value})), path, reason)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("udp", 10, "unknown key: the keys here are tcp_s"),
        ("udp_s", 0, "must be greater than or equal to 1"),
        ("udp_s", 65536, "must be less than or equal to 65535"),
        ("udp_s", "10", "must be a valid whole number, not '10'"),
    ],
)
def test_a_groups_validity_is_checked_as_a_client_edges_is(key: str, value: Any, reason: str) -> None:
    for path in ("groups[0].validity", f"{EDGE}.validity"):
        assert_refused(refusal(edited({path: {key: value}})), f"{path}.{key}", reason)


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
        ("discovery", {"links": True}, "discovery.links", "unknown key: the keys here are lldp, undeclared_links"),
    ],
)
def test_addresses_of_switches_and_discovery_are_checked(changed: str, value: Any, path: str, reason: str) -> None:
    assert_refused(refusal(edited({changed: value})), path, reason)


@pytest.mark.parametrize("key", ["bindings_per_client", "bindings_per_port"])
@pytest.mark.parametrize(("share", "more"), [(14, 15), (1, 4096)])
def test_a_share_of_the_pool_is_not_more_than_the_pool(key: str, share: int, more: int) -> None:
    """The pool of a family, where each flow has an address; 203.0.113.0/28 has 14."""
    pools: dict[str, Any] = {"switches[0].client_edge.translation_prefixes": ["203.0.113.0/28", "2001:db8:1:f::/64"]}
    pools["switches[0].client_edge.pooling"] = "flow"
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
def test_names_may_have_the_usual_forms_of_host_names(name: str) -> None:
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


# ------------------------------------------------------------------------------ arbitrary content

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
    assert all(re.match(r"net\.yaml(:\d+:\d+)?: ", line) for line in lines)


@examples(deadline=None)
@given(st.sampled_from(leaves(yaml.safe_load(VALID))), VALUES)
def test_any_value_in_any_place_is_read_or_refused_but_never_breaks_the_reader(path: str, value: Any) -> None:
    only_configuration_errors(edited({path: value}))


@examples(deadline=None)
@given(st.text() | st.text(alphabet="ab:-[]{}&*!?|>#%@'\"\\ \n\tUx019~,"))
def test_any_text_is_read_or_refused_but_never_breaks_the_reader(text: str) -> None:
    only_configuration_errors(text)
