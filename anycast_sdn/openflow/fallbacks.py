"""Fall-backs: what the controller does by itself where a switch lacks something that the method can do without.

Each is for a field of ``Features``, and is said in one sentence with the judgement of a role.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anycast_sdn.openflow.abilities import Ability, of_family
from anycast_sdn.openflow.features import Features


class Fallback(NamedTuple):
    feature: str  # the field of ``Features``
    sentence: str  # its subject is the switch
    of_flows: bool = False  # only a client edge needs the feature


_SWEEP = "the controller ends idle flows by a sweep"
FALLBACKS = (
    Fallback("idle_timeouts", f"it keeps no idle timeouts: {_SWEEP}", of_flows=True),
    Fallback("removed_reports", f"it does not report removed rules: {_SWEEP}", of_flows=True),
    Fallback(
        "table_output",
        "it refuses packets to its tables: the controller sends each by the actions of the rules that it would meet",
    ),
    Fallback(
        "cookies",
        "it keeps no cookies: the controller knows its rules by their matches, and deletes them all when it connects",
    ),
    Fallback("expired_reports", "it cannot be asked to report expired TTLs: traceroute does not show it"),
)


KEEPS_TTL = Fallback("ttl", "it keeps the TTL of packets (ttl: keep): traceroute does not show it")
KEEP_TTL = "with ttl: keep in the network file it can be used nevertheless, and does not show in traceroute"
GROUPS = {  # by "is IPv6": the abilities by which a service's flows are spread over servers …
    v6: frozenset((
        Ability.SELECT_GROUP, Ability.TO_GROUP, Ability.GROUP_SET_MACS, Ability.GROUP_DEC_TTL,
        of_family("group_set", v6), of_family("group_deliver", v6),
    ))
    for v6 in (False, True)
}  # fmt: skip
SERVE = {v6: of_family("serve", v6) for v6 in (False, True)}  # … and the one that is enough for one server
ONE_SERVER = "all new flows of a service go to one server here, which the controller chooses"


def has_groups(features: Features, v6: bool) -> bool:
    """Can it spread the flows of a service over several servers?"""
    return all(lack.ability not in GROUPS[v6] for lack in features.lacking)


def serves_alone(features: Features, v6: bool) -> bool:
    """Does a service have one server there, by a plain rule, because the switch has no groups for that?"""
    return not has_groups(features, v6) and all(lack.ability is not SERVE[v6] for lack in features.lacking)


def fallbacks(features: Features, *, of_flows: bool) -> Iterator[Fallback]:
    """Those in use at a switch.  ``of_flows``: for a client edge."""
    for each in FALLBACKS:
        if not getattr(features, each.feature) and (of_flows or not each.of_flows):
            yield each
    if features.keeps_ttl:
        yield KEEPS_TTL


def needs_sweep(features: Features) -> bool:
    """Can flows there not end by the timeouts of their rules?"""
    return not (features.idle_timeouts and features.report_flag and features.removed_reports)
