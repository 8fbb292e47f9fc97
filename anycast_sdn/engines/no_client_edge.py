"""NoClientEdge: the engine of a switch that is no client edge.  It has no flows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.first_replies import FirstReplies
from anycast_sdn.core.flow_events import FlowRecord
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import FlowChanges, KeptConnection, KeptFlow
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.engines.engine import Engine, PacketHandler, Shortcoming, Statistics, Surroundings, Sweep
from anycast_sdn.engines.flow_audit import FlowAudit
from anycast_sdn.engines.flow_reading import Strays
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule, Message, PutBinding, RuleKey


class NoClientEdge(Engine):
    def __init__(self, around: Surroundings) -> None:
        self._subnets = around.subnets
        self._anycast = around.anycast  # which hosts here may not use (M6)
        self.first_replies = FirstReplies()
        self.flow_changes = FlowChanges()
        self.flow_record = FlowRecord()
        self._flows = BindingTable()
        self._features = Features()
        self._audit = FlowAudit(around.name, self._flows, no_rule)

    @property
    def shown_as(self) -> str:
        return ""

    @property
    def flows(self) -> BindingTable:
        return self._flows

    def validity_s(self, flow: Binding) -> int:
        return 0

    def statistics(self, now: float) -> Statistics:
        return Statistics()

    @property
    def shortcoming(self) -> Shortcoming | None:
        return None

    def wanted_rules(self) -> Iterable[FlowRule]:
        return entries.client_edge(None, self._subnets, self._anycast)

    def places_of_server(self, server: Address, groups: Groups) -> Sequence[tuple[RuleKey, FlowRule | None]]:
        return ()

    def places_of_service(self, service: Prefix, groups: Groups) -> Sequence[tuple[RuleKey, FlowRule | None]]:
        return ()

    @property
    def services(self) -> Sequence[Prefix]:
        return ()

    @property
    def zone_timeouts(self) -> Mapping[int, Mapping[str, int]]:
        return {}

    @property
    def tracks_fragments(self) -> bool:
        return self._features.spoils_fragments and self._features.connections

    @property
    def packet_handlers(self) -> Mapping[Kind, PacketHandler]:
        return {}

    @property
    def checked_kinds(self) -> Collection[Kind]:
        return ()

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        return Reaction()

    def rule_refused(self, number: int, now: float) -> Reaction:
        return Reaction()

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        return Reaction(), False

    def retire(self) -> Sequence[Message]:
        return ()

    def end(self, number: int, now: float) -> Reaction:
        return Reaction()

    def close(self, numbers: Iterable[int], now: float) -> Reaction:
        return Reaction()

    def lose(self, numbers: Iterable[int], server: Address, groups: Groups, now: float) -> tuple[Reaction, int]:
        return Reaction(), 0

    def forget_flows(self) -> None:
        pass

    def kept_connections(self, flow: Binding) -> Iterable[KeptConnection]:
        return ()

    def remember(self, flows: Iterable[KeptFlow], groups: Groups, to_epoch: float, now: float) -> int:
        return 0

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> Strays:
        self._features = features
        return Strays(self._flows)

    def begin_sweep(self, now: float) -> Sweep | None:
        return None

    @property
    def audit(self) -> FlowAudit:
        return self._audit


def no_rule(flow: Binding, half: Half) -> PutBinding:
    raise AssertionError("there are no flows here")
