"""What the application does in a cluster: who writes, who decides, and what follows when masters change."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.cluster.cluster import Claim, Cluster, RoleAnswer, Turn
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.groups import Groups
from anycast_sdn.description import reading
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.rules import Barrier, Message
from anycast_sdn.process.app import AnycastApp
from tests.unit.openflow.test_codec import as_flow_stats
from tests.unit.switch_end import HELLO, RULE, features, in_trials, message, multipart

ROOT = Path(__file__).parents[3]
ARH1, ARS2 = 1, 2
TRIAL = bytes.fromhex("a17cff")  # the cookies of rules that try out what a switch takes
# To a switch that connects: its ports, description, tables, groups; a rule that was tried; meters, groups, rules.
QUESTIONS = 8


class Member:
    """A ``Cluster`` of which this controller is the master of some switches; it ``leads`` when the test says so."""

    def __init__(self, *masters: int) -> None:
        self.masters = set(masters)
        self.leader = False
        self._changed: Callable[[Collection[int]], None]

    def leads(self) -> bool:
        return self.leader

    def term(self) -> int:
        return int(self.leader)

    def is_master(self, dpid: int) -> bool:
        return dpid in self.masters

    def watch(self, changed: Callable[[Collection[int]], None]) -> None:
        self._changed = changed

    def connected(self, dpid: int) -> None:
        pass

    def disconnected(self, dpid: int) -> None:
        pass

    def claim(self, dpid: int) -> Claim | None:
        return None

    def answered(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int = 0) -> Turn:
        raise AssertionError("nothing is asked")

    def refused(self, dpid: int) -> bool:
        was_master = dpid in self.masters
        self.masters.discard(dpid)
        return was_master

    def become_master(self, *dpids: int) -> None:
        self.masters |= set(dpids)
        self._changed(dpids)

    def become_leader(self) -> None:
        self.leader = True
        self._changed([])


class Recorder:
    """Instead of a channel: records the messages to a switch."""

    owes_answer = False

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, messages: Iterable[Message]) -> None:
        self.sent += messages


def app_in(cluster: Cluster) -> AnycastApp:
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), cluster)
    app.connections.channels = {dpid: Recorder() for dpid in app.controller.switches}  # type: ignore[misc]
    return app


@pytest.mark.parametrize("cluster", [Alone(), Member(ARH1, ARS2), Member(ARS2), Member()])
def test_only_the_master_of_a_switch_writes_to_it(cluster: Cluster) -> None:
    app = app_in(cluster)
    app._react(Outcome({ARH1: [Barrier(1)], ARS2: [Barrier(2)]}))
    channels: dict[int, Recorder] = app.connections.channels  # type: ignore[assignment]
    written = {dpid for dpid, channel in channels.items() if channel.sent}
    assert written == {dpid for dpid in (ARH1, ARS2) if cluster.is_master(dpid)}


def ticks(app: AnycastApp, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the controller is asked what time brings for the network."""
    times: list[float] = []

    def tick(now: float, owing: Collection[str] = ()) -> Outcome:
        times.append(now)
        return Outcome()

    monkeypatch.setattr(app.controller, "tick", tick)
    return times


