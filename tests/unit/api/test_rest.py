"""The REST endpoint over a real registry and store; what the controller would show is given as facts."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycast_sdn.api.reading import MAX_BODY
from anycast_sdn.core.model import ICMPV6, packed
from tests.unit.rest_client import HEALTH, LOAD, Client, flow


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(str(tmp_path / "db"))
    client.ask("POST", "/v1/groups", {"name": "web", "prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})
    client.ask("POST", "/v1/groups/web/servers", {"address": "10.2.0.10"})
    yield client
    client.store.close()


SETTINGS = {"weight": 1, "state": "active", "capacity": None, "lease": None}
AS2 = {
    **{"address": "10.2.0.10", "addresses": ["10.2.0.10"], **SETTINGS, "edge": "ars2"},
    **{"reachable": True, "flows": 3, "health": HEALTH, "load": LOAD, "shares": {"ars2": 0.25}},
    **{"effective_weight": 1.0, "excluded": None},
    **{"lease_left_s": None, "drain": None},
}
DEFAULTS = {
    **{"affinity": "flow", "on_server_loss": "repin", "validity": {}, "checks": [], "min_healthy": 0},
    **{"slow_start_s": 30.0, "selection": {"distance": "nearest", "spill_at": 0.8}},
}
WEB = {"name": "web", "prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"], **DEFAULTS, "servers": [AS2]}


# ------------------------------------------------------------------------------ groups and servers


def test_groups_and_servers_are_created_read_and_listed(client: Client) -> None:
    created = client.ask("POST", "/v1/groups", {"name": "dns", "prefixes": ["198.18.0.53/32"]})
    assert created.status_code == 201
    assert created.headers["Location"].endswith("/v1/groups/dns")
    dns = {"name": "dns", "prefixes": ["198.18.0.53/32"], **DEFAULTS, "servers": []}
    assert created.json == client.get("/v1/groups/dns") == dns
    assert client.get("/v1/groups") == {"groups": [dns, WEB]}
    assert client.get("/v1/groups/web/servers") == {"servers": [AS2]}
    assert client.get("/v1/groups/web/servers/10.2.0.10") == AS2
    assert client.sent[-1].covering(packed("198.18.0.53")) is not None


def test_put_creates_changes_and_repeats_without_effect(client: Client) -> None:
    statuses, changes = [], []
    for body in ({"weight": 2}, {"weight": 3, "state": "draining"}, {"state": "draining", "weight": 3}, {}):
        statuses.append(client.ask("PUT", "/v1/groups/web/servers/10.2.0.11", body).status_code)
        changes.append(len(client.sent))
    assert statuses == [201, 200, 200, 200]
    assert [after - changes[0] for after in changes] == [0, 1, 1, 2]
    assert client.get("/v1/groups/web/servers/10.2.0.11") == AS2 | {"address": "10.2.0.11", "addresses": ["10.2.0.11"]}
    assert [
        client.ask("PUT", "/v1/groups/dns", {"prefixes": [prefix]}).status_code
        for prefix in ("198.18.0.53/32", "198.18.0.53/32", "198.18.0.54/32")
    ] == [201, 200, 200]


def test_patch_changes_only_the_members_that_it_has(client: Client) -> None:
    client.ask("PUT", "/v1/groups/web/servers/10.2.0.10", {"weight": 9})
    patched = client.ask("PATCH", "/v1/groups/web/servers/10.2.0.10", {"state": "draining"})
    assert patched.status_code == 200
    assert patched.json == AS2 | {"weight": 9, "state": "draining"}


def test_delete_answers_204_once_and_404_afterwards(client: Client) -> None:
    for path in ("/v1/groups/web/servers/10.2.0.10", "/v1/groups/web"):
        deleted = client.ask("DELETE", path)
        assert (deleted.status_code, deleted.body) == (204, b"")
        client.refused(404, "DELETE", path)
    assert client.get("/v1/groups") == {"groups": []}


@pytest.mark.parametrize("spelling", ["2001:db8:2:0:0::10", "2001%3ADB8%3A2%3A%3A10"])
def test_an_ipv6_server_is_found_by_any_spelling_of_its_address(client: Client, spelling: str) -> None:
    created = client.ask("PUT", f"/v1/groups/web/servers/{spelling}", {})
    assert created.headers["Location"].endswith("/v1/groups/web/servers/2001:db8:2::10")
    assert client.get("/v1/groups/web/servers/2001:db8:2::10")["address"] == "2001:db8:2::10"


def test_head_answers_as_get_without_a_body(client: Client) -> None:
    head, get = client.ask("HEAD", "/v1/groups"), client.ask("GET", "/v1/groups")
    assert (head.status_code, head.body, head.headers["Content-Length"]) == (
        200,
        b"",
        get.headers["Content-Length"],
    )


# ------------------------------------------------------------------------------ refusals

_VALID_FOR_EVER = {"validity": {"udp_s": 65536}}


@pytest.mark.parametrize(
    ("status", "slug", "field", "method", "path", "body"),
    [
        (409, "already-exists", None, "POST", "", {"name": "web", "prefixes": ["198.18.0.2/32"]}),
        (409, "already-exists", None, "POST", "/web/servers", {"address": "10.2.0.10"}),
        (409, "overlap", "prefixes[1]", "PUT", "/dns", {"prefixes": ["198.18.1.0/24", "198.18.0.0/24"]}),
        (422, "outside-anycast", "prefixes[0]", "PUT", "/dns", {"prefixes": ["192.0.2.1/32"]}),
        (422, "invalid-group", "name", "PUT", "/DNS", {"prefixes": ["198.18.0.2/32"]}),
        (422, "invalid-group", "prefixes", "PUT", "/dns", {"prefixes": []}),
        (422, "server-in-client-subnet", "address", "PUT", "/web/servers/10.1.0.10", {}),
        (422, "server-outside-edges", "address", "PUT", "/web/servers/192.0.2.1", {}),
        (422, "not-a-host-address", "address", "PUT", "/web/servers/10.2.0.255", {}),
        (422, "wrong-family", "address", "PUT", "/web", {"prefixes": ["2001:db8:ffff::1/128"]}),
        (422, "invalid-weight", "weight", "PATCH", "/web/servers/10.2.0.10", {"weight": 1001}),
        (422, "invalid-validity", "validity.udp_s", "PUT", "/dns", {"prefixes": ["198.18.0.2/32"], **_VALID_FOR_EVER}),
        (422, "invalid-validity", "validity.udp_s", "PATCH", "/web", _VALID_FOR_EVER),
        (404, "not-found", None, "GET", "/dns", None),
        (404, "not-found", None, "PATCH", "/dns", {"affinity": "client"}),
        (404, "not-found", None, "GET", "/dns/servers", None),
        (404, "not-found", None, "GET", "/web/servers/10.2.0.11", None),
        (404, "not-found", None, "PATCH", "/web/servers/10.2.0.11", {}),
        (404, "not-found", None, "PUT", "/web/servers/nonsense", {}),
        (404, "not-found", None, "POST", "/dns/servers", {"address": "10.2.0.10"}),
    ],
)
def test_each_refusal_has_its_status_type_and_field(
    client: Client, status: int, slug: str, field: str | None, method: str, path: str, body: Any
) -> None:
    problem = client.refused(status, method, f"/v1/groups{path}", body)
    assert problem["type"] == f"urn:anycast-sdn:problem:{slug}"
    assert problem.get("field") == field


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/v1/groups", [], '"name", "prefixes"'),
        ("/v1/groups", {"name": "dns"}, '"prefixes" is missing'),
        ("/v1/groups", {"name": "dns", "prefixes": "198.18.0.2/32"}, "must be a valid list, not"),
        ("/v1/groups", {"name": "dns", "prefixes": [7]}, "7 is not a prefix such as"),
        ("/v1/groups", {"name": "dns", "prefixes": ["198.18.0.2/16"]}, "beyond its length, write 198.18.0.0/16"),
        ("/v1/groups", {"name": 7, "prefixes": ["198.18.0.2/32"]}, "7 is not a name: use 1-64 of a-z"),
        ("/v1/groups", {"name": "dns", "prefixes": [], "\ud800" * 99: 1}, "is not known here"),
        ("/v1/groups/web/servers", {"address": "10.2.0.11", "weight": True}, "must be a valid whole number, not true"),
        ("/v1/groups/web/servers", {"address": "10.2.0.11", "weight": 1.5}, "must be a valid whole number, not 1.5"),
        ("/v1/groups/web/servers", {"address": "10.2.0.11", "state": "asleep"}, '"asleep" is not active, draining'),
        ("/v1/groups/web/servers", {"address": "10.2.0.11", "state": []}, "[] is not active, draining"),
        ("/v1/groups/web/servers", {"address": 167903243}, "167903243 is not an IP address such as"),
        ("/v1/groups/web/servers", {"address": "10.2.0.011"}, "10.2.0.011"),
    ],
)
def test_valid_json_of_the_wrong_shape_is_unprocessable_and_says_why(
    client: Client, path: str, body: Any, detail: str
) -> None:
    assert detail in client.refused(422, "POST", path, body)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe{}",
        b'{"weight": NaN}',
        b'{"weight": 1, "weight": 2}',
        b'{"a":' * 12_000,
        b"[" * 60_000,
        b'{"weight": ' + b"9" * 9000 + b"}",
        b"\xef\xbb\xbf{}",
        b"",
    ],
)
def test_a_body_that_is_not_json_is_a_bad_request(client: Client, body: bytes) -> None:
    client.refused(400, "PUT", "/v1/groups/web/servers/10.2.0.11", body)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json2", ""]
)
def test_any_other_media_type_is_refused(client: Client, media_type: str) -> None:
    client.refused(415, "PUT", "/v1/groups/web/servers/10.2.0.11", {}, CONTENT_TYPE=media_type)


def test_a_charset_parameter_does_not_hurt(client: Client) -> None:
    json_utf8 = "application/json; charset=utf-8"
    response = client.ask("PUT", "/v1/groups/web/servers/10.2.0.11", {}, CONTENT_TYPE=json_utf8)
    assert response.status_code == 201


class CountingInput(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_body_over_the_limit_is_refused_unread_when_it_says_its_length(client: Client) -> None:
    body = CountingInput(b" " * (MAX_BODY + 1))
    environ = {"wsgi.input": body, "CONTENT_LENGTH": str(MAX_BODY + 1)}
    client.refused(413, "PUT", "/v1/groups/web/servers/10.2.0.11", **environ)
    assert body.taken == 0


def test_a_chunked_body_is_read_one_byte_past_the_limit_at_most(client: Client) -> None:
    body = CountingInput(b" " * (3 * MAX_BODY))
    environ = {"wsgi.input": body, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    client.refused(413, "PUT", "/v1/groups/web/servers/10.2.0.11", **environ)
    assert body.taken == MAX_BODY + 1


def test_a_body_that_ends_early_is_refused_even_when_it_reads_well(client: Client) -> None:
    client.refused(400, "PUT", "/v1/groups/web/servers/10.2.0.11", {}, CONTENT_LENGTH="3")


def test_a_body_of_exactly_the_limit_is_taken(client: Client) -> None:
    body = b"{}" + b" " * (MAX_BODY - 2)
    assert client.ask("PUT", "/v1/groups/web/servers/10.2.0.11", body).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/groups", {"HEAD", "GET", "POST"}),
        ("POST", "/v1/groups/web", {"HEAD", "GET", "PUT", "PATCH", "DELETE"}),
        ("POST", "/v1/groups/web/servers/10.2.0.10", {"HEAD", "GET", "PUT", "PATCH", "DELETE"}),
        ("PUT", "/v1/flows", {"HEAD", "GET", "DELETE"}),
        ("PUT", "/v1/flows/arh1/1", {"HEAD", "GET", "DELETE"}),
        ("BREW", "/healthz", {"HEAD", "GET"}),
    ],
)
def test_a_method_that_a_resource_does_not_take_is_answered_with_those_it_takes(
    client: Client, method: str, path: str, allowed: set[str]
) -> None:
    client.refused(405, method, path)
    assert set(client.ask(method, path).headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path",
    ["/u", "/v1", "/v1/groups/web/x", "/v1/groups/", "/v1//groups", "/v1/groups/web%0A", "/%FF", "/v2/flows"],
)
def test_a_path_without_a_resource_is_not_found(client: Client, path: str) -> None:
    assert client.refused(404, "GET", path)["instance"] == path


def test_a_failing_database_is_answered_with_503_not_as_a_mistake_of_the_client(client: Client) -> None:
    client.store.close()
    problem = client.refused(503, "PUT", "/v1/groups/web/servers/10.2.0.11", {})
    assert problem["type"] == "urn:anycast-sdn:problem:store-error"


def test_our_own_fault_is_logged_and_shows_no_traceback(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.facts.table.append(None)  # type: ignore[arg-type]
    problem = client.refused(500, "GET", "/v1/flows?edge=arh1")
    assert "Traceback" not in problem["detail"]
    assert "AttributeError" in caplog.text


# ------------------------------------------------------------------------------ flows, edges, health


def test_a_flow_shows_its_binding_in_text() -> None:
    client = Client(":memory:")
    client.facts.table = [
        flow(1),
        flow(2, state="unanswered", server=None, protocol=ICMPV6, client=packed("2001:db8:1::10"), idle="in"),
    ]
    first, second = client.get("/v1/flows")["flows"]
    assert first == flow(1)._asdict() | {
        "client": "10.1.0.10",
        "service": "198.18.0.1",
        "protocol": "tcp",
        "translated": "203.0.113.7",
        "server": "10.2.0.10",
        "since": "2023-11-14T22:13:20.250Z",
    }
    assert (second["client"], second["server"], second["protocol"]) == ("2001:db8:1::10", None, "icmpv6")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("edge=arh2", [11]),
        ("group=dns", [12]),
        ("client=2001:DB8:1:0::10", [13]),
        ("server=10.2.0.11", [14]),
        ("state=unanswered", [15]),
        ("state=pinned&server=10.2.0.10&edge=arh1&group=web&client=10.1.0.10", [10]),
        ("edge=nobody", []),
    ],
)
def test_flows_are_filtered(client: Client, query: str, numbers: list[int]) -> None:
    client.facts.table = [
        flow(10),
        flow(11, "arh2"),
        flow(12, group="dns"),
        flow(13, client=packed("2001:db8:1::10")),
        flow(14, server=packed("10.2.0.11")),
        flow(15, state="unanswered", server=None),
    ]
    answer = client.get(f"/v1/flows?{query}")
    assert [found["number"] for found in answer["flows"]] == numbers
    assert answer["next"] is None
    assert (answer["summary"], answer["incomplete"]) == ({"pool_exhausted": 2}, [])


def test_the_newest_flows_come_page_by_page(client: Client) -> None:
    url, seen = "/v1/flows?order=newest&limit=1&q=arh1/", []
    while url:
        answer = client.get(url)
        seen += [found["number"] for found in answer["flows"]]
        url = answer["next"]
    assert seen == [3, 2, 1]
    following = client.get("/v1/flows?order=newest&limit=1")["next"]
    assert client.refused(400, "GET", following.replace("order=newest", "order=edge"))["field"] == "cursor"
    client.refused(400, "GET", "/v1/flows?order=oldest")
    for packed_wrongly in ("[1]", '{"arh1": 1e999}', '{"arh1": null}'):
        cursor = base64.urlsafe_b64encode(packed_wrongly.encode()).decode()
        client.refused(400, "GET", f"/v1/flows?order=newest&cursor={cursor}")


def test_the_flows_that_a_filter_takes_are_ended_and_no_others(client: Client) -> None:
    kept = [flow(1), flow(2), flow(7, "arh2", group="dns")]
    client.facts.table = [*kept, *(flow(number, "arh2") for number in (3, 6, 8))]
    response = client.ask("DELETE", "/v1/flows?group=web&edge=arh2")
    assert (response.status_code, response.json) == (200, {"ended": 3})
    assert client.facts.table == kept
    assert client.ask("DELETE", "/v1/flows?server=10.9.9.9").json == {"ended": 0}


@pytest.mark.parametrize("query", ["", "?", "?limit=10", "?cursor=MSBhcmgx", "?server=10.2.0", "?state=dead"])
def test_flows_are_not_ended_without_a_filter_or_with_what_is_none(client: Client, query: str) -> None:
    before = list(client.facts.table)
    client.refused(400, "DELETE", f"/v1/flows{query}")
    assert client.facts.table == before


def test_one_flow_is_shown_and_ended_by_edge_and_number(client: Client) -> None:
    assert client.get("/v1/flows/arh2/3")["client_port"] == 40003
    response = client.ask("DELETE", "/v1/flows/arh2/3")
    assert (response.status_code, response.body) == (204, b"")
    for method in ("GET", "DELETE"):
        assert client.refused(404, method, "/v1/flows/arh2/3")["type"].endswith(":not-found")
        client.refused(404, method, "/v1/flows/arh2/x")
        client.refused(404, method, "/v1/flows/nowhere/3")
    assert len(client.facts.table) == 5


def test_pages_neither_repeat_nor_skip_a_flow_that_stays_while_others_come_and_go(client: Client) -> None:
    seen = []
    url = "/v1/flows?limit=2&state=pinned"
    while url:
        answer = client.get(url)
        seen += [(found["edge"], found["number"]) for found in answer["flows"]]
        url = answer["next"]
        client.facts.table = [kept for kept in client.facts.table if (kept.edge, kept.number) != seen[-1]]
        client.facts.table.insert(0, flow(0, state="pinned"))
    assert seen == [(edge, number) for edge in ("arh1", "arh2") for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "query",
    [
        *("colour=red", "edge=arh1&edge=arh2", "state=asleep", "client=nonsense", "server=", "edge=%FF"),
        *("limit=0", "limit=1001", "limit=-1", "limit=%D9%A1", "cursor=!", "cursor=AAAA"),
    ],
)
def test_an_invalid_query_is_a_bad_request(client: Client, query: str) -> None:
    client.refused(400, "GET", f"/v1/flows?{query}")


def test_edges_and_topology_are_the_controllers(client: Client) -> None:
    arh1 = client.facts.switches()[0] | {"drain": None}
    assert client.get("/v1/edges") == {"edges": [arh1]}
    assert client.get("/v1/edges?hosts=none") == {"edges": [arh1 | {"hosts": []}]}
    assert client.get("/v1/edges/arh1") == arh1
    assert client.get("/v1/topology") == client.facts.topology([])
    assert client.get("/v1/topology?without=ars2&without=arh1") == {"switches": []}
    assert client.get("/v1/topology?group=web&without=ars2") == {"switches": ["arh1"], "web": {}}
    assert "nowhere" in client.refused(404, "GET", "/v1/topology?without=nowhere")["detail"]
    assert "with" in client.refused(400, "GET", "/v1/topology?with=ars2")["detail"]
    client.refused(404, "GET", "/v1/edges/arh9")
    assert client.get("/v1/switches") == {"switches": [client.get("/v1/switches/arh1")]}
    assert client.get("/v1/switches/arh1")["roles"][0]["families"] == ["ipv4"]
    client.refused(404, "GET", "/v1/switches/arh9")
    assert client.ask("POST", "/v1/switches/arh1/probe").json == client.get("/v1/switches/arh1")
    assert client.facts.examined == "arh1"


def test_servers_come_in_pages_the_worst_first(client: Client) -> None:
    for last in (11, 12, 13):
        client.ask("POST", "/v1/groups/web/servers", {"address": f"10.2.0.{last}"})
    path, pages = "/v1/groups/web/servers?limit=2", []
    while path:
        page = client.get(path)
        pages.append([server["address"] for server in page["servers"]])
        path = page["next"]
    assert pages == [["10.2.0.11", "10.2.0.13"], ["10.2.0.10", "10.2.0.12"]]
    critical = client.get("/v1/groups/web/servers?status=critical")
    assert [server["address"] for server in critical["servers"]] == ["10.2.0.11", "10.2.0.13"]
    assert client.get("/v1/groups/web/servers").keys() == {"servers"}
    for query in ("limit=0", "cursor=x", "cursor=AAAA", "status=ill"):
        client.refused(400, "GET", f"/v1/groups/web/servers?{query}")


def test_services_are_the_controllers(client: Client) -> None:
    assert client.get("/v1/services") == {"services": []}


def test_health_is_503_unless_all_is_well(client: Client) -> None:
    assert client.get("/healthz") == {"status": "ok"}
    client.facts.status = "switch arh1 is away"
    response = client.ask("GET", "/healthz")
    assert (response.status_code, response.json) == (503, {"status": "switch arh1 is away"})
    client.facts.status = "degraded"
    response = client.ask("GET", "/v1/health")
    assert (response.status_code, response.json) == (200, {"status": "degraded"})


def test_a_controller_is_ready_when_it_has_started_whatever_the_network_is_like(client: Client) -> None:
    for status, ready in (("starting", 503), ("degraded", 200), ("ok", 200)):
        client.facts.status = status
        assert client.ask("GET", "/readyz").status_code == ready
        assert client.get("/livez") == {"status": "ok"}


# ------------------------------------------------------------------------------ whatever arrives

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["name", "prefixes"]), inner),
)
_MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["dns", "web", "A", ""]) | _JSON,
        "prefixes": st.lists(st.sampled_from(["198.18.0.1/32", "::/0", "198.18.0.1/8"]) | _JSON) | _JSON,
        "address": st.sampled_from(["10.2.0.9", "fe80::1%lo", "::ffff:10.2.0.9"]) | _JSON,
        "weight": st.integers() | _JSON,
        "state": st.sampled_from(["active", "draining"]) | _JSON,
    },
)
_BODIES = st.binary() | (_JSON | _MEMBERS).map(lambda value: json.dumps(value).encode())
_SEGMENTS = st.sampled_from(
    ["v1", "groups", "web", "servers", "10.2.0.10", "2001:db8:2::10", "flows", "edges", "healthz", ""]
) | st.binary(max_size=8).map(lambda raw: raw.decode("latin-1"))
_RESOURCES = st.sampled_from(
    ["/v1/groups", "/v1/groups/web", "/v1/groups/web/servers", "/v1/groups/web/servers/2001:db8:2::10"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    | st.text("ABCXYZ_", min_size=1),
    path=_RESOURCES | st.lists(_SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)),
    query=st.sampled_from(["", "limit=", "cursor="]).flatmap(
        lambda start: st.text(st.characters(max_codepoint=255), max_size=20).map(lambda rest: start + rest)
    ),
    body=_BODIES,
    host=st.sampled_from(["localhost", "[", "a b", "//x", "é"]),
)
def test_no_request_causes_a_server_error(
    client: Client, method: str, path: str, query: str, body: bytes, host: str
) -> None:
    response = client.ask(method, "/", body, PATH_INFO=path, QUERY_STRING=query, HTTP_HOST=host)
    assert response.status_code < 500
    if response.status_code >= 400:
        assert response.content_type == "application/problem+json"
    client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]})


def test_history_has_a_figure_for_each_step(client: Client) -> None:
    history = client.get("/v1/history?last_s=300&step_s=100")
    assert history == {"step_s": 100, "end": "2026-01-31T09:26:53.000Z", "series": {"pinned": [None, 1, 2]}}
    assert client.get("/v1/history")["step_s"] == 60


@pytest.mark.parametrize("query", ["step_s=4", "last_s=4000", "last_s=1e3", "step_s=-60", "step=60"])
def test_history_of_other_times_is_refused(client: Client, query: str) -> None:
    assert client.refused(400, "GET", f"/v1/history?{query}")["field"] == query.partition("=")[0]


def test_metrics_are_text_of_the_format_that_is_asked_for(client: Client) -> None:
    response = client.ask("GET", "/metrics", HTTP_ACCEPT="openmetrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; of=openmetrics; charset=utf-8"
    assert response.body == b"anycast_sdn_health 1\nanycast_sdn_sick 0\n"
    assert response.content_length == len(response.body)
    assert client.ask("HEAD", "/metrics").body == b""


def test_answers_are_counted_by_resource_and_not_by_path(client: Client) -> None:
    client.facts.answers.clear()
    client.get("/v1/groups")
    client.ask("HEAD", "/v1/groups/web")
    client.ask("GET", "/v1/groups/nothing-of-that-name")
    client.ask("GET", "/v1/nothing")
    client.ask("BREW", "/v1/groups")
    assert client.facts.answers == [
        ("GET", "/v1/groups", 200),
        ("GET", "/v1/groups/{group}", 200),
        ("GET", "/v1/groups/{group}", 404),
        ("other", "other", 404),
        ("other", "other", 405),
    ]


def test_replies_are_those_of_the_group_that_is_asked_for(client: Client) -> None:
    (of_web,) = client.get("/v1/replies?group=web")["replies"]
    assert (of_web["group"], of_web["sites"][0]["edge"]) == ("web", "arh1")
    assert client.get("/v1/replies?group=nothing") == {"replies": []}


def test_a_controller_that_is_alone_has_no_members_to_steer(client: Client) -> None:
    for verb in ("drain", "resume", "lead"):
        answer = client.ask("POST", f"/v1/cluster/members/m1/{verb}")
        assert (answer.status_code, answer.json["type"]) == (409, "urn:anycast-sdn:problem:cannot-steer")
    assert client.ask("GET", "/v1/cluster").json["mode"] == "alone"
