"""FlowRules: the engine that installs a pair of rules for each binding, one for each direction.

``ClientEdge`` decides.  This engine turns packets and reports of the switch into its events, and its decisions into
rules; it rebuilds bindings from rules after a restart of the controller, and says when counters are to be read.

- Rules are sent before the packet, which then passes through the switch's own tables, as later packets of its flow do.
- The cookie of a rule has the number and the direction of its binding, so that each report about a rule leads
  to the binding.
- Rules that another program deletes are soon installed again.

Nothing is sent from here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import Fault, RuleRefused, repaired
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, WHOLE, Address, Prefix
from anycast_sdn.core.roles import EngineName
from anycast_sdn.core.transitions import RELEASES, Details, FlowEvent
from anycast_sdn.engines import found_rules
from anycast_sdn.engines.edge_engine import EdgeEngine
from anycast_sdn.engines.engine import Statistics, Surroundings
from anycast_sdn.engines.flow_audit import FlowAudit
from anycast_sdn.engines.flow_reading import FlowReading
from anycast_sdn.engines.flow_sweep import FlowSweep
from anycast_sdn.engines.followed_rules import FollowedRules, Read
from anycast_sdn.openflow import entries, readback
from anycast_sdn.openflow.fallbacks import needs_sweep
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import kind_of, number_of
from anycast_sdn.openflow.reaction import Reaction, through_pipeline
from anycast_sdn.openflow.rules import (
    DeleteFlow,
    FlowRule,
    Message,
    PutBinding,
    RemoveBinding,
    RuleKey,
)

LONGEST_SWEEP_S = 15.0  # from one sweep to the next


class FlowRules(EdgeEngine):
    """The bindings of one switch and their rules."""

    def __init__(self, around: Surroundings, edge: ClientEdge) -> None:
        super().__init__(around, edge)
        self._features = Features()
        self._lost: dict[int, Half] = {}  # binding's number → its rules that another program has deleted
        self._used: set[int] | None = None  # bindings used while the switch is being read; None: it is not being read
        self._audit = FlowAudit(self.name, edge.bindings, self.wanted_rule)
        self._sweep_ended = -math.inf  # the last one; while one is under way, inf

    @property
    def shown_as(self) -> str:
        return EngineName.RULES.value

    def statistics(self, now: float) -> Statistics:
        return super().statistics(now)._replace(rules=self.flows.rules)

    # ---------------------------------------------------------------- what the switch should hold, besides flows

    def wanted_rules(self) -> Iterator[FlowRule]:
        return entries.client_edge(self.edge.role, self.subnets, self.anycast, self._features.tcp_flags)

    def places_of_server(self, server: Address, groups: Groups) -> Iterator[tuple[RuleKey, FlowRule | None]]:
        is_wanted = groups.of_server(server) or self.flows.pinned_to(server)
        for rule in entries.first_replies(self.edge.role, [server]):
            yield rule.key, rule if is_wanted else None

    def places_of_service(self, service: Prefix, groups: Groups) -> Sequence[tuple[RuleKey, FlowRule | None]]:
        return ()

    @property
    def tracks_fragments(self) -> bool:
        return False

    @property
    def services(self) -> Iterable[Prefix]:
        return ()

    def wanted_rule(self, flow: Binding, half: Half) -> PutBinding:
        """A rule can record a FIN only by a shorter idle timeout, so only if it has one: see ``entries.binding``."""
        idle_timeout = 0 if flow.swept else self.edge.validity_s(flow)
        fin_timeout, protocol, features = 0, flow.key.protocol, self._features
        if idle_timeout and protocol == TCP and flow.server and features.tcp_flags and features.fin_timeout:
            is_open = not flow.closed or half not in flow.closed
            fin_timeout = idle_timeout - is_open
        return PutBinding(flow, half, idle_timeout, fin_timeout, protocol == WHOLE and features.tcp_flags)

    # ---------------------------------------------------------------- decisions become rules

    def carry_out(self, decision: Decision, frame: bytes) -> Reaction:
        if self._used is not None:
            self._note_used(decision)
        return Reaction([*self._rules_of(decision), through_pipeline(frame)], changed=self.is_wanted_again(decision))

    def messages_of(self, decision: Decision) -> list[Message]:
        """The rules that a decision installs."""
        if self._used is not None:
            self._note_used(decision)
        return self._rules_of(decision)

    def _rules_of(self, decision: Decision) -> list[Message]:
        binding = decision.binding
        return [self.wanted_rule(binding, half) for half in decision.put.parts] if binding else []

    def _note_used(self, decision: Decision) -> None:
        """What was found of a binding that has been used since may be out of date: see ``settle``."""
        if self._used is not None and decision.binding:
            self._used.add(decision.binding.number)

    def removed(self, decisions: Iterable[Decision]) -> Reaction:
        reaction = Reaction()
        for decision in decisions:
            assert decision.binding is not None
            binding, server = decision.binding, decision.binding.server
            for half in (Half.BOTH if server else Half.OUT).parts:
                reaction.messages.append(RemoveBinding(self.wanted_rule(binding, half)))
            reaction.changed |= self.is_left(server)
        return reaction

    def unpinned(self, decision: Decision, server: Address) -> list[Message]:
        assert decision.binding is not None
        pinned = decision.binding._replace(server=server)
        return [RemoveBinding(self.wanted_rule(pinned, Half.IN)), *self._rules_of(decision)]

    # ---------------------------------------------------------------- what becomes of rules

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        kind, number = kind_of(cookie), number_of(cookie)
        if kind is None or kind not in readback.HALF_OF:
            return Reaction()
        half, state = readback.HALF_OF[kind]
        if deleted:
            # The controller deletes only rules of ended bindings and of earlier states.  A rule that another program
            # has deleted says nothing about the flow's packets, and is installed again (M20).
            binding = self.flows.by_number(number)
            if binding and binding.state is state and half in binding.installed:
                self._lost[number] = self._lost.get(number, Half.NONE) | half
                return Reaction(others_deleted=True)
            return Reaction()
        decision = self.edge.rule_removed(number, half, state, unused, now)
        if decision.do not in RELEASES or decision.binding is None or not decision.binding.server:
            return Reaction()
        # Both rules should be gone.  But the report may have crossed a message to the switch that installs one again.
        return self.removed([decision])

    def rule_refused(self, number: int, now: float) -> Reaction:
        """The switch has refused a rule of this binding, for example because its table is full: end the binding."""
        binding = self.flows.by_number(number)
        if binding is None:
            return Reaction()
        reaction = self.removed([self.edge.apply(binding, FlowEvent.REFUSED, now)])
        reaction.events.append(RuleRefused(self.name, number))
        return reaction

    def tick(self, now: float, most: int) -> tuple[Reaction, bool]:
        """Connections that have ended come first: another program may delete rules as fast as they are put back."""
        reaction, ended = self.end_connections(now, most)
        put_back = self._put_back(most - ended)
        reaction.messages += put_back
        reaction.events += repaired(self.name, (Fault.MISSING for _ in put_back))
        reaction.events += self.watch_pools(now)
        return reaction, ended == most or bool(self._lost)

    def _put_back(self, most: int) -> list[Message]:
        """The rules of ``most`` bindings that another program has deleted."""
        messages: list[Message] = []
        for number in list(itertools.islice(self._lost, most)):
            binding, halves = self.flows.by_number(number), self._lost.pop(number)
            if binding:
                messages += [self.wanted_rule(binding, half) for half in (halves & binding.installed).parts]
        return messages

    # ---------------------------------------------------------------- sweeps of counters

    def begin_sweep(self, now: float) -> FlowSweep | None:
        due = self._sweep_ended + min(LONGEST_SWEEP_S, self.edge.shortest_validity_s / 2)
        if not self.flows.swept or now < due:
            return None
        self._sweep_ended = math.inf
        return FlowSweep(len(self.flows), self.edge.sweep.record, self._end_idle, partial(self._end_sweep, now))

    def _end_idle(self, numbers: Iterable[int], now: float) -> Reaction:
        return self.removed(self.edge.end_idle(numbers, now))

    def _end_sweep(self, began: float, now: float) -> None:
        self.last_sweep_s = now - began
        self._sweep_ended = now

    # ---------------------------------------------------------------- what is found on the switch

    def begin_reading(self, features: Features, *, begins: bool, wiped: bool) -> FlowReading:
        """A sweep that was under way at an earlier connection will not end; all lost rules are found."""
        self._begin_reading(features)
        return FlowReading(self, begins, wiped)

    def begin_reading_the_rest(self, features: Features) -> FlowReading:
        """As ``begin_reading``, where the flows have been followed: audits find what may be wrong with their rules."""
        self._begin_reading(features)
        return FlowReading(self, begins=False, wiped=False, settles=False)

    def _begin_reading(self, features: Features) -> None:
        self._features = features
        self.edge.sweep_all(needs_sweep(features))
        self._used = set()
        self._sweep_ended = -math.inf
        self._lost.clear()

    def follow(self, read: Read) -> FollowedRules:
        return FollowedRules(self, read)

    def settle(self, flow: Binding, rules: Sequence[FlowRule], wiped: bool, now: float) -> Reaction:
        """A flow keeps the directions for which the switch has rules.  It ends only when there are none (M20).

        If the flow was used or has changed since the switch was asked, what was found is out of date: nothing is done,
        and an audit finds what may be wrong.
        """
        if (self._used and flow.number in self._used) or self.flows.by_number(flow.number) is not flow:
            return Reaction()
        if wiped:
            return Reaction([*self._rules_of(self.edge.apply(flow, FlowEvent.WIPED, now))])
        installed = found_rules.halves_of(flow, rules)
        if not installed:
            self.edge.apply(flow, FlowEvent.FOUND_GONE, now)
            return Reaction([*map(DeleteFlow, rules)])
        kept = self.edge.apply(flow, FlowEvent.FOUND_AGAIN, now, Details(installed=installed)).binding
        for half in found_rules.closed_halves(rules):
            if kept and not kept.reset:
                kept = self.edge.tcp_end(flow.number, half, False, now).binding
        assert kept is not None  # neither event ends it
        return self._corrected(kept, installed, rules)

    @property
    def audit(self) -> FlowAudit:
        return self._audit

    def _corrected(self, flow: Binding, installed: Half, rules: Sequence[FlowRule]) -> Reaction:
        messages = found_rules.corrections([self.wanted_rule(flow, half) for half in installed.parts], rules)
        return Reaction(messages, events=repaired(self.name, found_rules.faults(messages, rules)))

    def end_reading(self) -> None:
        if self._used is not None:
            self.flow_record.settle()
        self._used = None
