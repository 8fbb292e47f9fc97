"""What operators are told of the network: of links, edges, and where clients' packets get (M34)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_sdn.core.events import Severity
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Prefix, Server, ServerState, packed
from anycast_sdn.core.network_events import LinkDown
from anycast_sdn.core.service_events import CatchmentChanged, EdgeAnnounced, EdgeWithdrawn
from anycast_sdn.description.model import Port
from anycast_sdn.simulation.network import SimulatedNetwork
from tests.simulated.scenes import topology

CORE, NEAR = Port("core", 12), Port("ars2", 10)


def told(net: SimulatedNetwork, *, but: str = "server.") -> list[str]:
    """The sentences since the last call."""
    events, net.channels.reported[:] = list(net.channels.reported), []
    return [event.sentence() for event in events if not event.type.startswith(but)]


@pytest.fixture
def net() -> SimulatedNetwork:
    """At rest, after its start."""
    net = SimulatedNetwork(topology("ring"))
    net.advance(20)
    assert told(net) == []
    return net


def link_of(net: SimulatedNetwork, switch: str) -> Port:
    return next(end for link in net.network.links for end in (link.a, link.b) if end.switch == switch)


def test_a_link_that_is_cut_is_told_with_what_follows_and_its_return_as_well(net: SimulatedNetwork) -> None:
    before = net.channels.reported
    edge = catching_edge(net)
    end = link_of(net, edge)
    net.set_port(end, False)
    net.advance(1)
    events = list(before)
    assert isinstance(events[0], LinkDown)
    moved = [event for event in events if isinstance(event, CatchmentChanged)]
    assert moved
    assert {event.before for event in moved} == {edge}
    assert all(event.after not in (None, edge) for event in moved)
    assert {event.severity for event in moved} == {Severity.WARNING}, "it is farther away"
    told(net)
    net.set_port(end, True)
    net.advance(5)
    events = list(before)
    assert [event.type for event in events if event.type.startswith("link")] == ["link.held", "link.up"]
    back = [event for event in events if isinstance(event, CatchmentChanged)]
    assert {(event.switch, event.before, event.after) for event in back} == {
        (event.switch, event.after, event.before) for event in moved
    }
    assert {event.severity for event in back} == {Severity.INFO}


def catching_edge(net: SimulatedNetwork) -> str:
    """The edge that gets packets of h1's site."""
    places = [places for places in net.controller.service_reports._places.values()]
    return next(place.name for each in places for place in each.values() if place.name)


def test_the_last_server_behind_an_edge_takes_its_announcement_and_the_sites_with_it(net: SimulatedNetwork) -> None:
    edge = catching_edge(net)
    server_edge = net.controller.switch(edge)
    assert server_edge
    groups = net.controller.groups
    without = {
        group.name: replace(group, servers={
            address: replace(server, state=ServerState.DISABLED) if address in server_edge.serving.enrolled else server
            for address, server in group.servers.items()
        })
        for group in groups
    }  # fmt: skip
    net.set_groups(Groups(without))
    net.advance(2)
    events = list(net.channels.reported)
    withdrawn = [event for event in events if isinstance(event, EdgeWithdrawn)]
    assert {event.switch for event in withdrawn} == {edge}
    assert all(event.left and event.severity is Severity.WARNING for event in withdrawn)
    assert {event.before for event in events if isinstance(event, CatchmentChanged)} == {edge}
    told(net)
    net.set_groups(groups)
    net.advance(2)
    events = list(net.channels.reported)
    assert {event.switch for event in events if isinstance(event, EdgeAnnounced)} == {edge}
    assert {event.after for event in events if isinstance(event, CatchmentChanged)} == {edge}


def test_a_service_that_nobody_announces_any_more_is_critical(net: SimulatedNetwork) -> None:
    groups = net.controller.groups
    none = {
        group.name: replace(group, servers={
            address: replace(server, state=ServerState.DISABLED) for address, server in group.servers.items()
        })
        for group in groups
    }  # fmt: skip
    net.set_groups(Groups(none))
    net.advance(2)
    events = list(net.channels.reported)
    gone = [event for event in events if isinstance(event, CatchmentChanged)]
    assert gone
    assert {(event.after, event.severity) for event in gone} == {(None, Severity.CRITICAL)}
    assert [event.severity for event in events if isinstance(event, EdgeWithdrawn) and not event.left]
    told(net)
    net.set_groups(groups)
    net.advance(2)
    back = [event for event in net.channels.reported if isinstance(event, CatchmentChanged)]
    assert {event.before for event in back} == {None}
    assert {event.severity for event in back} == {Severity.INFO}


def test_a_group_with_thousands_of_prefixes_is_one_event_for_each_site() -> None:
    network = topology("ring")
    server = next(iter(network.groups[0].servers))
    prefixes = tuple(Prefix(packed(f"198.18.{number >> 8}.{number & 255}"), 32) for number in range(2000))
    many = AnycastGroup("many", prefixes, {server: Server(server)})
    net = SimulatedNetwork(network, Groups({"many": many}))
    net.advance(30)
    assert told(net) == []
    disabled = replace(many.servers[server], state=ServerState.DISABLED)
    net.set_groups(Groups({"many": replace(many, servers={server: disabled})}))
    net.advance(20)
    moved = [event for event in net.channels.reported if isinstance(event, CatchmentChanged)]
    assert len(moved) == len(net.controller.service_reports._sites)
    assert {event.services for event in moved} == {2000}
    assert moved[0].prefixes == ("198.18.0.0/32", "198.18.0.1/32", "198.18.0.2/32")


def test_a_new_group_and_its_first_server_are_told_by_the_edge_alone(net: SimulatedNetwork) -> None:
    server = next(address for address in net.controller.groups.servers() if len(address) == 4)
    new = AnycastGroup("new", (Prefix(packed("198.18.9.9"), 32),), {server: Server(server)})
    net.set_groups(Groups({group.name: group for group in net.controller.groups} | {"new": new}))
    net.advance(2)
    assert [(event.type, event.of_groups) for event in net.channels.reported] == [("edge.announced", ["new"])]


