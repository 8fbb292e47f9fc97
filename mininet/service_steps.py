"""The demo's steps of operation: what a service needs beyond the document, shown with real programs.

They change the demo's group over REST, and leave it as they found it.
"""

from __future__ import annotations

import re
import time
from typing import Any

from roles import Family
from scene import WEB, Scene, await_end
from testbed import Program, TestbedError, wait_until

CHECK = {"type": "tcp", "port": WEB, "interval_s": 1, "timeout_s": 1, "rise": 2, "fall": 2}
FAILING_S = 3.0  # connections may fail for so long after the end of a server's program
PAUSE_S = 0.1  # between two connections
AFTERWARDS = 10  # connections, each of which has to be served
CAPACITY, HELD = 10, 14  # sessions that the nearest server can take, and downloads that are in progress
DECIDED_S = 40.0  # several of the controller's intervals
KIB, SLOW, SLOWER = 400, "40K", "8K"  # of a download, and how fast H reads it, a second
DOWNLOADED_S = 120.0
WAIT_S = 20  # of one request for an operation


# ------------------------------------------------------------------------------ a program dies


def program_dies(scene: Scene) -> None:
    family, report = scene.family, scene.report
    report.heading("The nearest server's web server dies, and its host lives: a check notices")
    if len(family.servers) < 2:
        report.not_shown("another server in its place", "there is one server only")
        return
    group = f"/v1/groups/{scene.roles.group}"
    scene.call("PATCH", group, {"checks": [CHECK]})
    _await_health(scene, dict.fromkeys(family.servers, "passing"))
    died = scene.fetch(family)
    scene.web_servers.pop(died).stop()
    outage_s, failed = _outage(scene, family)
    report.line(
        outage_s <= FAILING_S,
        f"{died}'s program has ended: {failed} connections failed, the last one after {outage_s:.1f} s",
    )
    served = {_answering(scene, family) for _ in range(AFTERWARDS)}
    report.line(not served & {died, ""}, f"{AFTERWARDS} more connections: all served, by {', '.join(sorted(served))}")
    shown = _server(scene, family, died)["health"]
    report.line(shown["status"] == "critical", f"{died} is {shown['status']}: {shown['reason']}")
    scene.start_web_server(died)
    _await_health(scene, {died: "passing"})
    report.line(True, f"its program runs again: {died} is passing")
    scene.call("PATCH", group, {"checks": []})
    scene.await_routers()


def _outage(scene: Scene, family: Family) -> tuple[float, int]:
    """Connects until ``AFTERWARDS`` connections in a row were served → when the last one failed, and how many did."""
    began, last, failed, served = time.monotonic(), 0.0, 0, 0
    while served < AFTERWARDS:
        if _answering(scene, family, timeout_s=1):
            served += 1
        else:
            last, failed, served = time.monotonic() - began, failed + 1, 0
        if last > 10 * FAILING_S:
            raise TestbedError(f"connections still fail after {last:.0f} s")
        time.sleep(PAUSE_S)
    return last, failed


def _answering(scene: Scene, family: Family, timeout_s: int = 10) -> str:
    """The server of one more connection, which is not printed; "" when nobody answers."""
    said = scene.testbed.run(scene.roles.client, ("curl", "-sS", "-m", str(timeout_s), family.url)).stdout
    server = said.partition(" ")[0]
    return server if server in family.servers else ""


def _server(scene: Scene, family: Family, name: str) -> dict[str, Any]:
    return dict(scene.get(f"/v1/groups/{scene.roles.group}/servers/{family.servers[name]}"))


def _await_health(scene: Scene, statuses: dict[str, str]) -> None:
    """Returns when these servers, by name, have these statuses."""
    wait_until(
        lambda: all(
            _server(scene, scene.family, name)["health"]["status"] == status for name, status in statuses.items()
        ),
        f"{', '.join(statuses)}: {', '.join(set(statuses.values()))}",
    )


# ------------------------------------------------------------------------------ an edge is overloaded


