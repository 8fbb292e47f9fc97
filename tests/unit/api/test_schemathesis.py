"""Schemathesis makes requests from /openapi.json, and finds each answer of a running controller described there.

Thousands of requests, valid and invalid ones, the same in each run; with --full some ten thousand more.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.unit.command_line import COMMAND

CONFIG = Path(__file__).with_name("schemathesis.toml")
# What there is, for requests that are to reach it.
FOUND = """
[parameters]
group = "web"
address = "10.2.0.10"
edge = "ars2"
switch = "arh1"
end = "arh1:10"

"""


class Controller:
    """One that runs, without switches; REST needs a token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._network, tokens = folder / "figure1.yaml", folder / "tokens"
        self._network.write_text(_output("example", "figure1"))
        words = ("token", "add", "tests", "--scope", "admin", "--file", str(tokens))
        self.token = _output(*words, "--requests-per-s", "100000", "--burst", "100000").strip()
        openflow, rest = _free_ports()
        self.url = f"http://127.0.0.1:{rest}"
        options = ["--openflow", f"127.0.0.1:{openflow}", "--rest", f"127.0.0.1:{rest}", "--tokens", str(tokens)]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "run", str(self._network), *options, "--database", ":memory:"], stdout=log, stderr=log
            )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(self.url + path, method=method, data=json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return json.load(response)

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

    def tested(self, config: str, *options: str) -> int:
        """Runs schemathesis → the number of requests, all of which were answered as they should be."""
        path = self.folder / "schemathesis.toml"
        path.write_text(config)
        words = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(path)]
        words += ["run", f"{self.url}/openapi.json", "-H", f"Authorization: Bearer {self.token}", *options]
        words += ["--generation-deterministic", "--continue-on-failure", "--no-color"]
        words += ["--request-timeout", "60", "--suppress-health-check", "all"]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=1700)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
        assert self.process.poll() is None, self.log
        assert "Traceback" not in self.log
        found = re.search(r"(\d+) generated, \1 passed", done.stdout)
        assert found, done.stdout[-2000:]
        return int(found[1])


def _output(*words: str) -> str:
    return subprocess.run([*COMMAND, *words], check=True, capture_output=True, text=True, timeout=60).stdout


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(tmp_path)
    try:
        controller.wait_until_ready()
        controller.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32", "2001:db8:a::1/128"]})
        controller.ask("PUT", "/v1/groups/web/servers/10.2.0.10", {})
        yield controller
    finally:
        controller.process.terminate()
        controller.process.wait(timeout=30)


@pytest.mark.timeout(1800)
def test_every_kind_of_value_is_answered_as_described(controller: Controller, request: pytest.FixtureRequest) -> None:
    full = request.config.getoption("full")
    number = controller.tested(CONFIG.read_text(), "--phases", "coverage,stateful", "-n", "300" if full else "10")
    assert number > 2000


@pytest.mark.timeout(1800)
def test_random_requests_to_what_there_is_are_answered_as_described(
    controller: Controller, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("full")
    # In a run, requests are sent operation by operation: what is needed later is not deleted.
    kept = ["--exclude-operation-id", "delete_group", "--exclude-operation-id", "delete_server"]
    many = ["-n", "600" if full else "40"]
    assert controller.tested(FOUND + CONFIG.read_text(), "--phases", "fuzzing", *kept, *many) > 500
