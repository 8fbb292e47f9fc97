"""Sweep: how long a binding has been idle, from counters, however long a sweep takes (M19)."""

from __future__ import annotations

import pytest

from anycast_sdn.core.sweep import Sweep

OUT, IN = False, True


def test_a_binding_that_was_never_read_is_not_idle():
    assert Sweep().idle_s(1) == 0


def test_with_an_unchanged_counter_a_binding_was_idle_until_the_request():
    sweep = Sweep()
    sweep.record(OUT, [(1, 5)], asked=10, now=11)
    assert sweep.record(OUT, [(1, 5)], asked=20, now=29) == [1]
    assert sweep.idle_s(1) == 9  # not 18: packets that came after 20 are not in the answer of 29


def test_with_a_changed_counter_a_binding_was_used_at_the_answer():
    sweep = Sweep()
    sweep.record(OUT, [(1, 5)], asked=10, now=11)
    assert sweep.record(OUT, [(1, 6)], asked=20, now=29) == []
    assert sweep.idle_s(1) == 0
    sweep.record(OUT, [(1, 6)], asked=30, now=31)
    assert sweep.idle_s(1) == 1


@pytest.mark.parametrize("order", [(OUT, IN), (IN, OUT)])
def test_the_direction_that_was_requested_first_counts(order):
    """In a sweep of 10 s the first slice is old when the last one comes."""
    sweep = Sweep()
    for asked in (0, 100):
        sweep.record(order[0], [(1, 5)], asked=asked, now=asked)
        sweep.record(order[1], [(1, 7)], asked=asked + 10, now=asked + 10)
    assert sweep.idle_s(1) == 90  # used at 10 at the latest, and idle until 100 at least


def test_a_binding_is_unused_when_no_packet_has_met_any_of_its_rules():
    sweep = Sweep()
    sweep.record(OUT, [(1, 0), (2, 1)], asked=1, now=1)
    assert (sweep.is_unused(1), sweep.is_unused(2), sweep.is_unused(3)) == (True, False, False)
