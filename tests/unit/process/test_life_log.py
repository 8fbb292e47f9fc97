"""Each event in the life of a server or an edge is one line of the log."""

from __future__ import annotations

import logging

import pytest

from anycast_sdn.core import events
from anycast_sdn.core.model import packed
from anycast_sdn.process.life_log import LifeLog
from anycast_sdn.process.repeats import RepeatingLog

AS2 = packed("10.2.0.10")
OF = ("ars2", "web", AS2)
SERVER = "server 10.2.0.10 of group web"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.ServerEnrolled(*OF), f"{SERVER} is enrolled, behind ars2"),
        (events.ServerChanged(*OF, ("weight 1 → 5", "capacity none → 100")),
         f"{SERVER}: weight 1 → 5, capacity none → 100"),
        (events.ServerRemoved(*OF), f"{SERVER} is removed"),
        (events.ServerDraining(*OF, "d1", None), f"{SERVER} is being drained"),
        (events.ServerDraining(*OF, "d1", 600.0), f"{SERVER} is being drained, within 600 s"),
        (events.ServerDrained(*OF), f"{SERVER} is drained"),
        (events.LeaseExpired(*OF, None), f"{SERVER} has not renewed its lease"),
        (events.LeaseExpired(*OF, 0.5), f"{SERVER} has not renewed its lease; it is removed in 0.5 s"),
        (events.LeaseRenewed(*OF), f"{SERVER} has renewed its lease again"),
        (events.EdgeDraining("ars2", "d1", 60), "edge ars2 is being drained, within 60 s"),
        (events.EdgeResumed("ars2"), "edge ars2 takes new flows again"),
        (events.OperationEnded("ars2", "", "d1", "drain of edge ars2", True, ""), "drain of edge ars2 is over"),
        (events.OperationEnded("ars2", "", "d1", "drain of edge ars2", False, "the edge was resumed"),
         "drain of edge ars2 has failed: the edge was resumed"),
        (events.OperationEnded("ars2", "web", "d1", "drain of 10.2.0.10 in group web", True, "1 flow went on"),
         "drain of 10.2.0.10 in group web is over: 1 flow went on"),
        (events.OperationEnded("ars2", "web", "d1", "drain of 10.2.0.10 in group web", True, ""), None),
        (events.PortsHeldBack("s1", 1), None),
    ],
)  # fmt: skip
def test_an_event_is_one_line(event, line, caplog):
    logger = logging.Logger("life", logging.INFO)
    logger.addHandler(caplog.handler)
    log = LifeLog(RepeatingLog(logger))
    log(event)
    log(event)
    assert [record.message for record in caplog.records] == ([line] if line else [])


def test_what_an_operator_has_to_know_is_a_warning(caplog):
    log = LifeLog(RepeatingLog(logging.getLogger("life")))
    log(events.LeaseExpired(*OF, 60))
    log(events.OperationEnded("ars2", "", "d1", "drain of edge ars2", False, "the edge was resumed"))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
