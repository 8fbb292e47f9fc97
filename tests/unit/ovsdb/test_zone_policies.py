"""Which operations give zones of a connection tracker their timeouts, by what the database holds."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.ovsdb.zone_policies import KERNEL, Found, Unsuitable, corrections, questions, read

DPID = 0xA1
ROOT, DATAPATH, OTHER = ["uuid", "root"], ["uuid", "datapath"], ["uuid", "other"]
ZONES = {
    7: {"udp_first": 30, "icmp_first": 30, "icmp_reply": 60},
    8: {"udp_first": 9, "icmp_first": 9, "icmp_reply": 9},
}


def answers(kind: str = "netdev", datapaths: dict[str, Any] | None = None, **more: Any) -> list[Any]:
    """To ``questions``; ``more``: zones, policies."""
    known = {"netdev": DATAPATH, "system": OTHER} if datapaths is None else datapaths
    return [
        [{"datapath_type": kind}],
        [{"_uuid": ROOT, "datapaths": ["map", [list(pair) for pair in known.items()]]}],
        [{"_uuid": DATAPATH, "ct_zones": ["map", more.get("zones", [])]}, {"_uuid": OTHER, "ct_zones": ["map", []]}],
        [{"_uuid": ["uuid", "z7"], "timeout_policy": ["uuid", "p7"]},
         {"_uuid": ["uuid", "z9"], "timeout_policy": ["set", []]}],
        [{"_uuid": ["uuid", "p7"], "timeouts": ["map", [["udp_first", 5]]]}],
    ]  # fmt: skip


def test_the_switch_is_found_by_its_datapath_id() -> None:
    assert questions(DPID)[0]["where"] == [["datapath_id", "==", "00000000000000a1"]]
    with pytest.raises(Unsuitable, match="no bridge"):
        read([[], *answers()[1:]])
    twice = [{"datapath_type": "netdev"}, {"datapath_type": "netdev"}]
    assert read([twice, *answers()[1:]]).kind == "netdev"
    with pytest.raises(Unsuitable, match="several bridges"):
        read([[{"datapath_type": "netdev"}, {"datapath_type": ""}], *answers()[1:]])


@pytest.mark.parametrize("table", range(5))
def test_a_database_of_another_form_is_none_of_open_vswitch(table: int) -> None:
    strange = [*answers()[:table], [{"something": "else"}], *answers()[table + 1 :]]
    with pytest.raises(Unsuitable, match="otherwise than the database of Open vSwitch"):
        read(strange)


def test_the_policies_of_its_datapath_are_read() -> None:
    found = read(answers(zones=[[7, ["uuid", "z7"]], [9, ["uuid", "z9"]]]))
    assert (found.kind, found.datapath, found.zones) == ("netdev", DATAPATH, {7: {"udp_first": 5}})
    assert read(answers("", zones=[[7, ["uuid", "z7"]]])).zones == {}  # that of the kernel


def test_nothing_is_changed_where_all_is_as_wanted() -> None:
    found = read(answers())._replace(zones={**ZONES, 99: {"udp_first": 1}})
    assert corrections(found, ZONES) == []


@pytest.mark.parametrize("zones", [{}, {7: ZONES[7]}, {7: ZONES[7], 8: {"udp_first": 1}}])
def test_zones_get_their_timeouts_and_others_stay(zones: dict[int, dict[str, int]]) -> None:
    operations = corrections(read(answers())._replace(zones=zones), ZONES)
    policies = [each["row"]["timeouts"] for each in operations if each.get("table") == "CT_Timeout_Policy"]
    wrong = [zone for zone in ZONES if zones.get(zone) != ZONES[zone]]  # connections would lose the others
    assert [dict(map(tuple, pairs)) for _, pairs in policies] == [ZONES[zone] for zone in wrong]
    last = operations[-1]
    assert (last["op"], last["table"], last["where"]) == ("mutate", "Datapath", [["_uuid", "==", DATAPATH]])
    assert last["mutations"][0] == ["ct_zones", "delete", ["set", wrong]]
    assert [zone for zone, _ in last["mutations"][1][2][1]] == wrong


def test_a_datapath_without_a_record_gets_one_unless_somebody_else_makes_it_meanwhile() -> None:
    operations = corrections(read(answers(datapaths={"system": OTHER})), ZONES)
    assert [each["op"] for each in operations] == ["insert"] * 4 + ["wait", "insert", "mutate"]
    assert operations[-3]["rows"] == [{"datapaths": ["map", [["system", OTHER]]]}]
    assert operations[-1]["mutations"] == [["datapaths", "insert", ["map", [["netdev", ["named-uuid", "datapath"]]]]]]


def test_the_kernel_has_one_timeout_for_icmp() -> None:
    found = Found(KERNEL, ROOT, ["map", []], DATAPATH, {})
    policies = [dict(map(tuple, each["row"]["timeouts"][1])) for each in corrections(found, ZONES)[:-1:2]]
    assert [each["icmp_first"] for each in policies] == [60, 9]
