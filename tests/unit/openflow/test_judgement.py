"""Which roles a switch can carry out, by what it was found to lack."""

from __future__ import annotations

from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Role, judge

REFUSED = "bad action, bad type"


def lacking(*lacks: tuple[Ability, int | None]) -> Features:
    return Features(lacks=tuple(Lack(ability, table, REFUSED) for ability, table in lacks))


def test_a_switch_that_refuses_nothing_can_be_everything() -> None:
    assert all(judge(role, Features()).is_able for role in Role)
    assert judge(Role.CLIENT_EDGE, Features()).sentence == "can be a client edge"


def test_what_the_controller_does_instead_of_what_a_switch_lacks_is_said() -> None:
    judgement = judge(Role.CLIENT_EDGE, Features(idle_timeouts=False))
    assert judgement.is_able
    assert judgement.sentence == (
        "can be a client edge; it keeps no idle timeouts: the controller ends idle flows by a sweep"
    )
    assert judge(Role.CORE, Features(idle_timeouts=False)).sentence == "can be a core", "it has no flows"


def test_a_server_edge_without_groups_is_able_where_a_plain_rule_does_instead() -> None:
    groups = (Ability.SELECT_GROUP, None)
    judgement = judge(Role.SERVER_EDGE, lacking(groups))
    assert judgement.able == {4, 6}
    assert judgement.sentence == (
        "can be a server edge; it cannot spread flows by a select group (bad action, bad type): "
        "all new flows of a service go to one server here, which the controller chooses"
    )
    assert judge(Role.SERVER_EDGE, lacking(groups, (Ability.SERVE_IPV6, 2))).able == {4}
    assert not judge(Role.SERVER_EDGE, lacking(groups, (Ability.SERVE_IPV4, 2), (Ability.SERVE_IPV6, 2))).able
    buckets = (Ability.GROUP_SET_IPV4, None), (Ability.GROUP_SET_IPV6, None)
    assert judge(Role.SERVER_EDGE, lacking(*buckets, (Ability.SERVE_IPV6, 2))).able == {4}


def test_the_families_are_judged_apart() -> None:
    judgement = judge(Role.CLIENT_EDGE, lacking((Ability.SET_IPV6, 1), (Ability.SET_IPV6, 3)))
    assert judgement.able == {4}
    assert judgement.sentence == (
        "cannot be a client edge for IPv6: it cannot set IPv6 addresses (tables 1 and 3: bad action, bad type); "
        "new IPv6 flows of its clients are refused"
    )


def test_what_concerns_both_families_takes_the_role_from_both() -> None:
    judgement = judge(Role.SERVER_EDGE, lacking((Ability.GOTO, 2)))
    assert judgement.able == frozenset()
    assert judgement.sentence == (
        "cannot be a server edge: it cannot pass packets on to another table (table 2: bad action, bad type); "
        "service addresses are not announced here"
    )


def test_what_a_role_does_not_need_takes_nothing_from_it() -> None:
    features = lacking((Ability.SET_IPV4, 1), (Ability.SET_IPV6, 1))
    assert judge(Role.SERVER_EDGE, features).is_able
    assert judge(Role.CORE, features).is_able
    assert not judge(Role.CLIENT_EDGE, features).able


def test_what_a_switch_lacks_in_both_families_alike_is_said_once() -> None:
    features = lacking(
        (Ability.DEC_TTL_IPV4, 4), (Ability.DEC_TTL_IPV6, 4), (Ability.SET_IPV4, 1), (Ability.SET_IPV6, 3)
    )
    assert judge(Role.CLIENT_EDGE, features).sentence == (
        "cannot be a client edge: it cannot decrement the TTL of IPv4 or IPv6 packets (table 4: bad action, bad type), "
        "nor set IPv4 addresses (table 1: bad action, bad type), "
        "nor set IPv6 addresses (table 3: bad action, bad type); new flows of its clients are refused"
    )
