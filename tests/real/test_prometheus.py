"""The distribution's Prometheus scrapes a network in use: board and alert rules of contrib/ find what they ask for."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ring import cut
from support import ROOT, V4, V6, WEB, Running, edited, running, until

CONTRIB = ROOT / "contrib"
RULES = CONTRIB / "prometheus" / "anycast-sdn.rules.yaml"
EVERY = "2s"
# Its router is on loopback, and there is none: a session that is down.
UPLINK = """\
uplinks:
  - {name: up1, edge: arh1, port: 20, addresses: [10.9.1.1/30], routers: [10.9.1.2],
     bgp: {local_as: 65001, local_address: 127.0.0.1, neighbour: 127.0.0.2, neighbour_as: 65000}}

# A subnet is where hosts live."""


def expressions() -> Iterator[str]:
    """Those of the board; and those of the rules without their limits, which are not reached while all is well.

    A controller that is alone has no metrics of a cluster.
    """
    board: Any = json.loads((CONTRIB / "grafana" / "anycast-sdn.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "1m")
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            (without_limit,) = re.findall(r"^(.*) [<>=]{1,2} [0-9.]+$", rule["expr"], re.DOTALL)
            if "anycast_sdn_cluster_" not in without_limit:
                yield without_limit


class Prometheus:
    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def is_up(self) -> bool:
        try:
            targets = self.ask("targets")["activeTargets"]
        except OSError:
            return False
        return [target["health"] for target in targets] == ["up"]

    def has_data(self, expression: str) -> bool:
        """Is there a number among what it returns?"""
        return any(not math.isnan(float(each["value"][1])) for each in self.ask("query", query=expression)["result"])

    def alerts(self, name: str) -> list[dict[str, str]]:
        return [alert["labels"] for alert in self.ask("alerts")["alerts"] if alert["labels"]["alertname"] == name]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("metrics")
    file = edited("figure1.yaml", directory, ("# A subnet is where hosts live.", UPLINK))
    with running(file, directory, "--binding-log", str(directory / "bindings.jsonl")) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2, V4.as3])
        network.serve_udp("as2", "as3")
        network.call("PUT", f"/v1/groups/web/servers/{V4.as2}/load", {"cpu": 0.25, "ttl_s": 600})
        yield network


@pytest.fixture(scope="module")
def prometheus(network: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """As contrib/prometheus has it, but oftener, and where this controller listens."""
    if not shutil.which("prometheus"):
        pytest.skip("mininet/install installs prometheus")
    directory: Path = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((CONTRIB / "prometheus" / "prometheus.yaml").read_text())
    configuration["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    configuration["rule_files"] = [str(RULES)]
    (job,) = configuration["scrape_configs"]
    job |= {"scrape_interval": EVERY, "scrape_timeout": EVERY}
    job["static_configs"] = [{"targets": [f"127.0.0.1:{network.controller.rest_port}"]}]
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    from programs import free_ports

    (port,) = free_ports(1)
    words = ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]  # fmt: skip
    server = subprocess.Popen(words, cwd=directory, stdout=sys.stderr, stderr=sys.stderr)
    try:
        found = Prometheus(port)
        until(found.is_up, "Prometheus has scraped the controller", 60)
        yield found
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.row("M34", "every expression of board and alert rules returns data, in the distribution's Prometheus")
def test_every_expression_of_board_and_rules_returns_data(network: Running, prometheus: Prometheus) -> None:
    missing = [*expressions()]
    assert len(missing) > 45
    with cut(network, "core", 12):
        until(lambda: prometheus.alerts("AnycastLinkDown"), "the alert about the link is raised", 60)

        def all_found() -> bool:
            network.ask("h1", V4.web, "--flows", 5)
            missing[:] = [each for each in missing if not prometheus.has_data(each)]
            return not missing

        try:
            until(all_found, "all expressions return data", 60)
        except Exception as error:
            raise AssertionError(f"these return nothing: {missing}") from error
    until(lambda: not prometheus.alerts("AnycastLinkDown"), "the alert about the link is over", 60)
