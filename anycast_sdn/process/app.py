"""AnycastApp: hands events of switches, operators and the clock to the ``Controller``, and its messages to channels.

Every decision is the ``Controller``'s; a handler here has a few lines.  One hub, one writer: a handler runs to its end
before the next starts, because nothing in it waits (``Channel.send`` only queues).  A fault of our own in one event
loses that event alone (``faults.isolated``, and ``Channel`` for messages of switches).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import ClassVar

from os_ken.base import app_manager
from os_ken.lib import hub

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.notes import NoNotes, Notes
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.life import Todo
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.description.model import Network, Port
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.pipeline import binding_of, kind_of
from anycast_sdn.process import garbage, sweeping
from anycast_sdn.process.bgp_sessions import BgpSessions
from anycast_sdn.process.binding_log import BindingLogService
from anycast_sdn.process.confirmations import CONFIRMATION_S, STEP_S, Confirmations
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.event_log import EventLog
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.first_packets import FirstPackets
from anycast_sdn.process.flow_feed import FlowFeed
from anycast_sdn.process.health_watch import HealthWatch
from anycast_sdn.process.inspection import Inspections
from anycast_sdn.process.secure_random import SecureRandom
from anycast_sdn.process.shared_switches import SharedSwitches
from anycast_sdn.process.sharing import Lines, Masters, Sharing
from anycast_sdn.process.stalls import Gauge
from anycast_sdn.process.streamed_flows import StreamedFlows
from anycast_sdn.process.succession import Succession
from anycast_sdn.process.told_refusals import ToldRefusals
from anycast_sdn.process.zone_timeouts import ZoneTimeouts
from anycast_sdn.views.cluster import ClusterState
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.history import EVERY_S, History
from anycast_sdn.views.journal import Journal
from anycast_sdn.views.reporting import Reporting
from anycast_sdn.views.trends import Trends

TICK_S = 0.25
HEALTH_S = 1.0  # between two updates of health; each request of /healthz updates it, too
FLOWS_S = 0.05  # how often what becomes of flows is collected, if somebody listens
CHECKS_S = 0.05  # how often checks of servers that are due are made
DATABASES_S = 0.5  # how often it is looked which databases of switches are due
INSPECTIONS_S = 0.1  # how often inspections that are due are begun
SLICE_S = 0.004  # of work that may wait; then other green threads run
FLOWS_AT_ONCE = 256  # that end, or whose rules are put back: some milliseconds
FLOW_TURNS = 64  # of one switch in a tick: another program may delete rules as fast as they are put back
ON_THEIR_WAY_S = 0.1  # packets that switches have sent before they knew something may come so much later


class AnycastApp(app_manager.OSKenApp):  # type: ignore[misc]
    """The OS-Ken application; the ``Listener`` of all channels."""

    OFP_VERSIONS: ClassVar = [codec.OPENFLOW_VERSION]

    def __init__(
        self,
        network: Network,
        groups: Groups,
        cluster: Cluster,
        database_problem: Callable[[], str] = str,
        journal: Journal | None = None,
        notes: Notes | None = None,
    ) -> None:
        """``database_problem``: why enrolments cannot be stored now, "" when they can."""
        super().__init__()
        self._cluster = cluster
        controller = self.controller = Controller(network, groups, SecureRandom())
        self.bgp = BgpSessions(controller, cluster, notes or NoNotes(), self._react)
        self.succession = Succession(controller, cluster, notes or NoNotes(), self.bgp, self._react)
        self.connections = Connections(
            controller, self._cluster, self._react, self._wake_packet_service, hub.spawn_after, self._released,
            self._begin_anew, self.succession.tried, self.succession.note_tried,
        )  # fmt: skip
        self.first_packets = FirstPackets(controller, self.connections, self._react, self._wake_packet_service)
        self.flow_feed = FlowFeed(controller)
        self.streamed_flows = StreamedFlows(self.flow_feed, journal.member if journal else "")
        self.sharing: Sharing | None = None  # see ``share``
        self._shared: SharedSwitches | None = None  # likewise
        self.binding_log: BindingLogService | None = None  # see ``log_bindings``
        self.cluster_state: Callable[[], ClusterState | None] = lambda: None  # None: this controller is alone
        self.inspections = Inspections(controller, self._react, hub.Event)
        self.gauge = Gauge(hub.sleep, self.report)
        self._told_refusals = ToldRefusals(self.report)
        self._stopped = hub.Event()
        self._packets_wait = hub.Event()
        self._work_is_left = hub.Event()
        self.confirmations = Confirmations(controller, self._react, self._updating)
        self._drained: Collection[str] = ()  # edges
        self._beginning_anew: list[Callable[[], None]] = []  # see ``when_it_begins_anew``
        self.zone_timeouts = ZoneTimeouts(controller, cluster, self.report, hub.spawn)
        self._tell_of_events(journal or Journal(), database_problem)
        self.when_it_begins_anew(self.bgp.begin_anew)
        self.when_it_begins_anew(self.flow_feed.begin_anew)
        self.identified = self.connections.identified
        self.disconnected = self.connections.disconnected
        self.unanswered = self.connections.unanswered
        self.is_slave = self.connections.is_slave
        cluster.watch(self._masters_changed)

    def _tell_of_events(self, journal: Journal, database_problem: Callable[[], str]) -> None:
        """Who is told of what happens, and what is shown of it."""
        self.counters = Counters()
        self.history = History()
        self.journal = journal
        self.journal.listen(EventLog())
        self.reporting = Reporting(self.journal)
        self._subscribers: tuple[Callable[[Event], None], ...] = (
            self.counters,
            self.inspections.note,
            self.zone_timeouts.note,
            self.reporting,
        )
        self.trends = Trends(self.counters)
        self.health_watch = HealthWatch(
            self.controller, self.counters, self.trends, self.bgp.states, self.followed, lambda: self.cluster_state(),
            database_problem, lambda now: self.binding_log.wrong(now) if self.binding_log else "", self.report,
        )  # fmt: skip
        self.health = self.health_watch.health

    def start(self) -> None:
        super().start()
        self.threads += [
            hub.spawn(self._every, TICK_S, self._tick),
            hub.spawn(self._every, HEALTH_S, self.health_watch.look),
            hub.spawn(self._every, INSPECTIONS_S, self._inspect),
            hub.spawn(self._every, EVERY_S, self._sample),
            hub.spawn(self._every, CHECKS_S, self._check_servers),
            hub.spawn(self._every, DATABASES_S, lambda: self.zone_timeouts.look(time.monotonic())),
            hub.spawn(self._every, FLOWS_S, self.flow_feed.collect),
            hub.spawn(self._every, STEP_S, self.confirmations.handle),
            hub.spawn(self._serve_first_packets),
            hub.spawn(self._work_in_slices),
            hub.spawn(self.gauge.measure_while, lambda: self.is_active),
        ]

    def stop(self) -> None:
        self.is_active = False
        self._stopped.set()
        self._packets_wait.set()  # wakes the threads, which end because ``is_active`` is false
        self._work_is_left.set()
        if self._shared:
            self._shared.mirroring.wake()
        super().stop()

    # ---------------------------------------------------------------- events of switches (connection.Listener)

    def packet_in(self, dpid: int, message: decoding.PacketInMessage) -> None:
        if dpid not in self.connections or self._is_passed_on(dpid, message):
            return
        if not self.first_packets.add(dpid, kind_of(message.cookie), message):
            self._react(self.controller.packet_in(dpid, *message, now=time.monotonic()))

    def _is_passed_on(self, dpid: int, message: decoding.PacketInMessage) -> bool:
        """Is it about something that the leader decides?  Then it gets it."""
        switch = self.controller.switches[dpid]
        if self.sharing is None or switch.share is not Share.FLOWS or not switch.is_for_leader(*message):
            return False
        self.sharing.pass_on_packet(dpid, "packet_in", message)
        return True

    def _pass_on(self, dpid: int, event: str, *arguments: object) -> bool:
        """As ``_is_passed_on``, of an event that is not about flows."""
        if self.sharing is None or self.controller.switches[dpid].share is not Share.FLOWS:
            return False
        self.sharing.pass_on(dpid, event, *arguments)
        return True

    @isolated
    def turn_ended(self, dpid: int) -> None:
        if dpid in self.connections:
            self.first_packets.turn_ended(dpid)

    def _wake_packet_service(self) -> None:
        """A packet waits, or a switch with packets that wait can be served."""
        if not self._packets_wait.is_set():
            self._packets_wait.set()

    def _serve_first_packets(self) -> None:
        while self.is_active:
            self._packets_wait.wait()
            self._packets_wait.clear()
            while ready := self.first_packets.ready():
                for dpid in ready:
                    self.first_packets.serve(dpid)
                    hub.sleep(0)

    def ttl_expired(self, dpid: int, message: decoding.PacketInMessage) -> None:
        if dpid not in self.connections:
            return
        if self.sharing and self.controller.switches[dpid].share is Share.FLOWS:
            self.sharing.pass_on_packet(dpid, "ttl_expired", message)
        else:
            self._react(self.controller.ttl_expired(dpid, message.in_port, message.frame, time.monotonic()))

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool) -> None:
        if dpid not in self.connections:
            return
        if flow := self.controller.switches[dpid].told_of(cookie):  # what is read next does not have it any more
            self.connections.released.keep(dpid, [(flow.translated, time.monotonic())])
        if binding_of(cookie) or not self._pass_on(dpid, "rule_removed", cookie, deleted, unused):
            self._react(self.controller.rule_removed(dpid, cookie, deleted, unused, time.monotonic()))

    def rule_of_others_removed(self, dpid: int, removed: bytes) -> None:
        if role := self.controller.switches[dpid].described.client_edge:
            now = time.monotonic()
            self.connections.released.note(dpid, removed, now)
            self.connections.released.forget(dpid, now - role.quarantine_s, 2)

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None:
        if not binding_of(cookie) and self._pass_on(dpid, "rule_refused", cookie, full, reason):
            return
        now = time.monotonic()
        self._told_refusals.rule(dpid, self.connections.name(dpid), cookie, full, reason, now)
        self._react(self.controller.rule_refused(dpid, cookie, now, reason, full))
        if full and not binding_of(cookie):
            self.connections.resync_later(dpid)

    def group_refused(self, dpid: int, number: int) -> None:
        if not self._pass_on(dpid, "group_refused", number):
            self._react(self.controller.group_refused(dpid, number, time.monotonic()))

    def message_refused(self, dpid: int, reason: str) -> None:
        self._told_refusals.message(self.connections.name(dpid), reason)

    def rules_modified(self, dpid: int, cookies: list[int]) -> None:
        if dpid in self.connections:
            if others := [cookie for cookie in cookies if not binding_of(cookie)]:
                self._pass_on(dpid, "rules_modified", others)
            self.inspections.modified(self.connections.channels[dpid], cookies)

    def port_changed(self, dpid: int, port: int, up: bool) -> None:
        if dpid in self.connections and not self._pass_on(dpid, "port_changed", port, up):
            self._react(self.controller.port_changed(dpid, port, up, time.monotonic()))

    def confirmed(self, dpid: int, ticket: int) -> None:
        """The switch has answered a barrier."""
        if self._pass_on(dpid, "confirmed", ticket):
            return
        self.confirmations.note(dpid, ticket)

    def retire(self) -> None:
        """The controller ends soon: switches are told, and go on by themselves.  Returns when they know."""
        out = self.controller.retire(time.monotonic())
        told = [self.connections.channels[dpid] for dpid in out.outbox if dpid in self.connections]
        self._react(out)
        answers: list[bool] = []
        for switch in told:
            switch.probe(answers.append)
        deadline = time.monotonic() + CONFIRMATION_S
        while len(answers) < len(told) and time.monotonic() < deadline:
            hub.sleep(STEP_S)
        if told:
            hub.sleep(ON_THEIR_WAY_S)

    # ---------------------------------------------------------------- changes by operators

    def set_groups(self, groups: Groups, drained_edges: Collection[str] = (), version: int = 0) -> None:
        """Returns when the switches have confirmed it, or after ``CONFIRMATION_S``.  ``version``: of all of it."""
        self._react(self.controller.set_groups(groups, time.monotonic()))
        self.drain_edges(drained_edges)
        self.enrolled(version)
        self.bgp.exchange(time.monotonic())
        self.confirmations.wait()

    def enrolled(self, version: int) -> None:
        """The controller has what is enrolled as of this version."""
        if self.sharing:
            self.sharing.enrolled(version)

    def drain_edges(self, names: Collection[str]) -> None:
        self._drained = names
        self._react(self.controller.drain_edges(names, time.monotonic()))

    def carry_out(self, todo: Todo, now: float) -> None:
        """What follows from drains and leases for switches and subscribers; the caller stores what is to be stored."""
        if todo.leases:
            self._react(self.controller.set_leases(todo.leases, now))
        edge, flows = todo.flows
        if flows:
            self._react(self.controller.close_flows(edge, flows, now))
            if self._shared:
                self._shared.mirroring.ask_masters()
        self._react(Outcome(events=todo.events))

    def set_cost(self, end: Port, cost: int) -> None:
        """As ``set_groups``.  Raises NotFound."""
        self._react(self.controller.set_cost(end, cost, time.monotonic()))
        self.succession.note_now()
        self.confirmations.wait()

    def end_flows(self, edges: Iterable[tuple[str, int]]) -> None:
        """Flows by their edges and numbers.  Returns when they have ended, or after ``CONFIRMATION_S``."""
        left = list(edges)
        for edge, number in left:
            self._react(self.controller.end_flow(edge, number, time.monotonic()))
        if self._shared:
            self._shared.mirroring.ask_masters()
        deadline = time.monotonic() + CONFIRMATION_S
        while (left := [each for each in left if self.controller.has_flow(*each)]) and time.monotonic() < deadline:
            hub.sleep(STEP_S)

    def _updating(self) -> set[str]:
        """The switches at which what is decided does not count yet, for packets or for new flows."""
        return {*self.controller.updating(), *(self.sharing.tell_now() if self.sharing else ())}

    # ---------------------------------------------------------------- changes in the cluster

    def _masters_changed(self, gained: Collection[int]) -> None:
        """A new leader begins with what its predecessor has left; for the rest, each tick asks who leads."""
        self.succession.look(time.monotonic())
        for dpid in gained:
            self.connections.take_role(dpid)
        self.connections.forget_as_follower()
        self.connections.look_at_shares()

    def when_it_begins_anew(self, act: Callable[[], None]) -> None:
        """``act`` is called after the controller has forgotten what it knew: another one has decided meanwhile."""
        self._beginning_anew.append(act)

    def _begin_anew(self, kept: Collection[int] = (), followed: Collection[int] = ()) -> None:
        now = time.monotonic()
        self.controller.begin_anew(kept, self._cluster.leads(), followed)
        self.confirmations.clear()
        self._react(self.controller.drain_edges(self._drained, now))
        for act in self._beginning_anew:
            isolated(act)()
        self.succession.begun_anew(now)

    def _released(self, dpid: int, keeps_flows: bool) -> None:
        """This controller is the switch's master no more, or decides on nothing but its flows."""
        self.confirmations.forget(dpid)
        self.inspections.end(dpid)
        if dropped := 0 if keeps_flows else self.first_packets.drop(dpid):
            self._react(self.controller.shed(dpid, dropped))

    # ---------------------------------------------------------------- the clock

    def _tick(self) -> None:
        garbage.collect_new()
        now = time.monotonic()
        self._tick_network(now)
        self.connections.end_long_introductions(now)
        self.connections.end_long_changes(now)
        self.reporting.tick(now)
        turn_ends = now + SLICE_S
        if self.sharing and not self._cluster.leads():
            self._free_flows()
        for dpid in self.controller.switches:
            self._tick_switch(dpid, now)
            if time.monotonic() > turn_ends:
                hub.sleep(0)
                turn_ends = time.monotonic() + SLICE_S
        for dpid, sweep in self.controller.begin_sweeps(now).items():
            sweeping.begin(self.controller, self.connections.channels[dpid], sweep, self._react)
        self.bgp.exchange(time.monotonic())
        self.succession.note()

    @isolated
    def _free_flows(self) -> None:
        """Flows of lost servers, where the leader has found these."""
        for _ in range(FLOW_TURNS):
            if not self.controller.losses.is_busy():
                break
            self._react(self.controller.tick_told(time.monotonic()))
            hub.sleep(0)

    @isolated
    def _tick_network(self, now: float) -> None:
        if self._cluster.leads():
            owing = self.connections.owing() | (self.sharing.owing() if self.sharing else set())
            self._react(self.controller.tick(now, owing))
            self.connections.doubt(self.controller.discovery.doubted(now))

    def _check_servers(self) -> None:
        if self._cluster.leads():
            self._react(self.controller.check_servers(time.monotonic()))

    @isolated
    def _tick_switch(self, dpid: int, now: float) -> None:
        is_heard = self.connections.is_heard(dpid) and not (self.sharing and self.sharing.owes(dpid))
        self._react(self.controller.tick_switch(dpid, now, is_heard))
        if self.controller.switches[dpid].neighbours.doubts_switch:
            self.connections.ask([dpid])
        for _ in range(FLOW_TURNS):
            out, more = self.controller.tick_flows(dpid, time.monotonic(), FLOWS_AT_ONCE)
            self._react(out)
            if not more:
                break
            hub.sleep(0)

    def followed(self) -> Collection[str] | None:
        """The switches that are connected to this member of a cluster; None: it decides on the network itself."""
        if self.connections.decides:
            return None
        return {self.connections.name(dpid) for dpid in self.connections}

    def _sample(self) -> None:
        self.history.sample(self.controller, self.counters, time.monotonic())

    def _inspect(self) -> None:
        self.inspections.run_due(self.connections.channels)

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        act_isolated = isolated(act)
        while not self._stopped.wait(seconds):
            act_isolated()

    # ---------------------------------------------------------------- outcomes

    def _react(self, out: Outcome) -> None:
        """Carry out what an event has led to: send messages, call subscribers, let the rest of the work be done."""
        if self.controller.is_busy():
            garbage.exempt_new()  # the event was the first slice of large work
            if not self._work_is_left.is_set():
                self._work_is_left.set()
        self.connections.send(out.outbox)
        for event in out.events:
            self.report(event)

    def report(self, event: Event) -> None:
        """Something has happened: subscribers get it."""
        for subscriber in self._subscribers:
            self._publish(subscriber, event)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """It gets what happens from now on."""
        self._subscribers = (*self._subscribers, subscriber)

    def share(self, lines: Lines, cluster: Masters) -> None:
        """From now on, in a cluster where switches may have several masters."""
        shared = self._shared = SharedSwitches(
            self.controller, cluster, self.connections, self.counters, lines, self._react, self
        )
        self.sharing = shared.sharing
        self.connections.shares, self.connections.mastered = True, shared.sharing.mastered
        for act in shared.when_it_begins_anew:
            self.when_it_begins_anew(act)
        self.threads += [hub.spawn(self._every, *beat) for beat in shared.beats]
        self.threads.append(hub.spawn(shared.mirroring.take_all, lambda: self.is_active))

    def log_bindings(self, log: BindingLogService) -> None:
        """From now on."""
        self.binding_log = log
        self.subscribe(log)
        self.threads.append(hub.spawn(log.run))

        def look() -> None:
            """Which flows does this controller serve?  Others log those that they serve."""
            (log.resume if self._cluster.leads() or self.connections.serves_any else log.rest)()
            log.hand_over(self._shared.served_by_others() if self._shared else ())

        look()
        self.succession.on_take_over(lambda now: log.resume())
        self.succession.on_stand_down(look)
        self.threads.append(hub.spawn(self._every, TICK_S, look))
        self.when_it_begins_anew(log.begin_anew)

    @isolated
    def _publish(self, subscriber: Callable[[Event], None], event: Event) -> None:
        subscriber(event)

    def _work_in_slices(self) -> None:
        """The rest of the controller's work on large events; other green threads run between slices."""
        while self.is_active:
            self._work_is_left.wait()
            self._work_is_left.clear()
            while self.is_active and self.controller.is_busy():
                turn_ends = time.monotonic() + SLICE_S
                while self.controller.is_busy() and time.monotonic() < turn_ends:
                    if not self._slice():
                        hub.sleep(TICK_S)  # it may fail again; meanwhile other green threads run
                hub.sleep(0)

    @isolated
    def _slice(self) -> None:
        garbage.collect_new()
        self._react(self.controller.work(time.monotonic()))
        garbage.exempt_new()
