"""``watch events`` prints what happens as it happens, and goes on when the controller was away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest

from anycast_sdn.api import streams
from anycast_sdn.api.access import Access
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.server import Server
from anycast_sdn.cli import events, terminal
from anycast_sdn.cli.client import Controller, Refused, Unreachable
from anycast_sdn.core.model import packed
from anycast_sdn.core.network_events import PoolExhausted
from anycast_sdn.core.places import Rest
from anycast_sdn.core.server_events import ServerEnrolled
from anycast_sdn.views.journal import Journal
from tests.unit.api.test_server import start_thread, until
from tests.unit.command_line import COMMAND
from tests.unit.rest_client import Client

ENROLLED = ServerEnrolled("ars2", "web", packed("10.2.0.10"))
EXHAUSTED = PoolExhausted("arh1", "ipv4", 254, 254, 0)


@contextmanager
def served(client: Client, port: int = 0) -> Iterator[Controller]:
    listener = socket.create_server(("127.0.0.1", port))
    server = Server(client.api, [Endpoint(listener, Hosts("127.0.0.1"))], Access(None), start_thread)
    server.start()
    try:
        yield Controller(Rest("127.0.0.1", listener.getsockname()[1], "http"))
    finally:
        server.close()
        until(lambda: not server.busy)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(streams, "PAUSE_S", 0.01)
    monkeypatch.setattr(events, "PAUSES_S", (0.01, 0.02))
    return Client(":memory:")


def never(reason: str, _: int) -> None:
    raise AssertionError(reason)


def ids(messages: Iterator[events.Message], number: int) -> list[int]:
    return [message.data["id"] for message in islice(messages, number)]


def test_a_stream_goes_on_behind_the_last_event_when_the_controller_was_away(client: Client) -> None:
    told: list[str] = []
    for _ in range(3):
        client.facts.journal(ENROLLED)
    with served(client) as controller:
        port = controller.rest.port
        messages = events.follow(controller, "/v1/events", 1, lambda reason, pause: told.append(reason))
        assert ids(messages, 2) == [2, 3]
    client.facts.journal(ENROLLED)  # while nobody is served
    with served(client, port):
        assert ids(messages, 1) == [4]
        client.facts.journal(ENROLLED)
        assert ids(messages, 1) == [5]
        messages.close()  # type: ignore[attr-defined]
    assert any("has ended" in reason for reason in told)


def test_what_cannot_begin_is_an_error_and_not_tried_again(client: Client) -> None:
    with served(client) as controller, pytest.raises(Refused, match="colour"):
        next(events.follow(controller, "/v1/events?colour=red", None, never))
    with pytest.raises(Unreachable):
        next(events.follow(controller, "/v1/events", None, never))
    assert "no controller answers" in complaint_of_watch(controller)


def complaint_of_watch(controller: Controller) -> str:
    done = subprocess.run(
        [*COMMAND, "watch", "events", "--rest", str(controller.rest)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_events_are_lines_until_ctrl_c(client: Client) -> None:
    client.facts.journal(ENROLLED)
    client.facts.journal(EXHAUSTED)
    with served(client) as controller:
        words = [*COMMAND, "watch", "events", "--rest", str(controller.rest)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout
            first = watching.stdout.readline()
            assert first.startswith("2023-11-14T22:13:20.000Z  info      server.enrolled ")
            assert "server 10.2.0.10 of group web is enrolled, behind ars2" in first
            assert "  critical  pool.exhausted " in watching.stdout.readline()
            client.facts.journal(ENROLLED)
            assert "server.enrolled" in watching.stdout.readline()
            watching.send_signal(signal.SIGINT)
            assert watching.wait(30) == 130
        words += ["--json", "--type", "pool", "--last", "1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout
            assert json.loads(watching.stdout.readline())["id"] == 2
            watching.send_signal(signal.SIGINT)


def test_in_a_cluster_a_line_names_its_member_and_those_that_are_silent_are_named(client: Client) -> None:
    client.facts.silent = ["m2"]
    other = Journal(lambda: 1_600_000_000.0, member="m1")
    other(EXHAUSTED)
    client.facts.journal(ENROLLED)
    client.facts.journal.put(*other.own(1))
    with served(client) as controller:
        words = [*COMMAND, "watch", "events", "--rest", str(controller.rest)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stdout
            assert watching.stderr
            first = watching.stdout.readline()
            assert first.startswith("2020-09-13T12:26:40.000Z  critical  m1  pool.exhausted ")
            assert "server.enrolled" in watching.stdout.readline()
            assert watching.stderr.readline() == "anycast-sdn: events of m2 are missing: no answer from there\n"
            client.facts.journal(ENROLLED)
            assert "server.enrolled" in watching.stdout.readline()  # nothing comes twice
            watching.send_signal(signal.SIGINT)


def until_said(watching: subprocess.Popen[str], *words: str) -> str:
    """→ the first line with one of these words."""
    assert watching.stdout
    for line in watching.stdout:
        if any(each in line for each in words):
            return line
    raise AssertionError(f"it has ended before {words}")


def test_flows_and_servers_are_shown_again_and_again_also_after_the_controller_was_away(client: Client) -> None:
    client.ask("POST", "/v1/groups", {"name": "web", "prefixes": ["198.18.0.1/32"]})
    client.ask("POST", "/v1/groups/web/servers", {"address": "10.2.0.10"})
    for name, row in (("flows", "10.1.0.10:40003"), ("servers", "10.2.0.10 ")):
        with served(client) as controller:
            words = [*COMMAND, "watch", name, "--every", "0.1", "--rest", str(controller.rest)]
            watching = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            for _ in range(2):
                until_said(watching, row)
        away = until_said(watching, "what is shown is from").rpartition(" from ")[2]
        until_said(watching, row)
        with served(client, controller.rest.port):
            while until_said(watching, f"{name}  ", f"{name}, ").endswith(away):
                pass
            until_said(watching, row)
            watching.send_signal(signal.SIGINT)
            watching.communicate()
            assert watching.returncode == 130


def test_what_is_drawn_fits_the_terminal_and_takes_the_place_of_what_was_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((5, 4)))
    terminal.draw("\x1b[2m1234567\x1b[0m\nb\nc\nd")
    assert capsys.readouterr().out == (
        "\x1b[H\x1b[2m12345\x1b[0m\x1b[K\nb\x1b[K\n... 2\x1b[K\n\x1b[J"
    )
    monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: False)
    terminal.draw("1234567")
    assert capsys.readouterr().out == "1234567\n\n"


def test_what_others_have_written_does_not_steer_the_terminal() -> None:
    assert terminal.harmless("a\x1b]0;b\x07\tc\x9b").replace("\N{REPLACEMENT CHARACTER}", "?") == "a?]0;b?\tc?"


def test_fields_of_messages_are_read_as_browsers_read_them() -> None:
    lines = b"retry: 1\nid: 7\n\n:\n\ndata: a\r\ndata:b\r\nevent: x\r\n\r\ndata: cut".splitlines(keepends=True)
    assert list(events.messages(iter(lines))) == [
        ("", {"retry": "1", "id": "7"}),
        ("x", {"data": "a\nb", "event": "x"}),
    ]


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal.styled("critical", "critical") == "critical"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.styled("critical", "critical") == "\x1b[1;31mcritical\x1b[0m"
    assert terminal.styled("info", "info") == "info"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.styled("critical", "critical") == "critical"
