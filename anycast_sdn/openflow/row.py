"""The parts of the pipeline's declaration: its tables, the kinds of its rows, and what a row says."""

from __future__ import annotations

import enum
from typing import NamedTuple

from anycast_sdn.openflow.meters import Meter
from anycast_sdn.openflow.rules import (
    PORT_FIELDS,
    Action,
    CheckSize,
    DecTtl,
    FinTimeout,
    Output,
    Resubmit,
    SetField,
)


class Table(enum.IntEnum):
    INGRESS = 0
    CLIENT_OUT = 1
    SERVICE = 2
    CLIENT_IN = 3
    ROUTES = 4
    EGRESS = 5
    # Those of a client edge inside the connection tracker (Open vSwitch), see ``engines.conntrack``.
    TRACK_OUT = 6
    TRACKED_OUT = 7
    TRACKED_IN = 8
    PIN = 9
    RESTORE_IN = 10


class Kind(enum.IntEnum):
    """The row that a rule belongs to; bits 40–47 of its cookie."""

    FROM_CONTROLLER = 1
    ARP = 2
    ND = 3
    ANYCAST_SOURCE = 4
    FROM_FABRIC = 5
    FROM_HOST = 6
    LINK_LOCAL = 7
    WRONG_SOURCE = 8
    NOT_IP = 9
    LLDP = 10
    LLDP_FROM_HOST = 11
    FROM_UPLINK = 12
    OWN_SOURCE = 13
    LLDP_ELSE = 14
    TAGGED = 15
    BINDING_OUT_UNANSWERED = 16
    BINDING_OUT = 17
    FIRST_PACKET = 18
    UNAUTHORISED = 19
    OUT_ELSE = 20
    STILL_TAGGED = 21
    PROHIBITED = 22
    SYN = 23
    LOOPED = 24
    CLIENT_ERROR = 26
    SPOILED = 27
    CONTROLLER_ANSWERS = 28
    GATEWAY_ASKED = 29
    GATEWAY_ANSWER = 30
    SERVICE = 32
    SERVICE_ELSE = 33
    SERVICE_FRAGMENT_UDP = 34
    SERVICE_FRAGMENT = 35
    SERVICE_ALONE = 41
    BINDING_IN = 48
    ICMP_ERROR = 49
    FIRST_REPLY = 50
    UNKNOWN_TRANSLATED = 51
    IN_ELSE = 52
    GATEWAY = 64
    HOST = 65
    UNRESOLVED = 66
    ROUTE = 67
    NO_ROUTE = 68
    EGRESS_ROUTE = 69
    MARTIAN = 70
    NO_ROUTE_HERE = 71
    CHECK_ANSWER = 73
    GATEWAY_HERE = 80
    UNRESOLVED_HERE = 81
    TOO_LARGE = 96
    FITS = 97
    EGRESS_ELSE = 98
    TCP_END = 72
    # A client edge inside the connection tracker
    TO_TRACKER = 104
    TRACK_OUT = 105
    TRACK_OUT_ELSE = 106
    TRACKED_OUT_UNANSWERED = 107
    TRACKED_OUT = 108
    UNTRACKED = 109
    TRACKED_OUT_ELSE = 110
    TRACK_IN = 111
    TRACKED_IN = 112
    TRACKED_IN_ELSE = 113
    PINNED_REPLY = 114
    MEMBER_REPLY = 115
    PIN_ELSE = 116
    RESTORE_IN = 117
    RESTORE_IN_ELSE = 118
    TRACK_OUT_UDP = 119
    TRACK_IN_UDP = 120
    MEMBER_REPLY_UDP = 121
    CONNECTION_FOUND = 122
    CONNECTION_MISSING = 123
    UNTRACKED_REPLY = 140
    CONTROLLER_LIVES = 99
    REPORT = 100
    ALLOCATE = 102
    NOT_ALLOCATED = 37
    OTHER_NUMBERS = 36
    REPORT_NEW = 38
    BEGUN = 39
    NOT_BEGUN = 40
    # The same, fragments
    FRAGMENT_RESTORED = 82
    FRAGMENT_RESTORE_ELSE = 83
    FRAGMENT_OUT = 84
    FRAGMENT_TRACKED_OUT = 85
    FRAGMENT_UNTRACKED = 86
    FRAGMENT_OUT_ELSE = 87
    FRAGMENT_OTHER_ZONE_OUT = 88
    FRAGMENT_TRACK_OUT = 89
    FRAGMENT_IN = 90
    FRAGMENT_TRACK_IN = 91
    FRAGMENT_TRACKED_IN = 92
    FIRST_FRAGMENT_IN = 93
    FRAGMENT_IN_ELSE = 94
    FRAGMENT_OTHER_ZONE_IN = 95
    # Of whole clients: the numbers of the same rules of single flows, and one bit more (``cookies_of``).
    WHOLE_OUT_UNANSWERED = BINDING_OUT_UNANSWERED | 128
    WHOLE_OUT = BINDING_OUT | 128
    WHOLE_IN = BINDING_IN | 128


