"""Serving on real sockets: a client that sends whole requests is answered, however slow other clients are.

The server does not depend on the hub: here it has threads.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from anycast_sdn.api import connection as connecting
from anycast_sdn.api import server as serving
from anycast_sdn.api.access import Access
from anycast_sdn.api.connection import Connection
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.member_client import STREAM as TO_MEMBERS
from anycast_sdn.api.server import Server
from anycast_sdn.api.streams import Stream
from anycast_sdn.api.tokens import Tokens

HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
LARGE = 30_000_000  # bytes: more than the kernel buffers for a client that does not read


go_on = threading.Event()  # what /slow waits for


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says what was asked for."""
    if environ["PATH_INFO"] == "/slow":
        assert go_on.wait(10)
    start_response("200 OK", [("Content-Type", "application/json")])
    body = environ["wsgi.input"].read(100) if environ["REQUEST_METHOD"] == "POST" else b""
    large = "x" * LARGE if environ["PATH_INFO"] == "/large" else ""
    said = {"path": environ["PATH_INFO"], "host": environ["HTTP_HOST"], "body": body.decode(), "large": large}
    return [json.dumps(said).encode(), b"\n"]


class Ticks(Stream):
    """Says "." again and again until it ends."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self.is_over = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def __iter__(self) -> Generator[bytes]:
        try:
            while not self._ended.wait(0.01):
                yield b"." * 10_000
            yield b"the end"
        finally:
            self.is_over.set()


class VitalTicks(Ticks):
    is_vital = True


begun: list[Ticks] = []


def streaming(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] not in ("/stream", TO_MEMBERS):
        return application(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    begun.append(Ticks() if environ["PATH_INFO"] == "/stream" else VitalTicks())
    return begun[-1]


def start_thread(target: Callable[..., Any], *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


class Service:
    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=400)
        self.port = listener.getsockname()[1]
        self.access = Access(None)
        self.server = Server(streaming, [Endpoint(listener, Hosts("127.0.0.1"))], self.access, start_thread)
        self.server.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def say(self, *parts: bytes) -> bytes:
        """On a connection of its own → all that is answered until it ends."""
        with self.connect() as peer:
            for part in parts:
                peer.sendall(part)
            peer.shutdown(socket.SHUT_WR)
            return all_of(peer)

    def open(self) -> int:
        return len(self.server._connections)


def all_of(peer: socket.socket) -> bytes:
    received = b""
    while data := peer.recv(65536):
        received += data
    return received


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.close()


def problem(answer: bytes) -> int:
    """Asserts that it is one problem on a connection that ends, and returns its status."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    head = lines.decode().lower()
    assert "content-type: application/problem+json" in head
    assert "connection: close" in head
    assert json.loads(body)["status"] == int(lines.split()[1])
    return int(lines.split()[1])


# ------------------------------------------------------------------------------ requests


def test_requests_follow_each_other_on_one_connection(service: Service) -> None:
    post = b"POST /a%20b HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nhi"
    answers = service.say(GET, post + GET[:10], GET[10:])
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert b'"path": "/a b"' in answers
    assert b'"body": "hi"' in answers


def test_a_connection_ends_when_the_client_says_so_or_is_old(service: Service) -> None:
    for request in (GET.replace(HOST, HOST + b"Connection: close\r\n"), GET.replace(b"HTTP/1.1", b"HTTP/1.0")):
        with service.connect() as peer:
            peer.sendall(request)
            assert all_of(peer).count(b"Connection: close") == 1


