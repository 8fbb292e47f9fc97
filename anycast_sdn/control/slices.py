"""Slices: what follows from events for the switches, a slice at a time.

An event is recorded at once; what follows from it is queued and done by ``work``.  A slice goes down this chain, in
which each step reads what the one before has decided:

    selecting       which servers take the new flows of each group, at which server edge
    announcements   which switches announce which prefix, because it is theirs or because they are able to serve it
    uplinks         which switches send to prefixes outside the fabric, and what they advertise to routers there
    routes          the routes of all switches to all prefixes, and which of them may be installed now
    switches        all other rules that a switch should hold

The rules of one switch for one ANY/n, and the routes of all switches to one prefix, are never divided between slices:
so the switches are consistent after each slice, as after a smaller event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.pace import Pace
from anycast_sdn.control.parts import Parts
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import Prefix
from anycast_sdn.openflow.reaction import out_of
from anycast_sdn.openflow.rules import Barrier

LARGE_AT_ONCE = 2  # switches whose constant rules, some hundred, are compared in one step: many may connect at once
_NO_ROUTES: Mapping[Prefix, int | None] = {}


class Slices:
    """``pace``: how much goes into one."""

    def __init__(self, parts: Parts, pace: Pace) -> None:
        self._parts = parts
        self.pace = pace
        self._comparing: dict[int, None] = {}  # connected switches that are not wholly compared

    @property
    def comparing(self) -> Collection[int]:
        """The connected switches of which more is to be compared (datapath ids)."""
        return self._comparing.keys()

    def compare(self, dpid: int) -> None:
        """What this switch holds is to be compared with what is wanted."""
        self._comparing[dpid] = None

    def disconnected(self, dpid: int) -> None:
        self._comparing.pop(dpid, None)

    def is_busy(self) -> bool:
        """Is there work left, for which ``work`` is to be called?"""
        parts = self._parts
        return bool(
            parts.selecting.is_busy() or parts.announcements.is_judging() or parts.uplinks.waiting()
            or parts.routes.is_busy() or parts.enrolments.is_busy() or self._comparing
            or parts.service_reports.is_busy() or parts.discovery.has_probes() or parts.losses.is_busy()
            or parts.health.is_busy()
        )  # fmt: skip

    def work_again(self, now: float) -> Outcome:
        """After an event other than a confirmation: routes that wait for other switches may have become free to go."""
        self._parts.routes.judge_again()
        return self.work(now)

    def work(self, now: float) -> Outcome:
        """A slice of what follows from the events so far; see the order of the chain above."""
        parts, pace = self._parts, self.pace
        parts.routes.apply_confirmations(pace.changes)
        parts.enrolments.tell(parts.groups, pace.told, now)
        out = self._examine_health(now)
        out.events += self._select_servers(now)
        if not parts.selecting.is_behind():  # which would decide for each of them at once, not in slices
            parts.announcements.judge(parts.switches, parts.groups, pace.prefixes, now)
        parts.uplinks.reconsider(parts.announcements.pop_changed())
        parts.uplinks.work(pace.prefixes)
        changed = parts.uplinks.pop_changed()
        parts.routes.reconsider(changed)
        parts.service_reports.destinations_changed(changed, parts.groups)
        parts.routes.find(parts.uplinks.destinations, pace.prefixes, pace.changes)
        parts.enrolments.work(pace.enrolled)
        self._compare_more()
        out.add(parts.losses.work(parts.groups, pace.freed, now))
        rounds = 1
        while self._install(now, out) and rounds < pace.rounds:
            rounds += 1
        probe(parts.discovery.more_probes(), out)
        parts.reroutes.look(now)
        if not parts.routes.is_finding():  # routes come first
            out.events += parts.service_reports.work(parts.groups, max(1, pace.prefixes // 4))
        if parts.is_beginning and not self.is_busy():
            parts.have_begun()
        return out

    def _examine_health(self, now: float) -> Outcome:
        """Let the servers and the flows be examined again whose health has changed."""
        parts = self._parts
        out = Outcome(events=parts.health.work(self.pace.examined, now))
        for name, server in parts.health.pop_changed():
            group = parts.groups.get(name)
            if group is None or server not in group.servers:
                parts.losses.no_longer_checked(name, server, now)
                continue
            parts.losses.checked(name, server, parts.health.has_failed(name, server), now)
            parts.selecting.recheck(name, len(server) == 16)
        return out

    def _select_servers(self, now: float) -> list[Event]:
        """Let server edges follow what is decided: announce a group, withdraw it, or only change its slots."""
        parts = self._parts
        events: list[Event] = []
        for (edge, spread), announces in parts.selecting.work(parts.groups, self.pace.servers, now).items():
            switch, group = parts.by_name[edge], parts.groups.get(spread.group)
            events += parts.service_reports.slots_changed(edge, spread, group)
            if announces is None:
                switch.reconciler.recheck_spread(spread)
                self.compare(switch.dpid)
            elif group:
                services = (prefix for prefix in group.prefixes if prefix.is_v6 is spread.is_v6)
                parts.announcements.recheck(switch.dpid, services)
        return events

    def _compare_more(self) -> None:
        """Compare more of what connected switches hold with what they should hold, one switch after the other."""
        work = 0
        for dpid in list(self._comparing):
            if work < self.pace.compared:
                reconciler = self._parts.switches[dpid].reconciler
                compared = reconciler.compare_more(self._parts.groups, self.pace.compared - work)
                work += compared
                if not compared:
                    del self._comparing[dpid]

    def _install(self, now: float, out: Outcome) -> bool:
        """Add to ``out`` what may be installed now → is there time for another round in this slice?

        There is when few routes were judged, and some switches held already what they would have been sent.
        """
        parts = self._parts
        ready = parts.routes.judge(self.pace.routes)
        held, large = False, 0
        for dpid, switch in parts.switches.items():
            name = switch.name
            routes = ready.get(name, _NO_ROUTES)
            if not routes and not switch.reconciler.needs_comparison:
                if switch.synchronised and switch.reconciler.has_more_to_compare:
                    self.compare(dpid)
                continue
            if not routes and switch.reconciler.has_much_to_compare:
                if large == LARGE_AT_ONCE:
                    self.compare(dpid)
                    continue
                large += 1
            messages = switch.reconcile(parts.groups, routes)
            if switch.reconciler.has_more_to_compare:
                self.compare(dpid)
            if not messages and not routes:
                continue
            ticket = parts.routes.issue(name, tuple(routes), now)
            if messages:
                out.send(dpid, (*messages, Barrier(ticket)))
            else:
                parts.routes.needless(name, ticket)
                held = True
        return held and sum(map(len, ready.values())) < self.pace.routes // 3


def probe(probes: Iterable[tuple[int, int, bytes]], out: Outcome) -> None:
    """Add these frames to what is sent.  (datapath id, port, frame)"""
    for dpid, port, frame in probes:
        out.send(dpid, [out_of(port, frame)])
