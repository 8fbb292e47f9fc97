"""The agent as a process, with the REST application over HTTP on loopback."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.agent.agent import SAME_S
from tests.unit.command_line import COMMAND, serving
from tests.unit.rest_client import Client, end_drains

SERVER = "10.2.0.10"
PATH = f"/v1/groups/web/servers/{SERVER}"
DEADLINE_S = 30.0


class Process:
    def __init__(self, *words: str, **environment: str) -> None:
        command = ["env", "--default-signal=INT", *COMMAND, "agent", "--address", SERVER, *words]
        plain = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=plain | environment)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.log: list[str] = []  # without the time
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))

    def wait_for(self, words: str) -> str:
        """The line of the log that has these words, and none before it."""
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            line = self._lines.get(timeout=max(ends_at - time.monotonic(), 0.01))
            self.log.append(line.partition(" INFO ")[2] or line)
            if words in line:
                return line

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextmanager
def agent(*words: str, **environment: str) -> Iterator[Process]:
    process = Process(*words, **environment)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.fixture
def client() -> Client:
    client = Client(":memory:")
    client.facts.server_flows = 0
    assert client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32"]}).status_code == 201
    return client


def controller(client: Client) -> Callable[..., Any]:
    """The application, over HTTP.  Drains are over when there are no flows."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if not client.facts.server_flows:
            end_drains(client)
        return client.by_loopback(environ, start_response)

    return application


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_enrols_its_server_and_drains_it_at_a_signal(number: int, client: Client) -> None:
    with serving(controller(client)) as rest, agent("--group", "web", "--rest", rest) as process:
        process.wait_for("it is enrolled in group web")
        assert client.get(PATH)["state"] == "active"
        assert process.end(number) == 0
        assert client.get(PATH)["state"] == "drained"


def test_a_second_signal_ends_it_at_once(client: Client) -> None:
    client.facts.server_flows = 1
    with serving(controller(client)) as rest, agent("--group", "web", "--rest", rest) as process:
        process.wait_for("it is enrolled")
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("1 flow left")
        time.sleep(2 * SAME_S)  # within that, a second signal counts as the first
        assert process.end() == -signal.SIGTERM


def test_the_service_manager_hears_when_it_is_ready_alive_and_stopping(client: Client, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, serving(controller(client)) as rest:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(DEADLINE_S)
        manager = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with agent("--group", "web", "--rest", rest, **manager) as process:
            said = {channel.recv(1000) for _ in range(3)}
            assert said == {b"WATCHDOG=1", f"READY=1\nSTATUS=enrolled: {SERVER}".encode()}
            assert process.end() == 0
            while channel.recv(1000) != b"STOPPING=1":
                pass


def test_the_log_has_a_line_for_each_change_and_none_for_a_report(client: Client) -> None:
    with serving(controller(client)) as web, serving(controller(client)) as rest:
        check = f"http://{web}/healthz"
        with agent("--group", "web", "--rest", rest, "--interval", "0.5", "--ttl", "3", "--check", check) as process:
            process.wait_for("it is enrolled")
            ends_at = time.monotonic() + DEADLINE_S
            while len(client.facts.loads) < 5 or len(client.facts.reported) < 5:
                assert time.monotonic() < ends_at
                time.sleep(0.05)
            client.facts.status = "degraded"
            process.wait_for("fails: status 503")
            client.facts.status = "ok"
            process.wait_for("passes: status 200")
            assert process.end() == 0
            process.wait_for("stopped")
    checks = [line for line in process.log if line.startswith(check)]
    assert all(earlier != later for earlier, later in pairwise(checks))
    assert [line for line in process.log if line not in checks] == [
        f"{SERVER}: it is enrolled in group web", "SIGTERM: draining; a second signal ends the agent at once",
        f"{SERVER}: it is draining: 0 flows left", f"{SERVER}: it is drained", "stopped",
    ]  # fmt: skip


def test_a_controller_that_is_not_there_yet_is_waited_for(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with agent("--group", "web", "--rest", f"127.0.0.1:{port}") as process:
        assert "no controller answers" in process.wait_for("trying again")
        with serving(controller(client), port) as _:
            process.wait_for("the controller answers again")
            process.wait_for("it is enrolled in group web")
        assert process.process.poll() is None


@pytest.mark.parametrize(("group", "reason"), [("nix", "there is no group 'nix'"), ("web", "this needs a token")])
def test_what_is_refused_at_the_start_ends_it_with_the_reason(group: str, reason: str, client: Client) -> None:
    application: Any = controller(client) if group == "nix" else client.api
    with serving(application) as rest, agent("--group", group, "--rest", rest) as process:
        assert reason in process.wait_for("anycast-sdn: 10.2.0.10 cannot be enrolled in group")
        assert process.process.wait(DEADLINE_S) == 1


def test_a_missing_psutil_is_said_and_the_rest_is_done(client: Client, tmp_path: Path) -> None:
    (tmp_path / "psutil.py").write_text("raise ImportError")
    without = {"PYTHONPATH": str(tmp_path)}
    with serving(controller(client)) as rest, agent("--group", "web", "--rest", rest, **without) as process:
        process.wait_for("load is not reported, because psutil is not installed: pip install 'anycast-sdn[agent]'")
        process.wait_for("it is enrolled in group web")


def test_it_imports_nothing_of_the_controllers() -> None:
    program = (
        "import sys, anycast_sdn.cli.main, anycast_sdn.agent.agent, anycast_sdn.process.service_manager;"
        "print({'os_ken', 'eventlet', 'pydantic', 'yaml', 'networkx', 'webob'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "words",
    [("--group", "web", "--address", "10.2.0.11"), ("--group", "web", "--weight", "-1"),
     ("--group", "web", "--ttl", "nan"), ("--group", "web", "--check", "x"), (),
     ("--group", "web", "--address", "fe80::1%eth0"), ("--group", "web", "--agent-check", "here"),
     ("--group", "web", "--keep", "--remove"), ("--group", "web", "--interval", "0")],
)  # fmt: skip
def test_wrong_usage_has_status_2(words: tuple[str, ...]) -> None:
    done = subprocess.run([*COMMAND, "agent", "--address", SERVER, *words], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
