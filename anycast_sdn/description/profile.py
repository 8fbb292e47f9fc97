"""Profiles: what a make of switch does not do, or not as OpenFlow 1.3.5 says, in the terms of OpenFlow.

The simulated switch and the testbed's proxy in front of Open vSwitch play a switch by its profile: everything that a
profile does not mention works.  ``profiles`` has those of real families, ``profile_sections`` how one is written in a
file.  The controller itself knows nothing of profiles: it has to find out what a switch can do.

Names are those of OpenFlow 1.3.5 in small letters, without the prefix of their kind: ``dec_nw_ttl`` is
OFPAT_DEC_NW_TTL, ``send_flow_rem`` OFPFF_SEND_FLOW_REM, ``ipv6_src`` OFPXMT_OFB_IPV6_SRC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

# OF 1.3.5 §7.2.3.7, by number; all other classes are EXPERIMENTER.
MATCH_FIELDS = (
    "in_port", "in_phy_port", "metadata", "eth_dst", "eth_src", "eth_type", "vlan_vid", "vlan_pcp", "ip_dscp", "ip_ecn",
    "ip_proto", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst",
    "icmpv4_type", "icmpv4_code", "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ipv6_src", "ipv6_dst",
    "ipv6_flabel", "icmpv6_type", "icmpv6_code", "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll", "mpls_label",
    "mpls_tc", "mpls_bos", "pbb_isid", "tunnel_id", "ipv6_exthdr",
)  # fmt: skip
EXPERIMENTER = "experimenter"
ACTIONS: Mapping[int, str] = {  # §7.2.5
    0: "output", 11: "copy_ttl_out", 12: "copy_ttl_in", 15: "set_mpls_ttl", 16: "dec_mpls_ttl", 17: "push_vlan",
    18: "pop_vlan", 19: "push_mpls", 20: "pop_mpls", 21: "set_queue", 22: "group", 23: "set_nw_ttl", 24: "dec_nw_ttl",
    25: "set_field", 26: "push_pbb", 27: "pop_pbb", 0xFFFF: EXPERIMENTER,
}  # fmt: skip
INSTRUCTIONS: Mapping[int, str] = {  # §7.2.4
    1: "goto_table", 2: "write_metadata", 3: "write_actions", 4: "apply_actions", 5: "clear_actions", 6: "meter",
    0xFFFF: EXPERIMENTER,
}  # fmt: skip
PORTS: Mapping[int, str] = {  # §7.2.1: reserved ones, as the port of an output
    0xFFFFFFF8: "in_port", 0xFFFFFFF9: "table", 0xFFFFFFFA: "normal", 0xFFFFFFFB: "flood", 0xFFFFFFFC: "all",
    0xFFFFFFFD: "controller", 0xFFFFFFFE: "local",
}  # fmt: skip
GROUPS: Mapping[int, str] = {0: "all", 1: "select", 2: "indirect", 3: "ff"}  # §7.3.4.2
FAMILIES: Mapping[int, int] = {0x0800: 4, 0x86DD: 6}  # by the eth_type that a rule matches
FLAGS: Mapping[int, str] = {  # of a flow-mod, §7.3.4.1
    1: "send_flow_rem", 2: "check_overlap", 4: "reset_counts", 8: "no_pkt_counts", 16: "no_byt_counts"
}  # fmt: skip
MESSAGES: Mapping[int, str] = {  # what controllers send, §7.1.1
    2: "echo_request", 4: EXPERIMENTER, 7: "get_config_request", 9: "set_config", 13: "packet_out", 14: "flow_mod",
    15: "group_mod", 16: "port_mod", 17: "table_mod", 18: "multipart_request", 20: "barrier_request",
    22: "queue_get_config_request", 24: "role_request", 26: "get_async_request", 28: "set_async", 29: "meter_mod",
}  # fmt: skip
ANSWERED = (  # of these, those that have a reply, which may be late; and multipart requests, by their own names
    "echo_request", "get_config_request", "barrier_request", "queue_get_config_request", "role_request",
    "get_async_request",
)  # fmt: skip
MULTIPARTS: Mapping[int, str] = {  # §7.3.5
    0: "desc", 1: "flow", 2: "aggregate", 3: "table", 4: "port_stats", 5: "queue", 6: "group", 7: "group_desc",
    8: "group_features", 9: "meter", 10: "meter_config", 11: "meter_features", 12: "table_features", 13: "port_desc",
    0xFFFF: EXPERIMENTER,
}  # fmt: skip
TIMEOUTS = ("idle", "hard")
# Kinds of elements: the fields of ``Elements`` that hold names, each with its names.
NAMES: Mapping[str, tuple[str, ...]] = {
    "match": (*MATCH_FIELDS, EXPERIMENTER),
    "masks": (*MATCH_FIELDS, EXPERIMENTER),
    "set": (*MATCH_FIELDS, EXPERIMENTER),
    "actions": tuple(ACTIONS.values()),
    "bucket_actions": tuple(ACTIONS.values()),
    "instructions": tuple(INSTRUCTIONS.values()),
    "ports": tuple(PORTS.values()),
    "groups": tuple(GROUPS.values()),
    "flags": tuple(FLAGS.values()),
    "timeouts": TIMEOUTS,
    "messages": tuple(MESSAGES.values()),
    "multipart": tuple(MULTIPARTS.values()),
}
Kind = Literal[
    "match", "masks", "set", "actions", "bucket_actions", "instructions", "ports", "groups", "flags", "timeouts",
    "messages", "multipart", "tables",
]  # fmt: skip
Wrong = Literal["icmpv6_checksum", "lldp", "cookies", "statistics", "replacing", "sizes"]
SAID = 10
ALL_TABLES = 254  # as many as there are numbers for
QUOTED = 64  # bytes of a refused message, at least, OF 1.3.5 §7.4.4


class OpenFlowError(NamedTuple):
    """What a switch answers (OF 1.3.5 §7.4.4)."""

    type: int
    code: int


ERRORS: Mapping[Kind, OpenFlowError] = {  # of what is refused, by its kind
    "match": OpenFlowError(4, 6),  # bad match: field
    "masks": OpenFlowError(4, 8),  # bad match: mask
    "set": OpenFlowError(2, 13),  # bad action: type of a set-field
    "actions": OpenFlowError(2, 0),  # bad action: type
    "bucket_actions": OpenFlowError(2, 0),
    "instructions": OpenFlowError(3, 1),  # bad instruction: unsupported
    "ports": OpenFlowError(2, 4),  # bad action: port of an output
    "groups": OpenFlowError(6, 10),  # group-mod failed: type
    "flags": OpenFlowError(5, 7),  # flow-mod failed: flags
    "timeouts": OpenFlowError(5, 5),  # flow-mod failed: timeout
    "messages": OpenFlowError(1, 1),  # bad request: type
    "multipart": OpenFlowError(1, 2),  # bad request: multipart
    "tables": OpenFlowError(5, 2),  # flow-mod failed: table id
}
GOTO_NOWHERE = OpenFlowError(3, 2)  # bad instruction: table id
TABLE_FULL = OpenFlowError(5, 1)
OUT_OF_GROUPS = OpenFlowError(6, 3)
OUT_OF_METERS = OpenFlowError(12, 10)
NO_ROLES = OpenFlowError(11, 1)  # role request failed: unsupported
BAD_EXPERIMENTER = OpenFlowError(1, 3)


class Place(NamedTuple):
    """Where an element stands."""

    table: int | None = None  # of the rule; None: the message is no rule
    family: int | None = None  # 4 or 6, of packets that the rule matches; None: of both, or the message is no rule


NO_RULE = Place()


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements of messages, by their kinds.  A message has this in common with it if it has one of them.

    ``match``: fields that rules match; ``masks``: the same, under a mask, also that of a prefix; ``set``: fields that
    actions set; ``bucket_actions``: those in the buckets of groups; ``ports``: reserved ports of outputs.
    ``tables``: only rules there are meant; none: rules everywhere, and other messages.  ``family``: only rules that
    match packets of IPv4, or of IPv6; None: all.
    """

    match: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    bucket_actions: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    timeouts: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    multipart: tuple[str, ...] = ()
    tables: tuple[int, ...] = ()
    family: int | None = None

    def has(self, kind: Kind, name: str, place: Place) -> bool:
        if (self.tables and place.table not in self.tables) or self.family not in (None, place.family):
            return False
        return name in getattr(self, kind)


