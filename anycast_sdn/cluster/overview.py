"""Overview: who is there, who leads, and who is the master of what: a function of what etcd has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anycast_sdn.cluster.keys import LEADER, MASTERS, MEMBERS, MemberKey
from anycast_sdn.etcd.client import Value

OF_OVERVIEW = (LEADER, MEMBERS, MASTERS)  # how the keys begin that it needs


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
    """``term``: grows with each leader; 0 without one.  Of a member that has ended nothing is in it."""

    members: Mapping[str, Member]  # by id
    leader: str
    term: int
    masters: Mapping[int, Master]  # by datapath id

    def name(self, member: str) -> str:
        """How operators call a member; of one that has ended, as it can be told from its id."""
        found = self.members.get(member)
        return found.name if found else member.rpartition("-")[0] or member


def overview(values: Mapping[str, Value]) -> Overview:
    members = {
        id: Member(id, MemberKey.of(value.text), value.lease)
        for key, value in values.items()
        if (id := key.removeprefix(MEMBERS)) != key
    }
    masters = {
        int(dpid, 16): Master(value.text, value.modified)
        for key, value in values.items()
        if (dpid := key.removeprefix(MASTERS)) != key
    }
    leader = values.get(LEADER)
    return Overview(members, leader.text if leader else "", leader.modified if leader else 0, masters)
