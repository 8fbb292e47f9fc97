"""Comparisons: which of a switch's rules are to be compared, because wanted and installed may differ there.

What an event may have changed is compared at once.  When the switch has connected, everything is to be compared, in
portions, and in an order that interrupts no flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.slots import Spread


@dataclass(slots=True)
class ToCompare:
    """The rules that depend on these."""

    meters: bool = False
    constant: bool = False  # see ``WantedRules.constant``
    engine: bool = False  # the engine's rules that belong to no single server or flow
    hosts: dict[Address, None] = field(default_factory=dict)
    egress: dict[Prefix, None] = field(default_factory=dict)
    services: dict[Prefix, None] = field(default_factory=dict)  # ANY/n
    spreads: dict[Spread, None] = field(default_factory=dict)  # their select groups
    servers: dict[Address, None] = field(default_factory=dict)  # the engine's rules for their replies
    anycast: dict[Prefix, None] = field(default_factory=dict)  # the engine's rules for these ANY/n
    checked: dict[Address, None] = field(default_factory=dict)  # servers here: their answers to checks
    strays: int = 0  # how many of the rules that were found, and are not wanted, to delete


GROUP_COST = 10  # comparing a select group takes as long as comparing so many rules
_Key = TypeVar("_Key")
_NOTHING = ToCompare()


class Comparisons:
    def __init__(self) -> None:
        self._due = ToCompare()
        self._postponed = ToCompare()
        self.has_just_connected = False  # nothing is postponed yet

    def __bool__(self) -> bool:
        """Is something to be compared now?"""
        return self._due != _NOTHING

    @property
    def constant(self) -> bool:
        """Are the constant rules to be compared now?"""
        return self._due.constant

    def pop_due(self) -> ToCompare:
        """What is to be compared now, each returned once."""
        due, self._due = self._due, ToCompare()
        return due

    # ---------------------------------------------------------------- because of events

    def add_service(self, service: Prefix) -> None:
        self._due.services[service] = None
        self._postponed.services.pop(service, None)

    def postpone_spreads(self, spreads: Iterable[Spread]) -> None:
        """Their slots, or the routes to servers behind other edges, may be others.  There may be many of them."""
        self._postponed.spreads |= dict.fromkeys(spreads)

    def postpone_services(self, services: Iterable[Prefix]) -> None:
        """As ``add_service``, in portions."""
        self._postponed.services |= dict.fromkeys(services)

    def postpone_anycast(self, services: Iterable[Prefix]) -> None:
        """The engine's rules for these ANY/n, in portions."""
        self._postponed.anycast |= dict.fromkeys(services)

    def add_servers(self, servers: Iterable[Address]) -> None:
        self._due.servers |= dict.fromkeys(servers)

    def add_checked(self, server: Address) -> None:
        self._due.checked[server] = None

    def add_constant_rules(self) -> None:
        self._due.constant = self._due.meters = True

    def add_meters(self) -> None:
        self._due.meters = True

    # ---------------------------------------------------------------- because the switch has connected

    def connected(self) -> None:
        """Meters and constant rules come first: other rules name the meters, and routes rely on the constant rules."""
        self._due = ToCompare(meters=True, constant=True)
        self.has_just_connected = True

    def disconnected(self) -> None:
        self._postponed = ToCompare()
        self.has_just_connected = False

    def postpone(self, everything: ToCompare) -> None:
        """All else that is to be compared since the switch has connected."""
        self._postponed = everything
        self.has_just_connected = False

    @property
    def is_postponed(self) -> bool:
        """Is there something left for ``resume``?"""
        return self.has_just_connected or self._postponed != _NOTHING

    def resume(self, most: int, size: Callable[[Prefix], int]) -> int:
        """About ``most`` of the postponed rules are to be compared now → how many; ``size``: of a service.

        The rules that admit clients' packets are the last: what these packets need is then installed.
        """
        postponed, due, count = self._postponed, self._due, 0
        count += _move(postponed.hosts, due.hosts, most)
        count += _move(postponed.egress, due.egress, most - count)
        count += _move(postponed.checked, due.checked, most - count)
        count += GROUP_COST * _move(postponed.spreads, due.spreads, -((count - most) // GROUP_COST))
        while postponed.services and count < most:
            service, _ = postponed.services.popitem()
            due.services[service] = None
            count += size(service)
        count += _move(postponed.servers, due.servers, most - count)
        count += _move(postponed.anycast, due.anycast, most - count)
        if not count and postponed.engine:
            postponed.engine, due.engine, count = False, True, most
        return count

    def delete_strays(self, most: int, left: int) -> int:
        """Of ``left`` rules that are not wanted, up to ``most`` are to be deleted now → how many."""
        self._due.strays = min(most, left)
        return self._due.strays


def _move(source: dict[_Key, None], target: dict[_Key, None], most: int) -> int:
    """Move up to ``most`` keys → how many."""
    count = max(0, min(most, len(source)))
    target.update(source.popitem() for _ in range(count))
    return count
