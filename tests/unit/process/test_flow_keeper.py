"""Flows in connection trackers outlive the controller in a file; what is wrong with it is told, and ends nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from os_ken.lib import hub

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.controller_events import FlowsKept, FlowsNotKept, FlowsNotRead
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import UDP, FlowKey
from anycast_sdn.core.roles import EngineName
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.flow_keeper import FlowKeeper, known_again
from tests.unit.engines.samples import CLIENT_EDGE, FEATURES, GROUPS, KEY, NETWORK, Ascending, packet


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventlet.tpool.execute", lambda write, *arguments: write(*arguments))


def controller(*engines: EngineName) -> Controller:
    first, *others = NETWORK.switches
    assert first.client_edge
    role = replace(first.client_edge, engines=engines or (EngineName.CONNTRACK,))
    return Controller(replace(NETWORK, switches=(replace(first, client_edge=role), *others)), GROUPS, Ascending())


def connected(made: Controller) -> Engine:
    made.synchronise(CLIENT_EDGE, Tables(), FEATURES, time.monotonic())
    return made.switches[CLIENT_EDGE].engine


def begin_flow(engine: Engine, port: int) -> None:
    key = FlowKey(KEY.source, KEY.destination, UDP, port, 53)
    engine.packet_handlers[Kind.FIRST_PACKET](1, packet(key), GROUPS, time.monotonic())


def started(tmp_path: Path, made: Controller, told: list[Event] | None = None) -> FlowKeeper | None:
    return known_again(str(tmp_path / "x.sqlite"), made, [].append if told is None else told.append)


def ports(engine: Engine) -> list[int]:
    return [flow.key.source_port for flow in engine.flows]


def test_a_new_controller_knows_the_flows_of_the_one_before(tmp_path: Path) -> None:
    first = controller()
    keeper = started(tmp_path, first)
    assert keeper
    engine = connected(first)
    begin_flow(engine, 40000)
    keeper.write()  # a file begins
    begin_flow(engine, 40001)
    begin_flow(engine, 40002)
    engine.end(1, time.monotonic())
    keeper.write()
    second = controller()
    began = time.monotonic()
    assert started(tmp_path, second)
    again = second.switches[CLIENT_EDGE].engine
    assert [flow[:4] for flow in again.flows] == [flow[:4] for flow in engine.flows]
    assert all(flow.since <= began for flow in again.flows)
    assert ports(again) == [40001, 40002]


def test_flows_go_on_being_kept_when_the_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycast_sdn.store.flow_file.MOST_OBSOLETE", 300)
    first = controller()
    keeper = started(tmp_path, first)
    assert keeper
    engine = connected(first)
    for port in range(40000, 40100):
        begin_flow(engine, port)
        if port % 3:
            engine.end(port - 39999, time.monotonic())
        keeper.write()
    assert (tmp_path / "x.connections").stat().st_size < 5000
    second = controller()
    started(tmp_path, second)
    assert ports(second.switches[CLIENT_EDGE].engine) == ports(engine) == [*range(40000, 40100)][2::3]


def test_a_file_that_cannot_be_written_is_told_once_and_has_all_flows_later(tmp_path: Path) -> None:
    first, told = controller(), list[Event]()
    keeper = started(tmp_path, first, told)
    assert keeper
    hindrance = tmp_path / "x.connections.new"
    hindrance.mkdir()
    for port in (40000, 40001):
        begin_flow(connected(first), port)
        keeper.write()
    assert told == [FlowsNotKept(f"{tmp_path / 'x.connections'}: Is a directory")]
    hindrance.rmdir()
    keeper.write()
    assert told[1:] == [FlowsKept()]
    second = controller()
    started(tmp_path, second)
    assert len(second.switches[CLIENT_EDGE].engine.flows) == 2


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    told = list[Event]()
    (tmp_path / "x.connections").write_bytes(b"something else")
    assert started(tmp_path, controller(), told)
    assert [type(event) for event in told] == [FlowsNotRead]


def test_there_is_no_file_where_no_client_edge_needs_one(tmp_path: Path) -> None:
    keeper = started(tmp_path, controller())
    assert keeper
    keeper.write()
    assert (tmp_path / "x.connections").exists()
    assert started(tmp_path, controller(EngineName.RULES)) is None
    assert not (tmp_path / "x.connections").exists()


def test_what_is_being_written_when_the_controller_ends_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(write: Callable[[bytes], None], records: bytes) -> None:
        hub.sleep(0.02)
        write(records)

    monkeypatch.setattr("eventlet.tpool.execute", slowly)
    first = controller()
    keeper = started(tmp_path, first)
    assert keeper
    begin_flow(connected(first), 40000)
    hub.spawn(keeper.run)
    hub.sleep(0.01)  # the first file has begun, and has nothing yet
    keeper.finish()
    second = controller()
    started(tmp_path, second)
    assert ports(second.switches[CLIENT_EDGE].engine) == [40000]
