"""Servers and edges are drained while programs use them, and it is known when that is done (M33)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import PORT, V4, V6, WEB, Running, edited, on_both_engines, program, running, until

pytestmark = on_both_engines

DOWNLOADS = 8800
FAMILIES = (V4, V6)


@pytest.fixture(scope="module")
def network(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """as2 is the nearest; as2 and as3 have both their addresses in group web, each as one enrolment.

    A flow of UDP is over as soon as it has been idle for a short time, so that drains need not wait for that.
    """
    directory = tmp_path_factory.mktemp("drains")
    with running(edited("figure1.yaml", directory, ("udp_s: 300", "udp_s: 2")), directory, engine=engine) as network:
        network.serve_udp("as2", "as3")
        for host in ("as2", "as3"):
            network.testbed.spawn(host, program("download.py", "serve", host, DOWNLOADS))
            network.testbed.wait_listening(host, DOWNLOADS)
        yield network


@pytest.fixture(autouse=True)
def _as_at_first(network: Running) -> None:
    """Both servers are enrolled anew, the edge is not drained, and there are no flows, whatever a test has left."""
    network.call("POST", "/v1/edges/ars2/resume")
    if "web" in [group["name"] for group in network.call("GET", "/v1/groups")["groups"]]:
        network.call("DELETE", "/v1/flows?group=web")
        network.call("DELETE", "/v1/groups/web")
    network.call("PUT", "/v1/groups/web", {"prefixes": WEB})
    for one, other in ((V4.as2, V6.as2), (V4.as3, V6.as3)):
        network.call("POST", "/v1/groups/web/servers", {"addresses": [one, other]})
    network.wait_for_servers("web")
    until(lambda: served_by(network) == {"as2"}, "as2 serves")


def served_by(network: Running) -> set[str]:
    """Who answers new flows, in both families."""
    return {network.ask("h1", family.web)[0].split()[0] for family in FAMILIES}


def downloads(network: Running, seconds: float) -> list[Any]:
    """One in each family, all of which have begun."""
    begun = [
        network.testbed.spawn("h1", program("download.py", "get", family.web, DOWNLOADS, seconds))
        for family in FAMILIES
    ]
    until(lambda: all("from as2" in each.output() for each in begun), "as2 serves the downloads")
    return begun


def results(downloads: list[Any]) -> list[str]:
    return [each.output().split("\n")[1] for each in downloads]


def path(server: str) -> str:
    return f"/v1/groups/web/servers/{server}"


def now(network: Running, operation: dict[str, Any], wait_s: float = 0) -> dict[str, Any]:
    return dict(network.call("GET", f"/v1/operations/{operation['id']}?wait={wait_s:g}"))


def at_the_end(network: Running, operation: dict[str, Any]) -> dict[str, Any]:
    """The operation when it has ended."""
    until(lambda: now(network, operation, 3)["state"] != "running", "the drain is over", 60)
    return now(network, operation)


@pytest.mark.row("M33", "a server is drained: downloads end whole, new flows go elsewhere, the end is reported, also "
                 "when the controller is killed meanwhile")  # fmt: skip
def test_a_drain_is_over_when_the_downloads_in_progress_have_ended_whole(network: Running) -> None:
    long = downloads(network, 12)
    operation = network.call("POST", f"{path(V4.as2)}/drain")
    assert (operation["state"], operation["addresses"]) == ("running", [V4.as2, V6.as2])
    assert served_by(network) == {"as3"}
    network.controller.kill()
    network.controller.start()
    network.wait_for_servers("web")
    assert served_by(network) == {"as3"}
    done = at_the_end(network, operation)
    assert (done["id"], done["state"], done["flows_left"]) == (operation["id"], "succeeded", 0)
    until(lambda: results(long) == ["whole"] * 2, "the downloads have ended")
    assert {server["state"] for server in network.servers("web") if server["edge"] == "ars2"} == {"drained"}
    network.call("PATCH", path(V4.as2), {"state": "active"})
    until(lambda: served_by(network) == {"as2"}, "as2 serves again")


@pytest.mark.row("M33", "at the deadline of a drain, a client that only receives is reset within seconds")
def test_at_the_deadline_both_ends_of_a_download_are_reset(network: Running) -> None:
    endless = downloads(network, 100)
    operation = network.call("POST", f"{path(V6.as2)}/drain", {"deadline_s": 1})
    began = time.monotonic()
    until(lambda: results(endless) == ["reset"] * 2, "the downloads are reset", 20)
    took = time.monotonic() - began
    done = at_the_end(network, operation)
    print(f"reset after {took:.1f} s")
    assert (done["state"], done["flows_left"]) == ("succeeded", 0)
    assert took < 8


@pytest.mark.row("M33", "an edge is drained and resumed while new flows come: none is lost")
def test_while_an_edge_is_drained_no_flow_is_lost(network: Running) -> None:
    count = 300
    shed = network.drops("arh1", "shed")  # first packets that have waited too long on a busy machine
    first = network._new_ports(2 * count)
    asking = [
        network.testbed.spawn("h1", program("udp_client.py", family.web, PORT, "--flows", count, "--apart", 0.03,
                                            "--answers", count, "--wait", 5, "--first-port", first + index * count))
        for index, family in enumerate(FAMILIES)
    ]  # fmt: skip
    until(lambda: all(each.output().count("as2") > 20 for each in asking), "as2 answers")
    operation = network.call("POST", "/v1/edges/ars2/drain")
    assert operation["edge"] == "ars2"
    until(lambda: all(each.output().count("as3") > 20 for each in asking), "as3 answers")
    network.call("POST", "/v1/edges/ars2/resume")

    def answered() -> bool:
        late = network.drops("arh1", "shed") - shed
        return sum(len(each.output().splitlines()) for each in asking) >= 2 * count - late

    until(answered, "every flow is answered", 40)
    assert not any("error" in each.output() for each in asking)
    assert now(network, operation)["state"] != "running"
    network.call("DELETE", "/v1/flows?group=web")
    again = network.call("POST", "/v1/edges/ars2/drain")
    assert at_the_end(network, again)["state"] == "succeeded"
    assert served_by(network) == {"as3"}
    network.call("POST", "/v1/edges/ars2/resume")
    until(lambda: served_by(network) == {"as2"}, "as2 serves again")


@pytest.mark.row("M33", "a lease that nobody renews expires: new flows go elsewhere, then the server is removed")
def test_a_server_that_does_not_renew_its_lease_is_removed(network: Running) -> None:
    for _ in range(3):
        network.call("PUT", f"{path(V4.as2)}/lease", {"ttl_s": 5, "deregister_after_s": 8})
        time.sleep(1)
    assert served_by(network) == {"as2"}
    until(lambda: served_by(network) == {"as3"}, "as3 serves", 30)
    assert {server["health"]["status"] for server in network.servers("web") if server["edge"] == "ars2"} == {"critical"}
    until(lambda: {server["address"] for server in network.servers("web")} == {V4.as3, V6.as3}, "as2 is removed", 30)
