"""SimulatedSwitch: executes messages as OpenFlow 1.3.5 specifies, and records each packet's path through the tables.

Tests and the ``trace`` command use it.  It is stricter than a real switch where that finds bugs early; otherwise it
does what Open vSwitch does:

- A rule that ``pipeline`` does not declare raises ``Undeclared``.  A rule that a real switch would answer with an error
  (no such group or meter, a missing prerequisite, a goto backwards, a full table) raises ``Refused``.  Both leave the
  switch unchanged.
- Its layout decides which table a rule is installed in; rules are shown by their logical tables.
- Of several rules that match, the one with the highest priority applies; a packet that matches none is dropped.
- Nothing here reads a clock; ``now`` is in seconds.

Not implemented: IP reassembly, flow-mods other than add and strict delete, actions after a group action.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from copy import copy
from dataclasses import replace
from typing import NamedTuple

from anycast_sdn.core.model import FlowKey
from anycast_sdn.description.profile import ALL_OF_OPENFLOW, Profile
from anycast_sdn.openflow import connections, entries
from anycast_sdn.openflow.abilities import causes
from anycast_sdn.openflow.adapted import adapted
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.flow_table import FlowTable
from anycast_sdn.openflow.frames import L3
from anycast_sdn.openflow.layout import FIVE_TABLES, Layout
from anycast_sdn.openflow.pipeline import check, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    ETH_LLDP,
    OFPP_ANY,
    OFPP_CONTROLLER,
    OFPP_IN_PORT,
    OFPP_TABLE,
    Action,
    AddFlow,
    Barrier,
    BeginConnection,
    Bucket,
    CheckSize,
    Copy,
    DecTtl,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    EndConnection,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Load,
    Message,
    MeterRule,
    Move,
    Output,
    PacketOut,
    PopVlan,
    PutBinding,
    RemoveBinding,
    ReportExpired,
    Resubmit,
    RuleKey,
    SetField,
    SetGroup,
    SetMeter,
    ToGroup,
    Track,
)
from anycast_sdn.simulation import probed, refusals
from anycast_sdn.simulation import profile as profiles
from anycast_sdn.simulation.effects import (
    Effect,
    FlowRemoved,
    PacketIn,
    Trace,
    TraceStep,
    TrackerStep,
    Transmit,
    TtlExpired,
)
from anycast_sdn.simulation.matching import Entry, Packet
from anycast_sdn.simulation.meter import Meter
from anycast_sdn.simulation.neighbour_packets import ND_FIELDS
from anycast_sdn.simulation.reassembly import Reassembly
from anycast_sdn.simulation.refusals import EqualBuckets, Refused, TableFull
from anycast_sdn.simulation.roles import Roles
from anycast_sdn.simulation.tracker import Tracker

# ------------------------------------------------------------------------------ the switch


class SimulatedSwitch:
    """One switch.

    ``fin_timeout``, ``tcp_flags``, ``packet_size``, ``fragment_flags``: does it have these extensions of Open vSwitch?
    ``tcp_flags`` includes registers, resubmit and copies to the controller.  ``fragments``: does it leave those without
    a transport header as they are when it sets an address?  ``table_size``: how many rules it has room for, in all
    tables together.  ``equal_buckets``: does it take groups in which several buckets are the same?  ``tracker``: its
    connection tracker, which it may share with other switches as bridges of one Open vSwitch do; None: its own.
    ``connections``: does it have one at all?  ``gateway_answers``: can it set the fields of neighbour discovery?
    ``profile``: what it does not do besides; what it ignores of rules, but for timeouts, is in ``flows`` nevertheless.
    ``only_declared``: rules that the pipeline does not declare are a bug of ours.
    """

    def __init__(
        self,
        *,
        layout: Layout = FIVE_TABLES,
        fin_timeout: bool = True,
        tcp_flags: bool = True,
        packet_size: bool = True,
        fragment_flags: bool = True,
        fragments: bool = True,
        meters: bool = True,
        table_size: int | None = None,
        equal_buckets: bool = True,
        connections: bool = True,
        gateway_answers: bool = True,
        tracker: Tracker | None = None,
        profile: Profile = ALL_OF_OPENFLOW,
        only_declared: bool = True,
    ) -> None:
        self.profile = profile
        self._only_declared = only_declared
        self._layout = layout.of_switch()
        self._is_known = False  # the controller knows its rules without their cookies (``openflow.known_rules``)
        self._fin_timeout = fin_timeout
        self._tcp_flags = tcp_flags
        self._packet_size = packet_size
        self._fragment_flags = fragment_flags
        self._fragments = fragments
        self._has_meters = meters
        self._table_size = table_size
        self._equal_buckets = equal_buckets
        self._connections = connections
        self._gateway_answers = gateway_answers
        self.tracker = Tracker() if tracker is None else tracker
        self._reassembly: Reassembly[Packet] = Reassembly()
        self._tables = {layout.table(table): FlowTable[Entry]() for table in Table}
        self._entries: dict[RuleKey, Entry] = {}  # by the key of the rule in its logical table
        self._as_sent: dict[RuleKey, FlowRule] = {}  # those of which the switch ignores something
        self._replacing = 0  # rules that have replaced one
        self._meters: dict[int, Meter] = {}
        self._reports_expired = True  # as ``ReportExpired`` asks at the start of every connection
        self.groups: dict[int, GroupRule] = {}
        self.roles = Roles()

    # ---------------------------------------------------------------- installed rules

    @property
    def flows(self) -> dict[RuleKey, FlowRule]:
        """The rules in their logical tables, with their present idle timeouts."""
        return {key: self._layout.logical(self._listed(key, entry)) for key, entry in self._entries.items()}

    def _listed(self, key: RuleKey, entry: Entry) -> FlowRule:
        rule = self._as_sent.get(key, entry.rule)
        kept = self._said(rule.cookie), entry.idle_timeout, entry.rule.hard_timeout
        if kept == (rule.cookie, rule.idle_timeout, rule.hard_timeout):
            return rule  # a copy of each would be most of a long simulation's time
        return replace(rule, cookie=kept[0], idle_timeout=kept[1], hard_timeout=kept[2])

    @property
    def meters(self) -> dict[int, MeterRule]:
        return {number: meter.rule for number, meter in self._meters.items()}

    def found(self, features: Features) -> Features:
        """What trials would find of it, where one without a profile has these; it is sent what it takes then."""
        found = profiles.found(self.profile, features, self._layout)
        if self.profile is not ALL_OF_OPENFLOW:
            plain = adapted(self._layout, Features(keeps_ttl=features.keeps_ttl))
            another = SimulatedSwitch(layout=plain, profile=self.profile, only_declared=False)
            found = replace(found, lacks=causes((*found.lacks, *probed.lacks_of(another, plain))))
        self._layout = adapted(self._layout, found)
        self._is_known = not found.cookies
        return found

    def counters(self) -> Iterator[tuple[int, int]]:
        """(cookie, packets matched) of every rule."""
        has_statistics = "statistics" not in self.profile.wrong
        for entry in self._entries.values():
            yield self._said(entry.rule.cookie), entry.packets * has_statistics

    def packets(self) -> Counter[Kind]:
        """How many packets the rules of each kind have matched."""
        counted: Counter[Kind] = Counter()
        for cookie, packets in self.counters():
            kind = kind_of(cookie)
            assert kind is not None  # ``check`` has seen to that
            counted[kind] += packets
        return counted

    # ---------------------------------------------------------------- messages

    def apply_from(self, controller: Hashable, message: Message, now: float) -> list[Effect]:
        """Of one of several controllers.  Raises IsSlave, and what ``apply`` raises."""
        if not isinstance(message, Barrier | ReportExpired):
            self.roles.check_write(controller)
        return self.apply(message, now)

    def apply(self, message: Message, now: float, trace: Trace | None = None) -> list[Effect]:
        """Execute a message.  Raises Undeclared, Refused."""
        if isinstance(message, PutBinding | RemoveBinding | BeginConnection):
            return self.apply(_written_out(message), now, trace)
        caused = (self._take(each, now, trace) for each in self._layout.with_groups([message]))
        return [effect for effects in caused for effect in effects]

    def _take(self, message: Message, now: float, trace: Trace | None) -> list[Effect]:
        if isinstance(message, AddFlow):  # a rule has to be placed first
            return self._execute(message, now, trace)
        if isinstance(message, SetGroup):
            return self._execute(self._taken_group(message), now, trace)
        taken = profiles.taken(self.profile, message)
        return [] if taken is None else self._execute(taken, now, trace)

    def _taken_group(self, message: SetGroup) -> Message:
        placed = message._replace(group=self._layout.group_on_switch(message.group))
        taken = profiles.taken(self.profile, placed)
        if taken == placed:
            return message
        if not isinstance(taken, SetGroup):
            return Barrier()  # it is ignored
        return taken._replace(group=self._layout.logical_group(taken.group) or taken.group)

    def _execute(self, message: Message, now: float, trace: Trace | None) -> list[Effect]:
        match message:
            case AddFlow(rule):
                self._add(rule, now)
            case DeleteFlow(rule):
                return self._remove([rule.key])
            case DeleteCookie(cookie):
                return self._remove([key for key, e in self._entries.items() if e.rule.cookie == cookie])
            case DeleteEverything():
                self.groups.clear()
                return self._remove(list(self._entries))
            case SetGroup():
                self._set_group(message)
            case DeleteGroup(number):
                self.groups.pop(number, None)
                return self._remove([key for key, e in self._entries.items() if ToGroup(number) in e.rule.actions])
            case SetMeter(meter, exists):
                self._expect(exists, meter.number in self._meters, message)
                if not self._has_meters:
                    raise Refused("this switch has no meters")
                profiles.check_meters(self.profile, {*self._meters, meter.number})
                self._meters[meter.number] = Meter(meter, now)
            case DeleteMeter(number):
                self._meters.pop(number, None)
                return self._remove([key for key, e in self._entries.items() if e.rule.meter == number])
            case PacketOut(frame, in_port, actions):
                run = _Run(now, trace, [])
                self._act(Packet(frame, in_port), actions, None, [], run)
                return run.effects
            case EndConnection():
                self._end_connection(message, now)
            case ReportExpired(wanted):
                self._reports_expired = wanted
        return []  # a Barrier, too: everything before it is done

    def _end_connection(self, message: EndConnection, now: float) -> None:
        self._need_tracker()
        if connections.can_end(message):  # else no message is sent
            self.tracker.end(message.zone, FlowKey(*message[1:]), now)

    def _set_group(self, message: SetGroup) -> None:
        number, buckets = message.group.number, message.group.buckets
        if number in self._layout.groups:
            return  # there it is
        self._expect(message.exists, number in self.groups, message)
        if any(isinstance(action, CheckSize | Copy | Track) for bucket in buckets for action in bucket.actions):
            raise Refused("a bucket is an action set: Open vSwitch ignores this action there")
        if not self._equal_buckets and len(set(buckets)) < len(buckets):
            raise EqualBuckets(f"{len(buckets)} buckets")
        profiles.check_groups(self.profile, {*self.groups, number})
        self.groups[number] = message.group

    def _expect(self, wanted: bool, there: bool, message: Message) -> None:
        if wanted is not there:
            raise Refused(f"{message}: {'is' if there else 'is not'} there already")

    def _add(self, rule: FlowRule, now: float) -> None:
        if self._only_declared:
            check(rule)
        key, sent = rule.key, self._layout.on_switch(rule)
        taken = profiles.taken(self.profile, AddFlow(sent))
        if not isinstance(taken, AddFlow):
            return
        rule = taken.rule
        self._check(rule)
        old = self._entries.get(key)
        if old is None and self._table_size is not None and len(self._entries) >= self._table_size:
            raise TableFull(f"{self._table_size} rules are here already")
        if old is None:
            profiles.check_room(self.profile, (each.rule for each in self._entries.values()), rule.table)
        elif self._loses_one_that_replaces():
            self._remove([key])
            return
        entry = Entry(rule, now)
        entry.packets = old.packets if old else 0  # OF 1.3.5 §6.4: counters stay without OFPFF_RESET_COUNTS
        self._entries[key] = entry
        self._tables[rule.table].put(entry)
        self._as_sent.pop(key, None)
        if rule != sent:
            self._as_sent[key] = sent

    def _check(self, rule: FlowRule) -> None:
        """``rule``: as the switch is to hold it.  Raises Refused."""
        refusals.check(rule)
        if rule.goto is not None and rule.goto <= rule.table:
            raise Refused(f"{rule} goes backwards")
        meters = [rule.meter, *(action.meter for action in rule.actions if isinstance(action, Copy))]
        if any(meter is not None and meter not in self._meters for meter in meters):
            raise Refused(f"{rule}: no such meter")
        if not self._tcp_flags and any(refusals.is_extension(field.name) for field in rule.match):
            raise Refused("this switch matches neither TCP flags nor registers")
        if not self._fragment_flags and any(field.name == "ip_frag" for field in rule.match):
            raise Refused("this switch cannot tell fragments")
        for action in rule.actions:
            if isinstance(action, ToGroup) and not (action.group in self.groups or action.group in self._layout.groups):
                raise (Refused if self._equal_buckets else EqualBuckets)(f"{rule}: no such group")
            if isinstance(action, ToGroup) and (action is not rule.actions[-1] or rule.goto is not None):
                raise Refused(f"{rule}: nothing may follow a group")
            if isinstance(action, CheckSize) and not self._packet_size:
                raise Refused("this switch cannot tell how large packets are")
            if isinstance(action, FinTimeout) and not self._fin_timeout:
                raise Refused("this switch has no fin_timeout")
            if not self._tcp_flags and refusals.uses_registers(action):
                raise Refused("this switch has no registers")
            if isinstance(action, Track):
                self._need_tracker()
            if isinstance(action, Load) and action.name in ND_FIELDS and not self._gateway_answers:
                raise Refused("this switch cannot make advertisements of solicitations")

    def _said(self, cookie: int) -> int:
        return 0 if "cookies" in self.profile.wrong and not self._is_known else cookie

    def _loses_one_that_replaces(self) -> bool:
        self._replacing += 1
        return "replacing" in self.profile.wrong and self._replacing % 3 == 0

    def _need_tracker(self) -> None:
        if not self._connections:
            raise Refused("this switch has no connection tracker")

    def _remove(self, keys: list[RuleKey], deleted: bool = True) -> list[Effect]:
        effects: list[Effect] = []
        for key in keys:
            entry = self._entries.pop(key, None)
            self._as_sent.pop(key, None)
            if entry:
                self._tables[entry.rule.table].remove(entry.rule)
                if entry.rule.notify:
                    cookie = self._said(entry.rule.cookie)
                    effects.append(FlowRemoved(cookie, entry.idle_timeout, deleted, not entry.packets))
        return effects

    def expire(self, now: float) -> list[Effect]:
        """Remove the rules whose timeouts have passed, and forget the connections that have ended."""
        self.tracker.expire(now)
        return self._remove(
            [key for key, entry in self._entries.items() if entry.is_over(now)],
            deleted=False,
        )

    # ---------------------------------------------------------------- changes by other programs

    def install_foreign(self, rule: FlowRule) -> None:
        """Another program installs a rule, or modifies one.  Nothing is checked."""
        held = self._layout.on_switch(rule)
        entry = self._entries[self._layout.logical(held).key] = Entry(held, 0.0)
        self._tables[entry.rule.table].put(entry)

    def delete(self, keys: Iterable[RuleKey]) -> list[Effect]:
        """Another program deletes rules."""
        return self._remove(list(keys))

    # ---------------------------------------------------------------- packets

    def receive(self, frame: bytes, in_port: int, now: float, trace: Trace | None = None) -> list[Effect]:
        """Handle a frame that is received at a port."""
        run = _Run(now, trace, [])
        self._pipeline(Packet(frame, in_port), run)
        return run.effects

    def _pipeline(self, packet: Packet, run: _Run, table: int | None = 0, in_port: int = OFPP_IN_PORT) -> None:
        """Match a packet in this table of the switch, and in those after it.  ``in_port``: see ``Resubmit``."""
        while table is not None:
            before, done, end, place = packet.flow, list[Action](), "", len(run.trace or ())
            fields = packet.fields if in_port == OFPP_IN_PORT else packet.fields | {"in_port": in_port}
            entry = self._tables[table].find(fields)
            if entry:
                entry.packets += 1
                entry.used = run.now
                if entry.rule.meter is not None and not self._meters[entry.rule.meter].lets_pass(run.now):
                    end = "meter"
                elif not self._act(packet, entry.rule.actions, entry, done, run):
                    end = "ttl"
            if run.trace is not None:
                step = self._step(table, entry, tuple(done))
                onward = (later.before for later in run.trace[place:] if later.table is not None)
                after = next(onward, packet.flow)  # as it went on from here, and not what became of it there
                run.trace.insert(place, step._replace(before=before, after=after, end=end))
            table = entry.rule.goto if entry and not end else None

    def _step(self, table: int, entry: Entry | None, done: tuple[Action, ...]) -> TraceStep:
        """In logical tables.  Where no rule matches, the table is that of a rule of priority 1, its lowest."""
        if entry is None:
            return TraceStep(Table(self._layout.logical(FlowRule(table, 1, (), 0)).table))
        rule = self._layout.logical(entry.rule)
        return TraceStep(Table(rule.table), rule, self._layout.logical(replace(entry.rule, actions=done)).actions)

    def _act(
        self, packet: Packet, actions: tuple[Action, ...], entry: Entry | None, done: list[Action], run: _Run
    ) -> bool:
        """Apply ``actions`` in order, and append each applied one to ``done``.  False: the TTL has expired."""
        for action in actions:
            if isinstance(action, DecTtl) and not packet.decrement_ttl():
                if self._reports_expired:
                    run.effects.append(TtlExpired(packet.fields["in_port"], packet.frame))
                return False
            done.append(action)
            match action:
                case SetField() | Load() | Move():
                    self._set(packet, action)
                case ForgetInPort():
                    packet.fields["in_port"] = OFPP_ANY
                case Output(port):
                    self._output(packet, port, entry, run)
                case PopVlan():
                    packet.pop_vlan()
                case ToGroup(number):
                    own = self._layout.groups.get(number)
                    bucket = choose(own or self._layout.group_on_switch(self.groups[number]), packet.hashed)
                    return bucket is not None and self._act(packet, bucket.actions, entry, done, run)
                case CheckSize(limit):
                    packet.set_field("reg1", int(len(packet.frame) > L3 + limit))
                case Copy() | Resubmit() | Track():
                    self._branch(packet, action, entry, run)
                case FinTimeout(idle_s):
                    if packet.closing and entry:
                        entry.idle_timeout = min(entry.idle_timeout or idle_s, idle_s)
        return True

    def _set(self, packet: Packet, action: SetField | Load | Move) -> None:
        match action:
            case SetField(name, value):
                packet.set_field(name, value)
            case Load(name, value, mask):
                packet.load(name, value, mask)
            case Move(_, name):
                packet.move(action)
        if name.startswith("ipv4") and not self._fragments:
            packet.spoil()
        if name.startswith("ipv6") and "icmpv6_checksum" in self.profile.wrong:
            packet.spoil_icmpv6()

    def _branch(self, packet: Packet, action: Copy | Resubmit | Track, entry: Entry | None, run: _Run) -> None:
        """Actions after which this packet goes on: a copy to the controller, a pass through another table."""
        match action:
            case Copy(meter):
                if meter is None or self._meters[meter].lets_pass(run.now):
                    self._output(packet, OFPP_CONTROLLER, entry, run)
            case Resubmit(table, in_port):
                self._pipeline(packet, run, table, in_port)
            case Track():
                self._track(packet, action, run)

    def _track(self, packet: Packet, action: Track, run: _Run) -> None:
        """Look the packet up in the connection tracker; with a table, a packet of its own goes on there."""
        if packet.fields["ip_frag"] and packet.whole is None:
            for part in self._reassembly.take(copy(packet), action.zone, run.now):
                self._track(part, action, run)
            return
        found = self.tracker.track(packet.tracked(), action, packet.found, run.now)
        before, tracked = packet.flow, packet.track(found)
        if run.trace is not None:
            table = None if action.table is None else self._step(action.table, None, ()).table
            run.trace.append(TrackerStep(action.zone, found.state, found.label, before, tracked.flow, table))
        if action.table is not None:
            self._pipeline(tracked, run, action.table)

    def _output(self, packet: Packet, port: int, entry: Entry | None, run: _Run) -> None:
        in_port = packet.fields["in_port"]
        if port == OFPP_TABLE:
            self._pipeline(packet, run)
        elif port == OFPP_CONTROLLER:
            if not ("lldp" in self.profile.wrong and packet.fields["eth_type"] == ETH_LLDP):
                cookie = self._said(entry.rule.cookie) if entry else _NO_COOKIE
                run.effects.append(PacketIn(cookie, in_port, packet.to_controller))
        elif port == OFPP_IN_PORT:
            run.effects.append(Transmit(in_port, packet.frame))
        elif port != in_port:  # OF 1.3.5 §4.5: only OFPP_IN_PORT sends a packet back by its ingress port
            run.effects.append(Transmit(port, packet.frame))


class _Run(NamedTuple):
    """One packet's path through the switch."""

    now: float
    trace: Trace | None
    effects: list[Effect]


def _written_out(message: PutBinding | RemoveBinding | BeginConnection) -> Message:
    """What stands behind a message that only saves work."""
    match message:
        case PutBinding():
            return AddFlow(entries.binding(message))
        case RemoveBinding(put):
            return DeleteFlow(entries.binding(put))
        case BeginConnection():
            return connections.with_first_packet(message)


_NO_COOKIE = (1 << 64) - 1  # OF 1.3.5 §7.4.1: no entry caused the packet-in


def choose(group: GroupRule, flow: FlowKey | None) -> Bucket | None:
    """The bucket of a select group for this flow: always the same, in proportion to the weights."""
    if group.indirect:
        return group.buckets[0]
    total = sum(bucket.weight for bucket in group.buckets)
    if not total or flow is None:
        return None
    left = zlib.crc32(b"".join((*flow[:2], *(value.to_bytes(2, "big") for value in flow[2:])))) % total
    for bucket in group.buckets:
        left -= bucket.weight
        if left < 0:
            return bucket
    raise AssertionError("weights add up to their total")
