"""FlowSweep: all counters are read, then idle flows are ended a few at a time, whatever fails meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from anycast_sdn.core.bindings import Half
from anycast_sdn.engines import flow_sweep
from anycast_sdn.engines.flow_sweep import FlowSweep, requests
from anycast_sdn.openflow.pipeline import BINDING_KINDS, cookie
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind, Table


class Swept:
    """A sweep of a switch whose flows are all idle; ``fails``: at the end of this flow."""

    def __init__(self, fails: int | None = None) -> None:
        self.ended: list[int] = []
        self.done: list[float] = []
        self._fails = fails
        self.sweep = FlowSweep(9, self._record, self._end_idle, self.done.append)

    def _record(self, inward: bool, counters: Iterable[tuple[int, int]], asked: float, now: float) -> list[int]:
        return [number for number, _ in counters]

    def _end_idle(self, numbers: Iterable[int], now: float) -> Reaction:
        for number in numbers:
            if number == self._fails:
                raise ValueError("a fault")
            self.ended.append(number)
        return Reaction()


def test_every_rule_of_a_flow_is_asked_for_once_in_the_table_of_its_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_sweep, "SLICE", 4)
    asked = requests(30)
    assert len(asked) == 2 * 8
    for (_, half, _), kind in BINDING_KINDS.items():
        for number in range(1, 31):
            (request,) = [each for each in asked if each.covers(cookie(kind, number))]
            assert request.table is (Table.CLIENT_IN if half is Half.IN else Table.CLIENT_OUT)
    assert not any(request.covers(cookie(Kind.ROUTE)) for request in asked)


def test_idle_flows_are_ended_a_few_at_a_time_and_then_the_sweep_is_over() -> None:
    swept = Swept()
    for request in swept.sweep.requests:
        swept.sweep.take(request, [(number, 0) for number in range(1, 6)], 1.0, 2.0)
    while not swept.sweep.is_over:
        before = len(swept.ended)
        swept.sweep.end_some(3, 4.0)
        assert len(swept.ended) <= before + 3
    assert sorted(swept.ended) == sorted([*range(1, 6)] * 2)
    assert swept.done == [4.0]


def test_a_sweep_that_finds_no_idle_flow_ends_too() -> None:
    swept = Swept()
    swept.sweep.end_some(3, 4.0)
    assert swept.sweep.is_over
    assert swept.done == [4.0]


def test_a_fault_at_the_end_of_a_flow_does_not_keep_the_sweep_from_ending() -> None:
    swept = Swept(fails=4)
    swept.sweep.take(swept.sweep.requests[0], [(4, 0)], 1.0, 2.0)
    with pytest.raises(ValueError, match="a fault"):
        swept.sweep.end_some(3, 4.0)
    assert swept.sweep.is_over
    assert swept.done == [4.0]
