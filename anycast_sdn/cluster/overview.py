"""Overview: who is there, who leads, and who is the master of what: a function of what etcd has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from anycast_sdn.cluster.generations import generation
from anycast_sdn.cluster.keys import (
    DRAINS,
    GENERATIONS,
    LEADER,
    MASTERS,
    MEMBERS,
    MOVED,
    SHARED,
    TERM,
    Held,
    MemberKey,
    dpid_of,
    of_switch,
)
from anycast_sdn.etcd.client import Value

OF_OVERVIEW = (LEADER, TERM, MEMBERS, MASTERS, GENERATIONS, DRAINS, SHARED, MOVED)  # how the keys begin that it needs


class Member(NamedTuple):
    """``lease``: revoked, it ends all that the member holds in etcd."""

    id: str
    told: MemberKey
    lease: int
    draining: bool = False

    @property
    def name(self) -> str:
        return self.told.name


class Master(NamedTuple):
    member: str
    generation: int


class Overview(NamedTuple):
    """``term``: grows with each leader; 0 without one.  Of a member that has ended nothing is in it.

    ``moved``: the names of the members to which an operator has given switches.
    """

    members: Mapping[str, Member]  # by id
    leader: str
    term: int
    masters: Mapping[int, Master]  # by datapath id
    shared: bool = False  # among members: the leader is not the master of all
    moved: Mapping[int, str] = MappingProxyType({})  # by datapath id

    def name(self, member: str) -> str:
        """How operators call a member; of one that has ended, as it can be told from its id."""
        found = self.members.get(member)
        return found.name if found else member.rpartition("-")[0] or member


class SchemaState(NamedTuple):
    """``later``: that this release knows, 0 without one; ``waits_for``: names of members that do not know it."""

    schema: int
    later: int
    waits_for: Sequence[str]


def overview(values: Mapping[str, Value]) -> Overview:
    members = {
        id: Member(id, MemberKey.of(value.text), value.lease, DRAINS + id in values)
        for key, value in values.items()
        if (id := key.removeprefix(MEMBERS)) != key
    }
    masters = {
        dpid: Master(value.text, generation(_offset(values, dpid), value.modified))
        for key, value in values.items()
        if key.startswith(MASTERS) and (dpid := dpid_of(key)) is not None
    }
    leader, term = values.get(LEADER), values.get(TERM)
    number = int(term.text) if term and leader and term.text.isdecimal() else 0
    moved = {
        dpid: value.text for key, value in values.items()
        if key.startswith(MOVED) and (dpid := dpid_of(key)) is not None
    }  # fmt: skip
    return Overview(members, leader.text if leader else "", number, masters, SHARED in values, moved)


def _offset(values: Mapping[str, Value], dpid: int) -> int:
    held = values.get(of_switch(GENERATIONS, dpid))
    return Held.of(held.text).offset if held else 0
