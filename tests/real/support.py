"""What the tests of this folder share: networks that run, and short words for what is asked of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from anycast_sdn.description import reading

if TYPE_CHECKING:  # where Mininet is not installed, this file must still be readable to say so
    from testbed import ControllerProcess, Program, Testbed

ROOT = Path(__file__).parents[2]
TOPOLOGIES = ROOT / "topologies"
PROGRAMS = Path(__file__).parent / "programs"
PORT = 7000  # of the UDP servers
SLACK_S = 2.0  # more than it takes, for a busy machine
FIRST_PORT, EPHEMERAL = 23000, 32768  # clients' ports: ours up to those that the kernel gives out


class Family(NamedTuple):
    """The addresses of figure 1 in one address family; ``web`` is the service address of group web."""

    name: str
    web: str
    gateway: str
    h1: str
    h2: str
    as2: str
    as3: str
    as4: str
    translation: str  # how an address of PRh/k begins
    ip: str  # tcpdump's name for it


V4 = Family("IPv4", "198.18.0.1", "10.1.0.1", "10.1.0.10", "10.1.0.11", "10.2.0.10", "10.3.0.10", "10.3.0.11",
            "203.0.113.", "ip")  # fmt: skip
V6 = Family("IPv6", "2001:db8:a::1", "2001:db8:1::1", "2001:db8:1::10", "2001:db8:1::11", "2001:db8:2::10",
            "2001:db8:3::10", "2001:db8:3::11", "2001:db8:1:f:", "ip6")  # fmt: skip
# Marks all tests of a file: its networks have client edges with each engine in turn.
on_both_engines = pytest.mark.parametrize("engine", ["rules", "conntrack"], indirect=True, scope="module")
rules_alone = pytest.mark.rules_alone
with_conntrack = pytest.mark.with_conntrack
in_both_families = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
ARH1_MAC, ARS2_MAC, ARS3_MAC = (b"\x02\xac" + dpid.to_bytes(4, "big") for dpid in (1, 2, 3))  # as hosts see them
CONNTRACK = ("    client_edge:\n", "    client_edge:\n      engine: conntrack\n")  # of figure 1: see ``edited``
WEB = ("198.18.0.1/32", "2001:db8:a::1/128")  # the prefixes of group web


def need_testbed() -> None:
    """Skips the test where no testbed can be, and says why; where CI=true, it fails."""
    try:
        from testbed import obstacle

        reason = obstacle()
    except ImportError as error:
        reason = f"{error}; run mininet/install"
    if reason:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def program(name: str, *arguments: object) -> list[str]:
    """The words that start one of ``programs/`` on a host: by the system's Python, nothing else."""
    return ["/usr/bin/python3", str(PROGRAMS / name), *map(str, arguments)]


