"""ControllerViews: what the REST API shows of a running controller, as of the time of the request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.control.share import Share
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import Address, AnycastGroup, NotFound, Server
from anycast_sdn.core.times import moment_of, rfc3339
from anycast_sdn.description.model import Port
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.examining import examine
from anycast_sdn.store.bindings.records import ANOTHER_LED
from anycast_sdn.views import decisions, flows, switch_reports, switches, topology
from anycast_sdn.views.cluster import ALONE, cluster_view
from anycast_sdn.views.exposition import exposition
from anycast_sdn.views.flow_sample import FlowSample
from anycast_sdn.views.flows import Before, FlowFilter, FlowView, Place
from anycast_sdn.views.journal import Journal
from anycast_sdn.views.replies import reply_views
from anycast_sdn.views.scrape import BindingLog, Process
from anycast_sdn.views.servers import ServerViews
from anycast_sdn.views.services import ServiceViews

ENDED_AT_ONCE = 64  # flows: some milliseconds


class ControllerViews:
    """Implements ``rest.Views``."""

    def __init__(self, app: AnycastApp) -> None:
        self._app = app
        self._controller = app.controller
        self._servers = ServerViews(app.controller)
        self._services = ServiceViews(app.controller)
        self._answers: Counter[tuple[str, str, int]] = Counter()  # of REST: method, resource, status

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        return flows.flows_after(self._controller, wanted, after, limit, time.monotonic(), time.time())

    def newest_flows(self, wanted: FlowFilter, before: Before, limit: int) -> tuple[list[FlowView], Before | None]:
        return flows.newest_flows(self._controller, wanted, before, limit, time.monotonic(), time.time())

    def flow(self, edge: str, number: int) -> FlowView:
        return flows.flow_view(self._controller, edge, number, time.monotonic(), time.time())

    def decision(self, edge: str, number: int) -> dict[str, Any] | None:
        return decisions.decision_of(self._controller, edge, number, time.monotonic(), time.time())

    def held(self, translated: Address, at: str, port: int | None) -> dict[str, Any]:
        log = self._app.binding_log
        if log is None:
            raise NotFound("no binding log is written: the controller was started without --binding-log")
        epoch = moment_of(at, time.time())
        found = log.who(translated, epoch, port)
        if log.resting_since is not None and epoch >= log.resting_since:
            since = rfc3339(log.resting_since)
            found["gaps"].append({"from": since, "to": rfc3339(epoch), "reason": ANOTHER_LED, "missing": None})
        others = self._app.succession.others_leading(epoch)
        return {"at": rfc3339(epoch)} | found | {"retention_days": log.days, "incomplete": others}

    def end_flows(self, wanted: FlowFilter, after: Place) -> tuple[int, Place | None]:
        found, place = self.flows(wanted, after, ENDED_AT_ONCE)
        self._app.end_flows((view.edge, view.number) for view in found)
        return len(found), place

    def end_flow(self, edge: str, number: int) -> None:
        self.flow(edge, number)
        self._app.end_flows([(edge, number)])

    def masters_not_known(self) -> list[str]:
        state = self._app.cluster_state()
        masters = state.seen.masters if state else {}
        return sorted({
            state.seen.name(masters[dpid].member)
            for dpid, switch in self._controller.switches.items()
            if state and switch.described.client_edge and dpid in masters and masters[dpid].member != state.own
            and not (switch.share is Share.REST and switch.knows_flows)
        })  # fmt: skip

    def flow_summary(self) -> dict[str, Any]:
        return flows.flow_summary(self._controller, self._app.counters)

    def switches(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        self._app.inspections.wait_until_fresh(self._app.connections.channels)
        app = self._app
        return switches.edge_views(self._controller, app.counters, app.trends, time.monotonic(), turn)

    def switch(self, name: str, turn: Callable[[], None]) -> dict[str, Any]:
        shown, channels = self._controller.switch(name), self._app.connections.channels
        this = {dpid: channel for dpid, channel in channels.items() if shown and shown.dpid == dpid}
        self._app.inspections.wait_until_fresh(this)
        app = self._app
        return switches.edge_view(self._controller, app.counters, app.trends, name, time.monotonic(), turn)

    def switch_reports(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        return switch_reports.switch_reports(self._controller, self._app.connections.channels, time.monotonic(), turn)

    def switch_report(self, name: str) -> dict[str, Any]:
        channels = self._app.connections.channels
        return switch_reports.switch_report(self._controller, channels, name, time.monotonic())

    def examine(self, name: str) -> dict[str, Any]:
        examine(self._controller, self._app.connections, name)
        return self.switch_report(name)

    def topology(self, without: Sequence[str], groups: Sequence[str], turn: Callable[[], None]) -> dict[str, Any]:
        sessions = self._app.bgp.views()  # as of now: they may change while the rest is computed
        shown = topology.topology_view(self._controller, without, time.monotonic(), turn, groups)
        return shown | {"bgp": sessions}

    def link(self, end: Port) -> dict[str, Any]:
        return topology.link_view(self._controller, end, time.monotonic())

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        self._app.set_cost(end, cost)
        return topology.link_view(self._controller, end, time.monotonic())

    @property
    def flow_sample(self) -> FlowSample:
        return self._app.streamed_flows.shown

    @property
    def journal(self) -> Journal:
        return self._app.journal

    def silent_members(self) -> list[str]:
        state = self._app.cluster_state()
        return state.telling_nothing if state else []

    def replies(self, group: str | None, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        return reply_views(self._controller, group, time.monotonic(), turn)

    def note_answer(self, method: str, resource: str, status: int) -> None:
        self._answers[method, resource, status] += 1

    def metrics(self, accept: str, turn: Callable[[], None]) -> tuple[str, list[bytes]]:
        app, waiting = self._app, self._app.first_packets.waiting
        names = {dpid: switch.name for dpid, switch in self._controller.switches.items()}
        process = Process(
            app.counters, app.health_watch.status, app.bgp.states(),
            {names[dpid]: each.seconds for dpid, each in waiting.items()},
            {names[dpid]: len(each) for dpid, each in waiting.items()}, app.gauge.stalls.late, self._answers,
            app.counters.events, BindingLog(not log.problem, log.missing) if (log := app.binding_log) else None,
            app.cluster_state(), app.followed(),
        )  # fmt: skip
        return exposition(self._controller, process, accept, time.monotonic(), turn)

    def history(self, last_s: int, step_s: int, turn: Callable[[], None]) -> dict[str, Any]:
        ahead = time.time() - time.monotonic()
        return self._app.history.view(last_s, step_s, lambda when: when + ahead, turn)

    def health(self) -> dict[str, Any]:
        now = time.monotonic()
        return self._app.health(now) | {"hub": self._app.gauge.stalls.view(now)}

    def cluster(self) -> dict[str, Any]:
        state = self._app.cluster_state()
        names = {dpid: switch.name for dpid, switch in self._controller.switches.items()}
        return cluster_view(state, names) if state else dict(ALONE)

    def services(self, turn: Callable[[], None]) -> list[dict[str, Any]]:
        return self._services.all(time.monotonic(), turn)

    def worst_first(self, group: AnycastGroup, turn: Callable[[], None]) -> list[tuple[int, Server]]:
        return self._services.worst_first(group, turn)

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        return self._servers.view(group_name, address, time.monotonic(), time.time())

    def report_load(self, address: Address, report: LoadReport, counts_in: Callable[[str], bool]) -> None:
        self._controller.selecting.reported(address, report, time.monotonic(), counts_in)

    def report_checks(self, group_name: str, address: Address, results: Sequence[Reported]) -> None:
        self._controller.health.report(group_name, address, results, time.monotonic())
