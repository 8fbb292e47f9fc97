"""Which rules a switch is known to refuse, by what it lacks."""

from __future__ import annotations

import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.ability_trials import AbilityTrial, ability_trials
from anycast_sdn.openflow.needs import Lacking, needs_of
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import AddFlow, FlowRule

ROUTE, ROUTE6 = (entries.route(Prefix.parse(prefix), 1) for prefix in ("10.0.0.0/8", "fd00::/8"))
OF_ACTIONS = ("set", "dec_ttl", "deliver", "translate", "serve")  # there may be fall-backs for what they lack


@pytest.mark.parametrize("trial", list(ability_trials()), ids=lambda trial: f"{trial.ability.value} {trial.table}")
def test_the_rule_of_each_trial_needs_what_it_tries(trial: AbilityTrial) -> None:
    if trial.ability.value.rpartition("_ipv")[0] in OF_ACTIONS or trial.ability in (Ability.SET_MACS, Ability.TO_GROUP):
        return
    for message in trial.messages:
        if isinstance(message, AddFlow):
            assert trial.ability in set(needs_of(message.rule))


def lacking(ability: Ability, table: Table | None) -> Lacking:
    return Lacking((Lack(ability, None, "bad match, bad field", table),))


@pytest.mark.parametrize(
    ("ability", "table", "refused"),
    [
        (Ability.MATCH_IPV6, Table.ROUTES, [ROUTE6]),
        (Ability.MATCH_PREFIX_IPV4, Table.ROUTES, [ROUTE]),
        (Ability.TABLE, Table.ROUTES, [ROUTE, ROUTE6]),
        (Ability.MATCH_IPV6, Table.SERVICE, []),
        (Ability.DEC_TTL_IPV4, Table.ROUTES, []),
        (Ability.MATCH_IPV4, None, []),
    ],
)
def test_only_what_needs_it_in_that_table_is_refused(
    ability: Ability, table: Table | None, refused: list[FlowRule]
) -> None:
    assert [rule for rule in (ROUTE, ROUTE6) if lacking(ability, table).refuses(rule)] == refused


def test_a_switch_that_lacks_nothing_refuses_nothing() -> None:
    assert not any(map(Lacking(()).refuses, entries.constant()))
