"""Which servers take new flows: what an overloaded, dead, draining or new server changes at each edge (M26).

In figure 1, h1's packets to the service reach ars2, which has as2; ars3 has as3 and as4.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from checks import freeze, recover
from scenes import SECOND_SERVICE, SERVICE, ask, bindings, catchment, group, managed

from anycast_sdn.api.shown_flows import DecisionShown
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import UDP, AnycastGroup, Distance, Prefix, SelectionSettings, Server, ServerState, text
from anycast_sdn.core.selection import Exclusion, Selection
from anycast_sdn.core.service_events import EdgeSpilling
from anycast_sdn.core.slots import Spread
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.views.decisions import decision_of

LARGE = (Prefix.parse("100.64.0.0/16"), Prefix.parse("2001:db8:1:f::/64"))  # translation prefixes


@pytest.fixture
def figure1(build):
    """Figure 1 with these servers of web; ``capacity`` is that of each."""

    def make(*hosts: str, capacity: int | None = 40, **settings: Any) -> SimulatedNetwork:
        net = build("figure1", "as2", translation_prefixes=LARGE)
        enrol(net, *hosts, capacity=capacity, **settings)
        net.advance(60)  # no server starts any more
        return net

    return make


def web(net: SimulatedNetwork) -> AnycastGroup:
    found = net.controller.groups.get("web")
    assert found
    return found


def enrol(net: SimulatedNetwork, *hosts: str, capacity: int | None = None, **settings: Any) -> None:
    made = group(net.network, "web", SERVICE, *hosts)
    servers = {address: replace(server, capacity=capacity) for address, server in made.servers.items()}
    set_web(net, replace(made, servers=servers, **settings))


def change(net: SimulatedNetwork, host: str, **members: Any) -> None:
    """Change a server of the group, in both families."""
    servers = dict(web(net).servers)
    for address in net.host(host).addresses:
        servers[address] = replace(servers.get(address, Server(address)), **members)
    set_web(net, replace(web(net), servers=servers))


def set_web(net: SimulatedNetwork, changed: AnycastGroup) -> None:
    net.set_groups(Groups({"web": changed}))
    net.settle()


def slots(net: SimulatedNetwork, edge: str, v6: bool = False) -> dict[str, int]:
    """Host → how many of the edge's slots it has."""
    names = {address: host.name for host in net.network.hosts for address in host.addresses}
    return dict(Counter(names[address] for address in managed(net, edge).serving.slots(Spread("web", v6))))


def selection(net: SimulatedNetwork, v6: bool = False) -> Selection:
    found = net.controller.selecting.selection(Spread("web", v6))
    assert found
    return found


def flows(net: SimulatedNetwork, ports: range, v6: bool = False) -> Counter[str]:
    """A flow from each port → how many each host serves."""
    for port in ports:
        ask(net, service=SERVICE[v6], port=port)
    return served(net, ports)


def served(net: SimulatedNetwork, ports: range) -> Counter[str]:
    names = {address: host.name for host in net.network.hosts for address in host.addresses}
    return Counter(names[each.server] for each in bindings(net) if each.server and each.key.source_port in ports)


def report(net: SimulatedNetwork, host: str, v6: bool = False, **load: Any) -> None:
    net.controller.selecting.reported(net.host(host).address(v6), LoadReport(**load), net.now)


# ---------------------------------------------------------------- demand and capacity


def test_an_edge_serves_what_its_own_servers_can(figure1, v6):
    net = figure1("as2", "as3")
    assert flows(net, range(40000, 40030), v6) == {"as2": 30}
    net.advance(30)
    assert slots(net, "ars2", v6) == {"as2": 64}


def test_what_an_edge_cannot_serve_goes_to_the_next_one_in_steps_and_pinned_flows_stay(figure1, v6):
    net = figure1("as2", "as3")
    assert flows(net, range(40000, 40060), v6) == {"as2": 60}  # of 40, and 32 are aimed at
    seen = []
    for _ in range(8):
        net.advance(5)
        seen.append(slots(net, "ars2", v6).get("as3", 0))
    steps = [after - before for before, after in pairwise([0, *seen])]
    assert max(steps) <= 16  # as2 is past its capacity
    assert seen[-1] >= 30
    assert seen[-1] == seen[-2]
    assert served(net, range(40000, 40060)) == {"as2": 60}
    assert flows(net, range(41000, 41050), v6)["as3"] >= 20
    assert slots(net, "ars3", v6) == {"as3": 64}


