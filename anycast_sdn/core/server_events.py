"""Events in the life of servers and of the edges that they are behind.  ``switch`` is the name of that edge."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Reported, Severity, Subject
from anycast_sdn.core.model import Address, text
from anycast_sdn.core.words import counted, listed

_SEVERITIES = {HealthStatus.CRITICAL: Severity.CRITICAL, HealthStatus.WARNING: Severity.WARNING}


class _OfServer(Reported):
    """About one server of a group."""

    __slots__ = ()

    group: str
    server: Address

    @property
    def subject(self) -> Subject:
        return Subject("server", text(self.server))

    @property
    def kind(self) -> Hashable:
        return self  # each change is of interest, and operators make few

    @property
    def _name(self) -> str:
        return f"server {text(self.server)} of group {self.group}"


@dataclass(frozen=True, slots=True)
class ServerEnrolled(_OfServer):
    """A server is enrolled in a group."""

    type: ClassVar[str] = "server.enrolled"

    switch: str
    group: str
    server: Address

    def sentence(self) -> str:
        return f"{self._name} is enrolled, behind {self.switch}"


@dataclass(frozen=True, slots=True)
class ServerChanged(_OfServer):
    """Settings of an enrolled server are others: each as "weight 1 → 5"."""

    type: ClassVar[str] = "server.changed"

    switch: str
    group: str
    server: Address
    changes: tuple[str, ...]

    def sentence(self) -> str:
        return f"{self._name}: {', '.join(self.changes)}"


@dataclass(frozen=True, slots=True)
class ServerRemoved(_OfServer):
    """A server is no longer enrolled in a group."""

    type: ClassVar[str] = "server.removed"

    switch: str
    group: str
    server: Address

    def sentence(self) -> str:
        return f"{self._name} is removed"


@dataclass(frozen=True, slots=True)
class ServerDraining(_OfServer):
    """A server takes no new flows any more.  ``operation``: "" where nobody waits for the end."""

    type: ClassVar[str] = "server.draining"

    switch: str
    group: str
    server: Address
    operation: str
    deadline_s: float | None

    def sentence(self) -> str:
        return f"{self._name} is being drained{_within(self.deadline_s)}"


@dataclass(frozen=True, slots=True)
class ServerDrained(_OfServer):
    """The last flow of a draining server has ended, or its drain is over."""

    type: ClassVar[str] = "server.drained"

    switch: str
    group: str
    server: Address

    def sentence(self) -> str:
        return f"{self._name} is drained"


@dataclass(frozen=True, slots=True)
class LeaseExpired(_OfServer):
    """A server's enrolment was not renewed in time.  ``removed_in_s``: None: it stays enrolled."""

    type: ClassVar[str] = "server.lease_expired"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    group: str
    server: Address
    removed_in_s: float | None

    def sentence(self) -> str:
        then = "" if self.removed_in_s is None else f"; it is removed in {self.removed_in_s:g} s"
        return f"{self._name} has not renewed its lease{then}"


@dataclass(frozen=True, slots=True)
class LeaseRenewed(_OfServer):
    """A lease that had expired is held again."""

    type: ClassVar[str] = "server.lease_renewed"

    switch: str
    group: str
    server: Address

    def sentence(self) -> str:
        return f"{self._name} has renewed its lease again"


@dataclass(frozen=True, slots=True)
class ServerHealthChanged(Reported):
    """The health of a server has changed in these groups.  ``reason``: "" when it passes."""

    type: ClassVar[str] = "server.health"

    switch: str
    server: Address
    groups: tuple[str, ...]
    before: HealthStatus
    after: HealthStatus
    reason: str

    @property
    def severity(self) -> Severity:
        """that of the new status: info, warning or critical"""
        return _SEVERITIES.get(self.after, Severity.INFO)

    @property
    def of_groups(self) -> tuple[str, ...]:
        return self.groups

    @property
    def subject(self) -> Subject:
        return Subject("server", text(self.server))

    @property
    def kind(self) -> Hashable:
        return self.type, self.server, self.groups, self.after

    def sentence(self) -> str:
        """Nothing of a first result that is good: after the start of the controller that are all servers."""
        if (self.before, self.after) == (HealthStatus.UNKNOWN, HealthStatus.PASSING):
            return ""
        of = f"of {'group' if len(self.groups) == 1 else 'groups'} {listed(self.groups, 3)}"
        return f"server {text(self.server)} {of} is {self.after.value}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True, slots=True)
class ServerLost(Reported):
    """A server has been unreachable for too long: the flows of this client edge that it served are freed (M32)."""

    type: ClassVar[str] = "server.lost"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    server: Address
    flows: int

    @property
    def subject(self) -> Subject:
        return Subject("server", text(self.server))

    def sentence(self) -> str:
        return f"server {text(self.server)} is lost: {counted(self.flows, 'flow')} at {self.switch} freed"


@dataclass(frozen=True, slots=True)
class ServerReturned(Reported):
    """A server that this client edge had lost can be reached again."""

    type: ClassVar[str] = "server.returned"

    switch: str
    server: Address

    @property
    def subject(self) -> Subject:
        return Subject("server", text(self.server))

    def sentence(self) -> str:
        return f"server {text(self.server)} can be reached again from {self.switch}"


@dataclass(frozen=True, slots=True)
class EdgeDraining(Reported):
    """The servers behind an edge take no new flows any more."""

    type: ClassVar[str] = "edge.draining"

    switch: str
    operation: str
    deadline_s: float | None

    @property
    def subject(self) -> Subject:
        return Subject("switch", self.switch)

    def sentence(self) -> str:
        return f"edge {self.switch} is being drained{_within(self.deadline_s)}"


@dataclass(frozen=True, slots=True)
class EdgeResumed(Reported):
    """The servers behind an edge that was drained take new flows again."""

    type: ClassVar[str] = "edge.resumed"

    switch: str

    @property
    def subject(self) -> Subject:
        return Subject("switch", self.switch)

    def sentence(self) -> str:
        return f"edge {self.switch} takes new flows again"


@dataclass(frozen=True, slots=True)
class OperationEnded(Reported):
    """A drain of a server in a group, or of an edge, is over.  ``reason``: why it has failed, or what is left."""

    type: ClassVar[str] = "operation.ended"

    switch: str
    group: str  # "": of an edge
    operation: str
    what: str  # such as "drain of 10.2.0.10 in group web"
    succeeded: bool
    reason: str

    @property
    def severity(self) -> Severity:
        """info; warning if it has failed"""
        return Severity.INFO if self.succeeded else Severity.WARNING

    @property
    def subject(self) -> Subject:
        return Subject("operation", self.operation)

    @property
    def kind(self) -> Hashable:
        return self

    def sentence(self) -> str:
        if self.succeeded and self.group and not self.reason:
            return ""  # the server's own event, that it is drained or removed, says it
        return f"{self.what} {'is over' if self.succeeded else 'has failed'}" + (
            f": {self.reason}" if self.reason else ""
        )


def _within(deadline_s: float | None) -> str:
    return "" if deadline_s is None else f", within {deadline_s:g} s"
