"""Enrolments that have to be renewed: without a renewal a server is critical, and later removed (M33)."""

from __future__ import annotations

import time

import pytest
from lives import Lives, server_of, talk
from scenes import bindings, both_engines

from anycast_sdn.control.leases import Leases
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.model import Lease, NotFound, Server
from anycast_sdn.core.server_events import LeaseExpired, LeaseRenewed, ServerRemoved

pytestmark = both_engines


@pytest.fixture
def lives(build) -> Lives:
    lives = Lives(build("figure1", "as2", "as3"))
    lives.registry.put_server("web", Server(lives.address("as2"), lease=Lease(10, 20)))
    return lives


def renew(lives, host="as2", v6=False):
    lives.life.renew("web", lives.address(host, v6), lives.net.now)


def status(lives, host="as2", v6=False):
    return lives.net.controller.health.status("web", lives.address(host, v6))


def test_a_server_whose_lease_is_renewed_serves(lives):
    stored = lives.store.open().version
    for _ in range(10):
        lives.advance(9)
        renew(lives)
    assert status(lives) is HealthStatus.PASSING
    assert lives.store.open().version == stored  # a renewal is not stored
    talk(lives.net)
    assert server_of(lives.net, 40000) == "as2"


def test_a_server_whose_lease_has_expired_gets_no_new_flows_and_is_removed_later(lives):
    talk(lives.net)
    lives.advance(10.5)
    assert status(lives) is HealthStatus.CRITICAL
    talk(lives.net, port=40001)
    assert server_of(lives.net, 40001) == "as3"
    lives.advance(19)
    assert lives.server("as2")
    lives.advance(1)
    assert lives.server("as2") is None
    address = lives.address("as2")
    assert [event for event in lives.events if isinstance(event, LeaseExpired | ServerRemoved)] == [
        LeaseExpired("ars2", "web", address, 20), ServerRemoved("ars2", "web", address),
    ]  # fmt: skip


def test_a_late_renewal_makes_the_server_serve_again(lives):
    lives.advance(15)
    renew(lives)
    lives.advance(6)
    assert status(lives) is HealthStatus.PASSING
    talk(lives.net)
    assert server_of(lives.net, 40000) == "as2"
    renew(lives)
    lives.advance(9)
    assert lives.server("as2")
    assert LeaseRenewed("ars2", "web", lives.address("as2")) in lives.events


def test_a_server_stays_enrolled_where_nothing_says_when_to_remove_it(lives):
    lives.registry.put_server("web", Server(lives.address("as2"), lease=Lease(10)))
    lives.advance(200)
    assert lives.server("as2")
    assert status(lives) is HealthStatus.CRITICAL


def test_a_server_that_no_longer_has_a_lease_is_not_removed(lives):
    lives.advance(15)
    lives.registry.put_server("web", Server(lives.address("as2")))
    lives.advance(30)
    assert lives.server("as2")
    assert status(lives) is not HealthStatus.CRITICAL
    with pytest.raises(NotFound, match="has no lease"):
        renew(lives)


def test_both_addresses_of_a_server_have_one_lease(lives):
    one, other = lives.address("as2"), lives.address("as2", True)
    lives.registry.put_server("web", Server(one, lease=Lease(10, 20), twin=other))
    lives.advance(9)
    renew(lives, v6=True)
    lives.advance(9)
    assert {status(lives), status(lives, v6=True)} == {HealthStatus.PASSING}
    lives.advance(24)
    assert lives.server("as2") is lives.server("as2", True) is None
    assert len([event for event in lives.events if isinstance(event, ServerRemoved)]) == 2


def test_ten_leases_that_expire_at_once_are_ten_events_and_one_change(build):
    lives = Lives(build("figure1", "as2", "as3"))
    more = [bytes([10, 2, 0, 100 + number]) for number in range(10)]
    for address in more:
        lives.registry.put_server("web", Server(address, lease=Lease(5, 5)))
    stored = lives.store.open().version
    lives.advance(12)
    assert len([event for event in lives.events if isinstance(event, LeaseExpired)]) == 10
    assert lives.store.open().version == stored + 1
    assert not any(address in lives.registry.group("web").servers for address in more)


def test_after_a_restart_each_lease_begins_anew(lives):
    lives.advance(8)
    lives.restart()
    for name in lives.net.switches:
        lives.net.connect(name)
    lives.advance(8)
    assert status(lives) is not HealthStatus.CRITICAL
    lives.advance(4)
    assert status(lives) is HealthStatus.CRITICAL


def test_a_lease_does_not_depend_on_the_time_of_day(lives):
    for skew in (-1e6, 1e6):
        lives.skew = skew
        lives.advance(9)
        renew(lives)
    assert status(lives) is HealthStatus.PASSING


def test_a_removal_that_cannot_be_stored_is_tried_again(lives):
    lives.fails = True
    lives.advance(35)
    assert lives.server("as2")
    lives.fails = False
    lives.advance(10)
    assert lives.server("as2") is None


def test_flows_of_a_server_that_is_removed_live_on(lives):
    talk(lives.net)
    lives.advance(31)
    assert lives.server("as2") is None
    assert bindings(lives.net)


def test_ten_thousand_leases_cost_little():
    leases = Leases()
    enrolments = [("web", number.to_bytes(4, "big")) for number in range(10_000)]
    for enrolment in enrolments:
        leases.set(enrolment, Lease(30, 60), 0.0)
    began = time.process_time()
    for second in range(0, 30, 10):
        for enrolment in enrolments:
            leases.renew(enrolment, float(second))
        assert not leases.tick(float(second), 250).expired
    for tick in range(100):
        leases.tick(20 + tick / 100, 250)
    assert time.process_time() - began < 2
    assert sum(len(leases.tick(51, 250).expired) for _ in range(40)) == 10_000
    assert sum(len(leases.tick(112, 250).to_remove) for _ in range(40)) == 10_000