def test_an_edge_that_passes_flows_on_is_told_in_large_steps_and_when_it_has_room_again(figure1):
    net = figure1("as2", "as3")
    flows(net, range(40000, 40060))
    net.advance(40)
    told = [event for event in net.channels.reported if isinstance(event, EdgeSpilling)]
    assert {(event.switch, event.group, event.to) for event in told} == {("ars2", "web", ("ars3",))}
    assert [event.share for event in told] == sorted({event.share for event in told})
    assert 1 <= len(told) <= 10
    enrol(net, "as2", "as3", capacity=400)
    net.advance(60)
    assert net.channels.reported[-1] == EdgeSpilling("ars2", "web", ("198.18.0.1/32",), 1, 0.0, ())


def test_an_overloaded_edge_goes_on_announcing(figure1):
    net = figure1("as2", "as3")
    flows(net, range(40000, 40200))
    net.advance(60)
    assert catchment(net)["arh1"] == "ars2"


def test_when_all_are_overloaded_each_edge_keeps_its_own_excess(figure1):
    net = figure1("as2", "as3", capacity=10)
    flows(net, range(40000, 40200))
    net.advance(120)
    kept = slots(net, "ars2")["as2"]
    assert kept >= 60  # 190 of 200 stay


def test_when_flows_end_the_edge_takes_its_share_back(figure1):
    net = figure1("as2", "as3")
    flows(net, range(40000, 40060))
    net.advance(40)
    assert slots(net, "ars2")["as3"] > 0
    for binding in bindings(net):
        net.react(net.controller.end_flow("arh1", binding.number, net.now))
    net.settle()
    net.advance(60)
    assert slots(net, "ars2") == {"as2": 64}


def test_families_are_selected_apart(figure1):
    net = figure1("as2", "as3")
    flows(net, range(40000, 40060), True)
    net.advance(60)
    assert slots(net, "ars2", True)["as3"] > 0
    assert slots(net, "ars2", False) == {"as2": 64}


def test_without_capacity_only_the_edges_own_servers_serve_however_many_flows_there_are(figure1):
    net = figure1("as2", "as3", capacity=None)
    flows(net, range(40000, 40200))
    net.advance(60)
    assert slots(net, "ars2") == {"as2": 64}


def test_with_any_distance_all_servers_are_alike_at_each_edge(figure1):
    net = figure1("as2", "as3", "as4", capacity=None, selection=SelectionSettings(Distance.ANY))
    for edge in ("ars2", "ars3"):
        assert slots(net, edge) == {"as2": 22, "as3": 21, "as4": 21}


def test_servers_of_an_edge_that_cannot_be_reached_get_nothing_from_others(figure1):
    net = figure1("as2", "as3", capacity=None, selection=SelectionSettings(Distance.ANY))
    assert slots(net, "ars2") == {"as2": 32, "as3": 32}
    (link,) = [each for each in net.network.links if "ars3" in (each.a.switch, each.b.switch)]
    net.set_port(link.a, up=False)
    net.advance(5)
    assert slots(net, "ars2") == {"as2": 64}


def test_a_client_counts_where_its_way_to_the_service_ends_now(figure1):
    """As long as ars2 has no way to it, h1's flows are demand of ars3."""
    net = figure1("as2", "as3")
    flows(net, range(40000, 40030))
    change(net, "as2", state=ServerState.DRAINING)
    net.advance(10)
    assert selection(net).announce == {"ars3"}
    assert slots(net, "ars3") == {"as3": 64}


# ---------------------------------------------------------------- servers that come and go


def test_a_draining_server_loses_all_slots_at_once_and_keeps_its_flows(figure1, v6):
    net = figure1("as3", "as4")
    kept = flows(net, range(40000, 40020), v6)
    assert set(kept) == {"as3", "as4"}
    change(net, "as4", state=ServerState.DRAINING)
    assert slots(net, "ars3", v6) == {"as3": 64}
    assert served(net, range(40000, 40020)) == kept
    assert flows(net, range(41000, 41010), v6) == {"as3": 10}


