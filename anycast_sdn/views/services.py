"""Services: how the servers of each group are, in all and behind each edge; for whoever cannot look at 10,000 servers.

An answer is computed once for all who ask within ``FRESH_S``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.model import Address, AnycastGroup, Server, ServerState
from anycast_sdn.views.turns import with_turns

FRESH_S = 2.0
WORST_FIRST = (HealthStatus.CRITICAL, HealthStatus.WARNING, HealthStatus.UNKNOWN, HealthStatus.PASSING)


class ServiceViews:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._made: list[dict[str, Any]] = []
        self._made_at = -math.inf

    def all(self, now: float, turn: Callable[[], None]) -> list[dict[str, Any]]:
        """Ready for JSON, in the order of the groups' names."""
        if now - self._made_at >= FRESH_S:
            groups = sorted(self._controller.groups, key=lambda group: group.name)
            self._made = [self._of(group, now, turn) for group in groups]
            self._made_at = now
        return self._made

    def worst_first(self, group: AnycastGroup, turn: Callable[[], None]) -> list[tuple[int, Server]]:
        """Its servers with the ranks of their health, 0 the worst; of one rank in the order of their addresses."""
        ranks = [(WORST_FIRST.index(self._controller.health.status(group.name, address)), server)
                 for address, server in with_turns(group.servers.items(), turn)]  # fmt: skip
        return sorted(ranks, key=lambda each: (each[0], len(each[1].address), each[1].address))

    def _of(self, group: AnycastGroup, now: float, turn: Callable[[], None]) -> dict[str, Any]:
        clients = [switch for switch in self._controller.switches.values() if switch.described.client_edge]
        pinned = [switch.engine.flows.in_group(group.name) for switch in clients]
        every, edges = _Totals(), dict[str | None, _Totals]()
        for address, server in with_turns(group.servers.items(), turn):
            subnet = self._controller.network.subnet_of(address)
            flows = sum(counts.get(address, 0) for counts in pinned)
            status, load = self._controller.health.status(group.name, address), self._load(group.name, server, now)
            for totals in (every, edges.setdefault(subnet.edge if subnet else None, _Totals())):
                totals.add(server, status, flows, load)
        return {
            "name": group.name,
            "prefixes": [str(prefix) for prefix in with_turns(group.prefixes, turn)],
            "affinity": group.affinity.value,
            "families": list(_families(group.servers)),
            **every.shown(),
            "edges": [{"edge": edge, **edges[edge].shown()} for edge in sorted(edges, key=str)],
        }

    def _load(self, group: str, server: Server, now: float) -> float | None:
        report = self._controller.selecting.report(group, server.address)
        return None if report is None or report.is_stale(now) else report.load(server.capacity)


class _Totals:
    """Of some servers."""

    def __init__(self) -> None:
        self._statuses: Counter[HealthStatus] = Counter()
        self._inactive = 0
        self._flows = 0
        self._loads: list[float] = []

    def add(self, server: Server, status: HealthStatus, flows: int, load: float | None) -> None:
        self._statuses[status] += 1
        self._inactive += server.state is not ServerState.ACTIVE
        self._flows += flows
        if load is not None:
            self._loads.append(load)

    def shown(self) -> dict[str, Any]:
        return {
            "servers": self._statuses.total(),
            **{status.value: self._statuses[status] for status in WORST_FIRST},
            "inactive": self._inactive,
            "flows": self._flows,
            "load": round(sum(self._loads) / len(self._loads), 3) if self._loads else None,
            "highest_load": max(self._loads, default=None),
        }


def _families(servers: Iterable[Address]) -> Iterator[str]:
    sizes = {len(address) for address in servers}
    yield from (family for family, size in (("ipv4", 4), ("ipv6", 16)) if size in sizes)
