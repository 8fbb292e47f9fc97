"""A network file as a real network: Mininet hosts in namespaces, one Open vSwitch bridge per switch.

Rules that it keeps:
- Only what was made here is changed or removed.  Bridges carry a mark, names are
  those of ``plan``, processes are ended by their own id.  All of it goes with ``stop``;
  what a run that was killed left behind goes with the next ``start``.
- Switch ports have no address, and hosts no link but those of the file.  ``start`` returns when every
  host's addresses are in place in its own namespace: nothing sent there can leave by another way.
- Names of bridges are global, and so are zones of the connection tracker: testbeds with the same ones take turns
  (``places``).
- Every wait is for a condition, with a deadline.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import zones
from capture import Capture
from mininet.link import Intf
from mininet.net import Mininet
from mininet.node import Node, OVSBridge, OVSSwitch
from network_copy import with_zones
from nodes import CLI, Anycast, datapath_of_this_machine
from places import ALL_NAMES, AS_IN_THE_FILE, routers_taken, taken
from plan import Plan
from programs import (
    DEADLINE_S,
    ControllerProcess,
    Program,
    TestbedError,
    end,
    launch,
    output_of,
    undisturbed,
    wait_until,
)
from routers import Routers, remove_leftovers
from switch_proxy import Proxies

from anycast_sdn.core.model import text
from anycast_sdn.description.model import Host, Network, Switch

__all__ = ["Capture", "ControllerProcess", "Program", "Testbed", "TestbedError", "obstacle", "wait_until"]

RECONNECT_MS = 1000  # a switch tries to connect this often at least; Open vSwitch's own default is 8 s
PROBE_MS = 5000  # a switch sends an echo request after this, and reconnects after as much again without a reply

Command: TypeAlias = str | Sequence[str]  # a string is for the shell


def obstacle() -> str | None:
    """Why no testbed can be built on this machine now, if so."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        output_of("mnexec", "-n", "true")  # Mininet itself would hang where namespaces are forbidden
        output_of("ovs-vsctl", "--timeout=5", "show")
    except (FileNotFoundError, TestbedError) as error:
        return f"Mininet and Open vSwitch do not work here; run mininet/install ({error})"
    return None


class _Port(Intf):  # type: ignore[misc]
    """An interface; a switch's must not speak IPv6 for the root namespace, so that is off before it is up."""

    def config(self, **params: Any) -> Any:
        own_ipv6 = Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6")
        if isinstance(self.node, OVSSwitch) and own_ipv6.exists():
            own_ipv6.write_text("1")
        return super().config(**params)


class _Switch(OVSSwitch):  # type: ignore[misc]
    """An Open vSwitch bridge that carries a mark from its first moment."""

    mark = ""

    def bridgeOpts(self) -> str:
        return f"{super().bridgeOpts()} {self.mark}"


class _Unmanaged(OVSBridge):  # type: ignore[misc]
    """The same, for a switch that learns by itself."""

    mark = ""

    def bridgeOpts(self) -> str:
        return f"{super().bridgeOpts()} {self.mark}"