def test_an_edges_only_server_is_dead_and_its_edge_withdraws(figure1, v6):
    net = figure1("as2", "as3")
    change(net, "as2", state=ServerState.DISABLED)
    net.advance(1)
    assert catchment(net)["arh1"] == "ars3"
    assert flows(net, range(40000, 40010), v6) == {"as3": 10}


@pytest.mark.parametrize("capacity", [None, 40])
def test_a_server_of_weight_0_gets_no_new_flows(figure1, capacity):
    net = figure1("as3", "as4", capacity=capacity)
    change(net, "as4", weight=0)
    assert slots(net, "ars3") == {"as3": 64}


def test_in_a_plain_group_a_new_server_gets_its_share_at_once(figure1):
    net = figure1("as3", capacity=None)
    change(net, "as4")
    assert slots(net, "ars3") == {"as3": 32, "as4": 32}
    change(net, "as4", weight=3)
    assert slots(net, "ars3") == {"as3": 16, "as4": 48}


def test_in_a_group_with_capacities_a_new_server_starts_slowly(figure1):
    net = figure1("as3", slow_start_s=30.0)
    change(net, "as4", capacity=40)
    assert slots(net, "ars3")["as3"] > 56
    seen = [slots(net, "ars3").get("as4", 0)]
    for _ in range(10):
        net.advance(5)
        seen.append(slots(net, "ars3")["as4"])
    assert seen == sorted(seen)
    assert max(after - before for before, after in pairwise(seen)) <= 8
    assert seen[-1] == 32


def test_a_server_that_is_enrolled_again_starts_slowly_like_a_new_one(figure1):
    net = figure1("as3", "as4", slow_start_s=30.0)
    with_it = web(net)
    gone = net.host("as4").addresses
    set_web(net, replace(with_it, servers={at: server for at, server in with_it.servers.items() if at not in gone}))
    net.advance(100)
    set_web(net, with_it)
    assert min(each.factor for each in selection(net).standings.values()) < 0.2


def test_events_between_two_intervals_move_no_slots_of_living_servers(figure1):
    net = figure1("as3", "as4")
    before = slots(net, "ars3")
    assert before == {"as3": 32, "as4": 32}
    for weight in (10, 20, 30, 40):
        change(net, "as4", weight=weight)
    assert slots(net, "ars3")["as4"] <= 32 + 8


# ---------------------------------------------------------------- health


def lease(net: SimulatedNetwork, *hosts: str, held: bool) -> None:
    """Their leases expire, which makes them critical, or are renewed."""
    for host in hosts:
        for address in net.host(host).addresses:
            net.controller.health.set_lease("web", address, held, net.now)
    net.react(net.controller.work(net.now))
    net.settle()


def test_a_critical_server_loses_its_slots_at_once_and_gets_them_back_slowly(figure1):
    net = figure1("as3", "as4")
    lease(net, "as4", held=False)
    assert slots(net, "ars3") == {"as3": 64}
    lease(net, "as4", held=True)
    assert slots(net, "ars3").get("as4", 0) <= 8
    seen = []
    for _ in range(12):
        net.advance(5)
        seen.append(slots(net, "ars3").get("as4", 0))
    assert seen == sorted(seen)
    assert seen[2] < 24
    assert seen[-1] == 32


@pytest.mark.parametrize("capacity", [None, 40])
def test_the_last_healthy_server_of_an_edge_withdraws_it_and_it_announces_again(figure1, capacity):
    net = figure1("as2", "as3", capacity=capacity)
    lease(net, "as2", held=False)
    assert catchment(net)["arh1"] == "ars3"
    assert flows(net, range(40000, 40005)) == {"as3": 5}
    lease(net, "as2", held=True)
    assert catchment(net)["arh1"] == "ars2"


def test_with_fewer_healthy_servers_than_min_healthy_critical_ones_serve_too(figure1):
    net = figure1("as2", "as3", "as4", min_healthy=2)
    lease(net, "as2", held=False)
    assert selection(net).announce == {"ars3"}
    lease(net, "as3", held=False)
    assert selection(net).announce == {"ars2", "ars3"}
    assert catchment(net)["arh1"] == "ars2"
    assert flows(net, range(40000, 40005)) == {"as2": 5}
    lease(net, "as3", held=True)
    assert selection(net).announce == {"ars3"}


