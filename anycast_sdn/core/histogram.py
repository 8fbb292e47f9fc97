"""Histogram: how many values were observed in each of some ranges, and quantiles of that.

Ranges are given by their upper bounds, which belong to them; the last range has none.  Counts only grow, so what was
observed between two looks is the difference of their counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

# Seconds until a packet is answered, by the controller or by a server.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Histogram:
    """``bounds``: in ascending order."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # of each range
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_since(self, times: Iterable[float], now: float) -> None:
        """How long ago each of these was; in less time than one by one."""
        counts, bounds, seconds = self.counts, self.bounds, 0.0
        for when in times:
            counts[bisect_left(bounds, now - when)] += 1
            seconds += now - when
        self.sum += seconds

    @property
    def total(self) -> int:
        return sum(self.counts)


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """The value that this share of the counted ones does not exceed; None: none were counted.

    As Prometheus' ``histogram_quantile``: values are taken to be spread evenly over their range, and those of the last
    range to be its lower bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    seen = 0
    for upper, count, lower in zip(bounds, counts, (0.0, *bounds), strict=False):
        if count and seen + count >= wanted:
            return lower + (upper - lower) * (wanted - seen) / count
        seen += count
    return bounds[-1]
