"""Relays part the ends of TCP connections without a word."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from relay import OpenFlowRelay, Relay, Relays

WAIT_S, SILENCE_S = 5.0, 0.2


@pytest.fixture
def relays() -> Iterator[Relays]:
    with Relays() as relays:
        yield relays


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(WAIT_S)
        yield listener


def connected(relay: Relay, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    near = socket.create_connection(("127.0.0.1", relay.port), WAIT_S)
    far, _ = server.accept()
    far.settimeout(WAIT_S)
    return near, far


def test_what_was_swallowed_arrives_when_the_relay_passes_again(relays: Relays, server: socket.socket) -> None:
    relay = Relay(relays, server.getsockname()[1])
    near, far = connected(relay, server)
    relay.swallow()
    near.sendall(b"hello")
    far.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        far.recv(10)
    relay.restore()
    far.settimeout(WAIT_S)
    assert far.recv(10) == b"hello"


def test_who_connects_to_a_relay_that_swallows_gets_no_answer(relays: Relays, server: socket.socket) -> None:
    relay = Relay(relays, server.getsockname()[1])
    relay.swallow()
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", relay.port), SILENCE_S)
    relay.restore()
    connected(relay, server)


def test_a_relay_that_refuses_ends_its_connections_and_takes_none(relays: Relays, server: socket.socket) -> None:
    relay = Relay(relays, server.getsockname()[1])
    near, _ = connected(relay, server)
    relay.refuse()
    with pytest.raises(ConnectionResetError):
        near.recv(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", relay.port), WAIT_S)
    relay.restore()
    connected(relay, server)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + len(body), 0) + body


def of_switch(dpid: int) -> bytes:
    return message(6, struct.pack("!QIBBHII", dpid, 0, 254, 0, 0, 0, 0))


def test_one_switch_is_parted_and_another_is_not(relays: Relays, server: socket.socket) -> None:
    relay = OpenFlowRelay(relays, server.getsockname()[1])
    ends = {dpid: connected(relay, server) for dpid in (1, 2)}
    for dpid, (switch, controller) in ends.items():
        switch.sendall(of_switch(dpid))
        assert controller.recv(100) == of_switch(dpid)
    relay.swallow_switch(1)
    for dpid, (switch, controller) in ends.items():
        switch.sendall(message(2, b""))
        controller.settimeout(SILENCE_S if dpid == 1 else WAIT_S)
    with pytest.raises(TimeoutError):
        ends[1][1].recv(100)
    assert ends[2][1].recv(100) == message(2, b"")


def test_a_reply_that_makes_a_master_is_looked_at_before_it_arrives(relays: Relays, server: socket.socket) -> None:
    relay = OpenFlowRelay(relays, server.getsockname()[1])
    looked, seen = threading.Event(), []
    relay.watch = lambda reply: (seen.append(reply), looked.wait(WAIT_S))[0]
    switch, controller = connected(relay, server)
    switch.sendall(of_switch(7))
    assert controller.recv(100) == of_switch(7)
    switch.sendall(message(25, struct.pack("!I4xQ", 2, 5)))
    controller.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        controller.recv(100)
    looked.set()
    controller.settimeout(WAIT_S)
    assert len(controller.recv(100)) == 24
    assert [(reply.dpid, reply.is_master, reply.generation) for reply in seen] == [(7, True, 5)]


def test_a_refused_write_is_counted(relays: Relays, server: socket.socket) -> None:
    relay = OpenFlowRelay(relays, server.getsockname()[1])
    switch, controller = connected(relay, server)
    said = of_switch(7) + message(1, struct.pack("!HH", 1, 10))
    switch.sendall(said)
    assert b"".join(controller.recv(1) for _ in said) == said
    assert [dpid for _, dpid in relay.refused] == [7]
