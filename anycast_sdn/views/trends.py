"""Trends: how fast counters of dropped packets grow, and pools become empty; of what is sampled every ``SAMPLE_S``.

Counters of a switch's own rules are read every few seconds, or at longer intervals where there are many rules; so the
rate is a mean over a minute.  Pools empty slowly, or in a burst: of a burst ``core.pool_watch`` tells, and here is the
trend of the last ten minutes.

Counters that fall (a switch has lost its rules) begin anew: no rate is negative.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.pool_watch import Outlook
from anycast_sdn.views.counters import Counters

SAMPLE_S = 10.0
RATE_S = 60.0  # drops: the mean over so long
TREND_S = 600.0  # pools
LEAST_S = 20.0  # a trend over less says nothing
FAR_S = 30 * 86400.0  # a pool that lasts longer is not said to become exhausted


class _Sample(NamedTuple):
    at: float
    drops: Mapping[str, int]
    left: Mapping[str, int]  # by family: addresses that could be leased


class PoolTrend(NamedTuple):
    per_min: float  # by how many addresses fewer are left
    exhausted_in_s: float | None  # at this rate; None: not at this rate, or not soon


class Trends:
    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._samples: dict[str, deque[_Sample]] = {}  # by switch
        self._due = 0.0

    def sample(self, controller: Controller, now: float) -> None:
        """To be called about once a second."""
        if now < self._due:
            return
        self._due = now + SAMPLE_S
        for switch in controller.switches.values():
            drops = {**switch.dropped, **self._counters.drops[switch.name]}
            left = {family: outlook.left for family, outlook in switch.statistics(now).outlooks.items()}
            kept = self._samples.setdefault(switch.name, deque(maxlen=int(TREND_S / SAMPLE_S) + 1))
            kept.append(_Sample(now, drops, left))

    def drops_per_s(self, switch: str, drops: Mapping[str, int], now: float) -> dict[str, float]:
        """``drops``: the counters now.  Those that do not grow are 0."""
        first = next((each for each in self._samples.get(switch, ()) if now - each.at <= RATE_S), None)
        if first is None or now <= first.at:
            return dict.fromkeys(drops, 0.0)
        seconds = now - first.at
        return {name: round(max(0, count - first.drops.get(name, 0)) / seconds, 2) for name, count in drops.items()}

    def of_pool(self, switch: str, family: str, outlook: Outlook, now: float) -> PoolTrend:
        """``outlook``: the pool's, now."""
        first = next((each for each in self._samples.get(switch, ()) if now - each.at <= TREND_S), None)
        if first is None or now - first.at < LEAST_S or family not in first.left:
            return PoolTrend(0.0, None)
        per_s = (first.left[family] - outlook.left) / (now - first.at)
        lasts_s = outlook.left / per_s if per_s > 0 else None
        return PoolTrend(round(per_s * 60, 1), lasts_s if lasts_s is not None and lasts_s <= FAR_S else None)
