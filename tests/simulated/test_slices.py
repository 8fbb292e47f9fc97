"""Work in the smallest slices, with everything else between them: what is in place at rest is what it should be.

Many small groups come and go on a network with an uplink, servers move and fall silent, links and switches fail, a
router teaches and withdraws, while the controller does one thing at a time.  Left alone, a whole recompute changes
nothing, and a controller without this history wants the same rules.
"""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from scenes import topology

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.pace import Pace
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Prefix, Server, ServerState, packed
from anycast_sdn.description.model import Host, Port
from anycast_sdn.fabric.egress import Route
from anycast_sdn.fabric.routing import Routing
from anycast_sdn.simulation.network import SimulatedNetwork

SMALLEST = Pace(prefixes=1, enrolled=1, changes=1, routes=1, rounds=1, compared=1, told=1)
UPLINK = replace(topology("legacy-core").uplinks[0], edge="arh1", port=77)
FACTS = replace(topology("figure1"), uplinks=(UPLINK,))
ROUTER = Host("r1", UPLINK.name, UPLINK.port, UPLINK.routers)
NAMES = [f"g{number}" for number in range(4)]
SERVERS = [host for host in FACTS.hosts if host.name.startswith("as")]
LINKS = [link.a for link in FACTS.links]
TAUGHT = [*map(Prefix.parse, ("10.77.0.0/16", "10.77.1.0/24", "198.18.0.0/24", "198.18.0.64/26", "0.0.0.0/0"))]
# They lie within one another, and within what is taught; no two groups have any that overlap.
PREFIXES = {
    name: [Prefix.parse(f"198.18.0.{64 * at}/28"), Prefix.parse(f"198.18.0.{64 * at + 16}/32"),
           Prefix.parse(f"2001:db8:a::{at}/128")]
    for at, name in enumerate(NAMES)
}  # fmt: skip


class Slices(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1000), pace=st.sampled_from([SMALLEST, Pace(2, 1, 4, 5, 2, 7), Pace()]))
    def begin(self, seed: int, pace: Pace) -> None:
        self.groups = Groups()
        network = replace(FACTS, hosts=(*FACTS.hosts, ROUTER))
        self.net = SimulatedNetwork(network, self.groups, seed, pace=pace, slowest_s=0.02)
        self.net.host("r1").on_packet = lambda frame, packet: ()
        self.away: set[str] = set()

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def a_group_changes(self, name: str, data: st.DataObject) -> None:
        prefixes = data.draw(st.lists(st.sampled_from(PREFIXES[name]), min_size=1, unique=True))
        hosts = data.draw(st.lists(st.sampled_from(SERVERS), unique_by=lambda host: host.name))
        states = data.draw(st.lists(st.sampled_from(ServerState), min_size=len(hosts), max_size=len(hosts)))
        servers = {
            address: Server(address, 1, state)
            for host, state in zip(hosts, states, strict=True)
            for address in host.addresses
        }
        self.groups = self.groups.replaced(AnycastGroup(name, tuple(prefixes), servers))
        self.net.set_groups(self.groups)

    @rule(name=st.sampled_from(NAMES))
    def a_group_goes(self, name: str) -> None:
        self.groups = self.groups.without(name)
        self.net.set_groups(self.groups)

    @rule(routes=st.sets(st.sampled_from(TAUGHT)))
    def the_router_teaches(self, routes: set[Prefix]) -> None:
        self.net.set_learned(UPLINK.name, dict.fromkeys(sorted(routes), Route(1, 0, 0, packed("198.51.100.2"))))

    @rule(end=st.sampled_from([*LINKS, *(Port(UPLINK.edge, UPLINK.port),)]), up=st.booleans())
    def a_cable_is_pulled_or_plugged(self, end: Port, up: bool) -> None:
        self.net.set_port(end, up)

    @rule(host=st.sampled_from(SERVERS), up=st.booleans())
    def a_server_loses_its_port_or_gets_it_back(self, host: Host, up: bool) -> None:
        self.net.set_port(self.net.host(host.name).port, up)

    @rule(end=st.sampled_from(LINKS), cost=st.integers(1, 9))
    def a_cost_changes(self, end: Port, cost: int) -> None:
        self.net.set_cost(end, cost)

    @rule(name=st.sampled_from([switch.name for switch in FACTS.switches]))
    def a_switch_loses_the_controller_or_finds_it_again(self, name: str) -> None:
        if name in self.away:
            self.away.discard(name)
            self.net.advance(0.05)  # messages that were sent before have arrived
            self.net.connect(name)
        else:
            self.away.add(name)
            self.net.disconnect(name)

    @rule(seconds=st.sampled_from([0.0002, 0.001, 0.03, 0.3, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.net.advance(seconds)

    @rule()
    def everything_comes_to_rest(self) -> None:
        self.net.advance(0.05)
        for name in sorted(self.away):
            self.net.connect(name)
        self.away.clear()
        self.net.advance(6)  # longer than what is withdrawn retires
        self.net.check_recompute_changes_nothing()
        self.check_against_one_that_knows_no_history()

    def check_against_one_that_knows_no_history(self) -> None:
        """Able servers, announcements and routes are those of a controller that has started with this state."""
        ours = self.net.controller
        other = Controller(self.net.network, self.groups, Random(1))
        for dpid in other.switches:
            other.switches[dpid].neighbours = ours.switches[dpid].neighbours
            other.switches[dpid].stop_waiting()
            other._recheck_services_of(other.switches[dpid])
        while other.is_busy():
            other.work(self.net.now)
        assert ours.announcements.announcers == other.announcements.announcers
        for switch in ours.switches_by_name():
            ours_announces, other_announces = (
                tuple(map(set, each.announcements.of(switch.name))) for each in (ours, other)
            )
            assert ours_announces == other_announces
        beyond = dict(ours.uplinks._more_destinations)
        fresh = Routing(switch.name for switch in ours.switches_by_name())
        fresh.set_links(ours.discovery.links())
        prefixes = {**other.announcements.announcers, **beyond}
        fresh.announce({prefix: ours.uplinks.destinations(prefix) for prefix in prefixes})
        for switch in ours.switches_by_name():
            assert ours.routes.wanted(switch.name) == fresh.of(switch.name) == switch.routes
        ours.uplinks._compute()
        assert ours.uplinks._more_destinations == beyond, "computed as a whole it is different"
        assert not ours.updating()

    def teardown(self) -> None:
        if hasattr(self, "net"):
            self.everything_comes_to_rest()


EXAMPLES = int(os.environ.get("ANYCAST_EXAMPLES", "0"))  # so many histories at random instead of the usual ones
Slices.TestCase.settings = settings(
    max_examples=EXAMPLES or 15,
    stateful_step_count=30,
    deadline=None,
    derandomize=not EXAMPLES,
    suppress_health_check=list(HealthCheck),
)
TestSlices = Slices.TestCase