def test_when_all_servers_are_critical_the_group_is_withdrawn_or_all_serve(figure1):
    net = figure1("as2", "as3")
    lease(net, "as2", "as3", held=False)
    assert selection(net).announce == frozenset()
    assert catchment(net)["arh1"] is None
    set_web(net, replace(web(net), min_healthy=1))
    assert selection(net).announce == {"ars2", "ars3"}
    assert flows(net, range(40000, 40005)) == {"as2": 5}


# ---------------------------------------------------------------- reports of load


def test_a_hot_server_passes_flows_on_and_a_stale_report_teaches_nothing_more(figure1):
    net = figure1("as2", "as3", capacity=None)
    change(net, "as3", capacity=100)
    flows(net, range(40000, 40040))
    for _ in range(6):
        report(net, "as2", cpu=0.95)
        net.advance(5)
    hot = slots(net, "ars2")["as2"]
    assert hot < 64
    net.advance(60)
    learnt = selection(net).memory.learnt
    net.advance(60)
    assert selection(net).memory.learnt == learnt


def test_a_report_counts_in_the_groups_of_its_sender_alone(figure1):
    """A server may be in groups of several operators: what one of them says of it is nothing to the others."""
    net = figure1("as2", "as3")
    flows(net, range(40000, 40030))
    hot, server = LoadReport(cpu=0.95), net.host("as2").address(False)
    for name, stays in (("other", True), ("web", False)):
        for _ in range(4):
            net.controller.selecting.reported(server, hot, net.now, lambda group, name=name: group == name)
            net.advance(5)
        assert (slots(net, "ars2")["as2"] == 64) is stays


def test_a_server_that_recovers_gets_its_share_back(figure1):
    net = figure1("as2", "as3")
    flows(net, range(40000, 40030))
    for _ in range(4):
        report(net, "as2", cpu=0.95)
        net.advance(5)
    assert slots(net, "ars2")["as2"] < 64
    for _ in range(40):
        report(net, "as2", cpu=0.3)
        net.advance(5)
    assert slots(net, "ars2") == {"as2": 64}


def test_a_liar_that_says_1_keeps_a_tenth_of_its_capacity_and_one_that_says_0_gets_no_more_than_its_own(figure1):
    net = figure1("as2", "as3", capacity=100)
    flows(net, range(40000, 40050))
    for _ in range(40):
        report(net, "as2", cpu=1.0)
        report(net, "as3", cpu=0.0)
        net.advance(5)
    limit = selection(net).standings[net.host("as2").address(False)].limit
    assert 0 < limit <= 10
    assert slots(net, "ars2")["as2"] >= 1
    net.advance(60)
    assert selection(net).announce == {"ars2", "ars3"}


def test_many_reports_in_one_interval_teach_no_more_than_one(figure1):
    net = figure1("as2", "as3", capacity=100)
    flows(net, range(40000, 40050))
    net.advance(10)
    for _ in range(1000):
        report(net, "as2", cpu=1.0)
    net.advance(5)
    learnt = selection(net).memory.learnt[net.host("as2").address(False)]
    assert learnt.ceiling >= 0.8 * 100 * 0.9


def test_reports_of_a_removed_server_are_forgotten(figure1):
    net = figure1("as2", "as3", capacity=None)
    report(net, "as2", cpu=1.0)
    enrol(net, "as3")
    enrol(net, "as2", "as3")
    net.advance(30)
    assert not selection(net).memory.learnt


# ---------------------------------------------------------------- restarts, drained edges, several groups


def test_a_new_controller_goes_on_from_the_slots_that_switches_have(figure1):
    net = figure1("as2", "as3")
    flows(net, range(40000, 40060))
    net.advance(60)
    before = slots(net, "ars2")
    assert before["as3"] >= 30
    net.restart_controller()
    net.settle()
    assert slots(net, "ars2") == before
    net.advance(30)
    assert abs(slots(net, "ars2")["as3"] - before["as3"]) <= 2


