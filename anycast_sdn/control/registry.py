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
- The two addresses of a server (``twin``) are changed and removed together, in one change of the store.
- A drain belongs to the state DRAINING: who sets another state ends it, who replaces a draining server's settings
  keeps it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import (
    Address,
    AnycastGroup,
    ConfigurationError,
    Drain,
    NotFound,
    Server,
    ServerState,
    text,
)
from anycast_sdn.description.enrolment import (
    EnrolmentError,
    InvalidTwin,
    check_apart,
    check_drain,
    check_group,
    check_room,
    check_server,
    check_server_settings,
    check_settings,
    check_twin,
)
from anycast_sdn.description.model import Network
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    DrainEdge,
    Outdated,
    PutGroup,
    PutServer,
    ResumeEdge,
    Store,
    Stored,
    StoreError,
    edges_after,
    groups_after,
)

MAX_GROUPS = 10_000
MAX_SERVERS = 10_000  # per group
ATTEMPTS = 8  # of a change, where other controllers change the store at the same time
STORING_S = 3.0  # a change waits so long for others that are being stored

Result = TypeVar("Result")
# Raises when a change of this group or server (None: there is none) is not wanted; called where the change is decided.
Permit = Callable[[Any], None]
# From the groups as they are: the changes to make, none where all is as wanted, and what to return.
Decide = Callable[[Groups], tuple[Sequence[Change], Result]]


class AlreadyExists(ConfigurationError):
    """A group or server that should be new exists already."""


class LimitReached(ConfigurationError):
    """There would be more groups or servers than the limit."""


