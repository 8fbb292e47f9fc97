"""Controller: events of all switches in, messages per switch out.

Events come with ``now`` (seconds, monotonic) and lead to an ``Outcome``; nothing here sends, waits or reads a clock, so
that a list of (event, now) replays exactly.

One writer: the caller must not call a second method before the first has returned.

No call takes long.  An event is recorded at once; what follows from it for the switches is queued and done in slices by
``work``, the first of them with the event itself (``Slices``).  While the controller ``is_busy``, ``work`` is to be
called again; other events may come between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from anycast_sdn.control.audit import Audit
from anycast_sdn.control.mirror import CLOSE, END
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.pace import Pace
from anycast_sdn.control.share import Share
from anycast_sdn.control.slices import Slices, probe
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.control.telling import Telling
from anycast_sdn.control.watched_link import KnownLink
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import ChangeUnconfirmed, Drop, FrameMalformed, PacketsDropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.health import CheckName
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.description.model import Network, Port, Uplink
from anycast_sdn.engines.engine import Following, Sweep
from anycast_sdn.fabric.egress import Route
from anycast_sdn.openflow import frames
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.reaction import Reaction, in_order
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.tables import Tables

NotPassing = Mapping[CheckName, tuple[HealthStatus, str]]  # checks of a server: status and output

_LLDP = frozenset((Kind.LLDP, Kind.LLDP_ELSE))
_TO_GATEWAYS = frozenset((Kind.CHECK_ANSWER, Kind.GATEWAY_HERE, Kind.GATEWAY))  # of packets that may answer checks

CONFIRMED_AFTER_S = 0.05  # after installing a rule, a switch may still forward by cached decisions for this long


class Controller(Telling):
    """The method over a whole network.  ``random``: see ``core.pool``."""

    def __init__(self, network: Network, groups: Groups, random: RandomSource, pace: Pace | None = None) -> None:
        super().__init__(network, random)
        self._former: list[object] = []  # what it was made of; ``work`` lets go of one after the other
        self._begin(groups, pace or Pace())
        while self.is_busy():
            self.work(now=0.0)

    def _begin(self, groups: Groups, pace: Pace) -> None:
        self.obeys = False
        self.slices = Slices(self, pace)
        self.audits = {dpid: Audit(switch) for dpid, switch in self.switches.items()}
        self._relinked()
        self.selecting.start(groups)
        self._enrol(groups)
        self.routes.judge_again()

    def begin_anew(
        self, kept: Collection[int] = (), leads: bool = True, followed: Collection[int] = ()
    ) -> None:
        """Forget everything but what is enrolled: another controller has decided since, and switches have changed.

        It is as after its start, when no switch has connected.  ``work`` is to be called, as long as it
        ``is_beginning``.  ``kept``: switches (datapath ids) of which this controller has been the master all the time:
        their flows go on (``Share.FLOWS``), as was decided for them until now; ``leads``: it decides from now on, and
        nobody else does; ``followed``: switches of other masters, whose flows are followed on (``engine.Following``).
        """
        groups, pace, switches = self.groups, self.slices.pace, {dpid: self.switches[dpid] for dpid in kept}
        before = {**switches, **{dpid: self.switches[dpid] for dpid in followed}}
        if kept:
            self._told = self._told if self.obeys else self.told()
            self._announced_before = self._told.announced if self._told and leads else frozenset()
        # To let go of everything at once takes as long as to make it anew.
        self._former = [*self.switches.values(), *vars(self).values()]
        self._make(before)
        for switch in before.values():
            switch.disconnected()  # nothing follows any more from what is under way there
        self._begin(groups, pace)
        if kept and not leads:
            self._obey()

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
        while dpid in self.slices.comparing:
            out.add(self.work(now))
        return out

    def remember(self, edge: str, flows: Iterable[KeptFlow], to_epoch: float, now: float) -> int:
        """At the start: flows of this edge that an earlier run has kept → how many are known now."""
        switch = self.by_name.get(edge)
        return switch.engine.remember(flows, self.groups, to_epoch, now) if switch else 0

    def begin_reading(
        self,
        dpid: int,
        found: Tables,
        features: Features,
        term: int = 0,
        followed: Following | None = None,
        share: Share = Share.ALL,
    ) -> None:
        """The first step of ``synchronise``; then call ``read_on`` until it returns None, then ``end_reading``.

        ``term``: see ``Decided``; ``followed``: its flows are known by that, and are not in ``found``; ``share``: what
        of the switch is decided here.
        """
        if share is Share.FLOWS and not self.obeys:
            self._obey()
        self.switches[dpid].begin_reading(found, features, term, followed, share)

    def rest(self, dpid: int, released: Iterable[tuple[Address, float]], now: float) -> None:
        """After ``begin_reading``: these translation addresses were released at these times, by another master."""
        self.switches[dpid].engine.rest(released, now)

    def read_on(self, dpid: int, now: float) -> Outcome | None:
        """A slice of some milliseconds; None when all is read."""
        reaction = self.switches[dpid].read_on(self.groups, now)
        return None if reaction is None else Outcome.at(dpid, reaction)

    def end_reading(self, dpid: int, ports: Mapping[int, bool], now: float) -> Outcome:
        """``ports``: those of the switch, and whether they are up.

        They come last, so that hosts that were read back at a port that is down are forgotten.
        """
        if self.switches[dpid].share is Share.FLOWS:
            self.switches[dpid].end_reading(now)
            self.losses.flows_found(self.switches[dpid].name)
            return Outcome()
        out = self._compare(self.switches[dpid], now)
        for port, up in ports.items():
            out.add(self.port_changed(dpid, port, up, now))
        return out

    def _compare(self, switch: ManagedSwitch, now: float) -> Outcome:
        """All that the switch holds has been read: begin to compare it with what is wanted."""
        name = switch.name
        if self.discovery.connected(name, now) | switch.abilities.pop_changed():
            self._relinked()
        messages = switch.end_reading(now)
        self.slices.compare(switch.dpid)
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
        out = self.released(dpid, now)
        if switch.share is not Share.FLOWS:
            out.add(self.away(dpid, now))
        return out

    def released(self, dpid: int, now: float) -> Outcome:
        """It is connected, and goes on as it was, but cannot be changed: it has another master from now on, or none."""
        switch = self.switches[dpid]
        out = Outcome.at(dpid, switch.disconnected())
        if switch.share is not Share.FLOWS:
            self.slices.disconnected(dpid)
            self.routes.disconnected(switch.name)
            self.health.edge_is_away(switch, now)
            out.add(self.slices.work_again(now))
        return out

    def away(self, dpid: int, now: float) -> Outcome:
        """It neither sends nor receives what tells of its links."""
        if self.discovery.disconnected(self.switches[dpid].name, now):
            self._relinked()
        return self.slices.work_again(now)

    def confirmed(self, tickets: Iterable[tuple[int, int]], now: float) -> Outcome:
        """Switches have answered barriers, so what was sent before these is installed.  (datapath id, ticket)"""
        self.routes.answered([(self.switches[dpid].name, ticket) for dpid, ticket in tickets], now)
        return self.work(now)

    def updating(self) -> list[str]:
        """The switches that still have to install other rules, or to confirm that they have."""
        any_switch = self.enrolments.is_telling() or self.uplinks.waiting() or self.routes.is_finding()
        soon = self.switches if any_switch else {*self.announcements.waiting(), *self.slices.comparing}
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

    def rule_refused(self, dpid: int, cookie: int, now: float, why: str = "", full: bool = False) -> Outcome:
        """The switch has answered a flow-mod with an error; ``full``: it has no room for the rule."""
        return self._follow(dpid, self.switches[dpid].lacks.rule_refused(cookie, now, why, full), now)

    def group_refused(self, dpid: int, number: int, now: float) -> Outcome:
        """The switch has refused this select group because of its buckets."""
        reaction = self.switches[dpid].group_refused(number)
        if reaction.messages:
            self.slices.compare(dpid)
        return self._follow(dpid, reaction, now)

    def port_changed(self, dpid: int, port: int, up: bool, now: float) -> Outcome:
        switch = self.switches[dpid]
        relinked = self.discovery.port_changed(Port(switch.name, port), up, now)
        out = self._relink(now) if relinked else Outcome()
        out.add(self._follow(dpid, switch.port_up(port, now) if up else switch.port_down(port, now), now))
        return out

    def set_groups(self, groups: Groups, now: float) -> Outcome:
        """Enrolments have changed.  Bindings stay as they are (M20)."""
        self._enrol(groups)
        return self.slices.work_again(now)

    def _enrol(self, groups: Groups) -> None:
        """What follows is done by ``work``."""
        before, self.groups = self.groups, groups
        self.enrolments.changed(before, groups)
        self.health.groups_changed(before, groups)

    def end_flow(self, edge: str, number: int, now: float) -> Outcome:
        """An operator ends a flow of this client edge; nothing happens where there is none."""
        switch = self.by_name[edge]
        if switch.share is Share.REST:
            switch.mirror.ask(END, [number])
            return Outcome()
        return self._follow(switch.dpid, switch.engine.end(number, now), now)

    def has_flow(self, edge: str, number: int) -> bool:
        return self.by_name[edge].engine.flows.by_number(number) is not None

    def close_flows(self, edge: str, numbers: Iterable[int], now: float) -> Outcome:
        """Some flows of this client edge are taken away from their servers; others of its flows stay."""
        switch = self.by_name[edge]
        if switch.share is Share.REST:
            switch.mirror.ask(CLOSE, numbers)
            return Outcome()
        return self._follow(switch.dpid, switch.engine.close(numbers, now), now)

    def set_leases(self, leases: Mapping[tuple[str, Address], bool | None], now: float) -> Outcome:
        """(group, server) → its lease is held, or has expired; None: it has none."""
        for (group, server), held in leases.items():
            self.health.set_lease(group, server, held, now)
        return self.work(now)

    def drain_edges(self, names: Collection[str], now: float) -> Outcome:
        """Servers behind these edges, and behind no others, take no new flows."""
        changed = self.selecting.drain_edges(names)
        for switch in filter(None, map(self.by_name.get, changed)):
            self._recheck_services_of(switch)
        return self.slices.work_again(now) if changed else Outcome()

    def take_over(
        self, term: int, links: Iterable[KnownLink], checks: Mapping[tuple[str, Address], NotPassing], now: float
    ) -> Outcome:
        """This controller leads from now on.  ``links``, ``checks`` (by group and server): what its predecessor knew;
        ``term``: see ``Discovery``.  ``work`` is to be called.
        """
        self.discovery.take_over(term, links, now)
        self.uplinks.take_over()
        for (group, server), states in checks.items():
            self.health.recall(group, server, states, now)
        return self._record_links(now)

    def set_cost(self, end: Port, cost: int, now: float) -> Outcome:
        """Change a link's cost until the controller restarts; in a cluster, for good.  Raises NotFound."""
        self.discovery.set_cost(end, cost)
        return self._relink(now)

    def set_learned(self, uplink: str, routes: Mapping[Prefix, Route], now: float) -> Outcome:
        """All routes that the router at this uplink advertises now."""
        self.uplinks.learn(uplink, routes)
        if self.uplinks.waiting() > self.slices.pace.changes:  # recording them was enough for one slice
            self.routes.judge_again()
            return Outcome()
        return self.slices.work_again(now)

    def tick(self, now: float, owing: Collection[str] = ()) -> Outcome:
        """What time brings for the whole network.  To be called several times a second, with ``tick_switch``.

        ``owing``: switches that are connected and owe an answer.
        """
        self.uplinks.tick(now)
        relinked, probes = self.discovery.tick(now, owing)
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
            out.add(self.slices.work_again(now))
        elif self.selecting.is_busy():
            out.add(self.work(now))
        unseen = [] if self.discovery.starting else [switch for switch in self.switches.values() if switch.unseen]
        for switch in unseen:
            switch.stop_waiting()
            self._recheck_services_of(switch)
        if unseen:
            out.add(self.slices.work_again(now))
        probe(probes, out)
        return out

    def tick_switch(self, dpid: int, now: float, is_heard: bool = True) -> Outcome:
        """What time brings for one switch: its neighbours, egress routes, throttled ports.

        Apart from ``tick``, so that a fault in the state of one switch does not stop the others.
        """
        return self._follow(dpid, self.switches[dpid].tick(now, is_heard), now)

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

    # ---------------------------------------------------------------- switches that are shared with other controllers

    def noticed(self, dpid: int, refused: Mapping[int, int], are_rules_deleted: bool) -> None:
        """By the master of this switch: see ``share.Noticed``."""
        for port, packets in refused.items():
            self.switches[dpid].first_packets_refused(port, packets)
        if are_rules_deleted:
            self.audits[dpid].expect_missing()

    def tick_told(self, now: float) -> Outcome:
        """What follows for flows from what the leader has told."""
        return self.losses.work(self.groups, self.slices.pace.freed, now) if self.losses.is_busy() else Outcome()

    def mirrored(self, dpid: int, is_whole: bool, now: float) -> Outcome:
        """The master of this switch has sent what its flows are (``ManagedSwitch.mirror``).

        ``is_whole``: they are all known since now.
        """
        switch = self.switches[dpid]
        if not switch.knows_flows:
            return Outcome()  # what has come until now is looked at when all has
        removed = any(not self.groups.of_server(server) for server in switch.engine.flows.pop_other_servers())
        if not (is_whole or removed or any(switch.engine.services_to_recheck)):
            return Outcome()
        self.losses.flows_changed(switch.name)
        return self.slices.work_again(now)

    # ---------------------------------------------------------------- what follows

    def _lldp(self, switch: ManagedSwitch, in_port: int, frame: bytes, now: float) -> Outcome:
        try:
            relinked = self.discovery.hear(Port(switch.name, in_port), frame, now)
        except frames.BadFrame as error:
            return Outcome(events=[FrameMalformed(switch.name, str(error))])
        return self._relink(now) if relinked else Outcome()

    def _relink(self, now: float) -> Outcome:
        """Links have changed: what has happened to them comes before what follows."""
        out = self._record_links(now)
        out.add(self.slices.work_again(now))
        return out

    def _record_links(self, now: float) -> Outcome:
        """What follows is done by ``work``."""
        out = Outcome(events=self.discovery.pop_events())
        self._relinked()
        self.reroutes.begin(now)
        self.routes.judge_again()
        return out

    def _relinked(self) -> None:
        """The usable links have changed, and with them perhaps the ports that lead to other switches."""
        for name, ports in self.discovery.fabric_ports().items():
            switch = self.by_name[name]
            if ports != switch.fabric_ports:
                switch.set_fabric_ports(ports)
        self.routes.set_links(self.discovery.links(), self._unable_to_forward())
        self.selecting.links_changed()
        self.uplinks.links_changed()
        self.service_reports.links_changed()

    def _follow(self, dpid: int, reaction: Reaction, now: float) -> Outcome:
        """What follows from a reaction.  Rules come before the packets that rely on them."""
        switch = self.switches[dpid]
        keeps_order = switch.features.open_vswitch  # without barriers
        if switch.share is Share.FLOWS:
            reaction.changed = False  # which concerns the leader
        if keeps_order and not reaction.changed:
            return Outcome.at(dpid, reaction)
        out = Outcome()
        if reaction.changed:
            if switch.abilities.pop_changed():
                self._relinked()
                self._recheck_services_of(switch)
            self.losses.flows_changed(switch.name)
            for address in switch.hosts.pop_moved():
                self.announcements.recheck(dpid, self._services_of(address))
                for name in self.groups.of_server(address):
                    self.selecting.recheck(name, len(address) == 16)
                is_there = switch.neighbours.get(address) is not None
                out.events += self.service_reports.router_noticed(switch, address, is_there)
                self.losses.noticed(address, is_there, now)
                self.health.noticed(address, is_there, now)
            self.uplinks.recheck(switch, switch.egress.pop_affected())
            out.add(self.slices.work_again(now))
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
        return bool(self._former) or self.slices.is_busy()

    def work(self, now: float) -> Outcome:
        """A slice of what follows from the events so far."""
        if self._former:
            self._former.pop()
        return self.slices.work(now)

    # ---------------------------------------------------------------- what may be read

    def is_settled(self, edge: str) -> bool:
        """Has it, and routers at uplinks, followed all changes of what this edge announces and serves?"""
        retiring = any(edge in names for names in self.announcements.retiring.values())
        return not retiring and not self.is_busy() and not self.updating()

    def advertised(self, uplink: Uplink, now: float) -> frozenset[Prefix] | None:
        """What to advertise to the routers at an uplink; None: not known yet.  See ``Uplinks.advertised``."""
        return self.uplinks.advertised(uplink, self.discovery.starting, now)