def overload(scene: Scene) -> None:
    family, roles, report = scene.family, scene.roles, scene.report
    report.heading("The nearest edge has more sessions than its servers can take: it hands new flows over")
    near, *others = roles.distances()
    if not others:
        report.not_shown("another edge's servers", "servers stand behind one edge only")
        return
    there = [name for name in family.servers if roles.edge_of(name) == near]
    for name in there:
        _patch(scene, family, name, {"capacity": max(1, CAPACITY // len(there))})
    reading = downloads(scene, family, HELD, SLOWER)
    wait_until(lambda: len(held(scene, family)) >= HELD, "the downloads begin")
    begun = held(scene, family)
    at_near = sum(roles.edge_of(server) == near for server in begun.values())
    report.text(f"{len(begun)} downloads are in progress, {at_near} of them from servers behind {near}")
    at = wait_until(lambda: _elsewhere(scene, family, near), f"a new connection goes past {near}", DECIDED_S)
    report.line(True, f"{near} has sent a new connection on: {at}, behind {roles.edge_of(at)}, has answered it")
    now = held(scene, family)
    report.line(begun.items() <= now.items(), f"the {len(begun)} downloads have kept their servers")
    for name in there:
        _patch(scene, family, name, {"capacity": None})
    reading.stop()


def _patch(scene: Scene, family: Family, name: str, changes: dict[str, Any]) -> None:
    scene.call("PATCH", f"/v1/groups/{scene.roles.group}/servers/{family.servers[name]}", changes)


def downloads(scene: Scene, family: Family, count: int, rate: str) -> Program:
    """H begins so many downloads at once, each on a connection of its own, and reads them slowly."""
    scene.await_free(family)
    urls = f"{family.url}[{KIB}-{KIB + count - 1}]"
    words = ["curl", "--no-progress-meter", "-Z", "--parallel-immediate"]
    words += ["-m", f"{DOWNLOADED_S:.0f}", "--limit-rate", rate]
    return scene.start(scene.roles.client, *words, "-o", "/dev/null", "-w", r"%{size_download}\n", urls)


def held(scene: Scene, family: Family) -> dict[int, str]:
    """H's port → the server, of H's web connections that are open."""
    names = {address: name for name, address in family.servers.items()}
    said = scene.testbed.run(scene.roles.client, ("ss", "-Htn", "state", "established", f"dst {family.service}")).stdout
    ports = {int(port) for port in re.findall(rf":(\d+)\s+\S+:{WEB}\b", said)}
    flows = [flow for flow in scene.flows(family) if flow["service_port"] == WEB and flow["client_port"] in ports]
    return {flow["client_port"]: names[flow["server"]] for flow in flows if flow["server"]}


def _elsewhere(scene: Scene, family: Family, near: str) -> str:
    """The server of a new connection, if it is not behind the nearest edge; otherwise ""."""
    server = _answering(scene, family)
    return server if server and scene.roles.edge_of(server) != near else ""


# ------------------------------------------------------------------------------ maintenance


def drain(scene: Scene) -> None:
    family, report = scene.family, scene.report
    report.heading("A drain says when it is done: a server is to be taken away, and serves a download")
    if len(family.servers) < 2:
        report.not_shown("a drain", "there is one server only")
        return
    scene.call("DELETE", f"/v1/flows?client={family.client}", None)  # those of earlier steps would be waited for
    download = downloads(scene, family, 1, SLOW)
    begun = wait_until(lambda: held(scene, family), "the download begins")
    leaving = next(iter(begun.values()))
    path = f"/v1/groups/{scene.roles.group}/servers/{family.servers[leaving]}"
    operation = scene.call("POST", f"{path}/drain", {})
    where = f"/v1/operations/{operation['id']}"
    wait_until(lambda: scene.get(where)["flows_left"], "the flow is counted")
    running = scene.get(where)
    report.line(running["state"] == "running", f"{leaving} drains; flows left: {running['flows_left']}")
    others = {_answering(scene, family) for _ in range(AFTERWARDS)}
    report.line(
        not others & {leaving, ""}, f"{AFTERWARDS} new connections: all served, by {', '.join(sorted(others))}"
    )
    report.command("", f'curl "$API{where}?wait={WAIT_S}"')
    ended = wait_until(lambda: _if_ended(scene.get(f"{where}?wait={WAIT_S}")), "the drain ends", DOWNLOADED_S)
    await_end(download)
    read = download.output().split()
    whole = len(read) == 1 and int(read[0]) > KIB * 1024
    report.line(whole, f"the download is complete: {', '.join(read)} bytes from {leaving}")
    state = _server(scene, family, leaving)["state"]
    report.line(
        (ended["state"], ended["flows_left"], state) == ("succeeded", 0, "drained"),
        f"the operation has {ended['state']}, flows left: {ended['flows_left']}; {leaving} is {state}",
    )
    _patch(scene, family, leaving, {"state": "active"})


def _if_ended(operation: dict[str, Any]) -> dict[str, Any]:
    return {} if operation["state"] == "running" else operation


ALL = (program_dies, overload, drain)
