"""A controller that runs in a process of its own, without switches, and is asked over REST with a token."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from tests.unit.command_line import COMMAND

_NO_LIMITS = ("--requests-per-s", "100000", "--burst", "100000", "--concurrent", "1000")


class Answer(NamedTuple):
    status: int
    body: Any  # JSON
    tag: str


class Controller:
    """One that runs, without switches; REST needs a token."""

    def __init__(self, folder: Path, database: str = ":memory:", *more: str) -> None:
        """``more``: further options."""
        self.folder = folder
        self._network, tokens = folder / "figure1.yaml", folder / "tokens"
        self._network.write_text(_output("example", "figure1"))
        words = ("token", "add", "tests", "--scope", "admin", "--file", str(tokens))
        self.token = _output(*words, *_NO_LIMITS).strip()
        openflow, rest = _free_ports()
        self.openflow = ("127.0.0.1", openflow)
        self.rest = ("127.0.0.1", rest)
        self.url = f"http://127.0.0.1:{rest}"
        options = ["--openflow", f"127.0.0.1:{openflow}", "--rest", f"127.0.0.1:{rest}", "--tokens", str(tokens)]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "run", str(self._network), *options, "--database", database, *more], stdout=log, stderr=log
            )

    def ask(self, method: str, path: str, body: Any = None, **fields: str) -> Answer:
        connection = HTTPConnection(*self.rest, timeout=60)
        try:
            sent = None if body is None else json.dumps(body)
            fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | fields
            connection.request(method, path, sent, {name.replace("_", "-"): value for name, value in fields.items()})
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, json.loads(content) if content else None, response.headers.get("ETag", ""))
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("GET", "/v1/groups")
                return
            except (OSError, HTTPException):
                assert self.process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.1)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


def _output(*words: str) -> str:
    return subprocess.run([*COMMAND, *words], check=True, capture_output=True, text=True, timeout=60).stdout


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@contextmanager
def running(folder: Path) -> Iterator[Controller]:
    """With a group, web, that has a server."""
    controller = Controller(folder)
    try:
        controller.wait_until_ready()
        controller.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32", "2001:db8:a::1/128"]})
        controller.ask("PUT", "/v1/groups/web/servers/10.2.0.10", {})
        yield controller
    finally:
        controller.process.terminate()
        controller.process.wait(timeout=30)
