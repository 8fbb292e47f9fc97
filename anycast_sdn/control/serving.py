"""Serving: which servers take the new flows of which ANY/n at a switch, and by which select group (M8–M10).

The ANY/n of one group and address family have the same slots, and share one select group (``core.slots``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set

from anycast_sdn.control.group_numbers import GroupNumbers
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Prefix, Server
from anycast_sdn.core.prefixes import NestedPrefixes
from anycast_sdn.core.slots import Slots, Spread


class Serving:
    """``choose``: the slots that a group should have here, in one family (``Selecting``); ``answers``: has this server
    answered ARP or ND?"""

    def __init__(
        self,
        choose: Callable[[AnycastGroup, bool], Slots],
        answers: Callable[[Address], bool],
    ) -> None:
        self._choose = choose
        self._answers = answers
        self._enrolled: dict[Address, None] = {}  # enrolled servers in subnets of this switch
        self._checked: dict[Address, None] = {}  # of these, those that the controller checks through this switch
        self._serving: dict[Prefix, Spread] = {}  # ANY/n with servers here
        self._services: dict[Spread, dict[Prefix, None]] = {}  # the reverse
        self._slots: dict[Spread, Slots] = {}
        self._spreads: dict[Prefix, dict[Spread, None]] = {}  # the address of a server → those with slots of it
        self._servers = NestedPrefixes()  # the keys of ``_spreads``
        self._numbers = GroupNumbers()
        self._found: dict[Spread, Slots] = {}  # see ``pop_found``

    # ---------------------------------------------------------------- servers that are enrolled, and chosen

    def enrol(self, address: Address, enrolled: bool) -> None:
        """A server in a subnet of this switch was enrolled, or removed."""
        if enrolled:
            self._enrolled[address] = None
        else:
            self._enrolled.pop(address, None)

    @property
    def enrolled(self) -> Iterable[Address]:
        return self._enrolled.keys()

    def is_enrolled(self, address: Address) -> bool:
        return address in self._enrolled

    def check(self, address: Address, checked: bool) -> None:
        """Checks of a server in a subnet of this switch begin, or end."""
        if checked:
            self._checked[address] = None
        else:
            self._checked.pop(address, None)

    def is_checked(self, address: Address) -> bool:
        return address in self._checked

    @property
    def checked(self) -> Set[Address]:
        return self._checked.keys()

    def services(self, groups: Groups) -> Iterator[Prefix]:
        """The ANY/n of all groups that have a server here."""
        names = dict.fromkeys(name for address in self._enrolled for name in groups.of_server(address))
        for name in names:
            group = groups.get(name)
            yield from group.prefixes if group else ()

    def leaving(self, group: AnycastGroup, service: Prefix) -> tuple[Server, ...]:
        """The servers here that have taken new flows for ``service``, should no longer, and still could."""
        return tuple(
            group.servers[address]
            for address in dict.fromkeys(self.slots(self._serving.get(service)))
            if address in group.servers and self._answers(address)
        )

    def wanted(self, group: AnycastGroup, is_v6: bool) -> Slots:
        """The slots that the group should have here in this family; none: this switch does not announce it."""
        return self._choose(group, is_v6)

    # ---------------------------------------------------------------- services with servers here

    def __iter__(self) -> Iterator[Prefix]:
        """Each ANY/n that has servers here."""
        return iter(self._serving)

    def __contains__(self, service: Prefix) -> bool:
        return service in self._serving

    def spread(self, service: Prefix) -> Spread | None:
        """The spread by which ``service`` is served here."""
        return self._serving.get(service)

    def services_of(self, spread: Spread) -> Iterable[Prefix]:
        """The ANY/n that are served here by this spread."""
        return self._services.get(spread, {}).keys()

    def slots(self, spread: Spread | None) -> Slots:
        return self._slots.get(spread, ()) if spread else ()

    def number(self, spread: Spread | None) -> int | None:
        """The number of its select group; None while nothing here is served by it."""
        return self._numbers.get(spread) if spread else None

    def spreads_towards(self, prefixes: Iterable[Prefix]) -> dict[Spread, None]:
        """Those with slots of servers in these prefixes: it depends on the routes to these whether they have any."""
        found: dict[Spread, None] = {}
        for prefix in prefixes if self._spreads else ():
            for server in self._servers.within(prefix):
                found |= self._spreads[server]
        return found

    def spread_of(self, number: int) -> Spread | None:
        """That whose select group has this number here."""
        return next((spread for spread in self._services if self._numbers.get(spread) == number), None)

    def read_back(self, slots: dict[Spread, Slots]) -> None:
        """At the controller's start the switch was found to have these."""
        self._found = slots

    def pop_found(self) -> dict[Spread, Slots]:
        """What was read back since the last call."""
        found, self._found = self._found, {}
        return found

    def serve(self, service: Prefix, spread: Spread, slots: Slots) -> dict[Spread, int]:
        """``slots`` are those of ``spread`` from now on, and ``service`` is served by it; without any it is not served.

        → the other spreads whose groups' numbers change, with the old ones.
        """
        before = self._serving.get(service)
        changed = self._leave(service, before) if before and not (slots and before == spread) else {}
        if not slots:
            return changed
        self._serving[service] = spread
        self._services.setdefault(spread, {})[service] = None
        self.set_slots(spread, slots)
        return self._numbers.add(spread) | changed

    def set_slots(self, spread: Spread, slots: Slots) -> None:
        """Its slots from now on; none: it has no services any more."""
        before = self._slots.pop(spread, ())
        if slots:
            self._slots[spread] = slots
        if slots == before:
            return
        was, now = set(before), set(slots)
        for server in map(Prefix.host, now - was):
            self._spreads.setdefault(server, {})[spread] = None
            self._servers.add(server)
        for server in map(Prefix.host, was - now):
            del self._spreads[server][spread]
            if not self._spreads[server]:
                del self._spreads[server]
                self._servers.discard(server)

    def _leave(self, service: Prefix, spread: Spread) -> dict[Spread, int]:
        del self._serving[service]
        services = self._services[spread]
        del services[service]
        if services:
            return {}
        del self._services[spread]
        self.set_slots(spread, ())
        return self._numbers.discard(spread)
