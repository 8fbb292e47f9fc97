"""Drains, operations and leases over REST."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_sdn.core.model import AfterDrain, AtDeadline, packed
from tests.unit.rest_client import Client

GROUP = "/v1/groups/web"
SERVER = f"{GROUP}/servers/10.2.0.10"
AS2 = packed("10.2.0.10")


@pytest.fixture
def client() -> Client:
    client = Client(":memory:")
    client.ask("PUT", GROUP, {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})
    client.ask("PUT", SERVER, {})
    return client


def test_a_drain_begins_an_operation_that_says_when_it_has_ended(client: Client) -> None:
    begun = client.ask("POST", f"{SERVER}/drain", {"deadline_s": 60, "then": "remove", "at_deadline": "keep"})
    assert (begun.status_code, begun.headers["Location"]) == (202, "http://localhost/v1/operations/d1")
    running = {
        **{"id": "d1", "kind": "drain-server", "state": "running", "edge": "ars2", "group": "web"},
        **{"addresses": ["10.2.0.10"], "flows_at_start": None, "flows_left": None, "reason": "", "ended": None},
        **{"since": "2023-11-14T22:13:20.000Z", "deadline": "2023-11-14T22:14:20.000Z"},
    }
    assert begun.json == client.get("/v1/operations/d1") == running
    assert client.get("/v1/operations") == {"operations": [running]}
    drain = client.registry.server("web", AS2).drain
    assert drain
    assert (drain.deadline_s, drain.then, drain.at_deadline) == (60, AfterDrain.REMOVE, AtDeadline.KEEP)
    shown = client.get(SERVER)
    assert shown["state"] == "draining"
    assert shown["drain"] == {
        **{"operation": "d1", "since": running["since"], "deadline": running["deadline"]},
        **{"then": "remove", "at_deadline": "keep", "flows_at_start": None, "flows_left": None},
    }
    client.life.end("d1")
    assert client.get("/v1/operations/d1?wait=60")["state"] == "succeeded"
    assert client.life.waited[-1] == 60


def test_a_drain_needs_no_body(client: Client) -> None:
    assert client.ask("POST", f"{SERVER}/drain", CONTENT_TYPE="").status_code == 202
    assert client.ask("POST", f"{SERVER}/drain", {}).status_code == 202
    assert client.ask("POST", "/v1/edges/ars2/drain", CONTENT_TYPE="").status_code == 202


def test_an_edge_is_drained_and_resumed(client: Client) -> None:
    begun = client.ask("POST", "/v1/edges/ars2/drain", {"deadline_s": 5})
    assert begun.json["kind"] == "drain-edge"
    assert (begun.json["group"], begun.json["addresses"]) == (None, [])
    assert client.registry.edges["ars2"].deadline_s == 5
    assert client.ask("POST", "/v1/edges/ars2/resume").status_code == 204
    assert not client.registry.edges
    for verb in ("drain", "resume"):
        client.refused(404, "POST", f"/v1/edges/arh9/{verb}")
        client.refused(405, "GET", f"/v1/edges/ars2/{verb}")


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("deadline_s", {"deadline_s": -1}),
        ("deadline_s", {"deadline_s": "5"}),
        ("deadline_s", {"deadline_s": True}),
        ("deadline_s", {"deadline_s": 1e300}),
        ("then", {"then": "delete"}),
        ("then", {"then": None}),
        ("at_deadline", {"at_deadline": 0}),
        ("state", {"state": "draining"}),
    ],
)
def test_an_impossible_drain_is_refused(client: Client, field: str, body: Any) -> None:
    assert client.refused(422, "POST", f"{SERVER}/drain", body)["field"] == field
    client.refused(400, "POST", f"{SERVER}/drain", b'{"deadline_s": NaN}')


@pytest.mark.parametrize("query", ["wait=-1", "wait=601", "wait=1e3", "wait=", "wait=NaN", "wait=1&wait=2", "for=1"])
def test_an_impossible_wait_is_refused(client: Client, query: str) -> None:
    client.ask("POST", f"{SERVER}/drain", {})
    client.refused(400, "GET", f"/v1/operations/d1?{query}")
    client.refused(404, "GET", "/v1/operations/d2")



def test_a_lease_is_given_renewed_shown_and_ended(client: Client) -> None:
    client.refused(404, "PUT", f"{SERVER}/lease")
    lease = {"ttl_s": 30.0, "deregister_after_s": 60.0}
    assert client.ask("PUT", f"{SERVER}/lease", lease).json == lease | {"left_s": 30.0}
    shown, changes = client.get(SERVER), len(client.sent)
    assert (shown["lease"], shown["lease_left_s"]) == (lease, 30.0)
    client.life.left.clear()
    assert client.ask("PUT", f"{SERVER}/lease", CONTENT_TYPE="").json["left_s"] == 30.0
    assert len(client.sent) == changes  # a renewal is not stored
    assert client.ask("PUT", SERVER, shown).json["lease"] == lease
    assert client.ask("PATCH", SERVER, {"lease": None}).json["lease"] is None


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("ttl_s", {}),
        ("ttl_s", {"ttl_s": 0}),
        ("ttl_s", {"ttl_s": None}),
        ("ttl_s", {"ttl_s": 1e9}),
        ("deregister_after_s", {"ttl_s": 5, "deregister_after_s": -1}),
        ("left_s", {"ttl_s": 5, "left_s": 5}),
    ],
)
def test_an_impossible_lease_is_refused(client: Client, field: str, body: Any) -> None:
    assert client.refused(422, "PUT", f"{SERVER}/lease", body)["field"] == field


# ------------------------------------------------------------------------------ both addresses

BOTH = ["10.2.0.20", "2001:db8:2::20"]


def test_a_server_is_enrolled_by_both_of_its_addresses(client: Client) -> None:
    assert client.ask("POST", f"{GROUP}/servers", {"addresses": BOTH, "weight": 3}).status_code == 201
    for address in BOTH:
        shown = client.get(f"{GROUP}/servers/{address}")
        assert (shown["address"], shown["addresses"], shown["weight"]) == (address, BOTH, 3)
        assert client.ask("PUT", f"{GROUP}/servers/{address}", shown).json == shown
    client.ask("PATCH", f"{GROUP}/servers/{BOTH[1]}", {"weight": 4})
    assert client.get(f"{GROUP}/servers/{BOTH[0]}")["weight"] == 4
    assert client.ask("PUT", f"{GROUP}/servers/{BOTH[0]}", {}).json["addresses"] == BOTH
    client.ask("DELETE", f"{GROUP}/servers/{BOTH[1]}")
    client.refused(404, "GET", f"{GROUP}/servers/{BOTH[0]}")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_the_other_address_may_be_given_later(client: Client, method: str) -> None:
    both = ["2001:db8:2::10", "10.2.0.10"]
    assert client.ask(method, SERVER, {"addresses": both}).json["addresses"] == ["10.2.0.10", "2001:db8:2::10"]
    assert client.get(f"{GROUP}/servers/2001:db8:2::10")["addresses"] == ["10.2.0.10", "2001:db8:2::10"]
    assert client.refused(422, method, SERVER, {"addresses": ["10.2.0.10"]})["field"] == "addresses"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "", {"addresses": ["10.2.0.20"]}, "addresses"),
        ("POST", "", {"addresses": [*BOTH, "10.2.0.21"]}, "addresses"),
        ("POST", "", {"addresses": BOTH, "address": BOTH[0]}, "address"),
        ("POST", "", {"addresses": ["10.2.0.20", "10.2.0.21"]}, "addresses"),
        ("POST", "", {"addresses": ["10.2.0.20", 7]}, "addresses[1]"),
        ("PUT", "/10.2.0.10", {"addresses": BOTH}, "addresses"),
        ("PUT", "/10.2.0.10", {"addresses": []}, "addresses"),
    ],
)
def test_addresses_that_cannot_be_one_servers_are_refused(
    client: Client, method: str, path: str, body: Any, field: str
) -> None:
    assert client.refused(422, method, f"{GROUP}/servers{path}", body)["field"] == field
