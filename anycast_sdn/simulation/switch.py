"""SimulatedSwitch: executes messages as OpenFlow 1.3.5 specifies, and records each packet's path through the tables.

Tests and the ``trace`` command use it.  It is stricter than a real switch where that finds bugs early; otherwise it
does what Open vSwitch does:

- A rule that ``pipeline`` does not declare raises ``Undeclared``.  A rule that a real switch would answer with an error
  (no such group or meter, a missing prerequisite, a goto backwards, a full table) raises ``Refused``.  Both leave the
  switch unchanged.
- Its layout decides which table a rule is installed in; rules are shown by their logical tables.
- Of several rules that match, the one with the highest priority applies; a packet that matches none is dropped.
- Nothing here reads a clock; ``now`` is in seconds.

Not implemented: IP reassembly, flow-mods other than add and strict delete, hard timeouts, actions after a group action.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, AnycastError, FlowKey
from anycast_sdn.core.token_bucket import TokenBucket
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.frames import L3
from anycast_sdn.openflow.layout import FIVE_TABLES, Layout
from anycast_sdn.openflow.pipeline import Kind, Table, check, kind_of
from anycast_sdn.openflow.rules import (
    ETH_IPV4,
    ETH_IPV6,
    OFPP_ANY,
    OFPP_CONTROLLER,
    OFPP_IN_PORT,
    OFPP_TABLE,
    PORT_FIELDS,
    PRIORITY_TAG,
    Action,
    AddFlow,
    Bucket,
    CheckSize,
    Copy,
    DecTtl,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Message,
    MeterRule,
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
)
from anycast_sdn.simulation.matching import Entry, FlowTable, Packet, masked


class Refused(AnycastError):
    """The switch answers this message with an error; nothing has changed."""


class TableFull(Refused):
    """No room for one more rule (OFPFMFC_TABLE_FULL)."""


class EqualBuckets(Refused):
    """The switch does not take a group in which buckets are the same, nor rules that name such a group."""


# ------------------------------------------------------------------------------ effects


class Transmit(NamedTuple):
    port: int
    frame: bytes


class PacketIn(NamedTuple):
    cookie: int
    in_port: int
    frame: bytes


class FlowRemoved(NamedTuple):
    cookie: int
    idle_timeout: int  # when it was removed: fin_timeout may have shortened it
    deleted: bool = False  # rather than expired
    unused: bool = False  # no packet has matched it


class TtlExpired(NamedTuple):
    in_port: int
    frame: bytes


Effect: TypeAlias = Transmit | PacketIn | FlowRemoved | TtlExpired


class TraceStep(NamedTuple):
    """What one table did to one packet."""

    table: Table
    rule: FlowRule | None = None  # None: no rule matched
    done: tuple[Action, ...] = ()  # those of the chosen bucket included
    before: FlowKey | None = None  # None: not an IP packet
    after: FlowKey | None = None
    end: str = ""  # why it was dropped here although a rule forwards it: "meter", "ttl"


Trace: TypeAlias = list[TraceStep]


# ------------------------------------------------------------------------------ what a switch refuses

_IP = frozenset((ETH_IPV4, ETH_IPV6))
# OF 1.3.5 §7.2.3.8: a field may be matched or set only if the match ensures that the packet has it.
_V4, _V6 = ("eth_type", frozenset((ETH_IPV4,))), ("eth_type", frozenset((ETH_IPV6,)))
_PREREQUISITES: Mapping[str, tuple[tuple[str, frozenset[int]], ...]] = {
    "ip_proto": (("eth_type", _IP),),
    "ipv4_src": (_V4,),
    "ipv4_dst": (_V4,),
    "ipv6_src": (_V6,),
    "ipv6_dst": (_V6,),
    "icmpv4_type": (_V4, ("ip_proto", frozenset((ICMP,)))),
    "icmpv6_type": (_V6, ("ip_proto", frozenset((ICMPV6,)))),
    "tcp_flags": (("ip_proto", frozenset((TCP,))),),
    "ip_frag": (("eth_type", _IP),),
    **{name: (("ip_proto", frozenset((protocol,))),) for protocol, names in PORT_FIELDS.items() for name in names},
}


def _check_match(rule: FlowRule) -> None:
    fields = {field.name: field for field in rule.match}
    if len(fields) != len(rule.match):
        raise Refused(f"a field stands twice in {rule.match}")
    for field in rule.match:
        if masked(field.value, field.mask) != field.value:
            raise Refused(f"{field} has bits set that its mask ignores")
    used = [*fields, *(action.name for action in rule.actions if isinstance(action, SetField))]
    needed = {condition for name in used for condition in _PREREQUISITES.get(name, ())}
    if any(isinstance(action, DecTtl) for action in rule.actions):
        needed.add(("eth_type", _IP))
    if PopVlan() in rule.actions:
        needed.add(("vlan_vid", frozenset((PRIORITY_TAG,))))
    for name, values in needed:
        if name not in fields or fields[name].value not in values:
            raise Refused(f"{rule} needs a match on {name}, one of {sorted(values)}")


class _Meter:
    def __init__(self, rule: MeterRule, now: float) -> None:
        self.rule = rule
        self._tokens = TokenBucket(rule.rate, rule.burst, now)

    def lets_pass(self, now: float) -> bool:
        return self._tokens.take(now)


# ------------------------------------------------------------------------------ the switch


class SimulatedSwitch:
    """One switch.

    ``fin_timeout``, ``tcp_flags``, ``packet_size``, ``fragment_flags``: does it have these extensions of Open vSwitch?
    ``tcp_flags`` includes registers, resubmit and copies to the controller.  ``fragments``: does it leave those without
    a transport header as they are when it sets an address?  ``table_size``: how many rules it has room for, in all
    tables together.  ``equal_buckets``: does it take groups in which several buckets are the same?
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
    ) -> None:
        self._layout = layout
        self._fin_timeout = fin_timeout
        self._tcp_flags = tcp_flags
        self._packet_size = packet_size
        self._fragment_flags = fragment_flags
        self._fragments = fragments
        self._has_meters = meters
        self._table_size = table_size
        self._equal_buckets = equal_buckets
        self._tables = {layout.table(table): FlowTable() for table in Table}
        self._entries: dict[RuleKey, Entry] = {}  # by the key of the rule in its logical table
        self._meters: dict[int, _Meter] = {}
        self._reports_expired = True  # as ``ReportExpired`` asks at the start of every connection
        self.groups: dict[int, GroupRule] = {}

    # ---------------------------------------------------------------- installed rules

    @property
    def flows(self) -> dict[RuleKey, FlowRule]:
        """The rules in their logical tables, with their present idle timeouts."""
        return {
            key: self._layout.logical(replace(entry.rule, idle_timeout=entry.idle_timeout))
            for key, entry in self._entries.items()
        }

    @property
    def meters(self) -> dict[int, MeterRule]:
        return {number: meter.rule for number, meter in self._meters.items()}

    def counters(self) -> Iterator[tuple[int, int]]:
        """(cookie, packets matched) of every rule."""
        for entry in self._entries.values():
            yield entry.rule.cookie, entry.packets

    def packets(self) -> Counter[Kind]:
        """How many packets the rules of each kind have matched."""
        counted: Counter[Kind] = Counter()
        for cookie, packets in self.counters():
            kind = kind_of(cookie)
            assert kind is not None  # ``check`` has seen to that
            counted[kind] += packets
        return counted

    # ---------------------------------------------------------------- messages

    def apply(self, message: Message, now: float, trace: Trace | None = None) -> list[Effect]:
        """Execute a message.  Raises Undeclared, Refused."""
        match message:
            case PutBinding():
                return self.apply(AddFlow(entries.binding(message)), now)
            case RemoveBinding(put):
                return self.apply(DeleteFlow(entries.binding(put)), now)
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
                self._meters[meter.number] = _Meter(meter, now)
            case DeleteMeter(number):
                self._meters.pop(number, None)
                return self._remove([key for key, e in self._entries.items() if e.rule.meter == number])
            case PacketOut(frame, in_port, actions):
                run = _Run(now, trace, [])
                self._act(Packet(frame, in_port), actions, None, [], run)
                return run.effects
            case ReportExpired(wanted):
                self._reports_expired = wanted
        return []  # a Barrier, too: everything before it is done

    def _set_group(self, message: SetGroup) -> None:
        number, buckets = message.group.number, message.group.buckets
        self._expect(message.exists, number in self.groups, message)
        if any(isinstance(action, CheckSize | Copy) for bucket in buckets for action in bucket.actions):
            raise Refused("a bucket is an action set: Open vSwitch ignores this action there")
        if not self._equal_buckets and len(set(buckets)) < len(buckets):
            raise EqualBuckets(f"{len(buckets)} buckets")
        self.groups[number] = message.group

    def _expect(self, wanted: bool, there: bool, message: Message) -> None:
        if wanted is not there:
            raise Refused(f"{message}: {'is' if there else 'is not'} there already")

    def _add(self, rule: FlowRule, now: float) -> None:
        check(rule)
        key, rule = rule.key, self._layout.on_switch(rule)
        _check_match(rule)
        if rule.goto is not None and rule.goto <= rule.table:
            raise Refused(f"{rule} goes backwards")
        meters = [rule.meter, *(action.meter for action in rule.actions if isinstance(action, Copy))]
        if any(meter is not None and meter not in self._meters for meter in meters):
            raise Refused(f"{rule}: no such meter")
        if not self._tcp_flags and any(field.name in ("tcp_flags", "reg0") for field in rule.match):
            raise Refused("this switch does not match TCP flags")
        if not self._fragment_flags and any(field.name == "ip_frag" for field in rule.match):
            raise Refused("this switch cannot tell fragments")
        for action in rule.actions:
            if isinstance(action, ToGroup) and action.group not in self.groups:
                raise (Refused if self._equal_buckets else EqualBuckets)(f"{rule}: no such group")
            if isinstance(action, ToGroup) and (action is not rule.actions[-1] or rule.goto is not None):
                raise Refused(f"{rule}: nothing may follow a group")
            if isinstance(action, CheckSize) and not self._packet_size:
                raise Refused("this switch cannot tell how large packets are")
            if isinstance(action, FinTimeout) and not self._fin_timeout:
                raise Refused("this switch has no fin_timeout")
            if isinstance(action, SetField) and action.name == "reg0" and not self._tcp_flags:
                raise Refused("this switch has no registers")
        old = self._entries.get(key)
        if old is None and self._table_size is not None and len(self._entries) >= self._table_size:
            raise TableFull(f"{self._table_size} rules are here already")
        entry = Entry(rule, now)
        entry.packets = old.packets if old else 0  # OF 1.3.5 §6.4: counters stay without OFPFF_RESET_COUNTS
        self._entries[key] = entry
        self._tables[rule.table].put(entry)

    def _remove(self, keys: list[RuleKey], deleted: bool = True) -> list[Effect]:
        effects: list[Effect] = []
        for key in keys:
            entry = self._entries.pop(key, None)
            if entry:
                self._tables[entry.rule.table].remove(entry.rule)
                if entry.rule.notify:
                    effects.append(FlowRemoved(entry.rule.cookie, entry.idle_timeout, deleted, not entry.packets))
        return effects

    def expire(self, now: float) -> list[Effect]:
        """Remove the rules that have been idle for their timeout."""
        return self._remove(
            [key for key, e in self._entries.items() if e.idle_timeout and now - e.used >= e.idle_timeout],
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
                run.trace.insert(place, step._replace(before=before, after=packet.flow, end=end))
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
                case SetField(name, value):
                    packet.set_field(name, value)
                    if name.startswith("ipv4") and not self._fragments:
                        packet.spoil()
                case ForgetInPort():
                    packet.fields["in_port"] = OFPP_ANY
                case Output(port):
                    self._output(packet, port, entry, run)
                case PopVlan():
                    packet.pop_vlan()
                case ToGroup(number):
                    bucket = choose(self._layout.group_on_switch(self.groups[number]), packet.hashed)
                    return bucket is not None and self._act(packet, bucket.actions, entry, done, run)
                case CheckSize(limit):
                    packet.fields["reg1"] = int(len(packet.frame) > L3 + limit)
                case Copy() | Resubmit():
                    self._branch(packet, action, entry, run)
                case FinTimeout(idle_s):
                    if packet.closing and entry:
                        entry.idle_timeout = min(entry.idle_timeout or idle_s, idle_s)
        return True

    def _branch(self, packet: Packet, action: Copy | Resubmit, entry: Entry | None, run: _Run) -> None:
        """Actions after which this packet goes on: a copy to the controller, a pass through another table."""
        match action:
            case Copy(meter):
                if meter is None or self._meters[meter].lets_pass(run.now):
                    self._output(packet, OFPP_CONTROLLER, entry, run)
            case Resubmit(table, in_port):
                self._pipeline(packet, run, table, in_port)

    def _output(self, packet: Packet, port: int, entry: Entry | None, run: _Run) -> None:
        in_port = packet.fields["in_port"]
        if port == OFPP_TABLE:
            self._pipeline(packet, run)
        elif port == OFPP_CONTROLLER:
            run.effects.append(PacketIn(entry.rule.cookie if entry else _NO_COOKIE, in_port, packet.frame))
        elif port == OFPP_IN_PORT:
            run.effects.append(Transmit(in_port, packet.frame))
        elif port != in_port:  # OF 1.3.5 §4.5: only OFPP_IN_PORT sends a packet back by its ingress port
            run.effects.append(Transmit(port, packet.frame))


class _Run(NamedTuple):
    """One packet's path through the switch."""

    now: float
    trace: Trace | None
    effects: list[Effect]


_NO_COOKIE = (1 << 64) - 1  # OF 1.3.5 §7.4.1: no entry caused the packet-in


def choose(group: GroupRule, flow: FlowKey | None) -> Bucket | None:
    """The bucket of a select group for this flow: always the same, in proportion to the weights."""
    total = sum(bucket.weight for bucket in group.buckets)
    if not total or flow is None:
        return None
    left = zlib.crc32(b"".join((*flow[:2], *(value.to_bytes(2, "big") for value in flow[2:])))) % total
    for bucket in group.buckets:
        left -= bucket.weight
        if left < 0:
            return bucket
    raise AssertionError("weights add up to their total")
