"""Changes of servers' health in the log."""

from __future__ import annotations

import logging

import pytest

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Drop, PacketsDropped, ServerHealthChanged
from anycast_sdn.core.model import packed
from anycast_sdn.process.health_log import HealthLog
from anycast_sdn.process.repeats import RepeatingLog

AS2 = packed("10.2.0.10")
PASSING, WARNING, CRITICAL, UNKNOWN = (
    HealthStatus.PASSING, HealthStatus.WARNING, HealthStatus.CRITICAL, HealthStatus.UNKNOWN
)  # fmt: skip


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> HealthLog:
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(caplog.handler)
    return HealthLog(RepeatingLog(logger))


def change(before: HealthStatus, after: HealthStatus, reason: str = "", *groups: str) -> ServerHealthChanged:
    return ServerHealthChanged("ars2", AS2, groups or ("web",), before, after, reason)


def test_each_change_is_a_line_with_its_reason(log: HealthLog, caplog: pytest.LogCaptureFixture) -> None:
    log(change(PASSING, CRITICAL, "tcp 80: connection refused"))
    log(change(CRITICAL, PASSING))
    log(change(PASSING, WARNING, "icmp: no answer within 2 s"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "server 10.2.0.10 of group web is critical: tcp 80: connection refused"),
        ("INFO", "server 10.2.0.10 of group web is passing"),
        ("WARNING", "server 10.2.0.10 of group web is warning: icmp: no answer within 2 s"),
    ]


def test_a_server_of_many_groups_is_one_line(log: HealthLog, caplog: pytest.LogCaptureFixture) -> None:
    log(change(PASSING, CRITICAL, "arp: does not answer", *(f"g{number}" for number in range(500))))
    assert caplog.messages == ["server 10.2.0.10 of groups g0, g1, g2 and 497 more is critical: arp: does not answer"]


def test_first_results_are_logged_only_if_they_are_bad(log: HealthLog, caplog: pytest.LogCaptureFixture) -> None:
    log(change(UNKNOWN, PASSING))
    log(change(UNKNOWN, CRITICAL, "tcp 80: connection refused"))
    assert len(caplog.messages) == 1


def test_other_events_are_not_logged(log: HealthLog, caplog: pytest.LogCaptureFixture) -> None:
    log(PacketsDropped("arh1", Drop.SERVER_LOST))
    assert not caplog.records
