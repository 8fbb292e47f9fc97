"""The ordinary routers of a network file's ``legacy_core``: FRR in namespaces, beside the testbed's switches.

Each router runs FRR's own daemons: zebra, OSPF for both families, and BGP, inwards to the other routers
and outwards to the controller in the name of the edge at its uplink.  The machine's own FRR, if there is
one, is not touched: configuration, sockets and process ids are in a folder of this run.

A BGP session goes from the root namespace to its router over a cable of its own.  An unreachable route to the same
prefix, with a worse metric, is there before the cable and after it, so that packets for a router that is gone do not
leave the machine.  An address to which this machine has another route already is refused.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from programs import Program, TestbedError, output_of, wait_until

from anycast_sdn.core.model import Address, Prefix, text
from anycast_sdn.description.model import BgpSession, LegacyCore, LegacyRouter, Link, Network, Port, Uplink

FRR = Path("/usr/lib/frr")
DAEMONS = ("zebra", "staticd", "ospfd", "ospf6d", "bgpd")  # in the order of their start
PROTOCOL = "173"  # marks our routes in the root namespace; not used in rt_protos
FOLDER = "anycast-sdn-frr-"  # in /run; a run's own
READY_S = 60.0

MustRun = Callable[[str, str], str]  # (host, shell command) → what it prints


def cables(network: Network) -> Iterator[Link]:
    """Uplinks and the cables between routers, with their costs; none without a legacy core.

    A router's ports are numbered from 0: its uplinks in the order of the file, then its cables.
    """
    core = network.legacy_core
    if core is None:
        return
    numbers = {router.name: itertools.count() for router in core.routers}
    for router in core.routers:
        for uplink in (uplink for uplink in network.uplinks if uplink.name in router.uplinks):
            yield Link(Port(uplink.edge, uplink.port), Port(router.name, next(numbers[router.name])), mtu=uplink.mtu)
    for cable in core.cables:
        first, second = (Port(end, next(numbers[end])) for end in cable.ends)
        yield Link(first, second, cable.cost)


def bgp_interface(short: str, session: int) -> str:
    """In the root namespace, for the controller."""
    return f"bgp-{short}-{session}"


def control_interface(short: str, session: int) -> str:
    """In the router's namespace, the other end of that."""
    return f"{short}-ctl{session}"


