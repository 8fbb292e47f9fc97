"""StreamedFlows: brings what becomes of flows to the event stream, while somebody there has asked for it.

``sample``: of the flows that this controller decides on; ``shown``: what streams take, in a cluster those of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from anycast_sdn.core.flow_events import FlowChange
from anycast_sdn.process.flow_feed import FlowFeed, FlowListener
from anycast_sdn.views.flow_sample import FlowSample


class StreamedFlows(FlowListener):
    def __init__(self, feed: FlowFeed, member: str) -> None:
        self.sample = self.shown = FlowSample(self._watch, member)
        self._feed = feed
        self._end: Callable[[], None] = lambda: None

    def _watch(self, on: bool) -> None:
        self._end()
        self._end = self._feed.listen(self) if on else lambda: None

    def flows(self, edge: str, changes: Sequence[FlowChange]) -> None:
        self.sample.take(edge, changes, time.monotonic(), time.time())

    def flows_missing(self, edge: str, count: int) -> None:
        self.sample.leave_out(count)
