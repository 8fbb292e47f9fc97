"""What operators and programs do with a running controller: REST by curl, and the command line (M27–M29)."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any, NamedTuple

import pytest
from support import PORT, TOPOLOGIES, V4, V6, WEB, Family, Running, anycast_sdn, in_both_families

PROBLEM = "application/problem+json"
AS_JSON = ("-H", "Content-Type: application/json")


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2, V4.as3])
    figure1.serve_udp("as2", "as3")
    for family in (V4, V6):
        assert figure1.ask("h1", family.web, "--source-port", 21001) == ["as2 hello"]
        assert figure1.ask("h2", family.web, "--source-port", 21002) == ["as2 hello"]
    figure1.ask("h2", V4.web, "--source-port", 21003, "--text", "quiet", "--answers", 0)
    return figure1


class Reply(NamedTuple):
    status: int
    media: str
    location: str
    body: Any


def curl(network: Running, path: str, *options: str, stdin: str = "") -> Reply:
    """The real curl, on the machine of the controller."""
    url = f"http://127.0.0.1:{network.controller.rest_port}{path}"
    written = "\n%{http_code} %{content_type}\n%header{location}"
    command = ["curl", "-gsS", "--noproxy", "*", "-m", "10", "-w", written, *options, url]
    said = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout
    body, status, location = said.rsplit("\n", 2)
    code, _, media = status.partition(" ")
    return Reply(int(code), media, location, json.loads(body) if body else None)


# ------------------------------------------------------------------------------ M27


@pytest.mark.row("M27", "a group's life by curl: create, enrol, change, drain, remove; PUT twice changes nothing")
def test_groups_and_servers_are_managed_by_curl(network: Running) -> None:
    created = curl(network, "/v1/groups", *AS_JSON, "-d", '{"name": "dns", "prefixes": ["198.18.53.0/24"]}')
    assert (created.status, created.media) == (201, "application/json")
    assert created.location.endswith("/v1/groups/dns")
    enrolled = curl(network, "/v1/groups/dns/servers", *AS_JSON, "-d", '{"address": "10.3.0.10"}')
    assert enrolled.status == 201
    assert enrolled.location.endswith("/v1/groups/dns/servers/10.3.0.10")
    network.wait_for_servers("dns")
    assert network.ask("h2", "198.18.53.7") == ["as3 hello"]

    server = "/v1/groups/dns/servers/10.3.0.10"
    first, second = (curl(network, server, "-X", "PUT", *AS_JSON, "-d", '{"weight": 7}') for _ in range(2))
    assert (first.status, first.body["weight"], first.body["state"]) == (200, 7, "active")
    assert second == first
    drained = curl(network, server, "-X", "PATCH", *AS_JSON, "-d", '{"state": "draining"}')
    assert (drained.body["weight"], drained.body["state"], drained.body["edge"]) == (7, "draining", "ars3")
    assert network.ask("h1", "198.18.53.7", "--wait", 1) == []  # no new flow
    assert curl(network, server, "-X", "DELETE").status == 204
    assert curl(network, server).status == 404
    assert curl(network, "/v1/groups/dns", "-X", "DELETE").status == 204
    assert [group["name"] for group in curl(network, "/v1/groups").body["groups"]] == ["web"]


REFUSALS = [
    ("wrong media type", "/v1/groups", ("-d", "{}"), 415, "about:blank", "Content-Type: application/json"),
    ("body too large", "/v1/groups", (*AS_JSON, "-d", "@-"), 413, "about:blank", "65536 bytes at most"),
    ("malformed JSON", "/v1/groups", (*AS_JSON, "-d", '{"name": '), 400, "about:blank", "not JSON"),
    ("a member twice", "/v1/groups", (*AS_JSON, "-d", '{"name": "a", "name": "b"}'), 400, "about:blank", "twice"),
    ("unknown member", "/v1/groups/web/servers", (*AS_JSON, "-d", '{"address": "10.2.0.11", "wieght": 1}'), 422,
     "about:blank", "wieght"),
    ("duplicate group", "/v1/groups", (*AS_JSON, "-d", '{"name": "web", "prefixes": ["198.18.7.0/24"]}'), 409,
     "already-exists", "web exists already"),
    ("overlap", "/v1/groups", (*AS_JSON, "-d", '{"name": "b", "prefixes": ["198.18.0.0/24"]}'), 409, "overlap",
     "198.18.0.1/32 of group web"),
    ("outside ANY/m", "/v1/groups", (*AS_JSON, "-d", '{"name": "b", "prefixes": ["192.0.2.0/24"]}'), 422,
     "outside-anycast", "198.18.0.0/16"),
    ("client subnet (M5)", "/v1/groups/web/servers", (*AS_JSON, "-d", '{"address": "10.1.0.10"}'), 422,
     "server-in-client-subnet", "10.1.0.10 is in n1, a client subnet of its site arh1"),
    ("no server edge", "/v1/groups/web/servers", (*AS_JSON, "-d", '{"address": "10.9.0.1"}'), 422,
     "server-outside-edges", "no server edge"),
    ("gateway address", "/v1/groups/web/servers", (*AS_JSON, "-d", '{"address": "10.2.0.1"}'), 422,
     "not-a-host-address", "gateway"),
    ("weight", "/v1/groups/web/servers", (*AS_JSON, "-d", '{"address": "10.2.0.11", "weight": 1001}'), 422,
     "invalid-weight", "1000"),
    ("duplicate server", "/v1/groups/web/servers", (*AS_JSON, "-d", '{"address": "10.2.0.10"}'), 409,
     "already-exists", "enrolled in group web already"),
    ("no such group", "/v1/groups/none", (), 404, "not-found", "none"),
    ("no such resource", "/v2", (), 404, "about:blank", "/v1/groups"),
    ("method", "/v1/flows", ("-X", "PUT"), 405, "about:blank", "GET"),
    ("query", "/v1/flows?colour=red", (), 400, "about:blank", "colour"),
]  # fmt: skip


@pytest.mark.row("M27", "what cannot be done is refused with a status, a type for programs and a sentence for people")
@pytest.mark.parametrize(
    ("path", "options", "status", "kind", "detail"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_refusals_say_why(
    network: Running, path: str, options: tuple[str, ...], status: int, kind: str, detail: str
) -> None:
    before = curl(network, "/v1/groups").body
    reply = curl(network, path, *options, stdin=json.dumps({"name": "x" * 70_000}))
    expected = kind if kind == "about:blank" else f"urn:anycast-sdn:problem:{kind}"
    assert (reply.status, reply.media, reply.body["type"]) == (status, PROBLEM, expected)
    assert detail in reply.body["detail"]
    assert curl(network, "/v1/groups").body == before


@pytest.mark.row("M27", "flows are filtered by group, client, server, edge and state, and come in pages")
def test_flows_are_filtered_and_paged(network: Running) -> None:
    def ports(query: str) -> list[int]:
        return [flow["client_port"] for flow in curl(network, f"/v1/flows?group=web&{query}").body["flows"]]

    assert ports(f"client={V4.h1}") == ports(f"client={V6.h1}") == [21001]
    assert ports(f"client={V4.h2}") == [21002, 21003]
    assert ports(f"client={V4.h2}&state=unanswered") == [21003]
    assert ports(f"server={V6.as2}") == [21001, 21002]
    assert ports(f"server={V4.as3}") == ports("edge=ars2") == []
    assert ports("edge=arh1") == [21001, 21002, 21001, 21002, 21003]
    pages, path = [], "/v1/flows?group=web&limit=2"
    while path:
        page = curl(network, path).body
        pages.append([flow["client_port"] for flow in page["flows"]])
        path = page["next"]
    assert pages == [[21001, 21002], [21001, 21002], [21003]]


@pytest.mark.row("M27", "edges, topology and health: pools, rules, drops, hosts, links and who is nearest")
def test_the_network_can_be_read(network: Running) -> None:
    edges = {edge["name"]: edge for edge in curl(network, "/v1/edges").body["edges"]}
    assert {name: edge["roles"] for name, edge in edges.items()} == {
        "arh1": ["client edge"], "core": ["core"], "ars2": ["server edge"], "ars3": ["server edge"],
    }  # fmt: skip
    arh1 = curl(network, "/v1/edges/arh1").body
    flows = curl(network, "/v1/flows?limit=1000").body
    assert arh1["bindings"] == len(flows["flows"]) == flows["summary"]["pinned"] + flows["summary"]["unanswered"]
    assert arh1["pools"]["ipv4"]["size"] == 254
    dumped = network.testbed.ofctl("dump-flows", "arh1").splitlines()[1:]
    assert arh1["rules"]["bindings"] + arh1["rules"]["other"] == len(dumped)
    topology = curl(network, "/v1/topology").body
    assert topology["catchment"]["198.18.0.1/32"] == {"arh1": "ars2"}
    links = [(link["ends"], link["cost"], link["up"], link["state"]) for link in topology["links"]]
    assert (["core:12", "ars3:10"], 2, True, "up") in links
    assert curl(network, "/healthz").body["status"] == "ok"


@pytest.mark.row("M27", "a group that is removed takes no new flow; its pinned flows live on (M20)")
@in_both_families
def test_pinned_flows_outlive_their_group(network: Running, family: Family) -> None:
    service = "198.18.8.1" if family is V4 else "2001:db8:a:8::1"
    network.enrol("brief", ["198.18.8.1/32", "2001:db8:a:8::1/128"], [family.as3])
    assert network.ask("h1", service, "--source-port", 21004) == ["as3 hello"]
    assert curl(network, "/v1/groups/brief", "-X", "DELETE").status == 204
    assert network.ask("h1", service, "--source-port", 21004) == ["as3 hello"]
    assert network.ask("h1", service, "--source-port", 21005, "--wait", 1) == []


# ------------------------------------------------------------------------------ M28, M29


@pytest.mark.row("M28", "'anycast-sdn check' accepts the very files that the testbed builds", on="command line")
@pytest.mark.parametrize("name", ["figure1", "one-switch", "two-sites"])
def test_check_accepts_the_networks_of_the_testbed(name: str) -> None:
    done = anycast_sdn("check", f"topologies/{name}.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Network {name}" in done.stdout


@pytest.mark.row("M28", "'anycast-sdn check' names file, path and reason of what is wrong", on="command line")
def test_check_says_what_is_wrong(tmp_path: Any) -> None:
    file = tmp_path / "wrong.yaml"
    lines = (TOPOLOGIES / "figure1.yaml").read_text().replace("dpid: 2,", "dpid: 1,").split("\n")
    file.write_text("\n".join(lines))
    place = next(f"{number}:{line.index('dpid') + 1}" for number, line in enumerate(lines, 1) if "name: ars2," in line)
    done = anycast_sdn("check", str(file))
    assert done.returncode == 1
    assert f"{file}:{place}: switches[2].dpid:" in done.stderr


@pytest.mark.row("M29", "the state table as the document writes it: H, ANY, PR1X, ASg")
def test_the_state_table_is_shown(network: Running) -> None:
    table = network.command("flows", "--client", V6.h1).stdout.splitlines()
    flow = network.flow(V6.h1, 21001)
    assert table[0].split()[:8] == ["edge", "state", "group", "H", "ANY", "PR1X", "ASg", "since"]
    row = next(line.split() for line in table if "21001" in line)
    assert row[:7] == [
        "arh1", "pinned", "web", f"[{V6.h1}]:21001", f"[{V6.web}]:{PORT}/udp", flow["translated"], V6.as2,
    ]  # fmt: skip
    assert "pool exhausted: 0" in table[-1]


@pytest.mark.row("M29", "'why' shows by which decision a flow has its server, and who has answered after how long")
def test_why_a_flow_has_its_server_is_shown(network: Running) -> None:
    shown = network.command("why", f"[{V6.h1}]:21001").stdout
    assert f"[{V6.h1}]:21001 → [{V6.web}]:{PORT}/udp, group web, is served by {V6.as2}\n" in shown
    assert "by distance  arh1 reaches ars2 at cost " in shown
    assert re.search(rf"answered by  {V6.as2} after [0-9.]+ ms", shown)
    (candidate,) = [line.split() for line in shown.splitlines() if line.endswith("has the flow")]
    assert candidate[:2] == [V6.as2, "ars2"]


@pytest.mark.row("M34", "'status' shows on one screen whether all is well, with rates and how long pools last")
def test_the_status_is_one_screen(network: Running) -> None:
    lines = network.command("status").stdout.splitlines()
    assert lines[1] == "ok: all is well"
    assert any(line.startswith("switches  all ") for line in lines)
    assert any(line.startswith("arh1 IPv6 ") for line in lines)
    assert len(lines) < 30


@pytest.mark.row("M29", "groups, servers and edges as tables; all listings as JSON for programs")
def test_the_other_listings_are_shown(network: Running) -> None:
    assert "198.18.0.1/32 2001:db8:a::1/128" in network.command("groups").stdout
    servers = network.command("servers").stdout
    row = next(line.split() for line in servers.splitlines() if V4.as2 in line)
    assert row[:6] == ["web", V4.as2, "ars2", "active", "1", "yes"]
    edges, _, _ = network.command("edges").stdout.partition("\n\n")
    rows = [line for line in edges.splitlines()[2:] if not line.startswith(" ")]  # without the lines of further pools
    assert {row.split()[0] for row in rows} == {"arh1", "core", "ars2", "ars3"}
    for listing, path in (("flows", "/v1/flows"), ("groups", "/v1/groups"), ("edges", "/v1/edges")):
        shown = json.loads(network.command(listing, "--json").stdout)
        assert without_forecasts(shown[listing]) == without_forecasts(curl(network, path).body[listing])


def without_forecasts(listing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without rates and how long pools will last, which are worked out anew with time."""
    for each in listing:
        each.pop("drops_per_s", None)
        for pool in each.get("pools", {}).values():
            del pool["used_up_in_s"], pool["trend_per_min"], pool["exhausted_in_s"]
    return listing


@pytest.mark.row("M29", "'trace' foretells the stretches of figure 1 that the captures show", on="simulated network")
@in_both_families
def test_trace_explains_a_flow(family: Family) -> None:
    v6 = family is V6
    client, service = (f"[{a}]" if v6 else a for a in (family.h1, family.web))
    group = f"web={WEB[v6]}={family.as2}"
    done = anycast_sdn("trace", "topologies/figure1.yaml", f"{client}:40000", f"{service}:80/udp", "--group", group)
    assert (done.returncode, done.stderr) == (0, "")
    received = [line.rpartition("  ")[2] for line in done.stdout.splitlines() if " receives " in line]
    assert received == ["(PR1X → AS2)", "(ANY → H)", "(PR1X → AS2)"]
    assert "FIRST PACKET" in done.stdout
    assert "(PR1X → ANY)" in done.stdout


@pytest.mark.row("M29", "a command without a controller says what is missing", on="command line")
def test_a_command_without_a_controller_fails_clearly() -> None:
    done = anycast_sdn("flows", "--rest", "127.0.0.1:1")
    assert done.returncode == 1
    assert "is 'anycast-sdn run' running?" in done.stderr
