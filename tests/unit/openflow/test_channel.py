"""A connection on its socket: a message that is read later is checked as if it had been read at once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from unittest.mock import MagicMock

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.channel import JUST_S, Channel
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.rules import EndConnection
from tests.unit.switch_end import DPID, HELLO, Recorder, features, message


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Callbacks of ``later`` that have not run yet."""
    waiting: list[Callable[[], None]] = []
    spawn_after = "anycast_sdn.openflow.channel.hub.spawn_after"
    monkeypatch.setattr(spawn_after, lambda _, act, *more: waiting.append(lambda: act(*more)))
    return waiting


@pytest.fixture
def socket() -> MagicMock:
    """It takes all bytes at once."""
    socket = MagicMock()
    socket.fd.send.side_effect = len
    return socket


@pytest.fixture
def switch(socket: MagicMock) -> Channel:
    switch = Channel(socket, "192.0.2.1:6653", Recorder())
    switch.receive(HELLO + features(DPID))
    switch.handle(2)
    assert switch.is_admitted
    return switch


def test_a_bad_message_that_is_read_later_ends_the_connection(switch: Channel, later: list[Callable[[], None]]) -> None:
    def read() -> None:
        raise BadMessage("length of tcp_dst")

    switch.later(read)
    assert switch.is_admitted
    later.pop()()
    assert switch.is_closed
    assert switch.reason == "bad message: length of tcp_dst"


def test_nothing_is_done_later_once_the_connection_has_ended(switch: Channel, later: list[Callable[[], None]]) -> None:
    done: list[bool] = []
    switch.later(lambda: done.append(True))
    switch.close("it is gone")
    later.pop()()
    assert not done


REQUEST, REPLY = b"\x04\x02\x00\x08\x00\x00\x00\x07", b"\x04\x03\x00\x08\x00\x00\x00\x07"  # of an echo


def take_request(switch: Channel) -> None:
    switch.receive(REQUEST)
    switch._take_turn()


def is_left_to_the_writer(switch: Channel) -> bool:
    return bool(switch._something_to_send.is_set())


@pytest.fixture
def at_rest(switch: Channel) -> Channel:
    """All is sent."""
    switch.unsent.clear()
    switch._something_to_send.clear()
    return switch


def test_what_messages_lead_to_is_sent_at_the_end_of_their_turn(at_rest: Channel, socket: MagicMock) -> None:
    take_request(at_rest)
    socket.fd.send.assert_called_once_with(REPLY)
    assert at_rest.unsent == b""
    assert not is_left_to_the_writer(at_rest)


@pytest.mark.parametrize(("taken", "left"), [(3, REPLY[3:]), (BlockingIOError, REPLY)])
def test_what_the_socket_does_not_take_is_left_to_the_writer(
    at_rest: Channel, socket: MagicMock, taken: object, left: bytes
) -> None:
    socket.fd.send.side_effect = [taken]
    take_request(at_rest)
    assert at_rest.unsent == left
    assert is_left_to_the_writer(at_rest)


def test_nothing_overtakes_what_the_writer_is_sending(at_rest: Channel, socket: MagicMock) -> None:
    def send(data: bytes) -> int:
        if data == b"before":
            take_request(at_rest)  # the socket is full, so that other threads run
        return len(data)

    at_rest.unsent[:] = b"before"
    socket.send.side_effect = send
    at_rest._flush()
    assert [call.args for call in socket.send.call_args_list] == [(b"before",), (REPLY,)]
    socket.fd.send.assert_not_called()


def test_a_switch_that_has_said_who_its_master_is_is_not_asked_again_for_a_moment(
    at_rest: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> bool:
        at_rest.send([EndConnection(4, bytes(4), bytes(4), 17, 40000, 53)])
        waits = at_rest.held is not None
        if waits:
            xid = int.from_bytes(at_rest.unsent[-20:-16], "big")
            at_rest.receive(message(ofp.OFPT_ROLE_REPLY, struct.pack("!I4xQ", ofp.OFPCR_ROLE_MASTER, 7), xid))
            at_rest.handle(1)
            assert at_rest.held is None
        return waits

    now = 100.0
    monkeypatch.setattr("anycast_sdn.openflow.channel.time.monotonic", lambda: now)
    at_rest.ask_role(ofp.OFPCR_ROLE_MASTER, 7, lambda reply: None)
    assert [asked(), asked()] == [True, False]
    now += 2 * JUST_S
    assert asked()
