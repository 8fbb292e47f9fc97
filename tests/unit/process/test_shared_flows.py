"""In a cluster the leader's flows in connection trackers are known to the other members, and to whoever leads next."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.controller import Controller
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.switch_events import SwitchMastered
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.flow_keeper import EngineFlows, FlowKeeper
from anycast_sdn.process.shared_flows import SharedFlows
from anycast_sdn.store import flow_file, flow_records
from anycast_sdn.store.flow_file import FlowFile
from anycast_sdn.store.flow_records import OpenFlows
from tests.unit.engines.samples import CLIENT_EDGE, FEATURES
from tests.unit.process.test_flow_keeper import begin_flow, controller, ports


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventlet.tpool.execute", lambda write, *arguments: write(*arguments))


_time = time.time


@contextmanager
def clock(ahead: float) -> Iterator[None]:
    """The wall clock is so much ahead."""
    before, time.time = time.time, lambda: _time() + ahead
    try:
        yield
    finally:
        time.time = before


class Cluster(Alone):
    """As one member sees it."""

    is_leader = False
    latest = 1

    def __init__(self) -> None:
        self.masters: set[int] = set()  # switches that are this member's, whoever leads

    def leads(self) -> bool:
        return self.is_leader

    def is_master(self, dpid: int) -> bool:
        return self.is_leader or dpid in self.masters

    def generation(self, dpid: int) -> int:
        return self.latest


class Member:
    """A controller with its file.  What it publishes is heard by those that ``listen``."""

    def __init__(
        self, tmp_path: Path, name: str, *, leads: bool = False, make: Callable[[], Controller] = controller
    ) -> None:
        self.name = name
        self.cluster = Cluster()
        self.cluster.is_leader = leads
        self.ahead = 0.0  # its clock
        self.controller = make()
        self.file = tmp_path / f"{name}.connections"
        self.listen: list[Member] = []
        self.lost = False  # what it publishes does not arrive
        self.lines = 0
        before, _ = flow_file.read_open(self.file)
        own = EngineFlows(self.controller, sets_aside=True)
        self.flows = SharedFlows(
            self.controller, own, before, self.cluster, self.cluster.generation, self._publish
        )  # fmt: skip
        self._keeper = FlowKeeper(FlowFile(self.file), self.flows, lambda event: None)
        self._keeper.copy_to(self.flows)
        self.flows.began_anew = self._keeper.begin_anew

    def _publish(self, text: str) -> None:
        self.lines += 1
        for other in self.listen if not self.lost else ():
            with clock(other.ahead):
                other.flows.hear(self.name, text)

    def joined_by(self, other: Member) -> None:
        self.listen.append(other)
        assert list(self.flows.greet()) == []

    @property
    def leads(self) -> bool:
        return self.cluster.is_leader

    @leads.setter
    def leads(self, leads: bool) -> None:
        self.cluster.is_leader = leads

    def follow(self, former: Member) -> None:
        """It leads after that one, which has not heard of it."""
        self.cluster.is_leader, self.cluster.latest = True, former.cluster.latest + 1

    @property
    def edge(self) -> str:
        return self.controller.switches[CLIENT_EDGE].name

    @property
    def engine(self) -> Engine:
        return self.controller.switches[CLIENT_EDGE].engine

    def become_master(self) -> Engine:
        """The switch is connected, and says so."""
        self.flows.note(SwitchMastered(self.edge))
        self.controller.synchronise(CLIENT_EDGE, Tables(), FEATURES, time.monotonic())
        return self.engine

    def begin_anew(self) -> None:
        """It was the master of a switch, and is no more."""
        fresh = controller()
        self.controller.switches = fresh.switches
        self.controller.by_name = fresh.by_name
        self.flows.begin_anew()

    def write(self) -> None:
        with clock(self.ahead):
            self._keeper.write()

    def written(self) -> list[int]:
        """The clients' ports of the flows in its file."""
        return sorted(flow.key.source_port for flow in flow_file.read(self.file).by_edge[self.edge].values())

    def received(self) -> list[int]:
        return sorted(flow.key.source_port for flow in self.flows._received.of(self.edge))


def line(frames: bytes, generation: object = 1) -> str:
    return f"{CLIENT_EDGE:x} {generation} {time.time():.3f} {base64.b64encode(frames).decode()}"


def pair(tmp_path: Path) -> tuple[Member, Member]:
    """A leader that serves the switch, and another member."""
    first, second = Member(tmp_path, "m0-a", leads=True), Member(tmp_path, "m1-b")
    first.become_master()
    first.write()
    first.joined_by(second)
    return first, second


