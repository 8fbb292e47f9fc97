"""``status`` and ``why``: what is printed of what a controller answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from anycast_sdn.cli import main
from anycast_sdn.cli.tables import table
from anycast_sdn.cli.terminal import with_words_styled
from anycast_sdn.views.cluster import ALONE, cluster_view
from tests.unit.command_line import serving
from tests.unit.views.test_cluster import NAMES, STATE

LINK = {"ends": ["c2:1", "c3:2"], "cost": 1, "up": True, "state": "up", "declared": True}
POOL = {"size": 510, "leased": 371, "resting": 52, "free": 87, "level": "plenty", "used_up_in_s": None,
        "trend_per_min": 3.6, "exhausted_in_s": 1440.0}  # fmt: skip
SITE = {"name": "arh1", "roles": ["client edge"], "connected": True, "pools": {"ipv4": POOL}, "bindings": 3,
        "drops": {"no_route": 7}, "drops_per_s": {"no_route": 4.2, "looped": 0}, "buckets": {},
        "hosts": [{"address": "10.1.0.10", "mac": "", "port": 1}]}  # fmt: skip
TOTALS = {"servers": 3, "critical": 1, "warning": 0, "unknown": 0, "passing": 2, "inactive": 1, "flows": 64,
          "load": 0.5, "highest_load": 0.91}  # fmt: skip
WEB = TOTALS | {"name": "web", "prefixes": ["198.18.0.1/32"], "affinity": "flow", "families": ["ipv4"],
                "edges": [TOTALS | {"edge": "ars1"}, TOTALS | {"edge": "ars3"}]}  # fmt: skip
DOWN = {"code": "link.down", "severity": "critical", "subject": {"kind": "link", "name": "c2:1-c3:2"},
        "since": "2026-11-25T20:31:00Z", "detail": "Link c2:1–c3:2 is down: port c2:1 is down.",
        "effect": "c2 and c3 reach each other by other links, at cost 5."}  # fmt: skip
HEALTH = {"status": "degraded", "now": "2026-11-25T20:45:00Z", "version": "1.0.0", "network": "ring",
          "reasons": [DOWN], "more_reasons": 0, "switches": {}}  # fmt: skip
ANSWERS: Mapping[str, Any] = {
    "/v1/health": HEALTH,
    "/v1/topology": {
        "switches": [{"name": "arh1", "connected": True}, {"name": "c2", "connected": False}],
        "links": [LINK, LINK | {"ends": ["c1:1", "c2:2"], "up": False}],
        "catchment": {"198.18.0.1/32": {"arh1": "ars1"}, "2001:db8:a::1/128": {"arh1": None}},
    },
    "/v1/services": {"services": [WEB]},
    "/v1/edges": {
        "edges": [SITE, SITE | {"name": "ars1", "pools": {}, "hosts": [], "drops_per_s": {},
                                "buckets": {"198.18.0.1/32": [{"server": "10.21.0.10", "edge": "ars1", "share": 1}]}}]
    },
    "/v1/flows": {"flows": [], "next": None, "summary": {"pinned": 1832, "unanswered": 9, "pool_exhausted": 0}},
    "/v1/history": {"step_s": 60, "end": None, "series": {"opened_per_s": [47.0], "first_reply_p95_ms": [None],
                                                          "unanswered_share": [0.27]}},
    "/v1/cluster": ALONE,
}  # fmt: skip


class Controller:
    """Answers by path, and notes what it was asked."""

    def __init__(self, **changes: Any) -> None:
        self.answers = {**ANSWERS, **changes}
        self.asked: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked.append(f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.answers[environ["PATH_INFO"]]).encode()]


def printed(capsys: pytest.CaptureFixture[str], controller: Controller, *words: str) -> str:
    with serving(controller) as address:
        assert main.main([*words, "--rest", address]) == 0
    return capsys.readouterr().out


def test_the_status_is_one_screen_with_reasons_parts_and_pools(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, Controller(), "status")
    first, *lines = shown.splitlines()
    assert first.startswith("network ring, controller 1.0.0 at http://127.0.0.1:")
    assert lines[:9] == [
        "degraded: 1 critical",
        "  critical  Link c2:1–c3:2 is down: port c2:1 is down. (14 min)",
        "            c2 and c3 reach each other by other links, at cost 5.",
        "",
        "switches  1 of 2 connected; not: c2",
        "links     1 of 2 up; down: c1:1–c2:2",
        "servers   3 enrolled in 1 group: 2 passing, 1 critical, 1 inactive",
        "flows     1,832 pinned, 9 unanswered, 47.0 new/s, 0.27 % without an answer",
        "drops     4.2/s no_route at arh1",
    ]
    assert "arh1 IPv4  83%        371       52  plenty  about 24 min" in lines
    assert "web    198.18.0.1/32  ars1, ars3        3  1 critical  50%, up to 91%     64" in lines
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in shown


@pytest.mark.parametrize(("level", "shown"), [("plenty", ""), ("low", "about 11 s"), ("exhausted", "")])
def test_a_burst_of_seconds_tells_nothing_of_a_pool_with_plenty(
    level: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = POOL | {"level": level, "used_up_in_s": 11.2, "exhausted_in_s": None}
    controller = Controller(**{"/v1/edges": {"edges": [SITE | {"pools": {"ipv4": pool}}]}})
    (line,) = [line for line in printed(capsys, controller, "status").splitlines() if line.startswith("arh1 IPv4")]
    assert line.partition(level)[2].strip() == shown


def test_the_status_of_a_network_that_is_well_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    controller = Controller(**{"/v1/health": HEALTH | {"status": "ok", "reasons": []}})
    assert printed(capsys, controller, "status").splitlines()[1] == "ok: all is well"
    whole = json.loads(printed(capsys, controller, "status", "--json"))
    assert whole["health"]["status"] == "ok"


def test_of_several_controllers_it_says_who_leads_and_how_the_switches_are_shared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = cluster_view(STATE, NAMES)
    shown = printed(capsys, Controller(**{"/v1/cluster": cluster}), "status").splitlines()
    assert "members   m0, m1; m1 leads" in shown
    cluster |= {"shared": True, "incomplete": ["m2"]}
    shown = printed(capsys, Controller(**{"/v1/cluster": cluster}), "status").splitlines()
    at = shown.index("members   m0, m1; m1 leads; missing, or not reached: m2; switches are shared: 0 by m0, 1 by m1")
    assert shown[at + 1].startswith("switches ")


def test_of_many_reasons_some_are_shown_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    many = {"/v1/health": HEALTH | {"reasons": [DOWN] * 12, "more_reasons": 88}}
    lines = printed(capsys, Controller(**many), "status").splitlines()
    assert sum(line.startswith("  critical  ") for line in lines) == 2
    assert lines.count(f"            {DOWN['effect']}") == 1
    names = "c2:1-c3:2, " * 5 + "c2:1-c3:2 and 4 more"
    assert " ".join(line.strip() for line in lines[5:7]) == f"and 10 more link.down: {names}"
    assert lines[7] == "  and 88 more"


def test_words_of_health_are_coloured_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "10.23.0.11  critical  not-critical  1 warning, of 2 passing"
    assert with_words_styled(words) == words
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = with_words_styled(words)
    assert shown == "10.23.0.11  \x1b[1;31mcritical\x1b[0m  not-critical  1 warning, of 2 \x1b[32mpassing\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert with_words_styled(words) == words


FLOW = {"number": 17, "edge": "arh1", "state": "pinned", "group": "web", "client": "10.1.0.10", "client_port": 41428,
        "service": "198.18.0.1", "service_port": 443, "protocol": "tcp", "translated": "203.0.113.7",
        "translated_port": 0, "server": "10.21.0.10", "since": "2026-11-25T20:36:12.000Z", "validity_s": 300,
        "idle": ""}  # fmt: skip
CANDIDATE = {"server": "10.21.0.10", "edge": "ars1", "cost": 0.0, "share": 1.0, "weight": 10, "health": "passing",
             "sessions": 5, "capacity": None, "load": 0.58, "limit": None, "factor": 1, "excluded": None,
             "why_not": ""}  # fmt: skip
OTHER = CANDIDATE | {"server": "10.23.0.11", "edge": "ars3", "cost": 4.0, "share": 0.0, "health": "critical",
                     "load": None, "excluded": "critical", "why_not": "its health is critical"}  # fmt: skip
DECISION = {
    "at": "2026-11-25T20:30:00.000Z", "edge": "ars1", "answered": "10.21.0.10", "first_packet_to": "10.21.0.10",
    "first_reply_ms": 2.75, "handed_over": False, "repins": [], "distances": {"ars1": 2, "ars3": 6},
    "candidates": [CANDIDATE, OTHER],
}  # fmt: skip


def decided(**changes: Any) -> Controller:
    one = {"/v1/flows/arh1/17": FLOW | {"decision": {**DECISION, **changes}}}
    return Controller(**one, **{"/v1/flows": {"flows": [FLOW], "next": None, "summary": {}}})


def test_why_shows_the_decision_of_a_flow_with_all_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    controller = decided()
    lines = printed(capsys, controller, "why", "10.1.0.10:41428").splitlines()
    assert controller.asked[0] == "/v1/flows?client=10.1.0.10&order=newest&limit=1000&q=10.1.0.10%3A41428"
    assert lines[:6] == [
        "10.1.0.10:41428 → 198.18.0.1:443/tcp, group web, is served by 10.21.0.10",
        "  flow arh1/17 since 2026-11-25T20:36:12.000Z; it may be idle for 300 s",
        "  on the wire  10.1.0.10 → 198.18.0.1 becomes 203.0.113.7 → 10.21.0.10",
        "  by distance  arh1 reaches ars1 at cost 2 (ars3: 6)",
        "  first packet to 10.21.0.10",
        "  answered by  10.21.0.10 after 2.75 ms",
    ]
    assert lines[-2].split() == ["10.21.0.10", "ars1", "0", "passing", "10", "58%", "100%", "has", "the", "flow"]
    assert lines[-1].split() == ["10.23.0.11", "ars3", "4", "critical", "10", "0%", "its", "health", "is", "critical"]
    assert max(map(len, lines)) <= 100


def test_why_tells_of_servers_that_the_flow_has_lost(capsys: pytest.CaptureFixture[str]) -> None:
    repin = {"at": "2026-11-25T20:40:00Z", "from": "10.23.0.11", "to": "10.21.0.10", "reason": "the server was lost"}
    shown = printed(capsys, decided(repins=[repin], first_packet_to=None), "why", "arh1/17")
    assert "answered by  10.23.0.11 after 2.75 ms\n" in shown
    assert "bound anew at 2026-11-25T20:40:00Z: 10.23.0.11 → 10.21.0.10, because the server was lost" in shown


def test_why_says_where_new_flows_of_a_client_without_any_would_go(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Controller(), "why", "10.1.0.10").splitlines()
    assert lines[0] == "10.1.0.10 has no flow now. New flows of 10.1.0.10, behind arh1, would go:"
    assert [line.split() for line in lines[4:]] == [["198.18.0.1/32", "ars1", "10.21.0.10", "100%"]]
    with serving(Controller()) as address:
        assert main.main(["why", "10.9.9.9", "--rest", address]) == 1
    assert "10.9.9.9 has no flow, and no edge knows a host with this address" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["h1", "10.1.0.300", "10.1.0.10:99999", "[10.1.0.10", "/17", "arh1/x", ""])
def test_what_is_no_client_and_no_flow_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["why", word])
    assert ended.value.code == 2
    assert "is no client and no flow" in capsys.readouterr().err


def test_tables_are_as_wide_as_a_page_as_far_as_words_allow() -> None:
    rows = [{"name": "a", "number": 5, "words": "some words " * 20, "lines": "one\ntwo"},
            {"name": "b" * 30, "number": 12345, "words": "", "lines": ""}]  # fmt: skip
    lines = table(rows).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[2].startswith("a" + " " * 36 + "5  some words")
    assert [line.split()[-1] for line in lines[2:4]] == ["one", "two"]
    assert " ".join(lines[2:-1]).count("some") == 20
    (_, _, word) = table([{"word": "w" * 150}]).splitlines()
    assert word == "w" * 150
