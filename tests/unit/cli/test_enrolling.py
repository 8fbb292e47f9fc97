"""``group`` and ``server``: what they change, against the REST application itself, and what they print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from anycast_sdn.cli import main
from tests.unit.command_line import complaint, serving
from tests.unit.rest_client import Client

WEB, V6 = "198.18.0.1/32", "2001:db8:ffff::1/128"


class Controller:
    def __init__(self, address: str, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
        self.address = address
        self._client = client
        self._capsys = capsys

    def do(self, *words: str) -> str:
        """A command that succeeds → what it prints."""
        assert main.main([*words, "--rest", self.address]) == 0
        return self._capsys.readouterr().out.rstrip("\n")

    def refused(self, *words: str) -> str:
        return complaint(self._capsys, *words, "--rest", self.address)

    def misused(self, *words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main.main([*words, "--rest", self.address])
        assert ended.value.code == 2
        return self._capsys.readouterr().err

    def shown(self, path: str) -> Any:
        return self._client.get(path)


@pytest.fixture
def controller(capsys: pytest.CaptureFixture[str]) -> Iterator[Controller]:
    client = Client(":memory:")
    with serving(client.by_loopback) as address:
        yield Controller(address, client, capsys)


def test_a_group_is_added_changed_and_deleted(controller: Controller) -> None:
    said = controller.do("group", "add", "web", WEB, V6, "--affinity=client", "--validity=udp_s=10")
    assert said == f"group web is added: {WEB} {V6}"
    group = controller.shown("/v1/groups/web")
    assert group["prefixes"] == [WEB, V6]
    assert (group["affinity"], group["on_server_loss"], group["validity"]) == ("client", "repin", {"udp_s": 10})

    assert controller.do("group", "set", "web", "--on-server-loss", "keep", "--validity", "none") == (
        "group web is changed: on_server_loss, validity"
    )
    group = controller.shown("/v1/groups/web")
    assert (group["affinity"], group["on_server_loss"], group["validity"]) == ("client", "keep", {})

    controller.do("group", "set", "web", "--prefix", "198.18.0.2/32")
    assert controller.shown("/v1/groups/web")["prefixes"] == ["198.18.0.2/32"]

    assert controller.do("group", "delete", "web") == "group web is deleted"
    assert controller.shown("/v1/groups")["groups"] == []


def test_a_server_is_enrolled_changed_and_removed(controller: Controller) -> None:
    controller.do("group", "add", "web", WEB)
    said = controller.do("server", "add", "web", "10.2.0.10", "--weight", "3")
    assert said == "10.2.0.10 is enrolled in group web, behind ars2"
    assert controller.do("server", "set", "web", "10.2.0.10", "--state", "disabled") == (
        "10.2.0.10 in group web: state disabled"
    )
    server = controller.shown("/v1/groups/web/servers/10.2.0.10")
    assert (server["weight"], server["state"]) == (3, "disabled")
    assert controller.do("server", "remove", "web", "10.2.0.10") == "10.2.0.10 is removed from group web"
    assert controller.shown("/v1/groups/web/servers")["servers"] == []


def test_both_addresses_of_a_server_are_enrolled_together(controller: Controller) -> None:
    controller.do("group", "add", "web", WEB, V6)
    said = controller.do("server", "add", "web", "10.2.0.10", "2001:db8:2::10", "--capacity", "500")
    assert said == "10.2.0.10 and 2001:db8:2::10 are enrolled in group web, behind ars2"
    assert [server["capacity"] for server in controller.shown("/v1/groups/web/servers")["servers"]] == [500, 500]


def test_with_json_the_controllers_answer_is_printed(controller: Controller) -> None:
    group = json.loads(controller.do("group", "add", "web", WEB, "--json"))
    assert group == controller.shown("/v1/groups/web")
    server = json.loads(controller.do("server", "add", "web", "10.2.0.10", "--json"))
    assert server == controller.shown("/v1/groups/web/servers/10.2.0.10")
    assert json.loads(controller.do("server", "remove", "web", "10.2.0.10", "--json")) == {"removed": "10.2.0.10"}
    assert json.loads(controller.do("group", "delete", "web", "--json")) == {"deleted": "web"}


def test_refusals_are_reported_in_the_controllers_words(controller: Controller) -> None:
    controller.do("group", "add", "web", WEB)
    assert "exists already" in controller.refused("group", "add", "web", WEB)
    assert "no group" in controller.refused("group", "set", "nix", "--affinity", "client")
    assert "no group" in controller.refused("group", "delete", "nix")
    assert "10.9.9.9" in controller.refused("server", "add", "web", "10.9.9.9")
    assert controller.refused("server", "set", "web", "10.2.0.10", "--weight", "1")
    assert controller.refused("server", "remove", "web", "10.2.0.10")
    assert controller.refused("server", "add", "we/b?x=%2f", "10.2.0.10")


@pytest.mark.parametrize(
    "words",
    [
        ("group",), ("server",), ("group", "add", "web"), ("server", "add", "web"), ("group", "set", "web"),
        ("server", "set", "web", "10.2.0.10"), ("server", "set", "web", "10.2.0.10", "--weight", "-1"),
        ("server", "set", "web", "10.2.0.10", "--weight", "1.5"), ("group", "set", "web", "--validity", "udp_s"),
        ("group", "set", "web", "--check", "{"), ("group", "set", "web", "--check", "tcp,80"),
        ("group", "set", "web", "--spill-at", "2"), ("group", "set", "web", "--slow-start", "nan"),
        ("server", "drain", "web", "10.2.0.10", "--wait", "-1"),
    ],
)  # fmt: skip
def test_wrong_usage_has_status_2(words: tuple[str, ...], controller: Controller) -> None:
    assert "usage:" in controller.misused(*words)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("icmp", {"type": "icmp"}),
        ("tcp,port=80,interval_s=0.5,fall=2", {"type": "tcp", "port": 80, "interval_s": 0.5, "fall": 2}),
        ("udp,port=53,dns=example.org", {"type": "udp", "port": 53, "dns": "example.org"}),
        ("http,path=/health?a=b,expect_status=[200]", {"type": "http", "path": "/health?a=b", "expect_status": [200]}),
        ('{"type": "http", "expect_status": [200, 204]}', {"type": "http", "expect_status": [200, 204]}),
    ],
)
def test_checks_are_written_as_names_and_values_or_as_json(text: str, check: dict[str, Any]) -> None:
    sent: list[Any] = []

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        sent.append(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
        start("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]

    with serving(application) as address:
        assert main.main(["group", "set", "web", "--check", text, "--check", "none", "--rest", address]) == 0
    assert sent == [{"checks": [check]}]
