"""Fall-backs: what the controller does by itself where a switch lacks something that the method can do without.

Each is for a field of ``Features``, and is said in one sentence with the judgement of a role.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.openflow.features import Features


class Fallback(NamedTuple):
    feature: str  # the field of ``Features``
    sentence: str  # its subject is the switch
    of_flows: bool = False  # only a client edge needs the feature


_SWEEP = "the controller ends idle flows by a sweep"
FALLBACKS = (
    Fallback("idle_timeouts", f"it refuses idle timeouts: {_SWEEP}", of_flows=True),
    Fallback("removed_reports", f"it does not report removed rules: {_SWEEP}", of_flows=True),
    Fallback(
        "table_output",
        "it refuses packets to its tables: the controller sends each by the actions of the rules that it would meet",
    ),
    Fallback("expired_reports", "it cannot be asked to report expired TTLs: traceroute does not show it"),
)


def fallbacks(features: Features, *, of_flows: bool) -> Iterator[Fallback]:
    """Those in use at a switch.  ``of_flows``: for a client edge."""
    for each in FALLBACKS:
        if not getattr(features, each.feature) and (of_flows or not each.of_flows):
            yield each


def needs_sweep(features: Features) -> bool:
    """Can flows there not end by the timeouts of their rules?"""
    return not (features.idle_timeouts and features.report_flag and features.removed_reports)
