"""Metrics, as Prometheus reads them: ``METRICS`` has a row for each, which is also its row of docs/metrics.md.

The rules this file keeps:

- Names follow Prometheus' conventions: base units, ``_total`` where only sums make sense; a test checks it.
- Labels are bounded by the network file and by what operators enrol: no flow, client or PR1X is in any of them.
- What is read is what the controller counts anyway: nothing is kept for it here.
- In a cluster each figure is shown once (``By``): sums over all members are right, whoever is the master of what.
- Whoever takes the values of one row may pause between two of them, so a row does not iterate over what changes.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

from prometheus_client.core import CounterMetricFamily as CounterFamily
from prometheus_client.core import GaugeMetricFamily as GaugeFamily
from prometheus_client.core import HistogramMetricFamily as HistogramFamily
from prometheus_client.core import InfoMetricFamily as InfoFamily
from prometheus_client.core import SummaryMetricFamily as SummaryFamily

from anycast_sdn import __version__
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Fault
from anycast_sdn.core.flow_events import EndedBy
from anycast_sdn.core.histogram import Histogram
from anycast_sdn.core.model import Address
from anycast_sdn.core.slots import Spread
from anycast_sdn.views.counters import INCIDENTS, OF_FLOWS, together
from anycast_sdn.views.scrape import Scrape
from anycast_sdn.views.servers import effective_weights

PREFIX = "anycast_sdn_"
MOST_ANNOUNCED = 2000  # series of prefixes and edges
STATUSES = ("ok", "starting", "degraded")

# Each has ``add_metric``, with different arguments.
Family: TypeAlias = CounterFamily | GaugeFamily | HistogramFamily | InfoFamily | SummaryFamily
Value: TypeAlias = tuple[Sequence[str], Any]  # the labels, and what ``add_metric`` takes


# ------------------------------------------------------------------------------ the process


def _build_info(scrape: Scrape) -> Iterator[Value]:
    yield (), {"version": __version__, "network": scrape.controller.network.name, "python": platform.python_version()}


def _health_status(scrape: Scrape) -> Iterator[Value]:
    return (((status,), int(status == scrape.process.status)) for status in STATUSES)


def _events(scrape: Scrape) -> Iterator[Value]:
    return ((labels, count) for labels, count in sorted(scrape.process.events.items()))


def _log_up(scrape: Scrape) -> Iterator[Value]:
    if log := scrape.process.binding_log:
        yield (), int(log.is_written)


def _log_missing(scrape: Scrape) -> Iterator[Value]:
    if log := scrape.process.binding_log:
        yield (), log.missing


def _members(scrape: Scrape) -> Iterator[Value]:
    if state := scrape.process.cluster:
        yield (), len(state.seen.members)


def _leads(scrape: Scrape) -> Iterator[Value]:
    if state := scrape.process.cluster:
        yield (), int(state.leads)


def _masters(scrape: Scrape) -> Iterator[Value]:
    if state := scrape.process.cluster:
        yield (), state.masters


def _etcd_up(scrape: Scrape) -> Iterator[Value]:
    if state := scrape.process.cluster:
        yield (), int(not state.problem)


def _takeovers(scrape: Scrape) -> Iterator[Value]:
    if state := scrape.process.cluster:
        yield (), state.takeovers


def _requests(scrape: Scrape) -> Iterator[Value]:
    counted = sorted(scrape.process.requests.items())
    return (((method, resource, str(status)), count) for (method, resource, status), count in counted)


def _stalls(scrape: Scrape) -> Iterator[Value]:
    yield (), _of_histogram(scrape.process.stalls)


def _waiting(scrape: Scrape) -> Iterator[Value]:
    return (((switch.name,), scrape.process.waiting.get(switch.name, 0)) for switch in scrape.clients)


# ------------------------------------------------------------------------------ the network


def _switch_up(scrape: Scrape) -> Iterator[Value]:
    followed = scrape.process.followed
    for switch in scrape.switches:
        yield (switch.name,), int(switch.synchronised if followed is None else switch.name in followed)


def _switch_rules(scrape: Scrape) -> Iterator[Value]:
    for switch in scrape.switches:
        if statistics := scrape.statistics.get(switch.name):
            yield (switch.name, "bindings"), statistics.rules
        elif scrape.decides and not switch.described.client_edge:
            yield (switch.name, "bindings"), 0
        if scrape.decides:
            yield (switch.name, "other"), len(switch.installed)


def _switch_groups(scrape: Scrape) -> Iterator[Value]:
    return (((switch.name,), len(switch.installed.groups)) for switch in scrape.switches)


def _repaired(scrape: Scrape) -> Iterator[Value]:
    for switch in scrape.switches:
        repairs = scrape.process.counters.own(switch.name).repairs
        for fault in Fault:
            yield (switch.name, fault.value), repairs.get(fault.value, 0)


def _incidents(scrape: Scrape) -> Iterator[Value]:
    for switch in scrape.switches:
        counted = scrape.process.counters.own(switch.name).drops
        for name in sorted(INCIDENTS):
            yield (switch.name, name), counted.get(name, 0)


def _links(scrape: Scrape) -> list[tuple[str, dict[str, Any]]]:
    discovery = scrape.controller.discovery
    views = [dict[str, Any](discovery.view(watched, scrape.now)) for watched in discovery.watched()]
    return [("-".join(view["ends"]), view) for view in views]


def _link_up(scrape: Scrape) -> Iterator[Value]:
    return (((name,), int(view["up"])) for name, view in _links(scrape))


def _link_cost(scrape: Scrape) -> Iterator[Value]:
    return (((name,), view["cost"]) for name, view in _links(scrape))


def _reroutes(scrape: Scrape) -> Iterator[Value]:
    yield (), _of_histogram(scrape.controller.reroutes.seconds)


def _bgp(scrape: Scrape) -> Iterator[Value]:
    sessions = scrape.process.sessions
    return (((each.uplink, each.neighbour), int(each.state == "established")) for each in sessions)


def _announced(scrape: Scrape) -> Iterator[Value]:
    left = MOST_ANNOUNCED
    for group in scrape.groups:
        for prefix in group.prefixes:
            for edge in sorted(scrape.controller.announcements.announcers_of(prefix)):
                if left := left - 1:
                    yield (str(prefix), edge, group.name), 1
                else:
                    return


# ------------------------------------------------------------------------------ client edges


def _bindings(scrape: Scrape) -> Iterator[Value]:
    for switch in scrape.clients:
        flows = switch.engine.flows
        yield (switch.name, "pinned"), flows.pinned()
        yield (switch.name, "unanswered"), len(flows) - flows.pinned()


def _opened(scrape: Scrape) -> Iterator[Value]:
    return (((name,), statistics.opened) for name, statistics in scrape.statistics.items())


def _closed(scrape: Scrape) -> Iterator[Value]:
    for name, statistics in scrape.statistics.items():
        yield from (((name, reason.value), statistics.closed.get(reason, 0)) for reason in EndedBy)


def _pools(scrape: Scrape) -> Iterator[Value]:
    for name, statistics in scrape.statistics.items():
        for family, use in statistics.pools.items():
            yield (name, family, "leased"), use.leased
            yield (name, family, "resting"), use.resting
            yield (name, family, "free"), use.free


def _ranges(scrape: Scrape) -> Iterator[Value]:
    for name, statistics in scrape.statistics.items():
        yield from (((name, family), use.size) for family, use in statistics.ranges.items())


def _range_refused(scrape: Scrape) -> Iterator[Value]:
    for name, statistics in scrape.statistics.items():
        yield from (((name, family), use.refused) for family, use in statistics.ranges.items())


def _dropped(scrape: Scrape) -> Iterator[Value]:
    for switch in scrape.switches:
        # What alerts are about is there from the beginning: rates are of counters that have been 0.
        always = OF_FLOWS if switch.described.client_edge else ()
        by_controller = scrape.process.counters.own(switch.name).drops
        counted = together(dict.fromkeys(always, 0), switch.dropped if scrape.decides else {}, by_controller)
        for reason, packets in sorted(counted.items()):
            if reason not in INCIDENTS:
                yield (switch.name, reason), packets


def _first_packets(scrape: Scrape) -> Iterator[Value]:
    known = scrape.process.first_packets
    return (((switch.name,), _of_histogram(known.get(switch.name, Histogram()))) for switch in scrape.clients)


def _first_replies(scrape: Scrape) -> Iterator[Value]:
    for group in scrape.groups:
        for switch in scrape.clients:
            if known := switch.engine.first_replies.of_groups.get(group.name):
                yield (group.name, switch.name), _of_histogram(known.seconds)


def _unanswered(scrape: Scrape) -> Iterator[Value]:
    for group in scrape.groups:
        for switch in scrape.clients:
            if known := switch.engine.first_replies.of_groups.get(group.name):
                yield (group.name, switch.name), known.unanswered


def _refused(scrape: Scrape) -> Iterator[Value]:
    for group in scrape.groups:
        for switch in scrape.clients:
            if known := switch.engine.first_replies.of_groups.get(group.name):
                yield (group.name, switch.name), known.refused


def _of_histogram(histogram: Histogram) -> Any:
    """As ``HistogramMetricFamily.add_metric`` takes it: (buckets, sum)."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum


# ------------------------------------------------------------------------------ servers


def _server_up(scrape: Scrape) -> Iterator[Value]:
    health = scrape.controller.health
    for labels, group, server, switch in scrape.servers:
        is_there = switch is not None and switch.neighbours.get(server.address) is not None
        fails = health.status(group, server.address) is HealthStatus.CRITICAL
        yield labels, int(is_there and not fails)


def _server_flows(scrape: Scrape) -> Iterator[Value]:
    flows: dict[str, Counter[Address]] = {}
    if not (scrape.decides or scrape.clients):
        return
    for labels, group, server, _ in scrape.servers:
        if group not in flows:
            flows[group] = Counter()
            for switch in scrape.clients:
                flows[group].update(switch.engine.flows.in_group(group))
                scrape.turn()
        yield labels, flows[group].get(server.address, 0)


def _server_weight(scrape: Scrape) -> Iterator[Value]:
    selecting = scrape.controller.selecting
    effective: dict[Spread, Mapping[Address, float]] = {}
    for labels, group, server, _ in scrape.servers:
        spread = Spread(group, len(server.address) == 16)
        if spread not in effective:
            selection = selecting.selection(spread)
            effective[spread] = effective_weights(selection, selecting.candidates_of(spread)) if selection else {}
            scrape.turn()
        yield (*labels, "configured"), server.weight
        yield (*labels, "effective"), effective[spread].get(server.address, 0.0)


