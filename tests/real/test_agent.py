"""The agent on servers: real programs in namespaces, which reach the controller by a unix socket (M33)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import V4, V6, WEB, Running, edited, program, running, until

if TYPE_CHECKING:
    from testbed import Program

HTTP, AGENT_CHECK = 80, 9777
WEB_SERVERS: dict[str, Program] = {}  # by host
AGENTS: list[Program] = []  # that a test has started
BOTH = {"as2": (V4.as2, V6.as2), "as3": (V4.as3, V6.as3)}
SIZE = 40_000_000  # bytes, of which kernels have a few millions while nobody reads them


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Group web, whose servers are for their agents to enrol; as2 and as3 have a web server with a large file."""
    directory = tmp_path_factory.mktemp("agent")
    soon = edited("figure1.yaml", directory, ("tcp_closed_s: 5 ", "tcp_closed_s: 1 "))
    with running(soon, directory, "--rest", f"unix:{directory}/rest") as network:
        network.call("PUT", "/v1/groups/web", {"prefixes": WEB})
        for host in ("as2", "as3"):
            files = directory / host
            files.mkdir()
            (files / "large").write_bytes(bytes(SIZE))
            (files / "name").write_text(host)
            serve(network, host)
        yield network


@pytest.fixture(autouse=True)
def _without_agents() -> Iterator[None]:
    """No test leaves agents to the next one; killed, they leave their servers enrolled."""
    yield
    while AGENTS:
        AGENTS[-1].process.kill()
        AGENTS.pop().stop()


def serve(network: Running, host: str) -> None:
    """An unmodified web server, of both families; another one is stopped."""
    if host in WEB_SERVERS:
        WEB_SERVERS[host].stop()
    files = Path(network.controller.database).parent / host
    command = ["/usr/bin/python3", "-m", "http.server", str(HTTP), "--bind", "::", "--directory", str(files)]
    WEB_SERVERS[host] = network.testbed.spawn(host, command)
    network.testbed.wait_listening(host, HTTP)


def start(network: Running, host: str, *options: object, addresses: tuple[str, ...]) -> Program:
    """An agent that has enrolled its server."""
    words = [sys.executable, "-m", "anycast_sdn", "agent", "--group", "web"]
    for address in addresses:
        words += ["--address", address]
    words += ["--rest", f"unix:{Path(network.controller.database).parent}/rest", "--interval", "0.5", "--ttl", "3"]
    if "--capacity" not in options:  # the load of this machine, which is busy with tests, is not what a test is about
        words.append("--no-load")
    agent = network.testbed.spawn(host, [*words, *map(str, options)])
    AGENTS.append(agent)
    until(lambda: "in group web" in agent.output(), f"the agent of {host} has enrolled it")
    network.wait_for_servers("web")
    return agent


def server(network: Running, address: str) -> dict[str, Any]:
    (found,) = [server for server in network.servers("web") if server["address"] == address]
    return found


def health(network: Running, address: str) -> str:
    return str(server(network, address)["health"]["status"])


def passed(network: Running, address: str) -> set[str]:
    """The paths of the HTTP checks that the server passes."""
    checks = server(network, address)["health"]["checks"]
    return {check["detail"] for check in checks if (check["type"], check["status"]) == ("http", "passing")}


def fetch(network: Running) -> str:
    """What the real curl gets from the service, by a connection of its own: the server's name, or nothing."""
    return str(network.testbed.run("h1", ["curl", "-gs", "-m", "5", f"http://{V4.web}/name"]).stdout)


@pytest.mark.row("M33", "an agent drains its server at SIGTERM: a download goes on to its end, new flows go elsewhere")
def test_a_download_in_progress_is_completed_before_the_agent_ends(network: Running, tmp_path: Path) -> None:
    agents = [start(network, host, addresses=addresses) for host, addresses in BOTH.items()]
    assert fetch(network) == "as2"
    go_on = tmp_path / "go on"
    read = f"head -c 1000; until [ -e '{go_on}' ]; do sleep 0.05; done; cat"  # so it lasts as long as it is to
    get = f"curl -gsS -m 60 -w '%{{stderr}}%{{size_download}} %{{http_code}}' http://{V4.web}/large"
    download = network.testbed.spawn("h1", ["bash", "-c", f"set -o pipefail; {get} | {{ {read}; }} > /dev/null"])
    until(lambda: network.flows(f"client={V4.h1}&state=pinned"), "the download has begun")
    agents[0].process.send_signal(signal.SIGTERM)
    until(lambda: server(network, V4.as2)["state"] == "draining", "the server is draining")
    until(lambda: fetch(network) == "as3", "new flows go to the other server")
    assert agents[0].process.poll() is None
    assert download.process.poll() is None
    go_on.touch()
    assert agents[0].process.wait(60) == 0
    assert download.process.wait(30) == 0
    assert download.output() == f"{SIZE} 200"


