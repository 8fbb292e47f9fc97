"""RoleAbilities: which of its roles a switch can carry out, in which families, as far as is known of it.

What it lacks is found by trials when it connects.  It may also accept what is tried, and refuse the rules of flows: a
switch that has refused ``IN_A_ROW`` flows of a family, one after the other, is taken to refuse them all, so that they
use up no addresses.  A full table says nothing about the next flow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.events import Event
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.description.model import Switch
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Judgement, Role, judge, roles

IN_A_ROW = 3


class RoleAbilities:
    """``families``: those that the network has, 4 and 6; ``features``: what is known of the switch now."""

    def __init__(self, switch: Switch, families: frozenset[int], features: Callable[[], Features]) -> None:
        self._name, self._roles = switch.name, roles(switch)
        self._families = families
        self._features = features
        self._known: Features | None = None  # that the following are about
        self._judgements: tuple[Judgement, ...] = ()
        self._able: dict[Role, frozenset[int]] = {}

    @property
    def judgements(self) -> Sequence[Judgement]:
        """Of each role that the network file gives it; all can be carried out while nothing else is known."""
        self._look()
        return self._judgements

    def can(self, role: Role, v6: bool) -> bool:
        """Can it carry out this role, if it has it?"""
        self._look()
        return (6 if v6 else 4) in self._able[role]

    def degradations(self) -> list[Event]:
        """What is told of the roles that it cannot carry out."""
        unable = (judgement for judgement in self.judgements if not judgement.is_able)
        return [SwitchDegraded(self._name, each.role.value, each.sentence) for each in unable]

    def _look(self) -> None:
        """For each new flow it is asked for its abilities: they are judged when they have changed."""
        features = self._features()
        if features is not self._known:
            self._known = features
            self._judgements = tuple(judge(role, features, self._families) for role in self._roles)
            self._able = {role: judge(role, features).able for role in Role}


class RefusedFlows:
    """Flows whose rules the switch has refused one after the other, in each family."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = {False: 0, True: 0}  # the number of the last one
        self._in_a_row = {False: 0, True: 0}

    def forget(self) -> None:
        """It has connected anew: perhaps it does not refuse them any more."""
        self._in_a_row = {False: 0, True: 0}

    def refused(self, flow: Binding, features: Features, why: str) -> Features:
        """Before the flow ends.  → what is known of the switch now."""
        v6 = len(flow.translated) == 16
        served = any(self._is_served(number, v6) for number in self._between(self._last[v6], flow.number))
        self._in_a_row[v6] = 1 if served else self._in_a_row[v6] + (flow.number != self._last[v6])
        self._last[v6] = flow.number
        ability = Ability.FLOWS_IPV6 if v6 else Ability.FLOWS_IPV4
        if self._in_a_row[v6] < IN_A_ROW or any(lack.ability is ability for lack in features.lacks):
            return features
        return replace(features, lacks=(*features.lacks, Lack(ability, None, why)))

    def _between(self, last: int, number: int) -> range:
        """A few of the numbers that were given since: they grow, and in a row there are hardly any others."""
        return range(max(last + 1, number - 64), number)

    def _is_served(self, number: int, v6: bool) -> bool:
        flow = self._engine.flows.by_number(number)
        return flow is not None and (len(flow.translated) == 16) is v6