def _server_load(scrape: Scrape) -> Iterator[Value]:
    for labels, group, server, _ in scrape.servers:
        report = scrape.controller.selecting.report(group, server.address)
        load = None if report is None or report.is_stale(scrape.now) else report.load(server.capacity)
        if load is not None:
            yield labels, load


def _server_replies(scrape: Scrape) -> Iterator[Value]:
    """As ``SummaryMetricFamily.add_metric`` takes it: (count, sum)."""
    for labels, group, server, _ in scrape.servers:
        if known := scrape.controller.reply_times.of_servers.get(group, {}).get(server.address):
            yield labels, (known.answered, known.seconds)


def _server_refused(scrape: Scrape) -> Iterator[Value]:
    for labels, group, server, _ in scrape.servers:
        if known := scrape.controller.reply_times.of_servers.get(group, {}).get(server.address):
            yield labels, known.refused


def _server_unanswered(scrape: Scrape) -> Iterator[Value]:
    for labels, group, server, _ in scrape.servers:
        if known := scrape.controller.reply_times.of_servers.get(group, {}).get(server.address):
            yield labels, known.unanswered


# ------------------------------------------------------------------------------ the table


class By(Enum):
    """Which members of a cluster show a row, and of what."""

    MEMBER = "each member, of itself"
    LEADER = "the leader"
    MASTER = "the master of the switch"
    SUM = "each member, its part of it"  # the sum is the whole


