"""Serving the REST endpoint on a socket: how many connections there may be, and how long a peer may take.

Theory of operation.  Each connection has a green thread that reads a head, hands the request to the WSGI
application and sends the response.  A slow peer costs a file descriptor and some memory.  So each wait for a peer has
a deadline, and the number of connections has a limit: beyond it, a new connection replaces the one whose peer has been
waited for longest.  That is never a peer that sends whole requests at once, so such a peer is answered, however many
slow ones there are.

The rules this file keeps:

- Each wait for a peer has a deadline (``connection``), also in a TLS handshake; what a handshake computes takes turns
  with all other requests.
- At most a quarter of the process' files are connections, and at most a quarter of these come from one address.
  Loopback is excepted, because all clients of a proxy or a testbed come from there.
- A stream of events is a connection for as long as its client wants it.  At most half of all connections, and of those
  from one address, are streams; one ends when its client would not be served any more, such as with a revoked token.
  A vital one, by which members of a cluster hear each other, is neither counted nor refused, nor does it make room.
- A malformed request is answered with a problem (``http1``), and the connection ends.  It also ends when a body
  was not read to its end.
- Errors of ``accept`` and of single connections end nothing else.
"""

from __future__ import annotations

import ipaddress
import logging
import resource
import socket
import ssl
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from email.utils import formatdate
from functools import partial
from operator import attrgetter
from typing import Any
from urllib.parse import quote, unquote

from anycast_sdn.api import http1
from anycast_sdn.api.access import CALLER, UNIX, Access, check_target
from anycast_sdn.api.connection import Connection
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.http1 import Head
from anycast_sdn.api.member_client import STREAM
from anycast_sdn.api.problems import Problem, response_to
from anycast_sdn.api.streams import Stream
from anycast_sdn.core.controller_events import RestCrowded
from anycast_sdn.core.events import Event
from anycast_sdn.core.redaction import has_token
from anycast_sdn.trust.records import NotTls

SHORT = 256 * 1024  # bytes that are sent in one piece
MAX_CONNECTIONS = 256
LEAST_CONNECTIONS = 8
PAUSE_S = 0.1  # after an error of accept
QUIET_S = 60.0  # from one log line of a kind to the next

PROBES = frozenset({"/livez", "/readyz", "/healthz"})  # short answers, wanted most when the controller is busy
_ALWAYS = PROBES | {STREAM}  # answered however much there is to do

_WAITING = attrgetter("waiting_since")

