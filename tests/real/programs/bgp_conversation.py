"""A ``Speaker`` and a router that is all ours, in one process: what the router says, and what becomes of it.

    unshare -n .venv/bin/python bgp_conversation.py CASE

Status 0 when the case holds.  Refuses to run where there is any network but loopback.
"""

# ruff: noqa: E402 - sockets have to be eventlet's before anybody imports them

from __future__ import annotations

import os

os.environ["OSKEN_HUB_TYPE"] = "eventlet"

import eventlet

eventlet.monkey_patch()

import errno
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from anycast_sdn.core.model import Gateway, Prefix, packed
from anycast_sdn.description.model import BgpSession, Uplink
from anycast_sdn.routing import bgp

OURS, ROUTER = "127.0.0.1", "127.0.0.2"
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = range(1, 6)
SOON_S = 8.0
PREFIX = Prefix.parse("203.0.113.0/24")


class Router:
    """Takes connections one after the other.  ``resets``: so many of them are reset."""

    def __init__(self, hold_s: int = 30, resets: int = 0) -> None:
        self._hold_s = hold_s
        self._resets = resets
        self._connection: socket.socket | None = None
        self.heard: list[tuple[int, bytes]] = []  # type and body of messages, of the latest connection
        self.sessions = 0
        listener = socket.create_server((ROUTER, bgp.BGP_PORT))
        eventlet.spawn(self._serve, listener)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            self._connection, _ = listener.accept()
            if self._resets:
                self._resets -= 1
                eventlet.sleep(0.02)  # the other side has its connection by then
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._connection.close()
                continue
            self.sessions += 1
            self.heard.clear()
            capabilities = bytes.fromhex("010400010001 010400020001")
            options = bytes((2, len(capabilities))) + capabilities
            self.say(OPEN, struct.pack("!BHH4sB", 4, 65000, self._hold_s, b"\x09\x09\x09\x09", len(options)) + options)
            self.say(KEEPALIVE)
            try:
                self._listen(self._connection.makefile("rb"))
            except OSError:
                continue

    def _listen(self, stream: object) -> None:
        while len(header := stream.read(19)) == 19:  # type: ignore[attr-defined]
            length, kind = struct.unpack("!HB", header[16:])
            self.heard.append((kind, stream.read(length - 19)))  # type: ignore[attr-defined]
            if kind == KEEPALIVE:
                self.say(KEEPALIVE)

    def say(self, kind: int, body: bytes = b"") -> None:
        assert self._connection
        self._connection.sendall(b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body)

    def teach(self, nlri: str) -> None:
        """``nlri``: an IPv4 prefix as it is sent, in hexadecimal: "18 0a0101" is 10.1.1.0/24."""
        attributes = bytes.fromhex("40010100 400204 0201fde8 400304 0a090102")
        self.say(UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes + bytes.fromhex(nlri))

    def holds(self, prefix: Prefix) -> bool:
        """Has it been told this IPv4 prefix, and not been told since that it is gone?"""
        shown = bytes((prefix.length,)) + prefix.network[: (prefix.length + 7) // 8]
        holds = False
        for kind, body in self.heard:
            if kind == UPDATE:
                (withdrawn,) = struct.unpack("!H", body[:2])
                (attributes,) = struct.unpack("!H", body[2 + withdrawn : 4 + withdrawn])
                holds = (holds and shown not in body[2 : 2 + withdrawn]) or shown in body[4 + withdrawn + attributes :]
        return holds


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {SOON_S:g} s: {what}"
        eventlet.sleep(0.01)


def conversation(**options: int) -> tuple[bgp.Speaker, Router]:
    """A session that is up, unless the router does not want that."""
    router = Router(**options)
    session = BgpSession(65001, packed("10.9.1.1"), packed(OURS), packed(ROUTER), 65000)
    link = Gateway.parse("10.9.1.1/30")
    speaker = bgp.Speaker(Uplink("up1", "arh1", 20, (link,), (packed("10.9.1.2"),), (), session))
    speaker.start()
    return speaker, router


def is_up(speaker: bgp.Speaker) -> bool:
    return speaker.view().state == "established"


def bits_beyond_the_length_of_a_prefix_say_nothing() -> None:
    speaker, router = conversation()
    until(lambda: is_up(speaker), "the session is up")
    router.teach("14 0a50ff")
    until(lambda: speaker.routes, "the route is learned")
    assert list(map(str, speaker.routes)) == ["10.80.240.0/20"]
    assert router.sessions == 1


def a_withdrawal_right_after_the_announcement_is_not_lost() -> None:
    speaker, router = conversation()
    until(lambda: is_up(speaker), "the session is up")
    for prefixes in ([PREFIX], [], [PREFIX], []):
        speaker.announce(prefixes)
    last = Prefix.parse("10.1.0.0/24")
    speaker.announce([last])
    until(lambda: router.holds(last), "the router has been told")
    assert not router.holds(PREFIX)


def a_refresh_is_answered_and_one_of_an_unknown_family_ignored() -> None:
    speaker, router = conversation()
    speaker.announce([PREFIX])
    until(lambda: router.holds(PREFIX), "the router has been told")
    router.heard.clear()
    router.say(ROUTE_REFRESH, bytes.fromhex("00090001"))
    router.say(ROUTE_REFRESH, bytes.fromhex("00010001"))
    until(lambda: router.holds(PREFIX), "the router has been told again")
    assert router.sessions == 1


def a_router_without_keepalives_is_refused_and_the_reason_shown() -> None:
    speaker, router = conversation(hold_s=1)
    until(lambda: (NOTIFICATION, b"\x02\x06") in router.heard, "the router hears: unacceptable hold time")
    until(lambda: "hold time" in speaker.view().problem, "the reason is shown")
    assert len(router.heard) < 5


def connections_that_are_reset_at_once_are_followed_by_others() -> None:
    """Whatever they were reset in the middle of: here, between the connection and the session on it."""
    bgp.RETRY_S = 0.01
    speaker, _ = conversation(resets=5)
    begin, ends = speaker._core.start_protocol, []

    def begin_late(connection: socket.socket) -> None:
        eventlet.sleep(0.05)
        try:
            begin(connection)
        except OSError as error:
            ends.append(error.errno)
            raise

    speaker._core.start_protocol = begin_late
    until(lambda: is_up(speaker), "the session is up")
    assert ends == 5 * [errno.ENOTCONN], ends
    assert speaker.view().problem == ""


def routes_beyond_the_limit_are_ignored_and_counted_and_forgotten() -> None:
    bgp.MAX_ROUTES = 10
    speaker, router = conversation()
    until(lambda: is_up(speaker), "the session is up")
    for number in range(200):
        router.teach(f"18 0a51{number:02x}")
    until(lambda: speaker.view().ignored == 190, "all are heard")
    assert speaker.view().learned == len(speaker._peer.adj_rib_in) == 10
    assert router.sessions == 1
    router.say(NOTIFICATION, bytes((6, 4)))
    until(lambda: not speaker.routes and not speaker._peer.adj_rib_in, "all are forgotten")
    assert "Administrative Reset" in speaker.view().problem


CASES = (
    bits_beyond_the_length_of_a_prefix_say_nothing,
    a_withdrawal_right_after_the_announcement_is_not_lost,
    a_refresh_is_answered_and_one_of_an_unknown_family_ignored,
    a_router_without_keepalives_is_refused_and_the_reason_shown,
    connections_that_are_reset_at_once_are_followed_by_others,
    routes_beyond_the_limit_are_ignored_and_counted_and_forgotten,
)

if __name__ == "__main__":
    assert {name for _, name in socket.if_nameindex()} == {"lo"}, "there are other networks here"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    {case.__name__: case for case in CASES}[sys.argv[1]]()
