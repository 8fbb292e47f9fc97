"""Requests as bytes: ambiguous ones are refused, and every length has a limit."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.http1 import MAX_CHUNKS, MAX_HEAD, Body, Head, end_of_head, parse_head
from anycast_sdn.api.problems import Problem


def head(text: str) -> Head:
    """Of a whole head, its lines written with plain line ends."""
    raw = text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"
    assert end_of_head(raw + b"more") == len(raw)
    return parse_head(raw)


def refusal(raw: bytes) -> int:
    """The status that a head is refused with."""
    try:
        assert end_of_head(raw) == len(raw)
        parse_head(raw)
    except Problem as problem:
        return problem.status
    return 200


# ------------------------------------------------------------------------------ heads


def test_a_head_is_read() -> None:
    read = head("PUT /v1/groups/a%2Fb?x=1&y HTTP/1.1\nHost: localhost:80\nX-A:  1 \nx-a: 2\nContent-Length: 7")
    assert (read.method, read.raw_path, read.query) == ("PUT", "/v1/groups/a%2Fb", "x=1&y")
    assert read.path == b"/v1/groups/a/b"
    assert (read.authority, read.length, read.keep_alive) == ("localhost:80", 7, True)
    assert read.fields["x-a"] == "1, 2"
    assert head("GET / HTTP/1.0").keep_alive is False
    assert not head("POST / HTTP/1.0\nExpect: 100-continue\nContent-Length: 1").expects_continue
    assert head("GET / HTTP/1.1\nHost: a\nConnection: x, Close").keep_alive is False
    assert head("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: Chunked").length is None


@pytest.mark.parametrize(
    ("line", "path", "query", "authority"),
    [
        ("GET http://127.0.0.1:8080/v1/groups", "/v1/groups", "", "127.0.0.1:8080"),
        ("GET https://ctl.example/v1/flows?x=/?", "/v1/flows", "x=/?", "ctl.example"),
        ("GET HTTP://[::1]:8080", "/", "", "[::1]:8080"),
        ("GET http://a?x", "/", "x", "a"),
        ("OPTIONS http://a:80", "*", "", "a:80"),
        ("OPTIONS *", "*", "", "b"),
        ("GET //a/b", "//a/b", "", "b"),
    ],
)
def test_a_target_has_any_form_and_its_authority_wins_over_host(
    line: str, path: str, query: str, authority: str
) -> None:
    read = head(f"{line} HTTP/1.1\nHost: b")
    assert (read.raw_path, read.query, read.authority) == (path, query, authority)


GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (400, b"GET /healthz\r\n\r\n"),
        (400, b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.1 \r\nHost: a\r\n\r\n"),
        (400, b"GET /heal thz HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET\t/healthz\tHTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /healthz http/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.10\r\nHost: a\r\n\r\n"),
        (400, b"GET /healthz HTTP/+1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /healthz#x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET http:///healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET http://me@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.1\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
        (400, b"\r\n\r\n" + GET + b"\r\n"),
        (505, b"GET /healthz HTTP/3.7\r\nHost: a\r\n\r\n"),
        (505, b"GET /healthz HTTP/0.9\r\nHost: a\r\n\r\n"),
        (505, b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n"),
        (505, b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n"),
        (400, GET + b"Host: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: me@a\r\n\r\n"),
        (400, GET + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        (400, GET + b"Content-Length: 1, 1\r\n\r\n"),
        (400, GET + b"Content-Length: +1\r\n\r\n"),
        (400, GET + b"Content-Length: 0x1\r\n\r\n"),
        (400, GET + b"Content-Length: -1\r\n\r\n"),
        (400, GET + b"Content-Length: 1 1\r\n\r\n"),
        (400, GET + b"Content-Length: \r\n\r\n"),
        (400, GET + b"Content-Length: \xb2\r\n\r\n"),
        (400, GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, GET + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (501, GET + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
        (501, GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, GET + b"Transfer-Encoding: xchunked\r\n\r\n"),
        (400, b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, GET + b"Content-Length : 1\r\n\r\n"),
        (400, GET + b" Content-Length: 1\r\n\r\n"),
        (400, GET + b"X: a\r\n b\r\n\r\n"),
        (400, GET + b"X\r\n\r\n"),
        (400, GET + b": a\r\n\r\n"),
        (400, GET + b"X(: a\r\n\r\n"),
        (400, GET + b"X: a\x00b\r\n\r\n"),
        (400, GET + b"X: a\rb\r\n\r\n"),
        (400, GET + b"X: a\r\r\n\r\n"),
        (400, GET + b"X: a\nContent-Length: 1\r\n\r\n"),
        (400, GET.replace(b"\r\n", b"\n") + b"\n"),
        (417, GET + b"Expect: 200-ok\r\n\r\n"),
        (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, GET + b"X: " + b"a" * MAX_HEAD + b"\r\n\r\n"),
        (431, GET + b"X: a\r\n" * 101 + b"\r\n"),
    ],
)
def test_a_head_that_another_parser_could_read_differently_is_refused(status: int, raw: bytes) -> None:
    assert refusal(raw) == status


def test_an_empty_line_before_a_request_is_left_out() -> None:
    assert parse_head(b"\r\n" + GET + b"\r\n").raw_path == "/healthz"


@pytest.mark.parametrize("raw", [b"\x16\x03\x01", b"GET / HTTP/1.1\n", b"A" * 9000, GET + b"X: " + b"a" * 40000])
def test_bytes_that_cannot_become_a_request_are_refused_before_the_head_is_complete(raw: bytes) -> None:
    with pytest.raises(Problem):
        end_of_head(raw)


_PIECES = st.sampled_from(
    [b"GET ", b"/healthz", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: a", b"Content-Length: 5", b"Content-Length:",
     b" ", b"Transfer-Encoding: chunked", b":", b"\x00", b"\xff", b"http://a/", b"0", b"\r\n\r\n",
     b"Expect: 100-continue"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(_PIECES | st.binary(max_size=8), max_size=25))
def test_any_bytes_in_any_pieces_are_a_head_or_a_problem(pieces: list[bytes]) -> None:
    raw = GET + b"".join(pieces) + b"\r\n\r\n"
    try:
        length = end_of_head(raw)
        read = parse_head(raw[:length])
    except Problem:
        return
    for cut in range(length):
        assert end_of_head(raw[:cut]) == 0
    assert re.fullmatch(r"[!-~]+", read.raw_path)
    assert not re.search(r"[\r\n\0]", "".join(read.fields) + "".join(read.fields.values()))


# ------------------------------------------------------------------------------ bodies


class Sent:
    """What a peer has sent; then it ends."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def take(self, size: int) -> bytes:
        return self._data.read(size)

    def take_line(self, limit: int) -> bytes:
        return self._data.readline(limit)

    def left(self) -> bytes:
        return self._data.read()


