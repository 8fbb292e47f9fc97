"""What a token may do with each resource: those of one group, one server, and those who may read or do everything."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from anycast_sdn.api.access import CALLER
from anycast_sdn.api.resources import OPERATIONS
from anycast_sdn.api.tokens import NOBODY, Caller, Need
from anycast_sdn.core.model import packed
from tests.unit.rest_client import Client

OWN, TWIN, OTHER = "10.2.0.10", "2001:db8:2::10", "10.2.0.11"
SERVERS = "/v1/groups/web/servers"

READER = Caller("reader", frozenset({"read"}))
WEB = Caller("web", frozenset({"enrol:web"}))
ALL_GROUPS = Caller("all", frozenset({"enrol:*"}))
BOUND = Caller("web1", frozenset({"enrol:web"}), frozenset({packed(OWN)}))
BOTH = Caller("web2", frozenset({"enrol:web"}), frozenset({packed(OWN), packed(TWIN)}))


@pytest.fixture
def client() -> Client:
    client = Client(":memory:")
    client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})
    client.ask("PUT", "/v1/groups/dns", {"prefixes": ["198.18.0.53/32"]})
    for group in ("web", "dns"):
        for server in (OWN, OTHER):
            assert client.ask("PUT", f"/v1/groups/{group}/servers/{server}", {}).status_code == 201
    return client


def status(client: Client, who: Caller, method: str, path: str, body: Any = None) -> int:
    return int(client.ask(method, path, body, **{CALLER: who}).status_code)


def path_of(operation: Any, group: str = "web", address: str = OTHER) -> str:
    values = {"group": group, "address": address, "edge": "arh1", "number": "1", "switch": "arh1", "end": "arh1:1",
              "id": "d1", "member": "m1"}  # fmt: skip
    return re.sub(r"{(\w+)}", lambda variable: values[variable[1]], operation.path)


def test_nobody_is_asked_for_a_token_by_all_that_needs_one(client: Client) -> None:
    before = client.registry.groups
    for operation in OPERATIONS:
        wanted = (200, 503) if operation.needs is Need.NOTHING else (401,)
        assert status(client, NOBODY, operation.method, path_of(operation)) in wanted, operation.path
    assert status(client, NOBODY, "GET", "/nonsense") == 401
    assert status(client, NOBODY, "POST", "/v1/topology") == 401
    assert client.registry.groups is before


def test_whoever_asks_learns_what_it_may_do(client: Client) -> None:
    assert client.ask("GET", "/v1/caller", **{CALLER: READER}).json == {"name": "reader", "scopes": ["read"]}


def test_a_reader_changes_nothing(client: Client) -> None:
    before = client.registry.groups
    for operation in OPERATIONS:
        answered = status(client, READER, operation.method, path_of(operation))
        assert (answered == 403) is (operation.method != "GET"), operation.path
    assert client.registry.groups is before


def test_what_changes_more_than_servers_of_one_group_is_for_administrators(client: Client) -> None:
    """A new resource has to have a need that fits it."""
    for operation in OPERATIONS:
        of_servers = operation.path.startswith("/v1/groups/{group}/servers")
        if operation.method != "GET":
            assert operation.needs is (Need.ENROL if of_servers else Need.ADMIN), operation.path
        for who in (WEB, ALL_GROUPS, BOUND):
            if operation.needs is Need.ADMIN:
                assert status(client, who, operation.method, path_of(operation)) == 403, operation.path


def test_a_token_of_one_group_is_refused_by_all_of_another(client: Client) -> None:
    before = client.registry.groups
    for operation in OPERATIONS:
        if "{group}" in operation.path:
            assert status(client, WEB, operation.method, path_of(operation, "dns", OWN)) == 403, operation.path
        if "{address}" in operation.path:
            assert status(client, BOUND, operation.method, path_of(operation, "web", OTHER)) == 403, operation.path
            assert status(client, BOUND, operation.method, path_of(operation, "dns", OWN)) == 403, operation.path
    assert client.registry.groups is before


def test_a_bound_token_makes_no_other_server_the_twin_of_its_own(client: Client) -> None:
    for method in ("PUT", "PATCH"):
        own = f"{SERVERS}/{OWN}"
        assert status(client, BOUND, method, own, {"addresses": [OWN, TWIN]}) == 403
        assert client.registry.server("web", packed(OWN)).twin is None
    assert status(client, BOUND, "PUT", f"{SERVERS}/{OWN}", {"addresses": [OWN]}) == 200
    assert status(client, BOTH, "PUT", f"{SERVERS}/{OWN}", {"addresses": [OWN, TWIN]}) == 200
    assert client.registry.server("web", packed(OWN)).twin == packed(TWIN)


def test_a_bound_token_sees_its_group_and_of_its_servers_its_own(client: Client) -> None:
    """An agent has to know which checks are its own to make."""

    def seen(who: Caller, group: str) -> Any:
        answer = client.ask("GET", f"/v1/groups/{group}", **{CALLER: who})
        return [each["address"] for each in answer.json["servers"]] if answer.status_code == 200 else answer.status_code

    for who in (READER, WEB, ALL_GROUPS):
        assert seen(who, "web") == [OWN, OTHER]
    assert seen(BOUND, "web") == seen(BOTH, "web") == [OWN]
    for who in (WEB, BOUND, BOTH):
        assert seen(who, "dns") == seen(who, "absent") == 403
    assert seen(Caller("x", frozenset({"enrol:dns"}), frozenset({packed(OWN)})), "web") == 403
    assert seen(NOBODY, "web") == 401
    assert client.ask("GET", "/v1/groups/web", **{CALLER: BOUND}).json["prefixes"]


def test_whoever_drains_a_server_sees_its_operation_and_no_other(client: Client) -> None:
    drain = client.ask("POST", f"{SERVERS}/{OWN}/drain", {}, **{CALLER: BOUND})
    assert drain.status_code == 202
    operation = f"/v1/operations/{drain.json['id']}"
    for who, wanted in (
        (BOUND, 200), (BOTH, 200), (WEB, 200), (ALL_GROUPS, 200), (READER, 200), (NOBODY, 401),
        (Caller("x", frozenset({"enrol:dns"})), 403),
        (Caller("x", frozenset({"enrol:web"}), frozenset({packed(OTHER)})), 403),
    ):  # fmt: skip
        client.life.waited.clear()
        assert status(client, who, "GET", f"{operation}?wait=60") == wanted, who
        assert (60 in client.life.waited) is (wanted == 200)  # nobody waits in vain
        assert status(client, who, "GET", "/v1/operations") == {200: 403, 403: 403, 401: 401}[wanted] or who is READER
    client.ask("POST", "/v1/edges/ars2/drain", {})
    assert status(client, WEB, "GET", "/v1/operations/e1") == 403
    assert status(client, READER, "GET", "/v1/operations/e1") == 200


def test_a_report_of_load_counts_in_the_groups_of_its_token_alone(client: Client) -> None:
    """Otherwise who enrols another group's server in its own could keep it from its flows there."""
    for who, counts in ((WEB, [True, False]), (BOUND, [True, False]), (ALL_GROUPS, [True, True])):
        assert status(client, who, "PUT", f"{SERVERS}/{OWN}/load", {"cpu": 1.0}) == 204
        assert [client.facts.counts_in(group) for group in ("web", "dns")] == counts


@pytest.mark.parametrize("group", ["gr\u00f6\u00dfe", "\u65e5\u672c", 'a"b', "a;b", "x" * 100, "*"])
def test_a_refusal_is_one_whatever_the_path_says(group: str, client: Client) -> None:
    refused = client.ask("GET", f"/v1/groups/{quote(group)}/servers/x", **{CALLER: WEB})
    assert refused.status_code == 403
    refused.headers["WWW-Authenticate"].encode("ascii")
    assert refused.headers["WWW-Authenticate"].count('"') == 6
