"""A flood does not delay others, neither in the controller's queues nor behind messages that a switch has to process.

The tests run the application with switches that answer probes when the test lets them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.description import reading
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Barrier, Message
from anycast_sdn.process.app import FLOW_TURNS, AnycastApp
from anycast_sdn.process.backlog import BEHIND_S
from anycast_sdn.process.first_packets import COPIED_REPLIES, COPIES, COPY_WAIT_S, TURN

ROOT = Path(__file__).parents[3]
ARH1 = 1
ANY, SERVER, OTHER_SERVER = packed("198.18.0.1"), packed("10.2.0.10"), packed("10.3.0.10")


class SlowSwitch:
    """Instead of a channel: records messages; its probes are answered by the test."""

    owes_answer = is_silent = False

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.probes: list[Callable[[bool], None]] = []

    def send(self, messages: Iterable[Message]) -> None:
        self.sent += messages

    def probe(self, answer: Callable[[bool], None]) -> None:
        self.probes.append(answer)


@pytest.fixture
def app() -> AnycastApp:
    """Each packet-in leads to two messages that carry its port."""
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), Alone())
    app.connections.channels = {dpid: SlowSwitch() for dpid in app.controller.switches}  # type: ignore[misc]
    app.controller.switches[ARH1].synchronised = True

    def answer(dpid: int, cookie: int, in_port: int, frame: bytes, now: float) -> Outcome:
        return Outcome({dpid: [Barrier(in_port), Barrier(in_port)]})

    app.controller.packet_in = answer  # type: ignore[method-assign, assignment]
    return app


def first_packets(app: AnycastApp, port: int, count: int) -> None:
    for _ in range(count):
        app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_PACKET), port, b""))


def serve_while_allowed(app: AnycastApp) -> int:
    """→ how many messages were sent to the switch."""
    before = len(sent(app))
    while app.first_packets.waiting[ARH1].may_be_served(time.monotonic()):
        app.first_packets.serve(ARH1)
    return len(sent(app)) - before


def sent(app: AnycastApp) -> list[Message]:
    return app.connections.channels[ARH1].sent  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def behind(app: AnycastApp, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[bool], None]]:
    """A flood waits, and the switch is behind → its unanswered probes."""
    now = 100.0

    def monotonic() -> float:
        nonlocal now
        now += BEHIND_S / 1000
        return now

    monkeypatch.setattr(time, "monotonic", monotonic)
    first_packets(app, 1, 5000)
    now += 0.01
    assert 0 < serve_while_allowed(app) < 5000
    return app.connections.channels[ARH1].probes  # type: ignore[attr-defined, no-any-return]


def wakes(app: AnycastApp) -> bool:
    """Has the thread been woken that serves switches in turn?"""
    return bool(app._packets_wait.is_set())


def test_a_few_packets_are_served_by_the_thread_that_has_read_them(app: AnycastApp) -> None:
    first_packets(app, 1, TURN)
    app.turn_ended(ARH1)
    assert (len(sent(app)), wakes(app)) == (2 * TURN, False)


def test_more_packets_than_are_served_in_a_turn_are_queued_by_port(app: AnycastApp) -> None:
    first_packets(app, 1, TURN)
    first_packets(app, 2, 1)
    app.turn_ended(ARH1)
    assert (sent(app), wakes(app)) == ([], True)
    serve_while_allowed(app)
    assert Barrier(2) in sent(app)[:4], "it is the first or the second"


def test_a_packet_that_comes_while_others_wait_has_its_turn_after_them(app: AnycastApp) -> None:
    first_packets(app, 1, TURN + 1)
    app.turn_ended(ARH1)
    first_packets(app, 1, 1)
    app.turn_ended(ARH1)
    assert sent(app) == []
    assert serve_while_allowed(app) == 2 * (TURN + 2)


def test_few_packets_are_not_served_while_the_switch_is_behind(
    app: AnycastApp, behind: list[Callable[[bool], None]]
) -> None:
    first_packets(app, 2, 1)
    before = len(sent(app))
    app.turn_ended(ARH1)
    assert len(sent(app)) == before


def test_few_packets_that_could_not_be_served_in_time_are_shed(app: AnycastApp) -> None:
    first_packets(app, 1, 3)
    wait_s = app.controller.network.limits.wait_ms / 1000
    waiting, late = app.first_packets.waiting[ARH1], time.monotonic() + 2 * wait_s
    assert waiting.pop(TURN, late) == ([], [])
    assert waiting.pop_shed() == 3


def test_no_packet_of_a_flood_is_served_while_the_switch_is_behind(
    app: AnycastApp, behind: list[Callable[[bool], None]]
) -> None:
    assert serve_while_allowed(app) == 0
    while behind:
        behind.pop(0)(True)
    assert serve_while_allowed(app) > 0, "it is served when the switch has caught up"


def test_a_packet_of_another_port_is_the_next_when_the_switch_has_caught_up(
    app: AnycastApp, behind: list[Callable[[bool], None]]
) -> None:
    first_packets(app, 2, 1)
    before = len(sent(app))
    while behind:
        behind.pop(0)(True)
    serve_while_allowed(app)
    assert Barrier(2) in sent(app)[before : before + 4], "it is the first or the second"


def test_a_switch_that_answers_no_probe_is_served_when_they_time_out(
    app: AnycastApp, behind: list[Callable[[bool], None]]
) -> None:
    while behind:
        behind.pop(0)(False)
    assert serve_while_allowed(app) > 0


def reply(server: bytes, translated: bytes) -> bytes:
    key = FlowKey(server, translated, UDP, 7000, 5000)
    return builders.ip_packet(key, eth_src=b"\x02" * 6, eth_dst=b"\x02" * 6)


def test_replies_to_a_flood_do_not_delay_replies_of_the_same_server_to_another_port(app: AnycastApp) -> None:
    bindings = app.controller.switches[ARH1].engine.flows
    translated = {port: packed(f"203.0.113.{port}") for port in (1, 2)}
    for port, address in translated.items():
        key = FlowKey(packed(f"10.1.0.{9 + port}"), ANY, UDP, 5000, 7000)
        bindings.put(Binding(port, key, address, "web", 0.0, port=port))
    for count, port in ((3000, 1), (1, 2)):
        for _ in range(count):
            frame = reply(SERVER, translated[port])
            app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_REPLY), 10 + port, frame))
    served, _ = app.first_packets.waiting[ARH1].pop(TURN, 0.0)
    assert [message.in_port for _, message in served[:2]] == [11, 12]


def test_a_server_that_floods_a_client_does_not_delay_replies_of_other_servers_to_it(app: AnycastApp) -> None:
    bindings = app.controller.switches[ARH1].engine.flows
    translated = packed("203.0.113.1")
    bindings.put(Binding(1, FlowKey(packed("10.1.0.10"), ANY, UDP, 5000, 7000), translated, "web", 0.0, port=1))
    for server, count in ((OTHER_SERVER, 3000), (SERVER, 1)):
        for _ in range(count):
            frame = reply(server, translated)
            app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_REPLY), server[1], frame))
    served, _ = app.first_packets.waiting[ARH1].pop(TURN, 0.0)
    assert [message.in_port for _, message in served[:2]] == [3, 2]


@pytest.mark.parametrize("frame", [b"", b"\x02" * 14, b"\x02" * 12 + b"\x86\xdd" + bytes(10)])
def test_a_truncated_reply_is_served_like_others(app: AnycastApp, frame: bytes) -> None:
    app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_REPLY), 1, frame))
    assert serve_while_allowed(app) == 2


def test_rules_deleted_as_fast_as_they_are_put_back_hold_up_no_other_switch(
    app: AnycastApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Counter[int]()

    def tick_flows(dpid: int, now: float, most: int) -> tuple[Outcome, bool]:
        turns[dpid] += 1
        assert turns[dpid] < 10_000, "no other switch has a turn any more"
        return (Outcome({dpid: [Barrier(1)]}), True) if dpid == ARH1 else (Outcome(), False)

    monkeypatch.setattr(app.controller, "tick_flows", tick_flows)
    app._tick()
    assert turns.keys() == app.controller.switches.keys()
    assert turns[ARH1] == FLOW_TURNS


def copies(app: AnycastApp, port: int, count: int, kind: Kind = Kind.REPORT_NEW) -> None:
    """Of packets of flows that the switch has begun by itself."""
    for _ in range(count):
        app.packet_in(ARH1, PacketInMessage(cookie(kind), port, bytes(64)))


@pytest.mark.parametrize("kind", [Kind.REPORT_NEW, Kind.REPORT, Kind.MEMBER_REPLY_UDP, Kind.OTHER_NUMBERS])
def test_first_packets_are_served_before_any_number_of_copies(app: AnycastApp, kind: Kind) -> None:
    copies(app, 1, 1000, kind)
    first_packets(app, 2, 1)
    app.turn_ended(ARH1)
    assert (sent(app), wakes(app)) == ([Barrier(2)] * 2, True)
    app.first_packets.serve(ARH1)
    turn = COPIED_REPLIES if kind is Kind.MEMBER_REPLY_UDP else COPIES
    assert len(sent(app)) == 2 + 2 * turn, "a turn has its limit"
    first_packets(app, 2, 1)
    app.turn_ended(ARH1)
    assert sent(app)[-2:] == [Barrier(2)] * 2
    assert serve_while_allowed(app) == 2 * (1000 - turn)


def test_copies_of_a_port_do_not_wait_behind_those_of_a_flood(app: AnycastApp) -> None:
    copies(app, 1, 1000)
    copies(app, 2, 1)
    app.turn_ended(ARH1)
    app.first_packets.serve(ARH1)
    assert Barrier(2) in sent(app)[:4], "it is the first or the second"


def test_a_few_copies_are_served_by_the_thread_that_has_read_them(app: AnycastApp) -> None:
    copies(app, 1, COPIES)
    app.turn_ended(ARH1)
    assert (len(sent(app)), wakes(app)) == (2 * COPIES, False)


def test_copies_are_served_in_their_order_and_are_no_dropped_packets_when_they_waited_too_long(app: AnycastApp) -> None:
    count = COPIES + 3
    for number in range(count):
        app.packet_in(ARH1, PacketInMessage(cookie(Kind.REPORT_NEW), 1, bytes([number])))
    waiting, now = app.first_packets.waiting[ARH1], time.monotonic()
    served = [message.frame[0] for _, message in waiting.pop_copies(now + 0.9 * COPY_WAIT_S)]
    assert served == list(range(COPIES)), "the oldest ones are the first"
    assert waiting.pop_copies(now + 2 * COPY_WAIT_S) == []
    assert (waiting.pop_shed(), bool(waiting)) == (0, False)


def test_the_end_of_a_connection_is_learned_of_behind_its_beginning(app: AnycastApp) -> None:
    copies(app, 1, 1)
    copies(app, 2, 1, Kind.TCP_END)
    copies(app, 1, 1, Kind.TCP_END)
    assert sent(app) == [Barrier(2)] * 2, "no beginning waits at that port"
    assert serve_while_allowed(app) == 4


def test_an_error_about_a_flow_is_served_behind_the_report_of_that(app: AnycastApp) -> None:
    copies(app, 3, 1, Kind.ICMP_ERROR)
    assert sent(app) == [Barrier(3)] * 2, "no report waits"
    copies(app, 1, 1000)
    copies(app, 2, 1)
    copies(app, 3, 1, Kind.ICMP_ERROR)
    app.turn_ended(ARH1)
    app.first_packets.serve(ARH1)
    turns = [message.ticket for message in sent(app)[2::2] if isinstance(message, Barrier)]
    assert turns[:3] == [1, 2, 3]
