"""AnycastApp: what switches say and the clock → ``Controller`` → the switches' channels.

A few lines per handler; every decision is the ``Controller``'s.  One hub, one writer: a handler runs
to its end before the next starts, because nothing in it waits (``Channel.send`` only queues).  A fault of
our own in one event loses that event alone (``faults.alone``, and ``Channel`` for what switches say).
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from os_ken.base import app_manager
from os_ken.lib import hub

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.control.controller import CONFIRMED_AFTER_S, Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Network, Port
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.pipeline import binding_of, kind_of
from anycast_sdn.openflow.questions import SweepRun
from anycast_sdn.process import garbage
from anycast_sdn.process.bgp_sessions import BgpSessions
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import alone
from anycast_sdn.process.first_packets import FirstPackets
from anycast_sdn.process.inspection import Inspections
from anycast_sdn.process.stalls import Gauge
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.health import ConnectionReports, Health, missing_switches

LOG = logging.getLogger(__name__)

TICK_S = 0.25
LOOK_S = 1.0  # how often health is looked at; each question of /healthz does so, too
INSPECTIONS_S = 0.1  # how often it is looked at which switch is due
SLICE_S = 0.004  # of work that may wait; then it is others' turn
ENDED_AT_ONCE = 256  # bindings
PUT_BACK_TURNS = 64  # of one switch between two ticks: somebody may delete rules as fast as they are put back
STEP_S = 0.02  # what has been confirmed meanwhile is taken together
CONFIRMATION_S = 2.0  # a change of the operator's is answered after this at the latest


class SecureRandom:
    """Numbers that nobody can foresee; ``random.SystemRandom`` asks the kernel for each of them."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def randrange(self, stop: int, /) -> int:
        """16 bytes each: picks from a /64 without a noticeable bias."""
        if not self._numbers:
            self._numbers = [int.from_bytes(number, "big") for (number,) in struct.iter_unpack("16s", os.urandom(4096))]
        return self._numbers.pop() % stop


