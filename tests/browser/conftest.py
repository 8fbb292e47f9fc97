"""Chromium without a screen, and pages whose errors fail their tests.

The browser is the distribution's; where it has none, Playwright's own (mininet/install brings either).  Without one
these tests are skipped, and the reason is shown; where CI=true, they fail.

Pictures are kept in .screenshots/, which git ignores.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixture_server import FixtureServer, serving
from playwright.sync_api import Browser, Error, sync_playwright
from watched import Watched, watched

SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"
# The page must not reach for anything; nor should the browser, by itself.
OPTIONS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def _executable() -> str | None:
    """Debian's Chromium, or None for Playwright's own."""
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


@pytest.fixture(scope="module")  # not longer: while it runs, no other test may have an event loop of asyncio
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=_executable(), args=OPTIONS)
        except Error as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no browser: {error.message}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens pages; at the end of the test, none of them may have met an error or asked a foreign host."""
    pages: list[Watched] = []

    def make(url: str, *size: tuple[int, int], **options: Any) -> Watched:
        pages.append(watched(browser, url, *size, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.context.close()
    for page in pages:
        page.check()


@pytest.fixture
def fixture() -> Iterator[FixtureServer]:
    """A network with alarms."""
    with serving() as server:
        yield server


@pytest.fixture
def picture() -> Callable[[Watched, str], None]:
    """Keeps a picture of a page as .screenshots/NAME.png."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(page: Watched, name: str) -> None:
        page.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return take
