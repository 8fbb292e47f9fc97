"""HealthWatch: looks at what is wrong, once a second and when somebody asks, and reports what has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.controller_events import StoreFailed, StoreRecovered
from anycast_sdn.core.events import Event
from anycast_sdn.views.cluster import ClusterState
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.health import ConnectionReports, Health, missing_switches
from anycast_sdn.views.reasons import Session
from anycast_sdn.views.trends import Trends


class HealthWatch:
    def __init__(
        self,
        controller: Controller,
        counters: Counters,
        trends: Trends,
        sessions: Callable[[], Iterable[Session]],
        followed: Callable[[], Collection[str] | None],
        cluster_state: Callable[[], ClusterState | None],
        database_problem: Callable[[], str],
        log_problem: Callable[[float], str],
        report: Callable[[Event], None],
    ) -> None:
        """``sessions``: of BGP; ``followed``: see ``AnycastApp``; ``database_problem``, ``log_problem``: why enrolments
        cannot be stored, or bindings logged, now; "" when they can.
        """
        self._controller = controller
        self._trends = trends
        self._sessions = sessions
        self._followed = followed
        self._cluster_state = cluster_state
        self._database_problem = database_problem
        self._log_problem = log_problem
        self._report = report
        self._health = Health(counters)
        self._told_problem = ""
        self._reports = ConnectionReports(len(controller.network.switches), time.monotonic())

    def look(self) -> None:
        """Report which switches are not connected, changes of health, and whether enrolments can be stored."""
        now = time.monotonic()
        self._trends.sample(self._controller, now)
        self._look_at_health(now)
        missing = missing_switches(self._controller, self._followed())
        for event in (self._reports.pop_due(missing, now), self._health.pop_change(now), self._pop_store_event()):
            if event:
                self._report(event)

    def _pop_store_event(self) -> Event | None:
        """That enrolments cannot be stored any more, or for another reason; or can be again."""
        problem, before = self._database_problem(), self._told_problem
        self._told_problem = problem
        if problem == before:
            return None
        return StoreFailed(problem) if problem else StoreRecovered()

    @property
    def status(self) -> str:
        """Of health, as it was looked at last."""
        return self._health.status

    def health(self, now: float) -> dict[str, Any]:
        """As of now."""
        self._look_at_health(now)
        return self._health.view(self._controller, now, time.time())

    def _look_at_health(self, now: float) -> None:
        log, cluster, problem = self._log_problem(now), self._cluster_state(), self._database_problem()
        self._health.update(self._controller, self._sessions(), now, problem, log, cluster, self._followed())