class AnycastApp(app_manager.OSKenApp):  # type: ignore[misc]
    """The OS-Ken application; the ``Listener`` of all channels."""

    OFP_VERSIONS: ClassVar = [codec.OPENFLOW_VERSION]

    def __init__(
        self,
        network: Network,
        groups: Groups,
        database_problem: Callable[[], str] = str,
        cluster: Cluster | None = None,
    ) -> None:
        """``database_problem``: why enrolments cannot be stored now, "" when they can."""
        super().__init__()
        self._database_problem = database_problem
        self._cluster = cluster or Alone()
        controller = self.controller = Controller(network, groups, SecureRandom())
        self.connections = Connections(controller, self._cluster, self._react, self._serve_again, hub.spawn_after)
        self.first_packets = FirstPackets(controller, self.connections, self._react, self._serve_again)
        self.bgp = BgpSessions(controller, self._cluster, self._react)
        self.inspections = Inspections(controller, self._react, hub.sleep)
        self.gauge = Gauge(hub.sleep)
        self._someone_waits = hub.Event()
        self._work_is_left = hub.Event()
        # What switches have confirmed: (when it is believed, (datapath id, ticket)).
        self._confirmations: list[tuple[float, tuple[int, int]]] = []
        self._late: set[str] = set()  # switches that have not confirmed a change in time
        self.counters = Counters()
        self._subscribers: tuple[Callable[[Event], None], ...] = (self.counters, self.inspections.note)
        self._health = Health(self.counters)
        self._reports = ConnectionReports(len(network.switches), time.monotonic())
        self.identified = self.connections.identified
        self.disconnected = self.connections.disconnected
        self.unanswered = self.connections.unanswered

    def start(self) -> None:
        super().start()
        self.threads += [
            hub.spawn(self._every, TICK_S, self._tick),
            hub.spawn(self._every, LOOK_S, self._look),
            hub.spawn(self._every, INSPECTIONS_S, self._inspect),
            hub.spawn(self._every, STEP_S, self._believe_confirmations),
            hub.spawn(self._serve_first_packets),
            hub.spawn(self._work_in_slices),
            hub.spawn(self.gauge.beat_while, lambda: self.is_active),
        ]

    def stop(self) -> None:
        self.is_active = False
        self._someone_waits.set()  # nobody does, but who serves them must see that this is the end
        self._work_is_left.set()
        super().stop()

    # ---------------------------------------------------------------- what switches say (channel.Listener)

    def packet_in(self, dpid: int, message: decoding.PacketInMessage) -> None:
        if dpid not in self.connections:
            return
        if self.first_packets.add(dpid, kind_of(message.cookie), message):
            self._serve_again()
        else:
            self._react(self.controller.packet_in(dpid, *message, now=time.monotonic()))

    def _serve_again(self) -> None:
        """Somebody waits, or a switch whose packets wait is ready."""
        if not self._someone_waits.is_set():
            self._someone_waits.set()

    def _serve_first_packets(self) -> None:
        while self.is_active:
            self._someone_waits.wait()
            self._someone_waits.clear()
            while served := self.first_packets.served():
                for dpid in served:
                    self.first_packets.serve(dpid)
                    hub.sleep(0)

    def ttl_expired(self, dpid: int, message: decoding.PacketInMessage) -> None:
        if dpid in self.connections:
            self._react(self.controller.ttl_expired(dpid, message.in_port, message.frame, time.monotonic()))

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool) -> None:
        if dpid in self.connections:
            self._react(self.controller.rule_removed(dpid, cookie, deleted, unused, time.monotonic()))
            if deleted and self.controller.has_lost_rules(dpid):
                self.inspections.soon(dpid)

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None:
        what = f"a rule with cookie {cookie:#x}" if cookie else "a group or a meter"
        text = f"switch {self.connections.name(dpid)} refused {what}: {reason}"
        self.connections.log.say(logging.WARNING, ("refused a rule", dpid), text)
        self._react(self.controller.rule_refused(dpid, cookie, time.monotonic()))
        if full and not binding_of(cookie):
            self.connections.resync_later(dpid)

    def message_refused(self, dpid: int, reason: str) -> None:
        text = f"switch {self.connections.name(dpid)} refused a message: {reason}"
        self.connections.log.say(logging.WARNING, ("refused a message", dpid), text)

    def rules_modified(self, dpid: int, cookies: list[int]) -> None:
        if dpid in self.connections:
            self.inspections.modified(self.connections.channels[dpid], cookies)

    def port_changed(self, dpid: int, port: int, up: bool) -> None:
        if dpid in self.connections:
            self._react(self.controller.port_changed(dpid, port, up, time.monotonic()))

    def confirmed(self, dpid: int, ticket: int) -> None:
        """The switch's tables hold it."""
        self._confirmations.append((time.monotonic() + CONFIRMED_AFTER_S, (dpid, ticket)))

    def _believe_confirmations(self) -> None:
        now = time.monotonic()
        if tickets := [ticket for when, ticket in self._confirmations if when <= now]:
            del self._confirmations[: len(tickets)]
            if not self._confirm(tickets, now):
                for ticket in tickets:  # again, each by itself: what failed must not lose the others
                    self._confirm([ticket], now)

    @alone
    def _confirm(self, tickets: list[tuple[int, int]], now: float) -> None:
        self._react(self.controller.confirmed(tickets, now))

    # ---------------------------------------------------------------- what the operator says

    def set_groups(self, groups: Groups) -> None:
        """Returns when the switches have confirmed it, or after ``CONFIRMATION_S``."""
        self._react(self.controller.set_groups(groups, time.monotonic()))
        self.bgp.exchange(time.monotonic())
        self._until_confirmed()

    def set_cost(self, end: Port, cost: int) -> None:
        """As ``set_groups``.  Raises NotFound."""
        self._react(self.controller.set_cost(end, cost, time.monotonic()))
        self._until_confirmed()

    def _until_confirmed(self) -> None:
        deadline = time.monotonic() + CONFIRMATION_S
        self._late &= set(self.controller.updating())
        while (busy := set(self.controller.updating()) - self._late) and time.monotonic() < deadline:
            hub.sleep(STEP_S)
        self._late |= busy  # the changes that come do not wait for them

    # ---------------------------------------------------------------- what the clock says

    def _tick(self) -> None:
        garbage.look()
        now = time.monotonic()
        self._tick_network(now)
        self.connections.end_long_introductions(now)
        self.connections.log.print_counts()
        turn_ends = now + SLICE_S
        for dpid in self.controller.switches:
            self._tick_switch(dpid, now)
            if time.monotonic() > turn_ends:
                hub.sleep(0)
                turn_ends = time.monotonic() + SLICE_S
        for dpid in self.controller.sweeps_due(now):
            self._sweep(self.connections.channels[dpid])
        self.bgp.exchange(time.monotonic())

    @alone
    def _tick_network(self, now: float) -> None:
        if self._cluster.leads():
            self._react(self.controller.tick(now))

    @alone
    def _tick_switch(self, dpid: int, now: float) -> None:
        self._react(self.controller.tick_switch(dpid, now))
        for _ in range(PUT_BACK_TURNS):
            put_back = self.controller.put_back(dpid, time.monotonic())
            if not put_back:
                break
            self._react(put_back)
            hub.sleep(0)
        more = True
        while more:
            out, more = self.controller.end_connections(dpid, now, ENDED_AT_ONCE)
            self._react(out)
            if more:
                hub.sleep(0)

    def _look(self) -> None:
        """For the log: which switches are missing, and whether all is well."""
        now = time.monotonic()
        if line := self._reports.pop_due(missing_switches(self.controller), now):
            LOG.info("%s", line)
        view = self.health(now)
        if self._health.pop_change(now):
            level = logging.INFO if view["status"] == "ok" else logging.WARNING
            reasons = listed(view["reasons"], 3, "; ")
            LOG.log(level, "health: %s%s", view["status"], f": {reasons}" if reasons else "")

    def health(self, now: float) -> dict[str, Any]:
        """As it is at this moment."""
        self._health.update(self.controller, self.bgp.states(), now, self._database_problem())
        return self._health.view(self.controller, now, time.time())

    def _inspect(self) -> None:
        self.inspections.run_due(self.connections.channels)

    @alone
    def _sweep(self, switch: Channel) -> None:
        dpid, began = switch.id, time.monotonic()

        @alone
        def end_idle(numbers: list[int]) -> None:
            self._react(self.controller.end_idle(dpid, numbers, time.monotonic()))

        def end(idle: list[int]) -> None:
            for start in range(0, len(idle), ENDED_AT_ONCE):
                end_idle(idle[start : start + ENDED_AT_ONCE])
                hub.sleep(0)
            self.controller.end_sweep(dpid, began, time.monotonic())

        def read(inward: bool, counters: Iterable[tuple[int, int]], asked: float) -> list[int]:
            return self.controller.counters_read(dpid, inward, counters, asked, time.monotonic())

        SweepRun(switch, self.controller.begin_sweep(dpid), read, end).proceed()

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        act_alone = alone(act)
        while self.is_active:
            hub.sleep(seconds)
            act_alone()

    # ---------------------------------------------------------------- what follows

    def _react(self, out: Outcome) -> None:
        """An event has led to these messages, and perhaps to work that is done later; and others want to hear of it."""
        if self.controller.is_busy():
            garbage.keep()  # that was a first slice
            if not self._work_is_left.is_set():
                self._work_is_left.set()
        self.connections.send(out.outbox)
        for event in out.events:
            for subscriber in self._subscribers:
                self._publish(subscriber, event)

    @alone
    def _publish(self, subscriber: Callable[[Event], None], event: Event) -> None:
        subscriber(event)

    def _work_in_slices(self) -> None:
        """What follows from large events, with turns for others between."""
        while self.is_active:
            self._work_is_left.wait()
            self._work_is_left.clear()
            while self.is_active and self.controller.is_busy():
                turn_ends = time.monotonic() + SLICE_S
                while self.controller.is_busy() and time.monotonic() < turn_ends:
                    if not self._slice():
                        hub.sleep(TICK_S)  # it may fail again, and others must go on
                hub.sleep(0)

    @alone
    def _slice(self) -> None:
        garbage.look()
        self._react(self.controller.work(time.monotonic()))
        garbage.keep()
