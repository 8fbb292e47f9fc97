"""Messages to a service manager such as systemd, on a real socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycast_sdn.process.service_manager import ServiceManager
from tests.unit.network_files import VALID

ME = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its name in NOTIFY_SOCKET."""
    shown = str(tmp_path / "notify") if request.param == "path" else f"@anycast-sdn-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(shown.replace("@", "\0", 1) if request.param == "abstract" else shown)
        channel.settimeout(60)
        yield channel, shown


def nothing_more(channel: socket.socket) -> bool:
    channel.setblocking(False)
    try:
        channel.recv(1000)
    except BlockingIOError:
        return True
    return False


def test_messages_are_sent_when_the_controller_is_ready_and_when_it_stops(manager: tuple[socket.socket, str]) -> None:
    channel, shown = manager
    service = ServiceManager({"NOTIFY_SOCKET": shown}, ME)
    service.ready("network office")
    service.alive(0.0)
    service.stopping()
    assert channel.recv(1000) == b"READY=1\nSTATUS=network office"
    assert channel.recv(1000) == b"STOPPING=1"
    assert nothing_more(channel), "without WATCHDOG_USEC there are no keep-alive messages"


def test_keep_alive_messages_are_sent_twice_as_often_as_required(manager: tuple[socket.socket, str]) -> None:
    channel, shown = manager
    service = ServiceManager({"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(ME)}, ME)
    for now in (100.0, 100.1, 101.4, 101.5, 101.6, 103.0):
        service.alive(now)
    assert [channel.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    assert nothing_more(channel)


@pytest.mark.parametrize("watchdog", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}])
def test_keep_alive_messages_are_not_sent_unless_required_of_this_process(
    watchdog: dict[str, str], manager: tuple[socket.socket, str]
) -> None:
    channel, shown = manager
    ServiceManager({"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "3000000"} | watchdog, ME).alive(100.0)
    assert nothing_more(channel)


def test_without_a_service_manager_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    service = ServiceManager({"WATCHDOG_USEC": "3000000"}, ME)
    service.ready("network office")
    service.alive(0.0)
    service.stopping()
    assert not caplog.records


def test_without_its_socket_the_reason_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}, ME).ready("network office")
    assert "cannot send READY=1 to the service manager (NOTIFY_SOCKET): No such file or directory" in caplog.text


def test_why_keep_alive_messages_fail_is_logged_once(
    manager: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture
) -> None:
    channel, shown = manager
    service = ServiceManager({"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "2"}, ME)
    channel.close()
    for now in range(3):
        service.alive(float(now))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "cannot send WATCHDOG=1 to the service manager (NOTIFY_SOCKET)"
    ]


def test_run_notifies_the_service_manager_when_it_is_ready_alive_and_stopping(
    manager: tuple[socket.socket, str], tmp_path: Path
) -> None:
    channel, shown = manager
    (tmp_path / "net.yaml").write_text(VALID)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        openflow, rest = (f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other))
    words = [sys.executable, "-m", "anycast_sdn", "run", "net.yaml", "--openflow", openflow, "--rest", rest]
    root = Path(__file__).parents[3]
    environment = os.environ | {"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "400000", "PYTHONPATH": str(root)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        try:
            assert channel.recv(1000) == (
                f"READY=1\nSTATUS=network office; OpenFlow on {openflow}, REST on http://{rest}".encode()
            )
            assert [channel.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            socket.create_connection(("127.0.0.1", int(rest.rpartition(":")[2]))).close()
            process.send_signal(signal.SIGTERM)
            while (message := channel.recv(1000)) == b"WATCHDOG=1":
                pass
            assert message == b"STOPPING=1"
            assert process.wait(60) == 0
        finally:
            process.kill()
