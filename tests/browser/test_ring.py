"""The page over topologies/ring.yaml in operation: what it says of a cut, of what if, and of a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from ring import cut, ring
from support import TOPOLOGIES, Running, need_testbed, until
from watched import Watched

Open = Callable[..., Watched]
Picture = Callable[[Watched, str], None]

_PLACES = """() => Array.from(document.querySelectorAll('svg.map [aria-label^=Switch]'),
  (each) => [each.dataset.key, each.getBoundingClientRect().toJSON()])"""
_EVENTS = "() => Array.from(document.querySelectorAll('ul.events li'), (row) => Number(row.dataset.key.split('-')[1]))"
_DIFFERENCE = "() => Array.from(document.querySelectorAll('.difference li'), (row) => row.dataset.key)"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Some flows of both sites are pinned; the binding log is kept."""
    need_testbed()
    folder = tmp_path_factory.mktemp("ring")
    with ring(folder, TOPOLOGIES / "ring.yaml", "--binding-log", str(folder / "bindings.jsonl")) as network:
        for host in ("h1", "h3"):
            network.ask(host, "198.18.0.1", "--flows", 5)
        yield network


def url(network: Running, view: str) -> str:
    return f"http://127.0.0.1:{network.controller.rest_port}/ui/#{view}"


def alarms(page: Watched) -> list[str]:
    return [text for text in page.page.locator(".alarms li").all_inner_texts() if "c2" in text]


@pytest.mark.row("M34", "the page says within seconds that a link is cut, and that it is back")
def test_a_cut_is_one_sentence_one_alarm_one_event_and_moves_no_switch(
    network: Running, open_page: Open, picture: Picture, record_property: Any
) -> None:
    page = open_page(url(network, "overview"), (1440, 900))
    page.page.wait_for_selector("text=All is well")
    picture(page, "ring-well")
    page.open_view("map")
    page.page.wait_for_selector("svg.map [aria-label^='Switch c3']")
    before = page.page.evaluate(_PLACES)
    with cut(network, "c2", 1):
        began = time.monotonic()
        page.page.wait_for_selector("svg.map [aria-label*='c2–c3'][aria-label*='port down']", state="attached")
        record_property("measured", f"the map after {time.monotonic() - began:.1f} s")
        assert page.page.evaluate(_PLACES) == before
        page.open_view("events?about=link")
        page.page.wait_for_selector("ul.events li:has-text('link.down')")
        assert page.text("ul.events").count("link.down") == 1
        page.open_view("overview")
        page.page.wait_for_selector("h1:has-text('c2')")
        page.page.wait_for_selector(".alarms li:has-text('c2')")
        assert len(alarms(page)) == 1
        picture(page, "ring-cut")
    page.open_view("overview")
    until(lambda: not alarms(page), "the alarm is gone", 40)
    page.page.wait_for_selector("text=All is well", timeout=40_000)


def parts(network: Running) -> list[tuple[str, str]]:
    """(kind, name) of all that can be left out."""
    topology = network.call("GET", "/v1/topology")
    servers = sorted(server["address"] for server in network.servers("web"))
    return [
        *(("link", "-".join(link["ends"])) for link in topology["links"]),
        *(("switch", switch["name"]) for switch in topology["switches"]),
        *(("server", address) for address in servers),
    ]


@pytest.mark.row("M24", "what the page and the command line say would be different without a link, switch or server")
def test_what_if_is_the_same_on_the_page_and_on_the_command_line(network: Running, open_page: Open) -> None:
    page = open_page(url(network, "map"))
    for kind, name in parts(network):
        answer = network.call("GET", f"/v1/topology?without={name}")
        said = [f"{row['group']} {row['prefix']} {row['site']}" for row in answer["difference"]]
        page.open_view(f"map/{kind}/{name}")
        page.page.wait_for_selector("[data-key=what-if] p >> visible=true")
        until(lambda said=said: sorted(page.page.evaluate(_DIFFERENCE)) == sorted(said), f"{name}: {said}")
        if name in ("c1:1-c2:2", "c4", "10.21.0.10"):
            words = network.command("topology", "--without", name).stdout
            for row in answer["difference"]:
                line = f"{row['group']} from {row['site']}: {row['from']} → {row['to']} ({row['prefix']})"
                assert line in words or row["from"] == row["to"], words
                assert f"{row['from']} → {row['to']}" in page.text("[data-key=what-if]") or row["from"] == row["to"]