class Testbed:
    """``network`` on this machine; a context manager.  ``openflow_ports``: where controllers listen.

    ``alone``: there is no other testbed meanwhile.  ``as_in_the_file``: bridges have the names of the network file;
    otherwise others may be of the same file, and ask by ``bridge`` and ``interface`` for what they are called.
    """

    __test__: ClassVar = False

    def __init__(
        self,
        network: Network,
        *openflow_ports: int,
        alone: bool = False,
        as_in_the_file: bool = True,
    ) -> None:
        self.network = network
        self.openflow_ports = openflow_ports
        self._is_alone = alone
        self._as_in_the_file = as_in_the_file
        self._names = AS_IN_THE_FILE
        self._plan = Plan(network)
        self.routers = Routers(network)  # none, when the network has no legacy core
        self._programs: list[Program] = []
        self.zones = range(0)
        self._proxies = Proxies(())
        self._undo = ExitStack()

    def __enter__(self) -> Testbed:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Builds the network; when that fails, nothing is left behind."""
        if reason := obstacle():
            raise TestbedError(reason)
        with ExitStack() as undo:
            self._names = undo.enter_context(taken(self._is_alone, self._as_in_the_file))
            self._plan = Plan(self.network, self._names.prefix)
            if self.network.legacy_core:
                undo.enter_context(routers_taken())
            self._remove_leftovers()
            undo.callback(self._remove)
            atexit.register(self.stop)  # for a signal just before a `with` block begins or ends
            self._proxies = undo.enter_context(Proxies(self.openflow_ports))
            self._build()
            self._configure_switches(self.network.switches)
            for host in self.network.hosts:
                wait_until(partial(self._is_addressed, host), f"{host.name} has its addresses")
            if self.network.legacy_core:
                self.routers.start(lambda name: int(self.host(name).pid), self._plan.short, self._must_run)
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """Removes everything that ``start`` and ``spawn`` made; may be called at any time."""
        with undisturbed():
            self._undo.close()
        atexit.unregister(self.stop)

    # -------------------------------------------------------------------------- using it

    def host(self, name: str) -> Node:
        """The Mininet host."""
        return self._mininet.nameToNode[name]

    def interface(self, name: str, port: int = 0) -> str:
        """The interface of a switch's port, or of a host."""
        return self._plan.interface(name, port)

    def bridge(self, switch: str) -> str:
        """What Open vSwitch calls a switch: its name, where Linux has room for it."""
        return self._plan.bridge(switch)

    def own(self, name: str) -> str:
        """A name of something in the root namespace, made such that no other testbed has it at the same time."""
        return f"{self._names.prefix}{name}"

    def take_zones(self, network_file: Path) -> None:
        """Where a network file names no zones of the connection tracker, it gets ``zones``, which no other testbed has.

        They are empty now, and at the end, when they lose their timeouts, too.
        """
        content, self.zones = with_zones(network_file.read_text(encoding="utf-8"), self._names.zone)
        network_file.write_text(content, encoding="utf-8")
        zones.clear(self.zones)

    def run(self, host: str, command: Command, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Runs a program on a host to its end; subprocess.TimeoutExpired when that does not come."""
        words = _words(command)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = launch(words, self.host(host).pid, text=True, **pipes)
        try:
            output, errors = process.communicate(timeout=timeout_s)
        finally:
            end(process)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def spawn(self, host: str, command: Command) -> Program:
        """Starts a program on a host; it ends with the testbed, or before by its ``stop``."""
        program = Program(_words(command), self.host(host).pid)
        self._programs.append(program)
        return program

    def wait_listening(self, host: str, port: int, protocol: str = "tcp") -> None:
        """Waits until something on the host listens on a port of "tcp" or "udp"."""
        question = ["ss", "-Hln", f"--{protocol}", f"sport = :{port}"]
        wait_until(lambda: self.run(host, question).stdout, f"{host} listens on {port}/{protocol}")

    def capture(self, name: str, port: int = 0, expression: str = "ip or ip6") -> Capture:
        """What passes a host's interface, or a switch's port, in both directions; a context manager.

        ``expression`` is tcpdump's filter.  Packets count from the beginning of the block to its end.
        """
        is_switch = any(switch.name == name for switch in self.network.switches)
        return Capture(self.interface(name, port), expression, None if is_switch else self.host(name).pid)

    def stop_switch(self, name: str) -> None:
        """Removes the bridge with all its rules; its neighbours keep their carrier."""
        self._mininet.nameToNode[self.bridge(name)].stop(deleteIntfs=False)

    def start_switch(self, name: str) -> None:
        """Makes the bridge again, without rules, and sets its controller."""
        self._mininet.nameToNode[self.bridge(name)].start([])
        self._proxies.made_anew(name)
        self._configure_switches([self.network.switch(name)])

    def ofctl(self, command: str, switch: str, *arguments: str) -> str:
        """``ovs-ofctl COMMAND SWITCH ARGUMENTS…`` in OpenFlow 1.3 → what it prints."""
        return output_of("ovs-ofctl", "-O", "OpenFlow13", command, self.bridge(switch), *arguments)

    def prompt(self) -> None:
        """Mininet's command line, until the user leaves it."""
        CLI(self._mininet)

    # -------------------------------------------------------------------------- building it

    def _build(self) -> None:
        datapath = datapath_of_this_machine() or "kernel"
        self._mininet = Mininet(
            topo=Anycast(self._plan, datapath, type("Unmanaged", (_Unmanaged,), {"mark": self._names.mark})),
            switch=type("Switch", (_Switch,), {"mark": self._names.mark}),
            controller=None,
            intf=_Port,
            build=False,  # so that `_remove` finds what there is of it
        )
        self._mininet.start()

    def _configure_switches(self, switches: Collection[Switch]) -> None:
        """Waits until each port has its number; then sets the switches' controllers."""
        names = [switch.name for switch in switches]
        commands = []
        for port in self._plan.ports():
            if port.switch in names:
                commands += ["--", "wait-until", "Interface", self.interface(*port), f"ofport={port.number}"]
        for switch in switches if self.openflow_ports else ():
            bridge, ports = self._plan.bridge(switch.name), self._proxies.ports(switch)
            made = [f"@{bridge}-{listens}" for listens in ports]
            for name, listens in zip(made, ports, strict=True):
                commands += ["--", f"--id={name}", "create", "Controller", f'target="tcp:127.0.0.1:{listens}"']
                commands += [f"max_backoff={RECONNECT_MS}", f"inactivity_probe={PROBE_MS}"]
            commands += ["--", "set", "Bridge", bridge, f"controller=[{','.join(made)}]"]
        output_of("ovs-vsctl", f"--timeout={DEADLINE_S:.0f}", *commands)

    def _is_addressed(self, host: Host) -> bool:
        shown = self._must_run(host.name, f"ip -json address show dev {self.interface(host.name)}")
        state = json.loads(shown)[0]
        usable = {entry["local"] for entry in state["addr_info"] if not entry.get("tentative")}
        return state["operstate"] == "UP" and usable >= set(map(text, host.addresses))

    def _must_run(self, host: str, command: str) -> str:
        done = self.run(host, command)
        if done.returncode != 0:
            raise TestbedError(f"{host}: {command}: {done.stderr.strip()}")
        return done.stdout

    # -------------------------------------------------------------------------- removing it

    def _remove(self) -> None:
        for program in self._programs:
            program.stop()
        self.routers.stop()
        # Not Mininet's own stop(): it talks to shells that may hang when it was interrupted.
        for node in self._mininet.nameToNode.values():
            node.terminate()
        delete(list(self._plan.bridges()), self._interfaces())
        zones.clear(self.zones)

    def _remove_leftovers(self) -> None:
        """What an earlier run left when it was killed; refuses to take over bridges of others."""
        if self._is_alone or self.network.legacy_core:
            remove_leftovers()
        find = ("ovs-vsctl", "--bare", "--columns=name", "find", "Bridge")
        free = ALL_NAMES if self._is_alone else (self._names,)
        ours = [bridge for names in free for bridge in output_of(*find, names.mark).split()]
        foreign = set(output_of("ovs-vsctl", "list-br").split()) - set(ours)
        if foreign := foreign.intersection(self._plan.bridges()):
            raise TestbedError(f"bridges of these names exist and are not ours: {', '.join(sorted(foreign))}")
        interfaces = set(filter(_exists, self._interfaces()))
        for bridge in ours:
            interfaces.update(output_of("ovs-vsctl", "list-ports", bridge).split())
        if ours or interfaces:
            print("testbed: removing what an earlier run left:", *ours, *sorted(interfaces), file=sys.stderr)
            delete(ours, interfaces)
        if others := list(filter(_exists, self._plan.bridges())):
            raise TestbedError(f"this machine has interfaces of these names already: {', '.join(others)}")

    def _interfaces(self) -> list[str]:
        return [self.interface(*port) for port in self._plan.ports()]


def _words(command: Command) -> list[str]:
    return ["sh", "-c", command] if isinstance(command, str) else list(command)


def _exists(interface: str) -> bool:
    return Path("/sys/class/net", interface).exists()


def delete(bridges: Collection[str], interfaces: Collection[str]) -> None:
    """Returns when none of them is there any more."""
    for bridge in bridges:
        output_of("ovs-vsctl", f"--timeout={DEADLINE_S:.0f}", "--if-exists", "del-br", bridge)
    for interface in filter(_exists, interfaces):
        # It may be gone by now: either end of a link takes the other along.  The check is below.
        subprocess.run(["ip", "link", "delete", interface], capture_output=True)
    wait_until(lambda: not any(map(_exists, interfaces)), f"{', '.join(interfaces)} to be gone")
