"""Each event that operators are told of is one line of the log."""

from __future__ import annotations

import logging

import pytest

from anycast_sdn.core import events, server_events
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Drop, Event
from anycast_sdn.core.model import packed
from anycast_sdn.core.network_events import PoolExhausted, PoolLow
from anycast_sdn.core.server_events import ServerHealthChanged, ServerLost, ServerReturned
from anycast_sdn.process.event_log import EventLog
from anycast_sdn.views.journal import Journal
from anycast_sdn.views.reporting import Reporting

AS2 = packed("10.2.0.10")
OF = ("ars2", "web", AS2)
SERVER = "server 10.2.0.10 of group web"
PASSING, WARNING, CRITICAL, UNKNOWN = (
    HealthStatus.PASSING, HealthStatus.WARNING, HealthStatus.CRITICAL, HealthStatus.UNKNOWN
)  # fmt: skip


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Reporting:
    logger = logging.Logger("events", logging.INFO)
    logger.addHandler(caplog.handler)
    journal = Journal()
    journal.listen(EventLog(logger))
    return Reporting(journal, lambda: 0.0)


def health(before: HealthStatus, after: HealthStatus, reason: str = "", *groups: str) -> ServerHealthChanged:
    return ServerHealthChanged("ars2", AS2, groups or ("web",), before, after, reason)


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (server_events.ServerEnrolled(*OF), "INFO", f"{SERVER} is enrolled, behind ars2"),
        (server_events.ServerChanged(*OF, ("weight 1 → 5", "capacity none → 100")), "INFO",
         f"{SERVER}: weight 1 → 5, capacity none → 100"),
        (server_events.ServerRemoved(*OF), "INFO", f"{SERVER} is removed"),
        (server_events.ServerDraining(*OF, "d1", None), "INFO", f"{SERVER} is being drained"),
        (server_events.ServerDraining(*OF, "d1", 600.0), "INFO", f"{SERVER} is being drained, within 600 s"),
        (server_events.ServerDrained(*OF), "INFO", f"{SERVER} is drained"),
        (server_events.LeaseExpired(*OF, None), "WARNING", f"{SERVER} has not renewed its lease"),
        (server_events.LeaseExpired(*OF, 0.5), "WARNING",
         f"{SERVER} has not renewed its lease; it is removed in 0.5 s"),
        (server_events.LeaseRenewed(*OF), "INFO", f"{SERVER} has renewed its lease again"),
        (server_events.EdgeDraining("ars2", "d1", 60), "INFO", "edge ars2 is being drained, within 60 s"),
        (server_events.EdgeResumed("ars2"), "INFO", "edge ars2 takes new flows again"),
        (server_events.OperationEnded("ars2", "", "d1", "drain of edge ars2", True, ""), "INFO",
         "drain of edge ars2 is over"),
        (server_events.OperationEnded("ars2", "", "d1", "drain of edge ars2", False, "the edge was resumed"), "WARNING",
         "drain of edge ars2 has failed: the edge was resumed"),
        (server_events.OperationEnded("ars2", "web", "d1", "drain of 10.2.0.10 in group web", True, "1 flow went on"),
         "INFO", "drain of 10.2.0.10 in group web is over: 1 flow went on"),
        (health(PASSING, CRITICAL, "tcp 80: connection refused"), "ERROR",
         f"{SERVER} is critical: tcp 80: connection refused"),
        (health(CRITICAL, PASSING), "INFO", f"{SERVER} is passing"),
        (health(PASSING, WARNING, "icmp: no answer within 2 s"), "WARNING",
         f"{SERVER} is warning: icmp: no answer within 2 s"),
        (health(PASSING, CRITICAL, "arp: no answer", *(f"g{number}" for number in range(500))), "ERROR",
         "server 10.2.0.10 of groups g0, g1, g2 and 497 more is critical: arp: no answer"),
        (ServerLost("arh1", AS2, 12), "WARNING", "server 10.2.0.10 is lost: 12 flows at arh1 freed"),
        (ServerReturned("arh1", AS2), "INFO", "server 10.2.0.10 can be reached again from arh1"),
        (PoolLow("arh1", "ipv4", 20, 254, 11.2), "WARNING",
         "the IPv4 pool of arh1 is low: 20 of 254 addresses left, used up in about 12 s"),
        (PoolLow("arh2", "ipv6", 3, 254, None), "WARNING", "the IPv6 pool of arh2 is low: 3 of 254 addresses left"),
        (PoolExhausted("arh1", "ipv4", 254, 250, 4), "ERROR",
         "the IPv4 pool of arh1 is exhausted: 250 of 254 addresses in use, 4 resting"),
    ],
)  # fmt: skip
def test_an_event_is_one_line(
    event: Event, level: str, line: str, log: Reporting, caplog: pytest.LogCaptureFixture
) -> None:
    log(event)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, line)]


@pytest.mark.parametrize(
    "event",
    [
        # The server's own event, that it is drained or removed, says it.
        server_events.OperationEnded("ars2", "web", "d1", "drain of 10.2.0.10 in group web", True, ""),
        health(UNKNOWN, PASSING),  # after the start of the controller that are all servers
        events.PortsHeldBack("s1", 1),
        events.PacketsDropped("arh1", Drop.SERVER_LOST),
    ],
)
def test_what_another_event_says_and_what_is_only_counted_is_no_line(
    event: Event, log: Reporting, caplog: pytest.LogCaptureFixture
) -> None:
    log(event)
    assert not caplog.records
