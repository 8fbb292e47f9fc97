"""The page with a REST double behind it, on loopback: what browser tests open when no network is needed.

    .venv/bin/python tests/browser/fixture_server.py [CASE [PORT]]

serves http://127.0.0.1:PORT/ui for looking at.  A test can make the server slow (``hold``), silent (``lost``) or let
one resource fail (``failing``), at any time; ``requests`` is what was asked for.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rest_double import NoSuch, RestDouble

from anycast_sdn.api.pages import of_package
from anycast_sdn.api.problems import Problem


class FixtureServer:
    """``rest`` may be replaced at any time."""

    def __init__(self, rest: RestDouble, port: int = 0) -> None:
        self.rest = rest
        self.requests: list[tuple[float, str]] = []
        self.lost = False  # every connection is closed without an answer
        self.failing = ""  # a path that answers 500
        self.token = ""  # one that must be sent, unless empty
        self.pages = of_package()
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._closing = False
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.fixture = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._closing = True
        self._may_answer.set()
        self._wake()
        self._http.shutdown()
        self._http.server_close()

    def lose(self) -> None:
        """As if the controller had been stopped: streams end, nothing is answered."""
        self.lost = True
        self._wake()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing of /v1 is answered inside of the block."""
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def _wake(self) -> None:
        with self.rest.changed:
            self.rest.changed.notify_all()

    @property
    def is_silent(self) -> bool:
        return self.lost or self._closing

    def await_permission(self) -> None:
        self._may_answer.wait(60)

    def asked(self, path: str) -> int:
        """How often this path was asked for."""
        return sum(urlsplit(asked).path == path for _, asked in self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fixture: FixtureServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes its connections is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        fixture = self.server.fixture
        if fixture.is_silent:
            self.close_connection = True
            return
        split = urlsplit(self.path)
        path, query = unquote(split.path), parse_qs(split.query)
        if fixture.pages.has(path):
            self._page(path)
        else:
            fixture.requests.append((time.monotonic(), self.path))
            if fixture.token and self.headers.get("Authorization") != f"Bearer {fixture.token}":
                self._problem(401, "a token is needed")
            elif path == "/v1/events" and "text/event-stream" in self.headers.get("Accept", ""):
                self._stream(query)
            else:
                self._resource(path, query)

    do_HEAD = do_GET

    def _page(self, path: str) -> None:
        """As the controller serves it."""
        tag = self.headers.get("If-None-Match", "")
        environ = {"PATH_INFO": path, "REQUEST_METHOD": self.command, "HTTP_IF_NONE_MATCH": tag}
        try:
            body = b"".join(self.server.fixture.pages(environ, self._begin))
        except Problem as problem:
            self._problem(problem.status, problem.detail)
        else:
            self.wfile.write(body)

    def _begin(self, status: str, fields: list[tuple[str, str]]) -> None:
        self.send_response(int(status.split()[0]))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()

    def _resource(self, path: str, query: dict[str, list[str]]) -> None:
        fixture = self.server.fixture
        fixture.await_permission()
        if fixture.is_silent:
            self.close_connection = True
            return
        try:
            if fixture.failing and path == fixture.failing:
                self._problem(500, "the controller failed; its log has the reason")
                return
            body = json.dumps(fixture.rest.answer(path, query)).encode()
        except NoSuch as error:
            self._problem(404, str(error))
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == tag:
            self._send(304, b"", "application/json", ETag=tag)
        else:
            self._send(200, body, "application/json", ETag=tag)

    def _problem(self, status: int, detail: str) -> None:
        problem = {"type": "about:blank", "title": "", "status": status, "detail": detail, "instance": self.path}
        self._send(status, json.dumps(problem).encode(), "application/problem+json")

    def _send(self, status: int, body: bytes, kind: str, **fields: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, query: dict[str, list[str]]) -> None:
        """Server-sent events, from the one after Last-Event-ID on; else from now on."""
        fixture = self.server.fixture
        fixture.await_permission()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        newest = fixture.rest.events[-1]["id"] if fixture.rest.events else 0
        last = int(self.headers.get("Last-Event-ID") or query.get("since", [""])[0] or newest)
        self.wfile.write(b"retry: 1000\n\n: hello\n\n")
        while not fixture.is_silent:
            with fixture.rest.changed:
                due = fixture.rest.events_after(last)
                if not due:
                    fixture.rest.changed.wait(1.0)
            for event in due:
                last = event["id"]
                self.wfile.write(f"id: {last}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            if not due:
                self.wfile.write(b": still here\n\n")
            self.wfile.flush()


@contextmanager
def serving(case: str = "trouble", port: int = 0) -> Iterator[FixtureServer]:
    server = FixtureServer(RestDouble(case), port)
    server.start()
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    with serving(*sys.argv[1:2], port=int(sys.argv[2]) if sys.argv[2:] else 8080) as served:
        print(f"{served.url}/ui", flush=True)
        threading.Event().wait()
