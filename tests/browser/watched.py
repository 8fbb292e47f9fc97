"""A page that is watched: errors of its scripts, what it asks other hosts for, what does not fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

# Chromium itself writes these lines when a request fails, which tests bring about.
_OF_THE_BROWSER = ("Failed to load resource", "net::ERR_")

# Elements that are wider than the window, whose text is cut off without an ellipsis, that scroll sideways, or
# whose state is neither true nor false.
_MISFITS = """() => {
  const found = [], width = document.documentElement.clientWidth;
  const all = document.documentElement.scrollWidth;
  if (all > width) found.push(`the page is ${all} wide`);
  for (const e of document.querySelectorAll('main *, header *, nav *')) {
    const style = getComputedStyle(e);
    if (e.closest('svg') || style.clipPath !== 'none' || !e.textContent.trim()) continue;
    const clips = style.overflowX === 'hidden' && style.textOverflow !== 'ellipsis' && !e.closest('.sr');
    const cut = clips && e.scrollWidth > e.clientWidth + 1;
    if (cut) found.push(`cut: ${e.tagName} ${e.className} ${e.textContent.slice(0, 60)}`);
  }
  for (const state of ['expanded', 'pressed', 'busy']) {
    if (document.querySelector(`[aria-${state}=""]`)) found.push(`aria-${state} is neither true nor false`);
  }
  for (const e of document.querySelectorAll('main .scrolls')) {
    if (e.scrollWidth > e.clientWidth + 1) found.push(`scrolls sideways: ${e.textContent.trim().slice(0, 60)}`);
  }
  return found;
}"""


class Watched:
    """``page`` and what went wrong in it."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.failed: list[str] = []  # resources at which the controller failed
        self.may_fail = ""  # one of these at which it should
        self._hosts = {urlsplit(url).netloc}
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(text in message.text for text in _OF_THE_BROWSER):
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        split = urlsplit(request.url)
        if request.is_navigation_request():
            self._hosts.add(split.netloc)
        if split.scheme not in ("data", "blob") and split.netloc not in self._hosts:
            self.foreign.append(request.url)

    def _answered(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if response.status == 500 and path != self.may_fail:
            self.failed.append(path)

    def until(self, expression: str, what: str, timeout_s: float = 15.0) -> None:
        """Returns when the expression is true there; Playwright's own way needs what the page's policy forbids."""
        deadline = time.monotonic() + timeout_s
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"not after {timeout_s} s: {what}"
            self.page.wait_for_timeout(20)

    def until_later(self, condition: Callable[[], bool], what: str, most_s: int = 30) -> None:
        """As ``until``, in a page whose clock stands still: lets half a second of it pass at a time."""
        deadline = time.monotonic() + most_s
        while not condition():
            assert time.monotonic() < deadline, f"not after {most_s} s: {what}"
            self.page.clock.run_for(500)
            self.page.wait_for_timeout(20)

    def open_view(self, name: str) -> None:
        """The page shows this view."""
        self.page.evaluate("name => { location.hash = '#' + name }", name)
        self.until(f"document.querySelector('main').dataset.view == '{name.partition('/')[0].partition('?')[0]}'", name)

    def text(self, selector: str = "main") -> str:
        return self.page.locator(selector).inner_text()

    def misfits(self) -> list[str]:
        return list(self.page.evaluate(_MISFITS))

    def check(self) -> None:
        assert not self.errors, self.errors
        assert not self.foreign, self.foreign
        assert not self.failed, self.failed


def watched(
    browser: Browser, url: str, size: tuple[int, int] = (1440, 900), clock: bool = False, **options: Any
) -> Watched:
    """Opens ``url`` in a context of its own.  ``clock``: the page's time can be moved (``page.clock``)."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    page = Watched(context, context.new_page(), url)
    page.page.set_default_timeout(15_000)
    if clock:
        page.page.clock.install()
    page.page.goto(url)
    return page
