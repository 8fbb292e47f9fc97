"""FoundLacks: what a switch that has accepted all trials refuses nevertheless, and what it lacks by that.

- Flows, one after the other, and groups of services: ``Refusals``.
- Rules for which its tables have no room: ``Room``.
- Rules that it goes on refusing, or does not hold: ``RefusedRows``.

Each changes its features, and with them what it can be (``RoleAbilities``).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

from anycast_sdn.control.refused_rows import RefusedRows
from anycast_sdn.control.role_abilities import Refusals, RoleAbilities
from anycast_sdn.control.room import Room
from anycast_sdn.core.events import RuleRefused
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow import transactions
from anycast_sdn.openflow.abilities import ROWS, Lack
from anycast_sdn.openflow.fallbacks import SERVE, has_groups, serves_alone
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import binding_of, kind_of
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.refusal import NO_ROOM_FOR_GROUPS
from anycast_sdn.openflow.row import Kind


class Examined(Protocol):
    """A switch, and what is known of it."""

    features: Features

    @property
    def name(self) -> str: ...

    @property
    def abilities(self) -> RoleAbilities: ...


class FoundLacks:
    """Of one switch."""

    def __init__(self, switch: Examined, engine: Engine, room: Room) -> None:
        self._switch = switch
        self._engine = engine
        self._room = room
        self._refusals = Refusals(engine)
        self.rows = RefusedRows()
        self.refused_at = -math.inf  # when it last refused a rule

    def connected(self) -> None:
        """Perhaps it does not refuse them any more."""
        self._refusals.connected(self._switch.features)
        self._room.connected()
        self.rows.connected()

    def rule_refused(self, cookie: int, now: float, why: str, full: bool) -> Reaction:
        """The switch has answered a flow-mod with an error; ``full``: it has no room for the rule."""
        self.refused_at = now
        number = binding_of(cookie)
        if not number:
            reaction = Reaction(events=[RuleRefused(self._switch.name)])
            self._rule_of_no_flow(kind_of(cookie), now, why, full, reaction)
            return reaction
        flow = transactions.refused(self._engine.flows, number)
        lack = self._refusals.flow(flow, why) if flow and not full else None
        reaction = self._engine.rule_refused(flow.number if flow else number, now)
        if lack:
            self._add(lack, reaction)
        return reaction

    def _rule_of_no_flow(self, kind: Kind | None, now: float, why: str, full: bool, reaction: Reaction) -> None:
        self.rows.refused(kind, why, full=full)
        if full and (kind or why == NO_ROOM_FOR_GROUPS):
            self._room.refused(kind, now)
            self._recheck(reaction)
        for v6, ability in SERVE.items() if kind is Kind.SERVICE_ALONE and not full else ():
            if serves_alone(self._switch.features, v6):
                self._add(Lack(ability, None, why), reaction)

    def group_refused(self, number: int, v6: bool, reaction: Reaction) -> bool:
        """Its buckets are the reason; adds what follows → are all groups to be replaced?

        It is sent others, one bucket a server.  When it has refused such a group, too, one server takes all flows in
        that family, by a rule; if that is refused, it cannot be a server edge in it.
        """
        switch = self._switch
        if lack := self._refusals.group(number, v6):
            had_groups = has_groups(switch.features, v6)
            self._add(lack, reaction)
            return had_groups and serves_alone(switch.features, v6)
        if switch.features.equal_buckets:
            switch.features = replace(switch.features, equal_buckets=False)
            return True
        return False

    def tick(self, now: float, reaction: Reaction) -> None:
        """Adds what follows from rules that it goes on refusing, or lacks room for, or does not any more."""
        self._room.tick(now)
        self.rows.tick(now)
        self._recheck(reaction)

    def _add(self, lack: Lack, reaction: Reaction) -> None:
        if lack.ability not in {each.ability for each in self._switch.features.lacks}:
            self._recheck(reaction, lack)

    def _recheck(self, reaction: Reaction, *more: Lack) -> None:
        """``more``: what has just been found."""
        switch = self._switch
        others = self._room.among((*(lack for lack in switch.features.lacks if lack.ability not in ROWS), *more))
        lacks = (*others, *self.rows.lacks(others, switch.features.tables))
        if lacks != switch.features.lacks:
            before = switch.abilities.judgements
            switch.features = replace(switch.features, lacks=lacks)
            reaction.events += switch.abilities.degradations(before)
            reaction.changed = True