class Metric(NamedTuple):
    """A row.  ``name``: without the prefix, and without the suffix that its type has."""

    name: str
    type: type[Family]
    labels: Sequence[str]
    help: str
    values: Callable[[Scrape], Iterable[Value]]
    by: By

    def values_of(self, scrape: Scrape) -> Iterable[Value]:
        return self.values(scrape) if scrape.decides or self.by is not By.LEADER else ()

    @property
    def shown_name(self) -> str:
        return PREFIX + self.name + _SUFFIXES.get(self.type, "")


_SUFFIXES: Mapping[type[Family], str] = {CounterFamily: "_total", InfoFamily: "_info"}
_OF_SERVER = ("group", "server", "edge")
_PART = "Of it, as the decision has shared new flows among servers."

METRICS: Mapping[str, Sequence[Metric]] = {
    "The controller": (
        Metric("build", InfoFamily, (), "The running version, and the network that it controls.",
               _build_info, By.MEMBER),
        Metric("health", GaugeFamily, ("status",), "1: /healthz has this status.", _health_status, By.MEMBER),
        Metric("events", CounterFamily, ("type", "severity"), "What operators are told of, see docs/events.md.",
               _events, By.MEMBER),
        Metric("rest_requests", CounterFamily, ("method", "resource", "status"),
               "Requests to REST and to the dashboard that were answered.", _requests, By.MEMBER),
        Metric("binding_log_up", GaugeFamily, (), "1: the binding log can be written. Only with --binding-log.",
               _log_up, By.MEMBER),
        Metric("binding_log_missing_records", CounterFamily, (),
               "Records that the binding log could not take. Only with --binding-log.", _log_missing, By.MEMBER),
        Metric("cluster_members", GaugeFamily, (), "Members of the cluster, this one included. Only with --etcd.",
               _members, By.MEMBER),
        Metric("cluster_leads", GaugeFamily, (), "1: this member leads. Only with --etcd.", _leads, By.MEMBER),
        Metric("cluster_masters", GaugeFamily, (),
               "Switches whose master this member is, as etcd has it. Only with --etcd.", _masters, By.MEMBER),
        Metric("cluster_etcd_up", GaugeFamily, (),
               "1: this member reads etcd, which takes changes. Only with --etcd.", _etcd_up, By.MEMBER),
        Metric("cluster_takeovers", CounterFamily, (),
               "How often this member has begun to lead after another one. Only with --etcd.", _takeovers, By.MEMBER),
        Metric("backlog_packets", GaugeFamily, ("edge",), "First packets and first replies that wait to be served.",
               _waiting, By.MASTER),
        Metric("hub_stall_seconds", HistogramFamily, (),
               "By how much the controller was late, looked at every 5 ms: no work should hold it for 0.02.",
               _stalls, By.MEMBER),
    ),
    "The network": (
        Metric("switch_up", GaugeFamily, ("switch",), "1: connected, and it has the rules that it should have.",
               _switch_up, By.MEMBER),
        Metric("switch_rules", GaugeFamily, ("switch", "kind"),
               "Rules that the switch holds: of bindings, or other ones.", _switch_rules, By.SUM),
        Metric("switch_groups", GaugeFamily, ("switch",), "Groups of OpenFlow that the switch holds.",
               _switch_groups, By.LEADER),
        Metric("switch_rules_repaired", CounterFamily, ("switch", "fault"),
               "Rules that others had changed, and that were put right.", _repaired, By.SUM),
        Metric("switch_incidents", CounterFamily, ("switch", "incident"),
               "What has happened at the switch besides drops, see docs/counters.md.", _incidents, By.SUM),
        Metric("link_up", GaugeFamily, ("link",), "1: packets use it.", _link_up, By.LEADER),
        Metric("link_cost", GaugeFamily, ("link",), "Its cost.", _link_cost, By.LEADER),
        Metric("reroute_seconds", HistogramFamily, (),
               "From a change of links until switches have confirmed all routes that follow from it.",
               _reroutes, By.LEADER),
        Metric("bgp_session_up", GaugeFamily, ("uplink", "neighbour"), "1: established.", _bgp, By.MEMBER),
        Metric("announced", GaugeFamily, ("prefix", "edge", "group"),
               f"1: the edge announces this service prefix. {MOST_ANNOUNCED} of them are shown at most.",
               _announced, By.LEADER),
    ),
    "Client edges": (
        Metric("bindings", GaugeFamily, ("edge", "state"), "Bindings: flows, or clients as a whole.",
               _bindings, By.MASTER),
        Metric("bindings_opened", CounterFamily, ("edge",), "Bindings that have begun with a packet.",
               _opened, By.MASTER),
        Metric("bindings_closed", CounterFamily, ("edge", "reason"), "Bindings that have ended.", _closed, By.MASTER),
        Metric("pool_addresses", GaugeFamily, ("edge", "family", "state"),
               "Translation addresses, PR1X: leased, resting after a lease, or free.", _pools, By.MASTER),
        Metric("range_addresses", GaugeFamily, ("edge", "family"),
               "Translation addresses out of which a switch chooses by itself (allocation: switch).",
               _ranges, By.MASTER),
        Metric("range_refused_packets", CounterFamily, ("edge", "family"),
               "Packets of new flows for which the switch found no address and port, or no room in its tracker.",
               _range_refused, By.MASTER),
        Metric("dropped_packets", CounterFamily, ("edge", "reason"),
               "Packets dropped by rules of a switch or by the controller, see docs/counters.md.", _dropped, By.SUM),
        Metric("first_packet_seconds", HistogramFamily, ("edge",),
               "From the arrival of a new flow's first packet at the controller until its answer is on its way.",
               _first_packets, By.MASTER),
        Metric("first_reply_seconds", HistogramFamily, ("group", "edge"),
               "From the first packet of a new flow to the first reply of a server, seen at the client edge.",
               _first_replies, By.MASTER),
        Metric("unanswered", CounterFamily, ("group", "edge"), "New flows that had no reply within 3 s.",
               _unanswered, By.MASTER),
        Metric("refused", CounterFamily, ("group", "edge"),
               "New flows that a server has refused, by a TCP RST or an ICMP error.", _refused, By.MASTER),
    ),
    "Servers": (
        Metric("server_up", GaugeFamily, _OF_SERVER, "1: it answers ARP or ND, and its checks do not fail.",
               _server_up, By.LEADER),
        Metric("server_flows", GaugeFamily, _OF_SERVER, "Flows of the group that are pinned to it.",
               _server_flows, By.SUM),
        Metric("server_weight", GaugeFamily, (*_OF_SERVER, "kind"),
               "As it was configured, and as it is in effect: 0 while it takes no new flows.",
               _server_weight, By.LEADER),
        Metric("server_load", GaugeFamily, _OF_SERVER, "As last reported, 0 to 1; missing where nothing is.",
               _server_load, By.LEADER),
        Metric("server_first_reply_seconds", SummaryFamily, _OF_SERVER,
               "Time to its first reply to new flows, seen at client edges.", _server_replies, By.LEADER),
        Metric("server_refused", CounterFamily, _OF_SERVER, "New flows that it has refused.",
               _server_refused, By.LEADER),
        Metric("server_unanswered", CounterFamily, _OF_SERVER,
               "Its part of the new flows without a reply within 3 s, by its share of new flows: an estimate.",
               _server_unanswered, By.LEADER),
    ),
}  # fmt: skip


def as_markdown() -> str:
    """The tables of docs/metrics.md."""
    return "\n".join(_section(title, rows) for title, rows in METRICS.items())


def _section(title: str, rows: Iterable[Metric]) -> str:
    lines = [f"## {title}", "", "| metric | type | labels | what | in a cluster |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        kind = row.type.__name__.removesuffix("MetricFamily").lower()
        lines.append(f"| `{row.shown_name}` | {kind} | {labels} | {row.help} | {row.by.value} |")
    return "\n".join(lines) + "\n"