def test_a_new_controller_lets_no_server_start_slowly(figure1):
    net = figure1("as3", "as4")
    net.restart_controller()
    net.settle()
    assert slots(net, "ars3") == {"as3": 32, "as4": 32}
    assert {each.factor for each in selection(net).standings.values()} == {1.0}


def test_a_server_of_several_groups_that_is_late_after_a_restart_starts_slowly_in_none_of_them(build):
    net = build("figure1", "as2", translation_prefixes=LARGE)
    groups = {
        name: replace(made, servers={address: replace(each, capacity=40) for address, each in made.servers.items()})
        for name, service in (("web", SERVICE), ("dns", SECOND_SERVICE))
        for made in [group(net.network, name, service, "as2", "as3")]
    }
    net.set_groups(Groups(groups))
    net.advance(60)
    freeze(net.host("as2"))
    net.advance(10)
    net.restart_controller()
    net.advance(10)
    recover(net.host("as2"))
    net.advance(5)
    for name in groups:
        found = net.controller.selecting.selection(Spread(name, False))
        assert found
        assert {each.factor for each in found.standings.values()} == {1.0}


def test_servers_behind_a_drained_edge_take_no_new_flows_and_it_withdraws(figure1):
    net = figure1("as2", "as3")
    kept = flows(net, range(40000, 40010))
    net.react(net.controller.drain_edges(["ars2"], net.now))
    net.advance(1)
    assert catchment(net)["arh1"] == "ars3"
    assert slots(net, "ars3") == {"as3": 64}
    assert {each.excluded for each in selection(net).standings.values()} == {Exclusion.EDGE_DRAINING, None}
    assert served(net, range(40000, 40010)) == kept
    net.react(net.controller.drain_edges([], net.now))
    net.advance(1)
    assert catchment(net)["arh1"] == "ars2"


def test_of_a_server_in_two_groups_each_has_the_part_of_its_capacity_that_its_demand_has(build):
    net = build("figure1", "as2", translation_prefixes=LARGE)
    groups = {
        name: replace(made, servers={address: replace(each, capacity=100) for address, each in made.servers.items()})
        for name, made in (
            ("web", group(net.network, "web", SERVICE, "as2", "as3")),
            ("dns", group(net.network, "dns", SECOND_SERVICE, "as2", "as3")),
        )
    }
    net.set_groups(Groups(groups))
    net.advance(60)
    for port in range(40000, 40060):
        ask(net, service=SERVICE[False], port=port)
        if port < 40020:
            ask(net, service=SECOND_SERVICE[False], port=port)
    net.advance(30)
    as2 = net.host("as2").address(False)
    limits = {}
    for name in groups:
        found = net.controller.selecting.selection(Spread(name, False))
        assert found
        limits[name] = found.standings[as2].limit
    assert 50 < limits["web"] < 65
    assert 15 < limits["dns"] < 30


# ---------------------------------------------------------------- why


def why(net: SimulatedNetwork, port: int) -> dict[str, Any]:
    (number,) = [each.number for each in bindings(net) if each.key.source_port == port]
    decision = decision_at_arh1(net, number)
    assert decision
    return decision


def decision_at_arh1(net: SimulatedNetwork, number: int) -> dict[str, Any] | None:
    """The wall clock says 2027-01-15T08:00:00Z at 0."""
    return decision_of(net.controller, "arh1", number, net.now, 1_800_000_000.0 + net.now)


def test_a_flow_says_why_it_has_its_server_also_when_things_have_changed_since(figure1, v6):
    net = figure1("as2", "as3", "as4")
    change(net, "as4", state=ServerState.DRAINING)
    flows(net, range(40000, 40001), v6)
    before = why(net, 40000)
    as2, as3, as4 = before["candidates"]
    assert before["edge"] == "ars2"
    assert before["answered"] == as2["server"] == text(net.host("as2").address(v6))
    assert (as2["share"], as2["cost"], as2["limit"], as2["excluded"]) == (1.0, 0.0, 32.0, None)
    assert (as3["share"], as3["edge"], as3["cost"], as3["excluded"]) == (0.0, "ars3", as4["cost"], None)
    assert (as4["share"], as4["limit"], as4["excluded"]) == (0.0, 0.0, "draining")
    assert [each["why_not"] for each in (as2, as3, as4)] == [
        "", f"not nearest: ars3 is at cost {as3['cost']:g} from ars2", "it is draining"
    ]  # fmt: skip
    assert (before["first_packet_to"], before["handed_over"], before["repins"]) == (as2["server"], False, [])
    assert before["at"].startswith("2027-01-15T08:01:0")
    assert 0 <= before["first_reply_ms"] < 10
    assert before["distances"] == {"ars2": 2, "ars3": 3}
    change(net, "as2", weight=0)
    assert why(net, 40000) == before
    flows(net, range(40001, 40002), v6)
    assert why(net, 40001)["edge"] == "ars3"
    assert why(net, 40001)["candidates"][0]["share"] == 1.0


