"""Updates of routes while packets are on their way: no switch that has a path loses it (M24)."""

from __future__ import annotations

import itertools

import networkx
import pytest
from graphs import ANY, SETTLED_S, Fabric, address_of
from scenes import SERVICE, ask, network

from anycast_sdn.control.controller import CONFIRMED_AFTER_S
from anycast_sdn.control.discovery import START_S
from anycast_sdn.core.events import ChangeUnconfirmed
from anycast_sdn.core.model import UDP
from anycast_sdn.description.model import Port
from anycast_sdn.fabric.ordered_update import CONFIRM_S
from anycast_sdn.openflow.rules import AddFlow, Barrier
from anycast_sdn.simulation.clock import TICK_S
from anycast_sdn.simulation.observations import Sent


@pytest.fixture
def ring(build):
    net = build("ring")
    net.advance(1)
    return net


@pytest.mark.parametrize("seed", range(8))
def test_a_change_of_costs_or_servers_interrupts_no_path_however_slow_the_switches_are(seed):
    """At every moment, with messages that reach each switch at a time of its own, and changes that overtake others."""
    graph = networkx.connected_watts_strogatz_graph(7, 4, 0.4, seed=seed)
    made = Fabric(graph, seed, others_drain=True, slowest_s=0.03)
    for _ in range(12):
        if made.draw.random() < 0.5:
            made.cost_changes()
        else:
            made.able = set(made.draw.sample(made.nodes, made.draw.randint(1, 2)))
            made.net.set_groups(made.groups())
        for _ in range(made.draw.randint(1, 30)):
            made.net.advance(0.003)
            for start, node in itertools.product(made.nodes, made.nodes):
                assert made.path(f"s{start}", address_of(node)) is not None
            assert all(made.path(f"s{start}", ANY) for start in made.nodes)
    made.net.settle()
    made.check()


def test_switches_that_do_not_confirm_are_counted_and_the_update_goes_on():
    """They install what they are sent, and their answers are lost."""
    net = network("ring")
    controller, begin = net.controller, net.now
    controller.set_cost(Port("c1", 1), 9, begin)
    waiting = controller.updating()
    assert waiting
    for ticks in range(5):
        controller.tick(begin + ticks * TICK_S)
        assert controller.updating() == waiting
    events = controller.tick(begin + CONFIRM_S + TICK_S).events
    unconfirmed = {event.switch for event in events if isinstance(event, ChangeUnconfirmed)}
    assert unconfirmed == set(waiting)
    assert set(controller.updating()) < set(waiting), "the next step"


@pytest.mark.parametrize("slowest_s", [0.001, 0.004, 0.03])
def test_no_packet_is_lost_when_the_path_changes(build, v6, slowest_s):
    """Back and forth, under a running flow: also packets whose path is reversed under way arrive."""
    ring = build("ring", switch={"slowest_s": slowest_s})
    ring.advance(1)
    ask(ring, "h1", SERVICE[v6])
    h1, sent = ring.host("h1"), 1
    for cost in (9, 1, 9, 1):
        ring.set_cost(Port("c1", 1), cost)
        for _ in range(20):
            ring.send("h1", h1.packet(SERVICE[v6], UDP, 40000, 53))
            ring.advance(0.3 * slowest_s + CONFIRMED_AFTER_S / 2)
            sent += 1
    ring.settle()
    assert len(ring.host("as1").received) == len(h1.received) == sent
    assert len(ring.seen("c1", "c6")) > 20


def test_an_update_sends_only_changes_and_deletes_no_rule_that_has_a_successor(ring):
    def sent(cost: int) -> list[object]:
        ring.observations.journal = []
        ring.set_cost(Port("c1", 1), cost)
        ring.settle()
        messages = [record.message for record in ring.observations.journal if isinstance(record, Sent)]
        return [message for message in messages if not isinstance(message, Barrier)]

    assert sent(1) == []
    for cost in (9, 1):
        messages = sent(cost)
        assert all(isinstance(message, AddFlow) for message in messages)
        assert 0 < len(messages) < sum(len(switch.installed) for switch in ring.controller.switches.values()) / 4


@pytest.mark.parametrize("seed", range(8))
def test_no_path_uses_routes_that_a_disconnected_switch_cannot_have_been_sent(seed):
    made = Fabric(networkx.connected_watts_strogatz_graph(7, 4, 0.4, seed=seed), seed, others_drain=True)
    away = f"s{made.draw.choice(made.nodes)}"
    made.net.disconnect(away)
    for _ in range(12):
        made.able = set(made.draw.sample(made.nodes, made.draw.randint(1, 2)))
        made.net.set_groups(made.groups())
        for _ in range(20):
            made.net.advance(0.005)
            assert all(made.path(f"s{start}", ANY) for start in made.nodes)
    made.net.connect(away)
    made.net.advance(SETTLED_S)
    made.check()


def test_while_switches_return_to_a_new_controller_new_flows_are_served(ring, v6):
    """One after the other, the server edges last: the routes that the others hold are good."""
    ask(ring, "h1", SERVICE[v6])
    ring.replace_controller()
    for number, name in enumerate(sorted(ring.switches, key=lambda name: (name.startswith("ars"), name))):
        ring.connect(name)
        ring.advance(0.06)
        ring.host("h1").received.clear()
        ask(ring, "h1", SERVICE[v6], port=41000 + number)
        assert len(ring.host("h1").received) == 1, f"when {name} is back"


def test_routes_to_an_edge_that_does_not_connect_to_a_new_controller_end_after_a_while(ring, v6):
    ring.replace_controller()
    for name in ring.switches.keys() - {"ars1"}:
        ring.connect(name)
    ring.advance(START_S + 1)
    ask(ring, "h1", SERVICE[v6])
    assert len(ring.host("as2").received) == len(ring.host("h1").received) == 1


@pytest.mark.parametrize("seed", [4, 6, 8, 11])
def test_a_new_controller_changes_routes_in_their_order_too(seed):
    """Costs that were set over REST do not survive a restart."""
    made = Fabric(networkx.connected_watts_strogatz_graph(7, 4, 0.4, seed=seed), seed, slowest_s=0.03)
    before = dict(made.links)
    for _ in range(6):
        made.cost_changes()
        made.net.advance(2)
    made.net.restart_controller()
    made.links = before
    for _ in range(60):
        made.net.advance(0.001)
        for start, node in itertools.product(made.nodes, made.nodes):
            assert made.path(f"s{start}", address_of(node)) is not None
    made.net.advance(2)
    made.check()
