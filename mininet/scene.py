"""What every step of the demo works with: the running network, its controller, the roles, the report.

Commands of hosts and requests to the controller are printed, so that they can be repeated by hand.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import zones
from programs import DEADLINE_S, output_of
from report import Report
from roles import Family, Roles
from testbed import ControllerProcess, Program, Testbed, TestbedError, wait_until
from wire import Wire

from anycast_sdn.core.model import text
from anycast_sdn.core.roles import EngineName
from anycast_sdn.core.words import counted

HOSTS = Path(__file__).parent / "hosts"
REST_PORT = 8080  # the command line's default
WEB, DNS, UDP = 80, 53, 7000  # the ports of the demo's servers
DNS_NAME = "whoami.demo"  # its TXT record is the name of the server that answers


def program(name: str, *arguments: object) -> list[str]:
    """The words that start one of ``hosts/`` on a host."""
    return [sys.executable, str(HOSTS / name), *map(str, arguments)]


class Held(NamedTuple):
    """What a client edge has for one PR1X."""

    rules: int  # each of which names it in one place
    connections: int | None  # of its tracker; None: its engine needs none

    @property
    def is_whole(self) -> bool:
        """Is it what the engine has for a flow?"""
        return self in (Held(2, None), Held(0, 1))

    @property
    def is_nothing(self) -> bool:
        return not self.rules and not self.connections

    def __str__(self) -> str:
        rules = f"{self.rules} rules for it"
        if self.connections is None:
            return rules
        return f"{rules}, and in its connection tracker {counted(self.connections, 'connection')}"


def await_end(program: Program, timeout_s: float = DEADLINE_S) -> None:
    wait_until(lambda: program.process.poll() is not None, "the program ends", timeout_s)


@dataclass(frozen=True)
class Scene:
    testbed: Testbed
    controller: ControllerProcess
    report: Report
    roles: Roles
    web_servers: dict[str, Program] = field(default_factory=dict)  # by host, those that run

    @property
    def family(self) -> Family:
        """The address family of all steps but one."""
        return self.roles.families[0]

    # -------------------------------------------------------------------------- hosts

    def run(self, host: str, *words: str) -> str:
        """Runs a program on a host to its end → what it printed, errors included."""
        shown = [Path(words[1]).name, *words[2:]] if words[0] == sys.executable else words
        self.report.command(host, shlex.join(shown))
        done = self.testbed.run(host, words)
        said = (done.stdout + done.stderr).strip()
        if said:
            self.report.text(said)
        return str(said)

    def ask(self, family: Family, *words: str) -> str:
        """H runs a program that begins a flow to ANY → what it printed."""
        self.await_free(family)
        return self.run(self.roles.client, *words)

    def fetch(self, family: Family) -> str:
        """H fetches the page of ANY → the name of the server that says that it answered."""
        said = self.ask(family, "curl", "-sS", "-m", "10", family.url)
        found = re.fullmatch(r"(\S+) answers \S+", said)
        if not found or found[1] not in family.servers:
            raise TestbedError(f"no server answered: {said}")
        return found[1]

    def await_free(self, family: Family, count: int = 1) -> None:
        """Waits until so many addresses of PRh/k are free: in a small one, those of earlier steps may still rest."""
        wait_until(lambda: self.pool(family)["free"] >= count, f"{count} addresses of PRh/k are free", 90)

    def start(self, host: str, *words: str) -> Program:
        """Starts a program on a host."""
        self.report.command(host, shlex.join(words))
        return self.testbed.spawn(host, words)

    def wire(self, family: Family, expression: str) -> Wire:
        return Wire(self.testbed, self.roles, f"{family.filter} and {expression}")

    def start_servers(self) -> None:
        """On each server host a web server, a DNS server and a UDP server; their answers have the host's name."""
        servers = list(self.family.servers.items())
        dnsmasq = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]
        dnsmasq += ["--no-resolv", "--no-hosts"]
        for name in self.roles.servers:
            self.start_web_server(name)
            self.testbed.spawn(name, [*dnsmasq, f"--txt-record={DNS_NAME},{name}"])
        # Each hands over to the next, and the last one to the first.
        for (name, _), (_, colleague) in zip(servers, servers[1:] + servers[:1], strict=True):
            self.testbed.spawn(name, program("udp_server.py", name, UDP, colleague))
        for name in self.roles.servers:
            self.testbed.wait_listening(name, DNS, "udp")
        for name, _ in servers:
            self.testbed.wait_listening(name, UDP, "udp")

    def start_web_server(self, host: str) -> None:
        """Returns when it listens."""
        self.web_servers[host] = self.testbed.spawn(host, program("web_server.py", host, WEB))
        self.testbed.wait_listening(host, WEB)

    # -------------------------------------------------------------------------- the controller

    @property
    def page(self) -> str:
        """Where the dashboard is."""
        return f"http://127.0.0.1:{self.controller.rest_port}/ui"

    def call(self, method: str, path: str, body: object) -> Any:
        """A REST call that changes something, printed as curl would make it; TestbedError when refused."""
        content = f" -H \"$JSON\" -d '{json.dumps(body)}'" if body is not None else ""
        self.report.command("", f"curl -X {method} \"$API{path}\"{content}")
        return self._rest(method, path, body)

    def get(self, path: str) -> Any:
        return self._rest("GET", path)

    def _rest(self, method: str, path: str, body: object = None) -> Any:
        answer = self.controller.rest(method, path, body)
        if answer.status not in (200, 201, 202, 204):
            raise TestbedError(f"{method} {path}: {answer.status} {answer.body}")
        return answer.body

    def enrol(self) -> None:
        """The demo's group and its servers; returns when the controller has found each of them."""
        address = f"http://127.0.0.1:{self.controller.rest_port}"
        self.report.command("", f"API={address} JSON='Content-Type: application/json'")
        group = f"/v1/groups/{self.roles.group}"
        self.call("PUT", group, {"prefixes": [family.prefix for family in self.roles.families]})
        for family in self.roles.families:
            for server in family.servers.values():
                self.call("PUT", f"{group}/servers/{server}", {"weight": 1})
        wait_until(
            lambda: all(server["reachable"] for server in self.get(f"{group}/servers")["servers"]),
            "the controller finds the servers",
        )
        self.controller.await_routes()
        self.await_routers()

    def await_routers(self) -> None:
        """Returns when every ordinary router has paths to all edges of the demo's servers, and H's edge its routes."""
        if not self.testbed.network.legacy_core:
            return
        for family in self.roles.families:
            what = f"the routers and {self.roles.edge.name} have routes to {family.prefix}"
            wait_until(partial(self._is_routed, family), what)

    def _is_routed(self, family: Family) -> bool:
        wanted = {self.uplink_of(server, family) for server in family.servers}
        if any(wanted - router.paths(family.prefix).keys() for router in self.testbed.routers):
            return False
        return all(self.get("/v1/topology")["catchment"][family.prefix].values())

    def uplink_of(self, server: str, family: Family) -> str:
        """The address of the server's edge at its uplink."""
        edge = self.roles.edge_of(server)
        uplinks = (uplink for uplink in self.testbed.network.uplinks if uplink.edge == edge)
        return text(next(address for uplink in uplinks if (address := uplink.address(family.is_v6))))

    def listing(self, *words: str) -> tuple[str, str]:
        """A listing of the command line → what to type for it, and what it prints."""
        port = self.controller.rest_port
        words = words if port == REST_PORT else (*words, "--rest", f"127.0.0.1:{port}")
        shown = shlex.join(["anycast-sdn", *words])
        return shown, output_of(sys.executable, "-m", "anycast_sdn", *words)

    def flows(self, family: Family) -> list[dict[str, Any]]:
        """All flows of H to ANY."""
        flows = self.get(f"/v1/flows?limit=1000&client={family.client}")["flows"]
        return [flow for flow in flows if flow["service"] == family.service]

    def newest_flow(self, family: Family, port: int) -> dict[str, Any]:
        """H's youngest flow to this port of ANY; TestbedError when there is none."""
        flows = [flow for flow in self.flows(family) if flow["service_port"] == port]
        if not flows:
            raise TestbedError(f"/v1/flows has no flow of {family.client} to port {port} of {family.service}")
        return max(flows, key=lambda flow: str(flow["since"]))

    def drops(self, edge: str, counter: str) -> int:
        """What an edge has counted under this name."""
        return int(self.get(f"/v1/edges/{edge}")["drops"].get(counter, 0))

    def pool(self, family: Family) -> dict[str, int]:
        """The use of the addresses of PRh/k at H's edge."""
        return dict(self.get(f"/v1/edges/{self.roles.edge.name}")["pools"][family.name.lower()])

    def held(self, translated: str) -> Held:
        """What H's edge has for this PR1X, as the switch itself says."""
        shown = self.testbed.ofctl("dump-flows", self.roles.edge.name)
        rules = len(re.findall(rf"[:=]{re.escape(translated)}(?![\w.:])", shown))
        tracks = self.get(f"/v1/edges/{self.roles.edge.name}")["engine"] == EngineName.CONNTRACK.value
        return Held(rules, len(zones.connections(self.zones, translated)) if tracks else None)

    @property
    def zones(self) -> range:
        """Those of the connection tracker that H's edge has; none, if it has another engine only."""
        role = self.roles.edge.client_edge
        return role.conntrack.zones if role and role.wants_conntrack else range(0)
