"""If-Match and If-None-Match: conflicting changes lose nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from anycast_sdn.api.conditions import Condition, entity_tag
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.rest import RestApi
from tests.unit.rest_client import Client

GROUP = "/v1/groups/web"
SERVER = f"{GROUP}/servers/10.2.0.10"
PREFIXES = {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]}
BODIES: dict[str, dict[str, Any]] = {GROUP: PREFIXES | {"affinity": "client"}, SERVER: {"weight": 7}}


@pytest.fixture
def client() -> Client:
    client = Client(":memory:")
    client.ask("PUT", GROUP, PREFIXES)
    client.ask("PUT", SERVER, {})
    return client


def tag(client: Client, path: str) -> str:
    return str(client.ask("GET", path).headers["ETag"])


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_change_is_made_only_to_what_its_client_has_read(client: Client, method: str, path: str) -> None:
    read = tag(client, path)
    assert client.ask("PATCH", path, BODIES[path], HTTP_IF_MATCH=read).status_code == 200
    changed = tag(client, path)
    assert changed != read
    client.refused(412, method, path, BODIES[path], HTTP_IF_MATCH=read)
    client.refused(412, method, path, BODIES[path], HTTP_IF_MATCH=f"W/{changed}")
    client.refused(412, method, path, BODIES[path], HTTP_IF_NONE_MATCH=changed)
    answer = client.ask(method, path, BODIES[path], HTTP_IF_MATCH=f'"other", {changed}')
    assert answer.status_code == (204 if method == "DELETE" else 200)


@pytest.mark.parametrize("path", BODIES)
def test_a_change_is_answered_with_the_tag_of_what_it_has_made(client: Client, path: str) -> None:
    for method in ("PUT", "PATCH"):
        assert client.ask(method, path, BODIES[path]).headers["ETag"] == tag(client, path)
    new = client.ask("POST", "/v1/groups", {"name": "dns", "prefixes": ["198.18.0.53/32"]})
    assert new.headers["ETag"] == tag(client, "/v1/groups/dns")


def test_a_tag_stands_for_what_is_set_and_for_nothing_else(client: Client) -> None:
    server, group = tag(client, SERVER), tag(client, GROUP)
    client.facts.server_flows = 99
    assert (tag(client, SERVER), tag(client, GROUP)) == (server, group)
    client.ask("PUT", SERVER, {"weight": 9})
    assert tag(client, SERVER) != server
    assert tag(client, GROUP) == group  # its servers are changed one by one
    client.ask("PUT", SERVER, {})
    assert tag(client, SERVER) == server


@pytest.mark.parametrize("path", ["/v1/groups/dns", f"{GROUP}/servers/10.2.0.11"])
def test_put_creates_only_what_there_is_not_if_it_is_asked_to(client: Client, path: str) -> None:
    body = {"prefixes": ["198.18.0.53/32"]} if path.endswith("dns") else {}
    client.refused(412, "PUT", path, body, HTTP_IF_MATCH="*")
    client.refused(412, "PUT", path, body, HTTP_IF_MATCH='"a"')
    assert client.ask("PUT", path, body, HTTP_IF_NONE_MATCH="*").status_code == 201
    client.refused(412, "PUT", path, body, HTTP_IF_NONE_MATCH="*")
    assert client.ask("PUT", path, body, HTTP_IF_MATCH="*").status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_changes_without_a_condition_are_refused_where_the_operator_wants_one(client: Client, path: str) -> None:
    client.api = RestApi(client.registry, client.facts, client.life, require_match=True)
    for method in ("PUT", "PATCH", "DELETE"):
        client.refused(428, method, path, BODIES[path])
    assert client.ask("PUT", f"{GROUP}/servers/10.2.0.11", {}).status_code == 201  # nothing can be lost by it
    assert client.ask("PUT", path, BODIES[path], HTTP_IF_MATCH=tag(client, path)).status_code == 200
    assert client.ask("DELETE", path, HTTP_IF_MATCH="*").status_code == 204


def test_what_has_no_tag_matches_none(client: Client) -> None:
    client.api = RestApi(client.registry, client.facts, client.life, require_match=True)
    for method, path, body in (
        ("POST", f"{GROUP}/servers", {"address": "10.2.0.12"}),
        ("DELETE", "/v1/flows?edge=arh1", None),
        ("PATCH", "/v1/topology/links/arh1:1", {"cost": 2}),
    ):
        client.refused(412, method, path, body, HTTP_IF_MATCH='"a"')
        client.refused(412, method, path, body, HTTP_IF_NONE_MATCH="*")
        assert client.ask(method, path, body, HTTP_IF_MATCH="*").status_code < 300
    assert client.ask("GET", GROUP, HTTP_IF_NONE_MATCH=tag(client, GROUP)).status_code == 200


@pytest.mark.parametrize("value", ["", "abc", '"', 'W/"', '"a" "b" x', "*, *", "," + 30_000 * " " + "x"])
def test_a_malformed_condition_is_not_met(client: Client, value: str) -> None:
    for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
        client.refused(412, "PUT", SERVER, {}, **{name: value})


def test_a_condition_is_checked_again_when_another_controller_was_faster() -> None:
    here = Client(":memory:")
    here.ask("PUT", GROUP, PREFIXES)
    here.ask("PUT", SERVER, {})
    there = Client(":memory:", shared=here.store)  # type: ignore[arg-type]
    read = tag(here, SERVER), tag(here, GROUP)
    here.store.watch(lambda stored: None)  # deaf: it learns of others' changes only when it makes one itself
    there.ask("PATCH", SERVER, {"weight": 5})
    there.ask("PATCH", GROUP, {"affinity": "client"})
    for method in ("PUT", "PATCH", "DELETE"):
        assert here.ask(method, SERVER, {"weight": 3}, HTTP_IF_MATCH=read[0]).status_code == 412
        assert here.ask(method, GROUP, PREFIXES, HTTP_IF_MATCH=read[1]).status_code == 412
    assert here.get(SERVER)["weight"] == 5


@given(st.text(st.characters(max_codepoint=255)))
def test_any_field_is_met_or_not(value: str) -> None:
    condition = Condition(Request.blank("/", environ={"HTTP_IF_MATCH": value}), required=False)
    with suppress(Problem):
        condition.check(lambda: entity_tag({}))
