"""Events of services: groups, the edges that announce them, and where clients' packets get.

A group may have thousands of prefixes: all of one family are announced, and reached, alike, so events name the group,
the family, and the first of its prefixes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import Reported, Severity, Subject
from anycast_sdn.core.model import Prefix
from anycast_sdn.core.words import counted, listed

SHOWN_PREFIXES = 3
MOST_GROUPS = 100  # of one event


class _OfGroup(Reported):
    __slots__ = ()

    group: str

    @property
    def subject(self) -> Subject:
        return Subject("group", self.group)

    @property
    def kind(self) -> Hashable:
        return self  # each change is of interest, and operators make few


@dataclass(frozen=True, slots=True)
class GroupAdded(_OfGroup):
    """A group is new."""

    type: ClassVar[str] = "group.added"

    group: str
    prefixes: tuple[str, ...]  # the first ones
    services: int  # how many prefixes it has

    def sentence(self) -> str:
        return f"group {self.group} is new: {_first(self.prefixes, self.services)}"


@dataclass(frozen=True, slots=True)
class GroupChanged(_OfGroup):
    """Settings of a group are others: each as "affinity flow → client"."""

    type: ClassVar[str] = "group.changed"

    group: str
    changes: tuple[str, ...]

    def sentence(self) -> str:
        return f"group {self.group}: {', '.join(self.changes)}"


@dataclass(frozen=True, slots=True)
class GroupRemoved(_OfGroup):
    """A group is deleted, and its servers with it."""

    type: ClassVar[str] = "group.removed"

    group: str
    servers: int

    def sentence(self) -> str:
        return f"group {self.group} is removed, with {counted(self.servers, 'server')}"


class _OfEdge(Reported):
    """About a server edge and the services of a group, in one address family."""

    __slots__ = ()

    switch: str
    group: str
    prefixes: tuple[str, ...]  # the first ones
    services: int

    @property
    def subject(self) -> Subject:
        return Subject("switch", self.switch)

    @property
    def kind(self) -> Hashable:
        return self.type, self.switch, self.group, self.prefixes[:1]

    @property
    def _what(self) -> str:
        return f"{self.group} ({_first(self.prefixes, self.services)})"


@dataclass(frozen=True, slots=True)
class EdgeAnnounced(_OfEdge):
    """A server edge announces the services of a group: a server behind it takes new flows."""

    type: ClassVar[str] = "edge.announced"

    switch: str
    group: str
    prefixes: tuple[str, ...]
    services: int

    def sentence(self) -> str:
        return f"edge {self.switch} announces {self._what}"


@dataclass(frozen=True, slots=True)
class EdgeWithdrawn(_OfEdge):
    """A server edge announces the services of a group no longer.  ``left``: the edges that still do."""

    type: ClassVar[str] = "edge.withdrawn"

    switch: str
    group: str
    prefixes: tuple[str, ...]
    services: int
    left: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """critical if no other edge announces them, otherwise warning"""
        return Severity.WARNING if self.left else Severity.CRITICAL

    def sentence(self) -> str:
        left = "" if self.left else "; no other edge does"
        return f"edge {self.switch} no longer announces {self._what}: no server behind it takes new flows{left}"


@dataclass(frozen=True, slots=True)
class EdgeSpilling(_OfEdge):
    """The servers behind an edge are full: a share of its new flows goes to servers behind other edges.

    Told when the share becomes another one by a tenth of all flows; 0: all go to its own servers again.
    """

    type: ClassVar[str] = "edge.spilling"

    switch: str
    group: str
    prefixes: tuple[str, ...]
    services: int
    share: float  # 0–1
    to: tuple[str, ...]  # edges

    @property
    def severity(self) -> Severity:
        """warning; info when the share is 0"""
        return Severity.WARNING if self.share else Severity.INFO

    def sentence(self) -> str:
        if not self.share:
            return f"edge {self.switch} has room for all new flows of {self._what} again"
        return f"edge {self.switch} passes {self.share:.0%} of new flows of {self._what} on to {listed(self.to, 3)}"


@dataclass(frozen=True, slots=True)
class CatchmentChanged(Reported):
    """Packets of a site's clients to some services get to another edge than before.

    ``switch``: the site; ``before``, ``after``: edges, or "uplink NAME"; None: nowhere.  ``cost_before``,
    ``cost_after``: of the path through the fabric, where there is one.
    """

    type: ClassVar[str] = "catchment.changed"

    switch: str
    groups: tuple[str, ...]
    prefixes: tuple[str, ...]  # the first ones
    services: int
    before: str | None
    after: str | None
    cost_before: int | None = None
    cost_after: int | None = None

    @property
    def severity(self) -> Severity:
        """critical if it is nowhere, warning if it is farther away, otherwise info"""
        if self.after is None:
            return Severity.CRITICAL
        farther = self.before is not None and (self.cost_before or 0) < (self.cost_after or 0)
        return Severity.WARNING if farther else Severity.INFO

    @property
    def subject(self) -> Subject:
        return Subject("group", self.groups[0])

    @property
    def of_groups(self) -> tuple[str, ...]:
        return self.groups

    @property
    def kind(self) -> Hashable:
        return self.type, self.switch, self.before, self.after, self.groups

    def sentence(self) -> str:
        which = f"{listed(self.groups, 3)} ({_first(self.prefixes, self.services)})"
        return f"{which} from {self.switch}: {self.before or 'nowhere'} → {self.after or 'nowhere'}"


def shown(prefixes: Iterable[Prefix]) -> tuple[str, ...]:
    """The first of these, as events have them."""
    return tuple(str(prefix) for prefix, _ in zip(prefixes, range(SHOWN_PREFIXES), strict=False))


def _first(prefixes: tuple[str, ...], services: int) -> str:
    more = services - len(prefixes)
    return ", ".join(prefixes) + (f" and {more} more" if more > 0 else "")
