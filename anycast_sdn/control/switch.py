"""ManagedSwitch: one switch, what it should hold, and what to do with the packets that it sends up.

It joins what its parts know: where hosts are (``Neighbours``), which servers take flows (``Serving``), which routers
lead out of the fabric (``Egress``), the bindings (``engine``), what rules look like (``WantedRules``) and what the
switch holds (``Installed``).  It returns messages for its switch and sends nothing.  What concerns more than one switch
is the ``Controller``'s.

Wanted and installed are compared where they may differ (``Doubts``).  When the switch connects that is everywhere;
then it goes by portions (``compare_more``), in an order in which nothing is lost that was there: meters and constant
rules, hosts, egress routes, services with their select groups, servers, the rules that let clients' packets in, and
when all that is wanted is there, what is not wanted is deleted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from anycast_sdn.control.doubts import Doubtful, Doubts
from anycast_sdn.control.egress import Egress
from anycast_sdn.control.installed import Installed
from anycast_sdn.control.neighbours import Neighbours, Replies
from anycast_sdn.control.reading_back import ReadingBack
from anycast_sdn.control.reconcile import changes
from anycast_sdn.control.serving import Serving
from anycast_sdn.control.throttle import Throttle
from anycast_sdn.control.wanted import WantedRules
from anycast_sdn.core.events import Drop, Event, FrameMalformed, PacketsDropped, PortsHeldBack
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour, Prefix, Server
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.engines.choice import engine_of
from anycast_sdn.engines.engine import PacketHandler
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow import entries, frames
from anycast_sdn.openflow.answers import Answers, Gateways
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import ROW, Kind, Table, kind_of, number_of
from anycast_sdn.openflow.reaction import Reaction, as_received, out_of, through_pipeline
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    AddFlow,
    DeleteFlow,
    FlowRule,
    GroupRule,
    Message,
    PacketOut,
    RuleKey,
)
from anycast_sdn.openflow.tables import Tables

EGRESS_AT_ONCE = 200  # egress routes that are changed in one ``refresh``, besides those that ordered updates change
_OF_FLOWS = frozenset(kind for kind, row in ROW.items() if row.table in (Table.CLIENT_OUT, Table.CLIENT_IN))
_Flows = dict[RuleKey, FlowRule]


class ManagedSwitch:
    """A managed switch in any role (M25)."""

    def __init__(
        self,
        switch: Switch,
        network: Network,
        random: RandomSource,
        is_announced: Callable[[Prefix], bool],
        is_lost: Callable[[Address], bool],
    ) -> None:
        """``is_announced``: does any edge announce this ANY/n?  ``is_lost``: see ``Losses``."""
        self.switch = switch
        self.name, self.dpid = switch.name, switch.dpid
        self.subnets = network.subnets_of(switch.name)
        self.uplinks = network.uplinks_of(switch.name)
        self.wanted = WantedRules(switch, network)
        self.mac = switch.mac
        self.mtus = self.wanted.mtus
        self.neighbours = Neighbours(self.mac, self.wanted.connected)
        self.repaired_at: float | None = None  # when rules were last not as they should be, and were put right
        self._throttle = Throttle()
        self._answers = Answers(switch, self.wanted.connected, Gateways(network))
        self.engine = engine_of(switch, network, self.wanted.connected, self._answers, random, is_announced, is_lost)
        self.serving = Serving(self.subnets if switch.server_edge else (), self._may_be_there, self._answers_now)
        self.installed = Installed(self.wanted.route)
        self.egress = Egress(self.uplinks, self.neighbours.get, self.installed.delivers)
        self._constant: _Flows = {}  # see ``WantedRules.constant``, as installed
        self._leftover: set[Address] = set()  # servers that are not enrolled any more, and have flows here
        self._watched: set[Address] = set()  # servers that are not enrolled any more, and have flows anywhere
        self._moved: dict[Address, None] = {}  # servers that came, moved or went, for ``pop_moved``
        self._doubts = Doubts()
        self.synchronised = False  # connected, and what it holds is known: changes may be sent
        self.ever_synchronised = False
        self.reading: ReadingBack | None = None  # the switch is here, and what it holds is being read
        self._found = Tables()
        self.unseen = True  # not seen since the start, and believed to be about to connect, with its hosts
        self.refused_at = -math.inf  # when it last refused a rule
        self.unanswered: frozenset[str] = frozenset()  # what the switch leaves unanswered when asked, by name
        self.dropped: dict[str, int] = {}  # drops counted by the switch's own rules
        self._packet_handlers: dict[Kind, PacketHandler] = {
            Kind.ARP: self._arp,
            Kind.ND: self._nd,
            Kind.GATEWAY: self._gateway,
            Kind.UNRESOLVED: self._unresolved,
            Kind.PROHIBITED: partial(self._refuse, Unreachable.ADMINISTRATIVELY_PROHIBITED),
            Kind.NO_ROUTE_HERE: partial(self._refuse, Unreachable.NET),
            Kind.NO_ROUTE: partial(self._refuse, Unreachable.NET),
            Kind.GATEWAY_HERE: self._gateway,
            Kind.UNRESOLVED_HERE: self._unresolved,
        }
        handlers = self.engine.packet_handlers
        self._packet_handlers |= handlers
        for kind in handlers.keys() & {Kind.FIRST_PACKET, Kind.SYN}:
            self._packet_handlers[kind] = partial(self._first_packet, handlers[kind])

    @property
    def features(self) -> Features:
        return self.wanted.features

    @property
    def fabric_ports(self) -> list[int]:
        """To other switches."""
        return self.wanted.fabric_ports

    def _answers_now(self, address: Address) -> bool:
        return self.neighbours.get(address) is not None

    def _may_be_there(self, address: Address) -> bool:
        return self.unseen or self._answers_now(address)

    @property
    def routes(self) -> Mapping[Prefix, int]:
        """Installed ones, see ``Installed``."""
        return self.installed.routes

    @property
    def meters(self) -> int:
        """The highest meter number that this switch needs."""
        return max(meter.number for meter in self.wanted.meters(()))

    # ---------------------------------------------------------------- from what is installed to what is wanted

    def refresh(self, groups: Groups, routes: Mapping[Prefix, int | None]) -> list[Message]:
        """The changes from what is installed to what is wanted; nothing while the switch is away.

        ``routes``: those that it should install now, see ``fabric.routing.Changes``.  Only where installed and wanted
        may differ they are compared; elsewhere a comparison would change nothing.
        """
        doubtful = self._doubts.pop()
        if not self.synchronised:
            self.egress.pop_changed(None)
            return []
        new, old = self.installed.switch_over(routes)
        for prefix, port in routes.items():
            if port != LOCAL:
                self.egress.routed_elsewhere(prefix)
        doubtful.egress |= self.egress.pop_changed(EGRESS_AT_ONCE)
        if self.switch.server_edge:  # a route that ends here and the rule of the service are changed together
            both = (*routes, *doubtful.egress)
            doubtful.services |= {prefix: None for prefix in both if groups.owner(prefix) or prefix in self.serving}
        if self.uplinks:
            doubtful.egress |= dict.fromkeys((*routes, *doubtful.services))
        numbers = self._enter_services(doubtful, groups)
        self._enter_servers(doubtful.servers, groups)
        places: dict[RuleKey, FlowRule | None] = {}
        if doubtful.constant:
            places = dict.fromkeys(self._constant)
            self._constant = {rule.key: rule for rule in self.wanted.constant()}
        places.update(self._places(doubtful, groups))
        wanted, held = self._compared(places, numbers, doubtful)
        self.installed.replace(held, wanted)
        if doubtful.strays:
            strays = self.installed.pop_strays(doubtful.strays)
            held = Tables(held.flows | strays.flows, held.groups | strays.groups, held.meters | strays.meters)
        messages = changes(replace(wanted, flows=wanted.flows | new), replace(held, flows=held.flows | old))
        self.installed.changes += bool(messages)
        return messages

    def _enter_services(self, doubtful: Doubtful, groups: Groups) -> set[int]:
        """Which servers serve each ANY/n now → the numbers that the select groups had.

        Where others get another number by that, they are doubtful, too.
        """
        numbers: set[int] = set()
        queue = list(doubtful.services)
        for prefix in queue:
            numbers.update(filter(None, [self.serving.number(prefix)]))
            renumbered = self.serving.serve(prefix, self._servers_of(prefix, groups))
            numbers.update(renumbered.values())
            queue += [other for other in renumbered if other not in doubtful.services]
            doubtful.services |= dict.fromkeys(renumbered)
        return numbers

    def _servers_of(self, prefix: Prefix, groups: Groups) -> tuple[Server, ...]:
        """Those of ANY/n here; the leaving ones until others have taken over (``fabric.ordered_update``)."""
        group = groups.owner(prefix)
        if group is None:
            return ()
        servers = self.serving.able(group, prefix)
        if not servers and self.installed.delivers(prefix) and prefix not in self.egress.selected:
            return self.serving.leaving(group, prefix)
        return servers

    def _enter_servers(self, servers: Iterable[Address], groups: Groups) -> None:
        for address in servers:
            pinned = self.engine.flows.pinned_to(address) > 0
            (self._leftover.add if pinned and not groups.of_server(address) else self._leftover.discard)(address)

    def _places(self, doubtful: Doubtful, groups: Groups) -> Iterator[tuple[RuleKey, FlowRule | None]]:
        """Where rules are to be compared, and the rule that should be there; None: none."""
        if doubtful.constant:
            yield from self._constant.items()
        if doubtful.engine:
            yield from ((rule.key, rule) for rule in self.engine.wanted_rules())
        for address in doubtful.hosts:
            if neighbour := self.neighbours.get(address):
                rule = self.wanted.host(address, neighbour)
                yield rule.key, rule
        for prefix in doubtful.egress:
            router = self.egress.selected.get(prefix)
            yield self.wanted.egress_key(prefix), self.wanted.egress(prefix, router) if router else None
        for prefix in doubtful.services:
            number = self.serving.number(prefix)
            rule = entries.service(prefix, number or 0)
            yield rule.key, None if number is None else rule
        for address in doubtful.servers:
            enrolled = address in self._leftover or groups.of_server(address)
            for rule in self.engine.rules_for_server(address):
                yield rule.key, rule if enrolled else None

    def _compared(
        self, places: Mapping[RuleKey, FlowRule | None], numbers: set[int], doubtful: Doubtful
    ) -> tuple[Tables, Tables]:
        """→ (what is wanted at these places, and what is installed there), with the select groups and the meters."""
        wanted = self.wanted.tables(
            filter(None, places.values()),
            [self._server_group(prefix) for prefix in doubtful.services if prefix in self.serving],
            self.wanted.meters(self._throttle.held) if doubtful.meters else (),
        )
        held = self.installed.at(places, numbers | wanted.groups.keys())
        if doubtful.meters:
            held.meters = self.installed.meters_besides_strays(wanted.meters)
        return wanted, held

    def _server_group(self, prefix: Prefix) -> GroupRule:
        there = [(server, self.neighbours.get(server.address)) for server in self.serving.servers(prefix)]
        number = self.serving.number(prefix)
        assert number is not None
        return self.wanted.server_group(number, [(server, host) for server, host in there if host])

    # ---------------------------------------------------------------- where they may differ

    @property
    def is_doubtful(self) -> bool:
        """May it hold other rules than it should?"""
        return bool(self._doubts) or self.egress.is_changed

    @property
    def has_much_to_compare(self) -> bool:
        return self._doubts.constant

    @property
    def is_behind(self) -> bool:
        """Is there more to be compared, for which ``compare_more`` is to be called?"""
        return self._doubts.postponed or self.installed.unchecked > 0 or self.egress.is_changed

    def compare_more(self, groups: Groups, most: int) -> int:
        """The next ``refresh`` compares about ``most`` more rules, since the switch has connected → how many.

        0: all has been compared.
        """
        if self._doubts.begins:
            self._doubts.postpone(
                Doubtful(
                    engine=True,
                    hosts=dict.fromkeys(address for address, _ in self.neighbours.known()),
                    egress=dict.fromkeys(self.egress.selected),
                    services=dict.fromkeys((*self.serving, *self.serving.services(groups))),
                    servers=dict.fromkeys((*self._leftover, *self.engine.servers_with_rules(groups))),
                )
            )
            return most  # that was enough for once

        def size(service: Prefix) -> int:
            group = groups.owner(service)
            return 1 + (len(self.serving.able(group, service)) if group else 0)  # the buckets of its select group

        return self._doubts.raise_more(most, size) or self._doubts.raise_strays(most, self.installed.unchecked)

    def suspect_service(self, service: Prefix) -> None:
        """Its servers here may be others."""
        self._doubts.about_service(service)

    def suspect_server(self, address: Address) -> None:
        """It is enrolled now, or is no more."""
        if self.switch.client_edge:  # no other switch has rules for servers' replies
            self._doubts.about_servers([address])

    def suspect_pins(self) -> None:
        """A server that is not enrolled any more may have lost its last flow here, or may have one again."""
        self._doubts.about_servers((*self._leftover, *self.engine.left_over()))

    def set_fabric_ports(self, ports: list[int]) -> None:
        self.wanted.fabric_ports = ports
        self._doubts.about_constant_rules()

    def want_server(self, address: Address, enrolled: bool) -> None:
        """A server that stands behind this switch."""
        self.serving.enrol(address, enrolled)
        self.neighbours.want_one(address, enrolled or address in self._watched)

    def watch_server(self, address: Address, watched: bool) -> None:
        """A server that stands behind this switch, is not enrolled any more, and has flows, or has none any more."""
        (self._watched.add if watched else self._watched.discard)(address)
        self.neighbours.want_one(address, watched or address in self.serving.enrolled)

    def want_neighbours(self) -> None:
        self.neighbours.want({*self.serving.enrolled, *self._watched, *self.egress.routers()})

    def stop_waiting(self) -> None:
        """It has not connected in time: what stands behind it is not taken to be reachable any longer."""
        self.unseen = False
        self.serving.forget_able()

    def pop_moved(self) -> Iterable[Address]:
        """The servers that came, moved or went since the last call."""
        moved, self._moved = self._moved, {}
        return moved

    # ---------------------------------------------------------------- connection

    def begin_reading(self, found: Tables, features: Features) -> None:
        """The switch is here and holds ``found``; see ``reading_back``."""
        self.wanted.features = features
        self.engine.begin_reading(features)
        self.reading = ReadingBack(found, self.engine, self.wanted.route, not self.ever_synchronised)
        self._found = Tables({}, found.groups, found.meters)

    def end_reading(self, now: float) -> list[Message]:
        """All is read → routes with the same ports, for another mtu.  ``refresh`` does the rest.

        The routes that the switch has stay until others are to be installed.  At the controller's start hosts are
        rebuilt from its rules, as bindings are.
        """
        reading, self.reading = self.reading, None
        assert reading
        if reading.begins:
            for address, neighbour in reading.hosts.items():
                self.neighbours.adopt(address, neighbour, now)
            self.egress.inherit(reading.egress, now)
        self.egress.suspect_all()
        found, self._found = self._found, Tables()
        found = Tables(reading.others, dict(found.groups), dict(found.meters))
        self.installed.found(found, reading.routes)
        self._constant = {}
        self._doubts.connected()
        self.synchronised = self.ever_synchronised = True
        self.stop_waiting()
        return reading.resized

    def disconnected(self) -> Reaction:
        self.synchronised = False
        self.reading = None
        self._doubts.disconnected()
        self.installed.disconnected()
        self._answers.disconnected()
        self.engine.disconnected()
        return Reaction(events=self._dropped(self.neighbours.disconnected().drops))

    # ---------------------------------------------------------------- packets

    def packet_in(self, cookie: int, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A frame that a rule with this cookie, one of ours, sent up."""
        kind = kind_of(cookie)
        if kind is Kind.TOO_LARGE and self.synchronised:
            mtu = number_of(cookie)
            errors = self._answers.refuse(in_port, frame, Unreachable.TOO_LARGE, now, mtu)
            return Reaction([*errors], events=self._dropped([Drop.TOO_LARGE]))
        handler = self._packet_handlers.get(kind) if kind else None
        if handler is None or not (self.serves_flows if kind in _OF_FLOWS else self.synchronised):
            return Reaction(events=self._dropped([Drop.UNEXPECTED]))
        try:
            return handler(in_port, frame, groups, now)
        except frames.BadFrame as error:
            return Reaction(events=[FrameMalformed(self.name, str(error))])

    @property
    def serves_flows(self) -> bool:
        """Are its bindings known?  They are also while a switch that was connected before is read back."""
        return self.synchronised or (self.reading is not None and self.ever_synchronised)

    def whose_reply(self, frame: bytes) -> tuple[int, Address]:
        """Of a first reply: the port of the client that waits for it, and the server that sends it."""
        return self.engine.flows.port_of(frames.destination_of(frame)), frames.source_of(frame)

    def _refuse(self, reason: Unreachable, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """Tells senders why their packets go no further; the switch's own rules count them."""
        return Reaction([*self._answers.refuse(in_port, frame, reason, now)])

    def _first_packet(self, handle: PacketHandler, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """The engine may ``handle`` it when its source is known to be at this port: an invented one gets no binding."""
        if in_port != OFPP_CONTROLLER and not self.neighbours.is_at(frames.source_of(frame), in_port):
            key = frames.parse_ip(frame).key
            if self.engine.flows.by_key(key) is None:
                replies = self.neighbours.vouch(frame, key.source, in_port, now)
                if not replies.frames:
                    self._throttle.refused(in_port)
                return self._neighbours_replied(replies, now)
        reaction = handle(in_port, frame, groups, now)
        if not any(isinstance(message, PacketOut) and message.frame is frame for message in reaction.messages):
            self._throttle.refused(in_port)
        return reaction

    def _gateway(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        if frames.parse_ip(frame).icmp_type < 0:
            return Reaction([*self._answers.unreachable_here(in_port, frame, now)])
        return Reaction([self._answers.echo_reply(frame)])

    def _arp(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.arp(frames.parse_arp(frame), in_port, now), now)

    def _nd(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.nd(frames.parse_nd(frame), in_port, now), now)

    def _unresolved(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        destination = frames.parse_ip(frame).key.destination
        known = self.neighbours.get(destination)
        if in_port == OFPP_CONTROLLER and known:
            return Reaction(events=self._dropped([Drop.LOOPED]))
        reaction = self._neighbours_replied(self.neighbours.wait(frame, destination, in_port, now), now)
        if known and self.wanted.host(destination, known) not in self.installed:  # not compared yet
            reaction.messages.insert(0, self._host_rule(destination))
        return reaction

    def _neighbours_replied(self, replies: Replies, now: float) -> Reaction:
        """A host's route stands before the packets that waited for it go on.

        Most hosts concern no other switch.  Servers and routers do: groups and routes depend on them.
        """
        messages: list[Message] = list(map(self._host_rule, replies.moved)) if self.synchronised else []
        messages += [out_of(port, frame) for port, frame in replies.frames]
        messages += map(through_pipeline, replies.resolved)
        messages += [as_received(port, frame) for port, frame in replies.vouched]
        for frame in replies.unreachable:
            messages += self._answers.host_unreachable(frame, now)
        wanted = [address for address in (*replies.moved, *replies.missing) if self.neighbours.is_wanted(address)]
        if wanted:
            self._moved |= dict.fromkeys(wanted)
            self.egress.moved(wanted)
            self.serving.forget_able()
        return Reaction(messages, bool(wanted), self._dropped(replies.drops))

    def _host_rule(self, address: Address) -> Message:
        """The change that makes the switch know, or forget, one host; the same as ``refresh`` would make."""
        neighbour = self.neighbours.get(address)
        if neighbour:
            rule = self.wanted.host(address, neighbour)
            self.installed.add(rule)
            return AddFlow(rule)
        return DeleteFlow(self.installed.remove(self.wanted.host(address, Neighbour(bytes(6), 0))))

    def _dropped(self, drops: Iterable[Drop]) -> list[Event]:
        """One event for each reason; ``drops``: of each packet."""
        return [PacketsDropped(self.name, reason, packets) for reason, packets in Counter(drops).items()]

    # ---------------------------------------------------------------- other events

    def port_down(self, port: int, now: float) -> Reaction:
        return self._neighbours_replied(self.neighbours.port_down(port, now), now)

    def ttl_expired(self, in_port: int, frame: bytes, now: float) -> Reaction:
        errors = self._answers.ttl_expired(in_port, frame, now) if self.synchronised else ()
        return Reaction([*errors], events=self._dropped([Drop.TTL_EXPIRED]))

    def sweep_is_due(self, now: float) -> bool:
        return self.synchronised and self.engine.sweep_is_due(now)

    def put_back(self, now: float) -> Reaction:
        """Some of the bindings' rules that others have deleted."""
        if not self.synchronised or not self.engine.has_lost_rules:
            return Reaction()
        self.repaired_at = now
        return self.engine.put_back()

    def tick(self, now: float) -> Reaction:
        if not self.synchronised:
            return Reaction()
        reaction = self._neighbours_replied(self.neighbours.tick(now), now)
        reaction.changed |= self.egress.tick(now)
        reaction.messages += self._answers.tick(now)
        put_back = self.put_back(now)
        reaction.messages += put_back.messages
        reaction.events += put_back.events
        newly_held = self._throttle.tick(now)
        if newly_held is not None:
            reaction.events += [PortsHeldBack(self.name, newly_held)] * bool(newly_held)
            self._doubts.about_meters()
            reaction.changed = True
        return reaction
