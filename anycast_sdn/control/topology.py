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
from anycast_sdn.core.exits import own_prefixes
from anycast_sdn.core.model import Address, AnycastGroup, Groups, Port, Prefix, Side, Uplink, packed, text
from anycast_sdn.core.network import Graph
from anycast_sdn.core.prefixes import PrefixSet

MOST_NAMES = 12  # in an error
Announced = Mapping[Prefix, Iterable[str]]  # prefix → the edges that announce it


class Missing(NamedTuple):
    """What is to be left out of the picture."""

    switches: frozenset[str]
    links: frozenset[frozenset[Port]]  # the ends of each
    uplinks: frozenset[str]
    servers: frozenset[Address]

    @classmethod
    def parse(
        cls, words: Sequence[str], edges: Iterable[EdgeSwitch], cables: Iterable[Cable], groups: Groups
    ) -> Missing:
        """Each word is a switch, an uplink, a server's address, or a link: one of its ports, ``c1:1``, both,
        ``c1:1-c2:2``, or the switches that it joins, ``c1-c2``, which leaves out all links between them.

        Raises NotFound for words that name nothing, or more than one thing.
        """
        edges = tuple(edges)
        switches = {edge.switch.name for edge in edges}
        uplinks = {uplink.name for edge in edges for uplink in edge.uplinks}
        servers = {text(address): address for group in groups for address in group.servers}
        links: dict[str, set[frozenset[Port]]] = {}
        for cable in cables:
            for a, b in (cable.ends, cable.ends[::-1]):
                for name in (str(a), f"{a}-{b}", f"{a.switch}-{b.switch}"):
                    links.setdefault(name, set()).add(frozenset(cable.ends))
        named = [_canonical(word) for word in words]
        meanings = dict.fromkeys(named, 0)
        for word in meanings:
            joined = {frozenset(end.switch for end in ends) for ends in links.get(word, ())}
            meanings[word] = (word in switches) + (word in uplinks) + (word in servers) + len(joined)
        if unknown := [word for word, count in meanings.items() if not count]:
            raise NotFound(
                f"{_some(map(ascii, unknown))}: no switch ({_some(switches)}), no uplink ({_some(uplinks)}), "
                f"no link, such as c1:1 or c1-c2, and no enrolled server ({_some(servers)})"
            )
        if unclear := [word for word, count in meanings.items() if count > 1]:
            raise NotFound(f"{_some(map(ascii, unclear))}: names several things; name a link by a port, as in c1:1")
        return cls(
            frozenset(switches.intersection(named)),
            frozenset().union(*(links.get(word, ()) for word in named)),
            frozenset(uplinks.intersection(named)),
            frozenset(servers[word] for word in named if word in servers),
        )

    def has(self, cable: Cable) -> bool:
        return frozenset(cable.ends) in self.links or any(end.switch in self.switches for end in cable.ends)

    def from_group(self, group: AnycastGroup) -> AnycastGroup:
        """The group without its missing servers."""
        left = {address: server for address, server in group.servers.items() if address not in self.servers}
        return replace(group, servers=left)


def _canonical(word: str) -> str:
    """An address as we write it; links as we show them, or with a hyphen; anything else as it is."""
    try:
        return text(packed(word))
    except ValueError:
        return word.replace("–", "-")


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join(names[:MOST_NAMES] + more) or "there is none"


def view(
    edges: Iterable[EdgeSwitch],
    discovery: Discovery,
    announced: Announced,
    groups: Groups,
    missing: Missing,
    now: float,
) -> dict[str, object]:
    """Switches, links with cost and state, uplinks, what edges announce, and for each service the edge that each
    site's traffic goes to (the catchment), see ``_goal``.  ``announced``: without what is ``missing``, as all
    the rest here.
    """
    left = [edge for edge in edges if edge.switch.name not in missing.switches]
    cables = [cable for cable in discovery.cables() if not missing.has(cable)]
    graph = Graph((edge.switch.name for edge in left), discovery.usable(cables))
    by_edge: dict[str, list[str]] = {}
    for prefix, names in announced.items():
        for name in names:
            by_edge.setdefault(name, []).append(str(prefix))
    leading = _leading(graph, left, announced, missing)
    uplinks = [(edge, uplink) for edge in left for uplink in edge.uplinks if uplink.name not in missing.uplinks]
    return {
        "switches": [
            {"name": edge.switch.name, "dpid": edge.switch.dpid, "connected": edge.synchronised} for edge in left
        ],
        "links": [discovery.view(cable, now) for cable in cables],
        "edges": [{"name": name, "announces": prefixes} for name, prefixes in sorted(by_edge.items())],
        "parts": graph.parts(),
        "catchment": {
            str(prefix): {site.switch.name: _goal(graph, site, prefix, leading) for site in _sites(left)}
            for group in groups
            for prefix in group.prefixes
        },
        "uplinks": [_uplink_view(edge, uplink) for edge, uplink in uplinks],
    }


def _sites(edges: Iterable[EdgeSwitch]) -> list[EdgeSwitch]:
    sites = [edge for edge in edges if any(subnet.side is Side.CLIENT for subnet in edge.subnets)]
    return sorted(sites, key=lambda edge: edge.switch.name)


def _leading(
    graph: Graph, edges: Iterable[EdgeSwitch], announced: Announced, missing: Missing
) -> dict[Prefix, dict[str, str]]:
    """Prefix → edge → where packets go on from there: its own name, or "beyond UPLINK"."""
    leading = {prefix: {name: name for name in names} for prefix, names in announced.items()}
    for edge in edges:
        name = edge.switch.name
        if edge.uplinks:
            part = graph.distances(name)
            own = PrefixSet(own_prefixes(announced, part))
            for prefix, uplink in edge.beyond_uplinks():
                if uplink not in missing.uplinks and not own.covers(prefix):
                    leading.setdefault(prefix, {})[name] = f"beyond {uplink}"
    return leading


def _goal(graph: Graph, site: EdgeSwitch, service: Prefix, leading: Mapping[Prefix, Mapping[str, str]]) -> str | None:
    """Where this site's packets to a service go, by the longest prefix that leads somewhere; None: nowhere.

    "unauthorised" where the site may not use the service (M6).
    """
    role = site.switch.client_edge
    clients = [subnet for subnet in site.subnets if subnet.side is Side.CLIENT]
    if role and not any(service.overlaps(allowed) for subnet in clients for allowed in subnet.allowed(role)):
        return "unauthorised"
    for prefix in PrefixSet(leading).covering(service):
        if edge := graph.nearest(site.switch.name, leading[prefix]):
            return leading[prefix][edge]
    return None


def _uplink_view(edge: EdgeSwitch, uplink: Uplink) -> dict[str, object]:
    return {
        "name": uplink.name,
        "port": str(Port(uplink.edge, uplink.port)),
        "mtu": uplink.mtu or None,
        "routers": [
            {"address": text(router), "reachable": edge.neighbours.get(router) is not None}
            for router in uplink.routers
        ],
        "routes": sum(router.port == uplink.port for router in edge.ways_out.values()),
    }