class Row(NamedTuple):
    """One kind of rule.

    ``spread``: the prefix length is added to the priority, for longest match.  ``untags``: each rule has a twin of the
    next higher priority for the same packets with a priority tag, which it removes.  ``resubmit``: the table that its
    ``Resubmit`` looks packets up in; ``tracked``: the table where its ``Track`` lets packets go on.
    """

    kind: Kind
    table: Table
    priority: int
    fields: frozenset[str]
    matches: str  # these three in words, for docs/pipeline.md
    does: str
    why: str
    goto: Table | None = None
    resubmit: Table | None = None
    tracked: Table | None = None
    meter: Meter | None = None
    actions: tuple[type[Action], ...] = ()
    sets: frozenset[str] = frozenset()
    copies: tuple[Meter, ...] = ()  # the meters of its copies to the controller
    spread: int = 0
    counter: str = ""  # the name under which packets that end at this row are counted
    untags: bool = False
    answers: bool = False  # the controller has asked for these packets: no meter limits them

    @property
    def to_controller(self) -> bool:
        """Do its rules send packets to the controller, and not only copies?"""
        return Output in self.actions and (self.meter is not None or self.answers)


# ------------------------------------------------------------------------------ what several rows have in common

SOURCE = frozenset({"eth_type", "ipv4_src", "ipv6_src"})
DESTINATION = frozenset({"eth_type", "ipv4_dst", "ipv6_dst"})
FLOW = (
    SOURCE
    | DESTINATION
    | {"ip_proto", *(name for names in PORT_FIELDS.values() for name in names)}
    | {"icmpv4_type", "icmpv6_type"}
)
SET_SOURCE = frozenset({"ipv4_src", "ipv6_src"})
SET_BOTH = SET_SOURCE | {"ipv4_dst", "ipv6_dst"}
MARK = frozenset({"reg0"})
SET_MACS = frozenset({"eth_src", "eth_dst"})
IN_PORT = frozenset({"in_port"})
NEIGHBOUR = frozenset({
    "eth_type", "arp_op", "arp_spa", "arp_tpa", "ip_proto", "icmpv6_type", "ipv6_src", "ipv6_nd_target", "reg8"
})  # fmt: skip
SET_NEIGHBOUR = SET_MACS | {
    "arp_op", "arp_sha", "arp_tha", "arp_spa", "arp_tpa",
    "ipv6_src", "ipv6_dst", "nd_options_type", "ipv6_nd_tll", "nd_reserved",
}  # fmt: skip
STATE = frozenset({"eth_type", "ct_state"})
NEW = IN_PORT | STATE | {"ct_zone", "reg2", "reg8"}  # outward: reg2: was it tried; reg8: does the controller live
NEW_TO_CONTROLLER = IN_PORT | STATE | {"ct_zone", "reg8", "ct_mark"}
UDP_FRAGMENT = frozenset({"eth_type", "ip_proto", "ip_frag"})
OTHER_ZONE = STATE | {"ip_frag", "ct_zone"}
ANYCAST_OUT = frozenset({"reg4", "xxreg1"})  # outward: ANY
SERVER_IN = frozenset({"reg4", "reg5", "reg6", "reg7"})  # inward: the server; in IPv4 the first of them
GROUP_IN = frozenset({"reg8", "reg9", "reg10", "reg11"})  # xxreg2
ANYCAST_IN = frozenset({"reg12", "xxreg3"})  # inward: ANY
TWINS_FIELDS = frozenset({"vlan_vid"})
BINDING: tuple[type[Action], ...] = (SetField, FinTimeout)
PUNT: tuple[type[Action], ...] = (Output,)
WHOLE: tuple[type[Action], ...] = (SetField,)
SEND: tuple[type[Action], ...] = (SetField, DecTtl, Output, CheckSize, Resubmit)
