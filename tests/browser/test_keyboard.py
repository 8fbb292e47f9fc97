"""The page by keyboard alone, and what redrawing leaves alone."""

from __future__ import annotations

from collections.abc import Callable

from fixture_server import FixtureServer
from watched import Watched

Open = Callable[..., Watched]
VIEWS = ("overview", "map", "services", "flows", "sites", "events", "who")
FOCUSED = "document.activeElement.textContent.trim()"


def test_digits_open_the_views_and_slash_finds(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/")
    page.open_view("overview")
    for number, view in enumerate(VIEWS, 1):
        page.page.keyboard.press(str(number))
        page.until(f"document.querySelector('main').dataset.view == '{view}'", view)
    page.page.keyboard.press("/")
    page.until("document.activeElement.type == 'search'", "the search field has the focus")
    page.page.keyboard.type("10.1.0.10:41428")
    page.until("document.querySelectorAll('[data-flow]').length == 1", "one flow is left")
    assert page.text(".flow-list").count("10.1.0.10:41428") == 1
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("?")
    assert page.page.locator("#help").is_visible()


def test_j_k_and_enter_go_through_flows(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#flows")
    page.page.wait_for_selector("[data-flow]")
    for key in ("j", "j", "k"):
        page.page.keyboard.press(key)
    second = page.page.locator("[data-flow]").nth(0).get_attribute("data-flow")
    page.until(f"document.activeElement.dataset.flow == '{second}'", "the focus is on a flow")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("text=Why this server")
    page.until(f"document.activeElement.dataset.flow == '{second}'", "the focus has stayed")
    page.page.keyboard.press("Enter")
    page.until("!document.querySelector('.decision')", "the row is closed")


def test_focus_survives_ten_updates(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page("about:blank", clock=True)
    page.page.goto(f"{fixture.url}/ui/#services")
    page.page.wait_for_selector(".servers")
    page.page.locator(".servers a", has_text="10.21.0.11").focus()
    page.page.evaluate("window.focused = document.activeElement")
    for _ in range(10):
        before = page.text()
        fixture.rest.tick()
        page.until_later(lambda before=before: page.text() != before, "the numbers are new")
        assert page.page.evaluate("window.focused === document.activeElement && window.focused.isConnected")
    assert page.page.evaluate(FOCUSED) == "10.21.0.11"


def test_the_list_of_flows_waits_while_the_pointer_is_in_it(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page("about:blank", clock=True)
    page.page.goto(f"{fixture.url}/ui/#flows")
    page.page.locator("[data-flow]").nth(3).hover()
    before = page.text(".flow-list")
    asked = fixture.asked("/v1/flows")
    page.until_later(lambda: fixture.asked("/v1/flows") > asked + 2, "flows were asked for")
    assert page.text(".flow-list") == before
    page.page.mouse.move(2, 2)
    page.until_later(lambda: page.text(".flow-list") != before, "the list goes on")


def test_from_an_alarm_to_the_map_to_what_if_and_back(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/")
    page.page.wait_for_selector(".alarms a")
    page.page.locator(".alarms a", has_text="Link c2–c3").focus()
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("h2:has-text('Link c2–c3')")
    page.page.locator("svg.map [data-name='c2:1-c3:2']").focus()
    for _ in range(3):
        page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("svg.map .selected")
    page.page.keyboard.press("w")
    page.page.wait_for_selector(".what-if:has-text('not the network as it is')")
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector(".what-if", state="detached")
    page.until("!document.querySelector('svg.map .selected')", "nothing is selected")


def test_map_and_table_agree(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#map")
    page.page.wait_for_selector("svg.map [data-kind=switch]")
    named = "document.querySelectorAll('main [data-kind=switch], main [data-kind=link]')"
    names = f"() => Array.from({named}, (each) => each.dataset.name)"
    drawn = page.page.evaluate(names)
    page.page.keyboard.press("t")
    page.page.wait_for_selector("main table .link[data-kind=switch]")
    assert set(drawn) == set(page.page.evaluate(names)) != set()
    assert page.text("main tr[data-key='c2:1-c3:2']").count("port down") == 1
