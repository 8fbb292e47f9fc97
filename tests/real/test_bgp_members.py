"""BGP sessions of several controllers with real FRR routers: what becomes of routes when the leader ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from members import decides, members
from support import V4, WEB, edited, until

R2 = "bgp: {local_as: 65002, local_address: 198.51.100.5, neighbour: 198.51.100.6, neighbour_as: 65000"
MEMBERS = (
    "members: [{name: m0, local_address: 198.51.100.5, router_id: 10.255.2.1}, "
    "{name: m1, local_address: 198.51.100.17, neighbour: 198.51.100.18, router_id: 10.255.2.2}]"
)
RANK_MED = 10
SESSIONS_S = 60.0  # OSPF's and BGP's own timers


@pytest.mark.row("M8", "leaders hand over and are killed: FRR never loses the route, and no session begins anew")
def test_routers_keep_the_route_when_another_member_takes_over(tmp_path: Path) -> None:
    file = edited("legacy-core.yaml", tmp_path, (R2, f"{R2}, {MEMBERS}"))
    with members(file, tmp_path) as (testbed, _, (first, second)):
        router = testbed.routers["r2"]

        def meds() -> dict[str, int]:
            """Of the route to the service, by the controller's address; what a lost session has left does not count."""
            paths: list[dict[str, Any]] = router.show(f"bgp ipv4 unicast {WEB[0]}").get("paths", [])
            return {path["peer"]["peerId"]: path.get("metric", 0) for path in paths if not path.get("stale")}

        def session(of: str) -> dict[str, Any]:
            return dict(router.show(f"bgp neighbors {of}")[of])

        until(lambda: first.rest("GET", "/healthz").body["status"] == "ok", "the first member serves", SESSIONS_S)
        first.enrol("web", WEB, [V4.as2])
        m0, m1 = "198.51.100.5", "198.51.100.17"
        until(lambda: meds() == {m0: 0, m1: 2 * RANK_MED}, "r2 has the route from both", SESSIONS_S)
        begun = [session(member)["connectionsEstablished"] for member in (m0, m1)]
        with_routes = testbed.spawn("r2", ["ip", "-o", "monitor", "route"])
        assert first.rest("POST", "/v1/cluster/members/m1/lead").status == 204
        until(lambda: meds() == {m0: RANK_MED, m1: 0}, "the second member leads", 30)
        until(lambda: decides(second), "it has all switches", 30)
        second.kill()
        until(lambda: meds() == {m0: 0}, "the first member leads again", 30)
        assert [session(member)["connectionsEstablished"] for member in (m0, m1)] == begun
        lost = [line for line in with_routes.output().splitlines() if "Deleted" in line and V4.web in line]
        assert not lost, lost