@dataclass(frozen=True, slots=True)
class Late:
    """A reply that comes later than it should; what the switch does meanwhile is not held up."""

    message: str  # the request's name, of ``MESSAGES`` or ``MULTIPARTS``
    seconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One make of switch.

    ``refuse``: answered with an error, and not done; ``ignore``: not answered, not done, and nothing is said: what a
    rule has of it is left out, and listed nevertheless, but for timeouts; ``close``: the switch ends its connection
    there.

    ``wrong``: accepted, and done in another way.  ``icmpv6_checksum``: of packets whose address was set (the proxy can
    show that in packets to the controller alone); ``lldp``: such frames never reach the controller; ``cookies``: 0 in
    all that the switch says; ``statistics``: all counters are 0; ``replacing``: of rules that replace one of the same
    match and priority, every third is lost, with the one that it replaces; ``sizes``: it says that each table has room
    for ``SAID`` rules, whatever is true.
    """

    name: str = ""
    source: str = ""  # the documents after which it is made
    manufacturer: str = "anycast-sdn"  # as the switch describes itself (OFPMP_DESC)
    hardware: str = "a switch after a profile"
    software: str = ""
    tables: int = ALL_TABLES
    numbered: tuple[int, ...] = ()  # the numbers of its tables, where they are not those from 0 on
    refuse: tuple[Elements, ...] = ()
    ignore: tuple[Elements, ...] = ()
    close: tuple[Elements, ...] = ()
    late: tuple[Late, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    quoted: int = QUOTED  # bytes of a refused message that an error has of it
    rules: int | None = None  # so many have room in each table; None: no limit
    all_rules: int | None = None  # in all tables together
    groups: int | None = None
    meters: int | None = None

    @property
    def said_rules(self) -> int | None:
        """For how many rules it says that each table has room; None: as many as there are."""
        return SAID if "sizes" in self.wrong else self.rules

    def has_table(self, number: int) -> bool:
        return number in self.numbered if self.numbered else number < self.tables

    def refuses(self, kind: Kind, name: str, place: Place = NO_RULE) -> bool:
        return _any_has(self.refuse, kind, name, place)

    def ignores(self, kind: Kind, name: str, place: Place = NO_RULE) -> bool:
        return _any_has(self.ignore, kind, name, place)

    def closes_at(self, kind: Kind, name: str, place: Place = NO_RULE) -> bool:
        return _any_has(self.close, kind, name, place)

    def lateness_s(self, message: str) -> float:
        return sum(late.seconds for late in self.late if late.message == message)


ALL_OF_OPENFLOW = Profile()


def _any_has(several: Collection[Elements], kind: Kind, name: str, place: Place) -> bool:
    return any(elements.has(kind, name, place) for elements in several)


def error_of(kind: Kind, name: str) -> OpenFlowError:
    """What a switch says that refuses such an element."""
    if (kind, name) == ("messages", "role_request"):
        return NO_ROLES
    if (kind, name) == ("messages", EXPERIMENTER):
        return BAD_EXPERIMENTER
    return ERRORS[kind]
