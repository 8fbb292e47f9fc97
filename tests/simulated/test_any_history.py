"""Whatever happens, in whatever order: what the method promises holds in the whole simulated network.

Clients send, servers answer, fall silent or talk on, time passes, servers come and go, costs change,
cables are pulled, the controller restarts.  What is checked is what hosts get and wires carry; the
controller's own state is used only to find the binding that a packet belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scenes import SERVICE, client_edge, topology, web

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import TCP, UDP, Address, FlowKey, Prefix
from anycast_sdn.core.roles import EngineName, Expiry
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.frames import IpPacket, parse_ip
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import ETH_ARP
from anycast_sdn.simulation.host import TCP_ACK
from anycast_sdn.simulation.network import SimulatedNetwork

CLIENTS, SERVERS, SWITCHES = ("h1", "h2"), ("as2", "as3", "as4"), ("arh1", "core", "ars2", "ars3")
POOLS = (Prefix.parse("203.0.113.0/28"), Prefix.parse("2001:db8:1:f::/124"))  # fourteen addresses: soon short
QUARANTINE_S = 4
VALIDITY = {"tcp_s": 6, "udp_s": 3, "unanswered_s": 2, "tcp_closing_s": 4, "tcp_closed_s": 1}
clients, servers, families = st.sampled_from(CLIENTS), st.sampled_from(SERVERS), st.booleans()
ports, protocols = st.integers(40000, 40005), st.sampled_from([TCP, UDP])


class AnyHistory(RuleBasedStateMachine):
    """Figure 1 with small pools and short validities.  Every server's packets carry its name."""

    @initialize(
        seed=st.integers(0, 1000),
        fin_timeout=st.booleans(),
        expiry=st.sampled_from(Expiry),
        engine=st.sampled_from(EngineName),
    )
    def begin(self, seed: int, fin_timeout: bool, expiry: Expiry, engine: EngineName) -> None:
        """Open vSwitch has all that it has (``fin_timeout``); no other switch has a tracker."""
        role = {"translation_prefixes": POOLS, "quarantine_s": QUARANTINE_S, "expiry": expiry, "idle_timeouts": 3}
        network = topology("figure1", **role, validity=VALIDITY, engines=(engine,))
        is_ovs = fin_timeout or engine is EngineName.CONNTRACK
        self.net = SimulatedNetwork(network, web(network, *SERVERS), seed, fin_timeout=is_ovs)
        self.engine = engine
        self.restarts = 0
        self.checked = 0  # how many sightings were looked at
        self.answered: dict[tuple[int, int], bytes] = {}  # (restarts, binding) → the server that answered
        self.owners: dict[Address, tuple[tuple[Address, Address], float]] = {}  # PR1X → whose, and when seen alive
        for name in SERVERS:
            self.a_server_falls_silent_or_speaks_again(name, talks=True)
        for name in CLIENTS:
            self.net.host(name).on_packet = self.a_client_gets

    # ---------------------------------------------------------------- what happens

    @rule(client=clients, v6=families, port=ports, protocol=protocols, count=st.integers(1, 3))
    def a_client_sends(self, client: str, v6: bool, port: int, protocol: int, count: int) -> None:
        self.net.send(client, *[self.net.host(client).packet(SERVICE[v6], protocol, port, 80)] * count)

    @rule(client=clients, v6=families, port=ports, flags=st.sampled_from([0x10, 0x11, 0x04]))
    def a_client_goes_on_with_tcp(self, client: str, v6: bool, port: int, flags: int) -> None:
        self.net.send(client, self.net.host(client).packet(SERVICE[v6], TCP, port, 80, tcp_flags=flags))

    @rule(server=servers, data=st.data(), flags=st.sampled_from([TCP_ACK, 0x11]))
    def a_server_talks(self, server: str, data: st.DataObject, flags: int) -> None:
        """To any binding's PR1X, be it its own or not."""
        bindings = list(client_edge(self.net).bindings)
        if bindings:
            binding = data.draw(st.sampled_from(bindings))
            key = binding.key
            ends = (binding.translated, key.protocol, key.destination_port, key.source_port)
            frame = self.net.host(server).packet(*ends, payload=server.encode(), tcp_flags=flags)
            self.net.send(server, frame)

    @rule(server=servers, talks=st.booleans())
    def a_server_falls_silent_or_speaks_again(self, server: str, talks: bool) -> None:
        host = self.net.host(server)

        def answer(frame: bytes, packet: IpPacket) -> Iterable[bytes]:
            if not talks or packet.icmp_type >= 0:  # an ICMP error is not answered
                return []
            return [host.reply(frame, packet, payload=server.encode(), tcp_flags=TCP_ACK)]

        host.on_packet = answer

    @rule(seconds=st.sampled_from([0.0005, 0.002, 0.05, 0.5, 1.5, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.net.advance(seconds)

    @rule(names=st.sets(servers))
    def enrolments_change(self, names: set[str]) -> None:
        self.net.set_groups(web(self.net.network, *names))

    @rule(end=st.sampled_from([Port("core", 11), Port("core", 12)]), cost=st.integers(1, 5))
    def a_cost_changes(self, end: Port, cost: int) -> None:
        self.net.set_cost(end, cost)

    @rule(port=st.sampled_from([Port("core", 11), Port("ars3", 1), Port("arh1", 2)]), up=st.booleans())
    def a_cable_is_pulled_or_plugged(self, port: Port, up: bool) -> None:
        self.net.set_port(port, up)

    @rule()
    def the_controller_restarts(self) -> None:
        self.net.restart_controller()
        self.restarts += 1
        self.owners.clear()  # which addresses rest is not kept across a restart

    @rule()
    def everything_comes_to_rest(self) -> None:
        self.net.check_recompute_changes_nothing()

    # ---------------------------------------------------------------- what holds

    def a_client_gets(self, frame: bytes, packet: IpPacket) -> Iterable[bytes]:
        """A binding's answers come from one server (M20)."""
        source, client, protocol, service_port, port = packet.key
        binding = client_edge(self.net).bindings.by_key(FlowKey(client, source, protocol, port, service_port))
        if binding and protocol in (TCP, UDP):
            if self.engine is EngineName.RULES:  # a tracker pins by itself, and reports it
                assert binding.server is not None
            server = frame[packet.l4 + (20 if protocol == TCP else 8) : packet.end]
            assert server == self.answered.setdefault((self.restarts, binding.number), server)
            assert binding.server in (None, self.net.host(server.decode()).address(len(source) == 16))
        return ()

    @invariant()
    def an_address_belongs_to_one_client_and_service_and_rests_before_the_next(self) -> None:
        bindings = list(client_edge(self.net).bindings)
        assert len({(binding.translated, *binding.key[2:]) for binding in bindings}) == len(bindings)
        for binding in bindings:
            pair = binding.key.source, binding.key.destination  # a client with many flows shares its addresses
            owner, alive = self.owners.get(binding.translated, (pair, 0.0))
            assert owner == pair or binding.since - alive >= QUARANTINE_S
            self.owners[binding.translated] = (pair, self.net.now)

    @invariant()
    def wires_carry_only_what_they_should(self) -> None:
        bindings = {binding.translated: binding for binding in client_edge(self.net).bindings}
        for time, sender, receiver, frame in self.net.wires[self.checked :]:
            if int.from_bytes(frame[12:14], "big") == ETH_ARP:
                continue
            packet = parse_ip(frame)
            assert packet.ttl > 50, "it goes round"
            if sender in SWITCHES and receiver in SWITCHES:
                self.check_fabric(time, packet.key, bindings.get(packet.key.source))
        self.checked = len(self.net.wires)

    def check_fabric(self, time: float, key: FlowKey, binding: Binding | None) -> None:
        v6 = len(key.source) == 16
        assert key.source not in SERVICE.values(), "M22"
        assert key.source not in [self.net.host(name).address(v6) for name in CLIENTS], "not translated"
        if binding and binding.server and binding.since < time and key.destination not in SERVICE.values():
            assert key.destination == binding.server, "M20"

    def teardown(self) -> None:
        """Left alone, everything ends, and every address is free again."""
        if not hasattr(self, "net"):
            return
        self.net.advance(30)
        edge = client_edge(self.net)
        assert list(edge.bindings) == []
        kinds = {kind_of(rule.cookie) for rule in self.net.switches["arh1"].flows.values()}
        assert not kinds & {Kind.BINDING_OUT_UNANSWERED, Kind.BINDING_OUT, Kind.BINDING_IN}
        assert all(use.free == use.size for use in edge.addresses.use(self.net.now).values())
        self.net.check_recompute_changes_nothing()


AnyHistory.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAnyHistory = AnyHistory.TestCase
