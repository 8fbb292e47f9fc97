"""Pause stops all change; paper has tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fixture_server import FixtureServer
from watched import Watched

Open = Callable[..., Watched]

_WATCH = """() => {
  window.changes = 0;
  new MutationObserver((list) => { window.changes += list.length; }).observe(
    document.querySelector('main'), { subtree: true, childList: true, attributes: true, characterData: true });
}"""


@pytest.mark.parametrize("view", ["overview", "services", "events"])
def test_pause_stops_all_change(view: str, fixture: FixtureServer, open_page: Open) -> None:
    page = open_page("about:blank", clock=True)
    page.page.goto(f"{fixture.url}/ui/#{view}")
    page.open_view(view)
    page.page.click("#pause")
    page.until("document.querySelector('#pause').getAttribute('aria-pressed') == 'true'", "paused")
    page.page.clock.run_for(100)
    page.page.evaluate(_WATCH)
    asked = len(fixture.requests)
    fixture.rest.tick()
    fixture.rest.emit("link.up", "info", "link", "c1:1-c2:2", "it is back")
    page.page.clock.run_for(10_000)
    page.page.wait_for_timeout(100)
    assert page.page.evaluate("window.changes") == 0
    assert len(fixture.requests) <= asked + 1, "a request may have been on its way"
    page.page.click("#pause")
    page.until_later(lambda: page.page.evaluate("window.changes") > 0, "it goes on")


def test_events_that_wait_are_counted(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#events")
    page.page.click("text=Hold")
    before = page.text("ul.events")
    for number in range(3):
        fixture.rest.emit("rules.repaired", "info", "switch", "c1", f"number {number}")
    page.page.wait_for_selector("text=Go on: 3 new")
    assert page.text("ul.events") == before
    page.page.click("text=Go on: 3 new")
    page.page.wait_for_selector("text=number 2")


def test_a_flood_of_events_is_counted_by_type(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#events")
    page.open_view("events")
    for number in range(300):
        fixture.rest.emit("server.health", "warning", "server", f"10.0.0.{number % 250}", f"number {number}")
    page.page.wait_for_selector("text=/\\d+ server.health in this second/")
    assert page.page.locator("ul.events li").count() < 130


def test_paper_has_the_table_of_the_map(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#map")
    page.page.wait_for_selector("svg.map [data-kind=switch]")
    page.page.emulate_media(media="print")
    page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.until("[...document.querySelectorAll('main table')].length > 1", "tables")
    assert "port down" in page.text()
    assert not page.page.locator("nav").is_visible()
    page.page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.page.wait_for_selector("svg.map [data-kind=switch]", state="attached")