class Router:
    """One router.  ``short``: what its interfaces are called after, its uplinks' first, then its cables';
    ``namespace_of``: a process in its namespace.
    """

    def __init__(self, router: LegacyRouter, short: str, network: Network, namespace_of: int, folder: Path) -> None:
        assert network.legacy_core
        self.name = router.name
        self._short = short
        self._router = router
        self._network = network
        self._core = network.legacy_core
        self._namespace_of = namespace_of
        self._folder = folder / router.name
        self._programs: list[Program] = []
        self.uplinks = [uplink for uplink in network.uplinks if uplink.name in router.uplinks]
        self.cables = [cable for cable in self._core.cables if router.name in cable.ends]

    def interface(self, index: int) -> str:
        return f"{self._short}-eth{index}"

    def addresses(self) -> Iterator[tuple[str, str]]:
        """(interface, address with the length of its link)."""
        for address in self._router.loopbacks:
            yield "lo", str(Prefix.host(address))
        for index, uplink in enumerate(self.uplinks):
            for own in uplink.addresses:
                router = uplink.router(own.prefix.is_v6)
                if router:
                    yield self.interface(index), f"{text(router)}/{own.prefix.length}"
        for index, cable in enumerate(self.cables, len(self.uplinks)):
            for prefix in cable.prefixes:
                own_end = _nth(prefix, 1 + cable.ends.index(self.name))
                yield self.interface(index), f"{text(own_end)}/{prefix.length}"

    def sessions(self) -> Iterator[BgpSession]:
        """With controllers."""
        for uplink in self.uplinks:
            if uplink.bgp:
                yield from uplink.bgp.all_sessions()

    def configure(self, must_run: MustRun) -> None:
        commands = [
            "ip link set lo up",
            "echo 1 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
        ]
        commands += [f"ip address add {address} dev {interface}" for interface, address in self.addresses()]
        commands += [
            f"ethtool -K {self.interface(index)} tx off" for index in range(len(self.uplinks) + len(self.cables))
        ]
        must_run(self.name, " && ".join(commands))

    # -------------------------------------------------------------------------- FRR

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        shutil.chown(self._folder, "frr", "frr")  # FRR's daemons become this user
        for daemon in DAEMONS:
            configuration = self._folder / f"{daemon}.conf"
            configuration.write_text("\n".join(self._configuration(daemon)) + "\n")
            configuration.chmod(0o640)  # bgpd's holds the sessions' passwords
            shutil.chown(configuration, "frr", "frr")
            words = [str(FRR / daemon), "-f", f"{self._folder}/{daemon}.conf", "-i", f"{self._folder}/{daemon}.pid"]
            words += ["-z", f"{self._folder}/zserv.api", "--vty_socket", str(self._folder), "-P", "0"]
            program = Program(words, self._namespace_of)
            self._programs.append(program)
            wait_until((self._folder / f"{daemon}.vty").exists, f"{self.name} runs {daemon}")

    def stop(self) -> None:
        """Ends the daemons as their service would; they close their sessions."""
        for program in reversed(self._programs):
            program.stop()
        self._programs.clear()

    def kill(self) -> None:
        """A crash: the daemons close no sessions, and their routes stay in the kernel."""
        for program in self._programs:
            program.process.send_signal(signal.SIGKILL)
        self.stop()
        for left in (*self._folder.glob("*.vty"), self._folder / "zserv.api"):
            left.unlink(missing_ok=True)

    def paths(self, prefix: str) -> dict[str, bool]:
        """BGP's paths to a prefix: next hop → is it the best one?  Empty when the table does not have it."""
        family = "ipv6" if ":" in prefix else "ipv4"
        return {
            hop["ip"]: bool(path.get("bestpath", {}).get("overall"))
            for path in self.show(f"bgp {family} unicast {prefix}").get("paths", ())
            for hop in path["nexthops"]
            if hop.get("scope", "global") == "global"
        }

    def show(self, question: str) -> Any:
        """``vtysh -c "show QUESTION json"`` → the answer."""
        return json.loads(self.vtysh(f"show {question} json"))

    def vtysh(self, *commands: str) -> str:
        """FRR's command line → what it prints."""
        words = [word for command in commands for word in ("-c", command)]
        return output_of("vtysh", "--vty_socket", str(self._folder), *words)

    def _configuration(self, daemon: str) -> Iterator[str]:
        yield f"hostname {self.name}"
        match daemon:
            case "ospfd":
                yield from self._ospf("ip ospf", "router ospf", "ospf", "0")
            case "ospf6d":
                yield from self._ospf("ipv6 ospf6", "router ospf6", "ospf6", "0.0.0.0")
            case "bgpd":
                yield from self._bgp()

    def _ospf(self, word: str, process: str, name: str, area: str) -> Iterator[str]:
        for index, cable in enumerate(self.cables, len(self.uplinks)):
            yield f"interface {self.interface(index)}"
            yield f" {word} area {area}"
            yield f" {word} network point-to-point"
            yield f" {word} cost {cable.cost}"
            yield f" {word} hello-interval 1"
            yield f" {word} dead-interval 4"
        for interface in ("lo", *map(self.interface, range(len(self.uplinks)))):
            yield f"interface {interface}"
            yield f" {word} area {area}"
            yield f" {word} passive"
        yield process
        yield f" {name} router-id {text(self._router.router_id)}"
        yield " timers throttle spf 10 50 500"

    def _bgp(self) -> Iterator[str]:
        inner = [text(router.router_id) for router in self._core.routers if router.name != self.name]
        sessions = list(self.sessions())
        outer = [text(session.local_address) for session in sessions]
        yield f"router bgp {self._core.as_number}"
        yield f" bgp router-id {text(self._router.router_id)}"
        yield " no bgp ebgp-requires-policy"
        yield " no bgp default ipv4-unicast"
        yield " no bgp network import-check"
        yield " timers bgp 3 10"
        for other in inner:
            yield f" neighbor {other} remote-as {self._core.as_number}"
            yield f" neighbor {other} update-source {text(self._router.router_id)}"
            yield f" neighbor {other} timers connect 2"
        for session, controller in zip(sessions, outer, strict=True):
            yield f" neighbor {controller} remote-as {session.local_as}"
            yield f" neighbor {controller} passive"
            if session.password:
                yield f" neighbor {controller} password {session.password}"
        for v6 in (False, True):
            yield f" address-family {'ipv6' if v6 else 'ipv4'} unicast"
            yield from (f"  neighbor {neighbour} activate" for neighbour in (*inner, *outer))
            yield from (f"  network {prefix}" for prefix in self._own_prefixes() if prefix.is_v6 is v6)
            yield " exit-address-family"

    def _own_prefixes(self) -> Iterator[Prefix]:
        """Announced so that hosts can reach the routers: for ping and traceroute."""
        for cable in self.cables:
            yield from cable.prefixes


