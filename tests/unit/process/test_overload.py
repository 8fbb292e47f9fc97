"""Who floods does not make others wait, neither for the controller nor behind what a switch has still to work off.

What the other ports' clients wait for is looked at in the application, with switches that answer when told to.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.description import reading
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.pipeline import Kind, cookie
from anycast_sdn.openflow.rules import Barrier, Message
from anycast_sdn.process.app import PUT_BACK_TURNS, AnycastApp
from anycast_sdn.process.backlog import BEHIND_S
from anycast_sdn.process.first_packets import TURN

ROOT = Path(__file__).parents[3]
ARH1 = 1
ANY, SERVER, OTHER_SERVER = packed("198.18.0.1"), packed("10.2.0.10"), packed("10.3.0.10")


class SlowSwitch:
    """In a channel's place: it works off what it is told only when asked to."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.owed: list[Callable[[bool], None]] = []

    def send(self, messages: Iterable[Message]) -> None:
        self.told += messages

    def probe(self, answer: Callable[[bool], None]) -> None:
        self.owed.append(answer)


@pytest.fixture
def app() -> AnycastApp:
    """Whatever is looked at makes two messages that name the port, or for replies the server's last byte."""
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups())
    app.connections.channels = {dpid: SlowSwitch() for dpid in app.controller.switches}  # type: ignore[misc]

    def answer(dpid: int, cookie: int, in_port: int, frame: bytes, now: float) -> Outcome:
        return Outcome({dpid: [Barrier(in_port), Barrier(in_port)]})

    app.controller.packet_in = answer  # type: ignore[method-assign, assignment]
    return app


def first_packets(app: AnycastApp, port: int, count: int) -> None:
    for _ in range(count):
        app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_PACKET), port, b""))


def serve_while_allowed(app: AnycastApp) -> int:
    """→ how many messages that were to the switch."""
    before = len(told(app))
    while app.first_packets.waiting[ARH1].may_be_served(time.monotonic()):
        app.first_packets.serve(ARH1)
    return len(told(app)) - before


def told(app: AnycastApp) -> list[Message]:
    return app.connections.channels[ARH1].told  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def behind(app: AnycastApp, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[bool], None]]:
    """A flood waits, and the switch is behind → what it owes."""
    now = 100.0

    def monotonic() -> float:
        nonlocal now
        now += BEHIND_S / 1000
        return now

    monkeypatch.setattr(time, "monotonic", monotonic)
    first_packets(app, 1, 5000)
    now += 0.01
    assert 0 < serve_while_allowed(app) < 5000
    return app.connections.channels[ARH1].owed  # type: ignore[attr-defined, no-any-return]


def test_a_switch_that_is_behind_is_sent_no_more_of_a_flood(
    app: AnycastApp, behind: list[Callable[[bool], None]]
) -> None:
    assert serve_while_allowed(app) == 0
    while behind:
        behind.pop(0)(True)
    assert serve_while_allowed(app) > 0, "it goes on when the switch does"


def test_a_newcomer_is_the_next_when_the_switch_goes_on(app: AnycastApp, behind: list[Callable[[bool], None]]) -> None:
    first_packets(app, 2, 1)
    before = len(told(app))
    while behind:
        behind.pop(0)(True)
    serve_while_allowed(app)
    assert Barrier(2) in told(app)[before : before + 4], "it is the next, or the one after that"


def test_a_switch_that_never_says_how_far_it_is_is_served_on(
    app: AnycastApp, behind: list[Callable[[bool], None]]
) -> None:
    while behind:
        behind.pop(0)(False)
    assert serve_while_allowed(app) > 0


def reply(server: bytes, translated: bytes) -> bytes:
    key = FlowKey(server, translated, UDP, 7000, 5000)
    return builders.ip_packet(key, eth_src=b"\x02" * 6, eth_dst=b"\x02" * 6)


def test_what_a_flood_is_answered_keeps_no_other_port_waiting_for_the_same_server(app: AnycastApp) -> None:
    bindings = app.controller.switches[ARH1].engine.flows
    translated = {port: packed(f"203.0.113.{port}") for port in (1, 2)}
    for port, address in translated.items():
        key = FlowKey(packed(f"10.1.0.{9 + port}"), ANY, UDP, 5000, 7000)
        bindings.put(Binding(port, key, address, "web", 0.0), port)
    for count, port in ((3000, 1), (1, 2)):
        for _ in range(count):
            frame = reply(SERVER, translated[port])
            app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_REPLY), 10 + port, frame))
    served = app.first_packets.waiting[ARH1].pop(TURN, 0.0)
    assert [message.in_port for message in served[:2]] == [11, 12]


def test_a_server_that_floods_one_client_keeps_it_waiting_for_no_other_server(app: AnycastApp) -> None:
    bindings = app.controller.switches[ARH1].engine.flows
    translated = packed("203.0.113.1")
    bindings.put(Binding(1, FlowKey(packed("10.1.0.10"), ANY, UDP, 5000, 7000), translated, "web", 0.0), 1)
    for server, count in ((OTHER_SERVER, 3000), (SERVER, 1)):
        for _ in range(count):
            frame = reply(server, translated)
            app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_REPLY), server[1], frame))
    served = app.first_packets.waiting[ARH1].pop(TURN, 0.0)
    assert [message.in_port for message in served[:2]] == [3, 2]


@pytest.mark.parametrize("frame", [b"", b"\x02" * 14, b"\x02" * 12 + b"\x86\xdd" + bytes(10)])
def test_a_reply_that_is_cut_short_disturbs_nothing(app: AnycastApp, frame: bytes) -> None:
    app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_REPLY), 1, frame))
    assert serve_while_allowed(app) == 2


def test_who_deletes_rules_as_fast_as_they_are_put_back_holds_up_no_other_switch(
    app: AnycastApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Counter[int]()

    def put_back(dpid: int, now: float) -> Outcome:
        turns[dpid] += 1
        assert turns[dpid] < 10_000, "nobody else has a turn any more"
        return Outcome({dpid: [Barrier(1)]}) if dpid == ARH1 else {}

    monkeypatch.setattr(app.controller, "put_back", put_back)
    app._tick()
    assert turns.keys() == app.controller.switches.keys()
    assert turns[ARH1] == PUT_BACK_TURNS
