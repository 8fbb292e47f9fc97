"""History: some figures of the last hour, for whoever opens a page now; views of Prometheus' last hour need Prometheus.

Every ``EVERY_S`` a sample is kept of what the controller counts.  Rates, shares and quantiles of a step are made of the
differences between the samples at its ends, so they are right for any step.  What is not known is None: the controller
had not started, or nothing was counted in that step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.histogram import SECONDS, quantile
from anycast_sdn.core.times import rfc3339
from anycast_sdn.views.counters import Counters, packets_dropped
from anycast_sdn.views.turns import with_turns

EVERY_S = 5.0
KEPT_S = 3600

_Number = float | None


class Sample(NamedTuple):
    """Counts since the controller's start, and what there is now."""

    at: float
    opened: int
    pinned: int
    dropped: int
    answered: Sequence[int]  # flows by time to their first reply, see ``core.histogram``
    refused: int
    unanswered: int
    used: Mapping[str, float]  # "edge:family" → the share of its pool that cannot be leased now


class History:
    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=int(KEPT_S / EVERY_S) + 2)
        self._dropped = 0  # by rules of switches
        self._seen: dict[str, int] = {}  # switch → what its rules had dropped when it was last sampled

    def sample(self, controller: Controller, counters: Counters, now: float) -> None:
        """To be called every ``EVERY_S``."""
        clients = [switch for switch in controller.switches.values() if switch.described.client_edge]
        replies = [switch.engine.first_replies.all for switch in clients]
        self._count_drops(controller)
        self._samples.append(
            Sample(
                now,
                sum(switch.statistics(now).opened for switch in clients),
                sum(switch.engine.flows.pinned() for switch in clients),
                self._dropped + sum(map(packets_dropped, counters.drops.values())),
                [sum(counts) for counts in zip(*(each.seconds.counts for each in replies), strict=True)],
                sum(each.refused for each in replies),
                sum(each.unanswered for each in replies),
                dict(_used(controller, now)),
            )
        )

    def _count_drops(self, controller: Controller) -> None:
        """Counters of a switch begin anew when it does; what they are when they are first read was dropped before."""
        for switch in controller.switches.values():
            if switch.dropped:
                now, before = sum(switch.dropped.values()), self._seen.get(switch.name)
                self._seen[switch.name] = now
                self._dropped += 0 if before is None else now - before if now >= before else now

    def view(
        self, last_s: int, step_s: int, epoch_of: Callable[[float], float], turn: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Ready for JSON; the last step of each series ends at ``end``.  ``epoch_of``: the wall clock's time then."""
        samples = list(self._samples)
        if not samples:
            return {"step_s": step_s, "end": None, "series": {}}
        end = samples[-1].at
        steps = list(_steps(samples, end, last_s, step_s))
        series: dict[str, list[_Number]] = {"pinned": [last.pinned if last else None for _, last in steps]}
        whole = [(first, last) if first and last and _follows(first, last) else None for first, last in steps]
        for name, make in with_turns(_SERIES.items(), turn):
            series[name] = [make(*step) if step else None for step in whole]
        for pool in with_turns(samples[-1].used, turn):
            used = (last.used.get(pool) if last else None for _, last in steps)
            series[f"pool_used_share:{pool}"] = [None if each is None else round(each, 4) for each in used]
        return {"step_s": step_s, "end": rfc3339(epoch_of(end)), "series": series}


def _used(controller: Controller, now: float) -> Iterator[tuple[str, float]]:
    for switch in controller.switches.values():
        statistics = switch.statistics(now)
        for family, use in statistics.pools.items():
            yield f"{switch.name}:{family}", (use.size - use.free) / use.size


def _steps(
    samples: Sequence[Sample], end: float, last_s: int, step_s: int
) -> Iterator[tuple[Sample | None, Sample | None]]:
    """The samples at the beginning and the end of each step; None: there is none."""
    for left in reversed(range(max(1, last_s // step_s))):
        begins = end - (left + 1) * step_s
        last = bisect_right(samples, begins + step_s + EVERY_S / 2, key=_AT) - 1
        if last < 0 or samples[last].at <= begins:
            yield None, None
            continue
        first = min(bisect_right(samples, begins + EVERY_S / 2, key=_AT), last) - 1
        yield samples[first] if first >= 0 else None, samples[last]


def _follows(first: Sample, last: Sample) -> bool:
    """Has the controller not begun anew in between?  Then it counts from zero."""
    counts = zip((first.opened, *first.answered), (last.opened, *last.answered), strict=True)
    return all(before <= after for before, after in counts)


_AT = attrgetter("at")


def _rate(name: str) -> Callable[[Sample, Sample], _Number]:
    count = attrgetter(name)
    return lambda first, last: round((count(last) - count(first)) / (last.at - first.at), 2)


def _answered(first: Sample, last: Sample) -> list[int]:
    return [after - before for before, after in zip(first.answered, last.answered, strict=True)]


def _first_reply_p95_ms(first: Sample, last: Sample) -> _Number:
    seconds = quantile(0.95, SECONDS, _answered(first, last))
    return None if seconds is None else round(1000 * seconds, 2)


def _unanswered_share(first: Sample, last: Sample) -> _Number:
    """In percent."""
    unanswered = last.unanswered - first.unanswered
    flows = unanswered + sum(_answered(first, last)) + last.refused - first.refused
    return round(100 * unanswered / flows, 2) if flows else None


# Those of what was counted in a step.
_SERIES: Mapping[str, Callable[[Sample, Sample], _Number]] = {
    "opened_per_s": _rate("opened"),
    "first_reply_p95_ms": _first_reply_p95_ms,
    "unanswered_share": _unanswered_share,
    "dropped_per_s": _rate("dropped"),
}
