"""A simulated switch plays its profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import profile_sections
from anycast_sdn.description.profile import ERRORS, OUT_OF_GROUPS, Elements, Place, Profile
from anycast_sdn.description.profiles import PROFILES
from anycast_sdn.openflow.abilities import Ability
from anycast_sdn.openflow.entry import rule_of
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    AddFlow,
    Bucket,
    DecTtl,
    Field,
    FlowRule,
    GroupRule,
    Output,
    SetGroup,
)
from anycast_sdn.simulation.profile import Closed, NotInProfile, taken
from anycast_sdn.simulation.refusals import TableFull
from anycast_sdn.simulation.switch import SimulatedSwitch

_ACTIONS = (DecTtl(), Output(2))


def _route(last: int = 1) -> FlowRule:
    destination = Field("ipv4_dst", bytes((10, 0, 0, last)))
    return rule_of(Kind.ROUTE, Field("eth_type", 0x0800), destination, actions=_ACTIONS, length=32)


def test_what_a_profile_refuses_is_refused_with_the_error_of_its_kind() -> None:
    switch = SimulatedSwitch(profile=Profile(refuse=(Elements(actions=("dec_nw_ttl",)),)))
    with pytest.raises(NotInProfile, match="dec_nw_ttl") as refused:
        switch.apply(AddFlow(_route()), 0.0)
    assert refused.value.error == ERRORS["actions"]
    assert not switch.flows


def test_a_refusal_of_one_table_leaves_the_others_as_they_are() -> None:
    route = _route()
    SimulatedSwitch(profile=Profile(refuse=(Elements(actions=("dec_nw_ttl",), tables=(2,)),))).apply(
        AddFlow(route), 0.0
    )
    here = Profile(refuse=(Elements(actions=("dec_nw_ttl",), tables=(route.table,)),))
    with pytest.raises(NotInProfile):
        SimulatedSwitch(profile=here).apply(AddFlow(route), 0.0)


def test_a_refusal_of_one_family_leaves_the_other_as_it_is() -> None:
    SimulatedSwitch(profile=Profile(refuse=(Elements(actions=("dec_nw_ttl",), family=6),))).apply(
        AddFlow(_route()), 0.0
    )
    with pytest.raises(NotInProfile):
        SimulatedSwitch(profile=Profile(refuse=(Elements(actions=("dec_nw_ttl",), family=4),))).apply(
            AddFlow(_route()), 0.0
        )


def test_what_a_profile_ignores_is_listed_and_not_done() -> None:
    done = taken(Profile(ignore=(Elements(actions=("dec_nw_ttl",)),)), AddFlow(_route()))
    assert isinstance(done, AddFlow)
    assert done.rule.actions == (Output(2),)
    switch = SimulatedSwitch(profile=Profile(ignore=(Elements(actions=("dec_nw_ttl",)),)))
    switch.apply(AddFlow(_route()), 0.0)
    assert list(switch.flows.values()) == [_route()]


def test_a_connection_ends_where_the_profile_says_so() -> None:
    with pytest.raises(Closed):
        taken(Profile(close=(Elements(match=("ipv4_dst",)),)), AddFlow(_route()))


def test_a_switch_has_as_many_tables_as_its_profile_says() -> None:
    switch = SimulatedSwitch(profile=Profile(tables=_route().table))
    with pytest.raises(NotInProfile) as refused:
        switch.apply(AddFlow(_route()), 0.0)
    assert refused.value.error == ERRORS["tables"]


def test_tables_and_groups_have_the_room_that_the_profile_says() -> None:
    switch = SimulatedSwitch(profile=Profile(rules=1, groups=1))
    switch.apply(AddFlow(_route(1)), 0.0)
    with pytest.raises(TableFull):
        switch.apply(AddFlow(_route(2)), 0.0)
    switch.apply(SetGroup(GroupRule(1, (Bucket(1, (Output(1),)),)), exists=False), 0.0)
    with pytest.raises(NotInProfile) as refused:
        switch.apply(SetGroup(GroupRule(2, (Bucket(1, (Output(1),)),)), exists=False), 0.0)
    assert refused.value.error == OUT_OF_GROUPS


def test_every_third_rule_that_replaces_one_can_be_lost() -> None:
    switch = SimulatedSwitch(profile=Profile(wrong=("replacing",)))
    held = []
    for _ in range(4):
        switch.apply(AddFlow(_route()), 0.0)
        held.append(len(switch.flows))
    assert held == [1, 1, 1, 0]


def test_cookies_and_statistics_can_be_missing_in_all_that_a_switch_says() -> None:
    switch = SimulatedSwitch(profile=Profile(wrong=("cookies", "statistics")))
    switch.apply(AddFlow(_route()), 0.0)
    assert list(switch.counters()) == [(0, 0)]
    assert [rule.cookie for rule in switch.flows.values()] == [0]


def test_a_switch_without_dec_ttl_is_found_to_lack_it() -> None:
    features = SimulatedSwitch(profile=PROFILES["aruba-3810m"]).found(Features())
    assert {lack.ability for lack in features.lacks} >= {Ability.DEC_TTL_IPV4, Ability.DEC_TTL_IPV6}
    assert not features.open_vswitch
    assert not features.fin_timeout
    assert "Aruba 3810M" in features.description


def test_what_a_switch_ignores_is_found_by_packets() -> None:
    found_out = SimulatedSwitch(profile=Profile(ignore=(Elements(actions=("dec_nw_ttl",)),))).found(Features())
    assert {(lack.ability, lack.why) for lack in found_out.lacks} >= {
        (Ability.DEC_TTL_IPV4, "the TTL stays as it was"),
        (Ability.DEC_TTL_IPV6, "the TTL stays as it was"),
    }


def test_a_switch_that_lacks_nothing_is_found_to_lack_nothing() -> None:
    assert SimulatedSwitch(profile=Profile()).found(Features()).lacks == ()


def test_a_profile_in_a_file_is_added_to_the_one_that_it_is_like(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "mine.yaml"
    file.write_text("like: aruba-3810m\ntables: 3\nrefuse: [{set: [ipv6_src], tables: [2]}]\n")
    mine = profile_sections.load(str(file))
    assert mine.tables == 3
    assert mine.hardware == "Aruba 3810M"
    assert mine.refuses("actions", "dec_nw_ttl", Place(4))
    assert mine.refuses("set", "ipv6_src", Place(2))
    assert not mine.refuses("set", "ipv6_src", Place(1))


def test_a_profile_counts_the_tables_whose_numbers_it_has(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "mine.yaml"
    file.write_text("numbered: [0, 100, 200]\n")
    mine = profile_sections.load(str(file))
    assert mine.tables == 3
    assert [mine.has_table(number) for number in (0, 1, 100)] == [True, False, True]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("refuse: [{actions: [dec_ttl]}]", "dec_ttl.*is none of.*dec_nw_ttl"),
        ("ignore: [{match: [ipv6_src]}]", "write match and masks under refuse"),
        ("tables: 0", "tables: must be greater than or equal to 1"),
        ("like: aruba", "is none of.*aruba-3810m"),
    ],
)
def test_an_error_in_a_profile_is_said_with_its_place(tmp_path, content: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=reason):
        profile_sections.load(str(file))


def test_neither_a_file_nor_a_name_is_said_with_the_names_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"nobody.*aruba-3810m"):
        profile_sections.load("nobody")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("late: [{message: flow_mod, seconds: 1}]", "is none of"),
        ("refuse: [{tables: [2]}]", "tables only says which rules are meant"),
        ("refuse: [{family: 6, messages: [meter_mod]}]", "family only says which rules are meant"),
        ("ignore: [{}]", "names no element"),
        ("numbered: [5, 5]", "5 is written twice"),
        ("tables: 3\nnumbered: [1, 2]", "tables: 3, and numbered names 2: leave tables out"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        profile_sections.load(str(file))


def test_tables_are_counted_from_0_also_where_the_other_profile_numbers_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("like: of-dpa\ntables: 3\n")
    mine = profile_sections.load(str(file))
    assert [number for number in range(254) if mine.has_table(number)] == [0, 1, 2]
    file.write_text("like: of-dpa\nnumbered: [0, 9]\n")
    mine = profile_sections.load(str(file))
    assert (mine.tables, mine.numbered) == (2, (0, 9))
