"""What the network looks like, and what it would look like without some of its parts.

The answer comes from the graph alone; nothing in the network is touched.  ``Missing`` reads what is to be
left out, in an operator's words; ``view`` is the picture that REST and the command line show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    turn: Callable[[], None] = lambda: None,
) -> dict[str, object]:
    """Switches, links with cost and state, uplinks, what edges announce, and for each service the edge that each
    site's traffic goes to (the catchment), see ``_goal``.  ``announced``: without what is ``missing``, as all
    the rest here.  ``turn`` is called now and then, so that others may go on: what is shown is as it was before the
    first time.
    """
    left = [edge for edge in edges if edge.switch.name not in missing.switches]
    cables = [cable for cable in discovery.cables() if not missing.has(cable)]
    graph = Graph((edge.switch.name for edge in left), discovery.usable(cables))
    leading = _leading(graph, left, announced, missing)
    uplinks = [(edge, uplink) for edge in left for uplink in edge.uplinks if uplink.name not in missing.uplinks]
    shown: dict[str, object] = {
        "switches": [
            {"name": edge.switch.name, "dpid": edge.switch.dpid, "connected": edge.synchronised} for edge in left
        ],
        "links": [discovery.view(cable, now) for cable in cables],
        "parts": graph.parts(),
        "uplinks": [_uplink_view(edge, uplink) for edge, uplink in uplinks],
    }
    # From here on everything is ours.
    catchment = Catchment(graph, _sites(left), leading)
    by_edge: dict[str, list[str]] = {}
    for prefix, names in announced.items():
        for name in names:
            by_edge.setdefault(name, []).append(str(prefix))
        turn()
    edges_shown = [{"name": name, "announces": prefixes} for name, prefixes in sorted(by_edge.items())]
    goals = {}
    for group in groups:
        for prefix in group.prefixes:
            goals[str(prefix)] = catchment.of(prefix)
            turn()
    return shown | {"edges": edges_shown, "catchment": goals}


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


class Catchment:
    """Where each site's packets to a service go.  Services with the same answers share them."""

    def __init__(self, graph: Graph, sites: Sequence[EdgeSwitch], leading: Mapping[Prefix, Mapping[str, str]]) -> None:
        self._graph = graph
        self._leading = leading
        self._prefixes = PrefixSet(leading)
        self._sites: dict[tuple[Prefix, ...] | None, list[str]] = {}  # what they may use; None: they have no role
        for site in sites:
            role = site.switch.client_edge
            clients = [subnet for subnet in site.subnets if subnet.side is Side.CLIENT]
            may = tuple(prefix for subnet in clients for prefix in subnet.allowed(role)) if role else None
            self._sites.setdefault(may, []).append(site.switch.name)
        self._names = [site.switch.name for site in sites]
        self._known: dict[object, dict[str, str | None]] = {}

    def of(self, service: Prefix) -> dict[str, str | None]:
        """Site → the edge, by the longest prefix that leads somewhere; None: nowhere.

        "unauthorised" where the site may not use the service (M6).
        """
        ways = tuple(tuple(self._leading[prefix].items()) for prefix in self._prefixes.covering(service))
        may = tuple(
            services is None or any(service.overlaps(authorised) for authorised in services) for services in self._sites
        )
        if (ways, may) not in self._known:
            goals: dict[str, str | None] = {}
            for names, allowed in zip(self._sites.values(), may, strict=True):
                goals |= {name: self._goal(name, ways) if allowed else "unauthorised" for name in names}
            self._known[ways, may] = {name: goals[name] for name in self._names}
        return self._known[ways, may]

    def _goal(self, site: str, ways: Iterable[tuple[tuple[str, str], ...]]) -> str | None:
        for way in ways:
            goals = dict(way)
            if edge := self._graph.nearest(site, goals):
                return goals[edge]
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
