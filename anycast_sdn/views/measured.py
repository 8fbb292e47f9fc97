"""Measured catchments: behind which edges the flows of each site are really pinned."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from anycast_sdn.core.model import Address
from anycast_sdn.views.snapshot import Snapshot
from anycast_sdn.views.turns import with_turns

ELSEWHERE = "elsewhere"  # instead of an edge: the network file knows no subnet of the server any more


def measured(state: Snapshot, wanted: Collection[str], turn: Callable[[], None]) -> list[dict[str, Any]]:
    """Of the ``wanted`` groups; of all, if there are none: a row for each group, family and site with pinned flows."""

    @cache
    def edge_of(server: Address) -> str:
        subnet = state.network.subnet_of(server)
        return subnet.edge if subnet else ELSEWHERE

    names = set(wanted) or {name for flows in state.flows.values() for name in with_turns(flows.groups(), turn)}
    rows: list[dict[str, Any]] = []
    for group in with_turns(sorted(names), turn):
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for site, flows in state.flows.items():
            for server, count in flows.in_group(group).items():
                edges = counts.setdefault((family(server), site), {})
                edges[edge_of(server)] = edges.get(edge_of(server), 0) + count
        rows += [
            {"group": group, "family": of, "site": site, "edges": dict(sorted(edges.items()))}
            for (of, site), edges in sorted(counts.items())
        ]
    return rows


def family(address: Address) -> str:
    return "ipv6" if len(address) == 16 else "ipv4"
