"""The topology as it would be without some of its parts, and where each site's traffic goes (M8, M23)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SERVICE, ask, catchment, network, topology, web

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Gateway, NotFound, Prefix, packed
from anycast_sdn.description.model import Host, Link, Network, Port, Switch, Uplink
from anycast_sdn.fabric.egress import Route
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.topology import topology_view

UP1 = topology("legacy-core").uplinks[0]
ANY = Prefix.host(SERVICE[False])


@pytest.fixture
def ring(build):
    net = build("ring")
    net.advance(1)
    return net


def test_a_topology_without_parts_is_computed_without_changes_to_the_network(ring):
    before = {name: dict(switch.flows) for name, switch in ring.switches.items()}
    assert catchment(ring, "c1-c2") == catchment(ring, "c2:2-c1:1") == {"arh1": "ars3", "arh2": "ars3"}
    assert catchment(ring, "10.23.0.10") == {"arh1": "ars1", "arh2": "ars2"}
    assert catchment(ring, "c1") == {"arh1": None, "arh2": "ars3"}
    assert catchment(ring, "arh2", "ars1") == {"arh1": "ars2"}
    assert catchment(ring) == {"arh1": "ars1", "arh2": "ars3"}
    assert {name: dict(switch.flows) for name, switch in ring.switches.items()} == before


@pytest.mark.parametrize("without", [(), ("10.2.0.10",), ("arh1",)])
def test_the_topology_is_that_of_one_moment_whatever_happens_while_it_is_computed(without):
    net = with_routers(topology("figure1"), UP1)
    net.set_groups(web(net.network, "as2", "as3"))
    net.set_learned("up1", {ANY: Route(1, 0, 0, packed("198.51.100.2"))})
    net.advance(3)
    before = topology_view(net.controller, without, net.now)
    happens = [
        lambda: net.set_groups(Groups()),
        lambda: net.set_learned("up1", {}),
        lambda: net.set_cost(net.network.links[0].a, 9),
        lambda: net.set_port(net.network.links[0].a, False),
        lambda: net.set_port(net.host("as2").port, False),
        lambda: net.set_port(net.host("r-up1").port, False),
        lambda: net.disconnect("ars3"),
        lambda: net.advance(10),
    ]

    def others_go_on() -> None:
        if happens:
            happens.pop(0)()

    assert topology_view(net.controller, without, net.now, others_go_on) == before
    assert not happens
    after = topology_view(net.controller, (), net.now)
    assert all(after[name] != before[name] for name in ("switches", "links", "uplinks", "edges", "catchment"))


def with_routers(described: Network, *uplinks: Uplink) -> SimulatedNetwork:
    """The network with these uplinks, and a router at each that answers."""
    routers = [Host(f"r-{uplink.name}", uplink.name, uplink.port, uplink.routers) for uplink in uplinks]
    described = replace(described, uplinks=uplinks, hosts=(*described.hosts, *routers), legacy_core=None)
    net = SimulatedNetwork(described, web(described, "as2", "as3"))
    for router in routers:
        net.host(router.name).on_packet = lambda frame, packet: ()
    net.advance(3)
    return net


def test_egress_follows_the_longest_prefix_and_not_the_shortest_path():
    legacy = topology("legacy-core")
    near = replace(UP1, routes=(Prefix.parse("0.0.0.0/0"),), bgp=None)
    link, router, longer = Gateway.parse("10.9.7.1/30"), packed("10.9.7.2"), Prefix.parse("198.18.0.0/16")
    far = Uplink("far", "e2", 20, (link,), (router,), (longer,))
    described = replace(
        legacy, switches=(*legacy.switches, Switch("e2", 7)), links=(Link(Port("arh1", 30), Port("e2", 30)),)
    )
    net = with_routers(described, near, far)
    assert catchment(net) == {"arh1": "uplink far"}
    ask(net)
    assert len(net.host("r-far").received) > len(net.host("r-up1").received)
    assert catchment(net, "far") == catchment(net, "e2") == {"arh1": "uplink up1"}
    assert catchment(net, "up1") == {"arh1": "uplink far"}


def test_without_its_own_servers_the_fabric_goes_by_the_router():
    net = with_routers(topology("figure1"), UP1)
    net.set_learned("up1", {ANY: Route(1, 0, 0, packed("198.51.100.2"))})
    net.settle()
    assert catchment(net) == {"arh1": "ars2"}
    assert catchment(net, "10.2.0.10", "10.3.0.10") == {"arh1": "uplink up1"}
    net.set_groups(web(net.network, "as2"))
    net.settle()
    assert catchment(net, "10.2.0.10") == {"arh1": "uplink up1"}


def test_a_site_that_may_not_use_a_service_is_in_no_catchment():
    """Site 2 of two-sites.yaml may not use 198.19.0.0/16."""
    net = network("two-sites")
    services = {"web": Prefix.parse("198.18.0.1/32"), "dns": Prefix.parse("198.19.0.53/32")}
    (group,) = web(net.network, "as2")
    groups = {name: replace(group, name=name, prefixes=(service,)) for name, service in services.items()}
    net.set_groups(Groups(groups))
    net.settle()
    assert catchment(net) == {"arh1": "ars2", "arh2": "ars2"}
    assert catchment(net, service="198.19.0.53/32") == {"arh1": "ars2", "arh2": "unauthorised"}


def refusal(net: SimulatedNetwork, *without: str) -> str:
    with pytest.raises(NotFound) as caught:
        topology_view(net.controller, without, net.now)
    return str(caught.value)


def test_unknown_words_are_all_named_with_the_names_that_exist(ring):
    reason = refusal(ring, "c9", "c1", "10.9.9.9", "ars1-c9")
    assert reason.startswith("'10.9.9.9', 'ars1-c9', 'c9': no switch (arh1, arh2, ars1")
    assert "no uplink (there is none)" in reason
    assert len(reason) < 500


def test_a_word_that_names_a_link_and_a_switch_is_refused():
    figure1 = topology("figure1")
    described = replace(figure1, switches=(*figure1.switches, Switch("arh1-core", 77)))
    net = SimulatedNetwork(described, web(described, "as2"))
    assert "names several things" in refusal(net, "arh1-core")


def test_a_link_may_be_written_as_it_is_shown(ring):
    assert catchment(ring, "c1:1–c2:2") == catchment(ring, "c1:1")
