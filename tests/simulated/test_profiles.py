"""What becomes of a network in which a switch is of another make: each profile, judged and avoided."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SERVICE, ask, bindings, managed, served_by, topology, web

from anycast_sdn.description.profile import Profile
from anycast_sdn.description.profiles import PROFILES
from anycast_sdn.openflow.judgement import Role
from anycast_sdn.simulation.network import SimulatedNetwork

BOTH = frozenset({4, 6})
NONE: frozenset[int] = frozenset()
# Profile → the families in which a switch can be a client edge, a server edge, and core.
ABLE = {
    "allied-telesis": (NONE, NONE, NONE),
    "aruba-3810m": (NONE, NONE, NONE),
    "bofuss": (BOTH, BOTH, BOTH),
    "cisco-asr9000": (NONE, NONE, NONE),
    "dell-n3200": (NONE, NONE, BOTH),
    "dell-os10": (NONE, NONE, NONE),
    "extreme-s-series": (BOTH, BOTH, BOTH),
    "juniper-qfx5100": (NONE, NONE, BOTH),
    "nvidia-onyx": (NONE, NONE, BOTH),
    "of-dpa": (NONE, NONE, NONE),
    "zodiac-fx": (NONE, NONE, NONE),
}
PORTS = range(40000, 40008)


def played(**profiles: Profile) -> SimulatedNetwork:
    """Figure 1, with servers behind ars2, which is nearer, and ars3."""
    network = topology("figure1")
    return SimulatedNetwork(network, web(network, "as2", "as3"), profiles=profiles)


def able(net: SimulatedNetwork, name: str, role: Role) -> frozenset[int]:
    return frozenset(family for family in BOTH if managed(net, name).abilities.can(role, family == 6))


def test_every_profile_says_after_what_it_is_made_and_is_judged_here() -> None:
    assert PROFILES.keys() == ABLE.keys()
    assert all(profile.source and profile.manufacturer and profile.hardware for profile in PROFILES.values())


def test_a_simulated_switch_plays_the_profile_of_the_network_file() -> None:
    network = topology("figure1")
    switches = tuple(
        replace(switch, profile=PROFILES["allied-telesis"]) if switch.name == "ars2" else switch
        for switch in network.switches
    )
    net = SimulatedNetwork(replace(network, switches=switches), web(network, "as2", "as3"))
    assert net.switches["ars2"].profile.name == "allied-telesis"
    assert net.switches["ars3"].profile.name == ""


@pytest.mark.parametrize("name", PROFILES)
def test_a_switch_of_this_profile_is_judged_role_by_role(name):
    net = played(arh1=PROFILES[name], ars2=PROFILES[name])
    assert (
        able(net, "arh1", Role.CLIENT_EDGE),
        able(net, "ars2", Role.SERVER_EDGE),
        able(net, "ars2", Role.CORE),
    ) == ABLE[name]


@pytest.mark.parametrize("name", PROFILES)
def test_flows_go_to_no_server_edge_that_cannot_be_one(name, v6):
    net = played(ars2=PROFILES[name])
    for port in PORTS:
        ask(net, service=SERVICE[v6], port=port)
    served = served_by(net, "as2", "as3")
    assert len(served) == len(PORTS), "every flow is served, by one server"
    nearest = "as2" if (6 if v6 else 4) in ABLE[name][1] else "as3"
    assert set().union(*served.values()) == {nearest}


@pytest.mark.parametrize("name", [name for name, (edge, _, _) in ABLE.items() if not edge])
def test_clients_behind_a_client_edge_that_cannot_be_one_use_up_no_addresses(name, v6):
    net = played(arh1=PROFILES[name])
    for port in PORTS:
        ask(net, service=SERVICE[v6], port=port)
    assert not bindings(net)
    assert not served_by(net, "as2", "as3")
