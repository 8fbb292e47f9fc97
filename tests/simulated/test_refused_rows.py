"""What a switch is known to refuse is not sent to it; what it loses is put back."""

from __future__ import annotations

import pytest
from scenes import SERVICE, ask, bindings, drops, managed, served_by
from test_abilities import playing

from anycast_sdn.core.events import Fault
from anycast_sdn.core.model import UDP, Prefix
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.description.profile import Elements, Profile
from anycast_sdn.openflow.judgement import Role, judge, remarks
from anycast_sdn.openflow.pipeline import ROW, kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import ETH_IPV4, ETH_IPV6, AddFlow, Field
from anycast_sdn.views.reasons import reasons

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
    net.advance(40)
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
    assert managed(net, "arh1").abilities.judgements[0].able == {4}
    assert drops(net, "arh1").get("rule_refused", 0) == 0
    ask(net, service=SERVICE[False], protocol=UDP, port=40000)
    assert [flow.server is not None for flow in bindings(net)] == [True]


def test_rules_that_a_switch_loses_when_it_replaces_others_are_put_back_and_that_is_said(build):
    net = build("figure1", "as2", "as3")
    before = dict(net.switches["arh1"].flows)
    lost = list(before)[::3]
    net.switches["arh1"].delete(lost)  # and it says nothing of it
    assert net.switches["arh1"].flows.keys() == before.keys() - {*lost}
    net.advance(40)
    assert net.switches["arh1"].flows == before
    assert net.counters.repairs["arh1"][Fault.MISSING] == len(lost)


def loses(net, name, v6, *kinds):
    """The switch loses its rules of these kinds and of this family → what they were."""
    ethertype = Field("eth_type", ETH_IPV6 if v6 else ETH_IPV4)
    flows = net.switches[name].flows
    lost = [key for key, rule in flows.items() if kind_of(rule.cookie) in kinds and ethertype in rule.match]
    assert lost
    net.switches[name].delete(lost)
    return lost


def degraded(net, name):
    found = reasons(net.controller, net.counters, (), "", net.now)
    return [each.sentence for each in found if each.code == "switch.degraded" and each.subject.name == name]


@pytest.mark.parametrize(
    ("name", "kind", "field", "role"),
    [("core", Kind.ROUTE, "dst", Role.CORE), ("ars2", Kind.HOST, "dst", Role.SERVER_EDGE),
     ("arh1", Kind.FIRST_PACKET, "src", Role.CLIENT_EDGE)],
)  # fmt: skip
def test_a_switch_that_goes_on_refusing_rules_of_a_role_loses_it_in_that_family_until_it_takes_them(
    build, v6, name, kind, field, role
):
    net = build("figure1", "as2", "as3")
    with playing(net, name, Profile(refuse=(Elements(match=(f"ipv{6 if v6 else 4}_{field}",)),))):
        lost = loses(net, name, v6, kind)
        net.advance(1)
        assert managed(net, name).abilities.can(role, v6), "one refusal is no inability"
        net.advance(40)
        assert not managed(net, name).abilities.can(role, v6)
        assert managed(net, name).abilities.can(role, not v6)
        sentence = degraded(net, name)[0]
        family = "IPv6" if v6 else "IPv4"
        says = f"switch {name} cannot be a {role.value} for {family}: it cannot hold rules of {family}"
        assert sentence.startswith(says)
        assert f'(table {ROW[kind].table.value}: "' in sentence
        assert ": bad match, bad field)" in sentence
        told = [event for event in net.channels.reported if isinstance(event, SwitchDegraded) and event.switch == name]
        assert len({event.effect for event in told}) == len(told) >= 1, "nothing is told twice"
    if role is not Role.CLIENT_EDGE:  # what has followed takes rules away that could show that it takes them now
        net.disconnect(name)
        net.connect(name)
    net.advance(40)
    assert not degraded(net, name)
    assert net.switches[name].flows.keys() >= {*lost}


NO_GROUPS = Profile(refuse=(Elements(groups=("select", "indirect")),))
NO_POP = Profile(refuse=(Elements(actions=("pop_vlan",)),))


@pytest.mark.parametrize(
    ("lacking", "kind", "refused"),
    [(NO_GROUPS, Kind.ROUTE, Elements(match=("ipv4_dst",))),
     (NO_POP, Kind.FROM_FABRIC, Elements(match=("in_port",), tables=(0,)))],
    ids=["groups", "tags"],
)  # fmt: skip
def test_what_a_core_need_not_be_able_to_do_is_no_reason_not_to_tell_what_it_goes_on_refusing(
    build, lacking, kind, refused
):
    net = build("figure1", "as2", "as3", switch={"profiles": {"core": lacking}})
    assert managed(net, "core").abilities.can(Role.CORE, v6=False)
    with playing(net, "core", Profile(refuse=(*lacking.refuse, refused))):
        loses(net, "core", False, kind)
        net.advance(40)
        assert not managed(net, "core").abilities.can(Role.CORE, v6=False)
        assert "cannot be a core for IPv4: it cannot hold rules of IPv4" in degraded(net, "core")[0]
    net.disconnect("core")
    net.connect("core")
    net.advance(40)
    assert not degraded(net, "core")


