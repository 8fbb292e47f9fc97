"""Health: what is wrong, and since when; for /healthz and for events.

Rules kept here:
- The only state is when each reason began; nothing here reads a clock.  What the reasons are: ``views.reasons``.
- The network's own reasons are those of the leader.  What is wrong with a member of a cluster that follows is what
  keeps it from taking over, and what concerns the flows of switches whose master it is.
- ``ok``: there is no reason.  ``starting``: the controller has just started, and all reasons may be due to that.
  ``degraded``: there is a reason that is not due to the start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

from anycast_sdn import __version__
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.controller_events import HealthChanged
from anycast_sdn.core.events import Reported, Severity
from anycast_sdn.core.switch_events import SwitchesComplete, SwitchesMissing
from anycast_sdn.core.times import rfc3339
from anycast_sdn.views.cluster import ClusterState, cluster_reasons
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.reasons import MAX_REASONS, Reason, Session, reasons, reasons_of_follower

START_S = 10.0  # so long a follower is starting
STEADY_S = 2.0  # a status is told after it has lasted for so long
TOLD = 3  # reasons with it
REPORT_S, LONGEST_REPORT_S = 10.0, 640.0  # between two reports of switches that are not connected; doubles


class Health:
    """The reasons at the last update, and when each of them began."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._reasons: Sequence[Reason] = ()
        self._since: dict[tuple[str, ...], float] = {}
        self.status = "starting"
        self._status_since = 0.0
        self._told = "starting"
        self._first_at: float | None = None  # the first update
        self._connected: Collection[str] | None = None
        self._role: dict[str, str] = {}

    def update(
        self, controller: Controller, sessions: Iterable[Session], now: float, database: str = "",
        binding_log: str = "", cluster: ClusterState | None = None, connected: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """To be called about once a second; see ``reasons``.

        ``connected``: the switches that are connected to this member, which follows; None: it decides.
        """
        self._first_at = now if self._first_at is None else self._first_at
        self._connected = connected
        if connected is None:
            found = reasons(controller, self._counters, sessions, database, now, binding_log)
            starting = controller.discovery.starting
        else:
            found = reasons_of_follower(controller, self._counters, connected, sessions, database, now, binding_log)
            starting = now - self._first_at < START_S
        self._role = {} if cluster is None else {"role": "leader" if cluster.leads else "follower"}
        self.set_reasons(chain(cluster_reasons(cluster), found), starting, now)

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
        there = self._connected
        switches = {
            switch.name: {
                "connected": switch.synchronised if there is None else switch.name in there,
                **self._repairs(switch, now),
            }
            for switch in controller.switches.values()
        }
        return {
            "status": self.status,
            **self._role,
            "now": rfc3339(epoch, "seconds"),
            "version": __version__,
            "network": controller.network.name,
            "reasons": [self._shown(reason, now, epoch) for reason in self._worst()[:MAX_REASONS]],
            "more_reasons": max(0, len(self._reasons) - MAX_REASONS),
            "switches": switches,
        }

    def _worst(self) -> list[Reason]:
        """The worst first: by severity, those of which there may be many last, and the latest first."""
        return sorted(
            self._reasons,
            key=lambda each: (each.severity is not Severity.CRITICAL, each.is_one_of_many, -self._since[each.key]),
        )

    def _shown(self, reason: Reason, now: float, epoch: float) -> dict[str, Any]:
        """What is to be expected in the first seconds is not critical in these."""
        severity = Severity.WARNING if self.status == "starting" else reason.severity
        return {
            "code": reason.code,
            "severity": severity.value,
            "subject": reason.subject._asdict() | ({"group": reason.group} if reason.group else {}),
            "since": self._time(reason, now, epoch),
            "detail": reason.detail,
            "effect": reason.effect,
        }

    def _time(self, reason: Reason, now: float, epoch: float) -> str:
        return rfc3339(epoch - now + self._since[reason.key], "seconds")

    def _repairs(self, switch: ManagedSwitch, now: float) -> dict[str, object]:
        """How many rules were repaired since the controller's start, and how long ago the last one; empty if none."""
        repaired = self._counters.repairs[switch.name].total()
        ago = {} if switch.repaired_at is None else {"last_repair_s": round(now - switch.repaired_at, 1)}
        return {"repaired": repaired, **ago} if repaired else {}

    def pop_change(self, now: float) -> Reported | None:
        """That the status differs from the last one that was told, for ``STEADY_S``; it counts as told then."""
        if self.status == self._told or now - self._status_since < STEADY_S:
            return None
        self._told = self.status
        return HealthChanged(self.status, len(self._reasons), tuple(each.sentence for each in self._worst()[:TOLD]))


def missing_switches(controller: Controller, connected: Collection[str] | None = None) -> list[str]:
    """The names of the switches that are not connected.  ``connected``: see ``Health.update``."""
    if connected is None:
        return [switch.name for switch in controller.switches.values() if not switch.synchronised]
    return [switch.name for switch in controller.switches.values() if switch.name not in connected]


class ConnectionReports:
    """Events: which switches are not connected, at doubling intervals; and once, that all are."""

    def __init__(self, switches: int, now: float) -> None:
        self._switches = switches
        self._pause = REPORT_S
        self._due = now + REPORT_S
        self._complete = False

    def pop_due(self, missing: Sequence[str], now: float) -> Reported | None:
        """The event that is due now; it counts as told.  To be called about once a second.

        ``missing``: switches that are not connected.
        """
        if not missing:
            was, self._complete = self._complete, True
            return None if was else SwitchesComplete(self._switches)
        if self._complete:
            self._complete, self._pause, self._due = False, REPORT_S, now + REPORT_S
        if now < self._due:
            return None
        self._pause = min(2 * self._pause, LONGEST_REPORT_S)
        self._due = now + self._pause
        return SwitchesMissing(tuple(missing))
