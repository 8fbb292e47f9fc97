"""WantedRules: the rules, groups and meters that a switch should hold, each made from what it depends on.

Each depends on the network file, the switch's features, its ports to other switches, and the arguments of the method
that makes it.  Which of them are wanted at a time is decided by the ``Reconciler``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from anycast_sdn.control.closed_ports import ClosedPorts
from anycast_sdn.control.throttle import HELD_PER_S
from anycast_sdn.core.model import TCP, UDP, Address, Neighbour, Prefix
from anycast_sdn.core.slots import Slots, filled
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.engines.choice import flows_begin_alone, fragments_come
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow import entries, fragment_entries, gateway_entries, meters
from anycast_sdn.openflow.abilities import Lack
from anycast_sdn.openflow.fallbacks import serves_alone
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.needs import Lacking
from anycast_sdn.openflow.rules import Copy, FlowRule, GroupRule, MeterRule, RuleKey
from anycast_sdn.openflow.tables import Tables


class WantedRules:
    """``features``, ``fabric_ports``: of the switch, as it is now; the ports lead to other switches.

    What its engine wants for flows is not here, but ``engine`` says what it needs of other rules.
    """

    def __init__(
        self,
        switch: Switch,
        network: Network,
        engine: Engine,
        features: Callable[[], Features],
        fabric_ports: Callable[[], Sequence[int]],
    ) -> None:
        self._engine = engine
        self._features = features
        self._fabric_ports = fabric_ports
        self.mtus = network.mtus_of(switch.name)
        self.connected = network.connected_to(switch.name)
        self.closed_ports = ClosedPorts(self.connected)
        self._switch = switch
        self._known_lacks: tuple[tuple[Lack, ...], Lacking] = ((), Lacking(()))
        self._gateways = [gateway for subnet in self.connected for gateway in subnet.gateways]
        self._limits = network.limits
        self._anycast = network.anycast_prefixes
        self.fragments_come = fragments_come(network)
        self._flows_begin_alone = flows_begin_alone(network)

    @property
    def features(self) -> Features:
        return self._features()

    def tables(
        self, flows: Iterable[FlowRule], groups: Iterable[GroupRule] = (), meters: Iterable[MeterRule] = ()
    ) -> Tables:
        """All of these that the switch is not known to refuse; without meters at a switch that has none."""
        flows = itertools.filterfalse(self._lacking().refuses, flows)
        if self.features.meters:
            return Tables.of(flows, groups, meters)
        return Tables.of(map(_unmetered, flows), groups)

    def _lacking(self) -> Lacking:
        """What the switch lacks, as it is now."""
        lacks = self.features.lacks
        if lacks is not self._known_lacks[0]:
            self._known_lacks = lacks, Lacking(lacks)
        return self._known_lacks[1]

    def constant(self) -> Iterator[FlowRule]:
        """The rules that depend on no host, route, server or flow."""
        switch, features = self._switch, self.features
        yield from entries.constant()
        yield from entries.ingress(
            self.connected, self._fabric_ports(), self._anycast, features.hairpin, switch.translation_prefixes
        )
        if features.tables == 1:
            yield from entries.closed(self.closed_ports.among(self._fabric_ports()))
        if self._answers_for_gateways:
            yield from gateway_entries.answers(self.connected, switch.mac)
            yield from self.presence()
        for subnet in self.connected:
            for gateway in subnet.gateways:
                yield entries.gateway(gateway.address)
                yield entries.connected(gateway.prefix)
        yield from map(entries.gateway, switch.addresses)
        yield from entries.no_route(self.connected)
        yield from entries.for_each_port(self.connected, switch.addresses)
        yield from entries.egress(self.mtus if features.packet_size else {})
        if features.spoils_fragments and switch.is_edge:
            protocols = (TCP,) if self._engine.tracks_fragments else (TCP, UDP)
            yield from entries.spoiled_fragments((*self._anycast, *switch.translation_prefixes), protocols)
            if self._engine.tracks_fragments:
                yield from fragment_entries.restored()

    @property
    def _answers_for_gateways(self) -> bool:
        """Does the switch answer its hosts' ARP and ND for their gateways while no controller does?

        Where no flow begins without a controller it does not: each time that the controller says that it lives, Open
        vSwitch examines all flows that it has in its cache.
        """
        features = self.features
        able = features.gateway_answers and features.tcp_flags  # with which come registers
        return self._flows_begin_alone and able and bool(self.connected)

    def presence(self) -> Iterator[FlowRule]:
        """The rules that say that the controller lives."""
        if self._answers_for_gateways:
            yield from gateway_entries.lives()

    def meters(self, held_ports: Collection[int]) -> Iterator[MeterRule]:
        """``held_ports``: those that are throttled."""
        ports = entries.host_ports(self.connected)
        held = {ports.index(port): HELD_PER_S for port in held_ports if port in ports}
        return meters.rules(
            self._limits, len(ports), len(self._fabric_ports()), held,
            checks=self._switch.server_edge, reports=self._engine.may_report,
        )  # fmt: skip

    def host(self, address: Address, neighbour: Neighbour) -> FlowRule:
        own, limit = self._switch.mac, self._limit(neighbour.port)
        return entries.host(address, own, *neighbour, limit, self.features.hairpin)

    def check_answers(self, server: Address, port: int) -> FlowRule:
        """For a server in a subnet of this switch, at this port."""
        gateway = next(each for each in self._gateways if server in each.prefix)
        return entries.check_answers(server, gateway.address, port)

    def egress(self, prefix: Prefix, router: Neighbour) -> FlowRule:
        return entries.egress_route(prefix, self._switch.mac, *router, self._limit(router.port))

    def egress_key(self, prefix: Prefix) -> RuleKey:
        return entries.egress_route(prefix, self._switch.mac, bytes(6), 0).key

    def route(self, prefix: Prefix, port: int) -> FlowRule:
        return entries.route(prefix, port, self._limit(port))

    def service_fragments(self, service: Prefix, server: Address, host: Neighbour | None) -> FlowRule:
        return entries.service_fragments(service, server, self._switch.mac, host, self.features.hairpin)

    def service_alone(self, service: Prefix, server: Address, host: Neighbour | None) -> FlowRule:
        return entries.service_alone(service, server, self._switch.mac, host, self.features.hairpin)

    def serves_alone(self, is_v6: bool) -> bool:
        """Has each service of this family one server here, for want of groups?"""
        return serves_alone(self.features, is_v6)

    def fragments_key(self, service: Prefix) -> RuleKey:
        return entries.service_fragments(service, service.network, self._switch.mac, None).key

    def tracked_fragments(self, service: Prefix, server: Address | None) -> Iterator[tuple[RuleKey, FlowRule | None]]:
        """The rule for those that the switch would spoil, where it has to be.  ``server``: where they all go."""
        if not service.is_v6 and self._engine.tracks_fragments:
            rule = fragment_entries.to_server(service, server or service.network, self.features.hairpin)
            yield rule.key, rule if server else None

    def server_group(self, number: int, slots: Slots, hosts: Mapping[Address, Neighbour | None]) -> GroupRule:
        """``hosts``: where the servers are that can be reached now, see ``ServerPlaces``; these get all slots."""
        own, hairpin = self._switch.mac, self.features.hairpin
        buckets = {server: entries.bucket(server, own, host, hairpin) for server, host in hosts.items()}
        return entries.server_group(number, filled(slots, hosts), buckets, self.features.equal_buckets)

    def _limit(self, port: int) -> int:
        """The largest IP packet that may leave by this port; 0: no limit, or none that the switch can enforce."""
        return self.mtus.get(port, 0) if self.features.packet_size else 0


def _unmetered(rule: FlowRule) -> FlowRule:
    actions = tuple(Copy(None) if isinstance(action, Copy) else action for action in rule.actions)
    return replace(rule, meter=None, actions=actions)
