"""What is shown of each enrolled server: its place, health and load, and what it gets of the new flows, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.load import FRACTIONS
from anycast_sdn.core.model import Address, Server, text
from anycast_sdn.core.selection import Candidate, Selection
from anycast_sdn.core.slots import Spread
from anycast_sdn.views.server_health import server_health

Weights = Mapping[Address, float]
_NO_WEIGHTS: Weights = {}


class ServerViews:
    """Of all servers; what all servers of a group share is computed once for each decision."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._weights: dict[Spread, tuple[Selection, Weights]] = {}

    def view(self, group: str, address: Address, now: float, epoch: float) -> dict[str, Any]:
        """``epoch``: the wall clock's time at ``now``."""
        controller = self._controller
        enrolled = controller.groups.get(group)
        server = enrolled.servers.get(address) if enrolled else None
        shares = controller.selecting.shares_of(group, address)
        return {
            **self._place(group, address),
            "health": server_health(controller, group, address, now, epoch),
            "load": self._load(group, server, now) if server else None,
            "shares": {edge: round(share, 4) for edge, share in shares.items()},
            "effective_weight": round(self._effective_weights(group, address).get(address, 0.0), 1),
            "excluded": self._excluded(group, address),
        }

    def _place(self, group: str, address: Address) -> dict[str, Any]:
        """Its edge, whether it answers ARP or ND there, and how many flows of this group are pinned to it."""
        subnet = self._controller.network.subnet_of(address)
        switch = self._controller.switch(subnet.edge) if subnet else None
        tables = [switch.engine.flows for switch in self._controller.switches.values()]
        return {
            "edge": switch.name if switch else None,
            "reachable": bool(switch and switch.neighbours.get(address)),
            "flows": sum(table.in_group(group).get(address, 0) for table in tables),
        }

    def _load(self, group: str, server: Server, now: float) -> dict[str, Any] | None:
        """As it was reported last; None: nothing was, or too long ago."""
        report = self._controller.selecting.report(group, server.address)
        if report is None or report.is_stale(now):
            return None
        parts = {name: getattr(report, name) for name in ("sessions", *FRACTIONS)}
        return {"overall": report.load(server.capacity), **parts, "age_s": round(now - report.at, 1)}

    def _excluded(self, group: str, address: Address) -> str | None:
        """Why it takes no new flows."""
        selection = self._controller.selecting.selection(Spread(group, len(address) == 16))
        standing = selection.standings.get(address) if selection else None
        return standing.excluded.value if standing and standing.excluded else None

    def _effective_weights(self, group: str, address: Address) -> Weights:
        spread = Spread(group, len(address) == 16)
        selection = self._controller.selecting.selection(spread)
        if selection is None:
            return _NO_WEIGHTS
        known = self._weights.get(spread)
        if known is None or known[0] is not selection:
            candidates = self._controller.selecting.candidates_of(spread)
            known = self._weights[spread] = selection, effective_weights(selection, candidates)
        return known[1]


def effective_weights(selection: Selection, candidates: Iterable[Candidate]) -> Weights:
    """Server → its weight as it counts at its own edge now: less where load, a slow start or warnings reduce its share.

    Where an edge passes flows on to others, the weights of all its servers are reduced by what it passes on.
    """
    weights: dict[Address, float] = {}
    at: dict[str, list[Candidate]] = {}
    for each in candidates:
        at.setdefault(each.edge, []).append(each)
    for edge, servers in at.items():
        shares = selection.shares.get(edge, {})
        by_weight = {each.address: shares.get(each.address, 0.0) / each.weight for each in servers if each.weight}
        most, kept = max(by_weight.values(), default=0.0), sum(shares.get(each.address, 0.0) for each in servers)
        if most:
            weights |= {each.address: each.weight * kept * by_weight[each.address] / most
                        for each in servers if each.weight}  # fmt: skip
    return weights


def buckets(controller: Controller, edge: str, spread: Spread, most: int) -> list[dict[str, Any]]:
    """The servers that get new flows of a group at a server edge, the greatest shares first, at most so many."""
    selection = controller.selecting.selection(spread)
    shares = selection.shares.get(edge, {}) if selection else {}
    greatest = sorted(shares.items(), key=lambda each: (-each[1], each[0]))[:most]
    return [{"server": text(server), "edge": _edge_of(controller, server), "share": round(share, 4)}
            for server, share in greatest]  # fmt: skip


def _edge_of(controller: Controller, server: Address) -> str | None:
    subnet = controller.network.subnet_of(server)
    return subnet.edge if subnet else None
