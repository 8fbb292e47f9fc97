"""Registry: the groups and servers that operators have enrolled.

The rules this file keeps:

- A change is validated, stored, put into the snapshot and handed to ``on_change``, in this order.
  A step that fails ends the change: an enrolment that was refused or could not be stored is
  in no snapshot, and nothing is sent to a switch.
- ``groups`` is an immutable snapshot; a change replaces it.  If the enrolments have changed since a change was
  validated, because other events were handled during the validation (``turn``) or because another controller has
  changed the store, it is validated once more.
- What other controllers change in the store is put into the snapshot and handed to ``on_change`` likewise.
- A ``put`` of what is enrolled already changes nothing: no write, no ``on_change``.
- A removed server or group is removed from the enrolments only; the controller decides what happens to its flows (M20).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, ConfigurationError, NotFound, Server, text
from anycast_sdn.description.enrolment import EnrolmentError, check_apart, check_group, check_server, check_settings
from anycast_sdn.description.model import Network
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    Outdated,
    PutGroup,
    PutServer,
    Store,
    Stored,
    StoreError,
)

MAX_GROUPS = 10_000
MAX_SERVERS = 10_000  # per group
MAX_WEIGHT = 1000
ATTEMPTS = 8  # of a change, where other controllers change the store at the same time

Result = TypeVar("Result")
# From the groups as they are: the change to make, None where all is as wanted, and what to return.
Decide = Callable[[Groups], tuple[Change | None, Result]]


class AlreadyExists(ConfigurationError):
    """A group or server that should be new exists already."""


class LimitReached(ConfigurationError):
    """There would be more groups or servers than the limit."""


class InvalidWeight(EnrolmentError):
    """The weight is not within 1–1000."""


class Registry:
    """The enrolled groups and servers, kept in ``store``."""

    def __init__(self, network: Network, store: Store, on_change: Callable[[Groups], None]) -> None:
        """Open the store; a fresh one takes the network file's groups as first enrolments.

        Raises ConfigurationError when what is stored does not fit ``network`` (any more), StoreError.
        """
        self._network = network
        self._store = store
        self._on_change = on_change
        self._version, stored = store.open(network.groups)
        self._must_fit(stored)
        self.groups = Groups(stored)
        store.watch(self._changed_elsewhere)

    def group(self, name: str) -> AnycastGroup:
        """Raises NotFound."""
        return _group(self.groups, name)

    def server(self, group_name: str, address: Address) -> Server:
        """Raises NotFound."""
        return _server(self.groups, group_name, address)

    def put_group(
        self, wanted: AnycastGroup, turn: Callable[[], None] = lambda: None, *, anew: bool = False
    ) -> tuple[AnycastGroup, bool]:
        """Create the group, or replace the one of its name, whose servers stay.  → (group, created).

        ``wanted``: without servers.  ``turn`` is called now and then: other events may be handled there, and other
        changes be made.  ``anew``: there must be no such group.  Raises EnrolmentError when its prefixes, its settings
        or the servers would not fit, AlreadyExists, LimitReached, StoreError.
        """

        def created(groups: Groups) -> AnycastGroup:
            present = groups.get(wanted.name)
            if present is None and len(groups) >= MAX_GROUPS:
                raise LimitReached(f"there are {MAX_GROUPS} groups already, which is the limit; delete one first")
            if present and anew:
                raise AlreadyExists(f"group {wanted.name} exists already; use PUT or PATCH to change it")
            return wanted

        return self._put_group(created, turn)

    def change_group(
        self, name: str, changed: Callable[[AnycastGroup], AnycastGroup], turn: Callable[[], None] = lambda: None
    ) -> AnycastGroup:
        """Change the group as it is, but not its servers → the group.  Raises NotFound, and as ``put_group``.

        ``changed`` may be called again, when the group has been changed meanwhile; ``turn``: as of ``put_group``.
        """
        return self._put_group(lambda groups: changed(_group(groups, name)), turn)[0]

    def _put_group(
        self, wanted_of: Callable[[Groups], AnycastGroup], turn: Callable[[], None]
    ) -> tuple[AnycastGroup, bool]:
        seen: Groups | None = None  # the groups beside which the prefixes have been checked

        def decide(groups: Groups) -> tuple[Change | None, tuple[AnycastGroup, bool]]:
            nonlocal seen
            wanted = wanted_of(groups)
            present, change = groups.get(wanted.name), PutGroup(wanted)
            group = change.of(present)
            if group == present:
                return None, (group, False)
            if present and present.prefixes == wanted.prefixes:
                check_settings(wanted)
                return change, (group, False)
            if seen is None:
                check_group(self._network, groups, wanted, turn)
            else:
                check_apart(_changed_since(seen, groups), wanted)
            seen = groups
            for address in _first_of_each_family(group.servers):  # only the family depends on the prefixes
                check_server(self._network, group, address)
            return change, (group, present is None)

        return self._change(decide, turn)

    def delete_group(self, name: str, turn: Callable[[], None] = lambda: None) -> None:
        """Remove the group and its servers; ``turn``: as of ``put_group``.  Raises NotFound, StoreError."""

        def decide(groups: Groups) -> tuple[Change, None]:
            _group(groups, name)
            return DeleteGroup(name), None

        self._change(decide, turn)

    def put_server(self, group_name: str, server: Server) -> tuple[Server, bool]:
        """Enrol the server, or replace its weight and state.  → (server, created).

        Raises NotFound for the group, EnrolmentError, LimitReached, StoreError.
        """

        def decide(groups: Groups) -> tuple[Change | None, tuple[Server, bool]]:
            group = _group(groups, group_name)
            present = group.servers.get(server.address)
            if server == present:
                return None, (present, False)
            if present is None and len(group.servers) >= MAX_SERVERS:
                raise LimitReached(f"group {group_name} has {MAX_SERVERS} servers already, which is the limit")
            if not 1 <= server.weight <= MAX_WEIGHT:
                raise InvalidWeight("weight", f"the weight {server.weight} is not within 1 and {MAX_WEIGHT}")
            check_server(self._network, group, server.address)
            return PutServer(group_name, server), (server, present is None)

        return self._change(decide)

    def delete_server(self, group_name: str, address: Address) -> None:
        """Raises NotFound, StoreError."""

        def decide(groups: Groups) -> tuple[Change, None]:
            _server(groups, group_name, address)
            return DeleteServer(group_name, address), None

        self._change(decide)

    # -------------------------------------------------------------------------- inside

    def _change(self, decide: Decide[Result], turn: Callable[[], None] = lambda: None) -> Result:
        for _ in range(ATTEMPTS):
            at = self._version
            change, result = decide(self.groups)
            if change is None:
                return result
            if at != self._version:
                continue
            try:
                version = self._store.change(at, [change])
            except Outdated as outdated:
                self._changed_elsewhere(outdated.stored)
                continue
            group = change.of(self.groups.get(change.name))
            self._publish(version, self.groups.replaced(group) if group else self.groups.without(change.name), turn)
            return result
        raise StoreError(f"{self._store.path}: others change the enrolments all the time; try again")

    def _changed_elsewhere(self, stored: Stored) -> None:
        if stored.version > self._version:
            self._publish(stored.version, Groups(stored.groups))

    def _publish(self, version: int, groups: Groups, turn: Callable[[], None] = lambda: None) -> None:
        self._version, self.groups = version, groups
        turn()
        self._on_change(self.groups)  # perhaps with a change made in that turn, which has been handed over then already

    def _must_fit(self, stored: Mapping[str, AnycastGroup]) -> None:
        """The network file may have changed since these were stored.  Raises ConfigurationError.

        Overlaps between groups do not depend on the network file; they were refused at enrolment.
        """
        for group in stored.values():
            try:
                check_group(self._network, (), group)
                for address in group.servers:
                    check_server(self._network, group, address)
            except EnrolmentError as error:
                raise ConfigurationError(
                    f"{self._store.path}: group {group.name}, enrolled earlier, does not fit the network "
                    f"{self._network.name}: {error}; undo the change of the network file and remove the "
                    "enrolment over REST first, or start with another database"
                ) from error


def _first_of_each_family(addresses: Iterable[Address]) -> Iterable[Address]:
    firsts: dict[int, Address] = {}
    for address in addresses:
        firsts.setdefault(len(address), address)
    return firsts.values()


def _group(groups: Groups, name: str) -> AnycastGroup:
    """Raises NotFound."""
    group = groups.get(name)
    if group is None:
        raise NotFound(f"there is no group {name!a}")
    return group


def _server(groups: Groups, group_name: str, address: Address) -> Server:
    """Raises NotFound."""
    server = _group(groups, group_name).servers.get(address)
    if server is None:
        raise NotFound(f"{text(address)} is not enrolled in group {group_name}")
    return server


def _changed_since(before: Groups, now: Groups) -> Groups:
    """The groups whose prefixes have changed."""
    if before is now:
        return Groups()
    was = {group.name: group.prefixes for group in before}
    return Groups({group.name: group for group in now if was.get(group.name) is not group.prefixes})