LOG = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """Accepts connections at each endpoint and serves ``application`` on them."""

    def __init__(
        self,
        application: Application,
        endpoints: Iterable[Endpoint],
        access: Access,
        spawn: Callable[..., Any],
        pause: Callable[[], None] = lambda: None,
        report: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """``spawn`` starts a green thread; in ``pause``, before a request is worked on, others run; ``report`` gets the
        events."""
        self._application = application
        self._endpoints = [*endpoints]
        self._is_open = True
        self._access = access
        self._spawn = spawn
        self._pause = pause
        self._report = report
        self._connections: set[Connection] = set()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = max(LEAST_CONNECTIONS, min(MAX_CONNECTIONS, files // 4))
        self._ended = 0  # connections that had to make room since that was last reported
        self._reported_at = -QUIET_S

    def close(self) -> None:
        """Take no more connections; requests that are here are answered, and streams end with what has happened."""
        self._is_open = False
        for endpoint in self._endpoints:
            endpoint.close()
        for connection in self._connections:
            if connection.stream:
                connection.stream.end()

    @property
    def busy(self) -> bool:
        """Are requests being worked on?"""
        return any(connection.waiting_since is None for connection in self._connections)

    # ---------------------------------------------------------------- connections

    def start(self) -> None:
        """Accept, in a thread for each endpoint."""
        for endpoint in self._endpoints:
            self._spawn(self._run, endpoint)

    def _run(self, endpoint: Endpoint) -> None:
        while self._is_open:
            if self._is_full:
                time.sleep(PAUSE_S)  # requests are being worked on in all of them, which does not take long
                continue
            try:
                sock, address = endpoint.listener.accept()
            except OSError as error:
                if self._is_open:
                    self._make_room(self._connections, f"accept: {error.strerror}")
                    time.sleep(PAUSE_S)
                continue
            self._take(sock, UNIX if endpoint.path else _peer(address[0]), endpoint)
            time.sleep(0)  # accept() never yields while new connections queue

    @property
    def _is_full(self) -> bool:
        """Is the limit reached, and a request being worked on in every connection?"""
        return len(self._connections) >= self._limit and not any(map(_WAITING, self._connections))

    def _take(self, sock: socket.socket, peer: str, endpoint: Endpoint) -> None:
        """One more connection; if that is too many, another one ends."""
        if len(same := [other for other in self._connections if other.peer == peer]) >= self._limit_of(peer):
            self._make_room(same, f"{len(same)} connections from {peer}")
        elif len(self._connections) >= self._limit:
            self._make_room(self._connections, f"{len(self._connections)} connections")
        connection = Connection(sock, peer, endpoint)
        self._connections.add(connection)
        self._spawn(self._serve, connection, sock)

    def _limit_of(self, peer: str) -> int:
        is_local = peer == UNIX or ipaddress.ip_network(peer).is_loopback
        return self._limit if is_local else max(LEAST_CONNECTIONS, self._limit // 4)

    def _make_room(self, among: Collection[Connection], reason: str) -> None:
        """Ends the one of these connections whose peer has been waited for longest, if there is one."""
        if waiting := [each for each in among if each.waiting_since and not (each.stream and each.stream.is_vital)]:
            victim = min(waiting, key=_WAITING)
            self._connections.discard(victim)
            victim.shut()
        self._ended += 1
        if (now := time.monotonic()) - self._reported_at >= QUIET_S:
            self._report(RestCrowded(reason, self._ended))
            self._reported_at, self._ended = now, 0

    def _serve(self, connection: Connection, sock: socket.socket) -> None:
        try:
            try:
                connection.secure(self._pause)
            except NotTls:
                self._refuse(connection, Problem(400, "TLS is spoken here: use https"))
            except ssl.SSLError as error:
                LOG.debug("REST: %s: %s", connection.peer, error)
                connection.linger()  # for the alert to arrive
            else:
                self._converse(connection)
        except OSError as error:
            LOG.debug("REST: %s: %s", connection.peer, error)
        except Exception:
            LOG.exception("internal error with a REST connection; the controller goes on")
        finally:
            self._connections.discard(connection)
            sock.close()

    def _converse(self, connection: Connection) -> None:
        first = True
        while True:
            try:
                head = connection.head(first=first)
            except Problem as problem:
                self._refuse(connection, problem)
                return
            if head is None or not self._respond(connection, head) or not self._is_open:
                return
            first = False

    def _refuse(self, connection: Connection, problem: Problem) -> None:
        """The last response on a connection, after what is not a request."""
        connection.send(*_answer(response_to(problem, "/"), {"REQUEST_METHOD": "GET"}, lambda: False)[0])
        connection.linger()

    def _respond(self, connection: Connection, head: Head) -> bool:
        """True: there may be another request."""
        body = http1.Body(head.length, connection, partial(connection.begin_body, head.expects_continue))
        environ = _environ(head, body, connection)

        def stays() -> bool:
            may_stay = not self._is_full and not connection.is_outdated  # else a new connection gets the place
            return head.keep_alive and body.whole and may_stay

        self._pause()
        try:
            check_target(f"{head.raw_path}?{head.query}")
            connection.endpoint.check_host(head, connection.own[0])
            self._check_load(head)
            application = self._application if head.raw_path != "*" else _about_all
            given = head.fields.get("authorization")
            with self._access.admitted(connection.peer, given, connection.names) as environ[CALLER]:
                answer, keep_alive, stream = _answer(application, environ, stays)
            if stream and not stream.is_vital:
                self._check_streams(connection.peer)
        except Problem as problem:
            answer, keep_alive, stream = _answer(response_to(problem, quote(head.path)), environ, stays)
        path = "(a token)" if has_token(unquote(head.raw_path)) else head.raw_path
        LOG.debug("REST: %s %s %s: %s", connection.peer, head.method, path, answer[0][9:12].decode())
        if stream:
            connection.stream = stream  # before anything is sent: from now on it may have to end
        connection.send(*answer)
        if stream:
            self._go_on(connection, stream, partial(self._access.still_admits, environ[CALLER], connection.peer, given))
        if stream or not body.whole:
            connection.linger()
        return keep_alive

    def _go_on(self, connection: Connection, stream: Stream, is_admitted: Callable[[Sequence[str]], bool]) -> None:
        """Send the stream, until it ends, its client is gone, or would not be admitted any more."""
        if not self._is_open:
            stream.end()
        with closing(iter(stream)) as chunks:
            for chunk in chunks:
                if connection.is_outdated or not is_admitted(connection.names):
                    return
                connection.send_on(chunk)

    def _check_streams(self, peer: str) -> None:
        """Raises Problem when another stream would be too many."""
        streams = [each for each in self._connections if each.stream and not each.stream.is_vital]
        own = sum(connection.peer == peer for connection in streams)
        if len(streams) >= self._limit // 2 or own >= self._limit_of(peer) // 2:
            raise Problem(503, "there are too many event streams; end one of them", headers={"Retry-After": "5"})

    def _check_load(self, head: Head) -> None:
        """Raises Problem when half of the connections have requests at work; ``_ALWAYS`` are answered all the same."""
        at_work = sum(connection.is_at_work for connection in self._connections)
        if at_work > self._limit // 2 and head.raw_path not in _ALWAYS:
            raise Problem(503, "too many requests at the same time; try again", headers={"Retry-After": "1"})


def _answer(
    application: Application, environ: dict[str, Any], keep_alive: Callable[[], bool]
) -> tuple[list[bytes], bool, Stream | None]:
    """Runs the application → (the response in chunks, the head first; whether the connection stays; how it goes on)."""
    lines: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        date = formatdate(usegmt=True)  # RFC 9110 §6.6.1
        lines[:] = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in [("Date", date), *headers])]

    given = application(environ, start)
    stream = given if isinstance(given, Stream) else None
    body = [b""] if isinstance(given, Stream) else [*given]
    if sum(map(len, body)) < SHORT:
        body = [b"".join(body)]
    stays = not stream and keep_alive()
    if not stays:
        lines.append("Connection: close")
    return ["".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1") + body[0], *body[1:]], stays, stream


def _about_all(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """OPTIONS * (RFC 9110 §9.3.7)."""
    start_response("204 No Content", [("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")])
    return ()


def _environ(head: Head, body: http1.Body, connection: Connection) -> dict[str, Any]:
    """PEP 3333."""
    host, port = connection.own
    fields = {
        "HTTP_" + name.upper().replace("-", "_"): value
        for name, value in head.fields.items()
        # In WSGI, one with "_" would have the same name as a field with a hyphen.  Nobody behind here needs the token.
        if "_" not in name and name != "authorization"
    }
    return fields | {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": head.path.decode("latin-1"),
        "RAW_PATH_INFO": head.raw_path,
        "QUERY_STRING": head.query,
        "CONTENT_TYPE": head.fields.get("content-type", ""),
        "CONTENT_LENGTH": "" if head.length is None else str(head.length),
        "HTTP_HOST": head.authority or f"{host}:{port}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": connection.peer,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": connection.endpoint.scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _peer(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 /64, whose addresses may all be one host's."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 4 or found.is_loopback:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def pause_in_line() -> Callable[[], None]:
    """→ a pause that ends for one request after the other, at each round of the hub.

    So however many long requests there are, other green threads wait for one turn of one of them.
    """
    import eventlet
    from eventlet.semaphore import Semaphore

    line = Semaphore()

    def pause() -> None:
        with line:
            eventlet.sleep(0)

    return pause


def serve(
    application: Application,
    listening: Iterable[Endpoint],
    access: Access,
    pause: Callable[[], None] = lambda: None,
    report: Callable[[Event], None] = lambda event: None,
) -> Server:
    """Serve from green threads, until ``Server.close``.  ``pause``, ``report``: as ``Server``'s."""
    import eventlet

    server = Server(application, listening, access, eventlet.spawn, pause, report)
    server.start()
    return server
