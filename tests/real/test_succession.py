"""What the next leader knows of what the one before has decided, on real switches and a real etcd."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from members import decides, members
from support import PORT, TOPOLOGIES, V4, WEB, program, until


def test_costs_and_drains_survive_their_leader(tmp_path: Path) -> None:
    with members(TOPOLOGIES / "figure1.yaml", tmp_path) as (testbed, _, (first, second)):
        until(lambda: decides(first), "the first member leads", 30)
        first.enrol("web", WEB, [V4.as2])
        testbed.spawn("as2", program("udp_server.py", "as2", PORT))
        testbed.wait_listening("as2", PORT, "udp")
        assert testbed.run("h1", program("udp_client.py", V4.web, PORT)).stdout.startswith("as2")
        link = first.rest("GET", "/v1/topology").body["links"][0]
        link_path = f"/v1/topology/links/{quote(link['ends'][0])}"
        assert first.rest("PATCH", link_path, {"cost": link["cost"] + 7}).status == 200
        server = f"/v1/groups/web/servers/{V4.as2}"
        drain = first.rest("POST", f"{server}/drain", {"deadline_s": 600}).body
        drain_path = f"/v1/operations/{drain['id']}"
        until(lambda: first.rest("GET", drain_path).body["flows_left"] == 1, "the flow is counted")
        first.kill()
        until(lambda: decides(second), "the second member leads", 30)
        until(lambda: second.rest("GET", drain_path).body["flows_left"] == 1, "it counts the flow")
        assert second.rest("GET", drain_path).body["state"] == "running"
        assert second.rest("GET", link_path).body["cost"] == link["cost"] + 7
        assert second.rest("PATCH", server, {"state": "active"}).status == 200
        assert second.rest("GET", drain_path).body["state"] == "failed", "it was set to something else"
