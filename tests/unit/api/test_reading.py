"""REST requests: what GET shows can be sent back, and an error names the member or parameter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webob import Request

from anycast_sdn.api import reading
from anycast_sdn.api.models import NewGroup
from anycast_sdn.api.problems import Problem
from tests.unit.rest_client import Client

SERVER = "/v1/groups/web/servers/2001:db8:2::10"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(str(tmp_path / "db"))
    client.ask("POST", "/v1/groups", {"name": "web", "prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})
    client.ask("PUT", "/v1/groups/web/servers/10.2.0.10", {})
    client.ask("PUT", SERVER, {"weight": 7, "state": "draining"})
    yield client
    client.store.close()


# ------------------------------------------------------------------------------ sending back what is shown


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v1/groups/web"), ("PUT", SERVER), ("PATCH", SERVER), ("PATCH", "/v1/topology/links/arh1:1")],
)
def test_the_answer_to_get_can_be_sent_back_and_changes_nothing(client: Client, method: str, path: str) -> None:
    shown, before = client.get(path), client.registry.groups
    answer = client.ask(method, path, shown)
    assert (answer.status_code, answer.json) == (200, shown)
    assert client.registry.groups is before


def test_a_deleted_group_is_created_again_from_its_answer_to_get_without_servers(client: Client) -> None:
    shown = client.get("/v1/groups/web")
    client.ask("DELETE", "/v1/groups/web")
    assert client.refused(422, "PUT", "/v1/groups/web", shown)["field"] == "servers"
    assert client.ask("PUT", "/v1/groups/web", shown | {"servers": []}).status_code == 201
    assert client.ask("PUT", SERVER, shown["servers"][1]).status_code == 201
    assert client.get("/v1/groups/web")["servers"] == shown["servers"][1:]


def test_members_that_change_by_themselves_may_be_sent_back_with_other_values(client: Client) -> None:
    server = client.get(SERVER) | {"flows": 99, "reachable": False}
    assert client.ask("PUT", SERVER, server).status_code == 200
    group = client.get("/v1/groups/web")
    group["servers"] = [group["servers"][0] | {"flows": 99}, server]
    assert client.ask("PUT", "/v1/groups/web", group).status_code == 200
    link = client.get("/v1/topology/links/arh1:1") | {"state": "down", "cost": 5}
    assert client.ask("PATCH", "/v1/topology/links/arh1:1", link).json["cost"] == 5


def test_an_address_and_the_order_of_servers_may_be_written_in_another_way(client: Client) -> None:
    spelled = client.get(SERVER) | {"address": "2001:DB8:2:0::10"}
    assert client.ask("PUT", SERVER, spelled).status_code == 200
    group = client.get("/v1/groups/web")
    group["servers"] = [spelled, {"address": "10.2.0.10"}]
    assert client.ask("PUT", "/v1/groups/web", group).status_code == 200


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        (SERVER, {"address": "2001:db8:2::11"}, "address"),
        (SERVER, {"edge": "ars9"}, "edge"),
        (SERVER, {"edge": None}, "edge"),
        (SERVER, {"colour": "red"}, "colour"),
        ("/v1/groups/web", {"name": "dns"}, "name"),
        ("/v1/groups/web", {"servers": []}, "servers"),
        ("/v1/groups/web", {"servers": {}}, "servers"),
        ("/v1/groups/web", {"servers": [{"address": "10.2.0.10"}, {"address": "10.2.0.10"}]}, "servers"),
        ("/v1/groups/web", {"servers": [{"address": "10.2.0.10", "weight": 2}]}, "servers[0].weight"),
        ("/v1/groups/web", {"servers": [{"address": "10.2.0.10", "edge": "ars9"}]}, "servers[0].edge"),
        ("/v1/groups/web", {"servers": [{"address": "10.2.0.10"}, {"weight": 1}]}, "servers[1]"),
        ("/v1/groups/web", {"servers": [{"address": "nonsense"}]}, "servers[0].address"),
        ("/v1/groups/web", {"servers": [{"address": "10.2.0.10", "colour": 1}]}, "servers[0].colour"),
    ],
)
def test_read_only_members_cannot_be_changed(client: Client, path: str, changes: Any, field: str) -> None:
    assert client.refused(422, "PUT", path, client.get(path) | changes)["field"] == field


def test_the_link_in_the_path_cannot_be_made_another(client: Client) -> None:
    path = "/v1/topology/links/arh1:1"
    assert client.refused(422, "PATCH", path, client.get(path) | {"ends": ["a:1", "b:1"]})["field"] == "ends"
    assert client.refused(422, "PATCH", path, {"cost": 65536})["field"] == "cost"
    client.refused(404, "GET", "/v1/topology/links/arh1:2")
    client.refused(404, "GET", "/v1/topology/links/arh1")


# ------------------------------------------------------------------------------ values


@pytest.mark.parametrize(("weight", "read"), [("586.0", 586), ("5e2", 500), ("5E+2", 500), ("10e-1", 1), ("1", 1)])
def test_a_whole_number_is_accepted_in_every_notation_of_json(client: Client, weight: str, read: int) -> None:
    assert client.ask("PUT", SERVER, f'{{"weight": {weight}}}'.encode()).json["weight"] == read
    assert type(client.get(SERVER)["weight"]) is int


@pytest.mark.parametrize("weight", ["586.5", "1e400", "-1e400", "true", '"1"', "null", "1e-1", "-1.0", "1e300"])
def test_any_other_number_is_refused_by_the_name_of_its_member(client: Client, weight: str) -> None:
    assert client.refused(422, "PUT", SERVER, f'{{"weight": {weight}}}'.encode())["field"] == "weight"


@pytest.mark.parametrize(
    "media_type",
    [
        *("Application/JSON", "APPLICATION/JSON;charset=UTF-8", 'application/json ; Charset="utf-8"'),
        *("application/json; profile=x", "application/json;"),
    ],
)
def test_media_types_are_case_insensitive(client: Client, media_type: str) -> None:
    assert client.ask("PUT", SERVER, {}, CONTENT_TYPE=media_type).status_code == 200


@pytest.mark.parametrize(
    ("media_type", "coding"),
    [
        *(("application/json; charset=latin-1", ""), ("application/json; charset=utf-16", "")),
        *(("application/json, text/plain", ""), ("application/json/x", ""), ("application/json", "gzip")),
    ],
)
def test_bodies_other_than_json_in_utf_8_are_refused(client: Client, media_type: str, coding: str) -> None:
    client.refused(415, "PUT", SERVER, {}, CONTENT_TYPE=media_type, HTTP_CONTENT_ENCODING=coding)


@pytest.mark.parametrize(
    ("status", "field", "method", "path", "body"),
    [
        (422, "address", "POST", "/v1/groups/web/servers", {"address": "2001:db8:2::66%eth0"}),
        (422, "address", "POST", "/v1/groups/web/servers", {"address": "10.2.0.11%1"}),
        (422, "prefixes[1]", "PUT", "/v1/groups/zp", {"prefixes": ["198.18.0.2/32", "2001:db8:ffff::77%eth0/128"]}),
        (422, "servers[0].address", "PUT", "/v1/groups/web", {"prefixes": [], "servers": [{"address": "fe80::1%a"}]}),
        (404, None, "PUT", "/v1/groups/web/servers/2001:db8:2::67%25eth9", {}),
        (404, None, "GET", SERVER + "%25eth9", None),
        (404, None, "DELETE", SERVER + "%25", None),
        (400, "client", "GET", "/v1/flows?client=2001:db8:1::10%25eth0", None),
        (400, "server", "GET", "/v1/flows?server=2001:db8:1::10%251", None),
        (400, "without", "GET", "/v1/topology?without=2001:db8:2::10%25eth0", None),
    ],
)
def test_zones_are_refused(
    client: Client, status: int, field: str | None, method: str, path: str, body: Any
) -> None:
    assert client.refused(status, method, path, body).get("field") == field


# ------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/v1/groups"), ("HEAD", "/v1/groups"), ("POST", "/v1/groups"), ("GET", "/healthz")),
        *(("PUT", "/v1/groups/web"), ("DELETE", "/v1/groups/web"), ("GET", "/v1/groups/web/servers")),
        *(("PATCH", SERVER), ("DELETE", SERVER), ("GET", "/v1/edges"), ("GET", "/v1/edges/arh1")),
        *(("GET", "/v1/flows"), ("GET", "/v1/topology"), ("PATCH", "/v1/topology/links/arh1:1")),
    ],
)
@pytest.mark.parametrize("query", ["x=1", "x", "Limit=1", "x=1&x=2"])
def test_an_unknown_parameter_is_refused_at_every_resource(
    client: Client, method: str, path: str, query: str
) -> None:
    if method == "HEAD":
        assert client.ask(method, f"{path}?{query}").status_code == 400
    else:
        assert client.refused(400, method, f"{path}?{query}", {})["field"] == query.partition("=")[0].partition("&")[0]


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("edge=a&edge=b", "edge"), ("cursor=!", "cursor"), ("client=x", "client"), ("&x&", "x")],
)
def test_a_parameter_that_is_at_fault_is_named(client: Client, query: str, field: str) -> None:
    assert client.refused(400, "GET", f"/v1/flows?{query}")["field"] == field


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/groups", {"name": "dns"}, "prefixes"),
        ("/v1/groups", {"name": 7, "prefixes": []}, "name"),
        ("/v1/groups", {"name": "dns", "prefixes": {}}, "prefixes"),
        ("/v1/groups", {"name": "dns", "prefixes": ["198.18.0.2/32", 7]}, "prefixes[1]"),
        ("/v1/groups", {"name": "dns", "prefixes": ["198.18.0.2/32", "x", 7]}, "prefixes[1]"),
        ("/v1/groups", {"name": "dns", "prefixes": ["192.0.2.0/24"]}, "prefixes[0]"),
        ("/v1/groups/web/servers", {"address": "10.2.0.11", "state": "asleep"}, "state"),
        ("/v1/groups/web/servers", {"address": "10.2.0.11", "edge": "ars2"}, "edge"),
        ("/v1/groups/web/servers", {}, "address"),
    ],
)
def test_a_member_that_is_at_fault_is_named(client: Client, path: str, body: Any, field: str) -> None:
    assert client.refused(422, "POST", path, body)["field"] == field


def long_body(prefixes: list[Any]) -> Request:
    body = json.dumps({"name": "long", "prefixes": prefixes}, separators=(",", ":")).encode()
    return Request.blank("/", method="POST", body=body, content_type="application/json")


def test_a_long_list_is_validated_in_parts_and_others_run_between_them() -> None:
    prefixes, turns = [f"198.18.{number >> 8}.{number & 255}/32" for number in range(3000)], list[None]()
    read = reading.content(long_body(prefixes), NewGroup, lambda: turns.append(None))
    assert read is not None
    assert [str(prefix) for prefix in read.prefixes] == prefixes
    assert len(turns) >= 3000 / reading.AT_ONCE


def test_validation_ends_at_the_first_part_that_is_wrong() -> None:
    turns = list[None]()
    with pytest.raises(Problem) as refused:
        reading.content(long_body([*["198.18.0.1/32"] * 50, *[7] * 25_000]), NewGroup, lambda: turns.append(None))
    assert refused.value.field == "prefixes[50]"
    assert len(turns) == 50 // reading.AT_ONCE


def test_an_encoded_slash_does_not_lead_to_another_resource(client: Client) -> None:
    for raw in ("/v1/groups/web%2Fservers", "/v1/groups/web%2fservers", "/v1%2Fgroups"):
        path = raw.replace("%2F", "/").replace("%2f", "/")
        client.refused(404, "GET", path, RAW_PATH_INFO=raw)


_SHOWN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["name", "servers", "prefixes", "address", "edge", "flows"]), value=_SHOWN)
def test_any_value_is_accepted_or_refused_with_its_field(client: Client, name: str, value: Any) -> None:
    for path in ("/v1/groups/web", SERVER):
        answer = client.ask("PUT", path, json.dumps(client.get(path) | {name: value}).encode())
        assert answer.status_code in (200, 409, 422), answer.text
        if answer.status_code == 422:
            assert answer.json["field"].startswith(name)
        client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})