def test_a_body_ends_at_its_length_and_the_next_request_follows() -> None:
    sent = Sent(b"hello" + GET)
    body = Body(5, sent)
    assert (body.read(2), body.whole, body.read(100), body.whole) == (b"he", False, b"llo", True)
    assert (body.read(1), sent.left()) == (b"", GET)


def test_chunks_are_joined_and_extensions_and_trailers_left_out() -> None:
    sent = Sent(b"5;a=b\r\nhello\r\n001\r\n!\r\n0\r\nX: y\r\n\r\n" + GET)
    body = Body(None, sent)
    assert (body.read(3), body.read(100), body.whole, sent.left()) == (b"hel", b"lo!", True, GET)


@pytest.mark.parametrize(
    "raw",
    [
        b"zz\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 x\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhel",
        b"5\r\nhello\r\n",
        b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
        b"5;\x00\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX y\r\n\r\n",
        b"0\r\n\n",
        b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"fffffffff\r\nhello\r\n0\r\n\r\n",
        b"1\r\nx\r\n" * (MAX_CHUNKS + 1) + b"0\r\n\r\n",
        b"",
    ],
)
def test_malformed_chunks_are_refused(raw: bytes) -> None:
    body = Body(None, Sent(raw))
    with pytest.raises(Problem, match=r"chunk|trailer"):
        body.read(10_000)
    assert not body.whole


