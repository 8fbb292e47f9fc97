"""Store: where enrolments are kept.  A protocol: no caller depends on the implementation.

The rules of every store:

- Enrolments have a version, which grows with each change.  A change names the version that it was decided on; if the
  enrolments have another one by then, it is refused as ``Outdated``, and nothing is changed.  So
  concurrent changes never overwrite each other, whatever runs between a decision and its storing.
- When ``change`` returns, the change is stored: all of it.  When it raises, nothing of it is.
- *First enrolments*, those of the network file, enter a store that has never been opened, and never again.
- A store checks no content: ``description.enrolment`` decides whether a group fits the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from anycast_sdn.core.model import Address, AnycastGroup, ConfigurationError, Drain, Server


class StoreError(ConfigurationError):
    """The store cannot be read or written now."""


class Stored(NamedTuple):
    """All that is stored, at one version."""

    version: int
    groups: Mapping[str, AnycastGroup]
    edges: Mapping[str, Drain] = {}  # the server edges that are drained, or being drained


class Outdated(StoreError):
    """The enrolments have changed since the version that a change was decided on; ``stored``: what they are now."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(f"the enrolments have been changed by another controller (version {stored.version})")
        self.stored = stored


@dataclass(frozen=True, slots=True)
class PutGroup:
    """The group is created, or replaces the one of its name, whose servers stay."""

    wanted: AnycastGroup  # without servers

    @property
    def name(self) -> str:
        return self.wanted.name

    def of(self, group: AnycastGroup | None) -> AnycastGroup:
        """``group`` after the change; None: there is no such group."""
        return replace(self.wanted, servers=group.servers if group else {})


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """The group is removed, with its servers."""

    name: str

    def of(self, group: AnycastGroup | None) -> AnycastGroup | None:
        return None


@dataclass(frozen=True, slots=True)
class PutServer:
    """The server is enrolled in the group, or replaces the one of its address."""

    name: str  # the group's
    server: Server


@dataclass(frozen=True, slots=True)
class DeleteServer:
    """The server is removed from the group."""

    name: str  # the group's
    address: Address


@dataclass(frozen=True, slots=True)
class DrainEdge:
    """All servers behind this edge are drained."""

    edge: str
    drain: Drain


@dataclass(frozen=True, slots=True)
class ResumeEdge:
    """They are no longer."""

    edge: str


ChangeOfGroup = PutGroup | DeleteGroup | PutServer | DeleteServer
Change = ChangeOfGroup | DrainEdge | ResumeEdge


def groups_after(
    group_of: Callable[[str], AnycastGroup | None], changes: Iterable[Change]
) -> dict[str, AnycastGroup | None]:
    """The groups that these changes concern, after them; ``group_of``: a group before them.

    Many servers of one group may change together: the group is made once.
    """
    after: dict[str, AnycastGroup | None] = {}
    servers: dict[str, dict[Address, Server]] = {}  # group → those after all changes so far, where they differ
    for change in changes:
        if isinstance(change, DrainEdge | ResumeEdge):
            continue
        name = change.name
        group = after.setdefault(name, group_of(name))
        if isinstance(change, PutGroup | DeleteGroup):
            present = replace(group, servers=servers.pop(name)) if group and name in servers else group
            after[name] = change.of(present)
        elif group:
            if name not in servers:
                servers[name] = dict(group.servers)
            of_it = servers[name]
            if isinstance(change, PutServer):
                of_it[change.server.address] = change.server
            else:
                of_it.pop(change.address, None)
    return {
        name: replace(group, servers=servers[name]) if group and name in servers else group
        for name, group in after.items()
    }


def edges_after(edges: Mapping[str, Drain], changes: Iterable[Change]) -> Mapping[str, Drain]:
    """The drained edges after these changes; the same value where nothing changes."""
    for change in changes:
        if isinstance(change, DrainEdge):
            edges = {**edges, change.edge: change.drain}
        elif isinstance(change, ResumeEdge):
            edges = {name: drain for name, drain in edges.items() if name != change.edge}
    return edges


class Store(Protocol):
    """``path``: its name in messages; ``problem``: why nothing can be stored now, "" when changes can be stored."""

    path: str

    @property
    def problem(self) -> str: ...

    def open(self, first: Iterable[AnycastGroup] = ()) -> Stored:
        """All enrolments.  A store that was never opened before begins with ``first``.  Raises StoreError."""

    def change(self, at: int, changes: Sequence[Change]) -> int:
        """Store these changes of version ``at`` → the new version.  Raises Outdated, StoreError."""

    def watch(self, changed: Callable[[Stored], None]) -> None:
        """``changed`` is called with what is stored after a change by another controller; not after one made here."""

    def check(self) -> None:
        """To be called every few seconds: repairs what it can, and sets ``problem``."""

    def close(self) -> None:
        """Release the store; it is not used afterwards.  A second call does nothing.  Raises StoreError."""