@pytest.mark.parametrize("cluster", [Alone(), Member(ARH1, ARS2)])
def test_only_the_leader_discovers_links(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_in(cluster)
    times = ticks(app, monkeypatch)
    app._tick()
    assert bool(times) is cluster.leads()


def test_who_becomes_the_leader_decides_from_the_next_tick_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Member()
    app = app_in(cluster)
    times = ticks(app, monkeypatch)
    app._tick()
    cluster.become_leader()
    assert not times
    app._tick()
    assert len(times) == 1


# ------------------------------------------------------------------------------ who becomes the master of a switch


class Switch(Connection):
    """A switch without Open vSwitch's extensions, and the application's connection to it, without a socket.

    Whenever it is asked, it has one rule, of a flow that no controller knows.
    """

    def __init__(self, app: AnycastApp, dpid: int) -> None:
        super().__init__(app, "192.0.2.1:40000", lambda: None)
        self.written: list[bytes] = []  # flow-mods, of all kinds, but for those that try out what the switch takes
        self.listed = 0  # how often it was asked for all its rules
        self._soon: list[Callable[[], None]] = []
        self.say(HELLO)
        self.say(features(dpid))

    def later(self, act: Callable[[], None]) -> None:
        self._soon.append(act)

    def say(self, data: bytes) -> None:
        self.receive(data)
        while self.handle(64):
            pass

    def answer(self, most: int = 1 << 30) -> None:
        """Process the messages of the controller until ``most`` of its questions are answered."""
        while (self.unsent or self._soon) and most > 0:
            data, self.unsent = bytes(self.unsent), bytearray()
            while data:
                _, kind, length, xid = struct.unpack_from("!BBHI", data)
                self.say(in_trials(kind, data[8:length], every_packet=True))
                if kind == ofp.OFPT_FLOW_MOD:
                    if data[8:11] != TRIAL:
                        self.written.append(data[:length])
                elif kind == ofp.OFPT_MULTIPART_REQUEST:
                    self._list(int.from_bytes(data[8:10], "big"), data[16:length], xid)
                    most -= 1
                elif kind == ofp.OFPT_BARRIER_REQUEST:
                    self.say(message(ofp.OFPT_BARRIER_REPLY, xid=xid))
                data = data[length:]
            if most > 0:
                soon, self._soon = self._soon, []
                for act in soon:
                    act()

    def _list(self, kind: int, request: bytes, xid: int) -> None:
        is_any = request[34:36] == b"\0\4"  # an empty match: not the look for rules that were tried
        self.listed += kind == ofp.OFPMP_FLOW and request[0] == ofp.OFPTT_ALL and is_any
        bodies = {ofp.OFPMP_DESC: bytes(1056), ofp.OFPMP_METER_FEATURES: bytes(16), ofp.OFPMP_FLOW: as_flow_stats(RULE)}
        self.say(multipart(kind, bodies.get(kind, b""), xid))


def work(app: AnycastApp, switch: Switch) -> None:
    """Until nothing is left to do, and nothing under way."""
    switch.answer()
    while app.controller.is_busy():
        app._slice()
        switch.answer()


def connected(cluster: Cluster) -> tuple[AnycastApp, Switch]:
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), cluster)
    return app, Switch(app, ARH1)  # type: ignore[arg-type]


def test_a_switch_of_which_it_becomes_the_master_is_synchronised_as_on_connect() -> None:
    expected_app, expected = connected(Alone())
    work(expected_app, expected)
    assert len(expected.written) >= len(expected_app.controller.switches[ARH1].installed) > 0

    cluster = Member()
    app, switch = connected(cluster)
    work(app, switch)
    assert (switch.written, switch.listed) == ([], 1)
    cluster.become_master(ARH1)
    work(app, switch)
    assert (len(switch.written), switch.listed) == (len(expected.written), 2)
    assert not switch.is_closed


def test_what_a_former_master_has_changed_is_read_again() -> None:
    cluster = Member(ARH1)
    app, switch = connected(cluster)
    work(app, switch)
    rules = len(switch.written)
    cluster.become_master(ARH1)  # it was replaced meanwhile: the switch has no rules any more
    work(app, switch)
    assert (len(switch.written), switch.listed) == (2 * rules, 2)


@pytest.mark.parametrize("answers", range(1 + QUESTIONS))
def test_it_may_become_the_master_while_the_switch_is_asked_or_read(answers: int) -> None:
    cluster = Member()
    app, switch = connected(cluster)
    switch.answer(answers)
    assert bool(app.controller.switches[ARH1].reading) is (answers == QUESTIONS)
    cluster.become_master(ARH1)
    work(app, switch)
    assert len(switch.written) >= len(app.controller.switches[ARH1].installed) > 0
    assert switch.listed == 2
    assert not switch.is_closed


def test_a_switch_that_is_not_connected_is_synchronised_when_it_connects(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Member()
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), cluster)
    with caplog.at_level(logging.INFO):
        cluster.become_master(ARH1, ARS2)
    assert not caplog.records
    switch = Switch(app, ARH1)  # type: ignore[arg-type]
    work(app, switch)
    assert switch.listed == 1
    assert switch.written
