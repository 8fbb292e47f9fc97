"""Switches that keep no cookies: they are recognised, and used for nothing (M38)."""

from __future__ import annotations

from scenes import SERVICE, ask, managed, served_by, topology, web

from anycast_sdn.description.profile import Profile
from anycast_sdn.openflow.judgement import Role
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.reasons import reasons

NO_COOKIES = Profile(wrong=("cookies",))
WHAT = "it cannot keep the cookies of rules, by which the controller knows what they are for"


def figure1(name: str) -> SimulatedNetwork:
    network = topology("figure1")
    return SimulatedNetwork(network, web(network, "as2", "as3"), profiles={name: NO_COOKIES})


def test_a_switch_that_keeps_no_cookies_has_no_role_and_that_is_said(v6):
    net = figure1("ars2")
    ask(net, service=SERVICE[v6])
    assert set().union(*served_by(net, "as2", "as3").values()) == {"as3"}
    sentences = {each.role: each.sentence for each in managed(net, "ars2").judgements()}
    why = f"{WHAT} (it lists a rule with another one than it was sent)"
    assert sentences[Role.SERVER_EDGE] == f"cannot be a server edge: {why}; service addresses are not announced here"
    assert sentences[Role.CORE] == f"cannot be a core: {why}; packets are not sent through it"
    found = reasons(net.controller, net.counters, (), "", net.now)
    assert any(each.code == "switch.degraded" and WHAT in each.sentence for each in found)


def test_its_rules_are_not_taken_for_those_of_others_again_and_again():
    net = figure1("ars2")
    net.advance(60)
    assert managed(net, "ars2").repaired_at is None
    assert len(net.switches["ars2"].flows) == len(managed(net, "ars2").installed)