class Registry:
    """The enrolled groups and servers, kept in ``store``.

    ``groups``: all of them; ``edges``: the server edges that are drained.  Both are snapshots.
    """

    def __init__(self, network: Network, store: Store, on_change: Callable[[Groups], None]) -> None:
        """Open the store; a fresh one takes the network file's groups as first enrolments.

        Raises ConfigurationError when what is stored does not fit ``network`` (any more), StoreError.
        """
        self._network = network
        self._store = store
        self._on_change = on_change
        self._storing = threading.RLock()
        self._version, stored, self.edges = store.open(network.groups)
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
        self,
        wanted: AnycastGroup,
        turn: Callable[[], None] = lambda: None,
        *,
        anew: bool = False,
        permit: Permit = lambda present: None,
    ) -> tuple[AnycastGroup, bool]:
        """Create the group, or replace the one of its name, whose servers stay.  → (group, created).

        ``wanted``: without servers.  ``turn`` is called now and then: other events may be handled there, and other
        changes be made.  ``anew``: there must be no such group.  Raises EnrolmentError when its prefixes, its settings
        or the servers would not fit, AlreadyExists, LimitReached, StoreError.
        """

        def created(groups: Groups) -> AnycastGroup:
            present = groups.get(wanted.name)
            permit(present)
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

        def decide(groups: Groups) -> tuple[Sequence[Change], tuple[AnycastGroup, bool]]:
            nonlocal seen
            wanted = wanted_of(groups)
            present, change = groups.get(wanted.name), PutGroup(wanted)
            group = change.of(present)
            if group == present:
                return (), (group, False)
            if present and present.prefixes == wanted.prefixes:
                check_settings(wanted)
                return [change], (group, False)
            if seen is None:
                check_group(self._network, groups, wanted, turn)
            else:
                check_apart(_changed_since(seen, groups), wanted)
            seen = groups
            for address in _first_of_each_family(group.servers):  # only the family depends on the prefixes
                check_server(self._network, group, address)
            return [change], (group, present is None)

        return self._change(decide, turn)

    def delete_group(
        self, name: str, turn: Callable[[], None] = lambda: None, permit: Permit = lambda present: None
    ) -> None:
        """Remove the group and its servers; ``turn``: as of ``put_group``.  Raises NotFound, StoreError."""

        def decide(groups: Groups) -> tuple[Sequence[Change], None]:
            permit(_group(groups, name))
            return [DeleteGroup(name)], None

        self._change(decide, turn)

    def put_server(
        self, group_name: str, server: Server, *, anew: bool = False, permit: Permit = lambda present: None
    ) -> tuple[Server, bool]:
        """Enrol the server, or replace all that is set of it.  → (server, created).

        With a ``twin``, both addresses; a server that has one keeps it.  ``anew``: it must not be enrolled yet.
        Raises NotFound for the group, EnrolmentError, AlreadyExists, LimitReached, StoreError.
        """

        def decide(groups: Groups) -> tuple[Sequence[Change], tuple[Server, bool]]:
            group = _group(groups, group_name)
            present = group.servers.get(server.address)
            permit(present)
            if present and anew:
                reason = f"{text(server.address)} is enrolled in group {group_name} already"
                raise AlreadyExists(f"{reason}; use PUT or PATCH to change it")
            wanted = replace(server, twin=server.twin or (present.twin if present else None))
            return self._put(group, wanted), (_settled(wanted, present), present is None)

        return self._change(decide)

    def change_server(self, group_name: str, address: Address, changed: Callable[[Server], Server]) -> Server:
        """Change the server as it is, and its twin likewise → the server.  Raises NotFound, EnrolmentError, StoreError.

        ``changed`` may be called again, when the server has been changed meanwhile.
        """

        def decide(groups: Groups) -> tuple[Sequence[Change], Server]:
            group = _group(groups, group_name)
            present = _server(groups, group_name, address)
            wanted = _settled(changed(present), present)
            return self._put(group, wanted), wanted

        return self._change(decide)

    def change_servers(self, changes: Mapping[tuple[str, Address], Callable[[Server], Server | None]]) -> None:
        """Change all of these that are still enrolled, in one change of the store; None: remove it.  Raises StoreError.

        Each by its group and address, its twin with it, once.
        """

        def decide(groups: Groups) -> tuple[Sequence[Change], None]:
            decided: list[Change] = []
            done: set[tuple[str, Address | None]] = set()
            for (name, address), changed in changes.items():
                group = groups.get(name)
                present = group.servers.get(address) if group else None
                if group is None or present is None or (name, address) in done:
                    continue
                done.add((name, present.twin))
                wanted = changed(present)
                decided += self._put(group, wanted) if wanted else _without(name, present)
            return decided, None

        self._change(decide)

    def delete_server(
        self, group_name: str, address: Address, permit: Permit = lambda present: None
    ) -> None:
        """Remove the server, with both its addresses.  Raises NotFound, StoreError."""

        def decide(groups: Groups) -> tuple[Sequence[Change], None]:
            present = _server(groups, group_name, address)
            permit(present)
            return _without(group_name, present), None

        self._change(decide)

    def _put(self, group: AnycastGroup, wanted: Server) -> list[Change]:
        """What makes this server and its twin as wanted.  Raises EnrolmentError, LimitReached."""
        twin = wanted.twin
        known = group.servers.get(wanted.address) or (group.servers.get(twin) if twin else None)
        wanted = _settled(wanted, known)
        check_server_settings(wanted)
        both = [wanted] if twin is None else [wanted, replace(wanted, address=twin, twin=wanted.address)]
        if twin is not None:
            check_twin(self._network, wanted.address, twin)
        changes: list[Change] = []
        for server in both:
            present = group.servers.get(server.address)
            if present and present.twin and present.twin != server.twin:
                reason = f"{text(server.address)} is enrolled together with {text(present.twin)}"
                raise InvalidTwin("addresses", f"{reason}: remove it first, to enrol it with another address or alone")
            if server == present:
                continue
            if present is None:
                check_server(self._network, group, server.address)
            changes.append(PutServer(group.name, server))
        new = sum(server.address not in group.servers for server in both)
        if new and len(group.servers) + new > MAX_SERVERS:
            raise LimitReached(f"group {group.name} has {MAX_SERVERS} servers already, which is the limit")
        return changes

    # -------------------------------------------------------------------------- edges

    def drain_edge(self, edge: str, drained: Callable[[Drain | None], Drain]) -> Drain:
        """No server behind this edge takes new flows from now on → the drain.  Raises NotFound, StoreError.

        ``drained``: makes the drain of the one that there is, if any.  Raises EnrolmentError, too.
        """
        self._server_edge(edge)

        def decide(groups: Groups) -> tuple[Sequence[Change], Drain]:
            present = self.edges.get(edge)
            drain = drained(present)
            check_drain(drain)
            return [DrainEdge(edge, drain)] * (drain != present), drain

        return self._change(decide)

    def resume_edge(self, edge: str) -> None:
        """The servers behind this edge take new flows again.  Raises NotFound, StoreError."""
        self._server_edge(edge)
        self._change(lambda groups: ([ResumeEdge(edge)] * (edge in self.edges), None))

    def _server_edge(self, edge: str) -> None:
        """Raises NotFound."""
        if not any(switch.name == edge and switch.server_edge for switch in self._network.switches):
            known = ", ".join(switch.name for switch in self._network.switches if switch.server_edge)
            raise NotFound(f"there is no server edge {edge!a}; there are {known or 'none'}")

    @property
    def version(self) -> int:
        """Of all that is enrolled; it grows with each change, by whichever member of a cluster."""
        return self._version

    # -------------------------------------------------------------------------- inside

    def _change(self, decide: Decide[Result], turn: Callable[[], None] = lambda: None) -> Result:
        for _ in range(ATTEMPTS):
            at = self._version
            changes, result = decide(self.groups)
            if not changes:
                return result
            with self._one_at_a_time():
                if at != self._version:  # others were first, while it was decided or waited
                    at = self._version
                    changes, result = decide(self.groups)
                    if not changes:
                        return result
                    if at != self._version:
                        continue
                try:
                    version = self._store.change(at, changes)
                except Outdated as outdated:
                    self._changed_elsewhere(outdated.stored)
                    continue
            if self._version == at:  # otherwise what others have changed since is in the snapshot, this included
                self._publish(version, _groups_after(self.groups, changes), edges_after(self.edges, changes), turn)
            return result
        raise StoreError(f"{self._store.path}: others change the enrolments all the time; try again")

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """A store may wait for others, while other changes are made here.  Raises StoreError."""
        if not self._storing.acquire(timeout=STORING_S):
            raise StoreError(f"{self._store.path}: other changes are still being stored; try again")
        try:
            yield
        finally:
            self._storing.release()

    def _changed_elsewhere(self, stored: Stored) -> None:
        if stored.version > self._version:
            self._publish(stored.version, _groups_of(self.groups, stored.groups), stored.edges)

    def _publish(
        self, version: int, groups: Groups, edges: Mapping[str, Drain], turn: Callable[[], None] = lambda: None
    ) -> None:
        self._version, self.groups, self.edges = version, groups, edges
        turn()
        self._on_change(self.groups)  # perhaps with a change made in that turn, which has been handed over then already

    def _must_fit(self, stored: Mapping[str, AnycastGroup]) -> None:
        """The network file may have changed since these were stored.  Raises ConfigurationError.

        Overlaps between groups do not depend on the network file; they were refused at enrolment.
        """
        for group in stored.values():
            try:
                check_group(self._network, (), group)
                for address, server in group.servers.items():
                    check_server(self._network, group, address)
                    check_server_settings(server)
            except EnrolmentError as error:
                raise ConfigurationError(
                    f"{self._store.path}: group {group.name}, enrolled earlier, does not fit the network "
                    f"{self._network.name}: {error}; undo the change of the network file and remove the "
                    "enrolment over REST first, or start with another database"
                ) from error
        try:
            check_room(self._network, Groups(stored))
        except EnrolmentError as error:
            raise ConfigurationError(f"{self._store.path}: what was enrolled earlier: {error}") from error


def _settled(wanted: Server, present: Server | None) -> Server:
    """As it is stored: a drain goes with the state DRAINING, and goes on when other settings change."""
    if wanted.state is not ServerState.DRAINING:
        return replace(wanted, drain=None)
    return replace(wanted, drain=wanted.drain or (present.drain if present else None))


def _without(group: str, server: Server) -> list[Change]:
    both = (server.address, *filter(None, [server.twin]))
    return [DeleteServer(group, address) for address in both]


def _groups_of(groups: Groups, stored: Mapping[str, AnycastGroup]) -> Groups:
    """As they are stored; where one group has changed, the others are not gone through again."""
    changed = [group for name, group in stored.items() if groups.get(name) is not group]
    gone = [name for name in groups.names() if name not in stored]
    if len(changed) + len(gone) > 1:  # a prefix may have moved from one group to another
        return Groups(stored)
    for name in gone:
        groups = groups.without(name)
    for group in changed:
        groups = groups.replaced(group)
    return groups


def _groups_after(groups: Groups, changes: Sequence[Change]) -> Groups:
    for name, group in groups_after(groups.get, changes).items():
        groups = groups.replaced(group) if group else groups.without(name)
    return groups


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
