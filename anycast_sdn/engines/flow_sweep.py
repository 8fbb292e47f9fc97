"""FlowSweep: reads the counters of all flows' rules, in slices, and then ends the flows that are idle (M19).

What counters say of a flow is decided by ``core.sweep``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_sdn.core.bindings import Half
from anycast_sdn.engines.engine import Sweep
from anycast_sdn.openflow.pipeline import cookies_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Table

SLICE = 2048  # rules per answer: a few milliseconds, for which first packets wait
_TABLES = {Half.OUT: Table.CLIENT_OUT, Half.IN: Table.CLIENT_IN}

Record = Callable[[bool, Iterable[tuple[int, int]], float, float], list[int]]  # as ``core.sweep.Sweep.record``


class FlowSweep(Sweep):
    """``record``: records the counters of one direction → the flows that may be idle; ``end_idle``: ends those of them
    that are; ``done``: is called at the end."""

    def __init__(
        self,
        flows: int,
        record: Record,
        end_idle: Callable[[Iterable[int], float], Reaction],
        done: Callable[[float], None],
    ) -> None:
        self._requests = requests(flows)
        self._record = record
        self._end_idle = end_idle
        self._done = done
        self._unused: list[int] = []
        self._is_over = False

    @property
    def requests(self) -> list[RulesRequest]:
        return self._requests

    def take(self, request: RulesRequest, counters: Iterable[tuple[int, int]], asked: float, now: float) -> None:
        self._unused += self._record(request.table is Table.CLIENT_IN, counters, asked, now)

    def end_some(self, most: int, now: float) -> Reaction:
        some = self._unused[-most:]
        del self._unused[-most:]  # in less time than those at the front: there may be a million
        try:
            return self._end_idle(some, now)
        finally:  # after an error of our own, too: the next sweep begins only after the end of this one
            if not self._unused:
                self._is_over = True
                self._done(now)

    @property
    def is_over(self) -> bool:
        return self._is_over


def requests(flows: int) -> list[RulesRequest]:
    """For the rules of so many flows: each for one direction of the flows whose numbers end with the same bits."""
    bits = (flows // SLICE).bit_length()
    parts = range(1 << bits)
    return [RulesRequest(*cookies_of(half, part, bits), table) for part in parts for half, table in _TABLES.items()]
