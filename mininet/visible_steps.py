"""The demo's steps of what can be seen: why a flow has its server, what would be different without that server, and who
had an address.
"""

from __future__ import annotations

import re
import time

from scene import WEB, Scene
from service_steps import SLOW, downloads, held
from testbed import wait_until

from anycast_sdn.core.model import endpoint, packed
from anycast_sdn.core.times import rfc3339


def why(scene: Scene) -> None:
    family, report = scene.family, scene.report
    report.heading("Why this server? The decision that H's packets met is kept with the flow")
    download = downloads(scene, family, 1, SLOW)
    (port, name), *_ = wait_until(lambda: held(scene, family), "the download begins").items()
    shown, said = scene.listing("why", endpoint(packed(family.client), port))
    flow = next(flow for flow in scene.flows(family) if flow["client_port"] == port)
    decision = scene.get(f"/v1/flows/{flow['edge']}/{flow['number']}")["decision"]
    download.stop()
    report.command("", shown)
    report.text(said)
    names = {address: each for each, address in family.servers.items()}
    reasons = {names[each["server"]]: each["why_not"] for each in decision["candidates"]}
    because = reasons.pop(name)
    others = "".join(f"; {each}: {reason}" for each, reason in reasons.items() if reason)
    holds = decision["answered"] == family.servers[name] and not because
    report.line(holds, f"{name} has answered{others}")


def what_if(scene: Scene) -> None:
    family, roles, report = scene.family, scene.roles, scene.report
    report.heading("What if its server were not there? Nothing is changed to find out")
    download = downloads(scene, family, 1, SLOW)
    name = next(iter(wait_until(lambda: held(scene, family), "the download begins").values()))
    shown, said = scene.listing("topology", "--without", family.servers[name])
    download.stop()
    words = said[said.index("What would be different") :]
    report.command("", shown)
    report.text(f"...\n{words}")
    losing = re.search(r"(\d+) flows? loses? (its|their) server", words)
    report.line(losing is not None, f"without {name}: {losing[0] if losing else 'no flow is said to lose its server'}")
    if not scene.testbed.network.legacy_core:
        goal = _goal_without(scene, name)
        said_goal = re.search(rf"{roles.group} from {roles.edge.name}: (?:\S+ → )?(\S+) .*{family.prefix}", words)
        holds = said_goal is not None and said_goal[1] == goal
        report.line(holds, f"and what {roles.edge.name} sends to {family.service} would go to {goal}")


def _goal_without(scene: Scene, server: str) -> str:
    """The nearest edge that has another server."""
    others = {scene.roles.edge_of(name) for name in scene.family.servers if name != server}
    return next((edge for edge in scene.roles.distances() if edge in others), "nobody")


def who(scene: Scene) -> None:
    family, report = scene.family, scene.report
    report.heading("Who had it? A server's log has PR1X and a time; the binding log has H")
    server = scene.fetch(family)
    at, flow = rfc3339(time.time()), scene.newest_flow(family, WEB)
    scene.call("DELETE", f"/v1/flows?client={family.client}", None)
    wait_until(lambda: not scene.flows(family), "H's flows have ended")
    translated = str(flow["translated"])
    path = f"/v1/bindings/history?translated={translated}&at={at}"
    wait_until(lambda: any(each["to"] for each in scene.get(path)["bindings"]), "the log has its end")
    shown, said = scene.listing("who", translated, "--at", at)
    report.command("", shown)
    report.text(said)
    found = [(each["client"], each["client_port"], each["server"]) for each in scene.get(path)["bindings"]]
    holds = found == [(family.client, flow["client_port"], family.servers[server])]
    client = f"{scene.roles.client}'s, port {flow['client_port']}"
    report.line(holds, f"no flow has {translated} now; it was {client}, and {server} has answered")
