"""What the network looks like, and what it would look like without some of its parts.

The answer comes from the graph alone; nothing in the network is touched.  ``Missing`` reads what is to be
left out, in an operator's words; ``view`` is the picture that REST and the command line show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from anycast_sdn.control.discovery import Cable, Discovery
from anycast_sdn.control.edge import EdgeSwitch
from anycast_sdn.control.registry import NotFound
from anycast_sdn.core.model import Address, AnycastGroup, Groups, Port, Prefix, Side, Uplink, packed, text
from anycast_sdn.core.network import Graph

Announced = Mapping[Prefix, Iterable[str]]  # prefix → the edges that announce it


class Missing(NamedTuple):
    """What is to be left out of the picture."""

    switches: frozenset[str]
    links: frozenset[frozenset[str]]  # the ends of each, as text
    servers: frozenset[Address]

    @classmethod
    def parse(cls, words: Sequence[str], switches: Iterable[str], cables: Iterable[Cable], groups: Groups) -> Missing:
        """Each word is a switch, a server's address, or a link: one of its ports, ``c1:1``, both, ``c1:1-c2:2``,
        or the switches that it joins, ``c1-c2``, which leaves out all links between them.

        Raises NotFound for a word that names nothing.
        """
        known = set(switches)
        servers = {text(address): address for group in groups for address in group.servers}
        links: dict[str, set[frozenset[str]]] = {}
        for cable in cables:
            for a, b in (cable.ends, cable.ends[::-1]):
                for name in (str(a), f"{a}-{b}", f"{a.switch}-{b.switch}"):
                    links.setdefault(name, set()).add(frozenset((str(a), str(b))))
        named = [_canonical(word) for word in words]
        for word in named:
            if word not in known and word not in links and word not in servers:
                raise NotFound(
                    f"{word!a} is no switch ({', '.join(sorted(known))}), no link, such as c1:1 or c1-c2, "
                    f"and no enrolled server ({', '.join(servers)})"
                )
        return cls(
            frozenset(word for word in named if word in known),
            frozenset().union(*(links.get(word, ()) for word in named)),
            frozenset(servers[word] for word in named if word in servers),
        )

    def has(self, cable: Cable) -> bool:
        ends = frozenset(map(str, cable.ends))
        return ends in self.links or any(end.switch in self.switches for end in cable.ends)

    def from_group(self, group: AnycastGroup) -> AnycastGroup:
        """The group without its missing servers."""
        left = {address: server for address, server in group.servers.items() if address not in self.servers}
        return replace(group, servers=left)


def _canonical(word: str) -> str:
    """An address as we write it; anything else as it is."""
    try:
        return text(packed(word))
    except ValueError:
        return word


def view(
    edges: Iterable[EdgeSwitch],
    discovery: Discovery,
    announced: Announced,
    groups: Groups,
    missing: Missing,
    now: float,
) -> dict[str, object]:
    """Switches, links with cost and state, uplinks, what edges announce, and for each service the edge that each
    site's traffic goes to (the catchment), or "beyond UPLINK" where it leaves the fabric.  ``announced``: without
    what is ``missing``, as all the rest here.
    """
    left = [edge for edge in edges if edge.switch.name not in missing.switches]
    cables = [cable for cable in discovery.cables() if not missing.has(cable)]
    graph = Graph((edge.switch.name for edge in left), discovery.usable(cables))
    by_edge: dict[str, list[str]] = {}
    for prefix, names in announced.items():
        for name in names:
            by_edge.setdefault(name, []).append(str(prefix))
    sites = [edge.switch.name for edge in left if any(subnet.side is Side.CLIENT for subnet in edge.subnets)]
    return {
        "switches": [
            {"name": edge.switch.name, "dpid": edge.switch.dpid, "connected": edge.synchronised} for edge in left
        ],
        "links": [discovery.view(cable, now) for cable in cables],
        "edges": [{"name": name, "announces": prefixes} for name, prefixes in sorted(by_edge.items())],
        "parts": graph.parts(),
        "catchment": {
            str(prefix): {
                site: graph.nearest(site, announced.get(prefix, ())) or _beyond(graph, left, site, prefix)
                for site in sorted(sites)
            }
            for group in groups
            for prefix in group.prefixes
        },
        "uplinks": [_uplink_view(edge, uplink) for edge in left for uplink in edge.uplinks],
    }


def _beyond(graph: Graph, edges: Iterable[EdgeSwitch], site: str, prefix: Prefix) -> str | None:
    leading = {edge.switch.name: uplink for edge in edges if (uplink := edge.way_out(prefix))}
    name = graph.nearest(site, leading)
    return f"beyond {leading[name]}" if name else None


def _uplink_view(edge: EdgeSwitch, uplink: Uplink) -> dict[str, object]:
    return {
        "name": uplink.name,
        "port": str(Port(uplink.edge, uplink.port)),
        "routers": [
            {"address": text(router), "reachable": edge.neighbours.get(router) is not None}
            for router in uplink.routers
        ],
        "routes": sum(router.port == uplink.port for router in edge.ways_out.values()),
    }
