"""The browser that these tests use, and the double behind the page."""

from __future__ import annotations

from collections.abc import Callable

from fixture_server import FixtureServer
from watched import Watched


def test_a_page_reads_the_double_and_is_told_of_events(
    fixture: FixtureServer, open_page: Callable[..., Watched]
) -> None:
    watched = open_page(f"{fixture.url}/healthz")
    page = watched.page
    assert page.evaluate("fetch('/v1/groups').then(r => r.json()).then(a => a.groups.length)") == 3
    page.evaluate(
        """() => { window.seen = []; const stream = new EventSource('/v1/events');
        stream.addEventListener('link.up', e => window.seen.push(JSON.parse(e.data).message));
        return new Promise(done => stream.onopen = done) }"""
    )
    fixture.rest.emit("link.up", "info", "link", "c2:1-c3:2", "it is back")
    watched.until("window.seen.length == 1 && window.seen[0] == 'it is back'", "the event is seen")
