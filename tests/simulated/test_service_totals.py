"""What is shown of groups as a whole: how their servers are, in all and behind each edge; the worst servers first."""

from __future__ import annotations

from scenes import SECOND_SERVICE, SERVICE, ask, group, network, web

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import packed, text
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.servers import ServerViews
from anycast_sdn.views.services import FRESH_S, ServiceViews


def no_turn() -> None:
    """Nobody else has anything to do."""


def test_totals_count_health_flows_and_loads_in_all_and_behind_each_edge() -> None:
    net = network("figure1", "as2", "as3", "as4")
    net.set_groups(web(net.network, "as2", "as3", "as4", draining=("as2",)))
    ask(net, "h1", SERVICE[False])
    net.controller.selecting.reported(packed("10.3.0.10"), LoadReport(cpu=0.5, ttl_s=60), net.now)
    net.controller.selecting.reported(packed("10.3.0.11"), LoadReport(cpu=0.25, ttl_s=60), net.now)
    (service,) = ServiceViews(net.controller).all(net.now, no_turn)
    behind = {each["edge"]: each for each in service["edges"]}
    assert (service["name"], service["families"]) == ("web", ["ipv4", "ipv6"])
    assert (service["servers"], service["inactive"], service["flows"]) == (6, 2, 1)
    assert (service["load"], service["highest_load"]) == (0.375, 0.5)
    assert (behind["ars2"]["servers"], behind["ars2"]["inactive"], behind["ars2"]["load"]) == (2, 2, None)
    assert (behind["ars3"]["servers"], behind["ars3"]["passing"], behind["ars3"]["flows"]) == (4, 4, 1)


def test_a_server_of_two_groups_has_the_flows_of_each_of_them_there() -> None:
    net = network("figure1", "as2")
    both = {"web": SERVICE, "dns": SECOND_SERVICE}
    net.set_groups(Groups({name: group(net.network, name, service, "as2") for name, service in both.items()}))
    for port in (40000, 40001):
        ask(net, "h1", SERVICE[False], port)
    ask(net, "h1", SECOND_SERVICE[False])
    flows = {service["name"]: service["flows"] for service in ServiceViews(net.controller).all(net.now, no_turn)}
    assert flows == {"web": 2, "dns": 1}
    views, address = ServerViews(net.controller), packed("10.2.0.10")
    assert [views.view(name, address, net.now, 0.0)["flows"] for name in both] == [2, 1]


def test_an_answer_serves_all_who_ask_within_two_seconds() -> None:
    net = network("figure1", "as2", "as3")
    views = ServiceViews(net.controller)
    first = views.all(net.now, no_turn)
    net.set_groups(web(net.network, "as2"))
    assert views.all(net.now, no_turn) is first
    net.advance(FRESH_S)
    assert [each["servers"] for each in views.all(net.now, no_turn)] == [2]


def test_servers_whose_health_is_worst_come_first() -> None:
    net = network("figure1", "as2", "as3")
    assert ranks(net) == [(3, "10.2.0.10"), (3, "10.3.0.10"), (3, "2001:db8:2::10"), (3, "2001:db8:3::10")]
    net.set_port(net.host("as3").port, False)
    net.advance(1)
    assert ranks(net) == [(0, "10.3.0.10"), (0, "2001:db8:3::10"), (3, "10.2.0.10"), (3, "2001:db8:2::10")]


def ranks(net: SimulatedNetwork) -> list[tuple[int, str]]:
    found = ServiceViews(net.controller).worst_first(next(iter(net.controller.groups)), no_turn)
    return [(rank, text(server.address)) for rank, server in found]
