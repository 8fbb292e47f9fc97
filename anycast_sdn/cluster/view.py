"""View: what etcd has of the cluster, as this member has seen it last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anycast_sdn.cluster.generations import distance, generation, later_of
from anycast_sdn.cluster.keys import (
    DRAINS,
    GENERATIONS,
    LEADER,
    MASTERS,
    MEMBERS,
    MOVED,
    OF_CLUSTER,
    SHARED,
    TERM,
    Held,
    MemberKey,
    dpid_of,
    of_switch,
)
from anycast_sdn.etcd.client import Value
from anycast_sdn.etcd.schema import SCHEMA, schema_of


class Master(NamedTuple):
    """``modified``: the revision at which the switch was given to it; ``generation``: what it may claim with."""

    member: str
    modified: int
    generation: int


class View:
    def __init__(self) -> None:
        self.revision = 0
        self.values: dict[str, Value] = {}
        self.members: dict[str, MemberKey] = {}  # by id
        self._held: dict[int, Held] = {}
        self._highest: dict[int, int] = {}  # generation of a switch, ever; also before etcd was rebuilt

    def take(self, changed: Mapping[str, Value | None], revision: int) -> None:
        self.revision = revision
        for key, value in changed.items():
            if key.startswith(OF_CLUSTER):
                self._take(key, value)
        for key in changed:
            if key.startswith(MASTERS) and (dpid := dpid_of(key)) is not None and (master := self.master(dpid)):
                self._highest[dpid] = later_of(self._highest.get(dpid, master.generation), master.generation)

    def _take(self, key: str, value: Value | None) -> None:
        if value:
            self.values[key] = value
        else:
            self.values.pop(key, None)
        if key.startswith(MEMBERS):
            member = key[len(MEMBERS) :]
            if value:
                self.members[member] = MemberKey.of(value.text)
            else:
                self.members.pop(member, None)
        elif key.startswith(GENERATIONS) and (dpid := dpid_of(key)) is not None:
            self._held[dpid] = Held.of(value.text) if value else Held()

    @property
    def leader(self) -> str:
        return self.text(LEADER)

    @property
    def term(self) -> int:
        text = self.text(TERM)
        return int(text) if text.isdecimal() else 0

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value.text if value else ""

    def modified(self, key: str) -> int:
        """0: there is no such key."""
        value = self.values.get(key)
        return value.modified if value else 0

    def lease(self, member: str) -> int:
        value = self.values.get(MEMBERS + member)
        return value.lease if value else 0

    def drains(self, member: str) -> bool:
        return DRAINS + member in self.values

    @property
    def is_shared(self) -> bool:
        return SHARED in self.values

    def moved(self) -> dict[int, str]:
        """Switch → the name of the member that an operator has given it to."""
        keys = (key for key in self.values if key.startswith(MOVED))
        return {dpid: self.text(key) for key in keys if (dpid := dpid_of(key)) is not None}

    def eligible(self) -> dict[str, MemberKey]:
        """Who may lead."""
        knowing = {member: told for member, told in self.members.items() if self.knows_schema(told)}
        return {member: told for member, told in knowing.items() if not told.leaving and not self.drains(member)}

    def knows_schema(self, told: MemberKey) -> bool:
        """Can this member read what etcd has?"""
        return SCHEMA not in self.values or schema_of(self.values) in told.schemas

    def name(self, member: str) -> str:
        """How operators call a member, also one that has ended."""
        found = self.members.get(member)
        return (found.name if found else "") or member.rpartition("-")[0] or member

    def held(self, dpid: int) -> Held:
        return self._held.get(dpid, Held())

    def master(self, dpid: int) -> Master | None:
        value = self.values.get(of_switch(MASTERS, dpid))
        if value is None:
            return None
        return Master(value.text, value.modified, generation(self.held(dpid).offset, value.modified))

    def generation(self, dpid: int) -> int:
        """The one that was given out last."""
        return generation(self.held(dpid).offset, self.modified(of_switch(GENERATIONS, dpid)))

    def offset(self, dpid: int, jump: int) -> int:
        """What the next generation is to be counted from, so that it is later than all that were seen.

        ``jump``: a random number.  After etcd has been rebuilt, or restored, revisions come again, and some of them may
        have been used by those whom nobody here has heard of.
        """
        there = of_switch(GENERATIONS, dpid) in self.values
        offset = self.held(dpid).offset if there else jump
        highest = self._highest.get(dpid)
        if highest is not None and distance(generation(offset, self.revision), highest) > 0:
            return generation(highest, jump)
        return offset
