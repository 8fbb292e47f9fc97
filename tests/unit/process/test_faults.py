"""A fault of our own in one event loses that event alone.

The tests put faults into the controller's methods, and check the messages to the other switches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Event, RuleRefused
from anycast_sdn.core.groups import Groups
from anycast_sdn.description import reading
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Barrier, Message
from anycast_sdn.process.app import AnycastApp

ROOT = Path(__file__).parents[3]
ARH1, ARS2 = 1, 2


class Recorder:
    """Instead of a channel: records the messages to a switch."""

    owes_answer = is_silent = False

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, messages: Iterable[Message]) -> None:
        self.sent += messages


class Broken(Recorder):
    def send(self, messages: Iterable[Message]) -> None:
        raise RuntimeError("a fault")


@pytest.fixture
def app() -> AnycastApp:
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), Alone())
    app.connections.channels = {dpid: Recorder() for dpid in app.controller.switches}  # type: ignore[misc]
    return app


def fails_for(wrong: object, instead: Callable[..., Any]) -> Callable[..., Any]:
    """``instead``, but it raises an exception if the first argument is ``wrong``, or a list with it."""

    def act(first: Any, *arguments: Any, **named: Any) -> Any:
        if first == wrong or (isinstance(first, list) and wrong in first):
            raise RuntimeError("a fault")
        return instead(first, *arguments, **named)

    return act


def faults(log: pytest.LogCaptureFixture) -> int:
    return sum(record.levelno == logging.ERROR and record.exc_info is not None for record in log.records)


def test_a_packet_that_fails_loses_neither_those_before_it_nor_those_after_it(app, caplog):
    def answer(dpid: int, cookie: int, in_port: int, frame: bytes, now: float) -> Outcome:
        if frame == b"wrong":
            raise RuntimeError("a fault")
        return Outcome({dpid: [Barrier(in_port)]})

    app.controller.packet_in = answer
    for port, frame in ((1, b"good"), (2, b"wrong"), (3, b"good")):
        app.packet_in(ARH1, PacketInMessage(cookie(Kind.FIRST_PACKET), port, frame))
    app.first_packets.serve(ARH1)
    assert app.connections.channels[ARH1].sent == [Barrier(1), Barrier(3)]
    assert faults(caplog) == 1


def test_a_confirmation_that_fails_leaves_the_rest_of_its_batch(app, caplog):
    confirmed: list[tuple[int, int]] = []

    def take(tickets: list[tuple[int, int]], now: float) -> Outcome:
        confirmed.extend(tickets)
        return Outcome()

    app.controller.confirmed = fails_for((ARS2, 8), take)
    app.confirmations._waiting = [(0.0, (ARH1, 7)), (0.0, (ARS2, 8)), (0.0, (3, 9))]
    app.confirmations.handle()
    assert confirmed == [(ARH1, 7), (3, 9)]
    assert app.confirmations._waiting == []
    assert faults(caplog) == 2, "the batch, and then the wrong one by itself"


def test_a_switch_whose_tick_fails_leaves_the_others_theirs(app, caplog):
    app.controller.tick_switch = fails_for(ARH1, lambda dpid, now, *heard: Outcome({dpid: [Barrier(dpid)]}))
    app._tick()
    sent_to = {dpid for dpid, switch in app.connections.channels.items() if Barrier(dpid) in switch.sent}
    assert sent_to == set(app.controller.switches) - {ARH1}
    assert faults(caplog) == 1


def test_messages_that_cannot_be_written_leave_the_other_switches_theirs(app, caplog):
    app.connections.channels[ARH1] = Broken()
    app._react(Outcome({ARH1: [Barrier(1)], ARS2: [Barrier(2)]}))
    assert app.connections.channels[ARS2].sent == [Barrier(2)]
    assert faults(caplog) == 1


def test_a_subscriber_that_fails_disturbs_neither_the_messages_nor_the_other_subscribers(app, caplog):
    received: list[Event] = []
    event = RuleRefused("ars2")
    app._subscribers = (fails_for(event, received.append), *app._subscribers, received.append)
    app._react(Outcome({ARS2: [Barrier(2)]}, [event]))
    assert app.connections.channels[ARS2].sent == [Barrier(2)]
    assert received == [event]
    assert app.counters.drops["ars2"] == {"rule_refused": 1}
    assert faults(caplog) == 1


def test_a_switch_that_refuses_again_and_again_does_not_fill_the_log(app, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            app.message_refused(ARH1, "type 2 code 4, 00")
            app.rule_refused(ARH1, 0, False, "error type 2 code 4")
    assert 2 <= len(caplog.records) <= 20
