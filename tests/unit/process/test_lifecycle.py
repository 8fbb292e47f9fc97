"""Lifecycle: what drains and leases lead to is stored, and those who wait are woken."""

from __future__ import annotations

import json
import time
from random import Random

import pytest
from os_ken.lib import hub

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.life import Life
from anycast_sdn.control.operations import State
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Lease, NotFound, Prefix, Server, ServerState, packed
from anycast_sdn.description import reading
from anycast_sdn.process import lifecycle
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.lifecycle import Lifecycle
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.store import StoreError
from tests.unit.process.test_cluster import ROOT

AS2, AS3 = packed("10.2.0.10"), packed("10.3.0.10")
NETWORK = reading.load(ROOT / "topologies/figure1.yaml")


class Store(MemoryStore):
    """Fails when the test says so."""

    fails = False

    def change(self, at, changes):
        if self.fails:
            raise StoreError("the disk is full")
        return super().change(at, changes)


class Started:
    """Everything but connections of switches."""

    def __init__(self) -> None:
        self.store = Store()
        web = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),), {AS2: Server(AS2), AS3: Server(AS3)})
        self.store.open([web])
        self.registry = Registry(NETWORK, self.store, self._changed)
        self.app = AnycastApp(NETWORK, self.registry.groups, Alone())
        controller = self.app.controller
        for switch in controller.switches.values():
            switch.ever_synchronised = True
        life = Life(NETWORK, controller.switches_by_name(), Random(1), lambda edge: True)
        self.lifecycle = Lifecycle(self.registry, self.app, lambda: True, life)

    def until(self, condition, ticks=True):
        """Time passes.  Without eventlet, as here, green threads are threads: nothing else runs beside them."""
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            if ticks:
                self.lifecycle._tick()
            hub.sleep(0.01)

    def _changed(self, groups: Groups) -> None:
        self.lifecycle.enrolments_changed()
        self.app._react(self.app.controller.set_groups(groups, time.monotonic()))

    def server(self, address: bytes) -> Server | None:
        return self.registry.group("web").servers.get(address)


@pytest.fixture
def started(monkeypatch):
    monkeypatch.setattr(lifecycle, "RETRY_S", 0.05)
    return Started()


def test_those_who_wait_are_woken_at_the_end(started):
    drain = started.lifecycle.drain_server("web", AS2)
    began = time.monotonic()
    ended = []
    for _ in range(3):
        hub.spawn(lambda: ended.append(started.lifecycle.operation(drain.id, 60)))
    started.until(lambda: len(started.lifecycle._waiting) == 3, ticks=False)
    started.until(lambda: len(ended) == 3)
    assert time.monotonic() - began < 30
    assert {operation.state for operation in ended} == {State.SUCCEEDED}
    assert started.server(AS2).state is ServerState.DRAINED
    assert not started.lifecycle._waiting


def test_nobody_waits_longer_than_asked(started):
    drain = started.lifecycle.drain_server("web", AS2)
    assert started.lifecycle.operation(drain.id, 0.05).state is State.RUNNING
    assert not started.lifecycle._waiting
    with pytest.raises(NotFound):
        started.lifecycle.operation("nobody's", 60)


def test_what_cannot_be_stored_is_reported_and_stored_later(started):
    drain = started.lifecycle.drain_server("web", AS2)
    started.registry.put_server("web", Server(AS3, state=ServerState.DRAINING))
    started.store.fails = True
    failed = "enrolments cannot be changed: the end of drains and leases is not stored: the disk is full"
    started.until(lambda: failed in [json.loads(entry.json)["message"] for entry in started.app.journal.after(0)])
    assert started.lifecycle.operation(drain.id).state is State.RUNNING
    started.store.fails = False
    started.until(lambda: {started.server(AS2).state, started.server(AS3).state} == {ServerState.DRAINED})
    assert [operation.state for operation in started.lifecycle.operations()] == [State.SUCCEEDED] * 2


def test_when_the_controller_ends_nobody_waits_any_longer(started):
    drain = started.lifecycle.drain_server("web", AS2)
    ended = []
    hub.spawn(lambda: ended.append(started.lifecycle.operation(drain.id, 600)))
    started.until(lambda: started.lifecycle._waiting, ticks=False)
    started.lifecycle.stop()
    started.until(lambda: ended, ticks=False)
    assert ended[0].state is State.RUNNING


def test_a_lease_that_is_not_renewed_ends_the_enrolment(started):
    started.lifecycle.renew("web", AS2, Lease(1, 0))
    assert 0 < started.lifecycle.lease_left_s("web", AS2) <= 1
    started.until(lambda: started.server(AS2) is None)
    assert started.lifecycle.lease_left_s("web", AS2) is None


def test_an_edge_is_drained_until_it_is_resumed(started):
    drain = started.lifecycle.drain_edge("ars2")
    started.until(lambda: started.lifecycle.operation(drain.id).state is State.SUCCEEDED)
    assert started.registry.edges.keys() == {"ars2"}
    started.lifecycle.resume_edge("ars2")
    assert not started.registry.edges


@pytest.mark.parametrize(("leads", "ends"), [(True, True), (False, False)])
def test_a_drain_ends_at_no_other_member_by_the_clock_of_the_one_that_has_begun_it(started, leads, ends):
    began = time.time() - 3600  # so it says
    drain = Life(NETWORK, (), Random(1), lambda edge: True).draining
    started.registry.change_server("web", AS2, lambda server: drain(server, began, 60.0))
    controller = started.app.controller
    life = Life(NETWORK, controller.switches_by_name(), Random(1), lambda edge: True)
    Lifecycle(started.registry, started.app, lambda: leads, life)
    (draining,) = life._drains.values()
    assert (draining.until < time.monotonic()) is ends
