"""What a switch is known to refuse is not sent to it; what it loses is put back."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, drops, managed

from anycast_sdn.core.events import Fault
from anycast_sdn.core.model import UDP
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.judgement import Role, judge, remarks
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind

NO_TAGS = Profile(refuse=(Elements(masks=("vlan_vid",)), Elements(actions=("pop_vlan",))))
NO_ICMP_TYPES = Profile(refuse=(Elements(match=("icmpv4_type",)),))


def kinds(net, name):
    return {kind_of(rule.cookie) for rule in net.switches[name].flows.values()}


@pytest.mark.parametrize(
    ("profile", "missing"),
    [(NO_TAGS, {Kind.STILL_TAGGED}), (NO_ICMP_TYPES, set())],  # the other family's ICMP errors are there
    ids=["tags", "ICMP types"],
)
def test_rules_that_a_switch_is_known_to_refuse_are_not_sent_and_flows_work_without(build, v6, profile, missing):
    net = build("figure1", "as2", switch={"profiles": {"arh1": profile, "ars2": profile}})
    ask(net, service=SERVICE[v6], protocol=UDP, port=40000)
    assert [flow.server is not None for flow in bindings(net)] == [True]
    net.advance(120)
    for name in ("arh1", "ars2"):
        assert drops(net, name).get("rule_refused", 0) == 0
        features = managed(net, name).features
        assert all(judge(role, features).is_able for role in Role)
        assert len(remarks(features)) >= 1
    assert not missing & kinds(net, "arh1")


def test_of_a_family_that_a_switch_does_not_match_no_rule_is_sent_that_it_would_refuse(build):
    no_ipv6 = Profile(refuse=(Elements(match=("ipv6_src", "ipv6_dst")),))
    net = build("figure1", "as2", switch={"profiles": {"arh1": no_ipv6}})
    net.advance(60)
    assert managed(net, "arh1").judgements()[0].able == {4}
    assert drops(net, "arh1").get("rule_refused", 0) == 0
    ask(net, service=SERVICE[False], protocol=UDP, port=40000)
    assert [flow.server is not None for flow in bindings(net)] == [True]


def test_rules_that_a_switch_loses_when_it_replaces_others_are_put_back_and_that_is_said(build):
    net = build("figure1", "as2", "as3")
    before = dict(net.switches["arh1"].flows)
    lost = list(before)[::3]
    net.switches["arh1"].delete(lost)  # and it says nothing of it
    assert net.switches["arh1"].flows.keys() == before.keys() - {*lost}
    net.advance(120)
    assert net.switches["arh1"].flows == before
    assert net.counters.repairs["arh1"][Fault.MISSING] == len(lost)
