"""The connection with the controller: lost and found again, and with a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fixture_server import FixtureServer
from test_controls import answered
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


def member(name: str, **more: Any) -> dict[str, Any]:
    told = {"id": f"{name}-1", "release": "1.0", "rest": "", "peer": "", "since": "2026-01-01T00:00:00Z"}
    return {"name": name, **told, "leads": False, "draining": False, "reached": True, "switches": ["arh1"], **more}


def test_the_overview_has_the_controllers_and_forgets_a_lost_one_when_that_was_asked_twice(
    fixture: FixtureServer, open_page: Open
) -> None:
    obeys = {"generation": 9, "claims": []}
    fixture.rest.cluster |= {
        "mode": "cluster", "member": "m1", "leader": "m0", "incomplete": ["m2"],
        "members": [member("m0", leads=True), member("m1", reached=False)],
        "switches": [
            {"switch": "arh1", "master": "m0", "obeys": "m0", **obeys},
            {"switch": "arh2", "master": "m0", "obeys": "m1", **obeys},
        ],
    }  # fmt: skip
    page = open_page(f"{fixture.url}/ui/")
    asked = answered(page, "**/v1/cluster/members/m2/forget", status=204)
    page.page.wait_for_selector(".members tr:has-text('m2') .status:has-text('missing')")
    shown = page.page.inner_text(".members")
    assert "m0 leads, as m1 sees it" in shown
    assert "not heard" in shown
    assert "arh2 (m1; etcd: m0)" in shown
    page.page.get_by_role("button", name="Forget m2").click()
    page.page.wait_for_selector(".members .confirm")
    assert not asked
    page.page.get_by_role("button", name="Forget m2").click()
    page.page.wait_for_selector(".members:has-text('m2 is forgotten')")
    assert asked == [("POST", None)]
    fixture.rest.scopes = ["read"]
    page.page.reload()
    page.page.wait_for_selector(".members tr:has-text('m2')")
    assert not page.page.get_by_role("button", name="Forget m2").count()