@dataclass
class Running:
    """A network with its controller, both up."""

    testbed: Testbed
    controller: ControllerProcess
    _next_port: int = FIRST_PORT

    # -------------------------------------------------------------------------- the controller

    def enrol(self, group: str, prefixes: Iterable[str], servers: Iterable[str]) -> None:
        """A group that has just these servers, all of them found and ready."""
        wanted = set(servers)
        self.controller.enrol(group, prefixes, wanted)
        for server in {server["address"] for server in self.servers(group)} - wanted:
            self.call("DELETE", f"/v1/groups/{group}/servers/{server}")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A REST call that must succeed → the answer's body."""
        answer = self.controller.rest(method, path, body)
        assert answer.status in (200, 201, 202, 204), answer
        return answer.body

    def servers(self, group: str) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/v1/groups/{group}/servers")["servers"])

    def wait_for_servers(self, *groups: str) -> None:
        """Returns when the controller has found every server of these groups."""
        until(
            lambda: all(server["reachable"] for group in groups for server in self.servers(group)),
            f"the servers of {', '.join(groups)} are found",
        )
        self.controller.await_routes()

    def flows(self, query: str = "") -> list[dict[str, Any]]:
        return list(self.call("GET", f"/v1/flows?limit=1000&{query}")["flows"])

    def flow(self, client: str, source_port: int) -> dict[str, Any]:
        """The one flow of this client and source port."""
        (flow,) = [flow for flow in self.flows(f"client={client}") if flow["client_port"] == source_port]
        return flow

    def rules_of(self, flow: dict[str, Any]) -> list[str]:
        """The rules on its client edge that name the flow's PR1X."""
        named = (f"_dst={flow['translated']},", f"set_field:{flow['translated']}->")
        rules = self.testbed.ofctl("dump-flows", flow["edge"], "--no-stats").splitlines()
        return [rule for rule in rules if any(name in rule for name in named)]

    def are_gone(self, flows: list[dict[str, Any]]) -> bool:
        """Neither bindings nor rules are left of these flows."""
        alive = {(flow["edge"], flow["number"]) for flow in self.flows()}
        return not any((flow["edge"], flow["number"]) in alive or self.rules_of(flow) for flow in flows)

    def edge(self, name: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/v1/edges/{name}"))

    def drops(self, edge: str, counter: str) -> int:
        return int(self.edge(edge)["drops"].get(counter, 0))

    @contextmanager
    def counts(self, edge: str, counter: str, packets: int = 1) -> Iterator[None]:
        """What happens in the block makes this counter grow by so much; waits for that, not for more."""
        before = self.drops(edge, counter)
        yield
        until(lambda: self.drops(edge, counter) >= before + packets, f"{edge} counts {packets} {counter}")
        assert self.drops(edge, counter) == before + packets

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line, asking this controller."""
        rest = ["--rest", f"127.0.0.1:{self.controller.rest_port}"]
        return anycast_sdn(*words, *rest)

    # -------------------------------------------------------------------------- hosts

    def serve_udp(self, *hosts: str, port: int = PORT, pass_to: Iterable[str] = ()) -> list[Program]:
        """UDP servers, each with its host's name, that listen; see programs/udp_server.py."""
        options = ["--pass-to", *pass_to] if pass_to else []
        servers = [self.testbed.spawn(host, program("udp_server.py", host, port, *options)) for host in hosts]
        for host in hosts:
            self.testbed.wait_listening(host, port, "udp")
        return servers

    def serve_tcp(self, *hosts: str, port: int = PORT) -> None:
        for host in hosts:
            self.testbed.spawn(host, program("tcp_server.py", host, port))
        for host in hosts:
            self.testbed.wait_listening(host, port)

    @contextmanager
    def transfer(self, host: str, address: str, server: str) -> Iterator[int]:
        """A TCP connection to this server, with traffic as long as the block lasts; it arrives whole → its port."""
        size, rate = 3_000_000, 30_000  # bytes, bytes per second: more time than any block takes
        client = self.testbed.spawn(host, program("tcp_client.py", address, PORT, "--bytes", size, "--rate", rate))
        until(lambda: f"connected to {server}" in client.output(), f"the transfer from {server} begins")
        yield int(client.output().split()[-1])
        assert client.process.poll() is None, "all this was to happen during the transfer"
        client.process.send_signal(signal.SIGUSR1)
        until(lambda: client.process.poll() is not None, "the transfer ends", 60)
        assert client.output().splitlines()[1] == f"{size} bytes, checksum right"

    def ask(self, host: str, address: str, *options: object, port: int = PORT) -> list[str]:
        """What programs/udp_client.py prints, line by line: "NAME TEXT" for each answer.

        Without a source port among the options these are new flows: none has the ports of one before, which
        may still be pinned.
        """
        if "--source-port" not in options:
            flows = int(str(options[options.index("--flows") + 1])) if "--flows" in options else 1
            options = (*options, "--first-port", self._new_ports(flows))
        return self.run(host, *program("udp_client.py", address, port, *options)).splitlines()

    def _new_ports(self, count: int) -> int:
        """The first of so many in a row."""
        if self._next_port + count > EPHEMERAL:
            self._next_port = FIRST_PORT
        first, self._next_port = self._next_port, self._next_port + count
        return first

    def mac(self, host: str) -> bytes:
        shown = self.run(host, "cat", f"/sys/class/net/{self.testbed.interface(host)}/address")
        return bytes.fromhex(shown.strip().replace(":", ""))

    def send_frames(self, host: str, frames: Iterable[bytes]) -> None:
        """Ethernet frames leave the host's interface just as they are."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(f"{frame.hex()}\n" for frame in frames)
            file.flush()
            self.run(host, *program("send_frames.py", self.testbed.interface(host), file.name))

    def run(self, host: str, *words: str, timeout_s: float = 60.0) -> str:
        """A program on a host that must succeed → what it prints."""
        done = self.testbed.run(host, words, timeout_s=timeout_s)
        assert done.returncode == 0, done
        return str(done.stdout)


def anycast_sdn(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line, to its end."""
    command = [sys.executable, "-m", "anycast_sdn", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)


def until(condition: Any, what: str, timeout_s: float = 15.0) -> Any:
    """As the testbed's ``wait_until``, which can be imported only where Mininet is."""
    from testbed import wait_until

    return wait_until(condition, what, timeout_s)


def is_userspace() -> bool:
    """Are the switches here Open vSwitch with its userspace datapath?"""
    from nodes import datapath_of_this_machine

    return datapath_of_this_machine() == "user"


class Turn:
    """How the tests of the module that runs now have the machine; ``conftest`` looks at their marks."""

    alone = False


@contextmanager
def running(network_file: Path, directory: Path, *options: str, engine: str = "") -> Iterator[Running]:
    """The network of a file and its controller, all switches connected; database in ``directory``.

    ``options``: further ones of ``anycast-sdn run``.  ``engine``: of client edges, instead of what the file says.
    Fails at the end when the controller has met an error of its own.
    """
    from network_copy import with_engine
    from testbed import ControllerProcess, Testbed

    copy = directory / f"run-{network_file.name}"
    copy.write_text(with_engine(network_file.read_text(), engine))
    controller = ControllerProcess(copy, directory, options)
    network = reading.load(controller.network_file)
    testbed = Testbed(network, controller.openflow_port, alone=Turn.alone, as_in_the_file=False)
    with testbed:
        testbed.take_zones(controller.network_file)
        with controller:
            yield Running(testbed, controller)
            log = controller.log()
    assert "Traceback" not in log, log


def edited(topology: str, directory: Path, *changes: tuple[str, str]) -> Path:
    """A copy of a topology file with texts replaced; each must be there."""
    content = (TOPOLOGIES / topology).read_text()
    for old, new in changes:
        assert old in content, f"{topology} does not say {old!r}"
        content = content.replace(old, new)
    copy = directory / topology
    copy.write_text(content)
    return copy
