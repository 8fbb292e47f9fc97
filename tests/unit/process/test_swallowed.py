"""A switch whose connection swallows what it gets: its links stay as they are, and it is noticed soon."""

from __future__ import annotations

import time

import pytest

from anycast_sdn.cluster.cluster import Claim
from anycast_sdn.core.switch_events import SwitchLost
from tests.unit.process.test_roles import ARH1, ARS2, Controller, Switch

CORE = 4
TICK_S = 0.25
CUT_S = 1.0  # after the last time that LLDP could have been heard
QUIETEST_S = 4.0


@pytest.mark.parametrize("swallowed", [True, False])
def test_lldp_is_not_heard_of_a_switch_that_answers_or_does_not(swallowed: bool) -> None:
    """Here no switch hears any LLDP any more, and those that can answer echo requests."""
    one = Controller()
    one.cluster.leader = True
    ends = {}
    for dpid in (ARH1, ARS2, CORE):
        one.cluster.claims[dpid] = Claim(True, 5)
        ends[dpid] = one.connect(Switch(dpid))
    one.work(*ends.values())
    begin = time.monotonic()
    discovery = one.app.controller.discovery
    arh1, watched = ends[ARH1], discovery.watched()
    for each in watched:  # it came through once, so that its silence means something
        for by, to in (each.ends, each.ends[::-1]):
            discovery.passage.arrived(by, to, discovery._declared_peer)
    for number in range(round(QUIETEST_S / TICK_S)):
        now = begin + number * TICK_S
        is_cut = swallowed and now - begin >= CUT_S
        heard = [end for end in ends.values() if not (is_cut and end is arh1)]
        for end in ends.values():
            end.tick(now)
        one.work(*heard)
        one.app._tick_network(now)
        one.work(*heard)
    up = {str(link.link.a): link.up for link in watched}
    assert up["arh1:10"] is swallowed
    assert not up["core:11"], "both of its switches answer"
    assert arh1.is_closed is swallowed
    assert len(one.events(SwitchLost)) == swallowed
    assert not ends[CORE].is_closed
