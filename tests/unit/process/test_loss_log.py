"""Servers that are lost, and those that are back, in the log."""

from __future__ import annotations

import logging

import pytest

from anycast_sdn.core.events import Drop, PacketsDropped, ServerLost, ServerReturned
from anycast_sdn.core.model import packed
from anycast_sdn.process.loss_log import LossLog
from anycast_sdn.process.repeats import RepeatingLog

AS2, AS3 = packed("10.2.0.10"), packed("2001:db8:3::10")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> LossLog:
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(caplog.handler)
    return LossLog(RepeatingLog(logger))


def test_a_lost_server_is_one_line_with_the_number_of_its_flows(log: LossLog, caplog: pytest.LogCaptureFixture) -> None:
    log(ServerLost("arh1", AS2, 12))
    log(ServerLost("arh1", AS3, 1))
    assert caplog.messages == [
        "server 10.2.0.10 is lost: 12 flows at arh1 freed",
        "server 2001:db8:3::10 is lost: 1 flow at arh1 freed",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_server_that_many_edges_have_lost_is_one_line(log: LossLog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(50):
        log(ServerLost(f"arh{number}", AS2, 3))
    assert caplog.messages == ["server 10.2.0.10 is lost: 3 flows at arh0 freed"]


def test_a_server_that_is_back_is_one_line(log: LossLog, caplog: pytest.LogCaptureFixture) -> None:
    log(ServerReturned("arh1", AS2))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "server 10.2.0.10 can be reached again from arh1")
    ]


def test_other_events_are_not_logged(log: LossLog, caplog: pytest.LogCaptureFixture) -> None:
    log(PacketsDropped("arh1", Drop.SERVER_LOST))
    assert not caplog.records
