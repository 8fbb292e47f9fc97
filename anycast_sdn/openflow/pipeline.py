"""The pipeline, declared once as data: which rules may exist, in which table, and why.

Every rule that this project installs belongs to one ``Row``, and carries the row's kind in its cookie.  So a packet-in
or a flow-removed message names the row, a dump of a switch can be read back, and ``check`` refuses a rule that no row
allows.  docs/pipeline.md is printed from the same rows (``as_markdown``).

Tables are traversed upwards.  Every switch has all of them, whatever its role: the table of a role that it does not
have holds only the rule that goes on to the next.  They are logical tables: the switch's
``layout`` says which of its tables carries each.

    0 ingress → 1 client edge, out → 2 server edge → 3 client edge, in → 4 routes → 5 egress

The last one is for ports only whose link takes smaller packets than hosts send.  The further ones are those of a
client edge inside Open vSwitch's connection tracker (``engines.conntrack``); packets come from there back to these.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from anycast_sdn.core.bindings import Half, State
from anycast_sdn.core.model import AnycastError
from anycast_sdn.openflow.meters import PER_PORT, Meter, fits
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    PORT_FIELDS,
    Action,
    CheckSize,
    Copy,
    DecTtl,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    Load,
    Move,
    Output,
    PopVlan,
    Resubmit,
    SetField,
    ToGroup,
    Track,
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
    SERVICE = 32
    SERVICE_ELSE = 33
    SERVICE_FRAGMENT_UDP = 34
    SERVICE_FRAGMENT = 35
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


class Undeclared(AnycastError):
    """A rule that no row of the pipeline allows: a bug of ours."""


_SOURCE = frozenset({"eth_type", "ipv4_src", "ipv6_src"})
_DESTINATION = frozenset({"eth_type", "ipv4_dst", "ipv6_dst"})
_FLOW = (
    _SOURCE
    | _DESTINATION
    | {"ip_proto", *(name for names in PORT_FIELDS.values() for name in names)}
    | {"icmpv4_type", "icmpv6_type"}
)
_SET_SOURCE = frozenset({"ipv4_src", "ipv6_src"})
_SET_BOTH = _SET_SOURCE | {"ipv4_dst", "ipv6_dst"}
_MARK = frozenset({"reg0"})
_SET_MACS = frozenset({"eth_src", "eth_dst"})
_IN_PORT = frozenset({"in_port"})
_STATE = frozenset({"eth_type", "ct_state"})
_NEW = _IN_PORT | _STATE | {"ct_zone", "reg2", "reg8"}  # outward: reg2: was it tried; reg8: does the controller live
_NEW_TO_CONTROLLER = _IN_PORT | _STATE | {"ct_zone", "reg8", "ct_mark"}
_UDP_FRAGMENT = frozenset({"eth_type", "ip_proto", "ip_frag"})
_OTHER_ZONE = _STATE | {"ip_frag", "ct_zone"}
_ANYCAST_OUT = frozenset({"reg4", "xxreg1"})  # outward: ANY
_SERVER_IN = frozenset({"reg4", "reg5", "reg6", "reg7"})  # inward: the server; in IPv4 the first of them
_GROUP_IN = frozenset({"reg8", "reg9", "reg10", "reg11"})  # xxreg2
_ANYCAST_IN = frozenset({"reg12", "xxreg3"})  # inward: ANY


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


_TWINS_FIELDS = frozenset({"vlan_vid"})
_BINDING: tuple[type[Action], ...] = (SetField, FinTimeout)
_PUNT: tuple[type[Action], ...] = (Output,)
_WHOLE: tuple[type[Action], ...] = (SetField,)
_SEND: tuple[type[Action], ...] = (SetField, DecTtl, Output, CheckSize, Resubmit)

ROWS: tuple[Row, ...] = (
    # ---- 0 ingress
    Row(Kind.TAGGED, Table.INGRESS, 950, frozenset({"vlan_vid", "eth_type"}),
        "a tag of a VLAN, or two tags, from any port", "drop",
        "no port is a member of a VLAN; fields behind a tag would match as if there were none", counter="tagged"),
    Row(Kind.SPOILED, Table.INGRESS, 920, _DESTINATION | {"ip_proto", "ip_frag"},
        "IPv4 fragment of TCP or UDP, not the first of its packet; destination in an ANY/m or in PRh/k", "drop",
        "where an edge would spoil it: when userspace Open vSwitch sets an address, it changes two bytes of data, too, "
        "as if they were a checksum.  TCP alone where the connection tracker translates those of UDP",
        counter="spoiled_fragment"),
    Row(Kind.FROM_CONTROLLER, Table.INGRESS, 900, _IN_PORT, "packets that the controller makes",
        "→ client edge, out", "they take the same path as any packet; one that comes back is recognised",
        Table.CLIENT_OUT),
    Row(Kind.LLDP_FROM_HOST, Table.INGRESS, 850, _IN_PORT | {"eth_type"}, "LLDP from a host port or an uplink",
        "drop", "hosts must not influence which links there are", counter="lldp_from_host"),
    Row(Kind.LLDP, Table.INGRESS, 800, _IN_PORT | {"eth_type"}, "LLDP from a port to another switch",
        "to the controller", "link discovery", meter=Meter.LINK, actions=_PUNT),
    Row(Kind.LLDP_ELSE, Table.INGRESS, 750, frozenset({"eth_type"}), "LLDP from any other port", "to the controller",
        "link discovery; a flood there does not crowd out the declared links", meter=Meter.LLDP, actions=_PUNT),
    Row(Kind.ARP, Table.INGRESS, 800, _IN_PORT | {"eth_type"}, "ARP from a host port or an uplink",
        "to the controller", "hosts are learned, gateways answer, nothing is flooded",
        meter=Meter.NEIGHBOURS, actions=_PUNT),
    Row(Kind.ND, Table.INGRESS, 800, _IN_PORT | {"eth_type", "ip_proto", "icmpv6_type"},
        "neighbour solicitation or advertisement from a host port or an uplink", "to the controller",
        "as ARP, for IPv6", meter=Meter.NEIGHBOURS, actions=_PUNT),
    Row(Kind.ANYCAST_SOURCE, Table.INGRESS, 700, _IN_PORT | _SOURCE,
        "source in an ANY/m, from a host port or an uplink", "drop",
        "M22: no anycast source address enters the network", counter="anycast_source"),
    Row(Kind.OWN_SOURCE, Table.INGRESS, 650, _IN_PORT | _SOURCE,
        "source in a subnet or a PRh/k of this switch, from an uplink", "drop",
        "spoofed: these addresses are inside, and the packet would look like a client's", counter="own_source"),
    Row(Kind.FROM_FABRIC, Table.INGRESS, 600, _IN_PORT | {"eth_type"}, "IP from another switch",
        "in_port := none → client edge, out",
        "its source was checked where it entered; while routes change, it may have to go back by the same port",
        Table.CLIENT_OUT, actions=(ForgetInPort,), untags=True),
    Row(Kind.FROM_HOST, Table.INGRESS, 500, _IN_PORT | _SOURCE, "source in a subnet of the host port",
        "→ client edge, out", "M1: ordinary unicast addresses", Table.CLIENT_OUT, untags=True),
    Row(Kind.LINK_LOCAL, Table.INGRESS, 400, _IN_PORT | _SOURCE,
        "link-local or unspecified source, from a host port or an uplink", "drop",
        "MLD, mDNS, DHCP and the like are not routed; counted apart from spoofed sources",
        counter="link_local"),
    Row(Kind.FROM_UPLINK, Table.INGRESS, 300, _IN_PORT | {"eth_type"}, "any other IP from an uplink",
        "→ client edge, out", "transit; a router forwards packets from any source", Table.CLIENT_OUT, untags=True),
    Row(Kind.WRONG_SOURCE, Table.INGRESS, 100, _IN_PORT | {"eth_type"}, "any other IP from a host port",
        "drop", "a source that does not belong to its port's subnet", counter="wrong_source"),
    Row(Kind.NOT_IP, Table.INGRESS, 0, frozenset(), "anything else", "drop", "neither IP nor ARP nor LLDP",
        counter="not_ip"),
    # ---- 1 client edge, out
    Row(Kind.STILL_TAGGED, Table.CLIENT_OUT, 950, frozenset({"vlan_vid"}),
        "a second tag, behind the one that was removed", "drop",
        "a switch may read the fields behind all tags", counter="tagged_twice"),
    Row(Kind.CLIENT_ERROR, Table.CLIENT_OUT, 942, _IN_PORT | _DESTINATION | {"ip_proto", "icmpv4_type", "icmpv6_type"},
        "ICMP error, destination in an ANY/m that hosts of the port may use", "to the controller",
        "RFC 5508 REQ-5: translated together with the packet it quotes", meter=Meter.FIRST_PACKETS, actions=_PUNT),
    Row(Kind.WHOLE_OUT_UNANSWERED, Table.CLIENT_OUT, 940, _SOURCE | _DESTINATION,
        "H and ANY of a client that is bound as a whole, no server yet", "source := PR1X, reg0 := 1 → server edge",
        "M31: whatever it sends, a SYN, too; reg0 says that nobody waits for its FIN and RST (Open vSwitch)",
        Table.SERVICE, actions=_WHOLE, sets=_SET_SOURCE | _MARK),
    Row(Kind.WHOLE_OUT, Table.CLIENT_OUT, 940, _SOURCE | _DESTINATION, "H and ANY of a client that is bound as a whole",
        "source := PR1X, destination := ASg, reg0 := 1 → server edge", "M31, M20",
        Table.SERVICE, actions=_WHOLE, sets=_SET_BOTH | _MARK),
    Row(Kind.SYN, Table.CLIENT_OUT, 930, _IN_PORT | _SOURCE | _DESTINATION | {"ip_proto", "tcp_flags"},
        "source in a subnet of the port, destination in an ANY/m that its hosts may use, TCP SYN", "to the controller",
        "a first packet, too: the five fields may be those of a connection that has just ended (Open vSwitch)",
        meter=Meter.FIRST_PACKETS, actions=_PUNT),
    Row(Kind.BINDING_OUT_UNANSWERED, Table.CLIENT_OUT, 900, _FLOW, "a binding's five fields, no server yet",
        "source := PR1X → server edge", "M14, before the first reply", Table.SERVICE,
        actions=_BINDING, sets=_SET_SOURCE),
    Row(Kind.BINDING_OUT, Table.CLIENT_OUT, 900, _FLOW, "a binding's five fields",
        "source := PR1X, destination := ASg → server edge", "M14, M20", Table.SERVICE,
        actions=_BINDING, sets=_SET_BOTH),
    Row(Kind.FRAGMENT_OUT, Table.CLIENT_OUT, 925, _IN_PORT | _SOURCE | _DESTINATION | _UDP_FRAGMENT | {"reg2"},
        "as the next row, fragment of UDP over IPv4", "connection tracker → tracked, out",
        "userspace Open vSwitch spoils it when it sets an address; its tracker makes PR1X → ANY of H → ANY",
        actions=(Track,), tracked=Table.TRACKED_OUT),
    Row(Kind.TO_TRACKER, Table.CLIENT_OUT, 920, _IN_PORT | _SOURCE | _DESTINATION | {"reg2"},
        "source in a subnet of the port, destination in an ANY/m that its hosts may use, reg2 = 0", "→ track, out",
        "a client edge inside the connection tracker (Open vSwitch)", goto=Table.TRACK_OUT),
    Row(Kind.FIRST_PACKET, Table.CLIENT_OUT, 500, _IN_PORT | _SOURCE | _DESTINATION,
        "source in a subnet of the port, destination in an ANY/m that its hosts may use", "to the controller",
        "M11, M13: the first packet makes the binding", meter=Meter.FIRST_PACKETS, actions=_PUNT),
    Row(Kind.LOOPED, Table.CLIENT_OUT, 450, _IN_PORT | _SOURCE | _DESTINATION,
        "source in a subnet, destination in an ANY/m that its hosts may use, from the controller", "to the controller",
        "the controller sent it to match a rule, which is not there: installed again, or counted as `looped`",
        meter=Meter.LOOPED, actions=_PUNT),
    Row(Kind.PROHIBITED, Table.CLIENT_OUT, 450, _IN_PORT | _DESTINATION,
        "any other destination in an ANY/m, from a host port", "to the controller",
        "M6: not among the site's services; the sender gets an ICMP error", meter=Meter.REFUSED, actions=_PUNT,
        counter="unauthorised"),
    Row(Kind.UNAUTHORISED, Table.CLIENT_OUT, 400, _SOURCE | _DESTINATION,
        "source in a subnet of this switch, destination in any ANY/m, from elsewhere", "drop",
        "M6: not among the site's services", counter="unauthorised"),
    Row(Kind.OUT_ELSE, Table.CLIENT_OUT, 0, frozenset(), "anything else", "→ server edge", "transit",
        Table.SERVICE),
    # ---- 2 server edge
    Row(Kind.SERVICE_FRAGMENT_UDP, Table.SERVICE, 610, _DESTINATION | _UDP_FRAGMENT,
        "as the next row, UDP over IPv4, where the switch would spoil it",
        "connection tracker: destination := one ASg → restore, in",
        "the tracker sets the address, and spoils nothing; its zone is one for this server (Open vSwitch)",
        actions=(ForgetInPort, Track), tracked=Table.RESTORE_IN),
    Row(Kind.SERVICE_FRAGMENT, Table.SERVICE, 600, _DESTINATION | {"ip_frag"},
        "fragment, destination in the ANY/n of a group with servers here, and with `affinity: client` or behind a "
        "client edge inside the connection tracker",
        "destination := one ASg, MACs, TTL, port; or destination := ASg behind another edge, in_port := none → routes",
        "M31: a select group may give the parts of one packet to several servers, until one of them has answered "
        "(Open vSwitch)", actions=(SetField, DecTtl, Output, Resubmit, ForgetInPort), resubmit=Table.ROUTES,
        sets=_SET_MACS | {"ipv4_dst", "ipv6_dst"}),
    Row(Kind.SERVICE, Table.SERVICE, 500, _DESTINATION,
        "destination in the ANY/n of a group with servers here",
        "select group of 64 slots: destination := ASg, MACs, TTL, port; or destination := ASg behind another edge, "
        "in_port := none → routes (Open vSwitch)",
        "M9, M10, M26: no state per flow; only flows of slots that change move",
        actions=(ToGroup,)),
    Row(Kind.SERVICE_ELSE, Table.SERVICE, 0, frozenset(), "anything else", "→ client edge, in",
        "not for a server here", Table.CLIENT_IN),
    # ---- 3 client edge, in
    Row(Kind.BINDING_IN, Table.CLIENT_IN, 900, _FLOW, "a binding's reply: ASg, PR1X, ports, protocol",
        "source := ANY, destination := H → routes", "M18", Table.ROUTES, actions=_BINDING, sets=_SET_BOTH),
    Row(Kind.ICMP_ERROR, Table.CLIENT_IN, 800,
        _SOURCE | _DESTINATION | {"ip_proto", "icmpv4_type", "icmpv6_type"},
        "ICMP error, destination in PRh/k", "to the controller",
        "RFC 5508 REQ-4: translated together with the packet it quotes",
        meter=Meter.ICMP_ERRORS, actions=_PUNT),
    Row(Kind.WHOLE_IN, Table.CLIENT_IN, 700, _SOURCE | _DESTINATION,
        "ASg and PR1X of a client that is bound as a whole", "source := ANY, destination := H, reg0 := 1 → routes",
        "M31, M18; below ICMP errors, which are translated with what they quote", Table.ROUTES,
        actions=_WHOLE, sets=_SET_BOTH | _MARK),
    Row(Kind.FIRST_REPLY, Table.CLIENT_IN, 500, _SOURCE | _DESTINATION,
        "source an enrolled server, destination in PRh/k", "to the controller",
        "M17: the first reply pins the flow", meter=Meter.FIRST_REPLIES, actions=_PUNT),
    Row(Kind.FRAGMENT_IN, Table.CLIENT_IN, 530, _SOURCE | _DESTINATION | _UDP_FRAGMENT,
        "as the next but one, fragment of UDP over IPv4", "connection tracker → tracked, in",
        "as clients' fragments: ASg → PR1X becomes ANY → PR1X",
        actions=(Track,), tracked=Table.TRACKED_IN),
    Row(Kind.FRAGMENT_TRACK_IN, Table.CLIENT_IN, 520, _SOURCE | _DESTINATION | {"ip_frag"},
        "as the next row, IPv6 fragment", "as the next row",
        "only the first fragment says that it is of UDP; all have to be looked up in the same zone",
        actions=(Load, Track), sets=_ANYCAST_OUT | _SET_SOURCE, tracked=Table.TRACKED_IN),
    Row(Kind.TRACK_IN_UDP, Table.CLIENT_IN, 510, _SOURCE | _DESTINATION | {"ip_proto"},
        "as the next row, UDP", "as the next row, in the zone of UDP", "as there (Open vSwitch)",
        actions=(Load, Track), sets=_ANYCAST_OUT | _SET_SOURCE, tracked=Table.TRACKED_IN),
    Row(Kind.TRACK_IN, Table.CLIENT_IN, 500, _SOURCE | _DESTINATION,
        "source an enrolled server, destination in PRh/k",
        "reg4 := ASg, source := K, connection tracker → tracked, in",
        "M15: a client edge inside the connection tracker (Open vSwitch)",
        actions=(Load, Track), sets=_ANYCAST_OUT | _SET_SOURCE, tracked=Table.TRACKED_IN),
    Row(Kind.UNKNOWN_TRANSLATED, Table.CLIENT_IN, 400, _DESTINATION, "destination in PRh/k", "drop",
        "M16: only packets of enrolled servers reach the controller", counter="unknown_translated"),
    Row(Kind.IN_ELSE, Table.CLIENT_IN, 0, frozenset(), "anything else", "→ routes", "plain unicast",
        Table.ROUTES),
    # ---- 4 routes
    Row(Kind.TCP_END, Table.ROUTES, 960, _IN_PORT | _SOURCE | {"ip_proto", "tcp_flags", "reg0"},
        "TCP with FIN or RST of a binding: source PR1X of this edge, or ANY, and reg0 = 0",
        "a copy to the controller, metered, for clients per port; reg0 := 1 → routes again",
        "addresses of closed and reset connections are free again within seconds (Open vSwitch)",
        actions=(Copy, SetField, Resubmit), resubmit=Table.ROUTES, sets=frozenset({"reg0"}),
        copies=(Meter.ENDS, Meter.CLIENT_ENDS)),
    Row(Kind.CHECK_ANSWER, Table.ROUTES, 955, _IN_PORT | _SOURCE | _DESTINATION,
        "source a server that is checked, from its port, destination its gateway", "to the controller",
        "M33: answers to checks, which the gateway makes; no flood from elsewhere crowds them out",
        meter=Meter.CHECKS, actions=_PUNT),
    Row(Kind.GATEWAY_HERE, Table.ROUTES, 950, _IN_PORT | _DESTINATION,
        "destination an address of this switch, from a host port or an uplink", "to the controller",
        "switches answer ping; a flood at one port does not affect other ports", meter=Meter.CONNECTED, actions=_PUNT),
    Row(Kind.GATEWAY, Table.ROUTES, 900, _DESTINATION, "destination an address of this switch, from elsewhere",
        "to the controller", "switches answer ping", meter=Meter.GATEWAY, actions=_PUNT),
    Row(Kind.HOST, Table.ROUTES, 800, _DESTINATION, "destination a connected host", "MACs, TTL, port",
        "last hop, also back to the port where it came in", actions=(*_SEND, ForgetInPort), resubmit=Table.EGRESS,
        sets=_SET_MACS),
    Row(Kind.UNRESOLVED_HERE, Table.ROUTES, 600, _IN_PORT | _DESTINATION,
        "destination in a connected subnet, from a host port or an uplink", "to the controller",
        "as the next row; a scan at one port does not keep the other ports from resolving hosts",
        meter=Meter.CONNECTED, actions=_PUNT),
    Row(Kind.UNRESOLVED, Table.ROUTES, 400, _DESTINATION, "destination in a connected subnet, from elsewhere",
        "to the controller", "the controller resolves the host (ARP, ND); the packet waits for the answer",
        meter=Meter.UNRESOLVED, actions=_PUNT, spread=128),
    Row(Kind.MARTIAN, Table.ROUTES, 350, _DESTINATION, "destination multicast, loopback, link-local or reserved",
        "drop", "not to be forwarded, not even by a default route (RFC 1812 §5.3.7)", counter="martian"),
    Row(Kind.ROUTE, Table.ROUTES, 200, _DESTINATION,
        "destination in a prefix of another switch; ANY/n towards the nearest edge able to serve it", "TTL, port",
        "M8, M23; a port with an mtu sends through table egress", actions=(DecTtl, Output, CheckSize, Resubmit),
        resubmit=Table.EGRESS, spread=128),
    Row(Kind.EGRESS_ROUTE, Table.ROUTES, 200, _DESTINATION, "destination in a prefix that is reached by an uplink",
        "MACs, TTL, port", "to the router that announces the prefix, or by a static route",
        actions=_SEND, resubmit=Table.EGRESS, sets=_SET_MACS, spread=128),
    Row(Kind.NO_ROUTE_HERE, Table.ROUTES, 100, _IN_PORT, "anything else from a host port or an uplink",
        "to the controller", "no route leads there; the sender gets an ICMP error", meter=Meter.REFUSED, actions=_PUNT,
        counter="no_route"),
    Row(Kind.NO_ROUTE, Table.ROUTES, 0, frozenset(), "anything else", "to the controller",
        "as the previous row, in transit", meter=Meter.UNDELIVERABLE, actions=_PUNT, counter="no_route"),
    # ---- 5 egress
    Row(Kind.TOO_LARGE, Table.EGRESS, 200, _IN_PORT | _SOURCE | {"reg1"}, "larger than the link's mtu (Open vSwitch)",
        "to the controller", "the sender gets an ICMP error: "
        "fragmentation needed, or packet too big (RFC 1191, RFC 8201)",
        meter=Meter.ICMP_ERRORS, actions=_PUNT),  # Open vSwitch counts here what fits, too
    Row(Kind.FITS, Table.EGRESS, 100, _IN_PORT, "anything else for such a port", "port", "it fits",
        actions=(Output,)),
    Row(Kind.EGRESS_ELSE, Table.EGRESS, 0, frozenset(), "anything else", "drop",
        "no packet is sent to this table without such a port", counter="no_egress"),
    # ---- 6 to 10: a client edge inside the connection tracker (Open vSwitch)
    Row(Kind.FRAGMENT_TRACK_OUT, Table.TRACK_OUT, 520, _SOURCE | _DESTINATION | {"ip_frag"},
        "as the next row, IPv6 fragment", "as the next row",
        "only the first fragment says that it is of UDP; all have to be looked up in the same zone",
        actions=(Move, Load, Track), sets=_ANYCAST_OUT | _SET_BOTH | {"reg2"}, tracked=Table.TRACKED_OUT),
    Row(Kind.TRACK_OUT_UDP, Table.TRACK_OUT, 510, _SOURCE | _DESTINATION | {"ip_proto"},
        "as the next row, UDP", "as the next row, in a zone of its own",
        "M19: in Open vSwitch, UDP and protocols without ports have the same timers, except in different zones",
        actions=(Move, Load, Track), sets=_ANYCAST_OUT | _SET_BOTH | {"reg2"}, tracked=Table.TRACKED_OUT),
    Row(Kind.TRACK_OUT, Table.TRACK_OUT, 500, _SOURCE | _DESTINATION,
        "source in a client subnet, destination in the ANY/n of a group",
        "reg4 := ANY, source := H', destination := K, connection tracker → tracked, out; with `affinity: client` "
        "reg2 := 3, too: only the controller chooses PR1X",
        "M13, M14: H' says which client and which ANY, so that the tracker's key has neither ANY nor ASg",
        actions=(Move, Load, Track), sets=_ANYCAST_OUT | _SET_BOTH | {"reg2"}, tracked=Table.TRACKED_OUT),
    Row(Kind.TRACK_OUT_ELSE, Table.TRACK_OUT, 0, frozenset(), "anything else",
        "reg2 := 1 → client edge, out", "no group has this service address: the controller answers",
        actions=(SetField, Resubmit), sets=frozenset({"reg2"}), resubmit=Table.CLIENT_OUT),
    Row(Kind.CONTROLLER_LIVES, Table.TRACKED_OUT, 700, frozenset({"reg8"}), "reg8 = 0",
        "reg8 := 1 → tracked, out again",
        "the controller lives: it puts this rule again and again, which has a hard timeout",
        actions=(SetField, Resubmit), sets=frozenset({"reg8"}), resubmit=Table.TRACKED_OUT),
    Row(Kind.FRAGMENT_TRACKED_OUT, Table.TRACKED_OUT, 800, _STATE | _UDP_FRAGMENT,
        "fragment of UDP over IPv4, translated", "connection tracker, another zone → server edge",
        "M14, M20: PR1X → ANY becomes PR1X → ASg, once a server has answered",
        actions=(Track,), tracked=Table.SERVICE),
    Row(Kind.FRAGMENT_UNTRACKED, Table.TRACKED_OUT, 790, _STATE | _UDP_FRAGMENT,
        "fragment of UDP over IPv4, of no connection", "reg2 := 1 → client edge, out",
        "the controller begins connections for the fragments of a flow when there are any",
        actions=(SetField, Resubmit), sets=frozenset({"reg2"}), resubmit=Table.CLIENT_OUT),
    Row(Kind.FRAGMENT_OUT_ELSE, Table.TRACKED_OUT, 780, _UDP_FRAGMENT | _STATE,
        "any other fragment of UDP over IPv4; any fragment that is invalid, and not translated", "drop",
        "its packet is not complete, or wrong", counter="bad_fragment_out"),
    Row(Kind.REPORT_NEW, Table.TRACKED_OUT, 670, _NEW, "translated, reg2 = 2, reg8 = 1",
        "a copy to the controller, metered; destination := ANY → server edge",
        "the switch has just chosen PR1X by itself: the controller learns of it",
        actions=(Copy, Move, Resubmit), copies=(Meter.REPORTS,), sets=_SET_BOTH, resubmit=Table.SERVICE),
    Row(Kind.REPORT, Table.TRACKED_OUT, 650, _NEW_TO_CONTROLLER, "translated, its mark is 1, reg8 = 1",
        "a copy to the controller, metered; mark := 0, connection tracker → tracked, out again",
        "the switch has chosen PR1X by itself while no controller was there, which learns of it now",
        actions=(Copy, Track), copies=(Meter.REPORTS,), tracked=Table.TRACKED_OUT),
    Row(Kind.TRACKED_OUT_UNANSWERED, Table.TRACKED_OUT, 600, _STATE | {"ct_label"},
        "translated, its connection has no label", "destination := ANY → server edge",
        "M14, before the first reply", actions=(Move, Resubmit), sets=_SET_BOTH, resubmit=Table.SERVICE),
    Row(Kind.OTHER_NUMBERS, Table.TRACKED_OUT, 550, _IN_PORT | _STATE | {"ip_proto"},
        "translated, but not valid, TCP", "as the next row, and a copy to the controller, metered",
        "M20: the tracker was lost, and the connection was put back with made-up sequence numbers",
        actions=(Move, Copy, Resubmit), sets=_SET_BOTH, resubmit=Table.SERVICE, copies=(Meter.CLIENT_ENDS,)),
    Row(Kind.TRACKED_OUT, Table.TRACKED_OUT, 500, _STATE, "translated",
        "destination := label → server edge", "M14, M20: the label of the connection is ASg",
        actions=(Move, Resubmit), sets=_SET_BOTH, resubmit=Table.SERVICE),
    Row(Kind.NOT_ALLOCATED, Table.TRACKED_OUT, 470, _STATE | {"reg2", "ip_proto", "ip_frag"},
        "not translated, a protocol whose checksum covers the addresses, or an IPv6 fragment",
        "reg2 := 3 → tracked, out again",
        "servers would drop it: the controller refuses it; and it knows of which protocol fragments are",
        actions=(SetField, Resubmit), sets=frozenset({"reg2"}), resubmit=Table.TRACKED_OUT),
    Row(Kind.ALLOCATE, Table.TRACKED_OUT, 450, _NEW,
        "not translated, of no connection, reg2 = 0; with `allocation: controller` only where reg8 = 0",
        "reg2 := 2, mark := 1 if reg8 = 0, source := an address of the switch's own, connection tracker "
        "→ tracked, out again",
        "M13 with `allocation: switch`, and the reserve while the controller is away",
        meter=Meter.FIRST_PACKETS, actions=(SetField, Track), sets=frozenset({"reg2"}), tracked=Table.TRACKED_OUT),
    Row(Kind.FRAGMENT_OTHER_ZONE_OUT, Table.TRACKED_OUT, 480, _OTHER_ZONE,
        "IPv6 fragment, of no connection in the zone of UDP", "connection tracker, the other zone → tracked, out",
        "it may be of another protocol", actions=(Track,), tracked=Table.TRACKED_OUT),
    Row(Kind.UNTRACKED, Table.TRACKED_OUT, 400, _SOURCE, "not translated, H' of a client subnet",
        "destination := ANY, source := H, reg2 := 1 → client edge, out",
        "no connection yet: a first packet, as the client has sent it",
        actions=(Move, Load, SetField, Resubmit), sets=_SET_BOTH | {"reg2"}, resubmit=Table.CLIENT_OUT),
    Row(Kind.TRACKED_OUT_ELSE, Table.TRACKED_OUT, 0, frozenset(), "anything else", "drop",
        "no packet is sent to this table by another one", counter="not_tracked_out"),
    Row(Kind.CONNECTION_FOUND, Table.TRACKED_IN, 900, _STATE | {"reg3"},
        "reg3 = 1, related to a known connection", "source := label → to the controller",
        "M19: the controller has asked whether a flow goes on, and its connection is there",
        actions=(Move, Output), sets=_SET_SOURCE, answers=True),
    Row(Kind.CONNECTION_MISSING, Table.TRACKED_IN, 800, frozenset({"reg3"}), "reg3 = 1", "to the controller",
        "M19: as the previous row, and there is no connection any more", actions=_PUNT, answers=True),
    Row(Kind.FRAGMENT_TRACKED_IN, Table.TRACKED_IN, 800, _STATE | _UDP_FRAGMENT,
        "fragment of UDP over IPv4, translated", "connection tracker, another zone → restore, in",
        "M18: ANY → PR1X becomes ANY → H", actions=(Track,), tracked=Table.RESTORE_IN),
    Row(Kind.FIRST_FRAGMENT_IN, Table.TRACKED_IN, 790, _STATE | _UDP_FRAGMENT | _SOURCE,
        "fragment of UDP over IPv4, from an enrolled server, of no connection", "to the controller",
        "M17: it begins connections for the fragments of a flow when there are any", meter=Meter.FIRST_REPLIES,
        actions=_PUNT),
    Row(Kind.FRAGMENT_IN_ELSE, Table.TRACKED_IN, 780, _UDP_FRAGMENT | _OTHER_ZONE,
        "any other fragment of UDP over IPv4; any fragment that is invalid, and not translated", "drop",
        "its packet is not complete, or wrong", counter="bad_fragment_in"),
    Row(Kind.TRACKED_IN, Table.TRACKED_IN, 500, _STATE | _DESTINATION,
        "of a known connection, H' with an ANY/n", "xxreg2 := the group, reg12 := ANY → pin", "M15, M17",
        goto=Table.PIN, actions=(Load, Move), sets=_ANYCAST_IN | {"xxreg2"}),
    Row(Kind.FRAGMENT_OTHER_ZONE_IN, Table.TRACKED_IN, 480, _OTHER_ZONE,
        "IPv6 fragment, of no connection in the zone of UDP", "connection tracker, the other zone → tracked, in",
        "it may be of another protocol", actions=(Track,), tracked=Table.TRACKED_IN),
    Row(Kind.UNTRACKED_REPLY, Table.TRACKED_IN, 400, _STATE | _SERVER_IN,
        "not translated, from an enrolled server", "source := ASg → to the controller",
        "M16, M17: of no connection that is known; its flow may have a binding, or have had one a moment ago",
        meter=Meter.FIRST_REPLIES, actions=(SetField, Output), sets=_SET_SOURCE),
    Row(Kind.TRACKED_IN_ELSE, Table.TRACKED_IN, 0, frozenset(), "anything else", "drop",
        "no packet is sent to this table by another one", counter="no_connection"),
    Row(Kind.PINNED_REPLY, Table.PIN, 600, _SERVER_IN | {"eth_type", "ct_label"},
        "from the server in the connection's label", "→ restore, in", "M18, M20", goto=Table.RESTORE_IN),
    Row(Kind.MEMBER_REPLY_UDP, Table.PIN, 510, _SERVER_IN | _GROUP_IN | {"eth_type", "ct_label", "ct_zone"},
        "as the next row, found in the zone of UDP", "as the next row, in that zone", "as there", goto=Table.RESTORE_IN,
        actions=(Track, SetField, Copy), sets=_SET_SOURCE, copies=(Meter.FIRST_REPLIES,)),
    Row(Kind.MEMBER_REPLY, Table.PIN, 500, _SERVER_IN | _GROUP_IN | {"eth_type", "ct_label"},
        "no label, from a server of the group", "label := ASg, a copy to the controller, metered → restore, in",
        "M17: the first reply pins the flow", goto=Table.RESTORE_IN, actions=(Track, SetField, Copy),
        sets=_SET_SOURCE, copies=(Meter.FIRST_REPLIES,)),
    Row(Kind.PIN_ELSE, Table.PIN, 0, frozenset(), "anything else", "drop",
        "M17: another server answers, or one of another group", counter="stranger_reply"),
    Row(Kind.FRAGMENT_RESTORED, Table.RESTORE_IN, 800, _STATE | _UDP_FRAGMENT,
        "fragment of UDP over IPv4, translated", "→ routes", "M18, M9: it has the addresses that it is to have",
        actions=(Resubmit,), resubmit=Table.ROUTES),
    Row(Kind.FRAGMENT_RESTORE_ELSE, Table.RESTORE_IN, 780, _UDP_FRAGMENT,
        "any other fragment of UDP over IPv4", "drop",
        "its packet is not complete, or wrong", counter="bad_fragment_restored"),
    Row(Kind.RESTORE_IN, Table.RESTORE_IN, 500, _DESTINATION, "H' of a client subnet",
        "source := ANY, destination := H → routes", "M18",
        actions=(Move, Load, Resubmit), sets=_SET_BOTH, resubmit=Table.ROUTES),
    Row(Kind.RESTORE_IN_ELSE, Table.RESTORE_IN, 0, frozenset(), "anything else", "drop",
        "no packet is sent to this table by another one", counter="not_tracked_in"),
)

ROW: Mapping[Kind, Row] = {row.kind: row for row in ROWS}
# Their packets tell of connections that a switch has begun.
REPORTS = frozenset((Kind.REPORT, Kind.REPORT_NEW))
DROPS: Mapping[Kind, str] = {row.kind: row.counter for row in ROWS if row.counter}

# ------------------------------------------------------------------------------ cookies

MAGIC = 0xA17C << 48  # in all our cookies: rules without it are not ours
MAGIC_MASK = 0xFFFF << 48
_NUMBER = (1 << 40) - 1
COOKIE_KIND_MASK = ~_NUMBER & (1 << 64) - 1


def cookie(kind: Kind, number: int = 0) -> int:
    """16 bits of magic, 8 of kind, 40 of the binding's number or, for ``TOO_LARGE``, of the link's mtu."""
    return MAGIC | kind << 40 | number


_KINDS = {cookie(kind) >> 40: kind for kind in Kind}


def kind_of(value: int) -> Kind | None:
    """The kind in a cookie; None when it is not ours."""
    return _KINDS.get(value >> 40)


def number_of(value: int) -> int:
    """The number in a cookie: a binding's, or for ``TOO_LARGE`` the mtu; 0 for all other rules."""
    return value & _NUMBER


