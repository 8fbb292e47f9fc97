"""Doubts: where a switch may hold something else than it should, so that it is to be compared there.

What events make doubtful is compared at once.  When the switch has connected everything is doubtful, and is raised in
portions, in an order in which nothing is lost that was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from anycast_sdn.core.model import Address, Prefix


@dataclass(slots=True)
class Doubtful:
    meters: bool = False
    constant: bool = False  # see ``WantedRules.constant``
    engine: bool = False  # the engine's rules that belong to no single server or flow
    hosts: dict[Address, None] = field(default_factory=dict)
    egress: dict[Prefix, None] = field(default_factory=dict)
    services: dict[Prefix, None] = field(default_factory=dict)  # ANY/n
    servers: dict[Address, None] = field(default_factory=dict)  # whose first replies go to the controller, or do not
    strays: int = 0  # so many of what was found and is not wanted are to be deleted


_Key = TypeVar("_Key")
_NOTHING = Doubtful()


class Doubts:
    def __init__(self) -> None:
        self._raised = Doubtful()
        self._postponed = Doubtful()
        self.begins = False  # the switch has connected, and nothing is postponed yet

    def __bool__(self) -> bool:
        """Is there something to be compared now?"""
        return self._raised != _NOTHING

    @property
    def constant(self) -> bool:
        """Are the constant rules to be compared now?"""
        return self._raised.constant

    def pop(self) -> Doubtful:
        """What is to be compared now; it is no doubt any more."""
        raised, self._raised = self._raised, Doubtful()
        return raised

    # ---------------------------------------------------------------- by events

    def about_service(self, service: Prefix) -> None:
        self._raised.services[service] = None
        self._postponed.services.pop(service, None)

    def about_servers(self, servers: Iterable[Address]) -> None:
        self._raised.servers |= dict.fromkeys(servers)

    def about_constant_rules(self) -> None:
        self._raised.constant = self._raised.meters = True

    def about_meters(self) -> None:
        self._raised.meters = True

    # ---------------------------------------------------------------- since the switch has connected

    def connected(self) -> None:
        """Meters and constant rules come first: other rules name those, and routes lead to what these deliver."""
        self._raised = Doubtful(meters=True, constant=True)
        self.begins = True

    def disconnected(self) -> None:
        self._postponed = Doubtful()
        self.begins = False

    def postpone(self, doubtful: Doubtful) -> None:
        """All else that is doubtful since the switch has connected."""
        self._postponed = doubtful
        self.begins = False

    @property
    def postponed(self) -> bool:
        """Is there something for ``raise_more``?"""
        return self.begins or self._postponed != _NOTHING

    def raise_more(self, most: int, size: Callable[[Prefix], int]) -> int:
        """About ``most`` rules of what is postponed are to be compared now → how many; ``size``: of a service.

        The rules that let clients' packets in are the last.
        """
        postponed, raised, count = self._postponed, self._raised, 0
        count += _some(postponed.hosts, raised.hosts, most)
        count += _some(postponed.egress, raised.egress, most - count)
        while postponed.services and count < most:
            service, _ = postponed.services.popitem()
            raised.services[service] = None
            count += size(service)
        count += _some(postponed.servers, raised.servers, most - count)
        if not count and postponed.engine:
            postponed.engine, raised.engine, count = False, True, most
        return count

    def raise_strays(self, most: int, left: int) -> int:
        """Of ``left`` that are not wanted, ``most`` are to be deleted now → how many."""
        self._raised.strays = min(most, left)
        return self._raised.strays


def _some(these: dict[_Key, None], into: dict[_Key, None], most: int) -> int:
    """Moves ``most`` of them → how many."""
    count = max(0, min(most, len(these)))
    into.update(these.popitem() for _ in range(count))
    return count
