"""The command line as tests call it, and a server that stands for the controller."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref import simple_server

import pytest

from anycast_sdn.cli import main

COMMAND = [sys.executable, "-m", "anycast_sdn"]


@contextmanager
def answering(
    status: int, body: bytes, kind: str = "application/json", length: int | None = None
) -> Iterator[str]:
    """A server that answers each request like this → its address.  ``length``: what it says the body has."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def serving(application: Callable[..., Any], port: int = 0) -> Iterator[str]:
    """A WSGI application on loopback → its address."""

    class Quiet(simple_server.WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with simple_server.make_server("127.0.0.1", port, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that fails prints to standard error."""
    assert main.main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removeprefix("anycast-sdn: ").rstrip("\n")