def binding_of(value: int) -> int:
    """The binding's number in a cookie; 0 for rules of no binding."""
    return 0 if kind_of(value) is Kind.TOO_LARGE else number_of(value)


def cookies_of(half: Half, part: int, bits: int) -> tuple[int, int]:
    """(cookie, mask) of the rules of one direction of the bindings whose numbers end with ``part``, in so many bits."""
    first, *others = (kind for (_, each, _), kind in BINDING_KINDS.items() if each is half)
    mask = COOKIE_KIND_MASK | (1 << bits) - 1
    for other in others:
        mask &= ~(cookie(first) ^ cookie(other))
    return cookie(first, part), mask


# (of a whole client, direction, state) → the kind of a binding's rule
BINDING_KINDS: Mapping[tuple[bool, Half, State], Kind] = {
    (False, Half.OUT, State.UNANSWERED): Kind.BINDING_OUT_UNANSWERED,
    (False, Half.OUT, State.PINNED): Kind.BINDING_OUT,
    (False, Half.IN, State.PINNED): Kind.BINDING_IN,
    (True, Half.OUT, State.UNANSWERED): Kind.WHOLE_OUT_UNANSWERED,
    (True, Half.OUT, State.PINNED): Kind.WHOLE_OUT,
    (True, Half.IN, State.PINNED): Kind.WHOLE_IN,
}


