"""Health: what is wrong, and since when; for /healthz and for the log.

Rules kept here:
- The only state is when each reason began; nothing here reads a clock.
- A reason is a sentence that names what is wrong.  Its key identifies it; its sentence may change while it lasts.
- ``ok``: there is no reason.  ``starting``: the controller has just started, and all reasons may be due to that.
  ``degraded``: there is a reason that is not due to the start.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import AnycastGroup, Prefix, ServerState, text
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.pool_watch import Level, Outlook
from anycast_sdn.core.times import rfc3339
from anycast_sdn.core.words import counted, listed
from anycast_sdn.views.counters import Counters

MAX_REASONS = 100  # in one answer, and of one kind
STEADY_S = 2.0  # a status is logged after it has lasted for so long
RECENT_S = 60.0  # a refused or a repaired rule is a reason for so long
REPORT_S, LONGEST_REPORT_S = 10.0, 640.0  # between two reports of switches that are not connected; doubles


class Reason(NamedTuple):
    """Something that is wrong."""

    key: tuple[str, ...]  # the part that is affected
    sentence: str
    early: bool = False  # to be expected in the controller's first seconds


class Session(NamedTuple):
    """The state of a BGP session."""

    uplink: str
    neighbour: str
    state: str
    problem: str


def reasons(
    controller: Controller, counters: Counters, sessions: Iterable[Session], database: str, now: float
) -> Iterator[Reason]:
    """All that is wrong now.

    ``sessions``: those of BGP; ``database``: why enrolments cannot be stored, "" if they can.
    """
    if database:
        yield Reason(("database",), f"enrolments cannot be changed: {database}")
    for switch in controller.switches.values():
        yield from _of_switch(switch, counters, now)
    for ends, why in itertools.islice(controller.discovery.down(now), MAX_REASONS):
        yield Reason(("link", ends), f"link {ends} is down: {why}")
    yield from itertools.islice(_unserved(controller.groups, controller.announcements.announcers), MAX_REASONS)
    for session in sessions:
        if session.state != "established":
            why = f": {session.problem}" if session.problem else ""
            sentence = f"the BGP session of uplink {session.uplink} with {session.neighbour} is {session.state}{why}"
            yield Reason(("session", session.uplink), sentence, early=True)


def _of_switch(switch: ManagedSwitch, counters: Counters, now: float) -> Iterator[Reason]:
    name = switch.name
    if not switch.ever_synchronised:
        sentence = f"switch {name} (datapath id {switch.dpid:#x}) has not connected"
        yield Reason(("switch", name), sentence, early=True)
        return
    if not switch.synchronised:
        yield Reason(("switch", name), f"switch {name} has lost the controller")
        return
    if now - switch.refused_at < RECENT_S:
        refused = counters.drops[name]["rule_refused"]
        yield Reason(("refused", name), f"switch {name} refuses rules: {refused} until now")
    for question in sorted(switch.unanswered):
        yield Reason(("question", name, question), f"switch {name} does not answer when asked for its {question}")
    if switch.repaired_at is not None and now - switch.repaired_at < RECENT_S:
        sentence = f"switch {name} was changed by others than the controller: its rules have been put right"
        yield Reason(("changed", name), sentence)
    for uplink in switch.uplinks:
        for router in uplink.routers:
            if not switch.neighbours.get(router):
                sentence = f"router {text(router)} at uplink {uplink.name} does not answer"
                yield Reason(("router", uplink.name, text(router)), sentence, early=True)
    statistics = switch.engine.statistics(now)
    for family, outlook in statistics.outlooks.items():
        if outlook.level:
            sentence = _of_pool(name, family, statistics.pools[family], outlook)
            yield Reason(("pool", name, family), sentence)


def _of_pool(switch: str, family: str, use: PoolUse, outlook: Outlook) -> str:
    """Of a pool that is low or exhausted."""
    pool = f"the {'IPv6' if family == 'ipv6' else 'IPv4'} pool of {switch}"
    if outlook.level is Level.EXHAUSTED:
        return f"{pool} is exhausted: {use.leased} of {use.size} addresses in use, {use.resting} resting"
    soon = "" if outlook.used_up_in_s is None else f", used up in about {math.ceil(outlook.used_up_in_s)} s"
    return f"{pool} is low: {outlook.left} of {use.size} addresses left{soon}"


def _unserved(groups: Iterable[AnycastGroup], announced: Container[Prefix]) -> Iterator[Reason]:
    """Services without a server edge that is able to serve.  There may be thousands: callers take as many as needed."""
    for group in groups:
        for prefix in group.prefixes:
            if prefix not in announced and _should_serve(group, prefix):
                sentence = f"no server edge is able to serve {prefix} of group {group.name}"
                yield Reason(("group", group.name, str(prefix)), sentence, early=True)


def _should_serve(group: AnycastGroup, prefix: Prefix) -> bool:
    active = (server for server in group.servers.values() if server.state is ServerState.ACTIVE)
    return any(len(server.address) == len(prefix.network) for server in active)


class Health:
    """The reasons at the last update, and when each of them began."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._reasons: Sequence[Reason] = ()
        self._since: dict[tuple[str, ...], float] = {}
        self.status = "starting"
        self._status_since = 0.0
        self._logged = "starting"

    def update(self, controller: Controller, sessions: Iterable[Session], now: float, database: str = "") -> None:
        """To be called about once a second; see ``reasons``."""
        self.set_reasons(
            reasons(controller, self._counters, sessions, database, now), controller.discovery.starting, now
        )

    def set_reasons(self, found: Iterable[Reason], starting: bool, now: float) -> None:
        """``starting``: the controller has started only seconds ago."""
        self._reasons = list(found)
        self._since = {reason.key: self._since.get(reason.key, now) for reason in self._reasons}
        before = self.status
        if not self._reasons:
            self.status = "ok"
        elif starting and all(reason.early for reason in self._reasons):
            self.status = "starting"
        else:
            self.status = "degraded"
        if self.status != before:
            self._status_since = now

    def view(self, controller: Controller, now: float, epoch: float) -> dict[str, Any]:
        """As of the last update.  ``epoch``: the wall clock's time at ``now``."""
        switches = {
            switch.name: {"connected": switch.synchronised, **self._repairs(switch, now)}
            for switch in controller.switches.values()
        }
        return {"status": self.status, "reasons": self.sentences(now, epoch), "switches": switches}

    def _repairs(self, switch: ManagedSwitch, now: float) -> dict[str, object]:
        """How many rules were repaired since the controller's start, and how long ago the last one; empty if none."""
        repaired = self._counters.repairs[switch.name].total()
        ago = {} if switch.repaired_at is None else {"last_repair_s": round(now - switch.repaired_at, 1)}
        return {"repaired": repaired, **ago} if repaired else {}

    def pop_change(self, now: float) -> bool:
        """Is a line in the log due: does the status differ from the last one logged, for ``STEADY_S``?

        True: the status counts as logged.
        """
        if self.status == self._logged or now - self._status_since < STEADY_S:
            return False
        self._logged = self.status
        return True

    def sentences(self, now: float, epoch: float) -> list[str]:
        """What is wrong and since when, the latest first.  ``epoch``: the wall clock's time at ``now``."""
        latest = sorted(self._reasons, key=lambda reason: -self._since[reason.key])
        shown = [
            f"{each.sentence}, since {rfc3339(epoch - now + self._since[each.key], 'seconds')}"
            for each in latest[:MAX_REASONS]
        ]
        more = len(latest) - MAX_REASONS
        return [*shown, f"at least {more} more"] if more > 0 else shown


def missing_switches(controller: Controller) -> list[str]:
    """The names of the switches that are not connected."""
    return [switch.name for switch in controller.switches.values() if not switch.synchronised]


class ConnectionReports:
    """Lines for the log: which switches are not connected, at doubling intervals; and once, that all are."""

    def __init__(self, switches: int, now: float) -> None:
        self._switches = switches
        self._pause = REPORT_S
        self._due = now + REPORT_S
        self._complete = False

    def pop_due(self, missing: Collection[str], now: float) -> str | None:
        """The line that is due now; it counts as logged.  To be called about once a second.

        ``missing``: switches that are not connected.
        """
        if not missing:
            was, self._complete = self._complete, True
            all_of_them = "the switch is" if self._switches == 1 else f"all {self._switches} switches are"
            return None if was else f"{all_of_them} connected"
        if self._complete:
            self._complete, self._pause, self._due = False, REPORT_S, now + REPORT_S
        if now < self._due:
            return None
        self._pause = min(2 * self._pause, LONGEST_REPORT_S)
        self._due = now + self._pause
        return f"still waiting for {counted(len(missing), 'switch')}: {listed(missing)}"
