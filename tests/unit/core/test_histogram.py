from __future__ import annotations

import pytest

from anycast_sdn.core.histogram import Histogram, quantile


def test_a_bound_belongs_to_its_range() -> None:
    seen = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 7.0):
        seen.observe(value)
    assert (seen.counts, seen.total, seen.sum) == ([2, 2, 1], 5, 12.0)


@pytest.mark.parametrize(
    ("share", "counts", "value"),
    [
        (0.5, [0, 0, 0], None),
        (0.5, [10, 0, 0], 0.5),
        (0.95, [10, 10, 0], 1.9),
        (0.5, [10, 10, 0], 1.0),
        (0.95, [0, 0, 3], 2.0),  # above all bounds
    ],
)
def test_quantiles_are_those_of_values_spread_evenly(share: float, counts: list[int], value: float | None) -> None:
    assert quantile(share, (1.0, 2.0), counts) == (None if value is None else pytest.approx(value))


def test_several_times_are_observed_as_each_of_them() -> None:
    seen, one_by_one = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    seen.observe_since([9.5, 8.5, 5.0], 10.0)
    for value in (0.5, 1.5, 5.0):
        one_by_one.observe(value)
    assert (seen.counts, seen.sum) == (one_by_one.counts, one_by_one.sum)
