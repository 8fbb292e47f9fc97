"""What keeps a lease, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from anycast_sdn.cluster import lease as module
from anycast_sdn.cluster.etcd_cluster import START_S
from anycast_sdn.cluster.lease import Lease
from anycast_sdn.etcd.client import Etcd, EtcdError
from tests.unit.cluster.world import World

DEADLINE_S = 5.0


class Gateway(Etcd):
    """``answer``: to a request to keep the lease; None: there is none."""

    def __init__(self) -> None:
        super().__init__(["http://etcd.example:2379"])
        self.answer: bool | None = True
        self.asked = 0

    def keep_alive(self, lease: int) -> bool:
        self.asked += 1
        if self.answer is None:
            raise EtcdError("no answer")
        return self.answer


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(module, "RENEW_S", 0.01)
    return Gateway()


@pytest.fixture
def lease(gateway: Gateway) -> Iterator[Lease]:
    lease = Lease(lambda: gateway)
    lease.begin(7)
    yield lease
    lease.stop()


def test_a_lease_is_kept_until_etcd_does_not_know_it(gateway: Gateway, lease: Lease) -> None:
    until(lambda: gateway.asked >= 3)
    assert lease.number == 7
    gateway.answer = False
    until(lambda: lease.number == 0)
    lease.begin(8)
    assert lease.number == 8


def test_a_lease_is_not_kept_for_long_without_an_answer(
    gateway: Gateway, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.answer = None
    until(lambda: gateway.asked >= 3)
    assert lease.number == 7
    monkeypatch.setattr(module, "DEAF_S", 0.05)
    until(lambda: lease.number == 0)


def test_a_hub_that_hangs_does_not_keep_its_lease(
    gateway: Gateway, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: gateway.asked >= 1)
    monkeypatch.setattr(module, "FED_S", 0.0)
    time.sleep(0.05)  # a request may be under way
    asked = gateway.asked
    time.sleep(0.1)
    assert gateway.asked == asked
    monkeypatch.setattr(module, "FED_S", 4.0)
    lease.feed()
    until(lambda: gateway.asked > asked)


def test_a_controller_that_starts_keeps_its_lease_for_as_long_as_it_was_told_beforehand(
    gateway: Gateway, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FED_S", 0.0)
    lease.feed(60.0)
    asked = gateway.asked
    until(lambda: gateway.asked >= asked + 3)
    lease.feed()  # it has started
    time.sleep(0.05)  # a request may be under way
    asked = gateway.asked
    time.sleep(0.1)
    assert gateway.asked == asked


def test_who_has_joined_need_not_feed_its_lease_until_it_has_started() -> None:
    world = World(switches=1)
    process = world.start("m0", connect=False)
    assert process.lease.is_enough_until - world.etcd.now > START_S - 1
    world.run(1)
    assert process.lease.is_enough_until <= world.etcd.now
