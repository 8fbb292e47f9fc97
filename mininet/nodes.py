"""A ``Plan`` as a topology of Mininet, and the kinds of nodes that Mininet lacks.

Rules that it keeps:
- In Mininet, hosts and routers have their names of the file; a switch has the name of its bridge.
- A host is ready when Mininet has configured it: addresses and default routes of both families are in
  place, and checksum offload is off, because there is no network card that would compute them.
- Unmanaged switches are bridges without a controller.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mininet.cli
from mininet.link import Link
from mininet.node import Host, OVSBridge
from mininet.topo import Topo
from plan import Plan

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import reading

PROTOCOLS = "OpenFlow13"
IPV6 = "/proc/sys/net/ipv6/conf/default"


class CLI(mininet.cli.CLI):  # type: ignore[misc]
    """Mininet's prompt, for hosts whose names have '-' and '.', too."""

    identchars = mininet.cli.CLI.identchars + "-."


class AnycastHost(Host):  # type: ignore[misc]
    """``commands``: what configures it, once it is plugged in."""

    def __init__(self, name: str, commands: Sequence[str] = (), **params: Any) -> None:
        super().__init__(name, **params | {"ip": None})
        self._commands = commands
        # Interfaces take these over when they are made.  Without DAD addresses are usable at once.
        self.cmd(f"echo 0 | tee {IPV6}/accept_dad {IPV6}/accept_ra")

    def config(self, **params: Any) -> Any:
        configured = super().config(**params | {"ip": None})
        for command in self._commands:
            said, problem, status = self.pexec(command)
            if status:
                raise RuntimeError(f"{self.name}: {command}: {(problem or said).strip()}")
        if self._commands:
            self.defaultIntf().updateIP()  # for Mininet's own ping
        return configured


class NarrowLink(Link):  # type: ignore[misc]
    """A cable that takes smaller packets than hosts send."""

    def __init__(self, *nodes: Any, mtu: int, **params: Any) -> None:
        super().__init__(*nodes, **params)
        for end in (self.intf1, self.intf2):
            end.ifconfig("mtu", str(mtu))


class Anycast(Topo):  # type: ignore[misc]
    """The topology of a plan.  ``datapath`` is Mininet's: user, kernel, or None for what --switch says."""

    def build(self, plan: Plan, datapath: str | None, unmanaged: type[OVSBridge] = OVSBridge) -> None:
        options = {"datapath": datapath} if datapath else {}
        for name, dpid in plan.switches.items():
            self.addSwitch(plan.bridge(name), dpid=f"{dpid:016x}", protocols=PROTOCOLS, **options)
        for name, dpid in plan.unmanaged.items():
            self.addSwitch(plan.bridge(name), cls=unmanaged, dpid=f"{dpid:016x}", **options)
        for host in plan.network.hosts:
            self.addHost(host.name, cls=AnycastHost, commands=plan.host_commands(host.name))
        for router in plan.routers:
            self.addHost(router, cls=AnycastHost)
        bridges = plan.switches.keys() | plan.unmanaged
        for cable in plan.cables:
            a, b = (plan.bridge(end.switch) if end.switch in bridges else end.switch for end in (cable.a, cable.b))
            narrow: dict[str, Any] = {"cls": NarrowLink, "mtu": cable.mtu} if cable.mtu else {}
            self.addLink(
                a, b, **narrow, port1=cable.a.number, port2=cable.b.number,
                intfName1=plan.interface(*cable.a), intfName2=plan.interface(*cable.b))  # fmt: skip


def datapath_of_this_machine() -> str | None:
    """Mininet's default, the kernel's, where that is there: Open vSwitch loads the module when it starts."""
    return None if Path("/sys/module/openvswitch").exists() else "user"


def of_file(file: str = "", *more: object, **others: object) -> Anycast:
    """What ``--topo anycast,FILE`` stands for."""
    try:
        if not file or more or others:
            raise ConfigurationError("write --topo anycast,FILE, a network file whose path has no comma in it")
        network = reading.load(str(file))
        if network.legacy_core:
            raise ConfigurationError(f"{file}: has a legacy_core, whose routers only mininet/demo can run")
    except ConfigurationError as error:
        sys.exit(f"mininet/topology.py: {error}")
    return Anycast(Plan(network), datapath_of_this_machine())
