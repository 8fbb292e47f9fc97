"""Client edges inside the connection tracker: how they are written in a network file, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.core.roles import FIRST_ZONE, Allocation, ClientEdgeRole, Conntrack, EngineName
from anycast_sdn.description import reading
from tests.unit.network_files import EDGE, assert_refused, edited, refusal

ENGINE, CONNTRACK = f"{EDGE}.engine", f"{EDGE}.conntrack"
SECOND = {"name": "south", "dpid": 9, "client_edge": {"translation_prefixes": ["192.0.2.0/24"], "engine": "conntrack"}}


def role(changes: dict[str, Any], switch: int = 0) -> ClientEdgeRole:
    found = reading.parse(edited(changes), "net.yaml").switches[switch].client_edge
    assert found
    return found


@pytest.mark.parametrize(
    ("written", "engines"),
    [
        ("rules", (EngineName.RULES,)),
        ("conntrack", (EngineName.CONNTRACK,)),
        (["conntrack"], (EngineName.CONNTRACK,)),
        (["conntrack", "rules"], (EngineName.CONNTRACK, EngineName.RULES)),
    ],
)
def test_an_engine_is_written_alone_or_with_what_is_used_otherwise(
    written: object, engines: tuple[EngineName, ...]
) -> None:
    assert role({ENGINE: written}).engines == engines


def test_rules_are_the_default() -> None:
    assert role({}).engines == (EngineName.RULES,)
    assert role({}).conntrack == Conntrack(Allocation.CONTROLLER, 8, FIRST_ZONE)


def test_the_settings_of_the_tracker_are_read() -> None:
    found = role({ENGINE: "conntrack", CONNTRACK: {"allocation": "switch", "reserve": "1/4", "zone": 7}})
    assert found.conntrack == Conntrack(Allocation.SWITCH, 4, 7)
    assert role({CONNTRACK: {"reserve": "none"}}).conntrack.reserve == 0


def test_each_switch_has_zones_of_its_own() -> None:
    changes = {ENGINE: "conntrack", "switches[3]": SECOND}
    first, second = (set(role(changes, switch).conntrack.zones) for switch in (0, 3))
    assert not first & second


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (ENGINE, "iptables", "'iptables' is not rules, conntrack or [conntrack, rules]"),
        (ENGINE, [], "is not rules, conntrack or [conntrack, rules]"),
        (ENGINE, True, "is not rules, conntrack or [conntrack, rules]"),
        (ENGINE, [["rules"]], "is not rules, conntrack or [conntrack, rules]"),
        (ENGINE, ["rules", "conntrack"], "what follows them is never used"),
        (ENGINE, ["conntrack", "conntrack"], "names an engine twice"),
        (f"{CONNTRACK}.reserve", "1/3", "is not 1/2, 1/4, 1/8 and so on to 1/256, or none"),
        (f"{CONNTRACK}.reserve", 8, "is not 1/2"),
        (f"{CONNTRACK}.zone", 0, "must be greater than or equal to 1"),
        (f"{CONNTRACK}.zone", 65533, "must be less than or equal to 65532"),
        (f"{CONNTRACK}.allocation", "pool", "is not controller or switch"),
        (f"{CONNTRACK}.zones", [1], "unknown key: the keys here are allocation, reserve, zone"),
    ],
)
def test_what_is_written_wrongly_is_refused(path: str, value: Any, reason: str) -> None:
    assert_refused(refusal(edited({CONNTRACK: {}, path: value})), path, reason)


def test_clients_and_services_have_to_fit_into_one_address() -> None:
    changes = {ENGINE: "conntrack", "subnets[0].gateways[0]": "172.0.0.1/8"}
    lines = refusal(edited(changes))
    assert_refused(lines, ENGINE, "west needs 33 bits in IPv4, and an address has 32: 24 for the clients of the")
    assert_refused(lines, ENGINE, "and 9 for 256 service addresses. Take smaller subnets, or engine: rules")
    assert len(lines) - 1 == len(refusal(edited(changes | {ENGINE: "rules"})))  # the hosts are in no subnet now


def test_the_number_of_the_subnet_counts() -> None:
    more = {"name": "labs", "edge": "west", "side": "client", "gateways": ["10.9.0.1/24"], "ports": [3]}
    changes = {ENGINE: "conntrack", "subnets[0].gateways[0]": "172.0.0.1/9", "subnets[2]": more}
    assert_refused(refusal(edited(changes)), ENGINE, "the largest subnet and 1 for the number of their subnet, and 9")


def test_all_service_prefixes_have_to_fit() -> None:
    changes: dict[str, Any] = {ENGINE: ["conntrack", "rules"], "groups[1].prefixes[0]": "2001:db8:a::/64"}
    reason = "18446744073709551616 service addresses of IPv6 are more than client edge west has room for: the 128 bits"
    assert_refused(refusal(edited(changes)), "groups[1].prefixes", reason)
    more = {"name": "more", "prefixes": ["2001:db8:a::/65", "2001:db8:a:0:8000::/65"]}
    assert_refused(refusal(edited(changes | {"groups[1].prefixes[0]": "2001:db8:a:f::/65", "groups[2]": more})),
                   "groups[2].prefixes", "are more than client edge west has room for")  # fmt: skip
    assert role(changes | {"groups[1].prefixes[0]": "2001:db8:a::/65"})


def test_it_is_told_once_for_which_groups_there_is_no_room() -> None:
    halves = [{"name": f"more-{number}", "prefixes": [f"2001:db8:a:{number}::/65"]} for number in (1, 2, 3)]
    only4 = {"name": "only-4", "prefixes": ["198.18.1.0/24"]}
    added = {f"groups[{2 + index}]": group for index, group in enumerate([*halves, only4])}
    lines = refusal(edited({ENGINE: "conntrack", "groups[1].prefixes[0]": "2001:db8:a:f::/65", **added}))
    told = [line for line in lines if "has room for" in line]
    assert len(told) == 1
    assert_refused(told, "groups[2].prefixes", "There is no room for groups more-1, more-2, more-3")


def test_no_two_switches_share_a_zone() -> None:
    second = "switches[3].client_edge.conntrack"
    zone = f"{second}.zone"
    changes = {ENGINE: "conntrack", CONNTRACK: {"zone": 7}, "switches[3]": SECOND, second: {"zone": 10}}
    assert_refused(refusal(edited(changes)), zone, "south uses the zones 10 to 13, and west 7 to 10")
    assert role(changes | {ENGINE: "rules"}, 3).conntrack.zone == 10  # the other one uses none
    assert role(changes | {zone: 11}, 3).conntrack.zones == range(11, 15)


@pytest.mark.parametrize("place", ["tcp:192.0.2.1:6640", "ssl:[2001:db8::1]:6640", "unix:/run/openvswitch/db.sock"])
def test_a_switch_may_have_a_database(place: str) -> None:
    assert reading.parse(edited({"switches[0].ovsdb": place}), "net.yaml").switches[0].ovsdb == place
    assert reading.parse(edited({}), "net.yaml").switches[0].ovsdb == ""


@pytest.mark.parametrize(
    "place", ["192.0.2.1:6640", "tcp:host:6640", "tcp:192.0.2.1", "tcp:192.0.2.999:6640", "tcp:192.0.2.1:0", "unix:db",
              "tcp:[192.0.2.1:6640", 6640],
)  # fmt: skip
def test_any_other_place_of_a_database_is_refused(place: object) -> None:
    assert_refused(refusal(edited({"switches[0].ovsdb": place})), "switches[0].ovsdb", "is not tcp:ADDRESS:PORT, ssl:")
