"""ManagedSwitch: one switch, what it should hold, and what follows from the packets that it sends to the controller.

It joins its parts: where hosts are (``Neighbours``), which servers take flows (``Serving``), which routers send packets
out of the fabric (``Egress``), the bindings (``Engine``), what rules look like (``WantedRules``), what the switch holds
(``Installed``), what makes that equal to what is wanted (``Reconciler``), what becomes of packets (``Packets``),
and what follows when hosts come and go (``HostRoutes``).  It returns messages for its switch and sends nothing.  What
concerns more than one switch is decided by the ``Controller``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anycast_sdn.control.egress import Egress
from anycast_sdn.control.found_lacks import FoundLacks
from anycast_sdn.control.host_routes import HostRoutes
from anycast_sdn.control.installed import Installed
from anycast_sdn.control.instead_of_meters import InsteadOfMeters
from anycast_sdn.control.mirror import Mirror
from anycast_sdn.control.neighbours import Neighbours
from anycast_sdn.control.next_hop_audit import CutOff
from anycast_sdn.control.packets import Packets
from anycast_sdn.control.reading_back import KnownFlows, NoFlows, ReadingBack
from anycast_sdn.control.recalling import Recalled, Recalling
from anycast_sdn.control.reconcile import Reconciler
from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.role_abilities import RoleAbilities
from anycast_sdn.control.room import Room
from anycast_sdn.control.server_places import ServerPlaces
from anycast_sdn.control.serving import Serving
from anycast_sdn.control.share import Noticed, Share
from anycast_sdn.control.throttle import Throttle
from anycast_sdn.control.wanted import WantedRules
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.decided import Decided
from anycast_sdn.core.events import Drop, FrameMalformed, PortsHeldBack, RulesRepaired, dropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.engines.choice import engine_of
from anycast_sdn.engines.engine import Engine, Following, Reading, Statistics, Sweep
from anycast_sdn.openflow import entries, frames
from anycast_sdn.openflow.answers import Answers, Gateways
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import DROPS, ROW, binding_of, kind_of, number_of
from anycast_sdn.openflow.presence import Presence
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, Message, PacketOut
from anycast_sdn.openflow.tables import Tables

_OF_FLOWS = frozenset(kind for kind, row in ROW.items() if row.table in (Table.CLIENT_OUT, Table.CLIENT_IN))


class ManagedSwitch:
    """A managed switch in any role (M25)."""

    def __init__(
        self,
        described: Switch,
        network: Network,
        random: RandomSource,
        removed: RemovedServers,
        decided: Decided,
        before: ManagedSwitch | None = None,
    ) -> None:
        """``described``: the switch as the network file describes it; ``before``: what is known of its flows by that
        goes on.
        """
        self.described = described
        self.name, self.dpid = described.name, described.dpid
        self.subnets = network.subnets_of(described.name)
        self.uplinks = network.uplinks_of(described.name)
        self.features = Features()
        self.abilities = RoleAbilities(described, network.families, lambda: self.features)
        self.fabric_ports: list[int] = []  # to other switches
        connected = network.connected_to(described.name)
        self.mac = described.mac
        self.neighbours = Neighbours(self.mac, connected)
        self.repaired_at: float | None = None  # when rules were last found to differ from what they should be
        self._throttle = Throttle()
        self._presence = Presence()
        self._answers: Answers = before._answers if before else Answers(described, connected, Gateways(network))
        self.engine: Engine = before.engine if before else engine_of(described, network, self._answers, random, decided)
        self.mirror = Mirror(self.engine)  # of ``Share.REST``
        self.wanted = WantedRules(described, network, self.engine, lambda: self.features, lambda: self.fabric_ports)
        self.mtus = self.wanted.mtus
        self._instead_of_meters = InsteadOfMeters(
            lambda: self.wanted.meters(self._throttle.held), entries.host_ports(connected), lambda: self.fabric_ports
        )
        self._removed = removed
        self.serving = Serving(decided.slots, self._answers_now)
        self.installed = Installed(self.wanted.route)
        self.room = Room(self.installed, lambda: self.features, lambda: len(self.engine.flows))
        self.lacks = FoundLacks(self, self.engine, self.room)
        self.egress = Egress(self.uplinks, self.neighbours.get, self.installed.delivers)
        places = ServerPlaces(connected, self.neighbours, self.installed, self.egress, lambda: self.features)
        self.reconciler = Reconciler(
            described, self.wanted, self.installed, self.serving, self.egress, self.neighbours, places, self.engine,
            self._throttle,
        )  # fmt: skip
        self.hosts = HostRoutes(
            self.name, self.neighbours, self.wanted, self.installed, self.serving, self.egress, self.reconciler,
            self._answers, lambda: self.synchronised, lambda: self.share,
        )  # fmt: skip
        self._packets = Packets(
            self.name, self.engine, self.neighbours, self.hosts, self._answers, self._throttle, lambda: self.share
        )
        self._recalling: Recalling = Recalling(self.engine, before._recalling.codes if before else {})
        self._know_nothing()
        self._look_at_rows()
        if before:
            self._keep_flows(before)

    def _know_nothing(self) -> None:
        """It has not connected since the start."""
        self.synchronised = False  # connected, and what it holds is known: changes may be sent
        self.ever_synchronised = False
        self.share = Share.ALL
        self._has_flows = False  # of ``Share.FLOWS``: they are known, and new ones may begin
        self._doubts_flows = False  # another controller has decided on them: they are forgotten before it is read
        self._finds_flows = True  # what is read of them is all that is known
        self._are_rules_deleted = False  # for ``pop_noticed``
        self.term = 0  # see ``Decided``
        self.reading: ReadingBack | None = None  # the switch is connected, and what it holds is being read
        self._found = Tables()
        self.unseen = True  # it has not connected since the start, and is still expected, with its hosts
        self.unanswered: frozenset[str] = frozenset()  # names of the requests that the switch does not answer
        self.timeouts_problem = ""  # why the timeouts of its connection tracker are not as they should be; "": they are
        self.cut_off = CutOff()  # known flows that have no next hop, where the controller does not get their packets
        self.dropped: dict[str, int] = {}  # packets that the switch's own rules have dropped, by reason

    def _keep_flows(self, before: ManagedSwitch) -> None:
        if not before.decides_on_flows:
            return  # they are followed, while another controller does
        self.share, self._has_flows = Share.FLOWS, True
        self._look_at_codes()
        self.term, self.features = before.term, before.features
        for address, neighbour in before.neighbours.known():
            self.neighbours.told(address, neighbour)

    def _look_at_codes(self) -> None:
        """Whoever decides on rules of services gives their codes."""
        if self.engine.codes:
            self.engine.codes.gives = self.share is not Share.FLOWS
            self.engine.codes.keeps = self.share is Share.REST  # until its master has told of all flows

    def _look_at_rows(self) -> None:
        """Which rules send packets up depends on what the switch is able to do."""
        self._kinds_of_flows = self.engine.packet_handlers.keys()
        self._packet_handlers = self._packets.handlers()

    def _is_of_flows(self, kind: Kind | None) -> bool:
        """Is a packet of such a rule for whoever decides on flows?"""
        return kind in (_OF_FLOWS if self.share is Share.ALL else self._kinds_of_flows)

    def _answers_now(self, address: Address) -> bool:
        return self.neighbours.get(address) is not None

    def may_be_there(self, address: Address) -> bool:
        """Is this server taken to be reachable?"""
        return self.unseen or self._answers_now(address)

    @property
    def routes(self) -> Mapping[Prefix, int]:
        """The installed routes, see ``Installed``."""
        return self.installed.routes

    @property
    def meters(self) -> int:
        """The highest meter number that this switch needs."""
        return max(meter.number for meter in self.wanted.meters(()))

    # ---------------------------------------------------------------- what it should hold

    def reconcile(self, groups: Groups, routes: Mapping[Prefix, int | None]) -> list[Message]:
        """The messages that make the switch hold what is wanted (``Reconciler``); none while it is away."""
        if not self.synchronised:
            self.reconciler.discard_due()
            return []
        return self.reconciler.reconcile(groups, routes)

    def set_fabric_ports(self, ports: list[int]) -> None:
        self.fabric_ports = ports
        self.reconciler.recheck_constant_rules()

    def set_enrolled(self, address: Address, enrolled: bool) -> None:
        """A server in a subnet of this switch was enrolled, or removed."""
        self.serving.enrol(address, enrolled)
        self.recheck_watch(address)

    def set_checked(self, address: Address, checked: bool) -> None:
        """Checks of a server in a subnet of this switch begin, or end."""
        self.serving.check(address, checked)
        self.reconciler.recheck_checked(address)

    def hears_answers_of(self, address: Address) -> bool:
        """Would this server's answers to checks reach the controller?"""
        there = self.neighbours.get(address)
        return self.synchronised and (there is None or self.reconciler.checked_at(address) == there.port)

    def is_in_use(self, address: Address) -> bool:
        """Is this server in a subnet of this switch enrolled, or has it flows?"""
        return self.serving.is_enrolled(address) or address in self._removed

    def recheck_watch(self, address: Address, is_lost: bool = False) -> None:
        """Watch a server in a subnet of this switch if it is in use or lost, and no longer if it is not."""
        self.neighbours.set_watched(address, is_lost or self.is_in_use(address))

    def watch_servers_and_routers(self) -> None:
        prefixes = [gateway.prefix for subnet in self.subnets for gateway in subnet.gateways]
        removed = (server for server in self._removed if any(server in prefix for prefix in prefixes))
        self.neighbours.watch({*self.serving.enrolled, *removed, *self.egress.routers()})

    def stop_waiting(self) -> None:
        """It has not connected in time: hosts behind it are no longer taken to be reachable."""
        self.unseen = False

    # ---------------------------------------------------------------- connection

    def recall(self, recalled: Recalled) -> None:
        """What the switch holds is read next, and these flows, which somebody has kept, are known again then."""
        self._recalling.recall(recalled)

    def begin_reading(
        self,
        found: Tables,
        features: Features,
        term: int = 0,
        followed: Following | None = None,
        share: Share = Share.ALL,
    ) -> None:
        """The switch has connected and holds ``found``; see ``reading_back``.  ``term``: see ``Decided``.

        ``followed``: its flows are known by that; ``share``: what is decided here from now on.
        """
        self.term = term
        begins = not self.ever_synchronised
        doubts = self._doubts_flows or (self.share is Share.REST and share is not Share.REST)
        self.share = share
        self.features = features
        self.lacks.connected()
        self._recalling.begin()
        self._look_at_codes()
        flows: Reading
        if self._has_flows:
            flows = KnownFlows()
        elif followed:
            flows = followed.begin_reading(features)
        else:
            if doubts:
                self.engine.forget_flows()
            flows = self.engine.begin_reading(features, begins=begins or doubts, wiped=not found.flows)
        self._finds_flows, self._doubts_flows = begins or doubts, False
        if share is Share.REST:
            flows = NoFlows(flows)
        self._look_at_rows()
        self._presence.connected(self.wanted.presence())
        self.reading = ReadingBack(found, flows, self.wanted.route, begins, self._recalling.recall_some)
        self._found = Tables({}, found.groups, found.meters)

    def read_on(self, groups: Groups, now: float) -> Reaction | None:
        """A slice of the reading; None when all is read."""
        reading = self.reading
        assert reading
        reaction = reading.step(groups, now)
        if reading.knows_flows:  # packets of new ones are handled from now on, if they come from known hosts
            self._adopt_hosts(reading, now)
        return reaction

    def _adopt_hosts(self, reading: ReadingBack, now: float) -> None:
        """At the controller's start, hosts are rebuilt from rules, as bindings are."""
        for address, neighbour in reading.hosts.items() if reading.begins else ():
            if self.neighbours.get(address) != neighbour:
                self.neighbours.adopt(address, neighbour, now)

    def end_reading(self, now: float) -> list[Message]:
        """All is read → routes that are sent again because of another MTU.  ``reconcile`` does the rest.

        Routes stay as found until others are to be installed.
        """
        reading, self.reading = self.reading, None
        assert reading
        self._adopt_hosts(reading, now)
        if self.share is Share.FLOWS:
            self._has_flows = self.ever_synchronised = True
            self.stop_waiting()
            return []
        if reading.begins:
            self.egress.inherit(reading.egress, now)
            self.serving.read_back(reading.slots)
            if reading.has_weights:  # the switch has refused others
                self.features = replace(self.features, equal_buckets=False)
        self.egress.recheck_all()
        found, self._found = self._found, Tables()
        found = Tables(reading.others, dict(found.groups), dict(found.meters))
        self.installed.found(found, reading.routes)
        self.reconciler.connected()
        self.synchronised = self.ever_synchronised = True
        self.stop_waiting()
        return reading.resized

    def doubt_flows(self) -> None:
        """Another controller has decided on its flows since: what the switch holds of them is what counts."""
        self._doubts_flows = True

    def let_go(self) -> None:
        """Another controller decides on its flows from now on.

        What is known of them is where following them begins; if they cannot be followed, it counts no more.  What their
        master has told (``mirror``) is for showing: their addresses are not known to be taken.
        """
        self.ever_synchronised = False
        if self.share is Share.REST:
            self.engine.forget_flows()
        elif self.engine.follow(lambda entries: ()) is None:
            self.doubt_flows()

    @property
    def will_forget_flows(self) -> bool:
        """Does it begin with flows that are found, or recalled, when this controller is to decide on them?"""
        return self._doubts_flows or self.share is Share.REST

    def disconnected(self) -> Reaction:
        self.synchronised = self._has_flows = False
        self.reading = None
        self.mirror.end()
        self.reconciler.disconnected()
        self.installed.disconnected()
        self._answers.disconnected()
        return Reaction(events=dropped(self.name, self.neighbours.disconnected().drops))

    # ---------------------------------------------------------------- packets

    def packet_in(self, cookie: int, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A frame that a rule with this cookie has sent to the controller."""
        kind = kind_of(cookie)
        if not self.features.meters and not self._instead_of_meters.lets_pass(kind, in_port, frame, now):
            return Reaction(events=dropped(self.name, [Drop.BEYOND_LIMIT]))
        if kind is Kind.TOO_LARGE and self.synchronised:
            mtu = number_of(cookie)
            errors = self._answers.refuse(in_port, frame, Unreachable.TOO_LARGE, now, mtu)
            return Reaction([*errors], events=dropped(self.name, [Drop.TOO_LARGE]))
        handler = self._packet_handlers.get(kind) if kind else None
        if self.share is Share.REST and kind in self.engine.checked_kinds:
            return self._packets.look_for_client(in_port, frame, now)
        if handler is None or not (self.serves_flows if self._is_of_flows(kind) else self.synchronised):
            return Reaction(events=dropped(self.name, [Drop.UNEXPECTED]))
        try:
            return handler(in_port, frame, groups, now)
        except frames.BadFrame as error:
            return Reaction(events=[FrameMalformed(self.name, str(error))])

    @property
    def knows_flows(self) -> bool:
        """Are all its flows known, as of now, or as it disconnected?"""
        return self.mirror.is_whole if self.share is Share.REST else self.ever_synchronised

    def statistics(self, now: float) -> Statistics:
        """Of its flows; by its master, where that is another controller."""
        told = self.mirror.statistics if self.share is Share.REST else None
        return told or self.engine.statistics(now)

    @property
    def serves_flows(self) -> bool:
        """Are its bindings known?

        They are, also while a switch is read back that was connected before.  Of another they are as soon as they are
        adopted: new flows do not wait until everything has been compared.
        """
        if self._has_flows or self.share is not Share.ALL:
            return self._has_flows
        reading = self.reading
        return self.synchronised or (reading is not None and (not self._finds_flows or reading.knows_flows))

    def ends_of_reply(self, frame: bytes) -> tuple[int, Address]:
        """Of a first reply: the port of the client that waits for it, and the server that sends it."""
        return self.engine.flows.port_of(frames.destination_of(frame)), frames.source_of(frame)

    def is_for_leader(self, cookie: int, in_port: int, frame: bytes) -> bool:
        """Is this packet, where only flows are decided on here, about something else?

        It is also if the client is not known yet at this port: the leader finds where hosts are.
        """
        kind = kind_of(cookie)
        if not self._is_of_flows(kind):
            return True
        if kind not in self.engine.checked_kinds or in_port == OFPP_CONTROLLER:
            return False
        try:
            known = self.neighbours.is_at(frames.source_of(frame), in_port)
            return not known and self.engine.flows.by_key(frames.parse_ip(frame).key) is None
        except frames.BadFrame:
            return False  # it is counted here

    def set_codes(self, codes: Mapping[Prefix, int]) -> None:
        """The leader has given these to services, and no others."""
        self.recall_codes(codes)
        if self._has_flows and self.engine.codes:
            self.engine.codes.obey(codes)

    def recall_codes(self, codes: Mapping[Prefix, int]) -> None:
        """These were given to services: they are of use for those of which the switch tells nothing."""
        self._recalling.codes = codes

    def first_packets_refused(self, port: int, packets: int) -> None:
        """So many were dropped, by this controller or by the switch's master: see ``Throttle``."""
        self._throttle.refused(port, packets)

    def pop_noticed(self) -> Noticed | None:
        """What the leader has to know, since the last call; None: nothing."""
        noticed = Noticed(self._throttle.pop_refused(), self._are_rules_deleted)
        self._are_rules_deleted = False
        return noticed if any(noticed) else None

    def reset_stray(self, in_port: int, frame: bytes, now: float) -> list[PacketOut]:
        """To a server that answers a check when that is over, so that it ends the connection."""
        return self._answers.reset(in_port, frame, now)

    # ---------------------------------------------------------------- other events

    def port_up(self, port: int, now: float) -> Reaction:
        reaction = self.hosts.follow(self.neighbours.port_up(port, now), now)
        if self.wanted.closed_ports.note(port) and self.features.tables == 1:
            self.reconciler.recheck_constant_rules()
            reaction.changed = True
        return reaction

    def note_repairs(self, now: float) -> None:
        """The switch was found not to hold what it should; that is corrected."""
        self.repaired_at = now

    def note_unanswered(self, questions: frozenset[str]) -> frozenset[str]:
        """These are all questions that the switch leaves unanswered now → those that are new."""
        new, self.unanswered = questions - self.unanswered, questions
        return new

    def drops_counted(self, packets: Mapping[Kind, int]) -> None:
        """The packets that its drop rules have counted, by kind of rule."""
        dropped = dict.fromkeys(DROPS.values(), 0)
        for kind, name in DROPS.items():
            dropped[name] += packets.get(kind, 0)
        self.dropped = dropped

    def rule_removed(self, cookie: int, deleted: bool, unused: bool, now: float) -> Reaction:
        """``deleted``: the rule did not expire; ``unused``: no packet has matched it."""
        if self.reading:
            self.reading.rule_removed(cookie)
        if self.told_of(cookie):
            return Reaction()
        reaction = self.engine.rule_removed(cookie, deleted, unused, now)
        self._are_rules_deleted |= reaction.others_deleted and self.share is Share.FLOWS
        return reaction

    def told_of(self, cookie: int) -> Binding | None:
        """This rule's flow, as another master has told of it: this controller does not decide on it, or not yet."""
        return self.engine.flows.by_number(binding_of(cookie)) if self.share is Share.REST else None

    def group_refused(self, number: int) -> Reaction:
        """Its buckets are the reason → what deletes all groups; ``compare_more`` sends others (``FoundLacks``)."""
        reaction = Reaction()
        spread = self.serving.spread_of(number) if self.synchronised else None
        if spread and self.lacks.group_refused(number, spread.is_v6, reaction):
            reaction.messages = self.reconciler.replace_groups()
        return reaction

    def port_down(self, port: int, now: float) -> Reaction:
        return self.hosts.follow(self.neighbours.port_down(port, now), now)

    def ttl_expired(self, in_port: int, frame: bytes, now: float) -> Reaction:
        errors = self._answers.ttl_expired(in_port, frame, now) if self.synchronised else ()
        return Reaction([*errors], events=dropped(self.name, [Drop.TTL_EXPIRED]))

    @property
    def decides_on_flows(self) -> bool:
        return self._has_flows or (self.synchronised and self.share is Share.ALL)

    def begin_sweep(self, now: float) -> Sweep | None:
        """Begin to read the counters of flows' rules, if that is due."""
        return self.engine.begin_sweep(now) if self.decides_on_flows else None

    def tick(self, now: float, is_heard: bool = True) -> Reaction:
        """``is_heard``: does it answer, and whoever passes on what it sends?"""
        if not self.synchronised:
            return Reaction()
        reaction = self.hosts.follow(self.neighbours.tick(now, is_heard), now)
        reaction.changed |= self.egress.tick(now)
        reaction.messages += self._answers.tick(now)
        reaction.messages += self._presence.tick(now)
        self.lacks.tick(now, reaction)
        newly_held = self._throttle.tick(now)
        if newly_held is not None:
            reaction.events += [PortsHeldBack(self.name, newly_held)] * bool(newly_held)
            self.reconciler.recheck_meters()
            self._instead_of_meters.renew()
            reaction.changed = True
        return reaction

    def retire(self) -> Reaction:
        """The controller ends in an orderly way."""
        present = self._presence.retire() if self.synchronised else []
        return Reaction([*present, *(self.engine.retire() if self.decides_on_flows else [])])

    def tick_flows(self, now: float, most: int) -> tuple[Reaction, bool]:
        """What time brings for up to ``most`` flows → is there more to do now?"""
        if not self.decides_on_flows:
            return Reaction(), False
        reaction, more = self.engine.tick(now, most)
        if any(isinstance(event, RulesRepaired) for event in reaction.events):
            self.note_repairs(now)
        return reaction, more
