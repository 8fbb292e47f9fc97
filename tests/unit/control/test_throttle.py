"""A port whose first packets are refused in a flood is held back, and let go when the flood ends."""

from __future__ import annotations

from anycast_sdn.control.throttle import FORGOTTEN_S, LONGEST_S, REFUSED_PER_S, SHORTEST_S, Throttle

TICK_S = 0.25


def run(throttle: Throttle, start: float, seconds: float, free: int, held: int = 50) -> list[bool]:
    """Ticks; at each, port 1 had ``held`` packets refused where it was held back, else ``free`` → was it held then?"""
    shown = []
    for tick in range(int(seconds / TICK_S)):
        for _ in range(held if 1 in throttle.held else free):
            throttle.refused(1)
        throttle.tick(start + tick * TICK_S)
        shown.append(1 in throttle.held)
    return shown


def test_a_few_refusals_throttle_no_port() -> None:
    throttle = Throttle()
    throttle.tick(0.0)
    assert not any(run(throttle, TICK_S, 20, free=int(REFUSED_PER_S * TICK_S)))


def test_a_flood_is_throttled_for_longer_each_time_that_it_goes_on() -> None:
    throttle = Throttle()
    throttle.tick(0.0)
    shown = run(throttle, TICK_S, 200, free=2500)
    assert shown[0]
    released = [tick for tick, held in enumerate(shown) if not held]
    pauses = [(after - before) * TICK_S for before, after in zip([-1, *released], released, strict=False)]
    assert pauses[:4] == [factor * SHORTEST_S + TICK_S for factor in (1, 2, 4, 8)]
    assert max(pauses) <= LONGEST_S + TICK_S


def test_a_port_is_released_when_no_packet_of_it_is_refused_any_more() -> None:
    throttle = Throttle()
    throttle.tick(0.0)
    assert run(throttle, TICK_S, TICK_S, free=2500) == [True]
    assert run(throttle, 2 * TICK_S, TICK_S, free=0, held=0) == [False]


def test_other_ports_are_not_throttled() -> None:
    throttle = Throttle()
    throttle.tick(0.0)
    throttle.refused(2)
    run(throttle, TICK_S, TICK_S, free=2500)
    assert throttle.held == {1}


def test_a_flood_is_forgotten() -> None:
    throttle = Throttle()
    throttle.tick(0.0)
    run(throttle, TICK_S, 10, free=2500)
    later = 20 + FORGOTTEN_S
    run(throttle, 10, later - 10 + 2 * SHORTEST_S, free=0, held=0)
    start = later + 2 * SHORTEST_S
    shown = run(throttle, start, 2 * SHORTEST_S, free=2500)
    assert shown.index(False) * TICK_S == SHORTEST_S
