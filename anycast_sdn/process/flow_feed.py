"""FlowFeed: hands what becomes of flows to those who listen.

The engines note it only while somebody does (``core.flow_events``).  It is collected several times a second, in
batches, and not with each packet: a first packet waits for none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from os_ken.lib import hub

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.flow_events import FlowChange, Refusals
from anycast_sdn.process.faults import isolated

AT_ONCE = 2_000  # changes: some milliseconds for all listeners; then other green threads run


class FlowListener:
    """What a listener may be told.  It must not wait."""

    def flows(self, edge: str, changes: Sequence[FlowChange]) -> None:
        """In the order in which they happened; ``when`` is monotonic."""

    def flows_missing(self, edge: str, count: int) -> None:
        """So many changes happened faster than they could be collected: they are lost."""

    def flows_settled(self, edge: str) -> None:
        """The edge has connected, and all flows that it has are known: of those before, others have ended."""

    def flows_refused(self, edge: str, refusals: Sequence[Refusals]) -> None:
        """New flows that got no binding."""


class FlowFeed:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._find_records()
        self._listeners: list[FlowListener] = []
        self.collects = False  # now

    def _find_records(self) -> None:
        self._records = {switch.name: switch.engine.flow_record for switch in self._controller.switches.values()}

    def begin_anew(self) -> None:
        """The controller has forgotten its flows."""
        self._find_records()
        self._watch()

    def listen(self, listener: FlowListener) -> Callable[[], None]:
        """From now on → what ends that."""
        self._listeners.append(listener)
        self._watch()

        def end() -> None:
            self._listeners.remove(listener)
            self._watch()

        return end

    def _watch(self) -> None:
        for record in self._records.values():
            if record.is_watched is not bool(self._listeners):
                record.watch(bool(self._listeners))

    def collect(self) -> None:
        """To be called several times a second; one green thread at a time collects."""
        if self.collects or not self._listeners:
            return
        self.collects = True
        try:
            for edge, record in list(self._records.items()):
                while changes := record.pop(AT_ONCE):
                    for listener in list(self._listeners):
                        isolated(listener.flows)(edge, changes)  # a fault in one loses that for it alone
                    hub.sleep(0)
                missing, refused, settled = record.pop_missing(), record.pop_refused(), record.pop_settled()
                for listener in list(self._listeners):
                    if missing:
                        isolated(listener.flows_missing)(edge, missing)
                    if settled:
                        isolated(listener.flows_settled)(edge)
                    if refused:
                        isolated(listener.flows_refused)(edge, refused)
        finally:
            self.collects = False
