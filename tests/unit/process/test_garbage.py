"""Cyclic garbage: which objects are examined; requests and connections leave no cycles."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Drop, PacketsDropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.description import reading
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import AddFlow
from anycast_sdn.process import garbage
from anycast_sdn.process.app import AnycastApp
from tests.unit.rest_client import Client
from tests.unit.switch_end import PACKET_IN, RULE, Peer

ROOT = Path(__file__).parents[3]


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def automatic_collector_is_off() -> Iterator[None]:
    gc.collect()
    garbage.disable_automatic()
    yield
    gc.unfreeze()
    gc.enable()


def test_cycles_of_new_objects_are_freed_by_the_next_collection() -> None:
    knot = weakref.ref(Knot())
    assert not gc.isenabled()
    assert knot() is not None
    garbage.collect_new()
    assert knot() is None


def test_objects_that_a_collection_has_left_or_that_are_exempt_are_not_examined_again() -> None:
    before: list[list[int]] = [[]]
    garbage.collect_new()
    assert not any(each is before for each in gc.get_objects())
    made = [*before, []]
    assert any(each is made for each in gc.get_objects())
    garbage.exempt_new()
    assert not any(each is made for each in gc.get_objects())


def test_requests_leave_no_cycles(tmp_path: Path) -> None:
    client = Client(str(tmp_path / "enrolments.db"))

    def ask() -> None:
        client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.0/24"]})
        for number in range(8):
            client.ask("PUT", f"/v1/groups/web/servers/10.2.0.{10 + number}", {"weight": 1 + number})
        for method, path, body in (
            ("GET", "/v1/flows", None), ("GET", "/v1/edges", None), ("GET", "/v1/topology", None),
            ("GET", "/v1/groups", None), ("GET", "/healthz", None), ("GET", "/v1/nothing", None),
            ("PUT", "/v1/groups/web", {"prefixes": ["1.2.3.4/32"]}), ("PUT", "/v1/groups/web", {"prefixes": ["bla"]}),
            ("PUT", "/v1/groups/web", b"{"), ("DELETE", "/v1/groups/web/servers/10.2.0.10", None),
            ("DELETE", "/v1/groups/web", None), ("DELETE", "/v1/groups/web", None),
        ):  # fmt: skip
            client.ask(method, path, body)

    ask()  # makes what is made only once
    gc.collect()
    for _ in range(3):
        ask()
    assert gc.collect() == 0


def test_a_closed_connection_is_freed_without_a_collection() -> None:
    peer = Peer()
    peer.ask()
    peer.try_out()
    peer.connection.send([AddFlow(RULE)])
    peer.say(PACKET_IN)
    peer.connection.close("it was enough")
    peer.listener.heard.clear()
    connection = weakref.ref(peer.connection)
    del peer
    assert connection() is None


def test_what_refused_packets_leave_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    app = AnycastApp(reading.load(ROOT / "topologies/figure1.yaml"), Groups(), Alone())
    knots: list[weakref.ref[Knot]] = []

    def refuse(*_: object, now: float) -> Outcome:
        knots.append(weakref.ref(Knot()))
        return Outcome(events=[PacketsDropped("arh1", Drop.NO_SERVICE)])

    monkeypatch.setattr(app.controller, "packet_in", refuse)
    app.first_packets.add(1, Kind.FIRST_PACKET, PacketInMessage(cookie(Kind.FIRST_PACKET), 1, b""))
    app.first_packets.serve(1)
    garbage.collect_new()
    assert [knot() for knot in knots] == [None]
