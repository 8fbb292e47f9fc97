"""What agents report over REST."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.core.health import CheckName, CheckResult
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import packed
from tests.unit.rest_client import Client

PATH = "/v1/groups/web/servers/10.2.0.10"
HTTP = {"type": "http", "status": "passing"}


@pytest.fixture
def client() -> Client:
    client = Client(":memory:")
    assert client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32"]}).status_code == 201
    assert client.ask("PUT", PATH, {}).status_code == 201
    return client


def test_results_of_checks_come_to_the_servers_health(client: Client) -> None:
    checks = [
        HTTP | {"port": 8080, "detail": "/health", "output": "status 200", "interval_s": 0.5},
        {"type": "agent", "status": "critical", "output": "down: on purpose"},
    ]
    assert client.ask("PUT", f"{PATH}/checks", {"checks": checks}).status_code == 204
    assert client.facts.reported == [("web", packed("10.2.0.10"), [
        Reported(CheckName("http", 8080, "/health"), CheckResult(True, "status 200"), 0.5),
        Reported(CheckName("agent"), CheckResult(False, "down: on purpose")),
    ])]  # fmt: skip


def test_an_agent_that_begins_anew_says_so_by_an_empty_list(client: Client) -> None:
    assert client.ask("PUT", f"{PATH}/checks", {"checks": []}).status_code == 204
    assert client.facts.reported == [("web", packed("10.2.0.10"), [])]


@pytest.mark.parametrize(
    ("check", "field"),
    [
        ({"type": "http"}, "checks[0].status"),
        (HTTP | {"status": "warning"}, "checks[0].status"),
        (HTTP | {"type": "tcp"}, "checks[0].type"),
        (HTTP | {"type": "lease"}, "checks[0].type"),
        (HTTP | {"type": "HTTP\n"}, "checks[0].type"),
        (HTTP | {"port": 0}, "checks[0].port"),
        (HTTP | {"port": 70000}, "checks[0].port"),
        (HTTP | {"output": "x" * 501}, "checks[0].output"),
        (HTTP | {"detail": "x" * 201}, "checks[0].detail"),
        (HTTP | {"interval_s": 0.1}, "checks[0].interval_s"),
        (HTTP | {"interval_s": 1e9}, "checks[0].interval_s"),
        (HTTP | {"since": "now"}, "checks[0].since"),
        ("http", "checks[0]"),
    ],
)
def test_what_is_no_result_is_refused_with_its_place(check: Any, field: str, client: Client) -> None:
    assert client.refused(422, "PUT", f"{PATH}/checks", {"checks": [check]})["field"] == field
    assert client.facts.reported == []


def test_a_flood_of_checks_is_refused(client: Client) -> None:
    client.refused(422, "PUT", f"{PATH}/checks", {"checks": [HTTP] * 17})


def test_reports_about_servers_that_are_not_enrolled_are_refused(client: Client) -> None:
    for path in ("/v1/groups/web/servers/10.2.0.11/checks", "/v1/groups/nix/servers/10.2.0.10/checks"):
        client.refused(404, "PUT", path, {"checks": [HTTP]})
    assert client.facts.reported == []


def test_a_load_comes_to_selection(client: Client) -> None:
    load: dict[str, Any] = {"sessions": 12, "cpu": 0.5, "memory": 1, "disk": 0, "network": 0.25, "ttl_s": 15}
    assert client.ask("PUT", f"{PATH}/load", load).status_code == 204
    assert client.ask("PUT", f"{PATH}/load", {"cpu": 0.5}).status_code == 204
    server = packed("10.2.0.10")
    assert client.facts.loads == [(server, LoadReport(**load)), (server, LoadReport(cpu=0.5))]


def test_a_load_is_that_of_both_addresses_of_a_server(client: Client) -> None:
    client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})
    client.ask("PUT", PATH, {"addresses": ["10.2.0.10", "2001:db8:2::10"]})
    assert client.ask("PUT", f"{PATH}/load", {"cpu": 0.5}).status_code == 204
    both = packed("10.2.0.10"), packed("2001:db8:2::10")
    assert client.facts.loads == [(address, LoadReport(cpu=0.5)) for address in both]


@pytest.mark.parametrize(
    ("load", "field"),
    [
        ({"cpu": -0.1}, "cpu"), ({"cpu": 1.1}, "cpu"), ({"memory": "0.5"}, "memory"), ({"disk": True}, "disk"),
        ({"network": 1e300}, "network"), ({"sessions": -1}, "sessions"), ({"sessions": 1.5}, "sessions"),
        ({"sessions": 10**9}, "sessions"), ({"ttl_s": 0}, "ttl_s"), ({"ttl_s": 86400}, "ttl_s"), ({"load": 1}, "load"),
    ],
)  # fmt: skip
def test_what_is_no_load_is_refused_with_its_place(load: Any, field: str, client: Client) -> None:
    assert client.refused(422, "PUT", f"{PATH}/load", load)["field"] == field
    client.refused(400, "PUT", f"{PATH}/load", b'{"cpu": NaN}')
    assert client.facts.loads == []


def test_a_load_of_a_server_that_is_not_enrolled_is_refused(client: Client) -> None:
    client.refused(404, "PUT", "/v1/groups/web/servers/10.2.0.11/load", {"cpu": 0.5})
