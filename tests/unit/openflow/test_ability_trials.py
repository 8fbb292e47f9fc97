"""What is found of a switch by the rules that it refuses, and what its judgement says then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest

from anycast_sdn.core.model import Prefix
from anycast_sdn.core.prefixes import special
from anycast_sdn.openflow.abilities import ROWS, Ability, Lack, causes
from anycast_sdn.openflow.ability_trials import AbilityTrial, AbilityTrials, ability_trials, lacks_of
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.fallback_trials import fallback_trials
from anycast_sdn.openflow.fallbacks import SERVE
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import NEEDS, TWO_TABLES_NEED, Judgement, Role, judge, remarks
from anycast_sdn.openflow.layout import FIVE_TABLES, THREE_TABLES, Layout
from anycast_sdn.openflow.packet_probes import packet_probes
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    AddFlow,
    DecTtl,
    DeleteCookie,
    Field,
    FlowRule,
    Message,
    Output,
    SetField,
    SetGroup,
    ToGroup,
)

Refuses = Callable[[Message], str]  # why; empty: it takes it


def of_rules(refuses: Callable[[FlowRule], object], why: str) -> Refuses:
    return lambda message: why if isinstance(message, AddFlow) and refuses(message.rule) else ""


def features_of(refuses: Refuses, layout: Layout = FIVE_TABLES) -> Features:
    def on_switch(message: Message) -> Message:
        return AddFlow(layout.on_switch(message.rule)) if isinstance(message, AddFlow) else message

    def first(messages: Iterable[Message]) -> str:
        return next(filter(None, (refuses(on_switch(message)) for message in messages)), "")

    def answer(trial: AbilityTrial) -> str:
        return first(trial.messages) and first(trial.instead or trial.messages)

    refused = {trial: answer(trial) for trial in ability_trials()}
    return Features(lacks=lacks_of({trial: why for trial, why in refused.items() if why}, layout))


def judgement(role: Role, refuses: Refuses, layout: Layout = FIVE_TABLES) -> Judgement:
    return judge(role, features_of(refuses, layout))


def fields(rule: FlowRule) -> set[str]:
    return {field.name for field in rule.match}


def kinds(message: Message) -> set[type]:
    if isinstance(message, SetGroup):
        return {type(action) for bucket in message.group.buckets for action in bucket.actions}
    return {type(action) for action in message.rule.actions} if isinstance(message, AddFlow) else set()


NO_FIELD = "bad match, bad field"
NO_ACTION = "bad action, bad type"
no_ipv6_match = of_rules(lambda rule: any(field.value == 0x86DD for field in rule.match), NO_FIELD)
no_goto = of_rules(lambda rule: rule.goto is not None, "bad instruction, unsup inst")
one_table = of_rules(lambda rule: rule.table > 0, "flow-mod failed, bad table id")


# That there is a table is seen by any trial in it; what becomes of flows, when there are flows; the rest by packets.
FOUND_OTHERWISE = {
    Ability.TABLE, Ability.TWO_TABLES, Ability.FLOWS_IPV4, Ability.FLOWS_IPV6, *ROWS, Ability.PRIORITY,
    Ability.CHECKSUM_ICMPV6, Ability.ROOM, Ability.ROOM_FOR_GROUPS,
}  # fmt: skip


def no_action(kind: type) -> Refuses:
    return lambda message: NO_ACTION if kind in kinds(message) else ""


def test_a_switch_that_takes_everything_lacks_nothing() -> None:
    assert features_of(lambda message: "") == Features()


@pytest.mark.parametrize("role", Role)
def test_each_role_needs_only_what_is_tried_where_it_is_tried(role: Role) -> None:
    tried = {(trial.ability, trial.table) for trial in ability_trials()}
    for ability, tables in NEEDS[role].items():
        if ability not in FOUND_OTHERWISE:
            where = {table for each, table in tried if each is ability}
            assert where & {*tables, None}, ability


def test_every_ability_is_tried_and_is_either_needed_or_something_follows() -> None:
    needed = {ability for needs in NEEDS.values() for ability in needs}
    needed |= {*SERVE.values(), *TWO_TABLES_NEED}
    assert {trial.ability for trial in ability_trials()} == {*Ability} - FOUND_OTHERWISE
    assert {ability for ability in Ability if ability.about.without} == {*Ability} - needed


def test_of_a_switch_without_ipv6_only_that_is_told() -> None:
    found = features_of(no_ipv6_match)
    assert {lack.ability for lack in found.lacks} == {Ability.MATCH_IPV6}
    for role in Role:
        assert judge(role, found).able == {4}
    assert judge(Role.CLIENT_EDGE, found).sentence == (
        "cannot be a client edge for IPv6: it cannot match IPv6 packets (tables 0, 1, 3 and 4: bad match, bad field); "
        "new IPv6 flows of its clients are refused"
    )
    assert "(tables 0 and 4: " in judge(Role.CORE, found).sentence


no_ipv4_match = of_rules(lambda rule: any(field.value == 0x0800 for field in rule.match), NO_FIELD)


def both(*several: Refuses) -> Refuses:
    return lambda message: next(filter(None, (refuses(message) for refuses in several)), "")


def test_of_a_switch_without_ipv4_only_that_is_told() -> None:
    found = features_of(no_ipv4_match)
    assert {lack.ability for lack in found.lacks} == {Ability.MATCH_IPV4}
    for role in Role:
        assert judge(role, found).able == {6}


def test_a_switch_that_matches_nothing_of_ip_is_told_that_alone() -> None:
    found = features_of(both(no_ipv4_match, no_ipv6_match))
    assert {lack.ability for lack in found.lacks} == {Ability.MATCH_IPV4, Ability.MATCH_IPV6}


def test_what_a_switch_without_ipv4_refuses_besides_is_lost_for_ipv6_too() -> None:
    no_macs = of_rules(lambda rule: any(isinstance(each, SetField) and each.name.startswith("eth_")
                                        for each in rule.actions), NO_ACTION)  # fmt: skip
    for refuses, ability, able in (
        (no_macs, Ability.SET_MACS, {Role.CORE}),
        (no_goto, Ability.GOTO, set()),
        (of_rules(lambda rule: Output(0xFFFFFFFD) in rule.actions, NO_ACTION), Ability.PUNT, {Role.CORE}),
    ):
        found = features_of(both(no_ipv4_match, refuses))
        assert ability in {lack.ability for lack in found.lacks}
        for role in Role:
            assert judge(role, found).able == ({6} if role in able else set()), (ability, role)


def test_what_a_lack_of_one_family_may_explain_is_not_explained_in_the_other() -> None:
    def left(*abilities: Ability) -> set[Ability]:
        return {lack.ability for lack in causes(Lack(each, 4, NO_FIELD) for each in abilities)}

    assert left(Ability.MATCH_IPV4, Ability.DELIVER_IPV6) == {Ability.MATCH_IPV4, Ability.DELIVER_IPV6}
    assert left(Ability.MATCH_IPV4, Ability.GOTO) == {Ability.MATCH_IPV4, Ability.GOTO}
    assert left(Ability.MATCH_IPV4, Ability.MATCH_IPV6, Ability.GOTO) == {Ability.MATCH_IPV4, Ability.MATCH_IPV6}


def test_of_a_switch_with_one_table_only_that_is_told() -> None:
    found = judgement(Role.CORE, one_table)
    assert found.able == frozenset()
    assert found.sentence == (
        "cannot be a core: it cannot hold rules in as many tables as it needs "
        "(tables 1, 2, 3 and 4: flow-mod failed, bad table id); packets are not sent through it"
    )


def test_a_table_that_is_refused_as_a_bad_request_is_none_either() -> None:
    found = judgement(Role.CORE, of_rules(lambda rule: rule.table > 0, "bad request, bad table id"))
    assert {lack.ability for lack in found.lacks} == {Ability.TABLE}


def test_of_a_switch_that_does_not_pass_packets_on_only_that_is_told() -> None:
    found = features_of(no_goto)
    assert {lack.ability for lack in found.lacks} == {Ability.GOTO}
    assert judge(Role.CORE, found).sentence == (
        "cannot be a core: it cannot pass packets on to another table "
        "(tables 0, 1, 2 and 3: bad instruction, unsup inst); packets are not sent through it"
    )


def test_a_switch_that_sets_no_field_can_forward_and_nothing_else() -> None:
    found = features_of(no_action(SetField))
    assert judge(Role.CORE, found).is_able
    assert {lack.ability for lack in judge(Role.CLIENT_EDGE, found).lacks} == {
        Ability.SET_IPV4, Ability.SET_IPV6, Ability.SET_MACS
    }  # fmt: skip
    assert {lack.ability for lack in judge(Role.SERVER_EDGE, found).lacks} == {
        Ability.SET_MACS, Ability.GROUP_SET_MACS, Ability.GROUP_SET_IPV4, Ability.GROUP_SET_IPV6
    }  # fmt: skip


def test_a_switch_that_sets_no_macs_can_be_no_edge_and_loses_both_families() -> None:
    def refuses(message: Message) -> str:
        sets = isinstance(message, AddFlow) and any(
            isinstance(action, SetField) and action.name.startswith("eth_") for action in message.rule.actions
        )
        return NO_ACTION if sets else ""

    found = features_of(refuses)
    assert {lack.ability for lack in found.lacks} == {Ability.SET_MACS, *SERVE.values()}
    assert judge(Role.CORE, found).is_able
    assert judge(Role.SERVER_EDGE, found).able == frozenset()


def test_a_switch_without_decrement_can_be_nothing() -> None:
    found = features_of(no_action(DecTtl))
    assert {lack.ability for lack in found.lacks} == {
        Ability.DEC_TTL_IPV4, Ability.DEC_TTL_IPV6, Ability.GROUP_DEC_TTL, Ability.NEXT_HOP, *SERVE.values()
    }  # fmt: skip
    assert not any(judge(role, found).able for role in Role)


def test_a_switch_without_groups_is_told_of_no_buckets() -> None:
    def refuses(message: Message) -> str:
        if isinstance(message, SetGroup):
            return "group-mod failed, invalid group"
        return "bad action, bad out group" if ToGroup in kinds(message) else ""

    found = features_of(refuses)
    assert {lack.ability for lack in found.lacks} == {Ability.SELECT_GROUP, Ability.NEXT_HOP}
    assert judge(Role.CLIENT_EDGE, found).is_able


def test_on_two_tables_a_client_edge_needs_groups_for_next_hops() -> None:
    found = features_of(lambda message: "bad group" if isinstance(message, SetGroup) and message.group.indirect else "")
    for tables, able in ((254, True), (3, True), (2, False)):
        judgement = judge(Role.CLIENT_EDGE, replace(found, tables=tables))
        assert judgement.is_able is able
    assert "it cannot name the next hop of flows by an indirect group (bad group)" in judgement.sentence
    assert judge(Role.SERVER_EDGE, replace(found, tables=2)).is_able


def test_a_switch_that_cannot_match_the_port_with_addresses_can_be_core() -> None:
    refuses = of_rules(lambda rule: {"in_port", "ipv4_src"} <= fields(rule), NO_FIELD)
    found = features_of(refuses)
    assert {lack.ability for lack in found.lacks} == {Ability.MATCH_PORT_IPV4}
    assert judge(Role.CLIENT_EDGE, found).able == {6}
    assert judge(Role.CORE, found).is_able


def test_a_switch_that_sends_nothing_to_the_controller_can_be_core() -> None:
    refuses = of_rules(lambda rule: Output(0xFFFFFFFD) in rule.actions, "bad action, bad out port")
    found = features_of(refuses)
    assert judge(Role.CORE, found).is_able
    assert not judge(Role.CLIENT_EDGE, found).able
    assert {lack.ability for lack in found.lacks} == {Ability.PUNT}, "neighbours are not told besides"


def test_what_a_switch_takes_in_parts_and_refuses_together_is_found() -> None:
    together = of_rules(
        lambda rule: rule.goto is not None and any(isinstance(each, SetField) for each in rule.actions), "too much"
    )
    found = features_of(together)
    assert {lack.ability for lack in found.lacks} == {Ability.TRANSLATE_IPV4, Ability.TRANSLATE_IPV6}
    assert not judge(Role.CLIENT_EDGE, found).able


def test_what_no_role_needs_is_remarked_with_what_follows() -> None:
    found = features_of(of_rules(lambda rule: "icmpv4_type" in fields(rule), NO_FIELD))
    assert all(judge(role, found).is_able for role in Role)
    assert remarks(found) == [
        "cannot match ICMP types of IPv4 (tables 1 and 3: bad match, bad field); "
        "ICMP errors of IPv4 are not translated, and services not pinged"
    ]


def test_with_three_tables_the_switchs_own_tables_are_told() -> None:
    refuses = of_rules(lambda rule: rule.table == 1, "flow-mod failed, eperm")
    found = judgement(Role.CLIENT_EDGE, refuses, THREE_TABLES)
    assert found.able == frozenset()
    assert {lack.table for lack in found.lacks} == {1}


NOBODY = Prefix.parse("240.0.0.0/4"), Prefix.parse("100::/64")  # `check` lets no network have them
OTHERS = [trial.message for trial in fallback_trials()] + [
    rule for probe in packet_probes(FIVE_TABLES, b"nonce") for rule in probe.rules
]  # fmt: skip


def matches_nobody(rule: FlowRule, ports: Mapping[int, bool]) -> bool:
    """By an address or a prefix that no host has, or a port that is not there."""
    for field in rule.match:
        if field.name.startswith(("ipv4_", "ipv6_")) and any(field.value in each for each in NOBODY):
            return True
        if field.name == "in_port" and field.value not in ports:
            return True
    return False


@pytest.mark.parametrize("message", [*(message for trial in ability_trials() for message in trial.messages), *OTHERS])
def test_no_packet_matches_a_rule_of_trials_also_none_of_a_host_without_an_address(message: Message) -> None:
    """0.0.0.0 and :: are the sources of DHCP DISCOVER, of duplicate address detection and of MLD."""
    if isinstance(message, AddFlow):
        assert matches_nobody(message.rule, {1: True, 2: True})


@pytest.mark.parametrize("prefix", NOBODY)
def test_no_network_has_the_addresses_of_trials(prefix: Prefix) -> None:
    assert special(prefix)


class Switch:
    """``refuses``: what it does not take."""

    layout = FIVE_TABLES

    def __init__(self, refuses: Callable[[FlowRule], bool], ports: Mapping[int, bool]) -> None:
        self._refuses = refuses
        self.taken: list[FlowRule] = []
        self.sent: list[Message] = []
        self.lacks: tuple[Lack, ...] = ()
        AbilityTrials(cast("Connection", self), self._done, ports).begin()

    def try_all(self, attempts: Sequence[tuple[Message, Callable[[bool, str], None]]]) -> None:
        for message, result in attempts:
            takes = not isinstance(message, AddFlow) or not self._refuses(message.rule)
            if takes and isinstance(message, AddFlow):
                self.taken.append(message.rule)
            result(takes, "" if takes else "bad match, bad value")

    def send(self, messages: Iterable[Message]) -> None:
        self.sent += messages

    def _done(self, lacks: tuple[Lack, ...]) -> None:
        self.lacks = lacks


PORTS = {1: True, 7: False, 0xFEFF: True}


def ports_of(rule: FlowRule) -> set[object]:
    return {field.value for field in rule.match if field.name == "in_port"}


def test_neighbours_are_tried_at_a_port_that_the_switch_has_not() -> None:
    switch = Switch(lambda rule: False, PORTS)
    assert switch.lacks == ()
    assert all(matches_nobody(rule, PORTS) for rule in switch.taken)


def test_a_switch_that_refuses_ports_that_it_has_not_is_tried_with_one_that_is_down_and_lacks_nothing() -> None:
    switch = Switch(lambda rule: not ports_of(rule) <= PORTS.keys(), PORTS)
    assert switch.lacks == ()
    neighbours = [rule for rule in switch.taken if not matches_nobody(rule, PORTS)]
    assert [ports_of(rule) for rule in neighbours] == [{7}, {7}]
    assert sum(isinstance(message, DeleteCookie) for message in switch.sent) == 1


def test_a_switch_that_cannot_match_neighbours_lacks_that_and_has_no_such_rule() -> None:
    switch = Switch(lambda rule: "icmpv6_type" in fields(rule) or Field("eth_type", 0x0806) in rule.match, PORTS)
    assert {Ability.MATCH_NEIGHBOUR_IPV4, Ability.MATCH_NEIGHBOUR_IPV6} <= {lack.ability for lack in switch.lacks}
    assert all(matches_nobody(rule, PORTS) for rule in switch.taken)


class Port(int):
    """Counts how often one is compared with another number."""

    compared = 0
    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        Port.compared += 1
        return int(self) == other


def test_a_number_of_no_port_is_found_without_comparing_each_with_all() -> None:
    ports: dict[int, bool] = {Port(0xFEFF - number): True for number in range(1000)}
    Port.compared = 0
    switch = Switch(lambda rule: False, ports)
    assert Port.compared < 10 * len(ports)
    assert 0xFEFF - 1000 in {port for rule in switch.taken for port in ports_of(rule)}


def test_each_trial_is_in_a_table_of_the_pipeline() -> None:
    assert {trial.table for trial in ability_trials()} == {None, *(table for table in Table if table < Table.EGRESS)}