# ------------------------------------------------------------------------------ enforcement


def check(rule: FlowRule) -> Row:
    """The row that declares this rule.  Raises Undeclared, which says what does not fit."""
    kind = kind_of(rule.cookie)
    if kind is None:
        raise Undeclared(f"cookie {rule.cookie:#x} belongs to no row")
    row = ROW[kind]
    if rule.table != row.table:
        raise Undeclared(f"{kind.name} belongs in table {row.table}, not {rule.table}")
    twin = row.untags and rule.actions[:1] == (PopVlan(),)
    if not row.priority <= rule.priority - twin <= row.priority + row.spread:
        raise Undeclared(f"{kind.name} has no priority {rule.priority}")
    if extra := {field.name for field in rule.match} - (row.fields | _TWINS_FIELDS if twin else row.fields):
        raise Undeclared(f"{kind.name} does not match on {', '.join(sorted(extra))}")
    if rule.goto != row.goto or not fits(rule.meter, row.meter):
        raise Undeclared(f"{kind.name} goes to {row.goto} by meter {row.meter}")
    for action in rule.actions[twin:]:
        if not isinstance(action, row.actions) or (isinstance(action, SetField) and action.name not in row.sets):
            raise Undeclared(f"{kind.name} does not do {action}")
        if isinstance(action, FinTimeout) and not rule.idle_timeout:
            raise Undeclared(f"{kind.name} has fin_timeout without a timeout of its own: Open vSwitch may crash")
        if isinstance(action, Load | Move) and changed_field(action) not in row.sets:
            raise Undeclared(f"{kind.name} does not do {action}")
        if isinstance(action, Track) and action.table != row.tracked:
            raise Undeclared(f"{kind.name} does not track into table {action.table}")
        if isinstance(action, Resubmit) and action.table != row.resubmit:
            raise Undeclared(f"{kind.name} does not go to table {action.table}")
        if isinstance(action, Copy) and not any(fits(action.meter, meter) for meter in row.copies):
            raise Undeclared(f"{kind.name} does not copy by meter {action.meter}")
        if isinstance(action, Output) and (action.port == OFPP_CONTROLLER) != row.to_controller:
            raise Undeclared(f"{kind.name} does not send to port {action.port:#x}")
    return row


def changed_field(action: Load | Move) -> str:
    return action.name if isinstance(action, Load) else action.destination


_SHARES: Mapping[Meter, str] = {
    Meter.FIRST_REPLIES: " by server", Meter.CHECKS: " by server", Meter.ICMP_ERRORS: " by sender"
}  # fmt: skip


def as_markdown() -> str:
    """The rows as the table of docs/pipeline.md, highest priority first."""
    lines = ["| table | priority | matches | does | why |", "| --- | --- | --- | --- | --- |"]
    for row in ROWS:
        metered = ", without a meter" * row.answers
        if row.meter:
            metered = ", metered" + _SHARES.get(row.meter, " per port" * (row.meter in PER_PORT))
        untagged = "; a priority tag (VID 0) is removed" * row.untags
        does = row.does + metered + untagged + (f" (counted: `{row.counter}`)" if row.counter else "")
        priority = f"{row.priority} + prefix length" if row.spread else str(row.priority)
        table = f"{row.table.value} {row.table.name.lower()}"
        lines.append(f"| {table} | {priority} | {row.matches} | {does} | {row.why} |")
    return "\n".join(lines) + "\n"
