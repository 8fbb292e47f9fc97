"""Events of an election: what keeps a controller, or a switch, from its part in a cluster.

``member``: the name of a controller as operators call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import OfController, OfMember, OfSwitch, Severity
from anycast_sdn.core.words import listed


@dataclass(frozen=True, slots=True)
class LeaseLost(OfMember):
    """The lease of this controller in etcd has ended, so others may take its place; it takes another one.

    It stays the master of its switches until one of them refuses, or another controller has it.
    """

    type: ClassVar[str] = "cluster.lease_lost"
    usual: ClassVar[Severity] = Severity.WARNING

    member: str

    def sentence(self) -> str:
        return f"{self.member}: the lease in etcd has ended; taking another, and serving until another controller does"


@dataclass(frozen=True, slots=True)
class NameTaken(OfMember):
    """Another process has the name of this controller in etcd, so this one neither leads nor claims.

    ``other``: the id of that process.
    """

    type: ClassVar[str] = "cluster.name_taken"
    usual: ClassVar[Severity] = Severity.CRITICAL

    member: str
    other: str

    def sentence(self) -> str:
        return f"another process is called {self.member}, too ({self.other}): this one is no member until that ends"


@dataclass(frozen=True, slots=True)
class SchemaRaised(OfController):
    """All members have a release that knows another form of what etcd has, so it has this form from now on.

    Releases that do not know it cannot join any more.
    """

    type: ClassVar[str] = "cluster.schema_raised"

    before: int
    now: int

    def sentence(self) -> str:
        return (
            f"all members know schema {self.now} of etcd: it was raised from {self.before}, and releases that do not "
            "know it cannot join any more"
        )


@dataclass(frozen=True, slots=True)
class SwitchOutOfReach(OfSwitch):
    """Only controllers that do not lead reach a switch, so none is its master: its rules stay as they are."""

    type: ClassVar[str] = "cluster.out_of_reach"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str
    leader: str
    reached_by: tuple[str, ...]

    def sentence(self) -> str:
        by = listed(list(self.reached_by))
        return f"switch {self.switch} is connected to {by}, not to {self.leader}, which leads: nobody changes its rules"


@dataclass(frozen=True, slots=True)
class SwitchContested(OfSwitch):
    """A controller that is not in this etcd claims a switch, too, so its master changes all the time."""

    type: ClassVar[str] = "cluster.contested"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str

    def sentence(self) -> str:
        return (
            f"switch {self.switch} is claimed again and again by a controller that is not in this etcd: end it, or "
            "give it the same --etcd"
        )


@dataclass(frozen=True, slots=True)
class SwitchUnfenced(OfSwitch):
    """In a cluster, a switch has no roles, so it would take writes from everybody: one controller serves it.

    Another one follows only when the first must have stopped; if that is frozen in the middle of a write, nothing keeps
    it from finishing.
    """

    type: ClassVar[str] = "cluster.unfenced"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str

    def sentence(self) -> str:
        return (
            f"switch {self.switch} has no roles (OpenFlow 1.3.5, 6.3.6): it is served by one controller at a time, "
            "which stops when it has not heard from etcd for 2 s"
        )


@dataclass(frozen=True, slots=True)
class SwitchStoodDown(OfSwitch):
    """This controller has stopped to serve a switch without roles, because it has not heard from etcd for too long."""

    type: ClassVar[str] = "cluster.stood_down"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str

    def sentence(self) -> str:
        return f"switch {self.switch} has no roles, and etcd was not heard for 2 s: not served by this controller now"
