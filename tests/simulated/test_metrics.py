"""Metrics of a network in use, as Prometheus reads them (M34)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

import pytest
from checks import be_silent, checked
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
from scenes import SECOND_SERVICE, SERVICE, ask, group, managed, network, topology

from anycast_sdn.control.share import Share
from anycast_sdn.core.first_replies import WAIT_S
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.histogram import Histogram
from anycast_sdn.core.model import Server
from anycast_sdn.core.roles import Allocation, Conntrack, EngineName
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.exposition import exposition
from anycast_sdn.views.metrics import METRICS, PREFIX, By
from anycast_sdn.views.reasons import Session
from anycast_sdn.views.scrape import BindingLog, Process

OPEN = "application/openmetrics-text; version=1.0.0"
ROWS = [row for rows in METRICS.values() for row in rows]
Labels = dict[str, str]


def scraped(net: SimulatedNetwork, accept: str = "", followed: Collection[str] | None = None) -> str:
    """``followed``: see ``Process``."""
    seconds = Histogram()
    seconds.observe(0.0002)
    process = Process(
        net.counters, "ok", [Session("up1", "198.51.100.2", "established", "")], {"arh1": seconds}, {"arh1": 3},
        seconds, {("GET", "/v1/groups", 200): 7}, {("link.down", "critical"): 2},
        BindingLog(True, 5), followed=followed,
    )  # fmt: skip
    _, pieces = exposition(net.controller, process, accept, net.now, lambda: None)
    return b"".join(pieces).decode()


def families(net: SimulatedNetwork) -> dict[str, Metric]:
    return {family.name: family for family in open_metrics(scraped(net, OPEN))}


def value(net: SimulatedNetwork, name: str, **labels: str) -> float:
    """Of the only sample with this name that has these labels."""
    samples = [sample for family in families(net).values() for sample in family.samples]
    (found,) = [each for each in samples if each.name == PREFIX + name and labels.items() <= each.labels.items()]
    return float(found.value)


@pytest.fixture(scope="module")
def in_use() -> SimulatedNetwork:
    """40 flows of h1 to a server that answers, 10 that nobody answers, and 5 to a service without servers."""
    net = checked()
    for port in range(20000, 20040):
        ask(net, port=port)
    net.advance(WAIT_S)
    be_silent(net.host("as2"))
    for port in range(30000, 30010):
        ask(net, port=port)
    for port in range(5):
        ask(net, service=SECOND_SERVICE[False], port=port)
    net.advance(WAIT_S + 2.5)
    return net


@pytest.mark.parametrize(("accept", "media_type"), [
    ('application/openmetrics-text;version="1.0.0"', OPEN),
    ("application/openmetrics-text;version=1.x", OPEN),
    ("application/openmetrics-text;version=9", OPEN),
    ("application/openmetrics-text;version=2.0.0;escaping=allow-utf-8", OPEN),
    ("text/plain;version=\"1.0", "text/plain; version=0.0.4"),
    ("text/plain;version=<b>", "text/plain; version=0.0.4"),
])  # fmt: skip
def test_a_scraper_that_asks_for_a_version_that_there_is_not_gets_one_that_there_is(
    accept: str, media_type: str, in_use: SimulatedNetwork
) -> None:
    process = Process(in_use.counters, "ok", [], {}, {}, Histogram(), {}, {}, None)
    given, _ = exposition(in_use.controller, process, accept, in_use.now, lambda: None)
    assert given.startswith(media_type)


def test_what_a_switch_that_chooses_addresses_could_not_begin_is_counted() -> None:
    engines, conntrack = (EngineName.CONNTRACK,), Conntrack(Allocation.SWITCH)
    net = network("figure1", "as2", engines=engines, conntrack=conntrack)
    net.switches["arh1"].tracker.limits.update(dict.fromkeys(conntrack.zones, 0))
    ask(net)
    assert value(net, "range_refused_packets_total", edge="arh1", family="ipv4") == 1
    assert value(net, "range_refused_packets_total", edge="arh1", family="ipv6") == 0
    assert value(net, "range_addresses", edge="arh1", family="ipv4") > 200



def test_every_row_has_samples_with_its_labels(in_use: SimulatedNetwork) -> None:
    found = families(in_use)
    missing = [row.name for row in ROWS if PREFIX + row.name not in found]
    alone = [row.name for row in ROWS if row.name.startswith("cluster_")]
    ranges = ["range_addresses", "range_refused_packets"]
    assert missing == [*alone, *ranges, "server_load"], "one controller, which chooses addresses, and no report"
    assert len([name for name in found if name.startswith(PREFIX)]) == len(ROWS) - len(missing)
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= found.keys()
    for row in ROWS:
        for sample in found[PREFIX + row.name].samples if row.name not in missing else ():
            labels = set(sample.labels) - {"le"} - ({"version", "network", "python"} if row.name == "build" else set())
            assert labels == set(row.labels)


def test_values_are_those_of_the_network(in_use: SimulatedNetwork) -> None:
    assert value(in_use, "bindings", edge="arh1", state="pinned") == 40
    assert value(in_use, "bindings_opened_total", edge="arh1") == 50
    assert value(in_use, "first_reply_seconds_count", group="web", edge="arh1") == 40
    assert value(in_use, "unanswered_total", group="web", edge="arh1") == 10
    assert value(in_use, "server_unanswered_total", server="10.2.0.10") == pytest.approx(10)
    assert value(in_use, "server_flows", server="10.2.0.10", edge="ars2") == 40
    assert value(in_use, "server_first_reply_seconds_count", server="10.2.0.10") == 40
    assert value(in_use, "server_weight", server="10.2.0.10", kind="effective") == 1
    assert value(in_use, "dropped_packets_total", edge="arh1", reason="no_service") == 5
    assert value(in_use, "pool_addresses", edge="arh1", family="ipv4", state="leased") > 0
    assert value(in_use, "announced", prefix="198.18.0.1/32", edge="ars3") == 1
    assert value(in_use, "rest_requests_total", method="GET", resource="/v1/groups", status="200") == 7
    assert value(in_use, "binding_log_missing_records_total") == 5
    assert value(in_use, "backlog_packets", edge="arh1") == 3
    assert value(in_use, "switch_up", switch="ars2") == 1


def test_a_binding_that_ends_is_counted_with_its_reason() -> None:
    net = checked()
    ask(net)
    (binding,) = [*net.controller.switches_by_name()[0].engine.flows]
    net.react(net.controller.end_flow("arh1", binding.number, net.now))
    assert value(net, "bindings_closed_total", edge="arh1", reason="operator") == 1


def test_in_a_cluster_each_figure_is_shown_by_one_member(in_use: SimulatedNetwork) -> None:
    """Two of three members: the leader, and one that is the master of arh1."""
    arh1 = managed(in_use, "arh1")
    alone = figures(scraped(in_use, OPEN))
    arh1.share = Share.REST
    leader = figures(scraped(in_use, OPEN))
    arh1.share, arh1._has_flows = Share.FLOWS, True
    master = figures(scraped(in_use, OPEN, followed={"arh1"}))
    arh1._has_flows = False
    follower = figures(scraped(in_use, OPEN, followed={"arh1"}))
    arh1.share = Share.ALL
    for row in ROWS:
        of = PREFIX + row.name
        if row.by in (By.LEADER, By.MASTER):
            assert not leader[of].keys() & master[of].keys()
            assert leader[of] | master[of] == alone[of]
            assert not follower[of]
    counted = [PREFIX + name for name in ("switch_rules", "server_flows")]
    for of in counted:
        assert {each: leader[of].get(each, 0) + master[of].get(each, 0) for each in alone[of]} == alone[of]
        assert not any(follower[of].values())


def figures(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric → sample → its value."""
    found: dict[str, dict[tuple[str, ...], float]] = {PREFIX + row.name: {} for row in ROWS}
    for family in open_metrics(text):
        for sample in family.samples:
            if family.name in found and not sample.name.endswith("_created"):
                found[family.name][sample.name, *sorted(sample.labels.values())] = sample.value
    return found