@pytest.mark.parametrize(
    ("without", "cuts"),
    [
        (["c1:1-c2:2"], [("c1", 1)]),
        (["c4"], [("c4", 1), ("c4", 2), ("c4", 10)]),
        (["10.23.0.10", "2001:db8:23::10"], [("ars3", 1)]),
    ],
    ids=["link", "switch", "server"],
)
@pytest.mark.row("M24", "a part that fails changes what was said that it would")
def test_done_for_real_the_catchment_is_what_was_said(
    without: list[str], cuts: list[tuple[str, int]], network: Running
) -> None:
    query = "&".join(f"without={name}" for name in without)
    said = network.call("GET", f"/v1/topology?{query}")["catchment"]
    assert said != network.call("GET", "/v1/topology")["catchment"]
    with ExitStack() as stack:
        for switch, port in cuts:
            stack.enter_context(cut(network, switch, port))
        until(lambda: network.call("GET", "/v1/topology")["catchment"] == said, f"the catchment is {said}", 30)
    until(lambda: all(link["state"] == "up" for link in network.call("GET", "/v1/topology")["links"]), "all is up", 60)
    network.wait_for_servers("web")


@pytest.mark.row("M29", "the page says which server a client has, why, and who had an address")
def test_the_page_says_who_serves_h1_why_and_who_had_its_address(
    network: Running, open_page: Open, picture: Picture
) -> None:
    (flow, *_) = network.flows("client=10.1.0.10&state=pinned")
    page = open_page(url(network, "flows"))
    page.page.fill("input[type=search]", f"10.1.0.10:{flow['client_port']}")
    page.until("document.querySelectorAll('[data-flow]').length == 1", "the flow is found")
    page.page.click("[data-flow]")
    page.page.wait_for_selector("text=has the flow >> nth=0")
    assert flow["server"] in page.text(".outcome")
    assert "10.22.0.10" in page.text(".decision"), "a candidate that did not get it"
    picture(page, "ring-flow")
    page.open_view("services")
    assert flow["server"] in page.text(".servers")
    picture(page, "ring-services")
    page.open_view("sites")
    picture(page, "ring-sites")
    assert page.page.locator("#site-arh1 .gauge").count() == 1
    page.open_view("who")
    page.page.fill("input[name=translated]", flow["translated"])
    page.page.fill("input[name=at]", time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector(".found")
    assert "10.1.0.10" in page.text(".found")
    picture(page, "ring-who")
    page.page.fill("input[name=translated]", "203.0.113.200")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("text=Nobody held 203.0.113.200")
    assert not page.misfits()
    assert page.page.locator("#banner").is_hidden()


@pytest.mark.row("M34", "no event is missed or shown twice when the controller is restarted")
def test_the_page_survives_a_restart_of_the_controller(network: Running, open_page: Open) -> None:
    page = open_page(url(network, "events"))
    page.page.wait_for_selector("ul.events li")
    network.controller.stop()
    page.page.wait_for_selector("#banner:not([hidden])", timeout=10_000)
    assert page.page.locator("ul.events li").count() > 0, "data stay"
    network.controller.start()
    page.page.wait_for_selector("#banner", state="hidden", timeout=40_000)
    network.wait_for_servers("web")

    def agrees() -> bool:
        newest = network.call("GET", "/v1/events?order=newest&limit=100")["events"]
        shown: list[int] = page.page.evaluate(_EVENTS)
        return [event["id"] for event in newest][:20] == shown[:20]

    until(agrees, "the page has the events that the controller has", 20)
