"""Codes of services at shared switches: what the leader says of them, and what a member makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share
from anycast_sdn.core.model import Prefix
from anycast_sdn.openflow.tables import Tables
from anycast_sdn.process.shared_codes import SharedCodes
from anycast_sdn.process.sharing import By
from tests.unit.engines.samples import CLIENT_EDGE, FEATURES
from tests.unit.process.test_flow_keeper import controller

SERVICE, OTHER = Prefix.parse("198.18.0.1/32"), Prefix.parse("198.18.9.0/24")
TERM = 5


class Surroundings:
    """Of one member: its cluster, lines, and ``Sharing``."""

    def __init__(self, leads: bool) -> None:
        self.is_leader = leads
        self.managed: dict[int, By] = {}
        self.before_writes: list[Callable[[int], None]] = []
        self.lines: list[str] = []
        self.hear: Callable[[str, str], None] = lambda member, text: None

    def leads(self) -> bool:
        return self.is_leader

    def term(self) -> int:
        return TERM

    def is_latest(self, member: str, term: int) -> bool:
        return term >= TERM

    def publish(self, topic: str, text: str) -> None:
        self.lines.append(text)

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self.hear = listener


def member(leads: bool, share: Share) -> tuple[Controller, SharedCodes, Surroundings]:
    made, around = controller(), Surroundings(leads)
    made.begin_reading(CLIENT_EDGE, Tables(), FEATURES, share=share)
    while made.read_on(CLIENT_EDGE, time.monotonic()) is not None:
        pass
    made.end_reading(CLIENT_EDGE, {}, time.monotonic())
    while made.is_busy():
        made.work(time.monotonic())
    any_part: Any = around
    return made, SharedCodes(made, any_part, any_part, any_part), around


def codes(made: Controller) -> dict[Prefix, int]:
    found = made.switches[CLIENT_EDGE].engine.codes
    assert found
    return found.all


def line(said: dict[str, Any], term: object = TERM) -> str:
    return json.dumps([term, f"{CLIENT_EDGE:x}", said])


def test_the_leader_says_all_codes_before_it_writes_and_again_only_if_there_are_others() -> None:
    made, shared, around = member(True, Share.REST)
    around.managed[CLIENT_EDGE] = By("m1-x", 3, (1, 1))
    for _ in range(3):
        around.before_writes[0](CLIENT_EDGE)
        shared.beat()
    assert [json.loads(text)[2] for text in around.lines] == [{str(each): code for each, code in codes(made).items()}]
    around.managed[CLIENT_EDGE] = By("m2-x", 4, (1, 1))
    shared.beat()
    assert len(around.lines) == 2


def test_a_master_has_the_codes_that_the_leader_says_and_gives_none() -> None:
    made, _, around = member(False, Share.FLOWS)
    assert codes(made) == {}
    around.hear("m0-x", line({str(SERVICE): 7, str(OTHER): 256}))
    assert codes(made) == {SERVICE: 7, OTHER: 256}
    around.hear("m0-x", line({str(SERVICE): 9}))
    assert codes(made) == {SERVICE: 9}
    around.hear("m0-x", line({}, term=TERM - 1))
    assert codes(made) == {SERVICE: 9}


def test_after_beginning_anew_codes_are_of_use_that_were_said_before() -> None:
    made, shared, around = member(False, Share.FLOWS)
    around.hear("m0-x", line({str(SERVICE): 7}))
    made.begin_anew()
    shared.begin_anew()
    made.begin_reading(CLIENT_EDGE, Tables(), FEATURES, share=Share.FLOWS)
    while made.read_on(CLIENT_EDGE, time.monotonic()) is not None:
        pass
    assert codes(made) == {SERVICE: 7}


def test_codes_that_were_said_before_do_not_replace_those_that_a_leader_has_given_since() -> None:
    made, shared, around = member(False, Share.FLOWS)
    around.hear("m0-x", line({str(SERVICE): 7}))
    made.switches[CLIENT_EDGE].set_codes({SERVICE: 9})
    shared.begin_anew()
    assert codes(made) == {SERVICE: 9}


@pytest.mark.parametrize(
    "said", ["", "[]", "[1,2,3]", '["x","1",{}]', '[5,"zz",{}]', '[5,"1",{"nowhere":1}]', '[5,"1",[]]', '[5,"ff",{}]',
             '[5,"1",{"198.18.0.1/32":"x"}]'],
)  # fmt: skip
def test_a_line_that_cannot_be_read_changes_nothing_and_is_told_of_once(
    said: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, _, around = member(False, Share.FLOWS)
    around.hear("m0-x", line({str(SERVICE): 7}))
    for _ in range(3):
        around.hear("m0-x", said)
    assert codes(made) == {SERVICE: 7}
    assert len(caplog.records) <= 1


def test_codes_that_cannot_be_are_left_out() -> None:
    made, _, around = member(False, Share.FLOWS)
    around.hear("m0-x", line({str(SERVICE): 0, str(OTHER): 257, "198.18.0.2/32": 1 << 60, "198.18.0.3/32": 4}))
    assert codes(made) == {Prefix.parse("198.18.0.3/32"): 4}
