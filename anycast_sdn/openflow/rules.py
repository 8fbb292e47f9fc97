"""What is sent to a switch: OpenFlow's messages as values, without their bytes.

A ``FlowRule`` is a frozen value with a natural key (table, priority, match): that is what OpenFlow
itself uses to distinguish entries, so that *wanted* and *installed* can be compared as plain
dictionaries (see ``control.reconcile``).  ``codec`` turns these values into bytes and back;
``simulation`` executes them; ``pipeline`` says which of them may exist.

Field names are the OXM names of OpenFlow 1.3.5 §7.2.3.7, and those that Open vSwitch has besides: ``tcp_flags``;
``ip_frag``; the registers ``reg0`` to ``reg15`` of 32 bits, which a packet carries through the tables, and ``xxreg0``
to ``xxreg3``, each of which is four of them (``xxreg1`` is ``reg4`` to ``reg7``, the highest bits first);
``nd_options_type`` and ``nd_reserved``, the type of a neighbour discovery message's first option, and the word that has
the flags of an advertisement; and of the
connection tracker ``ct_state``, ``ct_zone``, ``ct_mark``, ``ct_label``, and ``ct_nw_src``, ``ct_ipv6_src`` and
``ct_tp_src``, the source and its port of the connection's first packet as it was before its translation.  Addresses,
``xxreg*`` and ``ct_label`` are packed bytes, everything else is an integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import SCTP, TCP, UDP, Prefix

OFPP_IN_PORT = 0xFFFFFFF8
OFPP_TABLE = 0xFFFFFFF9
OFPP_CONTROLLER = 0xFFFFFFFD
OFPG_ALL = 0xFFFFFFFC
OFPP_ANY = 0xFFFFFFFF  # as a packet's in_port: none

TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK = 0x01, 0x02, 0x04, 0x10
FRAGMENT, LATER_FRAGMENT = 1, 2  # bits of ``ip_frag``: any fragment; none but the first has a transport header
ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_LLDP = 0x0800, 0x0806, 0x86DD, 0x88CC
ETH_VLAN, ETH_QINQ = 0x8100, 0x88A8  # IEEE 802.1Q: a customer's and a provider's tag
VLAN_PRESENT, VLAN_BITS = 0x1000, 12  # of the field vlan_vid, OF 1.3.5 table 14: there is a tag; its identifier
PRIORITY_TAG = VLAN_PRESENT  # a tag that names no VLAN, only a priority
# The protocols with ports that OpenFlow can match → the fields of source and destination port.
PORT_FIELDS = {TCP: ("tcp_src", "tcp_dst"), UDP: ("udp_src", "udp_dst"), SCTP: ("sctp_src", "sctp_dst")}

Value: TypeAlias = int | bytes


class Field(NamedTuple):
    """One condition of a match: equal to ``value``, under ``mask`` when there is one."""

    name: str
    value: Value
    mask: Value | None = None


Match: TypeAlias = tuple[Field, ...]  # sorted by name, so that equal matches are equal values


def match(*fields: Field | None) -> Match:
    """Conditions in any order → a Match; None means no condition and is left out.

    One on ``xxreg*`` becomes those on its four registers, as Open vSwitch lists it.
    """
    conditions = (part for field in fields if field is not None for part in _registers(field))
    return tuple(sorted(conditions, key=lambda field: field.name))


def _registers(field: Field) -> Iterator[Field]:
    name, value, mask = field
    if not name.startswith("xxreg"):
        yield field
        return
    assert isinstance(value, bytes)
    for part in range(4):
        bits, care = (int.from_bytes(each[4 * part : 4 * part + 4], "big") for each in (value, _care(mask)))
        if care:
            register = f"reg{4 * int(name.removeprefix('xxreg')) + part}"
            yield Field(register, bits & care, None if care == _ALL_32 else care)


def _care(mask: Value | None) -> bytes:
    assert not isinstance(mask, int)
    return b"\xff" * 16 if mask is None else mask


_ALL_32 = (1 << 32) - 1


# ------------------------------------------------------------------------------ actions
# Dataclasses rather than tuples: actions of different kinds are never equal, whatever their numbers.  The two that most
# messages have are tuples, of different lengths, which are made, compared and hashed in less time.


class SetField(NamedTuple):
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class DecTtl:
    pass


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Remove the outermost tag; the match must say that there is one."""


class Output(NamedTuple):
    port: int


@dataclass(frozen=True, slots=True)
class ToGroup:
    group: int


@dataclass(frozen=True, slots=True)
class FinTimeout:
    """Open vSwitch's extension: after FIN or RST the rule's idle timeout falls to this, if it has one."""

    idle_s: int


