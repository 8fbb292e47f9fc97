"""The programs under test on the emulated network: the product, the textbook application.

A contender is a context manager that starts a controller process and ends it.  ``openflow_port`` is where
switches connect, ``pid`` its process; ``await_ready`` returns when it will set up flows for every edge,
and ``punting`` is how a switch would report a flow's first packet and first reply.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import yaml
from emulated import EmulatedSwitch, Host
from flows import EDGE_PORT, FABRIC_PORT, SERVER, SERVICE, Edge
from programs import ControllerProcess, Program, wait_until

from anycast_sdn.core.model import packed
from anycast_sdn.openflow.row import Kind

HERE = Path(__file__).parent
SERVER_EDGE_DPID = 1000
FIRST_FABRIC_PORT = 100  # of the server edge
# Name → what the network file has for a client edge.
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "rules": {"engine": "rules"},
    "conntrack controller": {"engine": "conntrack", "conntrack": {"allocation": "controller"}},
    "conntrack switch": {"engine": "conntrack", "conntrack": {"allocation": "switch"}},
}
Punting = tuple[tuple[int, int], tuple[int, int]]  # (table, cookie) of first packets and of first replies


class Contender(Protocol):
    """A program under test; see above."""

    name: str
    openflow_port: int

    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def await_ready(self, switches: Sequence[EmulatedSwitch]) -> None: ...

    def punting(self, switch: EmulatedSwitch) -> Punting: ...

    def stop(self) -> None: ...

    def log(self) -> str: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...


def emulated_switches(edges: Sequence[Edge], remember: bool = False) -> list[EmulatedSwitch]:
    """The client edges in order, and behind them the server edge with its one server."""
    server = Host(b"\x02\0\0\0\0\x02", 1)
    hosts = {packed(address): server for address in SERVER.values()}
    fabric = [FIRST_FABRIC_PORT + edge.number for edge in edges]
    clients = [EmulatedSwitch(edge.dpid, [EDGE_PORT, FABRIC_PORT], _clients(edge), remember) for edge in edges]
    servers = EmulatedSwitch(SERVER_EDGE_DPID, [1, *fabric], hosts)
    for switch, port in zip(clients, fabric, strict=True):
        switch.links[FABRIC_PORT] = servers, port
        servers.links[port] = switch, FABRIC_PORT
    return [*clients, servers]


def _clients(edge: Edge) -> dict[bytes, Host]:
    return dict.fromkeys(edge.client_addresses(), Host(b"\x02\0\0\0\0\x01", EDGE_PORT))


def network(edges: Sequence[Edge], **client_edge: object) -> dict[str, object]:
    """The network file of the emulated network; ``client_edge``: further settings of all client edges."""
    switches: list[object] = [
        {"name": edge.name, "dpid": edge.dpid,
         "client_edge": {"translation_prefixes": [*edge.translation.values()], **client_edge}}
        for edge in edges
    ]  # fmt: skip
    subnets: list[object] = [
        {"name": f"clients-{edge.number}", "edge": edge.name, "side": "client", "ports": [EDGE_PORT],
         "gateways": [prefix.replace(".0.0/", ".0.1/").replace("::/", "::1/") for prefix in edge.clients.values()]}
        for edge in edges
    ]  # fmt: skip
    gateways = ["172.31.0.1/24", "2001:db8:0:5::1/64"]
    return {
        "name": "bench",
        "anycast_prefixes": ["198.18.0.0/16", "2001:db8:a::/48"],
        "switches": [*switches, {"name": "servers", "dpid": SERVER_EDGE_DPID, "server_edge": True}],
        "links": [
            {"ends": [f"{edge.name}:{FABRIC_PORT}", f"servers:{FIRST_FABRIC_PORT + edge.number}"]} for edge in edges
        ],
        "subnets": [*subnets, {"name": "as", "edge": "servers", "side": "server", "gateways": gateways, "ports": [1]}],
    }


class Product(ControllerProcess):
    """``anycast-sdn run`` for a network, its servers enrolled over REST.  ``profile``: where samples go."""

    name = "anycast-sdn"

    def __init__(
        self,
        network: object,
        directory: Path,
        servers: Sequence[str],
        profile: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        file = directory / "network.yaml"
        file.write_text(yaml.safe_dump(network, sort_keys=False))
        super().__init__(file, directory, options)
        self._servers = servers
        self._profile = profile

    @classmethod
    def emulated(
        cls, network: object, directory: Path, profile: Path | None = None, options: Sequence[str] = ()
    ) -> Product:
        return cls(network, directory, [*SERVER.values()], profile, options)

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.process.pid

    def start(self, timeout_s: float = 30.0) -> None:
        """Does not wait, as the switches may be ours to run; ``await_enrolled`` does."""
        self.database.unlink(missing_ok=True)
        words = [str(HERE / "sampler.py"), str(self._profile)] if self._profile else ["-m"]
        words += ["anycast_sdn", "run", str(self.network_file), "--database", str(self.database)]
        words += ["--openflow", f"127.0.0.1:{self.openflow_port}", "--rest", f"127.0.0.1:{self.rest_port}"]
        self._program = Program([sys.executable, *words, *self._options])

    def await_enrolled(self) -> None:
        """Returns when all switches hold their rules, and the servers are enrolled and answer."""
        wait_until(self._is_ready, "the controller is ready")
        self.enrol("bench", [f"{SERVICE[4]}/32", f"{SERVICE[6]}/128"], self._servers)
        wait_until(self._servers_answer, "the servers have answered")

    def await_ready(self, switches: Sequence[EmulatedSwitch]) -> None:
        self.await_enrolled()
        for switch in switches[:-1]:
            wait_until(_has(switch, Kind.FIRST_REPLY), "rules for first replies")
            switch.announce()
        wait_until(lambda: self._knows(switches[:-1]), "the clients are known")

    def _knows(self, switches: Sequence[EmulatedSwitch]) -> bool:
        edges = {edge["dpid"]: len(edge["hosts"]) for edge in self.rest("GET", "/v1/edges").body["edges"]}
        return all(edges[switch.dpid] >= switch.hosts for switch in switches)

    def start_profile(self) -> None:
        """Samples from now on."""
        os.kill(self.pid, signal.SIGUSR1)

    def _servers_answer(self) -> bool:
        group = self.rest("GET", "/v1/groups/bench").body
        return all(server["reachable"] for server in group["servers"])

    def punting(self, switch: EmulatedSwitch) -> Punting:
        return switch.rules.punting(Kind.FIRST_PACKET), switch.rules.punting(Kind.FIRST_REPLY)


def _has(switch: EmulatedSwitch, kind: Kind) -> Callable[[], bool]:
    return lambda: switch.rules.has(kind)


class _Bare:
    """A controller without a REST interface, on a port of its own."""

    openflow_port: int
    _program: Program

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.openflow_port = unused.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._program.process.pid

    def start(self) -> None:
        self._program = Program([sys.executable, *self._words()])

    def _words(self) -> list[str]:
        raise NotImplementedError

    def stop(self) -> None:
        self._program.stop()

    def log(self) -> str:
        return self._program.output()

    def punting(self, switch: EmulatedSwitch) -> Punting:
        return (0, 0), (1, 0)


class Textbook(_Bare):
    """The textbook application with this configuration."""

    name = "textbook"

    def __init__(self, configuration: object, directory: Path) -> None:
        super().__init__()
        self._file = directory / "textbook.json"
        self._file.write_text(json.dumps(configuration))

    @classmethod
    def emulated(cls, edges: Sequence[Edge], directory: Path) -> Textbook:
        switches: dict[int, object] = {edge.dpid: {"prefixes": [*edge.translation.values()]} for edge in edges}
        switches[SERVER_EDGE_DPID] = {}
        services, servers = [*SERVICE.values()], [*SERVER.values()]
        return cls({"services": services, "servers": servers, "switches": switches}, directory)

    def _words(self) -> list[str]:
        return [str(HERE / "textbook.py"), str(self._file), str(self.openflow_port)]

    def await_ready(self, switches: Sequence[EmulatedSwitch]) -> None:
        wait_until(lambda: all(switch.introduced for switch in switches), "all switches are introduced")
        time.sleep(0.5)  # it does not report that it is ready: it is when it has handled the last replies


class Responder(_Bare):
    """No controller: ready-made answers, to measure the generator itself.  One switch only."""

    name = "responder"

    def _words(self) -> list[str]:
        return [str(HERE / "responder.py"), str(self.openflow_port)]

    def await_ready(self, switches: Sequence[EmulatedSwitch]) -> None:
        """It needs no introduction."""
