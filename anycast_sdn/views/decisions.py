"""Why a flow has its server (M29): the decision by which its packets got one, and what came of it, in JSON.

What was decided last at the time is kept with the flow, by number (``control.selecting``); the oldest are forgotten.
Which of several servers has got the first packet is decided by a hash in the switch: it is known only where there was
one server alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.edge_distances import BEYOND_ROUTERS
from anycast_sdn.core.bindings import Binding, Loss
from anycast_sdn.core.model import text
from anycast_sdn.core.selection import Candidate, Choice, Exclusion
from anycast_sdn.core.times import rfc3339

_EXCLUDED = {
    Exclusion.DRAINING: "it is draining",
    Exclusion.DRAINED: "it is drained",
    Exclusion.DISABLED: "it is disabled",
    Exclusion.EDGE_DRAINING: "its edge is drained",
    Exclusion.EDGE_UNABLE: "its switch cannot be a server edge for this family",
    Exclusion.NO_WEIGHT: "its weight is 0",
    Exclusion.UNREACHABLE: "it does not answer ARP or neighbour discovery",
    Exclusion.CRITICAL: "its health is critical",
}


def decision_of(controller: Controller, edge: str, number: int, now: float, epoch: float) -> dict[str, Any] | None:
    """Of the flow with this number at a client edge; None: there is none, or it is no longer known.

    ``epoch``: the wall clock's time at ``now``.
    """
    switch = controller.switch(edge)
    binding = switch.engine.flows.by_number(number) if switch else None
    choice = controller.choices.get(binding.choice) if binding else None
    if choice is None or binding is None or switch is None:
        return None
    distances = {each: controller.routes.graph.distances(each).get(edge) for each in sorted(_edges(choice))}
    return {
        **as_json(choice, binding, switch.engine.flows.losses_of(number), epoch - now),
        "distances": distances,
    }


def _edges(choice: Choice) -> set[str]:
    return {choice.edge, *(each.edge for each in choice.candidates if each.edge)}


def as_json(choice: Choice, flow: Binding, losses: Sequence[Loss], since_1970: float) -> dict[str, Any]:
    """``since_1970``: what is to be added to times."""
    by_share = sorted(choice.candidates, key=lambda each: (-choice.shares.get(each.address, 0.0), each.address))
    first = losses[0].server if losses else flow.server  # that has answered first
    takers = [server for server, share in choice.shares.items() if share > 0]
    known_ms = flow.reply_s is not None and flow.reply_s >= 0
    return {
        "at": rfc3339(since_1970 + choice.at),
        "edge": choice.edge,
        "answered": None if flow.server is None else text(flow.server),
        "first_packet_to": text(takers[0]) if len(takers) == 1 and not losses else None,
        "first_reply_ms": round(1000 * flow.reply_s, 2) if known_ms and flow.reply_s is not None else None,
        "handed_over": first is not None and not losses and first not in takers,
        "repins": _repins(flow, losses, since_1970),
        "candidates": [_candidate(choice, each) for each in by_share],
    }


def _repins(flow: Binding, losses: Sequence[Loss], since_1970: float) -> list[dict[str, Any]]:
    servers = [loss.server for loss in losses] + [flow.server]
    return [
        {"at": rfc3339(since_1970 + loss.when), "from": text(loss.server), "to": text(to) if to else None,
         "reason": "the server was lost"}
        for loss, to in zip(losses, servers[1:], strict=True)
    ]  # fmt: skip


def _why_not(choice: Choice, candidate: Candidate) -> str:
    """Why it gets nothing at the edge that has decided; "" where it gets something."""
    if choice.shares.get(candidate.address, 0.0) > 0:
        return ""
    if excluded := choice.standings[candidate.address].excluded:
        return _EXCLUDED[excluded]
    if candidate.edge == choice.edge:
        return "others have room for all"
    if (cost := choice.costs.get(candidate.edge)) is None:
        return f"{candidate.edge} is out of reach of {choice.edge}"
    if cost >= BEYOND_ROUTERS:
        return f"not nearest: only routers lead from {choice.edge} to {candidate.edge}"
    return f"not nearest: {candidate.edge} is at cost {cost:g} from {choice.edge}"


def _candidate(choice: Choice, candidate: Candidate) -> dict[str, Any]:
    standing = choice.standings[candidate.address]
    return {
        "server": text(candidate.address),
        "edge": candidate.edge,
        "cost": _cost(choice, candidate.edge),
        "share": round(choice.shares.get(candidate.address, 0.0), 4),
        "weight": candidate.weight,
        "health": candidate.health.value,
        "sessions": candidate.sessions,
        "capacity": candidate.capacity,
        "load": candidate.measured.load if candidate.measured else None,
        "limit": _finite(standing.limit),  # sessions that were aimed at at most; None: no limit was known
        "factor": standing.factor,
        "excluded": standing.excluded.value if standing.excluded else None,
        "why_not": _why_not(choice, candidate),
    }


def _cost(choice: Choice, edge: str) -> float | None:
    """None: there is no way, or only by routers, whose costs nobody tells."""
    cost = 0.0 if edge == choice.edge else choice.costs.get(edge, BEYOND_ROUTERS)
    return cost if cost < BEYOND_ROUTERS else None


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
