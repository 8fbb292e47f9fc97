"""A network file as a plan for Mininet: which bridges, hosts and cables there are, and what they are called.

Rules that it keeps:
- Pure; ``topology`` makes it real, for Mininet's own command and for the testbed alike.
- A name that fits is kept: a switch is a bridge of that name, and ports are NAME-ethN.  Linux gives an interface 15
  characters, and a bridge is an interface, too.  For a name that does not fit, or that is another node's, there is a
  short one: its beginning and its place in the file.  The same file always gives the same names.
- A prefix is for what is in the root namespace, and makes names there that are nobody else's.
- Where the file has several hosts on one port, they are plugged into an unmanaged switch of their own there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from routers import bgp_interface, cables, control_interface

from anycast_sdn.core.model import Gateway, text
from anycast_sdn.description.model import Host, Link, Network, Port

IFNAMSIZ = 15  # characters
UNMANAGED_DPIDS = 0xA5D0 << 48  # not used, but each bridge has one


class Plan:
    """How a network is built.  ``prefix``: what the names of all bridges begin with."""

    def __init__(self, network: Network, prefix: str = "") -> None:
        self.network = network
        self._prefix = prefix
        self.switches = {switch.name: switch.dpid for switch in network.switches}
        self.routers = [router.name for router in network.legacy_core.routers] if network.legacy_core else []
        self.unmanaged: dict[str, int] = {}  # name → datapath id
        self._hosts = {host.name: host for host in network.hosts}
        self.cables = [*network.links, *cables(network), *self._host_cables()]
        self._short = self._short_names()

    def short(self, name: str) -> str:
        """What a node's interfaces are called after."""
        return self._short[name]

    def bridge(self, switch: str) -> str:
        """The bridge of a switch."""
        return self._short[switch]

    def interface(self, name: str, port: int = 0) -> str:
        """The interface of a switch's port, of a host, or of a router's port."""
        return f"{self._short[name]}-eth{port}"

    def bridges(self) -> Iterator[str]:
        """All bridges, those of unmanaged switches as well."""
        yield from (self._short[name] for name in (*self.switches, *self.unmanaged))

    def ports(self) -> Iterator[Port]:
        """The ports of bridges that something is plugged into."""
        for cable in self.cables:
            yield from (end for end in (cable.a, cable.b) if end.switch in self.switches.keys() | self.unmanaged)

    def host_commands(self, name: str) -> list[str]:
        """The commands that give a host of the file its addresses and default routes, and turn checksum offload off."""
        host, interface = self._hosts[name], self.interface(name)
        subnet = next(subnet for subnet in self.network.subnets if subnet.name == host.subnet)
        commands = []
        default: dict[int, Gateway] = {}  # by family
        for address in host.addresses:
            gateway = next(gateway for gateway in subnet.gateways if address in gateway.prefix)
            default.setdefault(len(address), gateway)
            commands.append(f"ip address add {text(address)}/{gateway.prefix.length} dev {interface}")
        for gateway in default.values():
            commands.append(f"ip route add default via {text(gateway.address)} dev {interface}")
        # The userspace datapath passes on checksums that were left for the card to fill in.
        return [*commands, f"ethtool -K {interface} tx off"]

    def _host_cables(self) -> Iterator[Link]:
        plugged: dict[Port, list[Host]] = {}
        edges = {subnet.name: subnet.edge for subnet in self.network.subnets}
        for host in self.network.hosts:
            plugged.setdefault(Port(edges[host.subnet], host.port), []).append(host)
        for port, hosts in plugged.items():
            if len(hosts) == 1:
                yield Link(Port(hosts[0].name, 0), port)
                continue
            # A name that no file can give: it has a colon.
            name = str(port)
            self.unmanaged[name] = UNMANAGED_DPIDS + len(self.unmanaged) + 1
            yield Link(Port(name, 1), port)
            yield from (Link(Port(host.name, 0), Port(name, number)) for number, host in enumerate(hosts, 2))

    def _short_names(self) -> dict[str, str]:
        """Node → the name of its bridge, and what its interfaces' names begin with."""
        ports: dict[str, list[int]] = {name: [] for name in (*self.switches, *self.unmanaged)}
        ports |= {name: [] for name in (*self._hosts, *self.routers)}
        for cable in self.cables:
            for end in (cable.a, cable.b):
                ports[end.switch].append(end.number)
        names: dict[str, str] = {}
        taken = set(ports)  # also the names of nodes that get a short one, so that no name stands for two nodes
        for place, name in enumerate(ports, 1):
            for short in self._candidates(name, ports[name], itertools.count(place, len(ports))):
                wanted = self._interfaces(short, name, ports[name])
                if all(map(_is_possible, wanted)) and wanted.isdisjoint(taken - {name}):
                    break
            names[name] = short
            taken |= wanted
        return names

    def _candidates(self, name: str, ports: list[int], numbers: Iterable[int]) -> Iterator[str]:
        """The name itself, then its beginning with one number after the other; a bridge's has the prefix before it."""
        prefix = "" if name in self._hosts or name in self.routers else self._prefix
        yield prefix + name
        room = IFNAMSIZ - max(map(len, self._interfaces(prefix, name, ports)))
        plain = name.replace(":", "")
        yield from (f"{prefix}{plain[: room - len(f'_{number}')]}_{number}" for number in numbers)

    def _interfaces(self, short: str, name: str, ports: list[int]) -> set[str]:
        """The interfaces that there will be when a node gets this short name."""
        found = {short, *(f"{short}-eth{port}" for port in ports)}
        if name in self.routers:
            for session, _ in enumerate(ports):
                found |= {bgp_interface(short, session), control_interface(short, session)}
        return found


def _is_possible(interface: str) -> bool:
    return len(interface) <= IFNAMSIZ and ":" not in interface
