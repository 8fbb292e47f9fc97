"""Store: where enrolments live, as the registry sees it; nobody asks which one it is.

The rules of every store:

- Enrolments have a version, which grows with each change.  A change names the version that it was decided on; if the
  enrolments have another one by then, it is refused as ``Outdated``, and nothing is changed.  So two who change
  enrolments at a time never overwrite each other, whatever yields between a decision and its storing.
- When ``change`` returns, the change is stored: all of it.  When it raises, nothing of it is.
- *First enrolments*, those of the network file, enter a store that has never been opened, and never again.
- A store judges nothing: whether a group fits the network is ``description.enrolment``'s question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from anycast_sdn.core.model import Address, AnycastGroup, ConfigurationError, Prefix, Server


class StoreError(ConfigurationError):
    """The store cannot be read or written now."""


class Stored(NamedTuple):
    """All enrolments, as they are stored at one version."""

    version: int
    groups: Mapping[str, AnycastGroup]


class Outdated(StoreError):
    """The enrolments have changed since a change of them was decided on; ``stored`` is what they are now."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(f"the enrolments have been changed by another controller (version {stored.version})")
        self.stored = stored


@dataclass(frozen=True, slots=True)
class PutGroup:
    """The group is created, or its prefixes are replaced; its servers stay."""

    name: str
    prefixes: tuple[Prefix, ...]

    def of(self, group: AnycastGroup | None) -> AnycastGroup:
        """``group`` after the change; None: there is no such group."""
        return AnycastGroup(self.name, self.prefixes, group.servers if group else {})


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """The group is removed, with its servers."""

    name: str

    def of(self, group: AnycastGroup | None) -> AnycastGroup | None:
        return None


@dataclass(frozen=True, slots=True)
class PutServer:
    """The server is enrolled in the group, or its weight and state are replaced."""

    name: str  # the group's
    server: Server

    def of(self, group: AnycastGroup | None) -> AnycastGroup | None:
        return group and replace(group, servers={**group.servers, self.server.address: self.server})


@dataclass(frozen=True, slots=True)
class DeleteServer:
    """The server is removed from the group."""

    name: str  # the group's
    address: Address

    def of(self, group: AnycastGroup | None) -> AnycastGroup | None:
        return group and replace(
            group, servers={address: server for address, server in group.servers.items() if address != self.address}
        )


Change = PutGroup | DeleteGroup | PutServer | DeleteServer


class Store(Protocol):
    """``path`` names it to people; ``problem``: why nothing can be stored now, "" when all is well."""

    path: str
    problem: str

    def open(self, first: Iterable[AnycastGroup] = ()) -> Stored:
        """What is stored; ``first`` enters it when it has never been opened before.  Raises StoreError."""

    def change(self, at: int, changes: Sequence[Change]) -> int:
        """Store these changes of version ``at`` → the new version.  Raises Outdated, StoreError."""

    def watch(self, changed: Callable[[Stored], None]) -> None:
        """``changed`` is called with what others have changed; not for changes made here."""

    def check(self) -> None:
        """To be called every few seconds: puts right what it can, and sets ``problem``."""

    def close(self) -> None:
        """Nothing more is asked of it; a second time it does nothing.  Raises StoreError."""
