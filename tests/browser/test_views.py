"""Every view in every state and at every size: no error, no foreign request, nothing too wide or cut off."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from fixture_server import FixtureServer, serving
from rest_double import MARKUP
from watched import Watched

VIEWS = ("overview", "map", "services", "flows", "sites", "events", "who")
SIZES = {"phone": (390, 844), "tablet": (1024, 768), "laptop": (1440, 900), "desk": (1920, 1080)}
Open = Callable[..., Watched]
Picture = Callable[[Watched, str], None]


def every_view(page: Watched, picture: Picture, name: str) -> None:
    for view in VIEWS:
        page.open_view(view)
        picture(page, f"{name}-{view}")
        assert not page.misfits(), (name, view, page.misfits())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", ["trouble", "well", "empty"])
def test_every_view_fits(case: str, size: str, open_page: Open, picture: Picture) -> None:
    scheme = "dark" if size in ("desk", "phone") else "light"
    with serving(case) as server:
        page = open_page(f"{server.url}/ui", SIZES[size], color_scheme=scheme)
        every_view(page, picture, f"{case}-{size}")


@pytest.mark.parametrize("size", ["phone", "laptop"])
def test_what_is_not_there_yet_is_grey(size: str, fixture: FixtureServer, open_page: Open, picture: Picture) -> None:
    with fixture.held():
        page = open_page(f"{fixture.url}/ui/", SIZES[size])
        page.page.wait_for_selector("main .skeleton")
        for view in VIEWS[:6]:
            page.page.evaluate("name => { location.hash = '#' + name }", view)
            assert not page.misfits()
        picture(page, f"loading-{size}")


@pytest.mark.parametrize("size", SIZES)
def test_without_a_connection_all_stays_and_the_banner_says_so(
    size: str, fixture: FixtureServer, open_page: Open, picture: Picture
) -> None:
    page = open_page(f"{fixture.url}/ui/#services", SIZES[size])
    page.page.wait_for_selector(".servers")
    fixture.lose()
    page.page.wait_for_selector("#banner:not([hidden])", timeout=10_000)
    assert "switches go on forwarding" in page.text("#banner")
    assert "10.23.0.11" in page.text()
    assert "stale" in page.text("#state")
    picture(page, f"offline-{size}")
    assert not page.misfits()


@pytest.mark.parametrize("size", SIZES)
def test_an_error_of_one_resource_is_said_and_the_rest_goes_on(
    size: str, fixture: FixtureServer, open_page: Open, picture: Picture
) -> None:
    fixture.failing = "/v1/topology"
    page = open_page("about:blank", SIZES[size])
    page.may_fail = fixture.failing
    page.page.goto(f"{fixture.url}/ui/#sites")
    page.page.wait_for_selector("#banner:not([hidden])")
    assert "/v1/topology: 500" in page.text("#banner")
    every_view(page, picture, f"error-{size}")


def test_texts_of_others_appear_as_texts(open_page: Open) -> None:
    with serving("markup") as server:
        page = open_page(f"{server.url}/ui/#overview")
        for view in VIEWS:
            page.open_view(view)
            if view == "services":
                assert page.text().count(MARKUP) > 5
            assert page.page.evaluate("document.querySelectorAll('main img, main b b').length") == 0
        server.rest.emit("link.down", "critical", "link", MARKUP, MARKUP)
        page.open_view("events")
        page.page.wait_for_selector(f"text={MARKUP}")
        assert page.page.evaluate("window.attacked") is None


def test_who_had_an_address_is_asked_for_a_time_or_how_long_ago_it_is(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#who")
    page.page.fill("input[name=translated]", "203.0.113.7")
    page.page.fill("input[name=at]", "5m")
    page.page.keyboard.press("Enter")
    page.until("location.hash.includes('at=')", "it is asked")
    asked = page.page.evaluate("Date.parse(new URLSearchParams(location.hash.split('?')[1]).get('at'))")
    assert abs(time.time() - 300 - asked / 1000) < 120


@pytest.mark.parametrize("size", SIZES)
def test_a_long_output_of_a_check_widens_nothing(size: str, open_page: Open) -> None:
    with serving() as server:
        for group in server.rest.groups:
            for each in group["servers"]:
                for check in each["health"]["checks"]:
                    check["output"] = "A" * 300
        address = server.rest.groups[0]["servers"][0]["address"]
        page = open_page(f"{server.url}/ui/#map/server/{address}", SIZES[size])
        page.page.wait_for_selector("dd:has-text('AAAA') >> nth=0")
        assert not page.misfits()
        page.open_view("services")
        assert not page.misfits()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme: str, fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/", color_scheme=scheme)
    for view in VIEWS:
        page.open_view(view)
        if view == "flows":
            page.page.locator("[data-flow]").first.click()
            page.page.wait_for_selector(".decision h2")
        found = Axe().run(page.page)
        assert not found.response["violations"], (view, found.generate_report())
