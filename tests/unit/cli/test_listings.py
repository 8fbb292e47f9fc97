"""Questions to a running controller: what is printed, also for a wrong answer or none."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess

import pytest

from anycast_sdn.cli import main
from anycast_sdn.cli.listings import written
from tests.unit.command_line import COMMAND, answering, complaint

USE = {"size": 254, "leased": 3, "resting": 1, "free": 250}
EDGE = {
    "name": "arh1", "roles": ["client edge"], "connected": True, "bindings": 3, "rules": {"bindings": 6, "other": 30},
    "pools": {"ipv4": USE, "ipv6": {"size": 2**64 - 2, "leased": 0, "resting": 0, "free": 2**64 - 2}}, "drops": {},
    "drain": None,
}  # fmt: skip


def test_a_silent_controller_is_reported_without_error_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = "no controller answers at http://127.0.0.1:1: Connection refused; is 'anycast-sdn run' running?"
    for command in ("flows", "groups", "servers", "edges", "topology"):
        assert complaint(capsys, command, "--rest", "127.0.0.1:1") == wanted


def test_a_controller_is_asked_through_no_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(200, b'{"groups": []}') as address:
        assert main.main(["groups", "--rest", address]) == 0
    assert capsys.readouterr().out == "no groups\n"


def test_another_program_that_answers_is_reported_as_no_controller(capsys: pytest.CaptureFixture[str]) -> None:
    for status, body, why in ((404, b"<h1>File not found</h1>", ": 404 Not Found"), (200, b"hello", "")):
        with answering(status, body, "text/html") as address:
            reported = complaint(capsys, "edges", "--rest", address)
        assert reported == f"what answers at http://{address} is no controller{why}"


@pytest.mark.parametrize("body", [b'{"detail": 1}', b"[]", b"null", b'{"flows": 1, "groups": {}}', b"[" * 100_000])
def test_another_programs_json_is_reported_as_no_controllers(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, body) as address:
        for command in ("flows", "groups", "servers", "edges", "topology"):
            assert complaint(capsys, command, "--rest", address) == f"what answers at http://{address} is no controller"


@pytest.mark.parametrize(
    ("status", "reported"),
    [
        (200, "the answer of http://{} has ended before it was whole; is it still running?"),
        (503, "what answers at http://{} is no controller: 503 Service Unavailable"),
    ],
)
def test_a_controller_that_ends_while_it_answers_is_reported(
    status: int, reported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status, b'{"flows": [', length=100) as address:
        assert complaint(capsys, "flows", "--rest", address) == reported.format(address)


def test_a_controllers_refusal_is_reported_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(400, b'{"detail": "no such state"}') as address:
        assert complaint(capsys, "flows", "--rest", address) == "no such state"


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
    line, more = capsys.readouterr().out.splitlines()[2:]
    assert line.endswith("IPv4: 3 leased, 1 resting of 254")
    assert more.endswith(f"IPv6: 0 leased, 0 resting of {shown}")


@pytest.mark.parametrize(
    ("outlook", "shown"),
    [
        ({"level": "plenty", "used_up_in_s": 300.0}, "of 254"),
        ({"level": "low", "used_up_in_s": 11.2}, "of 254,\nlow, used up in about 12 s"),
        ({"level": "low", "used_up_in_s": None}, "of 254, low"),
        ({"level": "exhausted", "used_up_in_s": None}, "of 254, exhausted"),
    ],
)
def test_a_pool_that_is_low_says_how_long_it_lasts(
    outlook: dict[str, object], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, json.dumps({"edges": [EDGE | {"pools": {"ipv4": USE | outlook}}]}).encode()) as address:
        assert main.main(["edges", "--rest", address]) == 0
    assert f"IPv4: 3 leased, 1 resting {shown}\n" in re.sub("\n +", "\n", capsys.readouterr().out)


def test_what_edges_have_dropped_is_told_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """So that the table is not wider than a page."""
    exhausted = USE | {"level": "exhausted", "used_up_in_s": None, "leased": 12, "resting": 0, "size": 12}
    drops = {"no_route": 7, "looped": 0, **{f"bad_frame: reason {number}": 12345 for number in range(9)}}
    edge = EDGE | {"pools": {"ipv4": exhausted, "ipv6": exhausted}, "drops": drops}
    with answering(200, json.dumps({"edges": [edge, EDGE]}).encode()) as address:
        assert main.main(["edges", "--rest", address]) == 0
    shown, _, dropped = capsys.readouterr().out.partition("\n\n")
    assert "IPv6: 12 leased, 0 resting of 12, exhausted" in shown
    assert dropped.startswith("drops at arh1: bad_frame: reason 0: 12345, ")
    assert dropped.endswith("no_route: 7\n")
    assert max(map(len, [*shown.splitlines(), *dropped.splitlines()])) <= 100


def test_an_edge_that_is_drained_is_shown_so(capsys: pytest.CaptureFixture[str]) -> None:
    edge = EDGE | {"drain": {"operation": "e1", "since": ""}}
    with answering(200, json.dumps({"edges": [edge]}).encode()) as address:
        assert main.main(["edges", "--rest", address]) == 0
    assert "client edge (draining)  yes" in capsys.readouterr().out


def test_groups_are_shown_with_their_settings_on_a_line_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    servers = [{"health": {"status": status}} for status in ["passing"] * 10 + ["warning", "critical"]]
    web = {"name": "web", "prefixes": ["198.18.0.1/32", "2001:db8:a::1/128"], "servers": servers}
    plain = {"affinity": "flow", "on_server_loss": "repin", "validity": {}}
    own = {"affinity": "client", "on_server_loss": "keep", "validity": {"tcp_s": 600, "udp_s": 10}}
    with answering(200, json.dumps({"groups": [web | plain, web | own]}).encode()) as address:
        assert main.main(["groups", "--rest", address]) == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3:] for line in lines] == [
        ["12", "1", "flow", "repin"], ["12", "1", "client", "keep", "tcp:", "600,", "udp:", "10"]
    ]  # fmt: skip
    assert max(map(len, lines)) <= 100


def test_servers_are_shown_with_their_health_and_why_they_fail(capsys: pytest.CaptureFixture[str]) -> None:
    passing = {"address": "2001:db8:2::10", "edge": "ars2", "state": "active", "weight": 1000, "reachable": True,
               "flows": 1234, "load": {"overall": 0.42}, "shares": {"ars2": 1.0, "ars3": 0.125},
               "health": {"status": "passing", "reason": ""}}  # fmt: skip
    failing = passing | {"health": {"status": "critical", "reason": "tcp 80: Connection refused"}}
    groups = [{"name": "web", "servers": [passing]}, {"name": "mail", "servers": [failing] * 30}]
    with answering(200, json.dumps({"groups": groups}).encode()) as address:
        assert main.main(["servers", "--rest", address]) == 0
    table, _, why = capsys.readouterr().out.partition("\n\n")
    assert table.splitlines()[2].split()[6:] == ["passing", "42%", "100%,", "12%", "of", "ars3", "1234"]
    assert max(map(len, table.splitlines())) <= 100
    lines = why.splitlines()
    assert set(lines[:-1]) == {"2001:db8:2::10 in mail is critical: tcp 80: Connection refused"}
    assert (len(lines), lines[-1]) == (21, "... and 10 more")


def test_a_closed_pipe_is_no_error() -> None:
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
        # A shell has programs in the background ignore interrupts, and a command would inherit that from the tests.
        words = ["env", "--default-signal=INT", *COMMAND, "flows", "--rest", f"127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)  # now it waits for an answer
                os.kill(process.pid, signal.SIGINT)
                _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")


def test_flows_whose_master_is_not_heard_are_said_to_be_missing() -> None:
    assert written("flows", {"flows": [], "incomplete": []}) == "no flows"
    shown = written("flows", {"flows": [], "incomplete": ["m1", "m2"]})
    assert shown.splitlines()[-1] == "missing are flows whose master is m1, m2: they are not known now"