@dataclass(frozen=True, slots=True)
class ForgetInPort:
    """From now on the packet has no ingress port: it may leave by any port, also by the one where it came in.

    Open vSwitch's extension, a load of OFPP_NONE; OpenFlow's own set-field may not set in_port (OF 1.3.5 §7.2.5).
    Only OFPP_NONE will do.  With another port, Open vSwitch drops packets from the controller or a patch port when it
    has to look them up once more, as for a select group: it finds the bridge by the ingress port.
    """


@dataclass(frozen=True, slots=True)
class CheckSize:
    """Open vSwitch's extension: the register ``reg1`` becomes 1 when the IP packet is larger than this, else 0."""

    limit: int  # bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """Open vSwitch's extension: the controller gets a copy, limited by a meter, and the packet goes on."""

    meter: int | None  # None: no limit


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Open vSwitch's extension: the packet as it is now is looked up in this table, and then this rule goes on.

    ``in_port``: the port by which it seems to have come, for that look-up alone.
    """

    table: int
    in_port: int = OFPP_IN_PORT  # its own


@dataclass(frozen=True, slots=True)
class Load:
    """Open vSwitch's extension: the bits of a field for which ``mask`` has a one become those of ``value``."""

    name: str
    value: Value
    mask: Value | None = None  # all bits

    def __post_init__(self) -> None:
        """Bits of the value that are not loaded count for nothing, and a mask of all bits is none."""
        value, mask = self.value, self.mask
        if isinstance(value, int) and isinstance(mask, int):
            object.__setattr__(self, "value", value & mask)
        elif isinstance(value, bytes) and isinstance(mask, bytes):
            object.__setattr__(self, "value", bytes(a & b for a, b in zip(value, mask, strict=True)))
            object.__setattr__(self, "mask", None if mask == b"\xff" * len(mask) else mask)


@dataclass(frozen=True, slots=True)
class Move:
    """Open vSwitch's extension: ``bits`` bits of one field are copied to another; bit 0 is the lowest."""

    source: str
    destination: str
    bits: int
    source_bit: int = 0
    destination_bit: int = 0


class Nat(NamedTuple):
    """How the connection tracker translates a connection that begins: to an address of a range."""

    source: bool  # the source of its packets, or their destination
    first: bytes
    last: bytes  # as ``first``: exactly that address
    port: int = 0  # exactly this port, too; 0: the same as before if that is free, and else any other


@dataclass(frozen=True, slots=True)
class Track:
    """Open vSwitch's extension, ``ct``: the packet is looked up in the connection tracker.

    With ``table`` it goes on in that table, where ``ct_state`` and ``ct_label`` are what was found; in a rule, that is
    a packet of its own (recirculation).  The actions behind this one have the packet's translated frame, but they see
    its fields as they were before, and nothing of what was found.
    """

    zone: int
    table: int | None = None
    commit: bool = False  # a connection that is not known is remembered from now on
    translate: bool = False  # a packet of a known connection is translated as that is
    nat: Nat | None = None  # the translation of a connection that is committed; implies ``translate``
    label: bytes | None = None  # with ``commit``: ct_label of the connection from now on
    mark: int | None = None  # likewise, its ct_mark

    def __post_init__(self) -> None:
        if self.nat:  # written either way, it is the same action
            object.__setattr__(self, "translate", True)


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that ``codec`` never writes, in a rule found on a switch: such a rule equals none of ours."""


Action: TypeAlias = (
    SetField | DecTtl | PopVlan | Output | ToGroup | FinTimeout | ForgetInPort
    | CheckSize | Copy | Resubmit | Load | Move | Track | Unread
)

# Bits of ``ct_state``: of a connection that begins; known in both directions; about another one (an ICMP error); in the
# direction of replies; not of any connection; looked up at all; its source is translated, its destination is.
CT_NEW, CT_ESTABLISHED, CT_RELATED, CT_REPLY, CT_INVALID, CT_TRACKED, CT_SNAT, CT_DNAT = (1 << bit for bit in range(8))

UNREAD = "unread"  # the name of a field that holds a whole match as bytes: one that ``codec`` never writes


# ------------------------------------------------------------------------------ entries

RuleKey: TypeAlias = tuple[int, int, Match]  # table, priority, match


@dataclass(frozen=True, slots=True)
class FlowRule:
    """One flow entry.  Instructions are fixed in order: meter, apply-actions, goto."""

    table: int
    priority: int
    match: Match
    cookie: int
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    meter: int | None = None
    idle_timeout: int = 0  # seconds, 0 = never
    notify: bool = False  # OFPFF_SEND_FLOW_REM: the switch reports that the entry is gone
    hard_timeout: int = 0  # seconds, 0 = never: so long after it was put, used or not

    @property
    def key(self) -> RuleKey:
        return self.table, self.priority, self.match


class Bucket(NamedTuple):
    weight: int
    actions: tuple[Action, ...]


@lru_cache(1 << 15)
def one_object(bucket: Bucket) -> Bucket:
    """The same object for equal buckets, so that groups with many of them are compared quickly."""
    return bucket


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A select group: buckets, of which the switch chooses one per flow (M10); or an indirect one, with one bucket."""

    number: int
    buckets: tuple[Bucket, ...]
    indirect: bool = False


