"""Parts of the page by themselves, in the browser: what they make of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fixture_server import FixtureServer, serving
from playwright.sync_api import Browser
from watched import Watched, watched


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Watched]:
    with serving("well") as server:
        page = watched(browser, f"{server.url}/ui/")
        yield page
        page.context.close()


def made(page: Watched, module: str, expression: str, *values: Any) -> Any:
    """What an expression of the module's names makes of the values, which are called ``v``."""
    script = f"async (v) => {{ const m = await import('/ui/{module}'); return {expression}; }}"
    return page.page.evaluate(script, list(values))


def alarm(code: str, kind: str, name: str, detail: str, severity: str = "critical") -> dict[str, Any]:
    of = {"severity": severity, "subject": {"kind": kind, "name": name}, "since": "2026-01-01T00:00:00Z"}
    return {"code": code, "detail": detail, "effect": ""} | of


LINK = alarm("link.down", "link", "c1:1-c2:2", "Link c1–c2 is down: port c1:1 has lost its carrier.")
LOST = [alarm("switch.lost", "switch", f"s{n}", f"Switch s{n} has lost the controller.") for n in range(12)]


@pytest.mark.parametrize(
    ("alarms", "title"),
    [
        ([], "All is well."),
        ([LINK], "Link c1–c2 is down."),
        ([LINK, LOST[0]], "Link c1–c2 is down and switch s0 has lost the controller."),
        ([*LOST, LINK], "12 switches have lost the controller and link c1–c2 is down."),
        ([alarm("server.critical", "server", "2001:db8::", "Server 2001:db8:: of web is critical: no answer.")],
         "Server 2001:db8:: of web is critical."),
    ],
)  # fmt: skip
def test_a_sentence_says_what_is_wrong(page: Watched, alarms: list[Any], title: str) -> None:
    health = {"status": "degraded" if alarms else "ok", "reasons": alarms, "more_reasons": 0}
    assert made(page, "alarms.js", "m.sentence(v[0], {parts: '', service: '', empty: false}).title", health) == title


def test_many_alarms_of_a_kind_are_one_line(page: Watched) -> None:
    lines = made(page, "alarms.js", "m.folded(v[0]).map((each) => each.detail)", [*LOST, LINK])
    assert lines == ["12 switches have lost the controller: s0, s1, s2 and 9 more.", LINK["detail"]]


def test_events_are_put_together_wherever_the_network_has_cut_them(page: Watched) -> None:
    text = 'retry: 1000\r\n\r\nid: 7\ndata: {"a":\ndata: "ü: 1"}\n\n: alive\n\nid: 8\nevent: missed\ndata: {}\n\nid: 9'
    script = """[1, 2, 5, 1000].map((size) => {
      const found = [], lines = new m.Lines((fields) => { if (fields.data) found.push(fields); });
      for (let at = 0; at < v[0].length; at += size) lines.add(v[0].slice(at, at + size));
      return found; })"""
    wanted = [{"id": "7", "data": '{"a":\n"ü: 1"}'}, {"id": "8", "event": "missed", "data": "{}"}]
    assert made(page, "stream.js", script, text) == [wanted] * 4


def test_a_template_escapes_whatever_enters_it(page: Watched) -> None:
    evil = "\"><img src=x onerror='1'>&"
    assert made(page, "template.js", "m.html`<p title=\"${v[0]}\">${[v[0]]}</p>`.text", evil).count("<") == 2


def test_focus_and_order_survive_a_change_of_the_rows(page: Watched) -> None:
    script = """(() => {
      const list = document.createElement('div');
      document.body.append(list);
      const row = (name) => m.html`<button data-key="${name}">${name}</button>`;
      const rows = (names) => m.patch(list, m.html`${names.map(row)}`);
      rows(['a', 'b', 'c']);
      const b = list.children[1];
      b.focus();
      rows(['d', 'c', 'b']);
      const found = [[...list.children].map((each) => each.textContent).join(' '), document.activeElement === b];
      list.remove();
      return found; })()"""
    assert made(page, "template.js", script) == ["d c b", True]


def test_nothing_moves_on_the_map_when_a_link_is_cut(page: Watched) -> None:
    def answers(server: FixtureServer) -> tuple[Any, Any]:
        return server.rest.answer("/v1/topology", {}), server.rest.answer("/v1/edges", {})

    script = "[...m.layoutOf(v[0], v[1]).nodes.values()].map((node) => [node.name, node.along, node.across])"
    with serving("well") as well, serving("trouble") as trouble:
        before, after = (made(page, "map/layout.js", script, *answers(server)) for server in (well, trouble))
    assert before == after
    assert len(before) == 11




def test_separators_of_lines_within_an_event_do_not_end_its_line(page: Watched) -> None:
    script = "(() => { const found = []; new m.Lines((fields) => found.push(fields)).add(v[0]); return found; })()"
    text = 'id: 7\ndata: {"a":"one\u2028two\u2029three\u0085"}\n\n'
    assert made(page, "stream.js", script, text) == [{"id": "7", "data": '{"a":"one\u2028two\u2029three\u0085"}'}]


def test_a_long_name_of_a_switch_is_shortened_in_its_middle_on_the_map(page: Watched) -> None:
    names = ["arh1", "exactly-14-chr", "south.very-long-name-of-an-edge-2"]
    assert made(page, "map/geometry.js", "v.map(m.nodeName)", *names) == ["arh1", "exactly-14-chr", "south.v…edge-2"]
    script = """(() => {
      const node = (name, kind, along) => [name, { name, kind, along, across: 0.5 }];
      const nodes = [node(v[0], 'client', 0), node('c1', 'core', 0.5), node(v[0] + 's', 'server', 1)];
      const { at, sites, gap } = m.geometryOf({ nodes: new Map(nodes) }, new Map(), 1000, false);
      const half = m.nodeWidth(v[0], true) / 2;
      return [at.get(v[0]).x - half > sites, half < gap];
    })()"""
    assert made(page, "map/geometry.js", script, names[2]) == [True, True]
