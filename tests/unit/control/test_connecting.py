"""A switch that connects is compared with what it should hold in portions, and nothing is lost on the way.

Whatever it was found to hold, and however small the portions: at the end it holds just what it should, as if all had
been done at once.  Before, no rule names a group or a meter that is not there, nothing that is wanted is deleted, and
nothing goes before all that is wanted is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.pace import Pace
from anycast_sdn.control.slices import LARGE_AT_ONCE
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Neighbour, Prefix, Server, packed
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.openflow import entries, readback
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    AddFlow,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    FlowRule,
    GroupRule,
    Message,
    MeterRule,
    SetGroup,
    SetMeter,
    ToGroup,
)
from anycast_sdn.openflow.tables import Tables
from tests.unit.control.test_reading_back import strange_rules
from tests.unit.network_files import edited

EAST, WEST = 3, 1
SERVERS = [packed(f"10.2.0.{number}") for number in range(10, 16)]
UPLINK = {"name": "up", "edge": "east", "port": 20, "addresses": ["10.9.1.1/30"], "routers": ["10.9.1.2"],
          "routes": ["0.0.0.0/0", "192.0.2.0/24"]}  # fmt: skip
CLIENT_EDGE = {"translation_prefixes": ["203.0.114.0/24"]}
NETWORK = reading.parse(edited({"uplinks": [UPLINK], "switches[2].client_edge": CLIENT_EDGE}), "net.yaml")


def groups(count: int) -> Groups:
    """Each has a server that all have, and one of its own."""
    made = Groups()
    for number in range(count):
        some = [Server(SERVERS[0]), Server(SERVERS[1 + number % 5])]
        prefix = Prefix.parse(f"198.18.1.{number}/32")
        made = made.replaced(AnycastGroup(f"g{number}", (prefix,), {server.address: server for server in some}))
    return made


def controller(enrolled: Groups, compared: int) -> Controller:
    """Its hosts are known, as if they had been heard before the switches connected."""
    made = Controller(NETWORK, enrolled, Random(1), Pace(compared=compared))
    for address in SERVERS:
        made.switches[EAST].neighbours.adopt(address, Neighbour(b"\x02\0" + address, 1), 0.0)
    made.switches[EAST].neighbours.adopt(packed("10.9.1.2"), Neighbour(b"\x02\0\0\0\0\7", 20), 0.0)
    made.switches[WEST].neighbours.adopt(packed("10.1.0.10"), Neighbour(b"\x02\0\0\0\0\1", 1), 0.0)
    return made


class Held:
    """What a switch holds; ``apply`` checks each message as it comes."""

    def __init__(self, found: Tables) -> None:
        self.tables = Tables(dict(found.flows), dict(found.groups), dict(found.meters))
        self.deleted: list[Message] = []

    def apply(self, messages: Iterable[Message]) -> None:
        flows, groups, meters = self.tables.flows, self.tables.groups, self.tables.meters
        for message in messages:
            match message:
                case AddFlow(rule):
                    assert all(action.group in groups for action in rule.actions if isinstance(action, ToGroup))
                    assert rule.meter is None or rule.meter in meters
                    flows[rule.key] = rule
                case DeleteFlow(rule):
                    flows.pop(rule.key, None)
                    self.deleted.append(message)
                case SetGroup(group, exists):
                    assert exists is (group.number in groups)
                    groups[group.number] = group
                case DeleteGroup(number):
                    assert not any(ToGroup(number) in rule.actions for rule in flows.values())
                    del groups[number]
                case SetMeter(meter, exists):
                    assert exists is (meter.number in meters)
                    meters[meter.number] = meter
                case DeleteMeter(number):
                    assert not any(rule.meter == number for rule in flows.values())
                    del meters[number]


def connects(made: Controller, dpid: int, found: Tables) -> Held:
    held = Held(found)
    made.begin_reading(dpid, Tables(dict(found.flows), dict(found.groups), dict(found.meters)), Features())
    while (out := made.read_on(dpid, 0.0)) is not None:
        held.apply(out.outbox.get(dpid, ()))
    held.apply(made.end_reading(dpid, {}, 0.0).outbox.get(dpid, ()))
    while made.is_busy():
        held.apply(made.work(0.0).outbox.get(dpid, ()))
    return held


def wanted(made: Controller, dpid: int) -> Tables:
    switch = made.switches[dpid]
    return Tables.of(switch.installed, switch.installed.groups.values(), switch.installed.meters.values())


def besides_routes(tables: Tables) -> Tables:
    """Routes may have to wait for other switches, which never connect here."""
    flows = [rule for rule in tables.flows.values() if kind_of(rule.cookie) is not Kind.ROUTE]
    return Tables.of(flows, tables.groups.values(), tables.meters.values())


PORTIONS = st.sampled_from([1, 2, 7, 1000])
SLOW = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=40)


@SLOW
@given(
    dpid=st.sampled_from([EAST, WEST]),
    portion=PORTIONS,
    strange=st.lists(strange_rules(), max_size=4),
    lost=st.sets(st.integers(0, 200), max_size=40),
    before=st.integers(0, 6),
    now=st.integers(0, 6),
)
def test_a_switch_holds_what_it_should_after_connecting_with_any_rules(
    dpid: int, portion: int, strange: list[FlowRule], lost: set[int], before: int, now: int
) -> None:
    then = controller(groups(before), 1000)
    found = connects(then, dpid, Tables()).tables
    assert found == wanted(then, dpid)
    for number, key in enumerate(list(found.flows)):
        if number in lost:
            del found.flows[key]
    found.flows |= {rule.key: rule for rule in strange if not any(isinstance(each, ToGroup) for each in rule.actions)}
    found.groups[7] = GroupRule(7, ())
    found.meters[99_999] = MeterRule(99_999, 1, 1)
    made, other = controller(groups(now), portion), controller(groups(now), 1 << 20)
    held = connects(made, dpid, found)
    assert held.tables == wanted(made, dpid)
    ours = besides_routes(held.tables)
    assert ours == besides_routes(connects(other, dpid, found).tables)
    assert ours == besides_routes(connects(other, dpid, Tables()).tables)
    deleted = {message.rule.key for message in held.deleted if isinstance(message, DeleteFlow)}
    of_flows = {rule.key for rule in strange if readback.half_of(rule)}  # deleted for their cookies, then put anew
    assert not ours.flows.keys() & deleted - of_flows


def test_strays_are_deleted_when_all_that_is_wanted_is_installed() -> None:
    found = Tables.of(
        [entries.service(Prefix.parse("198.18.9.0/32"), 7)], [GroupRule(7, ())], [MeterRule(99_999, 1, 1)]
    )
    made = controller(groups(3), 1)
    held = Held(found)
    made.begin_reading(EAST, found, Features())
    while made.read_on(EAST, 0.0) is not None:
        pass
    made.end_reading(EAST, {}, 0.0)
    while made.is_busy():
        messages = made.work(0.0).outbox.get(EAST, [])
        before = len(held.deleted)
        held.apply(messages)
        if len(held.deleted) > before:
            assert set(held.tables.flows) >= set(made.switches[EAST].installed.flows)
    assert len(held.deleted) == 1
    assert held.tables == wanted(made, EAST)


def test_when_many_switches_connect_at_once_a_few_are_compared_at_a_time() -> None:
    names = [f"s{number}" for number in range(20)]
    switches = tuple(Switch(name, 1 + number) for number, name in enumerate(names))
    made = Controller(Network("many", (), switches, (), ()), Groups(), Random(1))
    for dpid in made.switches:
        made.begin_reading(dpid, Tables(), Features())
        while made.read_on(dpid, 0.0) is not None:
            pass
        made.end_reading(dpid, {}, 0.0)
    told: list[int] = []
    while made.is_busy():
        out = made.work(0.0).outbox
        assert len(out) <= 2 * LARGE_AT_ONCE
        told += [dpid for dpid, messages in out.items() if any(isinstance(message, AddFlow) for message in messages)]
    assert sorted(told) == sorted(made.switches)


@SLOW
@given(portion=PORTIONS, slices=st.integers(0, 30), again=st.booleans(), count=st.integers(0, 6))
def test_a_switch_may_go_or_enrolments_may_change_meanwhile(portion: int, slices: int, again: bool, count: int) -> None:
    made = controller(groups(5), portion)
    held = Held(Tables())
    made.begin_reading(EAST, Tables(), Features())
    while made.read_on(EAST, 0.0) is not None:
        pass
    made.end_reading(EAST, {}, 0.0)
    for _ in range(slices):
        held.apply(made.work(0.0).outbox.get(EAST, ()))
    if again:
        made.disconnected(EAST, 0.0)
        while made.is_busy():
            made.work(0.0)
    held.apply(made.set_groups(groups(count), 0.0).outbox.get(EAST, ()))
    if again:
        held = connects(made, EAST, held.tables)
    while made.is_busy():
        held.apply(made.work(0.0).outbox.get(EAST, ()))
    assert held.tables == wanted(made, EAST)
    other = controller(groups(count), 1 << 20)
    assert besides_routes(held.tables) == besides_routes(connects(other, EAST, Tables()).tables)
