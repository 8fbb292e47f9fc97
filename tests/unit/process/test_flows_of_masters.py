"""Switches with flows in connection trackers may have different masters: each member knows the flows of all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.core.switch_events import SwitchMastered
from anycast_sdn.description import reading
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.released import Released
from anycast_sdn.process.shared_flows import _let_rest
from anycast_sdn.store import flow_file, flow_records
from tests.unit.engines.samples import FEATURES, Ascending, packet
from tests.unit.network_files import EDGE, edited
from tests.unit.process.test_shared_flows import Member, line

WEST, CORE = 1, 2  # datapath ids
CLIENT = {WEST: packed("10.1.0.10"), CORE: packed("10.3.0.10")}
SUBNET = {"name": "hall", "edge": "core", "side": "client", "gateways": ["10.3.0.1/24"], "ports": [5]}
NETWORK = reading.parse(
    edited({
        f"{EDGE}.engine": "conntrack",
        "switches[1].client_edge": {"translation_prefixes": ["203.0.114.0/24"], "engine": "conntrack"},
        "subnets[2]": SUBNET,
    }),
    "net.yaml",
)  # fmt: skip
GROUPS = Groups({group.name: group for group in NETWORK.groups})


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventlet.tpool.execute", lambda write, *arguments: write(*arguments))


def made() -> Controller:
    return Controller(NETWORK, GROUPS, Ascending())


def several(tmp_path: Path, count: int = 3) -> list[Member]:
    """All hear each other."""
    members = [Member(tmp_path, f"m{number}-x", make=made) for number in range(count)]
    for one in members:
        for other in members:
            if other is not one:
                one.joined_by(other)
    return members


def become_master(member: Member, dpid: int, share: Share = Share.FLOWS) -> Engine:
    """By a later generation than all others."""
    member.cluster.latest = max([member.cluster.latest, *(each.cluster.latest for each in member.listen)]) + 1
    for each in member.listen:
        each.cluster.masters.discard(dpid)
    member.cluster.masters.add(dpid)
    switch = member.controller.switches[dpid]
    member.flows.note(SwitchMastered(switch.name))
    now = time.monotonic()
    member.controller.begin_reading(dpid, Tables(), FEATURES, share=share)
    while member.controller.read_on(dpid, now) is not None:
        pass
    member.controller.end_reading(dpid, {}, now)
    return switch.engine


def begin_flow(engine: Engine, dpid: int, port: int) -> None:
    key = FlowKey(CLIENT[dpid], packed("198.18.0.1"), UDP, port, 53)
    engine.packet_handlers[Kind.FIRST_PACKET](1, packet(key), GROUPS, time.monotonic())


def known(member: Member, dpid: int) -> list[int]:
    """The clients' ports of the flows of a switch, as it has received them."""
    name = member.controller.switches[dpid].name
    return sorted(flow.key.source_port for flow in member.flows._received.of(name))


def ports(engine: Engine) -> list[int]:
    return sorted(flow.key.source_port for flow in engine.flows)


def write(*members: Member) -> None:
    for member in members:
        member.write()


def test_each_member_knows_the_flows_of_all_masters(tmp_path: Path) -> None:
    members = first, second, third = several(tmp_path)
    west, core = become_master(first, WEST), become_master(second, CORE)
    begin_flow(west, WEST, 40000)
    begin_flow(core, CORE, 41000)
    write(*members)
    begin_flow(west, WEST, 40001)
    write(*members)
    assert [known(third, dpid) for dpid in (WEST, CORE)] == [[40000, 40001], [41000]]
    assert (known(second, WEST), known(first, CORE)) == ([40000, 40001], [41000])
    write(*members)
    for member in members:
        found = flow_file.read(member.file).by_edge
        kept = {edge: sorted(flow.key.source_port for flow in flows.values()) for edge, flows in found.items()}
        assert kept == {"west": [40000, 40001], "core": [41000]}


def test_of_two_masters_one_dies_and_its_flows_alone_change_hands(tmp_path: Path) -> None:
    members = first, second, third = several(tmp_path)
    west, core = become_master(first, WEST), become_master(second, CORE)
    begin_flow(west, WEST, 40000)
    begin_flow(core, CORE, 41000)
    write(*members)
    first.lost = True
    again = become_master(third, WEST)
    assert ports(again) == [40000]
    begin_flow(again, WEST, 40001)
    begin_flow(core, CORE, 41001)
    write(second, third)
    assert (known(second, WEST), known(third, CORE)) == ([40000, 40001], [41000, 41001])
    assert ports(core) == [41000, 41001]


