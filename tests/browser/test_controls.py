"""What whoever may change something can do on the map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fixture_server import FixtureServer
from watched import Watched

Open = Callable[..., Watched]


def test_a_server_is_drained_when_that_was_asked_twice(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#map/server/10.21.0.10")
    asked = answered(page, "**/v1/groups/dns/servers/10.21.0.10/drain", status=202)
    drain = page.page.get_by_role("button", name="Drain it in dns")
    drain.click()
    page.until("document.querySelector('.confirm') !== null", "it asks again")
    assert "10.21.0.10 takes no new flows of dns" in page.text()
    assert not asked
    drain.click()
    page.until("document.querySelector('main').textContent.includes('Drain it in dns: done')", "it says so")
    assert asked == [("POST", None)]


def test_the_cost_of_a_link_is_set_and_a_refusal_is_said(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#map/link/c1:1-c2:2")
    asked = answered(page, "**/v1/topology/links/c1*", status=422, json={"detail": "too much for this link"})
    page.page.locator("input[name=cost]").fill("7")
    page.page.get_by_role("button", name="Set until").click()
    page.until("document.querySelector('main').textContent.includes('too much for this link')", "it says why not")
    assert asked == [("PATCH", {"cost": 7})]


def test_whoever_may_only_read_sees_no_way_to_change_anything(fixture: FixtureServer, open_page: Open) -> None:
    fixture.rest.scopes = ["read"]
    page = open_page(f"{fixture.url}/ui/#map/server/10.21.0.10")
    page.until("document.querySelector('[data-action=without]') !== null", "what would be different is shown")
    assert not page.page.locator("[data-action=ask], [data-form=cost]").count()


def answered(page: Watched, url: str, **answer: Any) -> list[tuple[str, Any]]:
    """Requests are answered so → what is asked for, as (method, body)."""
    asked: list[tuple[str, Any]] = []

    def take(route: Any) -> None:
        asked.append((route.request.method, route.request.post_data_json))
        route.fulfill(**({"json": {}} | answer))

    page.page.route(url, take)
    return asked