def test_a_member_that_joins_gets_all_that_is_open_and_then_what_changes(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    for port in (40000, 40001):
        begin_flow(first.engine, port)
    first.write()
    assert second.received() == [40000, 40001]
    begin_flow(first.engine, 40002)
    first.engine.end(1, time.monotonic())
    first.write()
    assert second.received() == [40001, 40002]
    assert second.flows.age_s(second.edge, time.monotonic()) < 5


def test_each_member_keeps_what_it_has_received_in_its_own_file(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    second.write()
    begin_flow(first.engine, 40001)
    first.write()
    second.write()
    assert first.written() == second.written() == [40000, 40001]
    again = Member(tmp_path, "m1-b", leads=True)  # all were restarted, and this one is the first to lead
    assert ports(again.become_master()) == [40000, 40001]


def test_the_next_leader_knows_the_flows_of_the_one_before_with_their_addresses(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    for port in (40000, 40001):
        begin_flow(first.engine, port)
    first.write()
    second.leads = True
    engine = second.become_master()
    assert [flow[:4] for flow in engine.flows] == [flow[:4] for flow in first.engine.flows]
    begin_flow(engine, 40002)
    assert len({flow.translated for flow in engine.flows}) == 3
    second.write()
    assert second.written() == [40000, 40001, 40002]


def test_what_has_begun_last_and_was_not_received_shares_its_address_with_no_later_flow(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    first.lost = True  # it is killed
    for port in range(40001, 40021):
        begin_flow(first.engine, port)
    second.leads = True
    engine = second.become_master()
    assert ports(engine) == [40000]
    for port in range(41000, 41150):
        begin_flow(engine, port)
    unknown = {flow.translated for flow in first.engine.flows if flow.key.source_port > 40000}
    assert len(unknown) == 20
    assert not unknown & {flow.translated for flow in engine.flows}
    use = engine.statistics(time.monotonic()).pools["ipv4"]
    assert use.resting == use.size // 8


def test_a_third_member_goes_on_with_the_second_leader(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    third = Member(tmp_path, "m2-c")
    first.joined_by(third)
    begin_flow(first.engine, 40000)
    first.write()
    second.leads = True
    second.joined_by(third)
    second.write()  # before its switch has been read
    assert third.received() == [40000]
    begin_flow(second.become_master(), 40001)
    second.write()
    assert third.received() == [40000, 40001]
    begin_flow(first.engine, 40009)  # it does not know yet that it leads no more
    first.write()
    assert third.received() == [40000, 40001]


def test_addresses_of_flows_that_have_ended_are_told_so_that_they_rest_on(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    told: list[tuple[str, list[bytes]]] = []
    second.flows.released = lambda edge, addresses: told.append((edge, addresses))
    for port in (40000, 40001):
        begin_flow(first.engine, port)
    first.write()
    flow = first.engine.flows.by_number(1)
    assert flow
    first.engine.end(1, time.monotonic())
    first.write()
    assert told == [(first.edge, [flow.translated])]


def test_a_leader_that_begins_anew_sends_what_it_has_done_last_and_what_it_does_then(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    begin_flow(first.engine, 40001)
    first.begin_anew()
    first.become_master()
    begin_flow(first.engine, 40002)
    first.write()
    assert second.received() == [40000, 40001, 40002]
    assert ports(first.engine) == [40000, 40001, 40002]


def test_what_is_not_whole_does_not_replace_what_is(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    second.flows.hear("m2-c", line(flow_records.names_frame([second.edge])))
    assert second.received() == [40000]
    second.flows.hear("m2-c", line(flow_records.framed(flow_records.WHOLE)))
    assert second.received() == []


def test_what_the_former_leader_says_last_counts_also_after_the_switch_was_read(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    begin_flow(first.engine, 40001)
    second.leads = True
    second.become_master()
    second.write()
    first.leads = False
    first.begin_anew()
    first.write()
    assert ports(second.engine) == [40000, 40001]
    assert not first.flows._edges[0].is_ours


def test_what_the_former_leader_says_while_its_flows_are_remembered_counts(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    second.leads = True
    second.flows.note(SwitchMastered(second.edge))
    second.controller.begin_reading(CLIENT_EDGE, Tables(), FEATURES)
    second.controller.read_on(CLIENT_EDGE, time.monotonic())
    begin_flow(first.engine, 40001)
    first.write()
    while second.controller.read_on(CLIENT_EDGE, time.monotonic()) is not None:
        pass
    assert ports(second.engine) == [40000, 40001]


def test_a_member_that_gets_its_switch_back_before_it_has_received_anything_knows_its_flows(tmp_path: Path) -> None:
    first, _ = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    first.leads = False
    first.begin_anew()
    first.write()
    assert ports(first.engine) == []
    first.leads = True
    assert ports(first.become_master()) == [40000]


def test_a_member_that_was_master_before_goes_by_what_the_leader_since_has_sent(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    second.leads, first.leads = True, False
    first.begin_anew()
    first.write()
    second.joined_by(first)
    second.become_master().end(1, time.monotonic())
    begin_flow(second.engine, 40001)
    second.write()
    first.leads = True
    assert ports(first.become_master()) == [40001]


def test_a_member_with_other_edges_gets_the_flows_of_those_that_it_has(tmp_path: Path) -> None:
    first, _ = pair(tmp_path)
    begin_flow(first.engine, 40000)
    found = OpenFlows()
    found.take(flow_records.NAMES + b'{"form": 1, "edges": ["other", "%s"]}' % first.edge.encode())
    flow = next(iter(first.engine.flows))
    found.take(flow_records.RECORDS + flow_records.packed(1, flow, 0.0) + flow_records.packed(0, flow, 0.0))
    mapped = found.among([first.edge])
    assert [*mapped.of(first.edge)] == [KeptFlow.of(flow, 0.0)]
    assert b"".join(mapped.records(first.edge, 10)) == flow_records.packed(0, flow, 0.0)


def test_a_leader_beats_when_nothing_happens_and_the_others_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair(tmp_path)
    first.write()
    lines = first.lines
    first.flows._beat()
    assert first.lines == lines
    monkeypatch.setattr("anycast_sdn.process.shared_flows.BEAT_S", 0.0)
    first.flows._beat()
    second.flows._beat()
    second.write()
    assert (first.lines, second.lines) == (lines + 1, 0)


def test_whatever_another_member_says_nothing_is_lost_by_it(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    chance = random.Random(1)
    good = flow_records.names_frame([second.edge]) + flow_records.framed(flow_records.RECORDS, b"\x01" * 60)
    for _ in range(200):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        second.flows.hear("m2-c", line(bytes(bad)))
    for said in ("", "not base64", "1 1 1.000 not base64", "1 1 1.000 é", "1 x 1.000 ", "9 1 1.000 ",
                 line(b"x", generation="1" * 30)):
        second.flows.hear("m2-c", said)
    assert second.received() == [40000]


def test_a_former_leader_that_sends_all_it_has_again_is_not_taken_for_the_leader(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    third = Member(tmp_path, "m2-c")
    begin_flow(first.engine, 40000)
    first.write()
    second.follow(first)
    second.joined_by(third)
    begin_flow(second.become_master(), 40001)
    second.write()
    first.joined_by(third)  # whose connection to it was lost
    first.write()
    begin_flow(second.engine, 40002)
    second.write()
    assert third.received() == [40000, 40001, 40002]


def test_a_leader_goes_by_nothing_that_a_former_one_sends_again(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    begin_flow(first.engine, 40000)
    first.write()
    second.follow(first)
    begin_flow(second.become_master(), 40001)
    second.write()
    first.joined_by(second)
    first.write()
    second.begin_anew()
    assert ports(second.become_master()) == [40000, 40001]
    second.write()
    assert second.written() == [40000, 40001]


def test_who_leads_again_is_the_leader_again(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    second.joined_by(first)
    third = Member(tmp_path, "m2-c")
    first.joined_by(third)
    second.joined_by(third)
    first.write()
    second.follow(first)
    second.become_master()
    second.write()
    first.leads = False
    first.begin_anew()
    first.write()
    first.follow(second)
    begin_flow(first.become_master(), 40000)
    first.write()
    assert third.received() == second.received() == [40000]


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 0.5])
def test_a_flow_has_begun_when_it_has_whatever_the_clock_of_the_leader_says(tmp_path: Path, ahead: float) -> None:
    first, second = pair(tmp_path)
    first.ahead = ahead
    begin_flow(first.engine, 40000)
    first.write()
    begin_flow(first.engine, 40001)
    first.write()
    second.write()
    in_file = flow_file.read(second.file).by_edge[second.edge].values()
    second.leads = True
    for flow, kept, one in zip(first.engine.flows, in_file, second.become_master().flows, strict=True):
        assert one.since == pytest.approx(flow.since, abs=1)
        assert kept.since == pytest.approx(flow.since + time.time() - time.monotonic(), abs=1)
