"""Virtual time: what happens when, and in which order."""

from __future__ import annotations

import pytest

from anycast_sdn.simulation.clock import TICK_S, Clock, Runaway


def test_events_happen_in_order_of_time_and_those_of_one_time_as_they_were_added() -> None:
    clock = Clock(lambda: None)
    clock.start()
    happened: list[str] = []
    for seconds, name in ((0.02, "later"), (0.01, "first"), (0.01, "second")):
        clock.after(seconds, happened.append, name)
    clock.advance(0.015)
    assert happened == ["first", "second"]
    clock.advance(0.01)
    assert happened == ["first", "second", "later"]
    assert clock.now == pytest.approx(0.025)


def test_a_tick_comes_at_the_start_and_each_quarter_of_a_second() -> None:
    ticks: list[float] = []
    clock = Clock(lambda: ticks.append(clock.now))
    clock.start()
    clock.advance(1.0)
    assert ticks == pytest.approx([0.0, TICK_S, 2 * TICK_S, 3 * TICK_S, 4 * TICK_S])


def test_settling_waits_for_all_that_is_under_way() -> None:
    clock = Clock(lambda: None)
    clock.start()
    happened: list[int] = []

    def passed_on(hops: int) -> None:
        happened.append(hops)
        if hops:
            clock.after(0.03, passed_on, hops - 1)

    clock.after(0.03, passed_on, 4)
    clock.settle()
    assert happened == [4, 3, 2, 1, 0]


def test_what_loops_is_found() -> None:
    clock = Clock(lambda: None)
    clock.start()

    def loop() -> None:
        clock.after(0.0, loop)

    clock.after(0.01, loop)
    with pytest.raises(Runaway, match="more than"):
        clock.advance(0.1)
