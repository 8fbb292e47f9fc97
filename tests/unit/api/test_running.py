"""Many clients of a running controller at the same time: they wait for operations, and change the same server."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from anycast_sdn.process.lifecycle import MOST_WAITING
from tests.unit.running import Controller, running

SERVER = "/v1/groups/web/servers/10.2.0.10"
EDGE = "/v1/edges/ars2"


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    with running(Path(tmp_path_factory.mktemp("controller"))) as controller:
        yield controller


def test_whoever_waits_for_an_operation_is_answered_at_its_end(controller: Controller) -> None:
    operation = controller.ask("POST", f"{EDGE}/drain").body["id"]
    assert controller.ask("GET", f"/v1/operations/{operation}?wait=0.5").body["state"] == "running"
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        waiting = pool.submit(controller.ask, "GET", f"/v1/operations/{operation}?wait=50")
        time.sleep(0.5)  # it waits by then, mostly; if not, it is answered at once, as well
        assert controller.ask("POST", f"{EDGE}/resume").status == 204
        ended = waiting.result()
    assert time.monotonic() - began < 30
    assert (ended.body["state"], ended.body["reason"]) == ("failed", "the edge was resumed")


def test_those_who_have_waited_longest_make_room(controller: Controller) -> None:
    operation = controller.ask("POST", f"{EDGE}/drain").body["id"]
    with ThreadPoolExecutor(2 * MOST_WAITING) as pool:
        path = f"/v1/operations/{operation}?wait=50"
        waiting = [pool.submit(controller.ask, "GET", path) for _ in range(MOST_WAITING + 8)]
        first = list(itertools.islice(as_completed(waiting, timeout=45), 8))
        assert [(answer.result().status, answer.result().body["state"]) for answer in first] == [(200, "running")] * 8
        assert controller.ask("POST", f"{EDGE}/resume").status == 204
        states = Counter(answer.result().body["state"] for answer in waiting)
    assert states == {"running": 8, "failed": MOST_WAITING}



def test_conflicting_writes_lose_nothing(controller: Controller) -> None:
    def count(times: int) -> None:
        """Adds 1 to the weight so many times."""
        while times:
            read = controller.ask("GET", SERVER)
            answer = controller.ask("PATCH", SERVER, {"weight": read.body["weight"] + 1}, If_Match=read.tag)
            assert answer.status in (200, 412), answer
            times -= answer.status == 200

    controller.ask("PUT", SERVER, {"weight": 1})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, [10] * 8))
    assert controller.ask("GET", SERVER).body["weight"] == 81
