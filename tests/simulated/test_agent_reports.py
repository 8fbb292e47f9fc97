"""Results of checks that agents report: they are counted as those of the controller's own checks, and expire (M33)."""

from __future__ import annotations

from checks import AS2, CRITICAL, PASSING, UNKNOWN, WARNING, change, checked, reason, status
from scenes import catchment

from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.core.checks import HttpCheck
from anycast_sdn.core.health import CheckName, CheckResult
from anycast_sdn.simulation.network import SimulatedNetwork

HTTP = CheckName("http", 80, "/health")
SERVER = AS2[False]


def report(net: SimulatedNetwork, *passed: bool, name: CheckName = HTTP, interval_s: float | None = None) -> None:
    """One result after the other, a second apart."""
    for each in passed:
        result = CheckResult(each, "status 200" if each else "status 503")
        net.controller.health.report("web", SERVER, [Reported(name, result, interval_s)], net.now)
        net.advance(1)


def test_three_failures_make_a_server_critical_and_two_successes_make_it_pass() -> None:
    net = checked()
    report(net, True, False, False)
    assert status(net, SERVER) is WARNING
    assert catchment(net)["arh1"] == "ars2"
    report(net, False)
    assert status(net, SERVER) is CRITICAL
    assert "status 503" in reason(net, SERVER)
    assert catchment(net)["arh1"] == "ars3"
    report(net, True, True)
    assert status(net, SERVER) is PASSING


def test_the_group_says_how_results_of_its_own_check_are_counted() -> None:
    net = checked(HttpCheck(port=80, path="/health", rise=1, fall=1, interval_s=60.0))
    report(net, True)
    assert status(net, SERVER) is PASSING
    report(net, False)
    assert status(net, SERVER) is CRITICAL
    report(net, True)
    assert status(net, SERVER) is PASSING


def test_an_agent_that_falls_silent_is_a_failure_after_three_of_its_intervals() -> None:
    for interval_s, holds_s in ((None, 14), (20.0, 58)):
        net = checked()
        report(net, True, interval_s=interval_s)
        net.advance(holds_s - 1)
        assert status(net, SERVER) is PASSING
        net.advance(3)
        assert status(net, SERVER) is CRITICAL
        assert "not reported for" in reason(net, SERVER)
        report(net, True, True)
        assert status(net, SERVER) is PASSING


def test_an_agent_that_begins_anew_has_reported_nothing_before() -> None:
    net = checked()
    report(net, False, False, False)
    assert status(net, SERVER) is CRITICAL
    net.controller.health.report("web", SERVER, [], net.now)
    net.advance(30)
    assert status(net, SERVER) is PASSING
    assert not [name for name, _ in net.controller.health.checks("web", SERVER) if name.type == "http"]


def test_sixteen_checks_of_a_server_are_heard() -> None:
    net = checked()
    for port in range(1, 101):
        report(net, False, name=CheckName("http", port))
    assert len([name for name, _ in net.controller.health.checks("web", SERVER) if name.type == "http"]) == 16


def test_a_check_of_the_group_that_no_agent_makes_is_unknown() -> None:
    net = checked(HttpCheck(port=80, path="/health"))
    net.advance(60)
    assert status(net, SERVER) is UNKNOWN
    assert catchment(net)["arh1"] == "ars2"


def test_a_check_that_the_group_asks_for_no_longer_is_forgotten() -> None:
    net = checked(HttpCheck(port=80, path="/health"), HttpCheck(port=81))
    report(net, False)
    report(net, True, name=CheckName("http", 81, "/"))
    assert status(net, SERVER) is CRITICAL
    change(net, checks=(HttpCheck(port=81),))
    assert status(net, SERVER) is PASSING
    change(net, checks=())
    net.advance(60)
    assert status(net, SERVER) is PASSING, reason(net, SERVER)


def test_results_of_checks_with_and_without_a_port_come_and_expire_together() -> None:
    net = checked()
    names = [CheckName("http"), CheckName("http", 80), CheckName("http", 80, "/health"), CheckName("disk")]
    net.controller.health.report("web", SERVER, [Reported(name, CheckResult(True, "")) for name in names], net.now)
    net.advance(1)
    assert status(net, SERVER) is PASSING
    net.advance(16)
    assert status(net, SERVER) is CRITICAL
    assert reason(net, SERVER).count("not reported for 15 s") == 4


def test_one_check_expires_while_others_are_reported() -> None:
    net = checked()
    report(net, True, name=CheckName("disk"))
    for _ in range(20):
        report(net, True)
    assert status(net, SERVER) is CRITICAL
    assert reason(net, SERVER) == "disk: not reported for 15 s"