def test_a_former_master_that_still_sends_is_not_taken_for_the_master(tmp_path: Path) -> None:
    members = first, second, third = several(tmp_path)
    begin_flow(become_master(first, WEST), WEST, 40000)
    write(*members)
    first.cluster.masters, held = set(), first.cluster.masters
    again = become_master(second, WEST)
    begin_flow(again, WEST, 40001)
    write(second)
    first.cluster.masters = {*held, WEST}  # it has not heard of it
    first.flows._by_name["west"].generation = first.cluster.latest
    first.joined_by(third)
    write(first, second)
    assert known(third, WEST) == [40000, 40001]
    assert ports(again) == [40000, 40001]


def test_who_joins_while_a_switch_has_no_master_hears_of_its_flows(tmp_path: Path) -> None:
    first, second = several(tmp_path, 2)
    begin_flow(become_master(first, WEST), WEST, 40000)
    write(first, second)
    first.cluster.masters.clear()
    write(first)
    third = Member(tmp_path, "m2-x", make=made)
    first.joined_by(third)
    write(first)
    assert known(third, WEST) == [40000]


def test_a_leader_that_decides_on_the_rest_of_a_switch_recalls_no_flows_of_it(tmp_path: Path) -> None:
    members = first, second = several(tmp_path, 2)
    begin_flow(become_master(first, WEST), WEST, 40000)
    write(*members)
    second.flows.note(SwitchMastered("west"))
    second.controller.synchronise(WEST, Tables(), FEATURES, time.monotonic())
    assert ports(second.controller.switches[WEST].engine) == []
    assert known(second, WEST) == [40000]


def test_records_of_another_switch_than_the_line_names_are_not_taken(tmp_path: Path) -> None:
    members = first, second = several(tmp_path, 2)
    west = become_master(first, WEST)
    begin_flow(west, WEST, 40000)
    write(*members)
    (flow,) = west.flows
    number = second.flows.edges.index("core")
    second.flows.hear("m0-x", line(flow_records.framed(flow_records.RECORDS, flow_records.packed(number, flow, 0.0))))
    assert (known(second, WEST), known(second, CORE)) == ([40000], [])


@pytest.mark.parametrize("edges", [["core", "west"], ["west"], ["other", "core", "west"]])
def test_a_member_with_other_edges_gets_changes_of_those_that_it_has(tmp_path: Path, edges: list[str]) -> None:
    first, second = several(tmp_path, 2)
    west = become_master(first, WEST)
    begin_flow(west, WEST, 40000)
    begin_flow(west, WEST, 40001)
    there = edges.index("west")
    one, other = (flow_records.packed(there, flow, 0.0) for flow in west.flows)
    second.flows.hear("m0-x", line(flow_records.names_frame(edges), generation=5))
    second.flows.hear("m0-x", line(flow_records.framed(flow_records.RECORDS, one), generation=5))
    second.flows.hear("m0-x", line(flow_records.framed(flow_records.WHOLE), generation=5))
    second.flows.hear("m0-x", line(flow_records.framed(flow_records.RECORDS, other), generation=5))
    assert known(second, WEST) == [40000, 40001]
    second.write()
    second.write()
    assert sorted(flow_file.read(second.file).by_edge) == ["core", "west"]
    assert len(flow_file.read(second.file).by_edge["west"]) == 2


@pytest.mark.parametrize("again", [Share.FLOWS, Share.ALL])
def test_who_gets_a_switch_back_before_the_next_master_has_sent_anything_knows_its_flows(
    tmp_path: Path, again: Share
) -> None:
    first, second = several(tmp_path, 2)
    begin_flow(become_master(first, WEST), WEST, 40000)
    write(first, second)
    switch = first.controller.switches[WEST]
    first.controller.disconnected(WEST, time.monotonic())
    if again is Share.FLOWS:
        switch.let_go()
    else:
        switch.doubt_flows()
    second.lost = True
    become_master(second, WEST)
    write(first, second)
    assert ports(become_master(first, WEST, again)) == [40000]
    assert len(switch.engine.flows) == 1


@pytest.mark.parametrize(("share", "notes"), [(Share.FLOWS, False), (Share.ALL, False), (Share.REST, True)])
def test_addresses_of_another_masters_flows_rest_on_where_this_member_does_not_decide_on_flows(
    tmp_path: Path, share: Share, notes: bool
) -> None:
    (only,) = several(tmp_path, 1)
    become_master(only, WEST, share)
    released = Released()
    _let_rest(only.controller, released, "west", [packed("203.0.113.7")])
    assert bool(released.pop(WEST)) is notes