def test_the_time_until_a_cut_is_routed_around_is_counted() -> None:
    net = checked()
    before = net.controller.reroutes.seconds.total
    link = net.network.links[0]
    net.set_port(link.a, False)
    net.advance(5)
    assert net.controller.reroutes.seconds.total == before + 1
    assert net.controller.reroutes.seconds.sum < 2.5


def test_both_formats_say_the_same(in_use: SimulatedNetwork) -> None:
    def samples(found: Iterable[Metric]) -> list[tuple[str, Labels, float]]:
        return [(each.name, each.labels, each.value) for family in found for each in family.samples]

    ours, others = (samples(found) for found in (plain(scraped(in_use)), open_metrics(scraped(in_use, OPEN))))
    assert ours[:-6] == others[:-6], "what follows is the process itself, as of that moment"
    assert ours[-7][0].startswith(PREFIX)


def test_names_follow_the_conventions(in_use: SimulatedNetwork) -> None:
    """https://prometheus.io/docs/practices/naming/, and OpenMetrics."""
    units = ("seconds", "bytes", "ratio")
    for row in ROWS:
        assert re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", row.name)
        assert not re.search("total|_ms|milli|percent|count$|sum$|bucket$|info$", row.name)
        assert row.help.endswith(".")
        assert all(re.fullmatch("[a-z]+", label) for label in row.labels)
        assert not {"le", "quantile", "job", "instance", "client", "flow", "address"} & set(row.labels)
        if row.type.__name__.startswith(("Histogram", "Summary")):
            assert row.name.endswith(units)
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with the package prometheus")
def test_promtool_finds_nothing_wrong(in_use: SimulatedNetwork) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=scraped(in_use), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_names_of_groups_and_counters_are_escaped() -> None:
    net = checked()
    net.counters.drops["arh1"]['bad "frame"\\\n'] = 1
    assert value(net, "dropped_packets_total", reason='bad "frame"\\\n') == 1


def test_many_servers_are_shown_in_short_pieces() -> None:
    net = topology("figure1")
    enrolled = group(net, "web", SERVICE, "as2")
    (one,) = [server for address, server in enrolled.servers.items() if len(address) == 4]
    addresses = (bytes((10, 2, high, low)) for high in range(1, 11) for low in range(1, 201))
    servers = {address: Server(address) for address in addresses}
    large = SimulatedNetwork(net, Groups({"web": replace(enrolled, servers={one.address: one, **servers})}))
    turns = Counter[str]()
    process = Process(large.counters, "ok")
    _, chunks = exposition(large.controller, process, OPEN, large.now, lambda: turns.update(["turn"]))
    assert b"".join(chunks).count(b"\nanycast_sdn_server_flows{") == 2001
    assert max(chunk.count(b"\n") for chunk in chunks) <= 20 * 15 + 3
    assert turns.total() > 2001 + len(chunks) / 2