def test_a_server_edge_that_goes_on_refusing_rules_of_its_services_announces_them_no_more(build, v6):
    net = build("figure1", "as2", "as3")
    service = Prefix.host(SERVICE[v6])
    assert net.controller.announcements.announcers_of(service) == {"ars2", "ars3"}
    with playing(net, "ars2", Profile(refuse=(Elements(match=(f"ipv{6 if v6 else 4}_dst",), tables=(2,)),))):
        loses(net, "ars2", v6, Kind.SERVICE)
        net.advance(40)
        assert net.controller.announcements.announcers_of(service) == {"ars3"}
        ask(net, service=SERVICE[v6], protocol=UDP, port=40000)
        assert [*served_by(net, "as2", "as3").values()] == [{"as3"}]
    net.disconnect("ars2")
    net.connect("ars2")
    net.advance(2)
    assert net.controller.announcements.announcers_of(service) == {"ars2", "ars3"}


def test_refused_rules_without_which_roles_can_be_carried_out_are_told_and_take_none_away(build):
    net = build("figure1", "as2")
    with playing(net, "arh1", Profile(refuse=(Elements(match=("eth_type",), tables=(0,)),))):
        flows = net.switches["arh1"].flows
        net.switches["arh1"].delete([key for key, rule in flows.items() if kind_of(rule.cookie) is Kind.LLDP_FROM_HOST])
        net.advance(40)
        features = managed(net, "arh1").features
        assert all(judge(role, features).is_able for role in Role)
        (remark,) = [each for each in remarks(features) if "LLDP" in each]
        assert remark == (
            'cannot hold rules that were not tried (table 0: "LLDP from a host port or an uplink": bad match, bad '
            "field); what these are for is left undone"
        )
    net.advance(60)
    assert not [each for each in remarks(managed(net, "arh1").features) if "LLDP" in each], "it takes them now"


def losing(net, monkeypatch, name, kind):
    """The switch confirms rules of this kind, and does not hold them → those that are sent, as they are."""
    here, sent = net.switches[name], []
    apply = here.apply

    def apply_all_else(message, *more):
        if isinstance(message, AddFlow) and kind_of(message.rule.cookie) is kind:
            sent.append(message.rule)
            return []
        return apply(message, *more)

    monkeypatch.setattr(here, "apply", apply_all_else)
    return sent


@pytest.mark.parametrize(
    ("name", "kind", "role"), [("core", Kind.ROUTE, Role.CORE), ("arh1", Kind.FIRST_PACKET, Role.CLIENT_EDGE)]
)
def test_a_switch_that_silently_holds_no_rules_of_a_role_loses_it_and_gets_it_back_when_it_holds_them(
    build, monkeypatch, name, kind, role
):
    net = build("figure1", "as2", "as3")
    with monkeypatch.context() as patch:
        sent = losing(net, patch, name, kind)
        lost = loses(net, name, False, kind)
        net.advance(10)
        assert managed(net, name).abilities.can(role, v6=False), "another program may have deleted them once or twice"
        net.advance(90)
        assert 3 <= len(sent) / len(lost) <= 6, "it is sent them at growing intervals"
        assert not managed(net, name).abilities.can(role, v6=False)
        assert managed(net, name).abilities.can(role, v6=True)
        sentence = degraded(net, name)[0]
        assert f"cannot be a {role.value} for IPv4: it cannot hold rules of IPv4" in sentence
        assert sentence.endswith(": not refused, and missing again and again)")
        said = " ".join(each.sentence for each in reasons(net.controller, net.counters, (), "", net.now))
        assert "are put right" not in said
    net.advance(260)  # they may have been deleted by another program: it is not for ever
    assert not degraded(net, name)
    assert net.switches[name].flows.keys() >= {*lost}


def test_a_full_table_is_not_taken_for_rules_that_are_silently_lost(build):
    net = build("figure1", "as2")
    here = net.switches["core"]
    lost = next(key for key, rule in here.flows.items() if kind_of(rule.cookie) is Kind.ROUTE)
    here._table_size = len(here.flows) - 1
    net.delete_rules("core", [lost])
    net.advance(60)
    assert "missing again" not in " ".join(degraded(net, "core"))
    here._table_size = None
    net.advance(200)