def test_nothing_is_read_of_a_body_before_read_is_called() -> None:
    begun: list[str] = []
    body = Body(5, Sent(b"hello"), lambda: begun.append("now"))
    assert begun == []
    body.read(1)
    body.read(4)
    assert begun == ["now"]
    Body(0, Sent(b""), lambda: begun.append("again")).read(1)
    assert begun == ["now"]


# ------------------------------------------------------------------------------ hosts


def asked(hosts: Hosts, host: str, own: str = "127.0.0.1", origin: str | None = None) -> int:
    """The status of a request for this host, 200 when it is taken."""
    lines = f"GET / HTTP/1.1\nHost: {host}" + (f"\nOrigin: {origin}" if origin is not None else "")
    try:
        hosts.check(head(lines), own)
    except Problem as problem:
        return problem.status
    return 200


@pytest.mark.parametrize(
    ("listening", "own", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8080", 200),
        ("127.0.0.1", "127.0.0.1", "LocalHost.", 200),
        ("127.0.0.1", "127.0.0.1", "localhost:9999", 200),
        ("127.0.0.1", "127.0.0.1", "evil.example", 421),
        ("127.0.0.1", "127.0.0.1", "localhost.evil.example", 421),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1.evil.example:8080", 421),
        ("127.0.0.1", "127.0.0.1", "10.0.0.1", 421),
        ("127.0.0.1", "127.0.0.1", "0.0.0.0", 421),
        ("::1", "::1", "[::1]:8080", 200),
        ("::1", "::1", "[0:0:0:0:0:0:0:1]", 200),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1", 200),
        ("10.0.0.1", "10.0.0.1", "localhost", 421),
        ("0.0.0.0", "10.0.0.1", "10.0.0.1:8080", 200),
        ("0.0.0.0", "10.0.0.1", "0.0.0.0:8080", 421),
        ("0.0.0.0", "127.0.0.1", "localhost", 200),
        ("0.0.0.0", "10.0.0.1", "localhost", 421),
        ("::", "::ffff:10.0.0.1", "10.0.0.1", 200),
        ("::", "2001:db8::1", "[2001:DB8:0::1]", 200),
        ("::", "fe80::1%eth0", "[fe80::1]:8080", 200),
        ("ctl", "10.0.0.1", "CTL:8080", 200),
        ("0.0.0.0", "10.0.0.1", "proxy.example", 200),
    ],
)
def test_a_host_is_accepted_if_the_controller_listens_as_it(listening: str, own: str, host: str, status: int) -> None:
    assert asked(Hosts(listening, ["Proxy.Example"]), host, own) == status


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", 200),
        ("http://localhost", "localhost:80", 200),
        ("https://proxy.example", "proxy.example", 200),
        ("https://proxy.example", "proxy.example:443", 200),
        ("http://evil.example", "127.0.0.1:8080", 403),
        ("http://localhost:3000", "localhost:8080", 403),
        ("http://127.0.0.1:8080", "localhost:8080", 403),
        ("null", "localhost", 403),
        ("", "localhost", 403),
        ("localhost", "localhost", 403),
        ("http://localhost/x", "localhost", 403),
        ("http://[", "localhost", 403),
        ("file://localhost", "localhost", 403),
        ("http://localhost, http://localhost", "localhost", 403),
    ],
)
def test_pages_of_other_origins_are_refused(origin: str, host: str, status: int) -> None:
    assert asked(Hosts("127.0.0.1", ["proxy.example"]), host, origin=origin) == status
