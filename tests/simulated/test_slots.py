"""Tables of slots: servers behind other edges, changes of routes, neighbours and slots (M9, M10, M26)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scenes import (
    SERVICE,
    ask,
    bindings,
    drops,
    errors,
    group,
    managed,
    served_by,
    the_binding,
    topology,
    web,
)

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, Affinity, Distance, FlowKey, Prefix, SelectionSettings, packed
from anycast_sdn.core.slots import Slots, Spread
from anycast_sdn.description.model import Host, Network, Port
from anycast_sdn.fabric.egress import Route
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import Barrier, Output, Resubmit, SetField, SetGroup
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.simulation.observations import Sent

FAMILIES = (False, True)
PRH = {False: packed("203.0.113.7"), True: packed("2001:db8:1:f::7")}


def spread_by(net: SimulatedNetwork, edge: str, *servers: str) -> None:
    """The slots of this edge go to these hosts in turn; nothing else decides about them any more."""
    switch = managed(net, edge)

    def wanted(group: object, is_v6: bool) -> Slots:
        addresses = [net.host(name).address(is_v6) for name in servers]
        return tuple(addresses[at % len(addresses)] for at in range(64))

    switch.serving.wanted = wanted  # type: ignore[method-assign]
    net.controller.announcements.recheck(switch.dpid, switch.serving.services(net.controller.groups))
    net.react(net.controller.work(net.now))
    net.settle()


def slots_of(net: SimulatedNetwork, edge: str, v6: bool = False) -> list[tuple[bytes, int | None]]:
    """(server, port) of each slot, as the switch holds it; without a port it is sent as routes lead."""
    number = managed(net, edge).serving.number(Spread("web", v6))
    assert number is not None
    slots = []
    for weight, actions in net.switches[edge].groups[number].buckets:
        server, *_ = [each.value for each in actions if isinstance(each, SetField)]
        (port,) = [each.port if isinstance(each, Output) else None for each in actions
                   if isinstance(each, Output | Resubmit)]  # fmt: skip
        slots += [(server, port)] * weight
    return slots


def sent(net: SimulatedNetwork, name: str) -> list[object]:
    """The messages to a switch since the journal was emptied, without barriers."""
    records = [record for record in net.observations.journal if isinstance(record, Sent) and record.switch == name]
    return [record.message for record in records if not isinstance(record.message, Barrier)]


def test_a_slot_leads_to_a_server_behind_another_edge_which_answers_and_is_pinned(build, v6):
    net = build("figure1", "as2", "as3")
    spread_by(net, "ars2", "as3")
    ask(net, service=SERVICE[v6], protocol=TCP, service_port=80)
    binding, as3 = the_binding(net), net.host("as3").address(v6)
    assert binding.server == as3
    there, back = (binding.translated, SERVICE[v6]), (binding.translated, as3)
    assert [key[:2] for key in net.seen("core", "ars2")] == [there]
    assert [key[:2] for key in net.seen("ars2", "core")] == [back]
    assert [key[:2] for key in net.seen("ars3", "as3")] == [back]
    net.check_recompute_changes_nothing()


def test_such_a_packet_pays_a_hop_at_each_edge(build, v6):
    net = build("figure1", "as2", "as3")
    spread_by(net, "ars2", "as3")
    ask(net, service=SERVICE[v6], ttl=64)
    (frame,) = net.host("as3").received
    assert parse_ip(frame).ttl == 64 - len(("arh1", "core", "ars2", "core", "ars3"))


def test_servers_here_and_elsewhere_share_by_their_slots(build, v6):
    net = build("figure1", "as2", "as3", "as4", translation_prefixes=(Prefix.parse("100.64.0.0/16"),
                                                                       Prefix.parse("2001:db8:1:f::/64")))  # fmt: skip
    spread_by(net, "ars2", "as2", "as3", "as3", "as4")
    for port in range(40000, 40200):
        ask(net, service=SERVICE[v6], port=port)
    shares = Counter(binding.server for binding in bindings(net))
    as2, as3, as4 = (shares[net.host(name).address(v6)] for name in ("as2", "as3", "as4"))
    assert (as2 + as3 + as4, as2 > 30, as3 > 70, as4 > 30) == (200, True, True, True)


def test_only_flows_of_slots_that_change_get_another_server(build):
    net = build("figure1", "as2", "as3", "as4")
    for name in ("as2", "as3", "as4"):
        net.host(name).on_packet = lambda frame, packet: ()
    spread_by(net, "ars2", *["as2"] * 32, *["as3"] * 32)
    for port in range(40000, 40240):
        ask(net, port=port)
    before = served_by(net, "as2", "as3")
    for name in ("as2", "as3"):
        net.host(name).received.clear()
    spread_by(net, "ars2", *["as2"] * 28, *["as4"] * 4, *["as3"] * 32)
    for port in range(40000, 40240):
        ask(net, port=port)
    after = served_by(net, "as2", "as3", "as4")
    moved = [key for key in before if after[key] != before[key]]
    assert 5 <= len(moved) <= 30
    assert all((before[key], after[key]) == ({"as2"}, {"as4"}) for key in moved)


def test_slots_that_stay_the_same_send_nothing(build):
    net = build("figure1", "as2", "as3")
    spread_by(net, "ars2", "as2", "as3")
    net.observations.journal = []
    spread_by(net, "ars2", "as2", "as3")
    assert sent(net, "ars2") == []


def test_a_change_of_slots_is_one_message_for_each_family_whatever_the_number_of_prefixes(build):
    net = build("figure1", "as2", "as3")
    many = tuple(Prefix.parse(f"198.18.7.{number}/32") for number in range(200))
    web = replace(group(net.network, "web", SERVICE, "as2", "as3"), prefixes=(*many, Prefix.host(SERVICE[True])))
    net.set_groups(Groups({"web": web}))
    net.settle()
    assert len(net.switches["ars2"].groups) == 2
    net.observations.journal = []
    spread_by(net, "ars2", "as2", "as3")
    assert [type(message) for message in sent(net, "ars2")] == [SetGroup, SetGroup]


def ring(build, *servers: str, **options) -> SimulatedNetwork:
    net = build("ring", "as1", "as2", "as3", **options)
    net.advance(1)
    spread_by(net, "ars1", *servers)
    return net


@pytest.fixture
def triangle(build) -> SimulatedNetwork:
    """ars2 and ars3 of figure 1 have a link of their own, besides those to the core."""
    net = SimulatedNetwork(_triangle(), web(topology("figure1"), "as2", "as3"))
    net.advance(1)
    spread_by(net, "ars2", "as2", "as3")
    return net


def _triangle(**link: int) -> Network:
    figure = topology("figure1")
    direct = replace(figure.links[0], a=Port("ars2", 77), b=Port("ars3", 77), cost=1, **link)
    return replace(figure, links=(*figure.links, direct))


def test_packets_to_a_slots_server_take_the_present_route(triangle, v6):
    """By the link to ars3, and by the core while that link is down or costs more; the select group stays as it is."""
    as3 = triangle.host("as3").address(v6)
    triangle.host("as3").on_packet = lambda frame, packet: ()
    spread_by(triangle, "ars2", "as3")
    triangle.observations.journal = []
    for change in (
        lambda up: triangle.set_port(Port("ars2", 77), up=up),
        lambda up: triangle.set_cost(Port("ars2", 77), 1 if up else 9),
    ):
        for up, then in ((False, "core"), (True, "ars3")):
            change(up)
            triangle.advance(2)
            before = len(triangle.seen("ars2", then))
            ask(triangle, service=SERVICE[v6])
            assert [key.destination for key in triangle.seen("ars2", then)[before:]] == [as3]
            triangle.check_recompute_changes_nothing()
    assert not [message for message in sent(triangle, "ars2") if isinstance(message, SetGroup)]
    assert drops(triangle, "ars2") == {}


def test_slots_of_a_server_that_no_route_leads_to_go_to_the_others_until_one_does(triangle, v6):
    as2, as3 = (triangle.host(name).address(v6) for name in ("as2", "as3"))
    for port in triangle.network.links:
        if "ars3" in (port.a.switch, port.b.switch):
            triangle.set_port(port.a, up=False)
    triangle.settle()
    assert {server for server, _ in slots_of(triangle, "ars2", v6)} == {as2}
    for port in range(40000, 40030):
        ask(triangle, service=SERVICE[v6], port=port)
    assert {binding.server for binding in bindings(triangle)} == {as2}
    for port in triangle.network.links:
        triangle.set_port(port.a, up=True)
    triangle.advance(3)
    assert Counter(server for server, _ in slots_of(triangle, "ars2", v6)) == {as2: 32, as3: 32}


def test_slots_of_a_server_here_that_does_not_answer_go_to_the_others(build, v6):
    net = build("figure1", "as3", "as4", "as2")
    spread_by(net, "ars3", "as3", "as4", "as2")
    net.set_port(net.host("as3").port, up=False)
    net.settle()
    left = Counter(server for server, _ in slots_of(net, "ars3", v6))
    assert set(left) == {net.host(name).address(v6) for name in ("as4", "as2")}
    assert max(left.values()) - min(left.values()) <= 1


def test_the_sender_of_a_packet_too_large_for_the_link_to_the_other_edge_is_told(v6):
    net = SimulatedNetwork(_triangle(mtu=1300), web(topology("figure1"), "as2", "as3"))
    spread_by(net, "ars2", "as3")
    ask(net, service=SERVICE[v6], payload=bytes(1300))
    assert net.host("as3").received == []
    assert errors(net.host("h1")) == [(2, 0) if v6 else (3, 4)]
    ask(net, service=SERVICE[v6], payload=bytes(1200))
    assert len(net.host("as3").received) == 1


def test_all_fragments_of_a_client_bound_as_a_whole_go_to_one_server_also_behind_another_edge(build):
    net = build("figure1", "as2", "as3")
    whole = replace(group(net.network, "web", SERVICE, "as2", "as3"), affinity=Affinity.CLIENT)
    net.set_groups(Groups({"web": whole}))
    net.settle()
    for servers in (["as3"], ["as3", "as3", "as2"], ["as2"]):
        spread_by(net, "ars2", *servers)
        rules = [rule for rule in net.switches["ars2"].flows.values() if kind_of(rule.cookie) is Kind.SERVICE_FRAGMENT]
        assert {rule.actions[0].value for rule in rules} == set(net.host(servers[0]).addresses)
    net.check_recompute_changes_nothing()


@pytest.mark.parametrize("slowest_s", [0.001, 0.03])
def test_no_packet_is_lost_or_spread_twice_while_routes_change(build, v6, slowest_s):
    """Unanswered flows, so that each packet goes by the table; the costs of the ring go back and forth.

    Every edge spreads to all servers, and switches install their routes at different times.
    """
    net = ring(build, "as1", "as2", "as3", switch={"slowest_s": slowest_s})
    for edge in ("ars2", "ars3"):
        spread_by(net, edge, "as3", "as2", "as1")
    for name in ("as1", "as2", "as3"):
        net.host(name).on_packet = lambda frame, packet: ()
    h1, count = net.host("h1"), 0
    net.settle()
    net.observations.journal = []
    for cost in (9, 1, 30, 1):
        for link in ("c1", "c3", "c5"):
            net.set_cost(Port(link, 1), cost)
        for port in range(40000, 40040):
            net.send("h1", h1.packet(SERVICE[v6], UDP, port, 53))
            net.advance(0.004)
            count += 1
    net.settle()
    arrived = [frame for name in ("as1", "as2", "as3") for frame in net.host(name).received]
    assert len([frame for frame in arrived if parse_ip(frame).key.protocol == UDP]) == count
    spread = [step for record in net.observations.journal for step in getattr(record, "steps", ())
              if step.rule and kind_of(step.rule.cookie) is Kind.SERVICE]  # fmt: skip
    assert len(spread) == count


def test_a_new_controller_goes_on_with_the_slots_that_switches_have(build):
    """Tables that weights have changed are others than those that the present weights alone would give."""
    net = build("figure1", "as2", "as3", "as4")
    group = net.controller.groups.get("web")
    for weights in ((1, 1, 1), (5, 1, 2), (1, 4, 1), (2, 3, 2)):
        servers = dict(zip(group.servers, (weight for weight in weights for _ in FAMILIES), strict=True))
        group = replace(
            group,
            servers={address: replace(group.servers[address], weight=weight) for address, weight in servers.items()},
            selection=SelectionSettings(Distance.ANY),
        )
        net.set_groups(Groups({"web": group}))
        net.settle()
    before = {(edge, v6): slots_of(net, edge, v6) for edge in ("ars2", "ars3") for v6 in FAMILIES}
    assert all(len({server for server, _ in slots}) == 3 for slots in before.values())
    fresh = SimulatedNetwork(net.network, net.controller.groups)
    assert slots_of(fresh, "ars2") != before["ars2", False]
    messages = net.restart_controller()
    net.settle()
    assert not [message for message in messages if isinstance(message, SetGroup)]
    assert before == {(edge, v6): slots_of(net, edge, v6) for edge, v6 in before}
    net.advance(30)
    assert before == {(edge, v6): slots_of(net, edge, v6) for edge, v6 in before}


def test_a_switch_that_refuses_equal_buckets_gets_a_weighted_one_for_each_server(v6):
    net = SimulatedNetwork(topology("figure1"), web(topology("figure1"), "as3", "as4"), equal_buckets=False)
    net.advance(1)
    shares = {net.host(name).address(v6): 32 for name in ("as3", "as4")}

    def served(first: int) -> Counter[bytes]:
        for port in range(first, first + 40):
            ask(net, service=SERVICE[v6], port=port)
        number = managed(net, "ars3").serving.number(Spread("web", v6))
        assert [weight for weight, _ in net.switches["ars3"].groups[number].buckets] == [32, 32]
        return Counter(binding.server for binding in bindings(net))

    assert served(40000).keys() == shares.keys()
    assert drops(net, "ars3")["rule_refused"] >= 2
    net.check_recompute_changes_nothing()
    net.restart_controller()
    net.settle()
    served(41000)
    assert drops(net, "ars3").get("rule_refused", 0) == 0, "a new controller knows it from the groups that it finds"


# ------------------------------------------------------------------------------ edges that are client edges, too


def test_clients_of_an_edge_that_spreads_reach_servers_behind_others(v6):
    net = SimulatedNetwork(topology("two-sites"), web(topology("two-sites"), "as4", "as1"))
    spread_by(net, "arh1", "as1")
    for _ in range(2):
        ask(net, "h1", SERVICE[v6])
    assert the_binding(net).server == net.host("as1").address(v6)
    assert len(net.host("h1").received) == 2


def test_a_slot_may_lead_back_to_the_clients_own_edge(v6):
    """arh1 announces nothing, but as4 behind it is among the slots of ars1."""
    net = SimulatedNetwork(topology("two-sites"), web(topology("two-sites"), "as4", "as1"))
    arh1 = managed(net, "arh1")
    arh1.serving.wanted = lambda group, is_v6: ()  # type: ignore[method-assign]
    net.controller.announcements.recheck(arh1.dpid, [Prefix.host(address) for address in SERVICE.values()])
    spread_by(net, "ars1", "as4")
    assert Prefix.host(SERVICE[v6]) not in arh1.serving
    for _ in range(2):
        ask(net, "h1", SERVICE[v6])
    assert the_binding(net).server == net.host("as4").address(v6)
    assert (len(net.host("h1").received), drops(net, "arh1")) == (2, {})


# ------------------------------------------------------------------------------ beyond routers

BEYOND = [Prefix.parse("10.3.0.0/24"), Prefix.parse("2001:db8:3::/64")]  # the subnet of as3
DEFAULT = [Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")]


@pytest.fixture
def legacy() -> SimulatedNetwork:
    """ars2 of legacy-core.yaml with its router, which takes everything; as3 is beyond it."""
    network = topology("legacy-core")
    uplink = network.uplinks[1]
    router = Host("r2", uplink.name, uplink.port, uplink.routers)
    net = SimulatedNetwork(replace(network, hosts=(*network.hosts, router)), web(network, "as2", "as3"))
    net.host("r2").on_packet = lambda frame, packet: ()
    spread_by(net, "ars2", "as2", "as3")
    return net


def teach(net: SimulatedNetwork, prefixes: Sequence[Prefix]) -> None:
    net.set_learned("up2", dict.fromkeys(prefixes, Route(1, 0, 0, packed("198.51.100.6"))))
    net.settle()


@pytest.mark.parametrize("prefixes", [BEYOND, DEFAULT], ids=["exact", "default"])
def test_a_server_beyond_a_router_gets_its_slots_while_a_route_leads_there(legacy, v6, prefixes):
    as2, as3 = (legacy.host(name).address(v6) for name in ("as2", "as3"))
    for routes, share in ((prefixes, 32), ([], 0), (prefixes, 32)):
        teach(legacy, routes)
        assert Counter(slots_of(legacy, "ars2", v6))[as3, None] == share
        legacy.check_recompute_changes_nothing()
    assert {server for server, _ in slots_of(legacy, "ars2", v6)} == {as2, as3}


def test_packets_that_came_from_a_router_go_back_to_it_for_the_other_edge(legacy, v6):
    teach(legacy, BEYOND)
    spread_by(legacy, "ars2", "as3")
    router, translated = legacy.host("r2"), PRH[v6]
    frame = builders.ip_packet(FlowKey(translated, SERVICE[v6], UDP, 1, 2), eth_src=router.mac,
                               eth_dst=managed(legacy, "ars2").mac)  # fmt: skip
    router.received.clear()
    legacy.send("r2", frame)
    legacy.settle()
    (back,) = [frame for frame in router.received if parse_ip(frame).key.protocol == UDP]
    assert parse_ip(back).key[:2] == (translated, legacy.host("as3").address(v6))
    assert (back[:6], back[6:12]) == (router.mac, managed(legacy, "ars2").mac)


def test_a_switch_that_cannot_send_back_by_the_same_port_spreads_over_its_own_servers_alone():
    net = SimulatedNetwork(topology("figure1"), web(topology("figure1"), "as2", "as3"))
    switch = managed(net, "ars2")
    switch.features = replace(switch.features, hairpin=False)
    spread_by(net, "ars2", "as2", "as3", "as3")
    assert {server for server, _ in slots_of(net, "ars2")} == {net.host("as2").address(False)}
