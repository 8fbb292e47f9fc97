"""UnservedEdge: the engine of a client edge whose switch can carry out none of the engines that its file allows.

Its clients get the ICMP error that hosts get where nothing is served.  Flows that it had before it connected so end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour
from anycast_sdn.core.transitions import FlowEvent
from anycast_sdn.engines.engine import Statistics, Surroundings
from anycast_sdn.engines.flow_reading import FlowReading, Found
from anycast_sdn.engines.no_client_edge import NoClientEdge
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import DeleteFlow, FlowRule


class UnservedEdge(NoClientEdge):
    """``edge`` has the flows."""

    def __init__(self, around: Surroundings, edge: ClientEdge) -> None:
        super().__init__(around)
        self._edge = edge
        self.first_replies, self.flow_record = edge.first_replies, edge.record
        self.flow_changes = edge.changes

    @property
    def flows(self) -> BindingTable:
        return self._edge.bindings

    def statistics(self, now: float) -> Statistics:
        edge = self._edge
        return Statistics(
            edge.addresses.use(now), edge.addresses.outlooks(now), opened=edge.opened, closed=edge.closed
        )

    def forget_flows(self) -> None:
        self._edge.forget()

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        """Addresses end their rests."""
        return Reaction(), len(self._edge.end_due(now, most)) == most

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> FlowReading:
        return FlowReading(self, begins, wiped)

    def adopt(self, found: Found, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> list[Event]:
        return []

    def settle(self, flow: Binding, rules: Sequence[FlowRule], wiped: bool, now: float) -> Reaction:
        self._edge.apply(flow, FlowEvent.FOUND_GONE, now)
        return Reaction([*map(DeleteFlow, rules)])

    def end_reading(self) -> None:
        self.flow_record.settle()