def test_a_decision_says_which_servers_the_flow_has_lost_and_who_answered_instead(figure1):
    net = figure1("as2", "as3", capacity=None)
    flows(net, range(40000, 40001))
    as2, as3 = (text(net.host(name).address(False)) for name in ("as2", "as3"))
    first = why(net, 40000)["first_reply_ms"]
    net.set_port(net.host("as2").port, up=False)
    net.advance(5)
    lost = why(net, 40000)
    assert lost["answered"] is None
    assert [each["to"] for each in lost["repins"]] == [None]
    flows(net, range(40000, 40001))
    found = why(net, 40000)
    (repin,) = found["repins"]
    assert (repin["from"], repin["to"], repin["reason"]) == (as2, as3, "the server was lost")
    assert repin["at"].startswith("2027-01-15T08:01:0")
    assert (found["edge"], found["answered"], found["first_reply_ms"]) == ("ars3", as3, first)
    assert DecisionShown.model_validate(found).repins[0].to == net.host("as3").address(False)
    net.react(net.controller.end_flow("arh1", 1, net.now))
    net.settle()
    assert not managed(net, "arh1").engine.flows.losses_of(1)


def test_a_flow_that_another_server_has_answered_was_handed_over(figure1):
    """as3 has no share at ars2, and answers all the same (M17)."""
    net = figure1("as2", "as3", capacity=None)
    net.host("as2").on_packet = lambda frame, packet: ()
    flows(net, range(40000, 40001))
    (flow,) = bindings(net)
    other = net.host("as3")
    net.send("as3", other.packet(flow.translated, UDP, 53, 40000))
    net.settle()
    shown = why(net, 40000)
    assert (shown["answered"], shown["handed_over"]) == (text(other.address(False)), True)
    assert shown["first_packet_to"] == text(net.host("as2").address(False))


def test_flows_of_one_decision_share_it_and_a_flow_that_was_read_back_has_none(figure1):
    net = figure1("as2", "as3", capacity=None)
    flows(net, range(40000, 40010))
    assert len({each.choice for each in bindings(net)}) == 1
    net.restart_controller()
    net.settle()
    assert {each.choice for each in bindings(net)} == {0}
    assert decision_at_arh1(net, bindings(net)[0].number) is None


def test_the_oldest_decisions_are_forgotten(figure1, monkeypatch):
    monkeypatch.setattr("anycast_sdn.control.choices.CHOICES_KEPT", 10)
    net = figure1("as2", "as3")
    for port in range(40000, 40020):
        change(net, "as3", weight=port - 39990)
        flows(net, range(port, port + 1))
    assert why(net, 40019)
    (first,) = [each for each in bindings(net) if each.key.source_port == 40000]
    assert decision_at_arh1(net, first.number) is None


def test_a_decision_is_described_by_openapi(figure1):
    net = figure1("as2", "as3")
    change(net, "as3", weight=0)
    flows(net, range(40000, 40001))
    assert DecisionShown.model_validate(why(net, 40000)).candidates[1].excluded is Exclusion.NO_WEIGHT


def test_a_server_that_is_first_seen_long_after_the_start_begins_as_any_other(figure1):
    net = figure1("as3", "as4")
    port = net.host("as4").port
    net.set_port(port, up=False)
    net.restart_controller()
    net.advance(70)
    assert slots(net, "ars3") == {"as3": 64}
    net.set_port(port, up=True)
    net.send("as4", net.host("as4").question(next(iter(net.gateways(net.host("as4"))))))
    net.settle()
    assert selection(net).standings[net.host("as4").address(False)].factor < 0.1