def test_the_absolute_form_names_the_host(service: Service) -> None:
    assert b'"host": "127.0.0.1:1"' in service.say(b"GET http://127.0.0.1:1/healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    evil = b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    assert b"421 Misdirected Request" in service.say(evil)
    assert b"\r\nAllow: GET," in service.say(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")


def test_a_client_that_waits_for_100_continue_gets_it(service: Service) -> None:
    head = b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    with service.connect() as peer:
        peer.sendall(head)
        assert peer.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"hi")
        assert b'"body": "hi"' in peer.recv(1000)
        peer.sendall(head.replace(b"POST", b"PUT"))  # which this application does not read
        assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (400, b"\x16\x03\x01\x02\x00"),
        (400, b"GET /healthz\r\n\r\n"),
        (505, b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, GET[:-2] + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        (400, GET[:-2] + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (414, b"GET /" + b"a" * 100_000),
        (431, GET[:-2] + b"X: " + b"a" * 100_000),
        (400, GET[:20]),
    ],
)
def test_a_malformed_request_is_refused_and_nothing_after_it_is_read(
    service: Service, status: int, raw: bytes
) -> None:
    answer = service.say(raw + GET)
    assert answer.count(b"\r\n\r\n") == 1
    assert problem(answer) == status


def test_an_unread_body_is_not_parsed_as_the_next_request(service: Service) -> None:
    head = b"PUT /x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(GET)
    answer = service.say(head + GET + GET)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


# ------------------------------------------------------------------------------ peers that take their time


def test_a_head_and_a_body_have_deadlines(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "HEAD_S", 0.3)
    monkeypatch.setattr(connecting, "BODY_S", 0.3)
    with service.connect() as dribbling, service.connect() as silent:
        for byte in GET[:20]:  # each byte soon after the last one
            dribbling.sendall(bytes([byte]))
            time.sleep(0.01)
        assert problem(all_of(dribbling)) == 408
        assert all_of(silent) == b""
    with service.connect() as peer:
        peer.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nh")
        assert b"408" in all_of(peer)  # the application's answer, or ours
    until(lambda: not service.open())


def test_an_idle_connection_ends_without_a_response(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "KEEPALIVE_S", 0.2)
    with service.connect() as peer:
        peer.sendall(GET)
        assert all_of(peer).count(b"HTTP/1.1") == 1


def test_a_response_that_is_not_read_has_a_deadline(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "RESPONSE_S", 0.2)
    monkeypatch.setattr(connecting, "SLOWEST", 1e9)
    with service.connect() as peer:
        peer.sendall(GET.replace(b"/healthz", b"/large"))
        until(lambda: service.open() == 1)
        until(lambda: service.open() == 0)


def test_300_slow_connections_do_not_keep_other_clients_out(service: Service) -> None:
    dribbling = [service.connect() for _ in range(300)]
    try:
        for peer in dribbling:
            send_quietly(peer, b"G")
        for _ in range(3):
            began = time.monotonic()
            assert b'"path": "/healthz"' in service.say(GET)
            assert time.monotonic() - began < 2
        assert service.open() <= service.server._limit
    finally:
        for peer in dribbling:
            peer.close()


def send_quietly(peer: socket.socket, data: bytes) -> None:
    """To a connection that may have had to make room."""
    with suppress(OSError):
        peer.sendall(data)


class Held(Connection):
    """A connection that has been in this state since then."""

    def __init__(self, since: float | None, stream: Stream | None = None) -> None:
        self.waiting_since = since
        self.stream = stream
        self.peer = "192.0.2.1"
        self.ended = False

    def shut(self) -> None:
        self.ended = True


def test_the_slowest_client_makes_room_and_never_one_that_waits_for_its_answer(service: Service) -> None:
    at_work, oldest, newer = Held(None), Held(1.0), Held(2.0)
    service.server._make_room({at_work, newer, oldest}, "test")
    assert [held.ended for held in (at_work, oldest, newer)] == [False, True, False]
    service.server._make_room({at_work}, "test")
    assert not at_work.ended
    vital = Held(0.5, VitalTicks())
    service.server._make_room({vital, newer}, "test")
    assert [held.ended for held in (vital, newer)] == [False, True]


def test_when_all_connections_have_requests_at_work_each_ends_after_its_answer(service: Service) -> None:
    service.server._limit = 1
    for _ in range(2):
        answers = service.say(GET * 3)
        assert answers.count(b"HTTP/1.1") == answers.count(b"Connection: close") == 1


def test_one_address_has_a_quarter_of_all_connections_and_loopback_all(service: Service) -> None:
    limits = [service.server._limit_of(peer) for peer in ("192.0.2.1", "2001:db8::/64", "127.0.0.1", "::1")]
    whole = service.server._limit
    assert limits == [whole // 4, whole // 4, whole, whole]
    assert [serving._peer(address) for address in ("2001:db8::7", "::ffff:192.0.2.1", "fe80::1%eth0", "::1")] == [
        *("2001:db8::/64", "192.0.2.1", "fe80::/64", "::1")
    ]


def test_health_is_answered_while_the_most_requests_are_at_work(service: Service) -> None:
    go_on.clear()
    slow = GET.replace(b"/healthz", b"/slow")
    most = service.server._limit // 2
    with ExitStack() as stack:
        peers = [stack.enter_context(service.connect()) for _ in range(most)]
        for peer in peers:
            peer.sendall(slow)
        until(lambda: sum(each.waiting_since is None for each in list(service.server._connections)) == most)
        assert b"503 Service Unavailable" in (answer := service.say(slow))
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert service.say(GET).startswith(b"HTTP/1.1 200 OK")
        go_on.set()
        for peer in peers:
            peer.shutdown(socket.SHUT_WR)
            assert all_of(peer).startswith(b"HTTP/1.1 200 OK")


# ------------------------------------------------------------------------------ streams


STREAM = GET.replace(b"/healthz", b"/stream")


def until_received(peer: socket.socket, expected: bytes) -> bytes:
    received = b""
    while expected not in received:
        received += (data := peer.recv(65536))
        assert data, received
    return received


def test_a_stream_goes_on_until_its_client_is_gone(service: Service) -> None:
    with service.connect() as peer:
        peer.sendall(STREAM)
        answer = until_received(peer, b"." * 30_000)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert b"Content-Length" not in answer
    assert begun[-1].is_over.wait(10)
    until(lambda: service.open() == 0)


def test_streams_end_whole_when_the_server_does(service: Service) -> None:
    with service.connect() as peer:
        peer.sendall(STREAM)
        until_received(peer, b"....")
        service.server.close()
        assert all_of(peer).endswith(b"the end")
    until(lambda: not service.server.busy)


def test_a_client_that_does_not_read_its_stream_is_left(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "RESPONSE_S", 0.2)
    with service.connect() as deaf, service.connect() as peer:
        for each in (deaf, peer):
            each.sendall(STREAM)
        reading = threading.Thread(target=lambda: all_of(peer), daemon=True)
        reading.start()
        until(lambda: service.open() == 1, 60)
        service.server.close()
        reading.join(10)
        assert not reading.is_alive()


def test_at_most_half_of_all_connections_are_streams_and_requests_are_answered(service: Service) -> None:
    service.server._limit = 8
    with ExitStack() as stack:
        for _ in range(4):
            peer = stack.enter_context(service.connect())
            peer.sendall(STREAM)
            until_received(peer, b"....")
        refusal = service.say(STREAM)
        assert refusal.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nRetry-After: 5\r\n" in refusal
        assert b'"path": "/x"' in service.say(GET.replace(b"healthz", b"x"))


VITAL = GET.replace(b"/healthz", TO_MEMBERS.encode())


def test_members_hear_each_other_however_many_streams_clients_have(service: Service) -> None:
    service.server._limit = 8
    with ExitStack() as stack:
        for request in (VITAL, STREAM, STREAM, STREAM, STREAM, VITAL):
            peer = stack.enter_context(service.connect())
            peer.sendall(request)
            until_received(peer, b"....")
        assert service.say(STREAM).startswith(b"HTTP/1.1 503 ")


def test_members_hear_each_other_however_many_requests_are_at_work(service: Service) -> None:
    service.server._limit = 8
    go_on.clear()
    with ExitStack() as stack:
        peers = [stack.enter_context(service.connect()) for _ in range(4)]
        for peer in peers:
            peer.sendall(GET.replace(b"/healthz", b"/slow"))
        until(lambda: sum(each.is_at_work for each in list(service.server._connections)) == 4)
        assert service.say(STREAM).startswith(b"HTTP/1.1 503 ")
        member = stack.enter_context(service.connect())
        member.sendall(VITAL)
        until_received(member, b"....")
        go_on.set()


def test_a_stream_ends_when_its_client_would_not_be_admitted_any_more(service: Service) -> None:
    with service.connect() as peer:
        peer.sendall(STREAM)
        until_received(peer, b"....")
        service.access.replace(Tokens(()))  # now a token is needed
        assert b"the end" not in all_of(peer)


_CROWD = """
import eventlet
eventlet.monkey_patch()
import socket, time
from anycast_sdn.api import endpoints, server
from anycast_sdn.api.access import Access

def application(environ, start_response):
    end = time.monotonic() + 0.001
    while time.monotonic() < end:
        pass
    start_response("200 OK", [("Content-Length", "0")])
    return []

endpoint = endpoints.at_address(("127.0.0.1", 0))
server.serve(application, [endpoint], Access(None), server.pause_in_line())
address = endpoint.listener.getsockname()
peers = []
for _ in range(100):
    peers.append(socket.create_connection(address))
    eventlet.sleep(0)
for peer in peers:
    peer.sendall(b"GET / HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n" * 5)
turns, end = 0, time.monotonic() + 30
answered = [b""] * len(peers)
def read(number):
    while answered[number].count(b"200 OK") < 5:
        answered[number] += peers[number].recv(4096)
readers = [eventlet.spawn(read, number) for number in range(len(peers))]
while not all(reader.dead for reader in readers):
    assert time.monotonic() < end
    eventlet.sleep(0)
    turns += 1
print(turns)
"""


def test_between_any_two_of_many_requests_others_on_the_hub_have_a_turn() -> None:
    """100 connections with five requests each, all at once: not one round of the hub serves many of them."""
    words = [sys.executable, "-W", "ignore", "-c", _CROWD]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 100 * 5


class FailingListener:
    """accept() fails twice, as when there are no files left."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.failures = 2

    def accept(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError(24, "Too many open files")
        return self._real.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_an_error_of_accept_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PAUSE_S", 0.01)
    listener = FailingListener(socket.create_server(("127.0.0.1", 0)))
    endpoint = Endpoint(listener, Hosts("127.0.0.1"))  # type: ignore[arg-type]
    server = Server(application, [endpoint], Access(None), start_thread)
    server.start()
    with socket.create_connection(listener.getsockname(), timeout=10) as peer:
        peer.sendall(GET)
        assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert listener.failures == 0
    server.close()


def test_close_ends_listening_and_requests_at_work_are_answered(service: Service) -> None:
    with service.connect() as peer:
        peer.sendall(GET[:10])
        until(lambda: service.open() == 1)
        service.server.close()
        peer.sendall(GET[10:])
        assert all_of(peer).startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(OSError, match="refused"):
        service.connect()


def test_mutated_requests_are_answered_by_json_or_not_at_all(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    seeds = [GET, b"POST /v1 HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}",
             b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]  # fmt: skip
    chance = random.Random(8)
    for _ in range(300):
        raw = bytearray(chance.choice(seeds) * chance.choice([1, 1, 2]))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(raw))
            raw[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        answer = service.say(bytes(raw))
        assert answer == b"" or re_json(answer), (raw, answer)
    assert "Traceback" not in caplog.text
    assert "internal error" not in caplog.text


def re_json(answer: bytes) -> bool:
    return all(part.partition(b"\r\n\r\n")[2][:1] in (b"{", b"") for part in answer.split(b"HTTP/1.1 ")[1:])
