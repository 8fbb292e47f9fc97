"""Controller: events of all switches in, messages per switch out.

It knows what no single switch does: the groups, which edges are able to serve them, and the graph
that makes routes of that.  Every method takes ``now`` (seconds, monotonic) and returns an ``Outbox``;
nothing here sends, waits or reads a clock, so that a list of (event, now) replays exactly.

One writer: the caller must not call a second method before the first has returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from anycast_sdn.control.edge import EdgeSwitch
from anycast_sdn.control.reaction import Reaction
from anycast_sdn.control.reconcile import Tables
from anycast_sdn.control.registry import NotFound
from anycast_sdn.control.translation import Features, Translation
from anycast_sdn.control.views import FlowView
from anycast_sdn.core.bindings import Half
from anycast_sdn.core.exits import Own, Route
from anycast_sdn.core.model import (
    Address,
    Groups,
    Link,
    Network,
    Port,
    Prefix,
    Side,
    Uplink,
    text,
)
from anycast_sdn.core.network import Graph, Routes
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.openflow.pipeline import DROPS, Kind, kind_of, number_of
from anycast_sdn.openflow.rules import Message

Outbox = dict[int, list[Message]]  # datapath id → messages, in order

ABSENT_S = 10.0  # a switch that only reconnects is back within 2 s


class Controller:
    """The method over a whole network.  ``random``: see ``core.pool``."""

    def __init__(self, network: Network, groups: Groups, random: RandomSource) -> None:
        self.network = network
        self.groups = groups
        self.edges = {switch.dpid: EdgeSwitch(switch, network, random) for switch in network.switches}
        self._by_name = {edge.switch.name: edge for edge in self.edges.values()}
        self._links = {frozenset((link.a, link.b)): link for link in network.links}
        self._ports_down: set[Port] = set()
        self._announced: dict[Prefix, tuple[str, ...]] = {}
        self._to_tell: dict[str, frozenset[Prefix]] = {}  # edge with uplinks → what it announces beyond them
        self._taught: dict[str, Mapping[Prefix, Route]] = {}  # by uplink
        self._last_seen: dict[str, float] = {}  # edge with uplinks → when its switch was last connected
        self._routes: Routes = {}
        self._want_neighbours()
        self._reroute()

    # ---------------------------------------------------------------- events

    def synchronise(self, dpid: int, found: Tables, features: Features, now: float) -> Outbox:
        """A switch has connected; ``found`` is all that it holds.  Afterwards it holds what it should."""
        edge = self.edges[dpid]
        messages = edge.synchronise(found, features, self.groups, now)
        out = self._refresh()
        out[dpid] = messages + out.get(dpid, [])
        return out

    def disconnected(self, dpid: int) -> None:
        self.edges[dpid].disconnected()

    def packet_in(self, dpid: int, cookie: int, in_port: int, frame: bytes, now: float) -> Outbox:
        edge = self.edges[dpid]
        kind = kind_of(cookie)
        if kind is None:
            edge.counters["unexpected_packet_in"] += 1
            return {}
        return self._follow(dpid, edge.packet_in(kind, in_port, frame, self.groups, now))

    def rule_removed(self, dpid: int, cookie: int, idle_timeout: int, now: float) -> Outbox:
        """``idle_timeout``: the rule's, as the switch reports it; ``fin_timeout`` makes it short."""
        kind = kind_of(cookie)
        translation = self.edges[dpid].translation
        if kind is None or translation is None:
            return {}
        return self._follow(dpid, translation.rule_removed(kind, number_of(cookie), idle_timeout, now))

    def rule_refused(self, dpid: int, cookie: int, now: float) -> Outbox:
        """The switch has answered a flow-mod with an error."""
        translation = self.edges[dpid].translation
        return self._follow(dpid, translation.rule_refused(number_of(cookie), now)) if translation else {}

    def port_changed(self, dpid: int, port: int, up: bool, now: float) -> Outbox:
        edge = self.edges[dpid]
        end = Port(edge.switch.name, port)
        if up:
            self._ports_down.discard(end)
            return self._refresh()
        self._ports_down.add(end)
        reaction = edge.port_down(port, now)
        reaction.changed = True
        return self._follow(dpid, reaction)

    def set_groups(self, groups: Groups) -> Outbox:
        """Enrolments have changed.  Bindings stay as they are (M20)."""
        self.groups = groups
        self._want_neighbours()
        return self._refresh()

    def set_cost(self, end: Port, cost: int) -> Outbox:
        """Change a link's cost until the controller restarts.  Raises NotFound."""
        for ends, link in self._links.items():
            if end in ends:
                self._links[ends] = replace(link, cost=cost)
                return self._refresh()
        names = ", ".join(f"{link.a}–{link.b}" for link in self._links.values())
        raise NotFound(f"no link ends at {end}; the links are {names}")

    def set_taught(self, uplink: str, routes: Mapping[Prefix, Route]) -> Outbox:
        """All that the router at this uplink teaches now."""
        self._taught[uplink] = routes
        edge = next(edge for edge in self.edges.values() if any(uplink == other.name for other in edge.uplinks))
        edge.set_taught(self._taught)
        self._want_neighbours()
        return self._refresh()

    def tick(self, now: float) -> Outbox:
        """To be called several times a second."""
        out: Outbox = {}
        for edge in self.edges.values():
            if edge.uplinks and edge.synchronised:
                self._last_seen[edge.switch.name] = now
        for dpid, edge in self.edges.items():
            for to, messages in self._follow(dpid, edge.tick(now)).items():
                out.setdefault(to, []).extend(messages)
        return out

    # ---------------------------------------------------------------- sweeps

    def sweeps_due(self, now: float) -> list[int]:
        """The switches whose counters are to be read now."""
        return [dpid for dpid, edge in self.edges.items() if edge.sweep_is_due(now)]

    def sweep_of(self, dpid: int) -> Translation:
        """Where to tell what a sweep of this switch finds."""
        translation = self.edges[dpid].translation
        assert translation is not None  # only such switches are due
        return translation

    def end_idle(self, dpid: int, numbers: Iterable[int], now: float) -> Outbox:
        """After a whole sweep: ends those of these bindings that are idle."""
        return self._follow(dpid, self.sweep_of(dpid).end_idle(numbers, now))

    def drops_counted(self, dpid: int, packets: dict[Kind, int]) -> None:
        """What the drop rules of a switch have counted, summed by kind."""
        self.edges[dpid].dropped = {name: packets.get(kind, 0) for kind, name in DROPS.items()}

    # ---------------------------------------------------------------- what follows

    def _follow(self, dpid: int, reaction: Reaction) -> Outbox:
        """What should be installed comes before the packets that rely on it."""
        out = self._refresh() if reaction.changed else {}
        if reaction.messages:
            out.setdefault(dpid, []).extend(reaction.messages)
        return out

    def _refresh(self) -> Outbox:
        self._reroute()
        out: Outbox = {}
        for dpid, edge in self.edges.items():
            if messages := edge.refresh(self.groups, self._routes[edge.switch.name]):
                out[dpid] = messages
        return out

    def _reroute(self) -> None:
        graph = Graph(self._by_name, self._working_links())
        self._announced = dict(self._announcements())
        self._routes = graph.routes(self._announced | self._ways_out(graph))

    def _ways_out(self, graph: Graph) -> dict[Prefix, tuple[str, ...]]:
        """Chooses the ways out at each edge with uplinks.  → which edges lead to what is beyond them.

        The same prefix may be another part's own, out of reach by our links: its edges stay in the list.
        """
        leading = dict[Prefix, tuple[str, ...]]()
        for edge in self.edges.values():
            if edge.uplinks:
                name = edge.switch.name
                part = graph.distances(name).keys()
                own = Own(prefix for prefix, edges in self._announced.items() if not part.isdisjoint(edges))
                self._to_tell[name] = own.prefixes
                edge.ways_out = {prefix: router for prefix, router in edge.working_exits() if not own.covers(prefix)}
                for prefix in edge.ways_out:
                    leading[prefix] = (*leading.get(prefix, self._announced.get(prefix, ())), name)
        return leading

    def to_tell(self, uplink: Uplink, now: float) -> frozenset[Prefix] | None:
        """What to announce beyond an uplink: what its part of the fabric holds and is able to serve now (M8).

        None until the edge's switch has been here: before, nobody knows.  An edge whose switch has been
        away for ``ABSENT_S`` announces nothing.
        """
        seen = self._last_seen.get(uplink.edge)
        if seen is None:
            return None
        return self._to_tell[uplink.edge] if now - seen <= ABSENT_S else frozenset()

    def _working_links(self) -> Iterator[Link]:
        return (link for ends, link in self._links.items() if not ends & self._ports_down)

    def _announcements(self) -> Iterator[tuple[Prefix, tuple[str, ...]]]:
        for switch in self.network.switches:
            if switch.client_edge:
                for prefix in switch.client_edge.translation_prefixes:
                    yield prefix, (switch.name,)
        for subnet in self.network.subnets:
            for gateway in subnet.gateways:
                yield gateway.prefix, (subnet.edge,)
        for group in self.groups:
            for prefix in group.prefixes:
                able = tuple(name for name, edge in self._by_name.items() if edge.able_servers(group, prefix))
                if able:
                    yield prefix, able

    def _want_neighbours(self) -> None:
        servers = {address for group in self.groups for address in group.servers}
        for edge in self.edges.values():
            edge.neighbours.want(servers | edge.routers())

    # ---------------------------------------------------------------- views

    def flows(self, now: float, epoch: float) -> Iterator[FlowView]:
        """All bindings.  ``epoch``: the wall clock's time at ``now``, to show when a flow began."""
        for edge in self.edges.values():
            if edge.client_edge is None:
                continue
            for binding in edge.client_edge.bindings:
                idle = Half.BOTH & ~binding.installed if binding.server else Half.NONE
                yield FlowView(
                    number=binding.number,
                    edge=edge.switch.name,
                    state=binding.state.value,
                    group=binding.group,
                    client=binding.key.source,
                    client_port=binding.key.source_port,
                    service=binding.key.destination,
                    service_port=binding.key.destination_port,
                    protocol=binding.key.protocol,
                    translated=binding.translated,
                    server=binding.server,
                    since=epoch - (now - binding.since),
                    validity_s=edge.client_edge.validity_s(binding),
                    idle={Half.OUT: "out", Half.IN: "in"}.get(idle, ""),
                )

    def flow_summary(self, now: float) -> dict[str, object]:
        """Totals of all client edges."""
        tables = [edge.client_edge.bindings for edge in self.edges.values() if edge.client_edge]
        pinned = sum(table.pinned() for table in tables)
        exhausted = sum(edge.counters["pool_empty"] for edge in self.edges.values())
        return {"unanswered": sum(map(len, tables)) - pinned, "pinned": pinned, "pool_exhausted": exhausted}

    def edge_views(self, now: float) -> list[dict[str, object]]:
        return [self._edge_view(edge, now) for edge in self.edges.values()]

    def _edge_view(self, edge: EdgeSwitch, now: float) -> dict[str, object]:
        roles = ["client edge"] * bool(edge.client_edge) + ["server edge"] * edge.switch.server_edge
        client_edge = edge.client_edge
        return {
            "name": edge.switch.name,
            "dpid": edge.switch.dpid,
            "roles": roles or ["core"],
            "connected": edge.synchronised,
            "pools": {
                family: {"size": use.size, "leased": use.leased, "resting": use.resting, "free": use.free}
                for family, use in (client_edge.pool_use(now) if client_edge else {}).items()
            },
            "bindings": len(client_edge.bindings) if client_edge else 0,
            "rules": {
                "bindings": client_edge.bindings.rules if client_edge else 0,
                "other": len(edge.installed.flows),
                "groups": len(edge.installed.groups),
            },
            "drops": {**edge.dropped, **edge.counters, **edge.neighbours.counters},
            "last_sweep_s": edge.translation.last_sweep_s if edge.translation else None,
            "hosts": [
                {"address": text(address), "mac": neighbour.mac.hex(":"), "port": neighbour.port}
                for address, neighbour in edge.neighbours.known()
            ],
            "announces": [str(prefix) for prefix, edges in self._announced.items() if edge.switch.name in edges],
        }

    def server_status(self, address: Address) -> dict[str, object]:
        """Where a server stands, whether it answers, and how many flows it has."""
        subnet = self.network.subnet_of(address)
        edge = self._by_name[subnet.edge] if subnet else None
        tables = [edge.client_edge.bindings for edge in self.edges.values() if edge.client_edge]
        return {
            "edge": edge.switch.name if edge else None,
            "reachable": bool(edge and edge.neighbours.get(address)),
            "flows": sum(table.pinned_to(address) for table in tables),
        }

    def topology(self) -> dict[str, object]:
        """Links with cost and state, and for each service the edge that each site's traffic goes to now."""
        graph = Graph(self._by_name, self._working_links())
        sites = sorted({subnet.edge for subnet in self.network.subnets if subnet.side is Side.CLIENT})
        return {
            "switches": [
                {"name": edge.switch.name, "dpid": edge.switch.dpid, "connected": edge.synchronised}
                for edge in self.edges.values()
            ],
            "links": [self.link_view(link.a) for link in self._links.values()],
            "catchment": {
                str(prefix): {site: self._catching(graph, site, prefix) for site in sites}
                for group in self.groups
                for prefix in group.prefixes
            },
            "uplinks": [self._uplink_view(edge, uplink) for edge in self.edges.values() for uplink in edge.uplinks],
        }

    def _catching(self, graph: Graph, site: str, prefix: Prefix) -> str | None:
        """The edge that a site's traffic for a service goes to; "beyond UPLINK" when it leaves the fabric."""
        if edge := graph.nearest(site, self._announced.get(prefix, ())):
            return edge
        leading = {name: way for name, edge in self._by_name.items() if (way := edge.way_out(prefix))}
        name = graph.nearest(site, leading)
        if name is None:
            return None
        uplink = next(uplink for uplink in self._by_name[name].uplinks if uplink.port == leading[name].port)
        return f"beyond {uplink.name}"

    def _uplink_view(self, edge: EdgeSwitch, uplink: Uplink) -> dict[str, object]:
        return {
            "name": uplink.name,
            "port": str(Port(uplink.edge, uplink.port)),
            "routers": [
                {"address": text(router), "reachable": edge.neighbours.get(router) is not None}
                for router in uplink.routers
            ],
            "routes": sum(router.port == uplink.port for router in edge.ways_out.values()),
        }

    def link_view(self, end: Port) -> dict[str, object]:
        """The link that ends at this port; there must be one."""
        ends, link = next((ends, link) for ends, link in self._links.items() if end in ends)
        return {"ends": [str(link.a), str(link.b)], "cost": link.cost, "up": not ends & self._ports_down}

    def health(self) -> dict[str, object]:
        switches = {edge.switch.name: {"connected": edge.synchronised} for edge in self.edges.values()}
        ready = all(edge.synchronised for edge in self.edges.values())
        return {"status": "ok" if ready else "starting", "switches": switches}

