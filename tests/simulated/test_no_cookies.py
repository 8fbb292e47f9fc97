"""Switches that keep no cookies: their rules are known by their matches, and that is said (M38)."""

from __future__ import annotations

from scenes import SERVICE, ask, managed, served_by, topology, web

from anycast_sdn.description.profile import Profile
from anycast_sdn.openflow.judgement import Role
from anycast_sdn.simulation.network import SimulatedNetwork

NO_COOKIES = Profile(wrong=("cookies",))


def test_a_switch_that_keeps_no_cookies_serves_and_what_is_done_instead_is_said(v6):
    network = topology("figure1")
    profiles = dict.fromkeys(("arh1", "core", "ars2"), NO_COOKIES)
    net = SimulatedNetwork(network, web(network, "as2", "as3"), profiles=profiles)
    ask(net, service=SERVICE[v6])
    assert set().union(*served_by(net, "as2", "as3").values()) == {"as2"}
    sentences = {each.role: each.sentence for each in managed(net, "ars2").abilities.judgements}
    assert "can be a server edge; it keeps no cookies: the controller knows its rules by their matches" in (
        sentences[Role.SERVER_EDGE]
    )
    net.advance(60)
    assert managed(net, "ars2").repaired_at is None
