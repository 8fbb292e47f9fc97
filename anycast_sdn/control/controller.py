"""Controller: events of all switches in, messages per switch out.

It knows what no single switch does: the groups, which edges are able to serve them, and the graph
that makes routes of that.  Every method takes ``now`` (seconds, monotonic) and returns an ``Outbox``;
nothing here sends, waits or reads a clock, so that a list of (event, now) replays exactly.  Routes are told in
an order that loses no packet (``fabric.ordered_update``): what has to wait follows from later events.

One writer: the caller must not call a second method before the first has returned.

Nothing takes long: an event is in our state at once, and what follows from it for the switches is a queue that is
worked off in slices, the first of them by the event itself.  While the controller ``is_busy``, ``work`` is to be called
until it is not, with turns for others between.  Rules of one switch for one ANY/n, and all switches' routes to one
prefix, are never cut apart, so that each slice is what a smaller event would have been.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.control.audit import Audit
from anycast_sdn.control.discovery import Discovery
from anycast_sdn.control.suspects import Suspects
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Prefix
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.prefixes import NestedPrefixes, PrefixSet
from anycast_sdn.description.model import Network, Port, Uplink
from anycast_sdn.fabric.egress import Route, own_prefixes
from anycast_sdn.fabric.ordered_update import OrderedUpdate
from anycast_sdn.fabric.routing import Routing
from anycast_sdn.openflow import frames
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import DROPS, Kind, binding_of, kind_of
from anycast_sdn.openflow.reaction import Reaction, in_order, out_of
from anycast_sdn.openflow.rules import Barrier, Message
from anycast_sdn.openflow.tables import Tables

Outbox = dict[int, list[Message]]  # datapath id → messages, in order
_NO_ROUTES: Mapping[Prefix, int | None] = {}

ABSENT_S = 10.0  # a switch that only reconnects is back within 2 s
CONFIRMED_AFTER_S = 0.05  # a switch that holds a rule goes on so much longer by what it remembers of earlier packets
RETIRE_S = 5.0  # so long may routers take to turn away from an edge that has withdrawn ANY/n


class _Surroundings(NamedTuple):
    """What an edge with uplinks has on this side of them, and beyond."""

    part: Mapping[str, int]  # the switches that it can reach
    own: set[Prefix]  # what these announce: it is told to the routers
    ours: PrefixSet  # the same, with what is just being withdrawn: nobody beyond an uplink can draw it away
    exits: NestedPrefixes  # what its uplinks lead to


class Pace(NamedTuple):
    """How much goes into one slice of work."""

    suspects: int = 64  # (switch, ANY/n) to look at, and prefixes to find routes to
    enrolled: int = 4  # servers whose rules change at all client edges
    changes: int = 1000  # routes that are found to be others
    routes: int = 150  # that are judged in one look, and perhaps told
    looks: int = 2  # while switches hold already what they should
    compared: int = 150  # rules of switches that have connected


class Controller:
    """The method over a whole network.  ``random``: see ``core.pool``."""

    def __init__(self, network: Network, groups: Groups, random: RandomSource, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self.network = network
        self.groups = groups
        self.edges = {switch.dpid: ManagedSwitch(switch, network, random) for switch in network.switches}
        self.audits = {dpid: Audit(edge) for dpid, edge in self.edges.items()}
        self._by_name = {edge.switch.name: edge for edge in self.edges.values()}
        self._in_order = [edge for _, edge in sorted(self._by_name.items())]
        self.discovery = Discovery(network, random.randrange(1 << 128).to_bytes(16, "big"))
        self._announced = self._always_announced()  # prefix → the edges that announce it
        self._always: dict[str, list[Prefix]] = {name: [] for name in self._by_name}  # what each edge does in any case
        for prefix, names in self._announced.items():
            for name in sorted(names):
                self._always[name].append(prefix)
        self._beyond: dict[Prefix, frozenset[str]] = {}  # as ``_announced``, where uplinks lead to it, too
        self._beyond_is_old = True  # what uplinks lead to may be different
        self._unrouted = dict.fromkeys(self._announced)  # prefixes that may have got others who announce them
        self._to_route: OrderedDict[Prefix, None] = OrderedDict()  # the same, for which routes are still to be found
        # Switches that may be able to serve ANY/n, or may not.
        self._suspects = Suspects()
        self._enrolled: OrderedDict[Address, None] = OrderedDict()  # servers that are enrolled now, or are no more
        self._surroundings: dict[str, _Surroundings] = {}  # of each edge with uplinks
        self._taught: dict[str, Mapping[Prefix, Route]] = {}  # by uplink
        self._to_choose: OrderedDict[tuple[int, Prefix], None] = OrderedDict()  # ways out that may be others
        self._last_seen: dict[str, float] = {}  # edge with uplinks → when its switch was last connected
        self._able: dict[str, set[Prefix]] = {name: set() for name in self._by_name}  # the ANY/n that it can serve
        self._retiring: dict[tuple[str, Prefix], float] = {}  # edge and ANY/n, just withdrawn → when it may cease
        self._routing = Routing(self._by_name)
        told = {name: edge.routes for name, edge in self._by_name.items()}
        self._update = OrderedUpdate(self._routing, told, self._delivers, self._is_expected)
        self._confirmed: deque[tuple[str, int]] = deque()  # (switch, ticket), for ``_update``
        self._behind: dict[int, None] = {}  # switches that have connected, and are not wholly compared; in this order
        for edge in self.edges.values():
            edge.want_neighbours()
        self.groups = Groups()
        self._relinked()
        self.set_groups(groups, now=0.0)
        while self.is_busy():
            self.work(now=0.0)

    # ---------------------------------------------------------------- events

    def synchronise(self, dpid: int, found: Tables, features: Features, now: float) -> Outbox:
        """A switch has connected; ``found`` is all that it holds.  Afterwards it holds what it should.

        Only routes may still have to wait for others.
        """
        self.begin_reading(dpid, found, features)
        out: Outbox = {}
        while (more := self.read_on(dpid, now)) is not None:
            _add(out, more)
        _add(out, self.end_reading(dpid, now))
        while dpid in self._behind:
            _add(out, self.work(now))
        return out

    def begin_reading(self, dpid: int, found: Tables, features: Features) -> None:
        """As ``synchronise``, in pieces: then ``read_on`` until that returns None, and ``end_reading``."""
        self.edges[dpid].begin_reading(found, features)

    def read_on(self, dpid: int, now: float) -> Outbox | None:
        """A few milliseconds' work; None when there is no more."""
        reading = self.edges[dpid].reading
        assert reading
        messages = reading.step(self.groups, now)
        return None if messages is None else {dpid: messages} if messages else {}

    def end_reading(self, dpid: int, now: float) -> Outbox:
        edge = self.edges[dpid]
        name = edge.switch.name
        if self.discovery.connected(name, now):
            self._relinked()
        messages = edge.end_reading(now)
        self._behind[dpid] = None
        self._update.connected(name)
        self._suspect_all_of(edge)
        self._to_choose |= {(dpid, prefix): None for prefix in edge.egress.take_affected()}
        self._beyond_is_old |= bool(edge.uplinks and self._retiring)
        self._update.judge_again()
        return {dpid: messages} if messages else {}  # that was enough for one slice

    def disconnected(self, dpid: int, now: float) -> Outbox:
        edge = self.edges[dpid]
        edge.disconnected()
        self._behind.pop(dpid, None)
        self._confirmed += [(edge.switch.name, ticket) for ticket in self._update.disconnected(edge.switch.name)]
        if self.discovery.disconnected(edge.switch.name, now):
            self._relinked()
        return self._work_again(now)

    def confirmed(self, tickets: Iterable[tuple[int, int]], now: float) -> Outbox:
        """Switches hold what they were told before barriers: (datapath id, ticket)."""
        self._confirmed += [(self.edges[dpid].switch.name, ticket) for dpid, ticket in tickets]
        return self.work(now)

    def updating(self) -> list[str]:
        """The switches that still have to take up other routes, or to confirm that they have."""
        anybody = self._to_route or self._to_choose or self._routing.is_following()
        soon = self.edges if anybody else {*self._suspects.switches(), *self._behind}
        return sorted(self._update.unsettled() | {self.edges[dpid].switch.name for dpid in soon})

    def packet_in(self, dpid: int, cookie: int, in_port: int, frame: bytes, now: float) -> Outbox:
        edge = self.edges[dpid]
        kind = kind_of(cookie)
        if kind in (Kind.LLDP, Kind.LLDP_ELSE):
            return self._lldp(edge, in_port, frame, now)
        if kind is None:
            edge.counters["unexpected_packet_in"] += 1
            return {}
        return self._follow(dpid, edge.packet_in(cookie, in_port, frame, self.groups, now), now)

    def ttl_expired(self, dpid: int, in_port: int, frame: bytes, now: float) -> Outbox:
        """A packet has come to the end of its TTL at this switch."""
        return self._follow(dpid, self.edges[dpid].ttl_expired(in_port, frame, now), now)

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool, now: float) -> Outbox:
        """``deleted``: the rule did not expire; ``unused``: no packet has met it."""
        if reading := self.edges[dpid].reading:
            reading.rule_removed(cookie)
        return self._follow(dpid, self.edges[dpid].engine.rule_removed(cookie, deleted, unused, now), now)

    def has_lost_rules(self, dpid: int) -> bool:
        """Have others deleted rules that are not put back yet?"""
        return self.edges[dpid].engine.has_lost_rules

    def put_back(self, dpid: int, now: float) -> Outbox:
        """Some of these; with every tick, until there are no more of them."""
        messages = self.edges[dpid].put_back(now)
        return {dpid: messages} if messages else {}

    def rule_refused(self, dpid: int, cookie: int, now: float) -> Outbox:
        """The switch has answered a flow-mod with an error."""
        edge = self.edges[dpid]
        edge.refused_at = now
        if number := binding_of(cookie):
            return self._follow(dpid, edge.engine.rule_refused(number, now), now)
        edge.counters["rule_refused"] += 1
        return {}

    def port_changed(self, dpid: int, port: int, up: bool, now: float) -> Outbox:
        edge = self.edges[dpid]
        relinked = self.discovery.port_changed(Port(edge.switch.name, port), up, now)
        out = self._relink(now) if relinked else {}
        if not up:
            _add(out, self._follow(dpid, edge.port_down(port, now), now))
        return out

    def set_groups(self, groups: Groups, now: float) -> Outbox:
        """Enrolments have changed.  Bindings stay as they are (M20)."""
        before, self.groups = self.groups, groups.announced(frozenset(self._announced))
        for edge in self.edges.values():
            edge.engine.enrol(groups.servers())
        for name in {**dict.fromkeys(before.names()), **dict.fromkeys(groups.names())}:
            old, new = before.get(name), groups.get(name)
            if old is not new:
                self._group_changed(old, new, before)
        return self._work_again(now)

    def set_cost(self, end: Port, cost: int, now: float) -> Outbox:
        """Change a link's cost until the controller restarts.  Raises NotFound."""
        self.discovery.set_cost(end, cost)
        return self._relink(now)

    def set_taught(self, uplink: str, routes: Mapping[Prefix, Route], now: float) -> Outbox:
        """All that the router at this uplink teaches now."""
        self._taught[uplink] = routes
        edge = next(edge for edge in self.edges.values() if any(uplink == other.name for other in edge.uplinks))
        self._to_choose |= {(edge.switch.dpid, prefix): None for prefix in edge.egress.set_taught(self._taught)}
        edge.want_neighbours()
        if len(self._to_choose) > self._pace.changes:  # to take them in was enough for once
            self._update.judge_again()
            return {}
        return self._work_again(now)

    def tick(self, now: float) -> Outbox:
        """What concerns the whole network; to be called several times a second, and ``tick_switch`` with it."""
        for edge in self.edges.values():
            if edge.uplinks and edge.synchronised:
                self._last_seen[edge.switch.name] = now
        relinked, probes = self.discovery.tick(now)
        out = self._relink(now) if relinked else {}
        if overdue := [(self._by_name[name], ticket) for name, ticket in self._update.overdue(now)]:
            for edge, _ in overdue:
                edge.counters["unconfirmed"] += 1
            _add(out, self.confirmed([(edge.switch.dpid, ticket) for edge, ticket in overdue], now))
        if retired := [each for each, until in self._retiring.items() if now >= until]:
            for each in retired:
                del self._retiring[each]
            self._beyond_is_old = True
            _add(out, self._work_again(now))
        if not self.discovery.starting and (late := [dpid for dpid, edge in self.edges.items() if edge.expected]):
            for dpid in late:
                self.edges[dpid].is_late()
                self._suspect_all_of(self.edges[dpid])
            _add(out, self._work_again(now))
        self._probe(probes, out)
        return out

    def tick_switch(self, dpid: int, now: float) -> Outbox:
        """What concerns one switch: its neighbours, closing connections, pauses.

        Apart from ``tick``, so that a fault in one switch's affairs leaves the others theirs.
        """
        return self._follow(dpid, self.edges[dpid].tick(now), now)

    def end_connections(self, dpid: int, now: float, most: int) -> tuple[Outbox, bool]:
        """Of a switch ``most`` TCP connections that ended a while ago → and may there be more?  With every tick."""
        edge = self.edges[dpid]
        if not edge.synchronised:
            return {}, False
        reaction, more = edge.engine.end_connections(now, most)
        return self._follow(dpid, reaction, now), more

    # ---------------------------------------------------------------- sweeps

    def sweeps_due(self, now: float) -> list[int]:
        """The switches whose counters are to be read now."""
        return [dpid for dpid, edge in self.edges.items() if edge.sweep_is_due(now)]

    def begin_sweep(self, dpid: int) -> int:
        """The counters of a switch's bindings are going to be read → how many bindings there are."""
        return self.edges[dpid].engine.begin_sweep()

    def counters_read(
        self, dpid: int, inward: bool, counters: Iterable[tuple[int, int]], asked: float, now: float
    ) -> list[int]:
        """(number, packets) of bindings' rules, as they were between ``asked`` and ``now`` → those that may be idle."""
        return self.edges[dpid].engine.counters_read(inward, counters, asked, now)

    def end_idle(self, dpid: int, numbers: Iterable[int], now: float) -> Outbox:
        """After all counters have been read: ends those of these bindings that are idle."""
        return self._follow(dpid, self.edges[dpid].engine.end_idle(numbers, now), now)

    def end_sweep(self, dpid: int, began: float, now: float) -> None:
        self.edges[dpid].engine.end_sweep(began, now)

    def packets_shed(self, dpid: int, packets: int) -> None:
        """So many first packets and first replies of a switch, in all, have waited too long to be looked at."""
        self.edges[dpid].counters["shed"] = packets

    def drops_counted(self, dpid: int, packets: dict[Kind, int]) -> None:
        """What the drop rules of a switch have counted, summed by kind."""
        dropped = dict.fromkeys(DROPS.values(), 0)
        for kind, name in DROPS.items():
            dropped[name] += packets.get(kind, 0)
        self.edges[dpid].dropped = dropped

    # ---------------------------------------------------------------- what follows

    def _lldp(self, edge: ManagedSwitch, in_port: int, frame: bytes, now: float) -> Outbox:
        try:
            relinked = self.discovery.hear(Port(edge.switch.name, in_port), frame, now)
        except frames.BadFrame as error:
            edge.counters[f"bad_frame: {error}"] += 1
            return {}
        return self._relink(now) if relinked else {}

    def _relink(self, now: float) -> Outbox:
        self._relinked()
        return self._work_again(now)

    def _relinked(self) -> None:
        """The usable links are others, and with them perhaps the ports that lead to other switches."""
        for switch, ports in self.discovery.fabric_ports().items():
            edge = self._by_name[switch]
            if ports != edge.fabric_ports:
                edge.set_fabric_ports(ports)
        self._routing.begin_links(self.discovery.links())
        # Beyond uplinks it matters only who can reach whom, and that most often stays.
        self._beyond_is_old |= any(
            around.part.keys() != self._routing.graph.distances(name).keys()
            for name, around in self._surroundings.items()
        )

    def _follow(self, dpid: int, reaction: Reaction, now: float) -> Outbox:
        """What should be installed comes before the packets that rely on it."""
        out: Outbox = {}
        if reaction.changed:
            edge = self.edges[dpid]
            edge.suspect_pins()
            for address in edge.take_moved():
                self._suspect(dpid, self._services_of(address))
            self._to_choose |= {(dpid, prefix): None for prefix in edge.egress.take_affected()}
            out = self._work_again(now)
        if reaction.messages:
            messages = reaction.messages
            if not self.edges[dpid].features.open_vswitch:  # that one keeps the order, and barriers would cost
                messages = [*in_order([*out.pop(dpid, ()), *messages])]
            out.setdefault(dpid, []).extend(messages)
        return out

    # ---------------------------------------------------------------- work in slices

    def is_busy(self) -> bool:
        """Is there work left, for which ``work`` is to be called?"""
        return bool(self._suspects or self._enrolled or self._to_choose or self._to_route or self._confirmed
                    or self._behind or self._routing.is_following() or self._update.is_judging()
                    or self.discovery.has_probes())  # fmt: skip

    def _work_again(self, now: float) -> Outbox:
        """After an event other than a confirmation: who waits for others may have to wait no longer."""
        self._update.judge_again()
        return self.work(now)

    def work(self, now: float) -> Outbox:
        """A slice of what follows from the events so far."""
        freed = 0
        while self._confirmed and freed < self._pace.changes:
            freed += 1 + self._update.confirmed(*self._confirmed.popleft())
        for dpid, prefix in self._suspects.take(self._pace.suspects):
            self._judge(self.edges[dpid], prefix, now)
        self._choose_ways_out()
        self._reroute()
        for _ in range(min(self._pace.enrolled, len(self._enrolled))):
            address, _ = self._enrolled.popitem(last=False)
            for edge in self.edges.values():
                edge.suspect_server(address)
        self._compare_more()
        out: Outbox = {}
        looks = 1
        while self._tell(now, out) and looks < self._pace.looks:
            looks += 1
        self._probe(self.discovery.more_probes(), out)
        return out

    def _compare_more(self) -> None:
        """Of the switches that have connected, the first is compared further with what it should hold."""
        work = 0
        for dpid in list(self._behind):
            if work < self._pace.compared:
                compared = self.edges[dpid].compare_more(self.groups, self._pace.compared - work)
                work += compared
                if not compared:
                    del self._behind[dpid]

    def _probe(self, probes: Iterable[tuple[int, int, bytes]], out: Outbox) -> None:
        for dpid, port, frame in probes:
            out.setdefault(dpid, []).append(out_of(port, frame))

    def _tell(self, now: float, out: Outbox) -> bool:
        """Adds to ``out`` what may be told now.

        True: it was little, and some switches hold already what they should have been told.
        """
        ready = self._update.ready(self._pace.routes)
        held = False
        for dpid, edge in self.edges.items():
            name = edge.switch.name
            routes = ready.get(name, _NO_ROUTES)
            if not routes and not edge.is_doubtful:
                continue
            messages = edge.refresh(self.groups, routes)
            if edge.is_behind:
                self._behind[dpid] = None
            if not messages and not routes:
                continue
            ticket = self._update.issue(name, tuple(routes), now)
            if messages:
                out.setdefault(dpid, []).extend((*messages, Barrier(ticket)))
            else:
                self._update.confirmed(name, ticket)
                held = True
        return held and sum(map(len, ready.values())) < self._pace.routes // 3

    def _group_changed(self, old: AnycastGroup | None, new: AnycastGroup | None, before: Groups) -> None:
        """Whom it concerns: the edges before its servers.  ``before``: all groups as they were."""
        was, now = old.servers if old else {}, new.servers if new else {}
        servers = {**was, **now}
        changed = [] if was is now else [address for address in servers if was.get(address) is not now.get(address)]
        prefixes = dict.fromkeys((*(old.prefixes if old else ()), *(new.prefixes if new else ())))
        same = dict.fromkeys(old.prefixes).keys() & new.prefixes if old and new else ()
        for dpid in self._in_front_of(changed):
            self._suspect(dpid, prefixes)
        if len(same) < len(prefixes):
            others = dict.fromkeys(prefix for prefix in prefixes if prefix not in same)
            for dpid in self._in_front_of(servers):
                self._suspect(dpid, others)
        for address in changed:
            enrolled = bool(self.groups.of_server(address))
            if enrolled != bool(before.of_server(address)):
                self._enrolled[address] = None
                for dpid in self._in_front_of([address]):
                    self.edges[dpid].want_server(address, enrolled)

    def _in_front_of(self, servers: Iterable[Address]) -> dict[int, None]:
        """The edges of these servers."""
        subnets = filter(None, map(self.network.subnet_of, servers))
        return {self._by_name[name].switch.dpid: None for name in dict.fromkeys(subnet.edge for subnet in subnets)}

    def _services_of(self, server: Address) -> Iterator[Prefix]:
        for group in map(self.groups.get, self.groups.of_server(server)):
            yield from group.prefixes if group else ()

    def _suspect(self, dpid: int, prefixes: Iterable[Prefix]) -> None:
        """This switch may be able to serve ANY/n that it was not, or the reverse, or by other servers."""
        self._suspects.add(dpid, dict.fromkeys(prefixes))

    def _suspect_all_of(self, edge: ManagedSwitch) -> None:
        self._suspect(edge.switch.dpid, edge.serving.services(self.groups))

    def _judge(self, edge: ManagedSwitch, prefix: Prefix, now: float) -> None:
        """Can the edge serve ANY/n now?"""
        edge.suspect_service(prefix)
        name, group = edge.switch.name, self.groups.owner(prefix)
        able = group is not None and bool(edge.serving.able(group, prefix))
        self._beyond_is_old |= (name, prefix) in self._retiring  # it may deliver no longer
        known = self._able[name]
        if able is (prefix in known):
            return
        announced = self._announced.get(prefix, frozenset())
        if able:
            known.add(prefix)
            self._announced[prefix] = announced | {name}
        else:
            known.discard(prefix)
            self._announced[prefix] = announced - {name}
            if not self._announced[prefix]:
                del self._announced[prefix]
            if self._delivers(name, prefix):  # routers send there until they have heard of it
                self._retiring[name, prefix] = now + RETIRE_S
                self._beyond_is_old = True
        self._unrouted[prefix] = None

    def _delivers(self, switch: str, prefix: Prefix) -> bool:
        """Could this edge still deliver to a prefix that it has ceased to announce?"""
        edge, group = self._by_name[switch], self.groups.covering(prefix.network)
        return prefix in edge.egress.selected or (group is not None and bool(edge.serving.leaving(group, prefix)))

    def _is_expected(self, switch: str) -> bool:
        return self._by_name[switch].expected

    def _reroute(self) -> None:
        """Takes in who announces what now."""
        if self._unrouted:
            self.groups = self.groups.announced(frozenset(self._announced))
        if self._beyond_is_old or (self._unrouted and self._retiring):
            beyond = self._beyond_announcements()
            for prefix in self._beyond.keys() | beyond.keys():
                if self._beyond.get(prefix) != beyond.get(prefix):
                    self._unrouted[prefix] = None
            self._beyond, self._beyond_is_old = beyond, False
        elif self._unrouted and self._surroundings:
            self._look_beyond_again()
        self._to_route |= self._unrouted
        self._unrouted.clear()
        self._find_routes()

    def _find_routes(self) -> None:
        """Those to some prefixes that others announce, and those that links have changed."""
        nobody: frozenset[str] = frozenset()
        changes = self._routing.follow_links(self._pace.changes)
        found, prefixes = sum(map(len, changes.values())), 0
        self._update.want(changes)
        while self._to_route and prefixes < self._pace.suspects and found < self._pace.changes:
            prefix, _ = self._to_route.popitem(last=False)
            edges = self._beyond.get(prefix) or self._announced.get(prefix, nobody)
            changes = self._routing.announce_some({prefix: edges})
            found, prefixes = found + len(changes), prefixes + 1
            self._update.want(changes)

    def _beyond_announcements(self) -> dict[Prefix, frozenset[str]]:
        """Prefix → the edges to send it to, where these are more than those that announce it.

        The same prefix may be another part's own, out of reach by our links: its edges stay in the set.
        """
        more: dict[Prefix, set[str]] = {}
        for edge in self.edges.values():
            for name, prefix in self._at_uplinks_of(edge) if edge.uplinks else ():
                more.setdefault(prefix, set(self._announced.get(prefix, ()))).add(name)
        return {prefix: frozenset(names) for prefix, names in more.items()}

    def _at_uplinks_of(self, edge: ManagedSwitch) -> Iterator[tuple[str, Prefix]]:
        """(edge, prefix): what its uplinks lead to, and what edges of its part serve although it is withdrawn.

        Sets what this edge is to tell its routers, and its ways out.
        """
        name = edge.switch.name
        part = self._routing.graph.distances(name)
        own = own_prefixes(self._announced, part)
        retiring = [end for end in self._retiring if end[0] in part and end[1] not in own and self._delivers(*end)]
        ours = PrefixSet(own.union(prefix for _, prefix in retiring))
        self._surroundings[name] = _Surroundings(part, own, ours, NestedPrefixes(edge.egress.reachable()))
        edge.egress.select_all(ours, {prefix for prefix in own if name in self._announced[prefix]})
        yield from retiring
        yield from ((name, prefix) for prefix in edge.egress.selected if not ours.covers(prefix))

    def _choose_ways_out(self) -> None:
        """Some of those that may be others now."""
        some: dict[int, dict[Prefix, None]] = {}
        for _ in range(min(self._pace.suspects, len(self._to_choose))):
            (dpid, prefix), _ = self._to_choose.popitem(last=False)
            some.setdefault(dpid, {})[prefix] = None
        retiring = {prefix for _, prefix in self._retiring}
        for dpid, prefixes in some.items():
            edge = self.edges[dpid]
            name = edge.switch.name
            edge.egress.find(prefixes)
            self._beyond_is_old |= not retiring.isdisjoint(prefixes)
            if self._beyond_is_old:  # then all of them are chosen
                continue
            _, _, ours, exits = self._surroundings[name]
            for prefix in prefixes:
                (exits.add if edge.egress.reaches(prefix) else exits.discard)(prefix)
                announced = (prefix,) if name in self._announced.get(prefix, ()) else ()
                edge.egress.select(prefix, ours, announced)
            self._enter_beyond(prefixes)

    def _look_beyond_again(self) -> None:
        """Others announce the prefixes of ``_unrouted`` now: that concerns the ways out to what is within these."""
        concerned = dict.fromkeys(self._unrouted)
        for name, (part, own, ours, exits) in self._surroundings.items():
            edge = self._by_name[name]
            within: dict[Prefix, None] = {}
            for prefix in self._unrouted:
                if any(other in part for other in self._announced.get(prefix, ())):
                    own.add(prefix)
                    ours.add(prefix)
                else:
                    own.discard(prefix)
                    ours.discard(prefix)
                within |= dict.fromkeys(exits.within(prefix))
            for prefix in within:
                announced = (prefix,) if name in self._announced.get(prefix, ()) else ()
                edge.egress.select(prefix, ours, announced)
            concerned |= within
        self._enter_beyond(concerned)

    def _enter_beyond(self, prefixes: Iterable[Prefix]) -> None:
        """The ways out to these are chosen."""
        for prefix in prefixes:
            names = {
                name for name, around in self._surroundings.items()
                if prefix in self._by_name[name].egress.selected and not around.ours.covers(prefix)
            }  # fmt: skip
            before = self._beyond.pop(prefix, None)
            if names:
                self._beyond[prefix] = self._announced.get(prefix, frozenset()) | names
            if self._beyond.get(prefix) != before:
                self._unrouted[prefix] = None

    def to_tell(self, uplink: Uplink, now: float) -> frozenset[Prefix] | None:
        """What to announce beyond an uplink: what its part of the fabric holds and is able to serve now (M8).

        None until all of that part has been here, and the routers, or the start is over: before, nobody knows,
        and routers keep what an earlier controller told them.  An edge whose switch has been away for
        ``ABSENT_S`` announces nothing, and none of a family whose router does not answer.
        """
        edge = self._by_name[uplink.edge]
        dead = {router for router in uplink.routers if not edge.neighbours.get(router)}
        part = self._routing.graph.distances(uplink.edge)
        complete = not dead and all(self._by_name[name].ever_synchronised for name in part)
        seen = self._last_seen.get(uplink.edge)
        if seen is None or not (complete or not self.discovery.starting):
            return None
        if now - seen > ABSENT_S:
            return frozenset()
        own = self._surroundings[uplink.edge].own
        return frozenset(prefix for prefix in own if uplink.router(prefix.is_v6) not in dead)

    def _always_announced(self) -> dict[Prefix, frozenset[str]]:
        """Prefix → the edges that announce it by the network file, whoever serves."""
        announced: dict[Prefix, set[str]] = {}
        for switch in self.network.switches:
            for address in switch.addresses:
                announced.setdefault(Prefix.host(address), set()).add(switch.name)
            for prefix in switch.translation_prefixes:
                announced.setdefault(prefix, set()).add(switch.name)
        for subnet in self.network.subnets:
            for gateway in subnet.gateways:
                announced.setdefault(gateway.prefix, set()).add(subnet.edge)
        return {prefix: frozenset(names) for prefix, names in announced.items()}

    # ---------------------------------------------------------------- what may be read

    def edge(self, name: str) -> ManagedSwitch | None:
        return self._by_name.get(name)

    def edges_by_name(self) -> Sequence[ManagedSwitch]:
        """In the order of their names."""
        return self._in_order

    @property
    def announced(self) -> Mapping[Prefix, frozenset[str]]:
        """Prefix → the edges that announce it."""
        return self._announced

    def announced_by(self, name: str) -> tuple[Sequence[Prefix], Collection[Prefix]]:
        """What an edge announces in any case, and the ANY/n that it can serve; neither will change."""
        return self._always[name], list(self._able[name])


def _add(out: Outbox, more: Outbox) -> None:
    for dpid, messages in more.items():
        out.setdefault(dpid, []).extend(messages)
