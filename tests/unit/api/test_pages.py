"""The dashboard's files: found by their names alone, open to everybody, and safe to show in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from webob import Request, Response

from anycast_sdn.api.access import CALLER
from anycast_sdn.api.pages import Pages
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.tokens import NOBODY
from tests.unit.rest_client import Client

FILES = {
    "index.html": b"<!doctype html>",
    "main.js": b"import './map/svg.js';",
    "map/svg.js": b"",
    "style.css": b"p {}",
}
PAGES = Pages(FILES)


def ask(path: str, method: str = "GET", pages: Callable[..., Iterable[bytes]] = PAGES, **fields: str) -> Response:
    request = Request.blank("/", method=method, headers={name.replace("_", "-"): said for name, said in fields.items()})
    request.environ["PATH_INFO"] = path
    return request.get_response(pages)


@pytest.mark.parametrize(
    ("path", "type", "content"),
    [
        ("/ui/", "text/html", FILES["index.html"]),
        ("/ui/index.html", "text/html", FILES["index.html"]),
        ("/ui/main.js", "text/javascript", FILES["main.js"]),
        ("/ui/map/svg.js", "text/javascript", b""),
        ("/ui/style.css", "text/css", FILES["style.css"]),
    ],
)
def test_a_file_is_served_with_its_type_for_this_origin_alone(path: str, type: str, content: bytes) -> None:
    response = ask(path)
    assert (response.status_code, response.content_type, response.body) == (200, type, content)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_head_says_how_long_the_file_is() -> None:
    response = ask("/ui/main.js", "HEAD")
    assert (response.status_code, response.content_length, response.body) == (200, len(FILES["main.js"]), b"")


def test_a_browser_that_has_the_file_is_told_so() -> None:
    tag = ask("/ui/main.js").headers["ETag"]
    for given in (tag, f'"other", W/{tag}', "*"):
        response = ask("/ui/main.js", If_None_Match=given)
        assert (response.status_code, response.body, response.headers["ETag"]) == (304, b"", tag)
    assert ask("/ui/main.js", If_None_Match='"other"').status_code == 200
    assert ask("/ui/style.css").headers["ETag"] != tag


def test_the_root_leads_to_the_page_behind_any_prefix_of_a_proxy() -> None:
    said: list[Any] = []
    for path in ("/", "/ui"):
        PAGES({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda *given: said.append(given))
    assert [(status, dict(headers)["Location"]) for status, headers in said] == [("302 Found", "ui/")] * 2


@pytest.mark.parametrize(
    "path", ["/ui/../setup.cfg", "/ui/..%2fsetup.cfg", "/ui//index.html", "/ui/map", "/ui/map/", "/ui/\0", "/ui/é"]
)
def test_no_path_leads_elsewhere(path: str) -> None:
    with pytest.raises(Problem) as refusal:
        ask(path)
    assert refusal.value.status == 404


def test_pages_are_only_read() -> None:
    with pytest.raises(Problem) as refusal:
        ask("/ui/", "POST")
    assert (refusal.value.status, refusal.value.headers) == (405, {"Allow": "HEAD, GET"})


def test_pages_are_counted_by_what_they_were_answered_and_by_no_method_that_there_is_not() -> None:
    client = Client(":memory:")
    client.ask("GET", "/ui")
    client.refused(405, "BREW", "/ui/")
    client.refused(404, "GET", "/ui/nothing.js")
    assert client.facts.answers == [("GET", "/ui", 302), ("other", "other", 405), ("other", "other", 404)]


def test_pages_are_open_and_what_they_ask_for_is_not() -> None:
    client = Client(":memory:")
    nobody: dict[str, Any] = {CALLER: NOBODY}
    assert client.ask("GET", "/", **nobody).status_code == 302
    assert client.ask("GET", "/v1/events", **nobody).status_code == 401
    assert client.refused(404, "GET", "/ui/nothing.js", **nobody)["detail"] == "the dashboard has no such file"