class Routers:
    """All routers of a network, and their BGP sessions' cables to the root namespace."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._by_name: dict[str, Router] = {}
        self._undo = ExitStack()

    def __iter__(self) -> Iterator[Router]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Router:
        return self._by_name[name]

    @property
    def core(self) -> LegacyCore:
        assert self._network.legacy_core
        return self._network.legacy_core

    def start(self, pid_of: Callable[[str], int], short_of: Callable[[str], str], must_run: MustRun) -> None:
        """Returns when all routers have routes to all uplinks, and sessions with each other."""
        if missing := [daemon for daemon in DAEMONS if not (FRR / daemon).exists()]:
            raise TestbedError(f"FRR is not installed ({', '.join(missing)}); run mininet/install")
        folder = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER, dir="/run")))
        folder.chmod(0o755)
        self._undo.callback(_remove_routes)
        for router in self.core.routers:
            short = short_of(router.name)
            started = Router(router, short, self._network, pid_of(router.name), folder)
            self._by_name[router.name] = started
            self._undo.callback(started.stop)
            started.configure(must_run)
            for index, session in enumerate(started.sessions()):
                interface = bgp_interface(short, index)
                self._undo.callback(subprocess.run, ["ip", "link", "delete", interface], capture_output=True)
                join_session(session, interface, control_interface(short, index), pid_of(router.name))
            started.start()
        wait_until(lambda: all(self._is_ready(router, must_run) for router in self.core.routers),
                   "the routers have their routes and sessions", READY_S)  # fmt: skip

    def _is_ready(self, router: LegacyRouter, must_run: MustRun) -> bool:
        links = {str(own.prefix) for uplink in self._plugged() for own in uplink.addresses}
        shown = must_run(router.name, "ip -4 route show; ip -6 route show")
        if links - {line.split()[0] for line in shown.splitlines()}:
            return False
        summary = self[router.name].show("bgp ipv4 unicast summary")
        inner = {text(other.router_id) for other in self.core.routers if other is not router}
        return all(summary["peers"][other]["state"] == "Established" for other in inner)

    def _plugged(self) -> list[Uplink]:
        return [uplink for router in self._by_name.values() for uplink in router.uplinks]

    def stop(self) -> None:
        self._undo.close()


def remove_leftovers() -> None:
    """Ends and removes what a killed run has left: daemons, which are no longer its children, and routes."""
    for pid_file in Path("/run").glob(f"{FOLDER}*/*/*.pid"):
        process = Path("/proc", pid_file.read_text().strip())
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended by itself
            if str(pid_file).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
    for folder in Path("/run").glob(f"{FOLDER}*"):
        shutil.rmtree(folder)
    _remove_routes()


def _remove_routes() -> None:
    for family in ("-4", "-6"):
        subprocess.run(["ip", family, "route", "flush", "protocol", PROTOCOL], capture_output=True)


def join_session(session: BgpSession, ours: str, theirs: str, namespace_of: int) -> None:
    """The cable of a BGP session; its end in the root namespace, ``ours``, has the controller's address."""
    length = 8 * len(session.neighbour) - 2
    prefix = Prefix(_network_of(session.neighbour), length)
    if session.local_address not in prefix:
        raise TestbedError(f"{text(session.local_address)} and {text(session.neighbour)} are not in one /{length}")
    family = "-6" if prefix.is_v6 else "-4"
    for relation in ("match", "root"):  # what covers it, and what it covers
        for line in output_of("ip", family, "route", "show", relation, str(prefix)).splitlines():
            if not line.startswith("default "):
                raise TestbedError(f"this machine reaches {prefix} already: {line.strip()}")
    output_of("ip", family, "route", "add", "unreachable", str(prefix), "metric", "4000000000", "protocol", PROTOCOL)
    output_of("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", str(namespace_of))
    output_of("ip", "address", "add", f"{text(session.local_address)}/{length}", "dev", ours)
    output_of("ip", "link", "set", ours, "up")
    inside = ("mnexec", "-a", str(namespace_of), "ip")
    output_of(*inside, "address", "add", f"{text(session.neighbour)}/{length}", "dev", theirs)
    output_of(*inside, "link", "set", theirs, "up")


def _network_of(address: Address) -> Address:
    return (int.from_bytes(address, "big") & ~3).to_bytes(len(address), "big")


def _nth(prefix: Prefix, offset: int) -> Address:
    return (int.from_bytes(prefix.network, "big") + offset).to_bytes(len(prefix.network), "big")
