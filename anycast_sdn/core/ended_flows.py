"""EndedFlows: the bindings of flows that have ended a short while ago.

A flow may end too early in the eyes of its client or server: they were silent for long, or a packet was late.  Its
next packet restores the binding as it was, with the same PR1X and server (M20), if no other pair of client and service
has had the address since; the caller sees to that.

At most ``MOST`` flows are kept, the latest ones.
"""

from __future__ import annotations

from collections import OrderedDict

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import FlowKey

MOST = 1 << 16  # some 40 MB


class EndedFlows:
    """Of one client edge.  ``lasts_s``: for how long a flow is kept."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._flows: OrderedDict[FlowKey, tuple[Binding, float]] = OrderedDict()  # in the order of their ends

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, flow: Binding, now: float) -> None:
        self._flows[flow.key] = flow, now + self._lasts_s
        self._flows.move_to_end(flow.key)
        if len(self._flows) > MOST:
            self._flows.popitem(last=False)

    def get(self, key: FlowKey, now: float) -> Binding | None:
        flow, until = self._flows.get(key, (None, now))
        return flow if until > now else None

    def forget(self, key: FlowKey) -> None:
        self._flows.pop(key, None)

    def forget_old(self, now: float, most: int) -> None:
        """Those whose time is over, up to ``most`` of them; to be called regularly."""
        while most and self._flows and next(iter(self._flows.values()))[1] <= now:
            self._flows.popitem(last=False)
            most -= 1
