"""The topology of the network, and what it would be without some of its parts.

It is computed from a copy of the state: nothing in the network changes.  ``Snapshot`` is the state at one moment, and
is copied in milliseconds.  ``Omitted`` parses the names of the parts to leave out.  ``view`` computes what REST and the
command line show; that may take long, so it calls ``turn``, which lets other green threads run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, NotFound, Prefix, ServerState, packed, text
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.core.roles import Side
from anycast_sdn.core.words import some
from anycast_sdn.description.model import Link, Network, Port, Uplink
from anycast_sdn.fabric.egress import own_prefixes
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.views.turns import with_turns

Announced = Mapping[Prefix, frozenset[str]]  # prefix → the edges that announce it
Ends = tuple[Port, Port]
_NO_EDGES: frozenset[str] = frozenset()


def topology_view(
    controller: Controller, without: Sequence[str], now: float, turn: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """``without``: what to leave out, see ``Omitted``; empty: the network as it is.  Raises NotFound.

    The state is that of one moment; ``turn`` lets other green threads run.
    """
    updating = controller.updating()
    state = snapshot(controller, now)
    turn()
    omitted = Omitted.parse(without, state, turn)
    return {**view(state, omitted, turn), "updating": updating}


def link_view(controller: Controller, end: Port, now: float) -> dict[str, object]:
    """The link that ends at this port.  Raises NotFound."""
    return controller.discovery.view(controller.discovery.at(end), now)


class Omitted(NamedTuple):
    """The parts of the network that are left out."""

    switches: frozenset[str]
    links: frozenset[frozenset[Port]]  # the ends of each
    uplinks: frozenset[str]
    servers: frozenset[Address]

    @classmethod
    def parse(cls, words: Sequence[str], snapshot: Snapshot, turn: Callable[[], None] = lambda: None) -> Omitted:
        """Each word is a switch, an uplink, a server's address, or a link: one of its ports, ``c1:1``, both,
        ``c1:1-c2:2``, or the switches that it joins, ``c1-c2``, which leaves out all links between them.

        Raises NotFound for words that name nothing, or several parts.
        """
        switches = {switch.name for switch in snapshot.switches}
        uplinks = {uplink.name for uplink in snapshot.uplinks}
        enrolled = snapshot.groups.servers()
        named = [_canonical(word) for word in words]
        addresses = {word: address for word in named if (address := _address(word))}
        servers = {word: address for word, address in addresses.items() if address in enrolled}
        links = _links_named(named, switches, (link.ends for link in snapshot.links))
        meanings = dict.fromkeys(named, 0)
        for word in meanings:
            joined = {frozenset(end.switch for end in ends) for ends in links.get(word, ())}
            meanings[word] = (word in switches) + (word in uplinks) + (word in servers) + len(joined)
        if unknown := [word for word, count in meanings.items() if not count]:
            known = list(with_turns(map(text, enrolled), turn))
            raise NotFound(
                f"{some(map(ascii, unknown))}: no switch ({some(switches)}), no uplink ({some(uplinks)}), "
                f"no link, such as c1:1 or c1-c2, and no enrolled server ({some(known)})"
            )
        if unclear := [word for word, count in meanings.items() if count > 1]:
            raise NotFound(f"{some(map(ascii, unclear))}: names several things; name a link by a port, as in c1:1")
        return cls(
            frozenset(switches.intersection(named)),
            frozenset().union(*(links.get(word, ()) for word in named)),
            frozenset(uplinks.intersection(named)),
            frozenset(servers[word] for word in named if word in servers),
        )

    def has(self, ends: Ends) -> bool:
        """Is the link with these ends left out, itself or with a switch?"""
        return frozenset(ends) in self.links or any(end.switch in self.switches for end in ends)


def _canonical(word: str) -> str:
    """An address in its usual form; a link with a hyphen between its ends; all else unchanged."""
    address = _address(word)
    return text(address) if address else word.replace("–", "-")


def _address(word: str) -> Address | None:
    try:
        return packed(word)
    except ValueError:
        return None


def _links_named(
    words: Sequence[str], switches: Collection[str], all_ends: Iterable[Ends]
) -> dict[str, set[frozenset[Port]]]:
    """Word → the ends of the links that it may name.  Only links of switches with which a word begins are compared."""
    longest = max(map(len, switches), default=0)
    begun = {word[:at] for word in words for at in range(min(len(word), longest + 1)) if word[at] in ":-"}
    links: dict[str, set[frozenset[Port]]] = {}
    for ends in all_ends:
        for a, b in (ends, ends[::-1]):
            for name in (str(a), f"{a}-{b}", f"{a.switch}-{b.switch}") if a.switch in begun else ():
                links.setdefault(name, set()).add(frozenset(ends))
    return links


class _Link(NamedTuple):
    ends: Ends
    usable: Link | None  # as ``Discovery.usable``
    view: dict[str, object]


class _Uplink(NamedTuple):
    edge: str
    name: str
    view: dict[str, object]


class Snapshot(NamedTuple):
    """The state of the network at one moment: values that do not change; of ``switches``, only what the network file
    says of them is used.
    """

    network: Network
    switches: tuple[ManagedSwitch, ...]
    connected: dict[str, bool]  # switch →
    links: list[_Link]
    uplinks: list[_Uplink]
    by_uplink: dict[str, Iterator[tuple[Prefix, str]]]  # edge → (prefix, the uplink that reaches it); for one use
    announced: dict[Prefix, frozenset[str]]
    groups: Groups
    reachable: dict[str, frozenset[Address] | None]  # server edge → hosts; None: not known yet, all count as reachable


def snapshot(controller: Controller, now: float) -> Snapshot:
    """Takes a few milliseconds."""
    switches, discovery = tuple(controller.switches.values()), controller.discovery
    return Snapshot(
        controller.network,
        switches,
        {switch.name: switch.synchronised for switch in switches},
        [_Link(watched.ends, next(iter(discovery.usable((watched,))), None), discovery.view(watched, now))
         for watched in discovery.watched()],
        [_Uplink(switch.name, uplink.name, _uplink_view(switch, uplink))
         for switch in switches for uplink in switch.uplinks],
        {switch.name: switch.egress.by_uplink() for switch in switches if switch.uplinks},
        dict(controller.announcements.announcers),
        controller.groups,
        {switch.name: None if switch.unseen else frozenset(host for host, _ in switch.neighbours.known())
         for switch in switches if switch.described.server_edge},
    )  # fmt: skip


def view(snapshot: Snapshot, omitted: Omitted, turn: Callable[[], None] = lambda: None) -> dict[str, object]:
    """Switches, links with cost and state, uplinks, the prefixes that edges announce, and for each service the edge
    that gets each site's traffic (the catchment, see ``Catchment.of``); without the ``omitted`` parts.
    """
    left = [switch for switch in snapshot.switches if switch.name not in omitted.switches]
    links = [link for link in snapshot.links if not omitted.has(link.ends)]
    graph = Graph((switch.name for switch in left), (link.usable for link in links if link.usable))
    turn()
    announced = _announced_without(omitted, snapshot, turn)
    for name in sorted(frozenset[str]().union(*set(announced.values()))):
        graph.distances(name)
        turn()
    reachable = _reachable(graph, snapshot.by_uplink, announced, omitted, turn)
    by_edge: dict[str, list[str]] = {}
    for prefix, names in with_turns(announced.items(), turn):
        for name in names:
            by_edge.setdefault(name, []).append(str(prefix))
    catchment = Catchment(graph, _sites(left), reachable)
    services = (prefix for group in snapshot.groups for prefix in group.prefixes)
    return {
        "switches": [
            {"name": switch.name, "dpid": switch.dpid, "connected": snapshot.connected[switch.name]}
            for switch in left
        ],
        "links": [link.view for link in links],
        "parts": graph.parts(),
        "uplinks": [
            uplink.view
            for uplink in snapshot.uplinks
            if uplink.edge not in omitted.switches and uplink.name not in omitted.uplinks
        ],
        "edges": [{"name": name, "announces": prefixes} for name, prefixes in sorted(by_edge.items())],
        "catchment": {str(prefix): catchment.of(prefix) for prefix in with_turns(services, turn)},
    }


def _sites(switches: Iterable[ManagedSwitch]) -> list[ManagedSwitch]:
    sites = [switch for switch in switches if any(subnet.side is Side.CLIENT for subnet in switch.subnets)]
    return sorted(sites, key=lambda switch: switch.name)


def _announced_without(omitted: Omitted, snapshot: Snapshot, turn: Callable[[], None]) -> dict[Prefix, frozenset[str]]:
    """Prefix → the edges that would announce it without the omitted parts."""
    announced, groups = dict(snapshot.announced), snapshot.groups
    for name in dict.fromkeys(name for server in omitted.servers for name in groups.of_server(server)):
        group = groups.get(name)
        assert group is not None
        able = _still_able(group, omitted, snapshot, turn)
        announced |= {prefix: announced.get(prefix, _NO_EDGES) & able[prefix.is_v6] for prefix in group.prefixes}
        turn()
    if omitted.switches:
        announced = {prefix: names - omitted.switches for prefix, names in with_turns(announced.items(), turn)}
    return {prefix: names for prefix, names in announced.items() if names}


def _still_able(
    group: AnycastGroup, omitted: Omitted, snapshot: Snapshot, turn: Callable[[], None]
) -> dict[bool, set[str]]:
    """IPv6 or IPv4 → the edges with a server of the group that takes new flows, and is not omitted."""
    able: dict[bool, set[str]] = {False: set(), True: set()}
    for address, server in with_turns(group.servers.items(), turn):
        subnet = snapshot.network.subnet_of(address)
        if address in omitted.servers or server.state is not ServerState.ACTIVE or subnet is None:
            continue
        reachable = snapshot.reachable.get(subnet.edge, frozenset())
        if reachable is None or address in reachable:
            able[len(address) == 16].add(subnet.edge)
    return able


def _reachable(
    graph: Graph,
    by_uplink: Mapping[str, Iterator[tuple[Prefix, str]]],
    announced: Announced,
    omitted: Omitted,
    turn: Callable[[], None],
) -> dict[Prefix, dict[str, str]]:
    """Prefix → edge → where packets go on from there: its own name, or "uplink UPLINK"."""
    reachable = {prefix: {name: name for name in names} for prefix, names in with_turns(announced.items(), turn)}
    for name, prefixes in by_uplink.items():
        if name in omitted.switches:
            continue
        own = PrefixSet(own_prefixes(announced, graph.distances(name)))
        for prefix, uplink in with_turns(prefixes, turn):
            if uplink not in omitted.uplinks and not own.covers(prefix):
                reachable.setdefault(prefix, {})[name] = f"uplink {uplink}"
    return reachable


class Catchment:
    """The edge that gets each site's packets to a service.  Services with the same result share it."""

    def __init__(
        self, graph: Graph, sites: Sequence[ManagedSwitch], reachable: Mapping[Prefix, Mapping[str, str]]
    ) -> None:
        self._graph = graph
        self._reachable = reachable
        self._prefixes = PrefixSet(reachable)
        # The services that sites may use (None: the site is no client edge) → these sites.
        self._sites: dict[tuple[Prefix, ...] | None, list[str]] = {}
        for site in sites:
            role = site.described.client_edge
            clients = [subnet for subnet in site.subnets if subnet.side is Side.CLIENT]
            may = tuple(prefix for subnet in clients for prefix in subnet.allowed(role)) if role else None
            self._sites.setdefault(may, []).append(site.name)
        self._names = [site.name for site in sites]
        self._known: dict[object, dict[str, str | None]] = {}

    def of(self, service: Prefix) -> dict[str, str | None]:
        """Site → the edge for the longest prefix with a reachable edge; None: no edge is reachable.

        "unauthorised" where the site may not use the service (M6).
        """
        hops = tuple(tuple(self._reachable[prefix].items()) for prefix in self._prefixes.covering(service))
        may = tuple(
            services is None or any(service.overlaps(authorised) for authorised in services) for services in self._sites
        )
        if (hops, may) not in self._known:
            goals: dict[str, str | None] = {}
            for names, allowed in zip(self._sites.values(), may, strict=True):
                goals |= {name: self._goal(name, hops) if allowed else "unauthorised" for name in names}
            self._known[hops, may] = {name: goals[name] for name in self._names}
        return self._known[hops, may]

    def _goal(self, site: str, hops: Iterable[tuple[tuple[str, str], ...]]) -> str | None:
        for goals in map(dict, hops):
            if edge := self._graph.nearest(site, goals):
                return goals[edge]
        return None


def _uplink_view(switch: ManagedSwitch, uplink: Uplink) -> dict[str, object]:
    return {
        "name": uplink.name,
        "port": str(Port(uplink.edge, uplink.port)),
        "mtu": uplink.mtu or None,
        "routers": [
            {"address": text(router), "reachable": switch.neighbours.get(router) is not None}
            for router in uplink.routers
        ],
        "routes": sum(router.port == uplink.port for router in switch.egress.selected.values()),
    }
