"""Serving: which servers behind a switch take new flows of which ANY/n, and by which select group (M8–M10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from anycast_sdn.control.group_numbers import GroupNumbers
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Prefix, Server
from anycast_sdn.core.roles import Subnet
from anycast_sdn.core.server_edge import able_servers

MAX_BUCKETS = 500  # servers of one group behind one switch that take flows: an OpenFlow message ends at 64 KiB
MAX_CACHED = 1 << 15  # answers in the cache


class Serving:
    """``subnets``: none at a switch that is no server edge; ``is_reachable``: is this server taken to be reachable?;
    ``answers``: has it answered ARP or ND?"""

    def __init__(
        self, subnets: Sequence[Subnet], is_reachable: Callable[[Address], bool], answers: Callable[[Address], bool]
    ) -> None:
        self._subnets = subnets
        self._is_reachable = is_reachable
        self._answers = answers
        self._enrolled: dict[Address, None] = {}  # enrolled servers in subnets of this switch
        self._serving: dict[Prefix, tuple[Server, ...]] = {}  # ANY/n → the servers of its select group
        self._numbers = GroupNumbers()
        self._able: dict[tuple[str, bool], tuple[AnycastGroup, tuple[Server, ...]]] = {}  # cache, by (group, IPv6?)

    # ---------------------------------------------------------------- servers that are enrolled, and able

    def enrol(self, address: Address, enrolled: bool) -> None:
        """A server in a subnet of this switch was enrolled, or removed."""
        if enrolled:
            self._enrolled[address] = None
        else:
            self._enrolled.pop(address, None)

    @property
    def enrolled(self) -> Iterable[Address]:
        return self._enrolled.keys()

    def services(self, groups: Groups) -> Iterator[Prefix]:
        """The ANY/n of all groups that have a server here."""
        names = dict.fromkeys(name for address in self._enrolled for name in groups.of_server(address))
        for name in names:
            group = groups.get(name)
            yield from group.prefixes if group else ()

    def forget_able(self) -> None:
        """A server has appeared, moved or vanished: ``able`` is to be computed anew."""
        self._able.clear()

    def able(self, group: AnycastGroup, service: Prefix) -> tuple[Server, ...]:
        """The servers here that take new flows for ``service``; without any, this server edge does not announce it.

        Answers are cached, for as long as the group is the same.
        """
        if not self._subnets:
            return ()
        known = self._able.get((group.name, service.is_v6))
        if known is None or known[0] is not group:
            able = able_servers(group, service, self._subnets, self._is_reachable)
            if len(able) > MAX_BUCKETS:
                able = tuple(sorted(able, key=lambda server: (-server.weight, server.address))[:MAX_BUCKETS])
            if len(self._able) >= MAX_CACHED:
                self._able.clear()
            known = self._able[group.name, service.is_v6] = group, able
        return known[1]

    def leaving(self, group: AnycastGroup, service: Prefix) -> tuple[Server, ...]:
        """The servers that have taken new flows for ``service``, should no longer, and still could."""
        return tuple(
            server
            for server in self._serving.get(service, ())
            if server.address in group.servers and self._answers(server.address)
        )

    # ---------------------------------------------------------------- services with servers here

    def __iter__(self) -> Iterator[Prefix]:
        """Each ANY/n that has servers here."""
        return iter(self._serving)

    def __contains__(self, service: Prefix) -> bool:
        return service in self._serving

    def servers(self, service: Prefix) -> tuple[Server, ...]:
        return self._serving.get(service, ())

    def number(self, service: Prefix) -> int | None:
        """The number of its select group; None while no server here serves it."""
        return self._numbers.get(service)

    def serve(self, service: Prefix, servers: tuple[Server, ...]) -> dict[Prefix, int]:
        """``servers`` take its flows from now on → the other ANY/n whose groups' numbers change, with the old ones."""
        if servers:
            self._serving[service] = servers
            return self._numbers.add(service)
        self._serving.pop(service, None)
        return self._numbers.discard(service)
