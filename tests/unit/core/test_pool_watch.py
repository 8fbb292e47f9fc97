"""PoolWatch: when a pool is low or exhausted, how long it lasts, and that each is told once (M30)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.pool_watch import SOON_S, STEADY_S, WINDOW_S, Level, PoolWatch

TICK_S = 0.25
SIZE = 254


def fed(left, *, size=SIZE, seconds=30.0, denied=lambda now: 0):
    """A watch, and the news that it had: (when, level).  ``left``: as a function of the time."""
    watch, news = PoolWatch(size), []
    for turn in range(int(seconds / TICK_S) + 1):
        now = turn * TICK_S
        if (level := watch.look(max(0, int(left(now))), denied(now), now)) is not None:
            news.append((now, level))
    return watch, news


def test_a_pool_that_stays_as_it_is_is_no_news():
    watch, news = fed(lambda now: 200)
    assert (news, watch.outlook.used_up_in_s) == ([], None)


def test_a_pool_that_falls_is_low_and_then_exhausted_once_each():
    watch, news = fed(lambda now: SIZE - 10 * now)  # is used up after 25.4 s
    (low, _), (exhausted, _) = news
    assert [level for _, level in news] == [Level.LOW, Level.EXHAUSTED]
    assert low == pytest.approx(12.75, abs=TICK_S)  # less than half is left
    assert exhausted == pytest.approx(25.25, abs=TICK_S)
    assert watch.outlook.level is Level.EXHAUSTED


@given(st.floats(2, 100), st.floats(4, 10))
def test_the_time_is_right_for_a_steady_rate(rate, seconds):
    watch, _ = fed(lambda now: 1e6 - rate * now, size=1 << 20, seconds=seconds)
    assert watch.outlook.used_up_in_s == pytest.approx(1e6 / rate, rel=1 / (rate * 3))  # addresses are whole


def test_a_slow_fall_is_low_only_when_a_tenth_is_left():
    _, news = fed(lambda now: 40 - now, seconds=20, size=400)
    assert news == [(TICK_S, Level.LOW)]
    _, news = fed(lambda now: 100 - now / 10, seconds=60)
    assert news == []


def test_a_burst_that_leaves_half_is_no_news():
    _, news = fed(lambda now: SIZE if now < 5 else SIZE // 2 + 1)
    assert news == []


def test_a_large_pool_is_never_low_for_the_flows_of_a_site():
    _, news = fed(lambda now: (1 << 64) - 2 - 5000 * now, size=(1 << 64) - 2)
    assert news == []


def test_a_flow_that_found_nothing_between_two_looks_is_noticed():
    _, news = fed(lambda now: 100, denied=lambda now: 1 if now >= 5 else 0, seconds=12)
    assert news == [(5.0, Level.EXHAUSTED)]


def test_a_pool_at_the_edge_of_a_level_is_told_once():
    _, news = fed(lambda now: int(now / TICK_S) % 2, seconds=120)
    assert news == [(0.0, Level.EXHAUSTED)]


def test_what_is_over_may_happen_again():
    watch, news = fed(lambda now: 0 if 5 <= now < 6 or 40 <= now < 41 else 200, seconds=60)
    ended = [(when + 1 + STEADY_S, Level.PLENTY) for when in (5, 40)]
    assert news == [(5.0, Level.EXHAUSTED), ended[0], (40.0, Level.EXHAUSTED), ended[1]]
    assert watch.outlook.level is Level.PLENTY


def test_what_was_seen_before_a_gap_says_nothing():
    """The switch was away, or its bindings were read back after a restart."""
    watch = PoolWatch(SIZE)
    watch.look(SIZE, 0, 0.0)
    assert watch.look(100, 0, WINDOW_S + 1) is None
    assert watch.look(100, 0, WINDOW_S + 5) is None


@given(st.lists(st.integers(0, SIZE), min_size=1, max_size=200))
def test_whatever_happens_the_level_is_that_of_the_facts(lefts):
    watch = PoolWatch(SIZE)
    for turn, left in enumerate(lefts):
        now = turn * TICK_S
        news = watch.look(left, 0, now)
        recent = lefts[max(0, turn - int(STEADY_S / TICK_S)) : turn + 1]
        level, seen_left, seconds = watch.outlook
        assert seen_left == left
        assert (level is Level.EXHAUSTED) == (0 in recent)
        if any(10 * each < SIZE for each in recent):
            assert level is not Level.PLENTY
        if all(2 * each >= SIZE for each in recent):
            assert level is Level.PLENTY
        assert news in (None, level)
        assert seconds is None or seconds >= 0
        if 2 * left < SIZE and seconds is not None and seconds <= SOON_S:
            assert level is not Level.PLENTY
