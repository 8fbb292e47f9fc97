"""MemberClient: what one member of a cluster asks another one, over HTTP.

The rules this file keeps:

- Whatever waits has a deadline; a connection that was given up is closed.
- A connection that may have been left by the other end is used again for what can be asked twice, and for nothing else.
- Each request says for which member it is: another process that listens at its address does not answer.
- The certificates of members are checked against the CA, not for their hosts: whoever has one of this CA may read in
  etcd all that is said here.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

TO, AFTER, CALLER, BASE, REVISION, MOVED = (
    "Anycast-Sdn-To",  # the id of the member that is asked
    "Anycast-Sdn-After",  # it answers when it has read what etcd had at this revision
    "Anycast-Sdn-Caller",  # who has asked the member that asks
    "Anycast-Sdn-Base",  # under which URL
    "Anycast-Sdn-Revision",  # of etcd, with the answer
    "Anycast-Sdn-Moved",  # it does not lead (any more), or is another member: nothing was done
)
STREAM = "/members/stream"

CONNECT_S = 1.0
ANSWER_S = 30.0  # for the head of an answer, and from one part of it to the next
IDLE_S = 10.0  # a connection is used again; the other end keeps it for 15 s
MOST_IDLE = 8
PART = 1 << 16  # bytes that are read at once
LONGEST_LINE = 1 << 24  # bytes of a stream: what a leader tells of ten thousand prefixes is a fiftieth of it

_OF_CONNECTIONS = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "trailer", "upgrade"})


class NoAnswer(Exception):
    """``unsure``: what was asked for may have been done all the same."""

    def __init__(self, reason: str, *, unsure: bool) -> None:
        super().__init__(reason)
        self.unsure = unsure


class Silent(NoAnswer):
    """Nothing has come for so long that no connection to the member can be of use."""


class Elsewhere(Exception):
    """The member has answered that it is not the one to ask, and has done nothing."""


class Request(NamedTuple):
    method: str
    target: str
    fields: Mapping[str, str]
    body: bytes = b""


class Reply(NamedTuple):
    status: str
    fields: list[tuple[str, str]]
    body: list[bytes]
    revision: int


class MemberClient:
    """Of one member.  ``url``: http://HOST:PORT, or https: then with ``tls``."""

    def __init__(self, url: str, member: str, secret: str, tls: ssl.SSLContext | None = None) -> None:
        place = urlsplit(url)
        self.url = url
        self._host, self._port = place.hostname or "", place.port or 0
        self._tls = tls if place.scheme == "https" else None
        self._fields = {TO: member, "Authorization": f"Bearer {secret}"}
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._busy: set[http.client.HTTPConnection] = set()

    def close(self) -> None:
        """The member is gone, or silent: whoever waits for it does not wait any longer."""
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()
        for connection in self._busy:
            if connection.sock:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the green thread that reads

    def ask(self, request: Request, wait_s: float = 0.0) -> Reply:
        """``wait_s``: how much longer than usual the answer may take.  Raises NoAnswer, Elsewhere."""
        is_repeatable = request.method in ("GET", "HEAD")
        if is_repeatable and (connection := self._used()):
            with suppress(NoAnswer):  # the other end may have left it
                return self._ask(connection, request, ANSWER_S + wait_s)
        return self._ask(self._connected(), request, ANSWER_S + wait_s)

    def lines(self, silent_s: float) -> Generator[bytes]:
        """What the member says to other members, from now on: first an empty line.

        Raises NoAnswer at its end, Silent, ConnectionRefusedError, Elsewhere.
        """
        try:
            connection = self._connection(CONNECT_S)
        except ConnectionRefusedError:
            raise
        except OSError as error:
            raise NoAnswer(_words(error), unsure=False) from error
        self._busy.add(connection)
        try:
            connection.sock.settimeout(silent_s)
            connection.request("GET", STREAM, headers=self._fields)
            response = connection.getresponse()
            _check(response)
            if response.status != http.client.OK:
                raise NoAnswer(f"it answers {response.status} {response.reason}", unsure=False)
            yield b"\n"
            while line := response.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise NoAnswer(f"a line of its stream has more than {LONGEST_LINE} bytes", unsure=False)
                yield line
            raise NoAnswer("its stream has ended", unsure=False)
        except TimeoutError as error:
            raise Silent(_words(error), unsure=False) from error
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(_words(error), unsure=False) from error
        finally:
            self._busy.discard(connection)
            connection.close()

    # ---------------------------------------------------------------- connections

    def _used(self) -> http.client.HTTPConnection | None:
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE_S:
                return connection
            connection.close()
        return None

    def _connected(self) -> http.client.HTTPConnection:
        """Raises NoAnswer."""
        try:
            return self._connection(CONNECT_S)
        except OSError as error:
            raise NoAnswer(_words(error), unsure=False) from error

    def _connection(self, deadline_s: float) -> http.client.HTTPConnection:
        """Raises OSError."""
        connection: http.client.HTTPConnection
        if self._tls:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=deadline_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=deadline_s)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    # ---------------------------------------------------------------- one request

    def _ask(self, connection: http.client.HTTPConnection, request: Request, deadline_s: float) -> Reply:
        """Raises NoAnswer, Elsewhere."""
        keep = False
        self._busy.add(connection)
        try:
            connection.sock.settimeout(deadline_s)
            connection.request(request.method, request.target, request.body or None, {**request.fields, **self._fields})
            response = connection.getresponse()
            _check(response)
            status = f"{response.status} {response.reason}"
            fields = [each for each in response.getheaders() if each[0].lower() not in _OF_CONNECTIONS]
            revision = int(response.getheader(REVISION, "0"))
            fields = [(name, value) for name, value in fields if name != REVISION]
            body = []
            while part := response.read(PART):
                body.append(part)
            if not response.will_close and len(self._idle) < MOST_IDLE:
                keep = True
                self._idle.append((time.monotonic(), connection))
            return Reply(status, fields, body, revision)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(_words(error), unsure=request.method not in ("GET", "HEAD")) from error
        finally:
            self._busy.discard(connection)
            if not keep:
                connection.close()


def _check(response: http.client.HTTPResponse) -> None:
    """Raises Elsewhere, NoAnswer."""
    if moved := response.getheader(MOVED):
        raise Elsewhere(moved)
    if response.status in (401, 403, 421) and response.getheader(REVISION) is None:
        raise NoAnswer(f"it refuses this member: {response.status} {response.reason}", unsure=False)


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
