"""ChosenEngine: one of several engines, the first that the switch is able to carry out.

What a switch is able to do is known when it has connected, so the choice is made anew at each connection
(``begin_reading``).  All candidates decide by the same ``core.ClientEdge``: flows, addresses and records are the same
objects whichever of them is chosen.  When it is another one than before, it finds on the switch what that has left
there, as after a restart of the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding, BindingTable
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptConnection, KeptFlow
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.engines.engine import Audit, Engine, PacketHandler, Reading, Shortcoming, Statistics, Sweep
from anycast_sdn.engines.service_codes import ServiceCodes
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import FlowRule, Message, RuleKey


class Candidate(NamedTuple):
    engine: Engine
    suits: Callable[[Features], bool]  # is a switch with these able to carry it out?
    shortcoming: Shortcoming | None = None  # when it is chosen: why not the ones before


class ChosenEngine(Engine):
    """``candidates``: at least one, over one ``ClientEdge``; the last one suits every switch.

    Until the switch connects, the first one stands for it.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._chosen = candidates[0]
        self.first_replies = self.engine.first_replies
        self.flow_changes = self.engine.flow_changes
        self.flow_record = self.engine.flow_record

    @property
    def shown_as(self) -> str:
        return self.engine.shown_as

    @property
    def engine(self) -> Engine:
        return self._chosen.engine

    @property
    def flows(self) -> BindingTable:
        return self.engine.flows

    def validity_s(self, flow: Binding) -> int:
        return self.engine.validity_s(flow)

    def statistics(self, now: float) -> Statistics:
        return self.engine.statistics(now)

    @property
    def shortcoming(self) -> Shortcoming | None:
        return self._chosen.shortcoming

    def wanted_rules(self) -> Iterable[FlowRule]:
        return self.engine.wanted_rules()

    def places_of_server(self, server: Address, groups: Groups) -> Iterable[tuple[RuleKey, FlowRule | None]]:
        return self.engine.places_of_server(server, groups)

    def places_of_service(self, service: Prefix, groups: Groups) -> Iterable[tuple[RuleKey, FlowRule | None]]:
        return self.engine.places_of_service(service, groups)

    @property
    def services(self) -> Iterable[Prefix]:
        return self.engine.services

    @property
    def services_to_recheck(self) -> Iterable[Prefix]:
        return self.engine.services_to_recheck

    @property
    def codes(self) -> ServiceCodes | None:
        return next((each.engine.codes for each in self._candidates if each.engine.codes), None)

    @property
    def zone_timeouts(self) -> Mapping[int, Mapping[str, int]]:
        return self.engine.zone_timeouts

    @property
    def tracks_fragments(self) -> bool:
        return self.engine.tracks_fragments

    @property
    def may_report(self) -> bool:
        return any(candidate.engine.may_report for candidate in self._candidates)

    @property
    def packet_handlers(self) -> Mapping[Kind, PacketHandler]:
        return self.engine.packet_handlers

    @property
    def checked_kinds(self) -> Collection[Kind]:
        return self.engine.checked_kinds

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        return self.engine.rule_removed(cookie, deleted, unused, now)

    def rule_refused(self, number: int, now: float) -> Reaction:
        return self.engine.rule_refused(number, now)

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        return self.engine.tick(now, most)

    def retire(self) -> Sequence[Message]:
        return self.engine.retire()

    def end(self, number: int, now: float) -> Reaction:
        return self.engine.end(number, now)

    def close(self, numbers: Iterable[int], now: float) -> Reaction:
        return self.engine.close(numbers, now)

    def lose(self, numbers: Iterable[int], server: Address, groups: Groups, now: float) -> tuple[Reaction, int]:
        return self.engine.lose(numbers, server, groups, now)

    def forget_flows(self) -> None:
        for candidate in self._candidates:
            candidate.engine.forget_flows()

    @property
    def needs_keeping(self) -> bool:
        return any(candidate.engine.needs_keeping for candidate in self._candidates)

    def kept_connections(self, flow: Binding) -> Iterable[KeptConnection]:
        return self.engine.kept_connections(flow)

    def remember(self, flows: Iterable[KeptFlow], groups: Groups, to_epoch: float, now: float) -> int:
        return self.engine.remember(flows, groups, to_epoch, now)

    def set_aside(self) -> Sequence[Address]:
        return self.engine.set_aside()

    @property
    def aside(self) -> Sequence[Address]:
        return self.engine.aside

    def keep_back(self, addresses: Iterable[Address], now: float) -> None:
        self.engine.keep_back(addresses, now)

    def resting(self) -> Iterable[tuple[Address, float]]:
        return self.engine.resting()

    def rest(self, released: Iterable[tuple[Address, float]], now: float) -> None:
        self.engine.rest(released, now)

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> Reading:
        before = self._chosen
        self._chosen = next(each for each in self._candidates if each.suits(features))
        other = self._chosen is not before and not begins  # it holds all flows as another engine has put them
        return self.engine.begin_reading(features, begins=begins, wiped=wiped or other)

    def begin_sweep(self, now: float) -> Sweep | None:
        return self.engine.begin_sweep(now)

    @property
    def audit(self) -> Audit:
        return self.engine.audit
