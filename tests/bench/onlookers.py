"""Those who look at a controller: the page in a browser, a scraper of metrics, listeners of the event stream.

    onlookers.py URL VIEW

Ten listeners, two of them for events of flows, and one more that never reads; a scrape every 5 s as Prometheus makes
it; Chromium with the page at VIEW.  Says ``ready`` when all are there.  At SIGTERM it ends, and says what it has seen.
"""

from __future__ import annotations

import http.client
import json
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Error, sync_playwright

SCRAPED_S = 5.0
LISTENERS = 10
OF_FLOWS = 2  # of the listeners
_ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
_BROWSER = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Onlookers:
    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).hostname or "", urlsplit(url).port or 80
        self.scrapes: list[float] = []  # how long each took, ms
        self.requests = 0  # of the page
        self.failures: list[str] = []
        self.events = 0
        self.of_flows = 0
        self.ended = 0  # streams
        self._deaf = self._stream("/v1/events?type=flow")  # never read

    def scrape(self) -> None:
        due = time.monotonic()
        while True:
            began = time.perf_counter()
            connection = http.client.HTTPConnection(*self._place, timeout=10)
            connection.request("GET", "/metrics", headers={"Accept": _ACCEPT})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                self.failures.append(f"scrape: {answer.status}")
            self.scrapes.append(1e3 * (time.perf_counter() - began))
            connection.close()
            due += SCRAPED_S
            time.sleep(max(0.0, due - time.monotonic()))

    def listen(self) -> None:
        poll = selectors.DefaultSelector()
        for number in range(LISTENERS):
            of_flows = number < OF_FLOWS
            stream = self._stream("/v1/events" + ("?type=flow" if of_flows else ""))
            poll.register(stream, selectors.EVENT_READ, of_flows)
        while poll.get_map():
            for key, _ in poll.select():
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                chunk = stream.recv(1 << 16)
                self.events += chunk.count(b"\ndata:") + chunk.startswith(b"data:")
                if key.data:
                    self.of_flows += chunk.count(b'"flow.')
                if not chunk:
                    self.ended += 1
                    poll.unregister(stream)

    def _stream(self, path: str) -> socket.socket:
        stream = socket.create_connection(self._place, timeout=10)
        host, port = self._place
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        return stream

    def asked(self, response: Any) -> None:
        self.requests += 1
        if response.status >= 400 and not response.url.endswith(("/v1/health", "/healthz")):
            self.failures.append(f"{response.url}: {response.status}")

    def seen(self) -> dict[str, Any]:
        return {"scrapes_ms": [round(each, 1) for each in self.scrapes], "requests": self.requests,
                "events": self.events, "of_flows": self.of_flows, "ended": self.ended,
                "failures": self.failures[:10]}  # fmt: skip


def main() -> None:
    url, view = sys.argv[1:]
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    onlookers = Onlookers(url)
    with sync_playwright() as playwright:
        executable = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=executable, args=_BROWSER, handle_sigterm=False)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("response", onlookers.asked)
        page.on("pageerror", lambda error: onlookers.failures.append(str(error)))
        page.goto(f"{url}/ui/#{view}")
        page.wait_for_selector(f"main[data-view='{view}']")
        for act in (onlookers.scrape, onlookers.listen):
            threading.Thread(target=act, daemon=True).start()
        print("ready", flush=True)
        try:
            while not ends.is_set():
                page.wait_for_timeout(100)
            browser.close()
        except Error:  # the browser has had the signal, too
            pass
    print(json.dumps(onlookers.seen()), flush=True)


if __name__ == "__main__":
    main()
