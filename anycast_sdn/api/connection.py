"""Connection: one peer of the REST endpoint, and how long it may take for what it does.

The rules this file keeps:

- A TLS handshake within ``HANDSHAKE_S``, a whole head within ``HEAD_S``, a whole body within ``BODY_S``, a response
  taken within a time that fits its size; an idle connection stays for ``KEEPALIVE_S``.
- While the peer is waited for, ``waiting_since`` says so: whoever needs room may end the connection then.
- A connection whose response is a stream (``stream``) waits for events, and for the peer only while that does not read.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from anycast_sdn.api import http1
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.http1 import Head
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.streams import Stream
from anycast_sdn.api.tls_socket import TlsSocket

HANDSHAKE_S = 5.0
HEAD_S = 5.0
BODY_S = 10.0
KEEPALIVE_S = 15.0
LINGER_S = 2.0  # for a peer that is still sending to receive the last response
RESPONSE_S = 10.0  # and a second more for each SLOWEST bytes
SLOWEST = 65536  # bytes per second


class Socket(Protocol):
    """What is used of a socket."""

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: memoryview, /) -> int: ...
    def settimeout(self, seconds: float, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def getsockname(self) -> Any: ...


class Connection:
    """One client's connection, and the bytes that were received and not yet parsed."""

    def __init__(self, sock: Socket, peer: str, endpoint: Endpoint) -> None:
        self.peer = peer
        self.endpoint = endpoint
        self.names: tuple[str, ...] = ()  # in the client's certificate
        self.waiting_since: float | None = time.monotonic()  # for the peer; None: its request is being worked on
        self.stream: Stream | None = None  # that is sent
        self._sock = sock
        self._context = endpoint.tls and endpoint.tls.context
        self._received = bytearray()
        self._deadline = 0.0

    def secure(self, pause: Callable[[], None]) -> None:
        """The TLS handshake, if there has to be one.  Raises NotTls, OSError; then what is sent is not encrypted."""
        if self._context:
            secured = TlsSocket(self._sock, self._context)
            secured.handshake(time.monotonic() + HANDSHAKE_S, pause)
            self._sock, self.names = secured, secured.names

    @property
    def is_at_work(self) -> bool:
        """Is a request being worked on?"""
        return self.waiting_since is None and self.stream is None

    @property
    def is_outdated(self) -> bool:
        """Was it secured with a certificate, or a CA of clients, that has been replaced since?"""
        return self.endpoint.tls is not None and self.endpoint.tls.context is not self._context

    # ---------------------------------------------------------------- reading

    def head(self, *, first: bool) -> Head | None:
        """The next request; None: there is none.  Raises Problem, OSError."""
        self.waiting_since = time.monotonic()
        self._deadline = self.waiting_since + (HEAD_S if first else KEEPALIVE_S)
        if not self._received and not self._receive_or_expire():
            return None
        self._deadline = (self.waiting_since if first else time.monotonic()) + HEAD_S
        parsed = 0
        while True:
            received = self._received
            longest = http1.MAX_HEAD if b"\n" in received else http1.MAX_REQUEST_LINE
            # Parsing takes time: when a peer sends byte by byte, it is done at the ends of lines only.
            worth_it = not parsed or b"\n" in received[parsed:] or len(received) > longest
            if worth_it and (length := http1.end_of_head(bytes(received))):
                self.waiting_since = None
                return http1.parse_head(self._cut(length))
            parsed = len(received)
            if not self._receive():
                if received:
                    raise Problem(400, "the request ended before its header fields did")
                return None

    def _receive_or_expire(self) -> bool:
        try:
            return self._receive()
        except Problem:  # an idle connection ends without a response
            return False

    def begin_body(self, expected: bool) -> None:
        """``expected``: the peer waits for 100 Continue before it sends the body."""
        if expected:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._deadline = time.monotonic() + BODY_S

    def take(self, size: int) -> bytes:
        """Part of a body (``http1.Source``).  Raises Problem when it takes too long."""
        self._wait_until(lambda: len(self._received) >= size)
        return self._cut(size)

    def take_line(self, limit: int) -> bytes:
        self._wait_until(lambda: b"\n" in self._received[:limit] or len(self._received) >= limit)
        end = self._received.find(b"\n", 0, limit)
        return self._cut(end + 1 if end >= 0 else limit)

    def _wait_until(self, enough: Callable[[], bool]) -> None:
        self.waiting_since = time.monotonic()
        while not enough() and self._receive():
            pass
        self.waiting_since = None

    def _cut(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _receive(self) -> bool:
        """Some more of what the peer sends; False at its end.  Raises Problem at the deadline, OSError."""
        left = self._deadline - time.monotonic()
        if left > 0:
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(16384)
            except TimeoutError:
                pass
            else:
                self._received += data
                return bool(data)
        raise Problem(408, "the request did not arrive whole in time")

    # ---------------------------------------------------------------- writing

    def send(self, *chunks: bytes) -> None:
        """Raises OSError, also when the peer does not take it."""
        self.waiting_since = time.monotonic()
        deadline = self.waiting_since + RESPONSE_S + sum(map(len, chunks)) / SLOWEST
        for index, chunk in enumerate(chunks):
            if index:
                time.sleep(0)  # send() to a peer that reads fast never yields
            left = memoryview(chunk)
            while left:
                self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
                left = left[self._sock.send(left) :]

    def send_on(self, chunk: bytes) -> None:
        """A chunk of a stream.  Raises OSError, as ``send``."""
        self.send(chunk)
        self.waiting_since = None

    def linger(self) -> None:
        """Ends our half, and discards what still arrives: a reset could make the peer lose the last response."""
        self._sock.shutdown(socket.SHUT_WR)
        self._deadline = time.monotonic() + LINGER_S
        with suppress(Problem):
            for _ in range(64):
                self._received.clear()
                if not self._receive():
                    break

    def shut(self) -> None:
        """Ends the connection, also for a green thread that waits for the peer."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def own(self) -> tuple[str, int]:
        """Our address and port."""
        if self.endpoint.path:
            return "localhost", 80
        host, port, *_ = self._sock.getsockname()
        return host, port
