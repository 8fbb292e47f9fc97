"""Controller: events of all switches in, messages per switch out.

It holds what concerns more than one switch: the groups, and how switches, links and routes depend on one another.
Events come with ``now`` (seconds, monotonic) and lead to an ``Outcome``; nothing here sends, waits or reads a clock, so
that a list of (event, now) replays exactly.

One writer: the caller must not call a second method before the first has returned.

No call takes long.  An event is recorded at once; what follows from it for the switches is queued and done in slices by
``work``, the first of them with the event itself.  While the controller ``is_busy``, ``work`` is to be called again;
other events may come between.  A slice goes down this chain, in which each step reads what the one before has decided:

    selecting       which servers take the new flows of each group, at which server edge
    announcements   which switches announce which prefix, because it is theirs or because they are able to serve it
    uplinks         which switches send to prefixes outside the fabric, and what they advertise to routers there
    routes          the routes of all switches to all prefixes, and which of them may be installed now
    switches        all other rules that a switch should hold

The rules of one switch for one ANY/n, and the routes of all switches to one prefix, are never divided between slices:
so the switches are consistent after each slice, as after a smaller event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from anycast_sdn.control.announcements import Announcements
from anycast_sdn.control.audit import Audit
from anycast_sdn.control.choices import Choices
from anycast_sdn.control.discovery import Discovery
from anycast_sdn.control.edge_distances import EdgeDistances
from anycast_sdn.control.enrolments import Enrolments
from anycast_sdn.control.health import Health
from anycast_sdn.control.losses import Losses
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.pace import Pace
from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.reply_times import ReplyTimes
from anycast_sdn.control.reroutes import Reroutes
from anycast_sdn.control.routes import Routes
from anycast_sdn.control.selecting import Selecting
from anycast_sdn.control.service_reports import ServiceReports
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.control.uplinks import Uplinks
from anycast_sdn.core.events import ChangeUnconfirmed, Drop, Event, FrameMalformed, PacketsDropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import Address, AnycastGroup, Prefix
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.slots import Slots
from anycast_sdn.description.model import Network, Port, Uplink
from anycast_sdn.engines.engine import Sweep
from anycast_sdn.fabric.egress import Route
from anycast_sdn.openflow import frames
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.reaction import Reaction, in_order, out_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Barrier
from anycast_sdn.openflow.tables import Tables

_LLDP = frozenset((Kind.LLDP, Kind.LLDP_ELSE))
_TO_GATEWAYS = frozenset((Kind.CHECK_ANSWER, Kind.GATEWAY_HERE, Kind.GATEWAY))  # of packets that may answer checks
_NO_ROUTES: Mapping[Prefix, int | None] = {}

CONFIRMED_AFTER_S = 0.05  # after installing a rule, a switch may still forward by cached decisions for this long
LARGE_AT_ONCE = 2  # switches whose constant rules, some hundred, are compared in one step: many may connect at once


class Controller:
    """The method over a whole network.  ``random``: see ``core.pool``."""

    def __init__(self, network: Network, groups: Groups, random: RandomSource, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self.network = network
        self.groups = Groups()
        self.announcements = Announcements(network, self._delivers)
        removed = RemovedServers(lambda: self.groups.servers())
        self.choices = Choices(lambda client, group, is_v6: self.selecting.choice(client, group, is_v6))
        self.switches = {
            switch.dpid: ManagedSwitch(
                switch, network, random, removed,
                self.announcements.is_announced, partial(self._is_lost, switch.name), self._is_enrolled,
                partial(self._slots, switch.name), partial(self.choices.number, switch.name),
            )
            for switch in network.switches
        }  # fmt: skip
        self.audits = {dpid: Audit(switch) for dpid, switch in self.switches.items()}
        self._by_name = {switch.name: switch for switch in self.switches.values()}
        self._in_order = [switch for _, switch in sorted(self._by_name.items())]
        self.discovery = Discovery(network, random.randrange(1 << 128).to_bytes(16, "big"))
        self.routes = Routes(self._by_name, self._delivers)
        self.uplinks = Uplinks(self._by_name, self.routes.graph, self.announcements, self._delivers)
        self.reroutes = Reroutes(self._is_routed)
        self.losses = Losses(
            network, self._by_name, self.routes.next_hops, self.routes.has_route, removed,
            lambda group, server: self.selecting.takes_flows(group, server),
        )  # fmt: skip
        self.reply_times = ReplyTimes(self._by_name, self.choices.get)
        self.health = Health(
            network, self._by_name, random, self.reply_times,
            lambda client, group, is_v6: self.selecting.shares(client, group, is_v6),
        )  # fmt: skip
        distances = EdgeDistances(self._by_name, self.routes.graph, self.routes.has_route)
        self.selecting = Selecting(
            network, self._by_name, distances, self.health.status, lambda server: self.groups.of_server(server),
            self.choices,
        )
        self.service_reports = ServiceReports(
            network, self._by_name, self.selecting, self.routes.graph, self.routes.covering, self.uplinks.destinations,
            self.announcements.announcers_of,
        )  # fmt: skip
        self.enrolments = Enrolments(network, self._by_name, self.selecting, self.announcements, self.losses)
        self._comparing: dict[int, None] = {}  # connected switches that are not wholly compared
        for switch in self.switches.values():
            switch.watch_servers_and_routers()
        self._relinked()
        self.selecting.start(groups)
        self.set_groups(groups, now=0.0)
        while self.is_busy():
            self.work(now=0.0)

    # ---------------------------------------------------------------- events

    def synchronise(self, dpid: int, found: Tables, features: Features, now: float) -> Outcome:
        """A switch has connected and holds ``found`` → what makes it hold what it should.

        Only some of its routes may still have to wait for other switches.
        """
        self.begin_reading(dpid, found, features)
        out = Outcome()
        while (more := self.read_on(dpid, now)) is not None:
            out.add(more)
        out.add(self.end_reading(dpid, {}, now))
        while dpid in self._comparing:
            out.add(self.work(now))
        return out

    def remember(self, edge: str, flows: Iterable[KeptFlow], to_epoch: float, now: float) -> int:
        """At the start: flows of this edge that an earlier run has kept → how many are known now."""
        switch = self._by_name.get(edge)
        return switch.engine.remember(flows, self.groups, to_epoch, now) if switch else 0

    def begin_reading(self, dpid: int, found: Tables, features: Features) -> None:
        """The first step of ``synchronise``; then call ``read_on`` until it returns None, then ``end_reading``."""
        self.switches[dpid].begin_reading(found, features)

    def read_on(self, dpid: int, now: float) -> Outcome | None:
        """A slice of some milliseconds; None when all is read."""
        reading = self.switches[dpid].reading
        assert reading
        reaction = reading.step(self.groups, now)
        return None if reaction is None else Outcome.at(dpid, reaction)

    def end_reading(self, dpid: int, ports: Mapping[int, bool], now: float) -> Outcome:
        """``ports``: those of the switch, and whether they are up.

        They come last, so that hosts that were read back at a port that is down are forgotten.
        """
        out = self._compare(self.switches[dpid], now)
        for port, up in ports.items():
            out.add(self.port_changed(dpid, port, up, now))
        return out

    def _compare(self, switch: ManagedSwitch, now: float) -> Outcome:
        """All that the switch holds has been read: begin to compare it with what is wanted."""
        name = switch.name
        if self.discovery.connected(name, now):
            self._relinked()
        messages = switch.end_reading(now)
        self._comparing[switch.dpid] = None
        self.routes.connected(name)
        self.selecting.connected(name, switch.serving.pop_found())
        self._recheck_services_of(switch)
        self.losses.connected(name)
        self.health.edge_is_back(switch, now)
        self.uplinks.connected(switch)
        self.routes.judge_again()
        return Outcome.at(switch.dpid, Reaction(messages))  # this was enough for one slice: ``work`` follows later

    def disconnected(self, dpid: int, now: float) -> Outcome:
        switch = self.switches[dpid]
        out = Outcome.at(dpid, switch.disconnected())
        self._comparing.pop(dpid, None)
        self.routes.disconnected(switch.name)
        self.health.edge_is_away(switch, now)
        if self.discovery.disconnected(switch.name, now):
            self._relinked()
        out.add(self._work_again(now))
        return out

    def confirmed(self, tickets: Iterable[tuple[int, int]], now: float) -> Outcome:
        """Switches have answered barriers, so what was sent before these is installed.  (datapath id, ticket)"""
        self.routes.confirmed((self.switches[dpid].name, ticket) for dpid, ticket in tickets)
        return self.work(now)

    def updating(self) -> list[str]:
        """The switches that still have to install other rules, or to confirm that they have."""
        any_switch = self.uplinks.waiting() or self.routes.is_finding()
        soon = self.switches if any_switch else {*self.announcements.waiting(), *self._comparing}
        return sorted(self.routes.unconfirmed() | {self.switches[dpid].name for dpid in soon})

    def packet_in(self, dpid: int, cookie: int, in_port: int, frame: bytes, now: float) -> Outcome:
        switch = self.switches[dpid]
        kind = kind_of(cookie)
        if kind in _LLDP:
            return self._lldp(switch, in_port, frame, now)
        if kind is None:
            return Outcome(events=[PacketsDropped(switch.name, Drop.UNEXPECTED)])
        if kind in _TO_GATEWAYS and (answered := self.health.answered(switch, in_port, frame, now)):
            return answered
        return self._follow(dpid, switch.packet_in(cookie, in_port, frame, self.groups, now), now)

    def shed(self, dpid: int, packets: int) -> Outcome:
        """So many first packets and first replies have waited too long, and are dropped."""
        return Outcome(events=[PacketsDropped(self.switches[dpid].name, Drop.WAITED_TOO_LONG, packets)])

    def ttl_expired(self, dpid: int, in_port: int, frame: bytes, now: float) -> Outcome:
        """The TTL of a packet has expired at this switch."""
        return self._follow(dpid, self.switches[dpid].ttl_expired(in_port, frame, now), now)

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool, now: float) -> Outcome:
        """``deleted``: the rule did not expire; ``unused``: no packet has matched it."""
        reaction = self.switches[dpid].rule_removed(cookie, deleted, unused, now)
        if reaction.others_deleted:
            self.audits[dpid].expect_missing()
        return self._follow(dpid, reaction, now)

    def rule_refused(self, dpid: int, cookie: int, now: float) -> Outcome:
        """The switch has answered a flow-mod with an error."""
        return self._follow(dpid, self.switches[dpid].rule_refused(cookie, now), now)

    def group_refused(self, dpid: int, number: int, now: float) -> Outcome:
        """The switch has refused this select group because of its buckets."""
        if not (messages := self.switches[dpid].group_refused(number)):
            return Outcome()
        self._comparing[dpid] = None
        return self._follow(dpid, Reaction(messages), now)

    def port_changed(self, dpid: int, port: int, up: bool, now: float) -> Outcome:
        switch = self.switches[dpid]
        relinked = self.discovery.port_changed(Port(switch.name, port), up, now)
        out = self._relink(now) if relinked else Outcome()
        out.add(self._follow(dpid, switch.port_up(port, now) if up else switch.port_down(port, now), now))
        return out

    def set_groups(self, groups: Groups, now: float) -> Outcome:
        """Enrolments have changed.  Bindings stay as they are (M20)."""
        before, self.groups = self.groups, groups
        self.enrolments.changed(before, groups)
        self.health.groups_changed(before, groups, now)
        return self._work_again(now)

    def end_flow(self, edge: str, number: int, now: float) -> Outcome:
        """An operator ends a flow of this client edge; nothing happens where there is none."""
        switch = self._by_name[edge]
        return self._follow(switch.dpid, switch.engine.end(number, now), now)

    def close_flows(self, edge: str, numbers: Iterable[int], now: float) -> Outcome:
        """Some flows of this client edge are taken away from their servers; others of its flows stay."""
        switch = self._by_name[edge]
        return self._follow(switch.dpid, switch.engine.close(numbers, now), now)

    def set_leases(self, leases: Mapping[tuple[str, Address], bool | None], now: float) -> Outcome:
        """(group, server) → its lease is held, or has expired; None: it has none."""
        for (group, server), held in leases.items():
            self.health.set_lease(group, server, held, now)
        return self.work(now)

    def drain_edges(self, names: Collection[str], now: float) -> Outcome:
        """Servers behind these edges, and behind no others, take no new flows."""
        changed = self.selecting.drain_edges(names)
        for switch in filter(None, map(self._by_name.get, changed)):
            self._recheck_services_of(switch)
        return self._work_again(now) if changed else Outcome()

    def set_cost(self, end: Port, cost: int, now: float) -> Outcome:
        """Change a link's cost until the controller restarts.  Raises NotFound."""
        self.discovery.set_cost(end, cost)
        return self._relink(now)

    def set_learned(self, uplink: str, routes: Mapping[Prefix, Route], now: float) -> Outcome:
        """All routes that the router at this uplink advertises now."""
        self.uplinks.learn(uplink, routes)
        if self.uplinks.waiting() > self._pace.changes:  # recording them was enough for one slice
            self.routes.judge_again()
            return Outcome()
        return self._work_again(now)

    def tick(self, now: float) -> Outcome:
        """What time brings for the whole network.  To be called several times a second, with ``tick_switch``."""
        self.uplinks.tick(now)
        relinked, probes = self.discovery.tick(now)
        out = self._relink(now) if relinked else Outcome()
        out.events += self.discovery.pop_events()
        if overdue := self.routes.pop_overdue(now):
            out.events += [ChangeUnconfirmed(name) for name, _ in overdue]
            self.routes.confirmed(overdue)
            out.add(self.work(now))
        self.losses.tick(now)
        self.selecting.tick(now)
        self.service_reports.tick(now, self.groups)
        if self.announcements.tick(now) or self.losses.is_busy():
            out.add(self._work_again(now))
        elif self.selecting.is_busy():
            out.add(self.work(now))
        unseen = [] if self.discovery.starting else [switch for switch in self.switches.values() if switch.unseen]
        for switch in unseen:
            switch.stop_waiting()
            self._recheck_services_of(switch)
        if unseen:
            out.add(self._work_again(now))
        self._probe(probes, out)
        return out

    def tick_switch(self, dpid: int, now: float) -> Outcome:
        """What time brings for one switch: its neighbours, egress routes, throttled ports.

        Apart from ``tick``, so that a fault in the state of one switch does not stop the others.
        """
        return self._follow(dpid, self.switches[dpid].tick(now), now)

    def tick_flows(self, dpid: int, now: float, most: int) -> tuple[Outcome, bool]:
        """What time brings for up to ``most`` flows of one switch → is there more to do now?  With every tick."""
        reaction, more = self.switches[dpid].tick_flows(now, most)
        return self._follow(dpid, reaction, now), more

    def retire(self, now: float) -> Outcome:
        """The controller ends in an orderly way: what switches have to know for the time without one."""
        out = Outcome()
        for dpid, switch in self.switches.items():
            out.add(self._follow(dpid, switch.retire(), now))
        return out

    def check_servers(self, now: float) -> Outcome:
        """Make the checks of servers that are due.  To be called about 20 times a second."""
        return self.health.step(now)

    # ---------------------------------------------------------------- what is asked of switches

    def begin_sweeps(self, now: float) -> dict[int, Sweep]:
        """The switches whose counters are to be read now → what to ask them for."""
        begun = {dpid: switch.begin_sweep(now) for dpid, switch in self.switches.items()}
        return {dpid: sweep for dpid, sweep in begun.items() if sweep}

    def end_some(self, dpid: int, sweep: Sweep, most: int, now: float) -> Outcome:
        """After all counters have been read, until the sweep ``is_over``: end those of ``most`` flows that are idle."""
        return self._follow(dpid, sweep.end_some(most, now), now)

    def drops_counted(self, dpid: int, packets: Mapping[Kind, int]) -> None:
        """Packets that the drop rules of a switch have counted, by kind of rule."""
        self.switches[dpid].drops_counted(packets)

    # ---------------------------------------------------------------- what follows

    def _lldp(self, switch: ManagedSwitch, in_port: int, frame: bytes, now: float) -> Outcome:
        try:
            relinked = self.discovery.hear(Port(switch.name, in_port), frame, now)
        except frames.BadFrame as error:
            return Outcome(events=[FrameMalformed(switch.name, str(error))])
        return self._relink(now) if relinked else Outcome()

    def _relink(self, now: float) -> Outcome:
        """Links have changed: what has happened to them comes before what follows."""
        out = Outcome(events=self.discovery.pop_events())
        self._relinked()
        self.reroutes.begin(now)
        out.add(self._work_again(now))
        return out

    def _relinked(self) -> None:
        """The usable links have changed, and with them perhaps the ports that lead to other switches."""
        for name, ports in self.discovery.fabric_ports().items():
            switch = self._by_name[name]
            if ports != switch.fabric_ports:
                switch.set_fabric_ports(ports)
        self.routes.set_links(self.discovery.links())
        self.selecting.links_changed()
        self.uplinks.links_changed()
        self.service_reports.links_changed()

    def _follow(self, dpid: int, reaction: Reaction, now: float) -> Outcome:
        """What follows from a reaction.  Rules come before the packets that rely on them."""
        switch = self.switches[dpid]
        keeps_order = switch.features.open_vswitch  # without barriers
        if keeps_order and not reaction.changed:
            return Outcome.at(dpid, reaction)
        out = Outcome()
        if reaction.changed:
            self.losses.flows_changed(switch.name)
            for address in switch.pop_moved():
                self.announcements.recheck(dpid, self._services_of(address))
                for name in self.groups.of_server(address):
                    self.selecting.recheck(name, len(address) == 16)
                is_there = switch.neighbours.get(address) is not None
                out.events += self.service_reports.router_noticed(switch, address, is_there)
                self.losses.noticed(address, is_there, now)
                self.health.noticed(address, is_there, now)
            self.uplinks.recheck(switch, switch.egress.pop_affected())
            out.add(self._work_again(now))
        if reaction.messages:
            messages = reaction.messages
            if not keeps_order:
                messages = [*in_order([*out.outbox.pop(dpid, ()), *messages])]
            out.send(dpid, messages)
        out.events += reaction.events
        return out

    # ---------------------------------------------------------------- work in slices

    def is_busy(self) -> bool:
        """Is there work left, for which ``work`` is to be called?"""
        return bool(self.selecting.is_busy() or self.announcements.is_judging() or self.uplinks.waiting()
                    or self.routes.is_busy() or self.enrolments.is_busy() or self._comparing
                    or self.service_reports.is_busy()
                    or self.discovery.has_probes() or self.losses.is_busy() or self.health.is_busy())  # fmt: skip

    def _work_again(self, now: float) -> Outcome:
        """After an event other than a confirmation: routes that wait for other switches may have become free to go."""
        self.routes.judge_again()
        return self.work(now)

    def work(self, now: float) -> Outcome:
        """A slice of what follows from the events so far; see the order of the chain above."""
        pace = self._pace
        self.routes.apply_confirmations(pace.changes)
        out = self._examine_health(now)
        out.events += self._select_servers(now)
        if not self.selecting.is_behind():  # which would decide for each of them at once, not in slices
            self.announcements.judge(self.switches, self.groups, pace.prefixes, now)
        self.uplinks.reconsider(self.announcements.pop_changed())
        self.uplinks.work(pace.prefixes)
        changed = self.uplinks.pop_changed()
        self.routes.reconsider(changed)
        self.service_reports.destinations_changed(changed, self.groups)
        self.routes.find(self.uplinks.destinations, pace.prefixes, pace.changes)
        self.enrolments.work(pace.enrolled)
        self._compare_more()
        out.add(self.losses.work(self.groups, pace.freed, now))
        rounds = 1
        while self._install(now, out) and rounds < pace.rounds:
            rounds += 1
        self._probe(self.discovery.more_probes(), out)
        self.reroutes.look(now)
        if not self.routes.is_finding():  # routes come first
            out.events += self.service_reports.work(self.groups, max(1, self._pace.prefixes // 4))
        return out

    def _is_routed(self) -> bool:
        return not (self.uplinks.waiting() or self.routes.is_busy() or self.routes.unconfirmed())

    def _examine_health(self, now: float) -> Outcome:
        """Let the servers and the flows be examined again whose health has changed."""
        out = Outcome(events=self.health.work(self._pace.examined, now))
        for name, server in self.health.pop_changed():
            group = self.groups.get(name)
            if group is None or server not in group.servers:
                self.losses.no_longer_checked(name, server, now)
                continue
            self.losses.checked(name, server, self.health.has_failed(name, server), now)
            self.selecting.recheck(name, len(server) == 16)
        return out

    def _select_servers(self, now: float) -> list[Event]:
        """Let server edges follow what is decided: announce a group, withdraw it, or only change its slots."""
        events: list[Event] = []
        for (edge, spread), announces in self.selecting.work(self.groups, self._pace.servers, now).items():
            switch, group = self._by_name[edge], self.groups.get(spread.group)
            events += self.service_reports.slots_changed(edge, spread, group)
            if announces is None:
                switch.reconciler.recheck_spread(spread)
                self._comparing[switch.dpid] = None
            elif group:
                services = (prefix for prefix in group.prefixes if prefix.is_v6 is spread.is_v6)
                self.announcements.recheck(switch.dpid, services)
        return events

    def _compare_more(self) -> None:
        """Compare more of what connected switches hold with what they should hold, one switch after the other."""
        work = 0
        for dpid in list(self._comparing):
            if work < self._pace.compared:
                compared = self.switches[dpid].reconciler.compare_more(self.groups, self._pace.compared - work)
                work += compared
                if not compared:
                    del self._comparing[dpid]

    def _probe(self, probes: Iterable[tuple[int, int, bytes]], out: Outcome) -> None:
        for dpid, port, frame in probes:
            out.send(dpid, [out_of(port, frame)])

    def _install(self, now: float, out: Outcome) -> bool:
        """Add to ``out`` what may be installed now → is there time for another round in this slice?

        There is when few routes were judged, and some switches held already what they would have been sent.
        """
        ready = self.routes.judge(self._pace.routes)
        held, large = False, 0
        for dpid, switch in self.switches.items():
            name = switch.name
            routes = ready.get(name, _NO_ROUTES)
            if not routes and not switch.reconciler.needs_comparison:
                if switch.synchronised and switch.reconciler.has_more_to_compare:
                    self._comparing[dpid] = None
                continue
            if not routes and switch.reconciler.has_much_to_compare:
                if large == LARGE_AT_ONCE:
                    self._comparing[dpid] = None
                    continue
                large += 1
            messages = switch.reconcile(self.groups, routes)
            if switch.reconciler.has_more_to_compare:
                self._comparing[dpid] = None
            if not messages and not routes:
                continue
            ticket = self.routes.issue(name, tuple(routes), now)
            if messages:
                out.send(dpid, (*messages, Barrier(ticket)))
            else:
                self.routes.needless(name, ticket)
                held = True
        return held and sum(map(len, ready.values())) < self._pace.routes // 3

    def _services_of(self, server: Address) -> Iterator[Prefix]:
        for group in map(self.groups.get, self.groups.of_server(server)):
            yield from group.prefixes if group else ()

    def _recheck_services_of(self, switch: ManagedSwitch) -> None:
        for name in dict.fromkeys(name for each in switch.serving.enrolled for name in self.groups.of_server(each)):
            self.selecting.recheck(name)
        self.announcements.recheck(switch.dpid, switch.serving.services(self.groups))

    def _is_enrolled(self, server: Address) -> bool:
        return bool(self.groups.of_server(server))

    def _is_lost(self, name: str, server: Address, group: str) -> bool:
        return self.losses.has_lost(name, server, group)

    def _slots(self, name: str, group: AnycastGroup, is_v6: bool) -> Slots:
        return self.selecting.slots(name, group, is_v6)

    def _delivers(self, name: str, prefix: Prefix) -> bool:
        """Could this switch still deliver packets to a prefix that it no longer announces?"""
        switch, group = self._by_name[name], self.groups.covering(prefix.network)
        return prefix in switch.egress.selected or (group is not None and bool(switch.serving.leaving(group, prefix)))

    # ---------------------------------------------------------------- what may be read

    def is_settled(self, edge: str) -> bool:
        """Has it, and routers at uplinks, followed all changes of what this edge announces and serves?"""
        retiring = any(edge in names for names in self.announcements.retiring.values())
        return not retiring and not self.is_busy() and not self.updating()

    def switch(self, name: str) -> ManagedSwitch | None:
        return self._by_name.get(name)

    def switches_by_name(self) -> Sequence[ManagedSwitch]:
        """All of them, in the order of their names."""
        return self._in_order

    def advertised(self, uplink: Uplink, now: float) -> frozenset[Prefix] | None:
        """What to advertise to the routers at an uplink; None: not known yet.  See ``Uplinks.advertised``."""
        return self.uplinks.advertised(uplink, self.discovery.starting, now)
