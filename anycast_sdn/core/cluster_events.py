"""Events of a cluster of controllers, as this member sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import OfController, OfMember, Severity
from anycast_sdn.core.words import counted


@dataclass(frozen=True, slots=True)
class MemberJoined(OfMember):
    """A controller takes part in the cluster.  ``id``: of its process; ``rest``: where clients reach it."""

    type: ClassVar[str] = "member.joined"

    member: str
    id: str
    rest: str
    release: str

    def sentence(self) -> str:
        return f"member {self.member} has joined (REST on {self.rest}, release {self.release})"


@dataclass(frozen=True, slots=True)
class MemberLeft(OfMember):
    """A controller has ended because it was asked to; others do what it did."""

    type: ClassVar[str] = "member.left"

    member: str
    id: str

    def sentence(self) -> str:
        return f"member {self.member} has left"


@dataclass(frozen=True, slots=True)
class MemberLost(OfMember):
    """Others take over from a controller.  ``ended``: its process has ended; else it hangs, or does not reach etcd."""

    type: ClassVar[str] = "member.lost"
    usual: ClassVar[Severity] = Severity.WARNING

    member: str
    id: str
    ended: bool

    def sentence(self) -> str:
        why = "its process has ended" if self.ended else "it has ended, hangs, or does not reach etcd"
        return f"member {self.member} is lost: {why}"


@dataclass(frozen=True, slots=True)
class MemberForgotten(OfMember):
    """An operator has said that a member which is lost will not come back: it is not missed any more."""

    type: ClassVar[str] = "member.forgotten"

    member: str

    def sentence(self) -> str:
        return f"member {self.member} is not missed any more: an operator has had it forgotten"


@dataclass(frozen=True, slots=True)
class LeaderChanged(OfMember):
    """Another member leads: it decides on links and routes.  ``term``: grows with each leader."""

    type: ClassVar[str] = "leader.changed"

    member: str
    term: int

    def sentence(self) -> str:
        return f"member {self.member} leads (term {self.term})"


@dataclass(frozen=True, slots=True)
class EventsMissed(OfMember):
    """This member has not heard so many events of another one; that one has them."""

    type: ClassVar[str] = "member.events_missed"
    usual: ClassVar[Severity] = Severity.WARNING

    member: str
    events: int

    def sentence(self) -> str:
        return f"{counted(self.events, 'event')} of member {self.member} did not come here: that one has them"


@dataclass(frozen=True, slots=True)
class EtcdLost(OfController):
    """etcd does not answer this member, or takes nothing from it: it serves on; what is enrolled cannot be changed."""

    type: ClassVar[str] = "etcd.lost"
    usual: ClassVar[Severity] = Severity.CRITICAL

    reason: str

    def sentence(self) -> str:
        return f"etcd cannot be used: {self.reason}"


@dataclass(frozen=True, slots=True)
class EtcdBack(OfController):
    """etcd answers this member again, and takes what it writes.  ``away_s``: how long it did not."""

    type: ClassVar[str] = "etcd.back"

    away_s: float

    def sentence(self) -> str:
        return f"etcd can be used again, after {self.away_s:.0f} s"


# Each member sees these by itself, in etcd: type → the member of ``data`` by which two of them are the same.
SEEN_BY_ALL = {
    MemberJoined.type: "id",
    MemberLeft.type: "id",
    MemberLost.type: "id",
    LeaderChanged.type: "term",
}
