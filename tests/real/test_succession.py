"""What the next leader knows of what the one before has decided, on real switches and a real etcd."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from members import members
from support import TOPOLOGIES, until


def test_the_cost_of_a_link_survives_its_leader(tmp_path: Path) -> None:
    with members(TOPOLOGIES / "figure1.yaml", tmp_path) as (_, _, (first, second)):
        until(lambda: first.rest("GET", "/healthz").body["status"] == "ok", "the first member serves", 30)
        link = first.rest("GET", "/v1/topology").body["links"][0]
        path = f"/v1/topology/links/{quote(link['ends'][0])}"
        assert first.rest("PATCH", path, {"cost": link["cost"] + 7}).status == 200
        first.kill()
        until(lambda: second.rest("GET", path).body.get("confirmed"), "the second member leads", 30)
        assert second.rest("GET", path).body["cost"] == link["cost"] + 7
