"""One switch: what it should hold, and what to do with the packets that it sends up.

An ``EdgeSwitch`` joins the switch's facts (network file), its hosts (``Neighbours``), its flows
(``engine``) and what it is known to hold (``installed``).  It returns messages for its switch and
sends nothing.  What concerns more than one switch is the ``Controller``'s.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from anycast_sdn.control.neighbours import Neighbours, Replies
from anycast_sdn.control.reading_back import ReadingBack
from anycast_sdn.control.reconcile import changes
from anycast_sdn.control.throttle import HELD_PER_S, Throttle
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Neighbour, Prefix, Server
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.core.roles import Side
from anycast_sdn.core.server_edge import able_servers
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.engines.engine import Engine, PacketHandler
from anycast_sdn.engines.flow_rules import FlowRules
from anycast_sdn.engines.no_client_edge import NoClientEdge
from anycast_sdn.fabric.egress import Exits, Hops, Taught, exits_to, hops_of
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow import entries, frames, readback
from anycast_sdn.openflow.answers import Answers, Gateways
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import ROW, Kind, Table, kind_of, number_of
from anycast_sdn.openflow.reaction import Reaction, come_by, out_of, through_pipeline
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    AddFlow,
    Copy,
    DeleteFlow,
    FlowRule,
    GroupRule,
    Message,
    MeterRule,
    PacketOut,
    RuleKey,
)
from anycast_sdn.openflow.tables import Tables

MOST_BUCKETS = 500  # servers of one group behind one edge that take flows: an OpenFlow message ends at 64 KiB
INHERITED_S = 15.0  # so long may routers take to teach a new controller what the old one knew
MOST_KEPT = 1 << 15  # answers that are remembered
_OF_FLOWS = frozenset(kind for kind, row in ROW.items() if row.table in (Table.CLIENT_OUT, Table.CLIENT_IN))
Flows = dict[RuleKey, FlowRule]


@dataclass(slots=True)
class _Changed:
    """What a switch may want other rules for than it has."""

    everything: bool = False
    fixed: bool = False  # see ``EdgeSwitch._fixed_rules``
    services: dict[Prefix, None] = field(default_factory=dict)  # ANY/n
    servers: dict[Address, None] = field(default_factory=dict)  # whose first replies go to the controller, or do not
    exits: dict[Prefix, None] = field(default_factory=dict)


_NOTHING = _Changed()


class EdgeSwitch:
    """A managed switch in any role (M25)."""

    def __init__(self, switch: Switch, network: Network, random: RandomSource) -> None:
        self.switch = switch
        self.mtus = network.mtus_of(switch.name)
        self.subnets = network.subnets_of(switch.name)
        self.uplinks = network.uplinks_of(switch.name)
        connected = self._connected = (*self.subnets, *(uplink.subnet for uplink in self.uplinks))
        self.mac = switch.mac
        self.neighbours = Neighbours(self.mac, connected)
        self.counters: Counter[str] = Counter()  # drops decided here
        self._throttle = Throttle()
        self._answers = Answers(switch, connected, Gateways(network))
        self.changes = 0  # how often what it is believed to hold, without the bindings, has been changed
        self.repairs: Counter[str] = Counter()  # rules that were not as they should be, and were put right
        self.repaired_at: float | None = None  # for the last time, while it was connected
        self.engine = self._new_engine(network, random)
        self.features = Features()
        self.installed = Tables()  # without the routes, and without the flows' rules, which the engine knows
        self.routes: dict[Prefix, int] = {}  # the ways that it was told: ports, or LOCAL for what it delivers itself
        self._serving: dict[Prefix, tuple[Server, ...]] = {}  # ANY/n → the servers here that take new flows
        self._numbers: dict[Prefix, int] = {}  # of their select groups
        self._holders: dict[int, Prefix] = {}  # the reverse
        self._shifted = False  # some have not got the number that they would have alone
        self._able: dict[tuple[str, bool], tuple[AnycastGroup, tuple[Server, ...]]] = {}  # (group, IPv6?): memory
        self._servers: dict[Address, None] = {}  # enrolled ones that stand behind this edge
        self._leftover: set[Address] = set()  # servers that are enrolled no more, and have flows here
        self._moved: dict[Address, None] = {}  # servers that came, moved or went, for ``take_moved``
        self._changed = _Changed()
        self._fixed: list[RuleKey] = []  # the keys of ``_fixed_rules``, as installed
        self.synchronised = False
        self.ever_synchronised = False
        self.reading: ReadingBack | None = None  # the switch is here, and what it holds is being read
        self._held = Tables()
        self.expected = True  # not seen since the start, and believed to be about to connect, with its hosts
        self.refused_at = -math.inf  # when it last refused a rule
        self.unanswered: frozenset[str] = frozenset()  # what the switch leaves unanswered when asked, by name
        self.dropped: dict[str, int] = {}  # drops counted by the switch's own rules
        self.ways_out: dict[Prefix, Neighbour] = {}  # those in use, each to a router that answers
        self._exits: Exits = {}
        self._taught: Taught = {}
        self._hops: Hops = {}
        self._other_routers = False  # one of them answers now, or does no more, or what was inherited is over
        self._inherited: dict[Prefix, Neighbour] = {}  # ways out found on the switch at the controller's start
        self._inherited_until = 0.0
        self._names = {uplink.name for uplink in self.uplinks}
        self.set_taught({})
        self.find_exits({prefix for uplink in self.uplinks for prefix in uplink.routes})
        self._limits = network.limits
        self._anycast = network.anycast_prefixes
        self.fabric_ports: list[int] = []  # to other switches; see ``set_fabric_ports``
        self._packet_handlers: dict[Kind, PacketHandler] = {
            Kind.ARP: self._arp,
            Kind.ND: self._nd,
            Kind.GATEWAY: self._gateway,
            Kind.UNRESOLVED: self._unresolved,
            Kind.PROHIBITED: self._refuser(Unreachable.ADMINISTRATIVELY_PROHIBITED),
            Kind.NO_ROUTE_HERE: self._refuser(Unreachable.NET),
            Kind.NO_ROUTE: self._refuser(Unreachable.NET),
            Kind.GATEWAY_HERE: self._gateway,
            Kind.UNRESOLVED_HERE: self._unresolved,
        }
        handlers = self.engine.packet_handlers
        self._packet_handlers |= handlers
        for kind in handlers.keys() & {Kind.FIRST_PACKET, Kind.SYN}:
            self._packet_handlers[kind] = partial(self._first_packet, handlers[kind])

    def _new_engine(self, network: Network, random: RandomSource) -> Engine:
        role, anycast = self.switch.client_edge, network.anycast_prefixes
        if role is None:
            return NoClientEdge(self._connected, anycast, self.repairs)
        ports = entries.host_ports(subnet for subnet in self.subnets if subnet.side is Side.CLIENT)
        edge = ClientEdge(role, random, ports=len(ports))
        return FlowRules(edge, self._connected, anycast, self._answers, self.counters, self.repairs)

    # ---------------------------------------------------------------- what the switch should hold

    @property
    def rules(self) -> int:
        """How many it holds, without the bindings'."""
        return len(self.installed.flows) + sum(way != LOCAL for way in self.routes.values())

    @property
    def meters(self) -> int:
        """The highest meter number that this switch needs."""
        return max(meter.number for meter in self._meters())

    def _meters(self) -> Iterator[MeterRule]:
        ports = entries.host_ports(self._connected)
        held = {ports.index(port): HELD_PER_S for port in self._throttle.held if port in ports}
        return entries.meters(self._limits, len(ports), len(self.fabric_ports), held)

    def able_servers(self, group: AnycastGroup, service: Prefix) -> tuple[Server, ...]:
        """The servers here that take new flows for ``service`` now; none: this edge does not announce it."""
        if not self.switch.server_edge:
            return ()
        known = self._able.get((group.name, service.is_v6))
        if known is None or known[0] is not group:
            able = able_servers(group, service, self.subnets, self._is_reachable)
            if len(able) > MOST_BUCKETS:
                able = tuple(sorted(able, key=lambda server: (-server.weight, server.address))[:MOST_BUCKETS])
            if len(self._able) >= MOST_KEPT:
                self._able.clear()
            known = self._able[group.name, service.is_v6] = group, able
        return known[1]

    def _is_reachable(self, address: Address) -> bool:
        return self.expected or self.neighbours.get(address) is not None

    def leaving_servers(self, group: AnycastGroup, service: Prefix) -> tuple[Server, ...]:
        """Those that took new flows for ``service``, should not do so any more, and still could."""
        return tuple(
            server
            for server in self._serving.get(service, ())
            if server.address in group.servers and self.neighbours.get(server.address)
        )

    def _servers_of(self, prefix: Prefix, groups: Groups) -> tuple[Server, ...]:
        """Those of ANY/n here; the leaving ones until others have taken over (``fabric.ordered_update``)."""
        group = groups.owner(prefix)
        if group is None:
            return ()
        servers = self.able_servers(group, prefix)
        if not servers and self.routes.get(prefix) == LOCAL and prefix not in self.ways_out:
            return self.leaving_servers(group, prefix)
        return servers

    def services(self, groups: Groups) -> Iterator[Prefix]:
        """The ANY/n of all groups that have a server here."""
        names = dict.fromkeys(name for address in self._servers for name in groups.of_server(address))
        for name in names:
            group = groups.get(name)
            yield from group.prefixes if group else ()

    def _wanted(self, groups: Groups) -> Tables:
        """All rules but the bindings' and the routes to other edges, from facts, neighbours and enrolments."""
        every = {prefix: self._servers_of(prefix, groups) for prefix in self.services(groups)}
        self._serving = {prefix: servers for prefix, servers in every.items() if servers}
        self._numbers = _group_numbers(self._serving)
        self._holders = {number: prefix for prefix, number in self._numbers.items()}
        self._shifted = any(number != _group_number(prefix) for prefix, number in self._numbers.items())
        self._leftover = self.engine.flows.pinned_servers() - groups.servers()
        flows = [
            *self._fixed_rules(),
            *self.engine.wanted_rules(groups),
            *(entries.service(prefix, self._numbers[prefix]) for prefix in self._serving),
            *self._host_routes(),
            *(self._exit_rule(prefix, router) for prefix, router in self.ways_out.items()),
        ]
        return Tables.of(
            flows if self.features.meters else map(_unmetered, flows),
            [self._server_group(prefix) for prefix in self._serving],
            self._meters() if self.features.meters else (),
        )

    def _part(self, changed: _Changed, groups: Groups) -> tuple[Tables, Tables]:
        """As ``_wanted``, of what may have changed alone → (what is wanted, what of it is installed)."""
        wanted, held = Tables(), Tables()
        if changed.fixed:
            wanted = Tables.of(self._fixed_rules(), (), self._meters() if self.features.meters else ())
            held.flows = {key: self.installed.flows[key] for key in self._fixed if key in self.installed.flows}
            held.meters = dict(self.installed.meters)
            self._fixed = list(wanted.flows)
        flows: list[FlowRule] = []
        keys: list[RuleKey] = []
        for prefix in changed.services:
            keys.append(entries.service(prefix, 0).key)
            if number := self._numbers.pop(prefix, 0):
                del self._holders[number]
                held.groups |= {number: self.installed.groups[number]} if number in self.installed.groups else {}
            if servers := self._servers_of(prefix, groups):
                self._serving[prefix] = servers
                number = self._numbers[prefix] = _group_number(prefix)
                self._holders[number] = prefix
                flows.append(entries.service(prefix, number))
                wanted.groups[number] = self._server_group(prefix)
            else:
                self._serving.pop(prefix, None)
        for address in changed.servers:
            rules = self.engine.rules_for_server(address)
            keys += [rule.key for rule in rules]
            pinned = self.engine.flows.pinned_to(address) > 0
            enrolled = bool(groups.of_server(address))
            (self._leftover.add if pinned and not enrolled else self._leftover.discard)(address)
            flows += rules if pinned or enrolled else ()
        for prefix in changed.exits:
            router = self.ways_out.get(prefix)
            rule = self._exit_rule(prefix, router or Neighbour(bytes(6), 0))
            keys.append(rule.key)
            flows += [rule] if router else ()
        wanted.flows |= {rule.key: rule for rule in (flows if self.features.meters else map(_unmetered, flows))}
        held.flows |= {key: self.installed.flows[key] for key in keys if key in self.installed.flows}
        return wanted, held

    def _fixed_rules(self) -> Iterator[FlowRule]:
        """Those that hang on nothing but the network file, the switch's features and its ports to other switches."""
        rules = (
            *entries.constant(),
            *self._ingress_rules(),
            *self._gateway_rules(),
        )
        return iter(rules) if self.features.meters else map(_unmetered, rules)

    def _server_group(self, prefix: Prefix) -> GroupRule:
        buckets = map(self._bucket, self._serving[prefix])
        return entries.server_group(self._numbers[prefix], buckets, self.features.hairpin)

    def _ingress_rules(self) -> Iterator[FlowRule]:
        translation = self.switch.translation_prefixes
        hairpin = self.features.hairpin
        return entries.ingress(self._connected, self.fabric_ports, self._anycast, hairpin, translation)

    def _gateway_rules(self) -> Iterator[FlowRule]:
        for subnet in self._connected:
            for gateway in subnet.gateways:
                yield entries.gateway(gateway.address)
                yield entries.connected(gateway.prefix)
        yield from map(entries.gateway, self.switch.addresses)
        yield from entries.no_route(self._connected)
        yield from entries.asked_here(self._connected, self.switch.addresses)
        yield from entries.egress(self.mtus if self.features.packet_size else {})

    def _host_routes(self) -> Iterator[FlowRule]:
        for address, neighbour in self.neighbours.known():
            yield self._host(address, neighbour)

    def _host(self, address: Address, neighbour: Neighbour) -> FlowRule:
        return entries.host(address, self.mac, *neighbour, self._limit(neighbour.port), self.features.hairpin)

    def _exit_rule(self, prefix: Prefix, router: Neighbour) -> FlowRule:
        return entries.egress_route(prefix, self.mac, *router, self._limit(router.port))

    def _limit(self, port: int) -> int:
        """The largest IP packet that may leave by this port; 0: there is no limit that the switch could keep."""
        return self.mtus.get(port, 0) if self.features.packet_size else 0

    def _bucket(self, server: Server) -> tuple[Address, int, bytes, bytes, int]:
        neighbour = self.neighbours.get(server.address)
        assert neighbour is not None  # able_servers and leaving_servers asked
        return server.address, server.weight, self.mac, neighbour.mac, neighbour.port

    def refresh(self, groups: Groups, routes: Mapping[Prefix, int | None]) -> list[Message]:
        """The changes from what is installed to what is wanted; nothing while the switch is away.

        ``routes``: those that it should take up now, see ``fabric.routing.Changes``.  Only what may have changed
        is looked at, see ``_Changed``; a look at all of it would change nothing more.
        """
        changed, self._changed = self._changed, _Changed()
        if not self.synchronised:
            return []
        new, old = self._turn(routes)
        if self.switch.server_edge:  # whether it delivers, and whether it must, go together
            changed.services |= {prefix: None for prefix in routes if groups.owner(prefix) or prefix in self._serving}
        if self.uplinks:
            changed.exits |= dict.fromkeys(routes)
        if changed.everything or self._numbers_clash(changed.services):
            before, self.installed = self.installed, self._wanted(groups)
            self._fixed = [rule.key for rule in self._fixed_rules()]
            wanted = replace(self.installed, flows=self.installed.flows | new)
            return self._counted(changes(wanted, replace(before, flows=before.flows | old)))
        wanted, held = self._part(changed, groups)
        self._install(wanted, held)
        return self._counted(changes(replace(wanted, flows=wanted.flows | new), replace(held, flows=held.flows | old)))

    def _install(self, wanted: Tables, held: Tables) -> None:
        """The switch will hold these instead of those."""
        for mine, new, old in (
            (self.installed.flows, wanted.flows, held.flows),
            (self.installed.groups, wanted.groups, held.groups),
            (self.installed.meters, wanted.meters, held.meters),
        ):
            for key in old:
                if key not in new:
                    del mine[key]  # type: ignore[arg-type]
            mine.update(new)  # type: ignore[arg-type]

    def _counted(self, messages: list[Message]) -> list[Message]:
        self.changes += bool(messages)
        return messages

    def wants(self, rule: FlowRule) -> bool:
        """Is it just what the switch is believed to hold?  For all rules but the bindings'."""
        if kind_of(rule.cookie) is Kind.ROUTE:
            prefix, way = readback.route(rule) or (None, LOCAL)
            return prefix is not None and self.routes.get(prefix) == way and rule == self._route(prefix, way)
        return self.installed.flows.get(rule.key) == rule

    def wants_at(self, rule: FlowRule) -> bool:
        """Is the switch believed to hold a rule, perhaps another, where this one stands?"""
        prefix = readback.route_prefix(rule)
        way = self.routes.get(prefix, LOCAL) if prefix else LOCAL
        return rule.key in self.installed.flows or (
            prefix is not None and way != LOCAL and self._route(prefix, way).key == rule.key
        )

    def believed(self) -> Iterator[FlowRule]:
        """All rules but the bindings' that the switch is believed to hold."""
        yield from self.installed.flows.values()
        ways = ((prefix, way) for prefix, way in self.routes.items() if way != LOCAL)
        yield from (self._route(prefix, way) for prefix, way in ways)

    def _route(self, prefix: Prefix, way: int) -> FlowRule:
        return entries.route(prefix, way, self._limit(way))

    def _numbers_clash(self, prefixes: Collection[Prefix]) -> bool:
        """Do two ANY/n want one number?  Which of them gets it hangs on all that are served here."""
        if not prefixes or self._shifted:
            return bool(prefixes)
        wanted: dict[int, Prefix] = {}
        for prefix in prefixes:
            number = _group_number(prefix)
            if self._holders.get(number, prefix) != prefix or wanted.setdefault(number, prefix) != prefix:
                return True
        return False

    # ---------------------------------------------------------------- what may have changed

    @property
    def is_changed(self) -> bool:
        """May it want other rules than it has?"""
        return self._changed != _NOTHING

    def suspect_service(self, prefix: Prefix) -> None:
        """Its servers here may be others."""
        self._changed.services[prefix] = None

    def suspect_server(self, address: Address) -> None:
        """It is enrolled now, or is no more."""
        if self.switch.client_edge:  # no other switch has rules for servers' replies
            self._changed.servers[address] = None

    def suspect_pins(self) -> None:
        """A server may have lost its last flow here."""
        if self._leftover:
            self._changed.servers |= dict.fromkeys(self._leftover)

    def set_fabric_ports(self, ports: list[int]) -> None:
        self.fabric_ports = ports
        self._changed.fixed = True

    def want_server(self, address: Address, enrolled: bool) -> None:
        """A server that stands behind this edge."""
        if enrolled:
            self._servers[address] = None
        else:
            self._servers.pop(address, None)
        self.neighbours.want_one(address, enrolled)

    def want_neighbours(self) -> None:
        self.neighbours.want(self._servers.keys() | self.routers())

    def is_late(self) -> None:
        """It has been expected for long enough."""
        self.expected = False
        self._able.clear()

    def take_moved(self) -> Iterable[Address]:
        moved, self._moved = self._moved, {}
        return moved

    def _turn(self, routes: Mapping[Prefix, int | None]) -> tuple[Flows, Flows]:
        """Takes up these routes → the rules for them, and those for what they replace."""
        new: Flows = {}
        old: Flows = {}
        for prefix, way in routes.items():
            if was := self.routes.pop(prefix, LOCAL):
                rule = entries.route(prefix, was, self._limit(was))
                old[rule.key] = rule
            if way is not None:
                self.routes[prefix] = way
            if way != LOCAL:
                self.ways_out.pop(prefix, None)
            if way:
                rule = entries.route(prefix, way, self._limit(way))
                new[rule.key] = rule
        return new, old

    # ---------------------------------------------------------------- uplinks

    def set_taught(self, taught: Taught) -> Collection[Prefix]:
        """All that the routers at the uplinks teach now → the prefixes for which ``find_exits`` is to be called."""
        before, self._taught = self._taught, {name: routes for name, routes in taught.items() if name in self._names}
        known, self._hops = self._hops, hops_of(self.uplinks, self._taught)
        others: dict[Prefix, None] = {}
        for uplink in self.uplinks:
            old, new = before.get(uplink.name, {}), self._taught.get(uplink.name, {})
            all_of_them = known.get(uplink.name) != self._hops[uplink.name]
            others |= {prefix: None for prefix, route in new.items() if all_of_them or old.get(prefix) != route}
            others |= {prefix: None for prefix in old if prefix not in new}
        return others

    def find_exits(self, prefixes: Iterable[Prefix]) -> None:
        """The ways out to these may be others."""
        found = exits_to(prefixes, self.uplinks, self._taught, self._hops)
        for prefix in prefixes:
            if prefix in found:
                self._exits[prefix] = found[prefix]
            else:
                self._exits.pop(prefix, None)

    def routers(self) -> set[Address]:
        """The next hops on this edge's uplinks: to be found, and not lost sight of."""
        return {router for uplink in self.uplinks for router in uplink.routers}.union(*self._hops.values())

    def take_other_exits(self) -> Iterable[Prefix]:
        """The prefixes whose ways out are to be chosen anew, since the last time."""
        others, self._other_routers = self._other_routers, False
        return {*self.exits(), *self.ways_out} if others else ()

    def choose_ways_out(self, own: PrefixSet, announced: Container[Prefix]) -> None:
        """Of all that can be reached by an uplink now, what is not the fabric's ``own``.

        What has become the fabric's goes on by the uplink until this edge turns, unless it is the edge itself that
        has ``announced`` it.
        """
        known = self._exits.keys() | self._inherited.keys()
        for prefix in self.ways_out.keys() - known:
            self.choose_way_out(prefix, own, announced)
        for prefix in self.exits():
            self.choose_way_out(prefix, own, announced)

    def exits(self) -> Iterator[Prefix]:
        """What its uplinks lead to, if the routers there answer."""
        yield from self._exits
        yield from (prefix for prefix in self._inherited if prefix not in self._exits)

    def leads_to(self, prefix: Prefix) -> bool:
        """Is there an uplink to it, if the router there answers?"""
        return prefix in self._exits or prefix in self._inherited

    def choose_way_out(self, prefix: Prefix, own: PrefixSet, announced: Container[Prefix]) -> None:
        """As ``choose_ways_out``, for one of them."""
        router, before = self._working_exit(prefix), self.ways_out.get(prefix)
        if own.covers(prefix) and not (before and self.routes.get(prefix) == LOCAL and prefix not in announced):
            router = None
        if router == before:
            return
        if router:
            self.ways_out[prefix] = router
        else:
            del self.ways_out[prefix]
        self._changed.exits[prefix] = None
        self._changed.services[prefix] = None

    def _working_exit(self, prefix: Prefix) -> Neighbour | None:
        if prefix in self._exits:
            return next(filter(None, map(self.neighbours.get, self._exits[prefix])), None)
        return self._inherited.get(prefix)

    def beyond_uplinks(self) -> Iterator[tuple[Prefix, str]]:
        """What can be reached by an uplink, and by which: also what the fabric has itself.

        All of it as it is at the time of the call, however long the iterator is used.
        """
        answering = {router: self.neighbours.get(router) for router in self.routers()}
        exits, inherited = self._exits.copy(), self._inherited.copy()
        names = {uplink.port: uplink.name for uplink in self.uplinks}

        def each() -> Iterator[tuple[Prefix, str]]:
            for prefix in {**exits, **inherited}:
                hops = exits.get(prefix)
                router = inherited[prefix] if hops is None else next(filter(None, map(answering.get, hops)), None)
                if router and router.port in names:
                    yield prefix, names[router.port]

        return each()

    # ---------------------------------------------------------------- connection

    def begin_reading(self, found: Tables, features: Features) -> None:
        """The switch is here and holds ``found``; see ``reading_back``."""
        self.features = features
        self.engine.begin_reading(features)
        self.reading = ReadingBack(found, self.engine, self._route, not self.ever_synchronised)
        self._held = Tables({}, found.groups, found.meters)

    def end_reading(self, now: float) -> list[Message]:
        """All is read → routes whose ways are the same, for another mtu.  ``refresh`` does the rest.

        The routes that the switch has stay until it is told others.  At the controller's start hosts are rebuilt
        from its rules, as bindings are.
        """
        reading, self.reading = self.reading, None
        assert reading
        others = reading.others
        if reading.begins:
            for address, neighbour in reading.hosts.items():
                self.neighbours.adopt(address, neighbour, now)
            ways_out = filter(None, map(readback.egress_route, others))
            ports = {uplink.port for uplink in self.uplinks}
            self._inherited = {prefix: Neighbour(mac, port) for prefix, mac, port in ways_out if port in ports}
            self._inherited_until = now + INHERITED_S
        wiped = not others and not reading.routes
        delivers = [] if wiped else [prefix for prefix, way in self.routes.items() if way == LOCAL]
        self.routes.clear()
        self.routes.update(dict.fromkeys(delivers, LOCAL) | reading.routes)
        self.installed = Tables.of(others, self._held.groups.values(), self._held.meters.values())
        self.changes += 1
        self.synchronised = self.ever_synchronised = True
        self.is_late()
        self._changed.everything = True
        return reading.resized

    def repairs_view(self, now: float) -> dict[str, object]:
        """How many rules were put right since the controller's start, and how long ago the last, if any were."""
        ago = {} if self.repaired_at is None else {"last_repair_s": round(now - self.repaired_at, 1)}
        return {"repaired": self.repairs.total(), **ago} if self.repairs.total() else {}

    def disconnected(self) -> None:
        self.synchronised = False
        self.reading = None
        self._answers.disconnected()
        self.neighbours.disconnected()
        self.engine.disconnected()

    # ---------------------------------------------------------------- packets

    def packet_in(self, cookie: int, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A frame that a rule with this cookie, one of ours, sent up."""
        kind = kind_of(cookie)
        if kind is Kind.TOO_LARGE and self.synchronised:
            mtu = number_of(cookie)
            self.counters["too_large"] += 1
            return Reaction([*self._answers.refuse(in_port, frame, Unreachable.TOO_LARGE, now, mtu)])
        handler = self._packet_handlers.get(kind) if kind else None
        if handler is None or not (self.serves_flows if kind in _OF_FLOWS else self.synchronised):
            return self._drop("unexpected_packet_in")
        try:
            return handler(in_port, frame, groups, now)
        except frames.BadFrame as error:
            return self._drop(f"bad_frame: {error}")

    @property
    def serves_flows(self) -> bool:
        """Are its bindings known?  So they are while a switch that was known is read back."""
        return self.synchronised or (self.reading is not None and self.ever_synchronised)

    def whose_reply(self, frame: bytes) -> tuple[int, Address]:
        """The port of the client that waits for a first reply, and who answers: those who are served in turn."""
        return self.engine.flows.port_of(frames.destination_of(frame)), frames.source_of(frame)

    def _refuser(self, reason: Unreachable) -> PacketHandler:
        """Tells senders why their packets go no further; the switch's own rules count them."""

        def refuse(in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
            return Reaction([*self._answers.refuse(in_port, frame, reason, now)])

        return refuse

    def _first_packet(self, handle: PacketHandler, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """The engine may ``handle`` it when its source is known to be at this port: an invented one gets no binding."""
        if in_port != OFPP_CONTROLLER and not self.neighbours.is_at(frames.source_of(frame), in_port):
            key = frames.parse_ip(frame).key
            if self.engine.flows.by_key(key) is None:
                replies = self.neighbours.vouch(frame, key.source, in_port, now)
                if not replies.frames:
                    self._throttle.refused(in_port)
                return self._neighbours_replied(replies, now)
        reaction = handle(in_port, frame, groups, now)
        if not any(isinstance(message, PacketOut) and message.frame is frame for message in reaction.messages):
            self._throttle.refused(in_port)
        return reaction

    def _gateway(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        if frames.parse_ip(frame).icmp_type < 0:
            return Reaction([*self._answers.nobody_there(in_port, frame, now)])
        return Reaction([self._answers.echo_reply(frame)])

    def _arp(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.arp(frames.parse_arp(frame), in_port, now), now)

    def _nd(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.nd(frames.parse_nd(frame), in_port, now), now)

    def _unresolved(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        destination = frames.parse_ip(frame).key.destination
        if in_port == OFPP_CONTROLLER and self.neighbours.get(destination):
            return self._drop("looped")
        return self._neighbours_replied(self.neighbours.wait(frame, destination, in_port, now), now)

    def _neighbours_replied(self, replies: Replies, now: float) -> Reaction:
        """A host's route stands before the packets that waited for it go on.

        Most hosts concern nobody else; a server is another matter, groups and routes hang on it.
        """
        messages: list[Message] = list(map(self._host_rule, replies.moved)) if self.synchronised else []
        messages += [out_of(port, frame) for port, frame in replies.frames]
        messages += map(through_pipeline, replies.resolved)
        messages += [come_by(port, frame) for port, frame in replies.vouched]
        for frame in replies.unreachable:
            messages += self._answers.host_unreachable(frame, now)
        wanted = [address for address in replies.moved if self.neighbours.is_wanted(address)]
        if wanted:
            self._moved |= dict.fromkeys(wanted)
            self._other_routers |= bool(self.uplinks) and not self.routers().isdisjoint(wanted)
            self._able.clear()
        return Reaction(messages, changed=bool(wanted))

    def _host_rule(self, address: Address) -> Message:
        """The change that makes the switch know, or forget, one host; the same as ``refresh`` would make."""
        neighbour = self.neighbours.get(address) or Neighbour(bytes(6), 0)
        rule = self._host(address, neighbour)
        self.changes += 1
        if neighbour.port:
            self.installed.flows[rule.key] = rule
            return AddFlow(rule)
        return DeleteFlow(self.installed.flows.pop(rule.key, rule))

    def _drop(self, counter: str) -> Reaction:
        self.counters[counter] += 1
        return Reaction()

    # ---------------------------------------------------------------- other events

    def port_down(self, port: int, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.port_down(port, now), now)

    def ttl_expired(self, in_port: int, frame: bytes, now: float) -> Reaction:
        self.counters["ttl_expired"] += 1
        return Reaction([*self._answers.ttl_expired(in_port, frame, now)]) if self.synchronised else Reaction()

    def sweep_is_due(self, now: float) -> bool:
        return self.synchronised and self.engine.sweep_is_due(now)

    def put_back(self, now: float) -> list[Message]:
        """Some of the bindings' rules that others have deleted."""
        if not self.synchronised or not self.engine.has_lost_rules:
            return []
        self.repaired_at = now
        return self.engine.put_back()

    def tick(self, now: float) -> Reaction:
        if not self.synchronised:
            return Reaction()
        reaction = self._neighbours_replied(self.neighbours.tick(now), now)
        if self._inherited and now >= self._inherited_until:
            self._inherited.clear()
            self._other_routers = reaction.changed = True
        reaction.messages += self._answers.tick(now)
        reaction.messages += self.put_back(now)
        newly_held = self._throttle.tick(now)
        if newly_held is not None:
            self.counters["port_held_back"] += newly_held
            self._changed.fixed = True  # its meters
            reaction.changed = True
        return reaction


@lru_cache(MOST_KEPT)
def _group_number(prefix: Prefix) -> int:
    """A select group's number; the same after a restart, so that groups are recognised."""
    return zlib.crc32(str(prefix).encode()) & 0x7FFFFFFF


def _group_numbers(prefixes: Iterable[Prefix]) -> dict[Prefix, int]:
    """A number for each ANY/n; where two want the same, the later one gets the next that is free."""
    numbers: dict[Prefix, int] = {}
    taken: set[int] = set()
    for prefix in sorted(prefixes):
        number = _group_number(prefix)
        while number in taken:
            number += 1
        taken.add(number)
        numbers[prefix] = number
    return numbers


def _unmetered(rule: FlowRule) -> FlowRule:
    actions = tuple(Copy(None) if isinstance(action, Copy) else action for action in rule.actions)
    return replace(rule, meter=None, actions=actions)
