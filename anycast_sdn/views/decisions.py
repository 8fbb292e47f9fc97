"""Why a flow has its server (M29): the decision by which its packets got one, in JSON.

What was decided last at the time is kept with the flow, by number (``control.selecting``); the oldest are forgotten.
"""

from __future__ import annotations

import math
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.model import Address, text
from anycast_sdn.core.selection import Candidate, Choice


def decision_of(controller: Controller, edge: str, number: int) -> dict[str, Any] | None:
    """Of the flow with this number at a client edge; None: there is none, or it is no longer known."""
    switch = controller.switch(edge)
    binding = switch.engine.flows.by_number(number) if switch else None
    choice = controller.choices.get(binding.choice) if binding else None
    return None if choice is None or binding is None else as_json(choice, binding.server)


def as_json(choice: Choice, server: Address | None) -> dict[str, Any]:
    """``server``: the one that has answered."""
    by_share = sorted(choice.candidates, key=lambda each: (-choice.shares.get(each.address, 0.0), each.address))
    return {
        "edge": choice.edge,
        "answered": None if server is None else text(server),
        "candidates": [_candidate(choice, each) for each in by_share],
    }


def _candidate(choice: Choice, candidate: Candidate) -> dict[str, Any]:
    standing = choice.standings[candidate.address]
    return {
        "server": text(candidate.address),
        "edge": candidate.edge,
        "cost": _finite(0.0 if candidate.edge == choice.edge else choice.costs.get(candidate.edge)),
        "share": round(choice.shares.get(candidate.address, 0.0), 4),
        "weight": candidate.weight,
        "health": candidate.health.value,
        "sessions": candidate.sessions,
        "capacity": candidate.capacity,
        "load": candidate.measured.load if candidate.measured else None,
        "limit": _finite(standing.limit),  # sessions that were aimed at at most; None: no limit was known
        "factor": standing.factor,
        "excluded": standing.excluded.value if standing.excluded else None,
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
