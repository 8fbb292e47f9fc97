"""``server drain``, ``edge drain`` and ``operations``: what is asked for, what is waited for, the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from anycast_sdn.cli import main
from anycast_sdn.core.model import AfterDrain, AtDeadline, ServerState, packed
from tests.unit.command_line import answering, complaint, serving
from tests.unit.rest_client import Client

SERVER = "10.2.0.10"


class Controller:
    def __init__(self, client: Client, address: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.client = client
        self._address = address
        self._capsys = capsys

    def do(self, *words: str, status: int = 0) -> str:
        """A command that ends with this status → what it prints."""
        assert main.main([*words, "--rest", self._address]) == status
        return self._capsys.readouterr().out.rstrip("\n")

    def refused(self, *words: str) -> str:
        return complaint(self._capsys, *words, "--rest", self._address)


@pytest.fixture
def controller(capsys: pytest.CaptureFixture[str]) -> Iterator[Controller]:
    client = Client(":memory:")
    assert client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32"]}).status_code == 201
    assert client.ask("PUT", f"/v1/groups/web/servers/{SERVER}", {}).status_code == 201
    with serving(client.by_loopback) as address:
        yield Controller(client, address, capsys)


def test_a_drain_of_a_server_begins_and_names_its_operation(controller: Controller) -> None:
    said = controller.do("server", "drain", "web", SERVER)
    assert said == f"{SERVER} in group web is draining: its flows are being counted; operation d1"
    server = controller.client.registry.server("web", packed(SERVER))
    assert server.state is ServerState.DRAINING
    assert server.drain
    assert (server.drain.deadline_s, server.drain.then) == (None, AfterDrain.KEEP)


def test_a_drain_has_the_deadline_and_the_end_that_are_given(controller: Controller) -> None:
    controller.do("server", "drain", "web", SERVER, "--deadline", "60", "--remove", "--at-deadline", "keep")
    drain = controller.client.registry.server("web", packed(SERVER)).drain
    assert drain
    assert (drain.deadline_s, drain.then, drain.at_deadline) == (60, AfterDrain.REMOVE, AtDeadline.KEEP)


def test_an_edge_is_drained_and_resumed(controller: Controller) -> None:
    said = controller.do("edge", "drain", "ars2")
    assert said == "edge ars2 is draining: its flows are being counted; operation e1"
    assert list(controller.client.registry.edges) == ["ars2"]
    assert controller.do("edge", "resume", "ars2") == "ars2 takes new flows again"
    assert not controller.client.registry.edges


def test_waiting_ends_with_the_operation(controller: Controller) -> None:
    controller.do("server", "drain", "web", SERVER)
    controller.client.life.end("d1")
    assert controller.do("operations", "d1", "--wait", "60") == f"{SERVER} in group web is drained"
    assert json.loads(controller.do("operations", "d1", "--json"))["state"] == "succeeded"
    assert SERVER in controller.do("operations")


def test_waiting_longer_than_asked_for_has_status_1(
    controller: Controller, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("server", "drain", "web", SERVER), ("edge", "drain", "ars2")):
        assert "is draining" in controller.do(*words, "--wait", "0.2", status=1)
        assert max(controller.client.life.waited) <= 0.2
    controller.do("operations", "d1", "--wait", "0", status=1)
    main.main(["operations", "d1", "--wait", "0", "--rest", controller._address])
    assert "operation d1 is not over after 0 s" in capsys.readouterr().err


def test_operations_are_listed(controller: Controller) -> None:
    assert controller.do("operations") == "no operations"
    controller.do("server", "drain", "web", SERVER)
    controller.do("edge", "drain", "ars2")
    lines = controller.do("operations").splitlines()
    assert lines[0].split() == ["operation", "drain", "of", "state", "flows", "left", "since"]
    assert [line.split()[0] for line in lines[2:]] == ["d1", "e1"]
    assert max(map(len, lines)) <= 100
    assert len(json.loads(controller.do("operations", "--json"))["operations"]) == 2


def test_refusals_are_reported_in_the_controllers_words(controller: Controller) -> None:
    assert "no operation" in controller.refused("operations", "nix")
    assert "10.2.0.11" in controller.refused("server", "drain", "web", "10.2.0.11")
    assert controller.refused("edge", "drain", "nowhere")
    assert controller.refused("operations", "a/b?c")


def test_a_drain_that_fails_has_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"id": "d1", "kind": "drain-server", "state": "failed", "edge": "ars2", "group": "web",
              "addresses": [SERVER], "flows_left": 3, "since": "", "reason": "the server was removed"}  # fmt: skip
    with answering(200, json.dumps(failed).encode()) as address:
        assert main.main(["operations", "d1", "--wait", "5", "--rest", address]) == 1
    assert capsys.readouterr().out == f"{SERVER} in group web is not drained: the server was removed\n"


def test_waiting_needs_an_operation() -> None:
    assert main.main(["operations", "--wait", "5"]) == 2
