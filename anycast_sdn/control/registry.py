"""Groups and servers as the operator wants them.

The rules this file keeps:

- A change is validated, stored, put into the snapshot and handed to ``on_change``, in this order.
  What fails on the way has changed nothing that comes after it: a refused or unstored enrolment is
  in no snapshot, and no switch hears of it.
- ``groups`` is an immutable snapshot; a change replaces it.  From validation to the new snapshot
  nothing yields to the hub, so changes cannot interleave; where validation is so long that it has to yield
  (``turn``), it ends with what others have changed meanwhile.  ``on_change`` may yield.
- A ``put`` of what is there already changes nothing: no write, no ``on_change``.
- A removed server or group leaves the wanted state only; what happens to its flows is the
  controller's business (M20).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, ConfigurationError, Prefix, Server, text
from anycast_sdn.description.enrolment import EnrolmentError, check_apart, check_group, check_server
from anycast_sdn.description.model import Network
from anycast_sdn.store.sqlite import SqliteStore

MAX_GROUPS = 10_000
MAX_SERVERS = 10_000  # per group
MAX_WEIGHT = 1000


class NotFound(ConfigurationError):
    """There is no group or server of that name."""


class AlreadyExists(ConfigurationError):
    """A group or server that should be new is there already."""


class LimitReached(ConfigurationError):
    """One more group or server than this controller takes."""


class InvalidWeight(EnrolmentError):
    """The weight is not within 1–1000."""


class Registry:
    """The wanted groups and servers, kept in ``store``."""

    def __init__(self, network: Network, store: SqliteStore, on_change: Callable[[Groups], None]) -> None:
        """Load the store; a fresh one takes the network file's groups as first enrolments.

        Raises ConfigurationError when what is stored does not fit ``network`` (any more).
        """
        self._network = network
        self._store = store
        self._on_change = on_change
        if not store.initialised:
            store.initialise(network.groups)
        self.groups = Groups(self._restored())

    def group(self, name: str) -> AnycastGroup:
        """Raises NotFound."""
        group = self.groups.get(name)
        if group is None:
            raise NotFound(f"there is no group {name!a}")
        return group

    def server(self, group_name: str, address: Address) -> Server:
        """Raises NotFound."""
        server = self.group(group_name).servers.get(address)
        if server is None:
            raise NotFound(f"{text(address)} is not enrolled in group {group_name}")
        return server

    def put_group(
        self, name: str, prefixes: Iterable[Prefix], turn: Callable[[], None] = lambda: None, *, anew: bool = False
    ) -> tuple[AnycastGroup, bool]:
        """Create the group, or replace its prefixes; its servers stay.  → (group, created).

        ``turn`` is called now and then: others may go on, and change what they like.  ``anew``: there must be no such
        group.  Raises EnrolmentError when the prefixes or the servers would not fit, AlreadyExists, LimitReached,
        StoreError.
        """
        wanted, seen = AnycastGroup(name, tuple(prefixes)), self.groups
        if self._stands(wanted, anew):
            return self.group(name), False
        check_group(self._network, seen, wanted, turn)
        # From here on nobody else has a turn.
        if self._stands(wanted, anew):
            return self.group(name), False
        check_apart(self._changed_since(seen), wanted)
        present = self.groups.get(name)
        group = replace(wanted, servers=present.servers if present else {})
        for address in _first_of_each_family(group.servers):  # nothing else of them depends on prefixes
            check_server(self._network, group, address)
        self._store.save_group(group)
        self._replace(group, turn)
        return group, present is None

    def _stands(self, wanted: AnycastGroup, anew: bool) -> bool:
        """Are the prefixes as wanted already?  Raises AlreadyExists, LimitReached."""
        present = self.groups.get(wanted.name)
        if present is None and len(self.groups) >= MAX_GROUPS:
            raise LimitReached(f"there are {MAX_GROUPS} groups already, which is the limit; delete one first")
        if present and anew:
            raise AlreadyExists(f"group {wanted.name} exists already; use PUT to change it")
        return present is not None and present.prefixes == wanted.prefixes

    def _changed_since(self, seen: Groups) -> Groups:
        """The groups whose prefixes are not what they were."""
        if seen is self.groups:
            return Groups()
        was = {group.name: group.prefixes for group in seen}
        return Groups({group.name: group for group in self.groups if was.get(group.name) is not group.prefixes})

    def delete_group(self, name: str) -> None:
        """Remove the group and its servers.  Raises NotFound, StoreError."""
        self.group(name)
        self._store.delete_group(name)
        self._publish(self.groups.without(name))

    def put_server(self, group_name: str, server: Server) -> tuple[Server, bool]:
        """Enrol the server, or replace its weight and state.  → (server, created).

        Raises NotFound for the group, EnrolmentError, LimitReached, StoreError.
        """
        group = self.group(group_name)
        present = group.servers.get(server.address)
        if server == present:
            return present, False
        if present is None and len(group.servers) >= MAX_SERVERS:
            raise LimitReached(f"group {group_name} has {MAX_SERVERS} servers already, which is the limit")
        if not 1 <= server.weight <= MAX_WEIGHT:
            raise InvalidWeight("weight", f"the weight {server.weight} is not within 1 and {MAX_WEIGHT}")
        check_server(self._network, group, server.address)
        self._store.save_server(group_name, server)
        self._replace(replace(group, servers={**group.servers, server.address: server}))
        return server, present is None

    def delete_server(self, group_name: str, address: Address) -> None:
        """Raises NotFound, StoreError."""
        self.server(group_name, address)
        group = self.group(group_name)
        self._store.delete_server(group_name, address)
        others = {key: server for key, server in group.servers.items() if key != address}
        self._replace(replace(group, servers=others))

    # -------------------------------------------------------------------------- inside

    def _replace(self, group: AnycastGroup, turn: Callable[[], None] = lambda: None) -> None:
        self._publish(self.groups.replaced(group), turn)

    def _publish(self, groups: Groups, turn: Callable[[], None] = lambda: None) -> None:
        self.groups = groups
        turn()
        self._on_change(self.groups)  # which are others' changes, too, by now; then they come twice, which is once

    def _restored(self) -> dict[str, AnycastGroup]:
        """What is stored, checked against a network file that may have changed since.

        Overlaps between groups do not depend on the network; they were refused when they were asked for.
        """
        groups = self._store.load()
        for group in groups.values():
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
        return groups


def _first_of_each_family(addresses: Iterable[Address]) -> Iterable[Address]:
    firsts: dict[int, Address] = {}
    for address in addresses:
        firsts.setdefault(len(address), address)
    return firsts.values()