@pytest.mark.row("M33", "HAProxy's agent check: drain, ready and per cents count; what is none changes nothing")
def test_what_the_agent_check_says_is_done(network: Running, tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_text("up ready 100%\n")
    network.testbed.spawn("as2", program("agent_check.py", AGENT_CHECK, said))
    network.testbed.wait_listening("as2", AGENT_CHECK)
    options = ("--weight", 200, "--agent-check", f"127.0.0.1:{AGENT_CHECK}")
    agent = start(network, "as2", *options, addresses=(V4.as2,))

    def shows(**members: object) -> bool:
        return members.items() <= server(network, V4.as2).items()

    said.write_text("drain 50%")
    until(lambda: shows(state="draining", weight=100), "the server is draining, with half of its weight")
    said.write_text("whatever")
    until(lambda: "not understood" in agent.output(), "the agent has heard it")
    assert shows(state="draining", weight=100)
    said.write_text("ready 100% up")
    until(lambda: shows(state="active", weight=200), "the server is active")
    said.write_text("maint 25%\r\n")
    until(lambda: shows(state="draining", weight=50), "the server has a quarter of its weight")
    said.write_text("ready\n100%\n")  # the second line counts for nothing
    until(lambda: shows(state="active", weight=50), "the server is active")


@pytest.mark.row("M26", "an agent reports the load of its server, which counts for both its addresses")
def test_the_load_of_a_server_is_reported(network: Running) -> None:
    check = ("--check", f"http://127.0.0.1:{HTTP}/name", "--capacity", 1000)
    network.controller.rest("DELETE", f"/v1/groups/web/servers/{V4.as2}")
    start(network, "as2", *check, addresses=BOTH["as2"])
    for address in BOTH["as2"]:
        until(lambda address=address: server(network, address)["load"] is not None, f"the load of {address} is known")
    assert 0 <= server(network, V4.as2)["load"]["overall"] <= 1
    assert server(network, V4.as2)["capacity"] == 1000


@pytest.mark.row("M33", "the controller is restarted under an agent, and forgets the server: it is enrolled again")
def test_a_restart_of_the_controller_is_survived(network: Running) -> None:
    agent = start(network, "as2", addresses=(V4.as2,))
    network.controller.stop()
    until(lambda: "trying again" in agent.output(), "the agent has noticed")
    network.controller.start()
    until(lambda: "the controller answers again" in agent.output(), "the agent has noticed")
    network.call("DELETE", f"/v1/groups/web/servers/{V4.as2}")
    until(lambda: V4.as2 in [server["address"] for server in network.servers("web")], "it is enrolled again")
    assert agent.process.poll() is None


@pytest.mark.row("M33", "the program of a server dies: its agent's HTTP check fails, and another server gets new flows")
def test_a_server_whose_program_is_dead_is_avoided(network: Running) -> None:
    check = {"type": "http", "port": HTTP, "path": "/name", "interval_s": 0.5, "timeout_s": 0.5}
    network.call("PATCH", "/v1/groups/web", {"checks": [check]})
    of_its_own = ("--check", f"http://127.0.0.1:{HTTP}/large")
    for host, addresses in BOTH.items():
        start(network, host, *of_its_own, addresses=addresses)
    for address in BOTH["as2"]:
        until(lambda address=address: passed(network, address) == {"/name", "/large"}, f"{address} passes both checks")
    assert fetch(network) == "as2"
    WEB_SERVERS["as2"].stop()
    until(lambda: fetch(network) == "as3", "new flows go to the other server")
    until(lambda: health(network, V4.as2) == "critical", "as2 is critical")
    assert "Connection refused" in server(network, V4.as2)["health"]["reason"]
    serve(network, "as2")
    until(lambda: fetch(network) == "as2", "the nearest server has them again")
    network.call("PATCH", "/v1/groups/web", {"checks": []})


@pytest.mark.row("M33", "ten agents are killed at once: their leases expire, the servers go, the other one serves")
def test_servers_whose_agents_are_killed_go_with_their_leases(network: Running) -> None:
    start(network, "as3", addresses=(V4.as3,))
    addresses = [V4.as2, *(f"10.2.0.{number}" for number in range(21, 30))]
    for address in addresses[1:]:
        network.run("as2", "ip", "address", "add", f"{address}/24", "dev", network.testbed.interface("as2"))
    agents = [start(network, "as2", "--deregister-after", 2, addresses=(address,)) for address in addresses]
    until(lambda: fetch(network) == "as2", "the nearest servers get new flows")
    for agent in agents:
        agent.process.kill()
    until(lambda: fetch(network) == "as3", "new flows go to the other server", 30)
    until(lambda: not set(addresses) & {each["address"] for each in network.servers("web")}, "the ten are removed", 30)
    assert fetch(network) == "as3"
