"""The connection with the controller: lost and found again, and with a token."""

from __future__ import annotations

from collections.abc import Callable

from fixture_server import FixtureServer
from watched import Watched

Open = Callable[..., Watched]


def messages(page: Watched) -> list[str]:
    return [text for text in page.text("ul.events").splitlines() if "number" in text]


def test_no_event_is_missed_or_doubled_when_the_controller_was_away(fixture: FixtureServer, open_page: Open) -> None:
    page = open_page(f"{fixture.url}/ui/#events")
    page.open_view("events")
    fixture.rest.emit("rules.repaired", "info", "switch", "c1", "number 1")
    page.page.wait_for_selector("text=number 1")
    fixture.lose()
    page.page.wait_for_selector("#banner:not([hidden])", timeout=10_000)
    for number in (2, 3, 4):
        fixture.rest.emit("rules.repaired", "info", "switch", "c1", f"number {number}")
    assert "number 1" in page.text()
    fixture.lost = False
    page.page.wait_for_selector("text=number 4")
    page.page.wait_for_selector("#banner", state="hidden")
    fixture.rest.emit("rules.repaired", "info", "switch", "c1", "number 5")
    page.page.wait_for_selector("text=number 5")
    assert [text[-1] for text in messages(page)] == ["5", "4", "3", "2", "1"]


def test_a_token_is_asked_for_kept_for_the_tab_and_sent(fixture: FixtureServer, open_page: Open) -> None:
    fixture.token = "secret-of-this-test"
    page = open_page(f"{fixture.url}/ui/#services")
    page.page.fill("input[name=token]", "wrong")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("main .critical")
    page.page.fill("input[name=token]", "“quoted”")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("main .critical:has-text('not a token')")
    page.page.fill("input[name=token]", f" {fixture.token} ")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector(".servers")
    page.page.reload()
    page.page.wait_for_selector(".servers")
    assert page.page.evaluate("localStorage.length") == 0
    assert not any(fixture.token in path for _, path in fixture.requests)


def test_of_several_controllers_the_page_says_which_one_answers_and_who_leads(
    fixture: FixtureServer, open_page: Open
) -> None:
    fixture.rest.cluster |= {"mode": "cluster", "member": "m1", "leader": "m0"}
    page = open_page(f"{fixture.url}/ui/")
    page.page.wait_for_selector("#member:text-is('m1 (m0 leads)')")
    fixture.rest.cluster |= {"leader": None}
    fixture.rest.emit("member.lost", "warning", "member", "m0", "member m0 is lost")
    page.page.wait_for_selector("#member:text-is('m1 (no member leads)')")
