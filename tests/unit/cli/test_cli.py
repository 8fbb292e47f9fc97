"""The command line: what it prints, and what it says when something is not as it should be."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.cli import main
from tests.unit.network_files import VALID

COMMAND = [sys.executable, "-m", "anycast_sdn"]
USE = {"size": 254, "leased": 3, "resting": 1, "free": 250}
EDGE = {
    "name": "arh1", "roles": ["client edge"], "connected": True, "bindings": 3, "rules": {"bindings": 6, "other": 30},
    "pools": {"ipv4": USE, "ipv6": {"size": 2**64 - 2, "leased": 0, "resting": 0, "free": 2**64 - 2}}, "drops": {},
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network file that is right."""
    path = tmp_path / "net.yaml"
    path.write_text(VALID)
    return path


@contextmanager
def answering(status: int, body: bytes, kind: str = "application/json") -> Iterator[str]:
    """Something that answers each question so → where."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command complains of; it fails."""
    assert main.main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removeprefix("anycast-sdn: ").rstrip("\n")


# ------------------------------------------------------------------------------ files


def test_check_counts_in_words_that_fit(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", str(file)]) == 0
    counted = "3 switches, 2 links, 2 subnets, 0 uplinks, 3 hosts, 2 groups"
    assert capsys.readouterr().out == f"{file}: good. Network office: {counted}.\n"
    file.write_text(VALID.replace("  - {ends: [core:2, east:10]}\n", ""))
    assert main.main(["check", str(file)]) == 0
    assert " 1 link, " in capsys.readouterr().out


@pytest.mark.parametrize("command", [["check"], ["run"], ["trace"]])
def test_a_file_that_is_none_is_named_with_the_reason(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("missing", "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        ("empty", "must be a section of keys and values, not nothing: the file is empty"),
    ):
        flow = ["10.1.0.10", "198.18.0.1:80/tcp"] if command == ["trace"] else []
        if command == ["run"]:  # it changes the process that it runs in
            done = subprocess.run([*COMMAND, "run", str(tmp_path / name)], capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr) == (1, f"anycast-sdn: {tmp_path / name}: {reason}\n")
        else:
            assert said(capsys, *command, str(tmp_path / name), *flow) == f"{tmp_path / name}: {reason}"


# ------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:6653", ("192.0.2.1", 6653)),
        ("[::]:6653", ("::", 6653)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("localhost:8080", ("localhost", 8080)),
        (":8080", ("127.0.0.1", 8080)),
    ],
)
def test_addresses_are_written_with_a_port_and_ipv6_in_brackets(text: str, address: tuple[str, int]) -> None:
    arguments = main._parser().parse_args(["flows", "--rest", text])
    assert arguments.rest == address


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "::1:8080", "[::1]", "[zz]:80", "[127.0.0.1]:80", "a b:80", "host:0", "host:65536", "host:٣", "h/:1"],
)
def test_other_addresses_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["flows", "--rest", text])
    assert ended.value.code == 2
    assert "is not HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "other", "what"), [("--openflow", "--rest", "OpenFlow"), ("--rest", "--openflow", "REST")]
)
def test_an_address_that_cannot_be_had_is_named_with_what_to_do(
    option: str, other: str, what: str, file: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        address, another = (f"127.0.0.1:{each.getsockname()[1]}" for each in (taken, free))
        free.close()
        for wanted, reason in (
            (address, "another program listens there, perhaps a controller: end it, or take another port"),
            ("192.0.2.1:8080", "this machine has no such address: take one that it has"),
        ):
            words = [*COMMAND, "run", str(file), option, wanted, other, another, "--database", str(tmp_path / "db")]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            assert done.stderr == f"anycast-sdn: {what} cannot listen on {wanted}: {reason} ({option})\n"
            assert done.returncode == 1


def test_openflow_and_rest_need_addresses_of_their_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = ["--openflow", "127.0.0.1:6653", "--rest", "127.0.0.1:6653"]
    assert "cannot have the same address" in said(capsys, "run", str(file), *same)


# ------------------------------------------------------------------------------ a running controller


def test_nobody_who_answers_is_said_without_numbers_of_errors(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = "no controller answers at http://127.0.0.1:1: Connection refused; is 'anycast-sdn run' running?"
    for command in ("flows", "groups", "servers", "edges", "topology"):
        assert said(capsys, command, "--rest", "127.0.0.1:1") == wanted


def test_no_proxy_is_asked_for_a_controller(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(200, b'{"groups": []}') as address:
        assert main.main(["groups", "--rest", address]) == 0
    assert capsys.readouterr().out == "no groups\n"


def test_somebody_else_who_answers_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for status, body, why in ((404, b"<h1>File not found</h1>", ": 404 Not Found"), (200, b"hello", "")):
        with answering(status, body, "text/html") as address:
            told = said(capsys, "edges", "--rest", address)
        assert told == f"what answers at http://{address} is no controller{why}"


def test_a_refusal_of_the_controller_is_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(400, b'{"detail": "no such state"}') as address:
        assert said(capsys, "flows", "--rest", address) == "no such state"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (254, "254"),
        (2**20 - 2, "1048574"),
        (2**64 - 2, "2^64"),
        (2 * (2**64 - 2), "2^65"),
        (3 * 2**64, "about 2^66"),
        (2**72 - 2, "2^72"),
    ],
)
def test_pools_are_shown_in_numbers_that_can_be_read(size: int, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    pools = {"ipv4": USE, "ipv6": {"size": size, "leased": 0, "resting": 0, "free": size}}
    with answering(200, json.dumps({"edges": [EDGE | {"pools": pools}]}).encode()) as address:
        assert main.main(["edges", "--rest", address]) == 0
    (line,) = (line.rstrip() for line in capsys.readouterr().out.splitlines() if line.startswith("arh1"))
    assert line.endswith(f"IPv4: 3 leased, 1 resting of 254; IPv6: 0 leased, 0 resting of {shown}")


def test_a_reader_who_leaves_is_no_error() -> None:
    """As with `anycast-sdn edges | head -1`."""
    body = json.dumps({"edges": [EDGE | {"name": f"edge{number}"} for number in range(5000)]}).encode()
    with answering(200, body) as address:
        words = [*COMMAND, "edges", "--rest", address]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""


def test_an_interrupt_ends_a_command_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # Whoever runs tests in the background may have it ignore interrupts, and it would hand that down.
        words = ["env", "--default-signal=INT", *COMMAND, "flows", "--rest", f"127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)  # now it waits for an answer
                os.kill(process.pid, signal.SIGINT)
                _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")
