"""HTTP checks and agent checks against real sockets of loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from anycast_sdn.agent.agent_line import AgentLine
from anycast_sdn.agent.probes import HttpTarget, Result, ask_agent, ask_http, http_target

PATIENCE_S = 0.5


@contextmanager
def serving(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does this with one connection → its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    return behave


def at(port: int) -> HttpTarget:
    return http_target(f"http://127.0.0.1:{port}/health")


@pytest.mark.parametrize(
    ("answer", "is_up", "output"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "status 200"),
        (b"HTTP/1.0 204\r\n\r\n", True, "status 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", True, "status 302"),
        (b"HTTP/1.1 399 \r\n\r\n", True, "status 399"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "status 400"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False, "status 503"),
        (b"SSH-2.0-OpenSSH\r\n", False, "no answer of HTTP: b'SSH-2.0-OpenSSH\\r\\n'"),
        (b"", False, "closed without an answer"),
        (b"x" * 20_000, False, "more than 8192 bytes without the end of a line"),
    ],
)
def test_a_status_from_200_to_399_passes(answer: bytes, is_up: bool, output: str) -> None:
    with serving(saying(answer)) as port:
        assert ask_http(at(port)) == Result(is_up, output)


def test_the_request_names_host_path_and_query() -> None:
    asked = []

    def behave(connection: socket.socket) -> None:
        asked.append(connection.recv(4096).split(b"\r\n"))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with serving(behave) as port:
        ask_http(http_target(f"http://127.0.0.1:{port}/health?deep=1"))
    assert asked[0][:2] == [b"GET /health?deep=1 HTTP/1.1", b"Host: 127.0.0.1:%d" % port]


def dribbling(connection: socket.socket) -> None:
    for _ in range(600):
        connection.sendall(b"H")
        time.sleep(0.05)


@pytest.mark.parametrize("behave", [dribbling, lambda connection: connection.recv(1 << 20) and connection.recv(1)])
def test_whoever_is_slow_fails_in_time(behave: Callable[[socket.socket], None]) -> None:
    with serving(behave) as port:
        began = time.monotonic()
        assert ask_http(at(port), timeout_s=PATIENCE_S) == Result(False, f"no answer within {PATIENCE_S:g} s")
        assert time.monotonic() - began < 20 * PATIENCE_S


def test_nobody_there_fails_with_the_reason() -> None:
    assert ask_http(http_target("http://127.0.0.1:1/")) == Result(False, "Connection refused")


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_a_host_that_no_name_can_be_fails_with_the_reason(host: str) -> None:
    assert ask_http(http_target(f"http://{host}/")) == Result(False, f"{host!r} is no host name")


def test_no_tls_where_tls_is_expected_fails() -> None:
    with serving(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        result = ask_http(http_target(f"https://127.0.0.1:{port}/"))
    assert not result.is_up


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://127.0.0.1/", "http://", "http://:80/", "http://a:99999/", "http://u:p@a/",
            "http://a/\r\nX: y", "http://a/ b", "http://[::1/"],
)  # fmt: skip
def test_what_is_no_url_of_a_check_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        http_target(url)


def test_urls_have_default_ports_and_a_path() -> None:
    assert http_target("http://a") == HttpTarget(False, "a", 80, "/")
    assert http_target("https://[::1]/x?y=1#z") == HttpTarget(True, "::1", 443, "/x?y=1")


def test_an_agent_check_is_read_to_the_end_of_its_line_or_of_its_connection() -> None:
    for said in (b"ready 75%\nup", b"ready 75%"):
        with serving(lambda connection, said=said: connection.sendall(said)) as port:  # type: ignore[misc]
            assert ask_agent(("127.0.0.1", port)) == AgentLine(is_draining=False, percent=75)


def test_an_agent_check_that_says_nothing_or_nonsense_is_no_answer() -> None:
    with serving(lambda connection: None) as port, pytest.raises(ValueError, match="empty"):
        ask_agent(("127.0.0.1", port))
    with serving(lambda connection: connection.sendall(b"x" * 5000)) as port, pytest.raises(OSError, match="1024"):
        ask_agent(("127.0.0.1", port))
    with serving(lambda connection: time.sleep(2 * PATIENCE_S)) as port, pytest.raises(TimeoutError):
        ask_agent(("127.0.0.1", port), PATIENCE_S)
    with pytest.raises(ConnectionRefusedError):
        ask_agent(("127.0.0.1", 1))