@dataclass(frozen=True, slots=True)
class MeterRule:
    """Drops packets beyond ``rate`` per second and ``burst`` at once."""

    number: int
    rate: int
    burst: int


# ------------------------------------------------------------------------------ messages


class AddFlow(NamedTuple):
    rule: FlowRule


class PutBinding(NamedTuple):
    """Add the rule of one direction of a binding: AddFlow(entries.binding(self)), but built only if needed.

    This is the message of the first-packet path, which ``templates`` packs fast.
    """

    binding: Binding
    half: Half  # OUT or IN
    idle_timeout: int  # seconds, 0 = never
    fin_timeout: int  # seconds, 0 = none; never without an idle timeout
    marks: bool = False  # reg0 := 1, so that FIN and RST of its packets are not reported


class RemoveBinding(NamedTuple):
    """Delete, strictly, the rule that ``put`` added."""

    put: PutBinding


class DeleteFlow(NamedTuple):
    """Strict: the entry with exactly this rule's table, priority and match."""

    rule: FlowRule


class DeleteCookie(NamedTuple):
    """All entries with exactly this cookie, in all tables: rules of other programs."""

    cookie: int


class DeleteEverything(NamedTuple):
    """All entries in all tables, and all groups: for a switch that does not list its rules."""


class SetGroup(NamedTuple):
    group: GroupRule
    exists: bool  # modify instead of add


class DeleteGroup(NamedTuple):
    number: int


class SetMeter(NamedTuple):
    meter: MeterRule
    exists: bool


class DeleteMeter(NamedTuple):
    number: int


class PacketOut(NamedTuple):
    """Apply ``actions`` to ``frame``; Output(OFPP_TABLE) sends it through the pipeline."""

    frame: bytes
    in_port: int
    actions: tuple[Action, ...]


class BeginConnection(NamedTuple):
    """A first packet, on its way with the connection that is committed for it: one packet-out (M13).

    From the client H' to K (``core.tracked_address``), translated to exactly ``translated``; then it goes on in table
    TRACKED_OUT.
    """

    frame: bytes
    inside: bytes  # H', by which the tracker knows the client and the service address (``core.tracked_address``)
    anycast: bytes  # ANY
    translated: bytes  # PR1X
    server: bytes | None  # ASg, of a flow that is revived
    zone: int
    port: int = 0  # the source port behind the translation, which is to be no other; 0 without ports
    in_port: int = OFPP_CONTROLLER  # the client's, if known


class EndConnection(NamedTuple):
    """The tracker forgets one connection, given as its first packet was before its translation.

    ``source_port``, ``destination_port``: of ICMP the identifier, and type and code of the request; 0 without ports.
    """

    zone: int
    source: bytes
    destination: bytes
    protocol: int
    source_port: int
    destination_port: int


class ReportExpired(NamedTuple):
    """Should the switch send packets whose TTL has expired to the controller?  No meter limits them."""

    wanted: bool


class Barrier(NamedTuple):
    """All messages before it are processed before any that follow; then the switch replies.

    ``ticket``: 1 to 2**31 − 1, identifies the reply; 0: the reply is ignored.
    """

    ticket: int = 0


Message: TypeAlias = (
    AddFlow
    | PutBinding
    | RemoveBinding
    | DeleteFlow
    | DeleteCookie
    | DeleteEverything
    | SetGroup
    | DeleteGroup
    | SetMeter
    | DeleteMeter
    | PacketOut
    | BeginConnection
    | EndConnection
    | ReportExpired
    | Barrier
)


# ------------------------------------------------------------------------------ shared pieces


def eth_type(v6: bool) -> Field:
    return Field("eth_type", ETH_IPV6 if v6 else ETH_IPV4)


def source_in(prefix: Prefix) -> Field | None:
    return within("ipv6_src" if prefix.is_v6 else "ipv4_src", prefix)


def destination_in(prefix: Prefix) -> Field | None:
    return within("ipv6_dst" if prefix.is_v6 else "ipv4_dst", prefix)


def within(name: str, prefix: Prefix) -> Field | None:
    """None: any address is."""
    if prefix.length == 0:
        return None
    return Field(name, prefix.network, None if prefix.length == prefix.bits else prefix.mask)
