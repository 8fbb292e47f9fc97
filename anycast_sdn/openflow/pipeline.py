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

from collections.abc import Mapping

from anycast_sdn.core.bindings import Half, State
from anycast_sdn.core.model import AnycastError
from anycast_sdn.openflow.meters import PER_PORT, Meter, fits
from anycast_sdn.openflow.row import (
    ANYCAST_OUT,
    BINDING,
    DESTINATION,
    FLOW,
    IN_PORT,
    MARK,
    NEIGHBOUR,
    PUNT,
    SEND,
    SET_BOTH,
    SET_MACS,
    SET_NEIGHBOUR,
    SET_SOURCE,
    SOURCE,
    TWINS_FIELDS,
    UDP_FRAGMENT,
    WHOLE,
    Kind,
    Row,
    Table,
)
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
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
from anycast_sdn.openflow.tracked_rows import TRACKED_ROWS


class Undeclared(AnycastError):
    """A rule that no row of the pipeline allows: a bug of ours."""


ROWS: tuple[Row, ...] = (
    # ---- 0 ingress
    Row(Kind.TAGGED, Table.INGRESS, 950, frozenset({"vlan_vid", "eth_type"}),
        "a tag of a VLAN, or two tags, from any port", "drop",
        "no port is a member of a VLAN; fields behind a tag would match as if there were none", counter="tagged"),
    Row(Kind.SPOILED, Table.INGRESS, 920, DESTINATION | {"ip_proto", "ip_frag"},
        "IPv4 fragment of TCP or UDP, not the first of its packet; destination in an ANY/m or in PRh/k", "drop",
        "where an edge would spoil it: when userspace Open vSwitch sets an address, it changes two bytes of data, too, "
        "as if they were a checksum.  TCP alone where the connection tracker translates those of UDP",
        counter="spoiled_fragment"),
    Row(Kind.FROM_CONTROLLER, Table.INGRESS, 900, IN_PORT, "packets that the controller makes",
        "→ client edge, out", "they take the same path as any packet; one that comes back is recognised",
        Table.CLIENT_OUT),
    Row(Kind.LLDP_FROM_HOST, Table.INGRESS, 850, IN_PORT | {"eth_type"}, "LLDP from a host port or an uplink",
        "drop", "hosts must not influence which links there are", counter="lldp_from_host"),
    Row(Kind.LLDP, Table.INGRESS, 800, IN_PORT | {"eth_type"}, "LLDP from a port to another switch",
        "to the controller", "link discovery", meter=Meter.LINK, actions=PUNT),
    Row(Kind.LLDP_ELSE, Table.INGRESS, 750, frozenset({"eth_type"}), "LLDP from any other port", "to the controller",
        "link discovery; a flood there does not crowd out the declared links", meter=Meter.LLDP, actions=PUNT),
    Row(Kind.CONTROLLER_ANSWERS, Table.INGRESS, 840, frozenset({"eth_type", "ip_proto", "icmpv6_type", "reg8"}),
        "ARP or a neighbour solicitation, reg8 = 0", "reg8 := 1 → ingress again",
        "the controller lives, and answers: it puts this rule again and again, which has a hard timeout (Open vSwitch)",
        actions=(SetField, Resubmit), sets=frozenset({"reg8"}), resubmit=Table.INGRESS),
    Row(Kind.GATEWAY_ANSWER, Table.INGRESS, 830, NEIGHBOUR, "as the next row, reg8 = 2",
        "the question becomes the answer, and goes back by its port", "hosts keep their gateway without a controller",
        actions=(Move, Load, SetField, Output), sets=SET_NEIGHBOUR),
    Row(Kind.GATEWAY_ASKED, Table.INGRESS, 820, IN_PORT | NEIGHBOUR,
        "ARP request or neighbour solicitation for a gateway, from a host of its subnet or, in IPv6, a link-local "
        "address, at a port of the subnet, reg8 = 0",
        "type := advertisement in IPv6, reg8 := 2 → ingress again",
        "no controller lives: the switch answers (Open vSwitch)",
        meter=Meter.NEIGHBOURS, actions=(SetField, Resubmit), sets=frozenset({"icmpv6_type", "reg8"}),
        resubmit=Table.INGRESS),
    Row(Kind.ARP, Table.INGRESS, 800, IN_PORT | {"eth_type"}, "ARP from a host port or an uplink",
        "to the controller", "hosts are learned, gateways answer, nothing is flooded",
        meter=Meter.NEIGHBOURS, actions=PUNT),
    Row(Kind.ND, Table.INGRESS, 800, IN_PORT | {"eth_type", "ip_proto", "icmpv6_type"},
        "neighbour solicitation or advertisement from a host port or an uplink", "to the controller",
        "as ARP, for IPv6", meter=Meter.NEIGHBOURS, actions=PUNT),
    Row(Kind.ANYCAST_SOURCE, Table.INGRESS, 700, IN_PORT | SOURCE,
        "source in an ANY/m, from a host port or an uplink", "drop",
        "M22: no anycast source address enters the network", counter="anycast_source"),
    Row(Kind.OWN_SOURCE, Table.INGRESS, 650, IN_PORT | SOURCE,
        "source in a subnet or a PRh/k of this switch, from an uplink", "drop",
        "spoofed: these addresses are inside, and the packet would look like a client's", counter="own_source"),
    Row(Kind.FROM_FABRIC, Table.INGRESS, 600, IN_PORT | {"eth_type"}, "IP from another switch",
        "in_port := none → client edge, out",
        "its source was checked where it entered; while routes change, it may have to go back by the same port",
        Table.CLIENT_OUT, actions=(ForgetInPort,), untags=True),
    Row(Kind.FROM_HOST, Table.INGRESS, 500, IN_PORT | SOURCE, "source in a subnet of the host port",
        "→ client edge, out", "M1: ordinary unicast addresses", Table.CLIENT_OUT, untags=True),
    Row(Kind.LINK_LOCAL, Table.INGRESS, 400, IN_PORT | SOURCE,
        "link-local or unspecified source, from a host port or an uplink", "drop",
        "MLD, mDNS, DHCP and the like are not routed; counted apart from spoofed sources",
        counter="link_local"),
    Row(Kind.FROM_UPLINK, Table.INGRESS, 300, IN_PORT | {"eth_type"}, "any other IP from an uplink",
        "→ client edge, out", "transit; a router forwards packets from any source", Table.CLIENT_OUT, untags=True),
    Row(Kind.WRONG_SOURCE, Table.INGRESS, 100, IN_PORT | {"eth_type"}, "any other IP from a host port",
        "drop", "a source that does not belong to its port's subnet.  At a switch with one table, also anything from a "
        "port that leads to no other switch and no router", counter="wrong_source"),
    Row(Kind.NOT_IP, Table.INGRESS, 0, frozenset(), "anything else", "drop", "neither IP nor ARP nor LLDP",
        counter="not_ip"),
    # ---- 1 client edge, out
    Row(Kind.STILL_TAGGED, Table.CLIENT_OUT, 950, frozenset({"vlan_vid"}),
        "a second tag, behind the one that was removed", "drop",
        "a switch may read the fields behind all tags", counter="tagged_twice"),
    Row(Kind.CLIENT_ERROR, Table.CLIENT_OUT, 942, IN_PORT | DESTINATION | {"ip_proto", "icmpv4_type", "icmpv6_type"},
        "ICMP error, destination in an ANY/m that hosts of the port may use", "to the controller",
        "RFC 5508 REQ-5: translated together with the packet it quotes", meter=Meter.FIRST_PACKETS, actions=PUNT),
    Row(Kind.WHOLE_OUT_UNANSWERED, Table.CLIENT_OUT, 940, SOURCE | DESTINATION,
        "H and ANY of a client that is bound as a whole, no server yet", "source := PR1X, reg0 := 1 → server edge",
        "M31: whatever it sends, a SYN, too; reg0 says that nobody waits for its FIN and RST (Open vSwitch)",
        Table.SERVICE, actions=WHOLE, sets=SET_SOURCE | MARK),
    Row(Kind.WHOLE_OUT, Table.CLIENT_OUT, 940, SOURCE | DESTINATION, "H and ANY of a client that is bound as a whole",
        "source := PR1X, destination := ASg, reg0 := 1 → server edge", "M31, M20",
        Table.SERVICE, actions=WHOLE, sets=SET_BOTH | MARK),
    Row(Kind.SYN, Table.CLIENT_OUT, 930, IN_PORT | SOURCE | DESTINATION | {"ip_proto", "tcp_flags"},
        "source in a subnet of the port, destination in an ANY/m that its hosts may use, TCP SYN", "to the controller",
        "a first packet, too: the five fields may be those of a connection that has just ended (Open vSwitch)",
        meter=Meter.FIRST_PACKETS, actions=PUNT),
    Row(Kind.BINDING_OUT_UNANSWERED, Table.CLIENT_OUT, 900, FLOW, "a binding's five fields, no server yet",
        "source := PR1X → server edge", "M14, before the first reply", Table.SERVICE,
        actions=BINDING, sets=SET_SOURCE),
    Row(Kind.BINDING_OUT, Table.CLIENT_OUT, 900, FLOW, "a binding's five fields",
        "source := PR1X, destination := ASg → server edge", "M14, M20", Table.SERVICE,
        actions=BINDING, sets=SET_BOTH),
    Row(Kind.FRAGMENT_OUT, Table.CLIENT_OUT, 925, IN_PORT | SOURCE | DESTINATION | UDP_FRAGMENT | {"reg2"},
        "as the next row, fragment of UDP over IPv4", "connection tracker → tracked, out",
        "userspace Open vSwitch spoils it when it sets an address; its tracker makes PR1X → ANY of H → ANY",
        actions=(Track,), tracked=Table.TRACKED_OUT),
    Row(Kind.NOT_BEGUN, Table.CLIENT_OUT, 950, SOURCE | DESTINATION | {"reg9"},
        "source in a subnet, destination in an ANY/m that its hosts may use, reg9 = 1", "to the controller",
        "the controller has sent it with a connection to begin, which the tracker could not: counted as `looped`",
        meter=Meter.LOOPED, actions=PUNT),
    Row(Kind.TO_TRACKER, Table.CLIENT_OUT, 920, IN_PORT | SOURCE | DESTINATION | {"reg2"},
        "source in a subnet of the port, destination in an ANY/m that its hosts may use, reg2 = 0", "→ track, out",
        "a client edge inside the connection tracker (Open vSwitch)", goto=Table.TRACK_OUT),
    Row(Kind.FIRST_PACKET, Table.CLIENT_OUT, 500, IN_PORT | SOURCE | DESTINATION,
        "source in a subnet of the port, destination in an ANY/m that its hosts may use", "to the controller",
        "M11, M13: the first packet makes the binding", meter=Meter.FIRST_PACKETS, actions=PUNT),
    Row(Kind.LOOPED, Table.CLIENT_OUT, 450, IN_PORT | SOURCE | DESTINATION,
        "source in a subnet, destination in an ANY/m that its hosts may use, from the controller", "to the controller",
        "the controller sent it to match a rule, which is not there: installed again, or counted as `looped`",
        meter=Meter.LOOPED, actions=PUNT),
    Row(Kind.PROHIBITED, Table.CLIENT_OUT, 450, IN_PORT | DESTINATION,
        "any other destination in an ANY/m, from a host port", "to the controller",
        "M6: not among the site's services; the sender gets an ICMP error", meter=Meter.REFUSED, actions=PUNT,
        counter="unauthorised"),
    Row(Kind.UNAUTHORISED, Table.CLIENT_OUT, 400, SOURCE | DESTINATION,
        "source in a subnet of this switch, destination in any ANY/m, from elsewhere", "drop",
        "M6: not among the site's services", counter="unauthorised"),
    Row(Kind.OUT_ELSE, Table.CLIENT_OUT, 0, frozenset(), "anything else", "→ server edge", "transit",
        Table.SERVICE),
    # ---- 2 server edge
    Row(Kind.SERVICE_FRAGMENT_UDP, Table.SERVICE, 610, DESTINATION | UDP_FRAGMENT,
        "as the next row, UDP over IPv4, where the switch would spoil it",
        "connection tracker: destination := one ASg → restore, in",
        "the tracker sets the address, and spoils nothing; its zone is one for this server (Open vSwitch)",
        actions=(ForgetInPort, Track), tracked=Table.RESTORE_IN),
    Row(Kind.SERVICE_FRAGMENT, Table.SERVICE, 600, DESTINATION | {"ip_frag"},
        "fragment, destination in the ANY/n of a group with servers here, and with `affinity: client` or behind a "
        "client edge inside the connection tracker",
        "destination := one ASg, MACs, TTL, port; or destination := ASg behind another edge, in_port := none → routes",
        "M31: a select group may give the parts of one packet to several servers, until one of them has answered "
        "(Open vSwitch)", actions=(SetField, DecTtl, Output, Resubmit, ForgetInPort), resubmit=Table.ROUTES,
        sets=SET_MACS | {"ipv4_dst", "ipv6_dst"}),
    Row(Kind.SERVICE, Table.SERVICE, 500, DESTINATION,
        "destination in the ANY/n of a group with servers here",
        "select group of 64 slots: destination := ASg, MACs, TTL, port; or destination := ASg behind another edge, "
        "in_port := none → routes (Open vSwitch)",
        "M9, M10, M26: no state per flow; only flows of slots that change move",
        actions=(ToGroup,)),
    Row(Kind.SERVICE_ALONE, Table.SERVICE, 500, DESTINATION,
        "as the previous row, at a switch without select groups that set addresses",
        "destination := one ASg, MACs, TTL, port; or destination := ASg behind another edge, in_port := none → routes",
        "M9: the controller chooses the server of new flows here; known flows keep theirs",
        actions=(SetField, DecTtl, Output, Resubmit, ForgetInPort), resubmit=Table.ROUTES,
        sets=SET_MACS | {"ipv4_dst", "ipv6_dst"}),
    Row(Kind.SERVICE_ELSE, Table.SERVICE, 0, frozenset(), "anything else", "→ client edge, in",
        "not for a server here", Table.CLIENT_IN),
    # ---- 3 client edge, in
    Row(Kind.BINDING_IN, Table.CLIENT_IN, 900, FLOW, "a binding's reply: ASg, PR1X, ports, protocol",
        "source := ANY, destination := H → routes", "M18", Table.ROUTES, actions=BINDING, sets=SET_BOTH),
    Row(Kind.ICMP_ERROR, Table.CLIENT_IN, 800,
        SOURCE | DESTINATION | {"ip_proto", "icmpv4_type", "icmpv6_type"},
        "ICMP error, destination in PRh/k", "to the controller",
        "RFC 5508 REQ-4: translated together with the packet it quotes",
        meter=Meter.ICMP_ERRORS, actions=PUNT),
    Row(Kind.WHOLE_IN, Table.CLIENT_IN, 700, SOURCE | DESTINATION,
        "ASg and PR1X of a client that is bound as a whole", "source := ANY, destination := H, reg0 := 1 → routes",
        "M31, M18; below ICMP errors, which are translated with what they quote", Table.ROUTES,
        actions=WHOLE, sets=SET_BOTH | MARK),
    Row(Kind.FIRST_REPLY, Table.CLIENT_IN, 500, SOURCE | DESTINATION,
        "source an enrolled server, destination in PRh/k", "to the controller",
        "M17: the first reply pins the flow", meter=Meter.FIRST_REPLIES, actions=PUNT),
    Row(Kind.FRAGMENT_IN, Table.CLIENT_IN, 530, SOURCE | DESTINATION | UDP_FRAGMENT,
        "as the next but one, fragment of UDP over IPv4", "connection tracker → tracked, in",
        "as clients' fragments: ASg → PR1X becomes ANY → PR1X",
        actions=(Track,), tracked=Table.TRACKED_IN),
    Row(Kind.FRAGMENT_TRACK_IN, Table.CLIENT_IN, 520, SOURCE | DESTINATION | {"ip_frag"},
        "as the next row, IPv6 fragment", "as the next row",
        "only the first fragment says that it is of UDP; all have to be looked up in the same zone",
        actions=(Load, Track), sets=ANYCAST_OUT | SET_SOURCE, tracked=Table.TRACKED_IN),
    Row(Kind.TRACK_IN_UDP, Table.CLIENT_IN, 510, SOURCE | DESTINATION | {"ip_proto"},
        "as the next row, UDP", "as the next row, in the zone of UDP", "as there (Open vSwitch)",
        actions=(Load, Track), sets=ANYCAST_OUT | SET_SOURCE, tracked=Table.TRACKED_IN),
    Row(Kind.TRACK_IN, Table.CLIENT_IN, 500, SOURCE | DESTINATION,
        "source an enrolled server, destination in PRh/k",
        "reg4 := ASg, source := K, connection tracker → tracked, in",
        "M15: a client edge inside the connection tracker (Open vSwitch)",
        actions=(Load, Track), sets=ANYCAST_OUT | SET_SOURCE, tracked=Table.TRACKED_IN),
    Row(Kind.UNKNOWN_TRANSLATED, Table.CLIENT_IN, 400, DESTINATION, "destination in PRh/k", "drop",
        "M16: only packets of enrolled servers reach the controller", counter="unknown_translated"),
    Row(Kind.IN_ELSE, Table.CLIENT_IN, 0, frozenset(), "anything else", "→ routes", "plain unicast",
        Table.ROUTES),
    # ---- 4 routes
    Row(Kind.TCP_END, Table.ROUTES, 960, IN_PORT | SOURCE | {"ip_proto", "tcp_flags", "reg0"},
        "TCP with FIN or RST of a binding: source PR1X of this edge, or ANY, and reg0 = 0",
        "a copy to the controller, metered, for clients per port; reg0 := 1 → routes again",
        "addresses of closed and reset connections are free again within seconds (Open vSwitch)",
        actions=(Copy, SetField, Resubmit), resubmit=Table.ROUTES, sets=frozenset({"reg0"}),
        copies=(Meter.ENDS, Meter.CLIENT_ENDS)),
    Row(Kind.CHECK_ANSWER, Table.ROUTES, 955, IN_PORT | SOURCE | DESTINATION,
        "source a server that is checked, from its port, destination its gateway", "to the controller",
        "M33: answers to checks, which the gateway makes; no flood from elsewhere crowds them out",
        meter=Meter.CHECKS, actions=PUNT),
    Row(Kind.GATEWAY_HERE, Table.ROUTES, 950, IN_PORT | DESTINATION,
        "destination an address of this switch, from a host port or an uplink", "to the controller",
        "switches answer ping; a flood at one port does not affect other ports", meter=Meter.CONNECTED, actions=PUNT),
    Row(Kind.GATEWAY, Table.ROUTES, 900, DESTINATION, "destination an address of this switch, from elsewhere",
        "to the controller", "switches answer ping", meter=Meter.GATEWAY, actions=PUNT),
    Row(Kind.HOST, Table.ROUTES, 800, DESTINATION, "destination a connected host", "MACs, TTL, port",
        "last hop, also back to the port where it came in", actions=(*SEND, ForgetInPort), resubmit=Table.EGRESS,
        sets=SET_MACS),
    Row(Kind.UNRESOLVED_HERE, Table.ROUTES, 600, IN_PORT | DESTINATION,
        "destination in a connected subnet, from a host port or an uplink", "to the controller",
        "as the next row; a scan at one port does not keep the other ports from resolving hosts",
        meter=Meter.CONNECTED, actions=PUNT),
    Row(Kind.UNRESOLVED, Table.ROUTES, 400, DESTINATION, "destination in a connected subnet, from elsewhere",
        "to the controller", "the controller resolves the host (ARP, ND); the packet waits for the answer",
        meter=Meter.UNRESOLVED, actions=PUNT, spread=128),
    Row(Kind.MARTIAN, Table.ROUTES, 350, DESTINATION, "destination multicast, loopback, link-local or reserved",
        "drop", "not to be forwarded, not even by a default route (RFC 1812 §5.3.7)", counter="martian"),
    Row(Kind.ROUTE, Table.ROUTES, 200, DESTINATION,
        "destination in a prefix of another switch; ANY/n towards the nearest edge able to serve it", "TTL, port",
        "M8, M23; a port with an mtu sends through table egress", actions=(DecTtl, Output, CheckSize, Resubmit),
        resubmit=Table.EGRESS, spread=128),
    Row(Kind.EGRESS_ROUTE, Table.ROUTES, 200, DESTINATION, "destination in a prefix that is reached by an uplink",
        "MACs, TTL, port", "to the router that announces the prefix, or by a static route",
        actions=SEND, resubmit=Table.EGRESS, sets=SET_MACS, spread=128),
    Row(Kind.NO_ROUTE_HERE, Table.ROUTES, 100, IN_PORT, "anything else from a host port or an uplink",
        "to the controller", "no route leads there; the sender gets an ICMP error", meter=Meter.REFUSED, actions=PUNT,
        counter="no_route"),
    Row(Kind.NO_ROUTE, Table.ROUTES, 0, frozenset(), "anything else", "to the controller",
        "as the previous row, in transit", meter=Meter.UNDELIVERABLE, actions=PUNT, counter="no_route"),
    # ---- 5 egress
    Row(Kind.TOO_LARGE, Table.EGRESS, 200, IN_PORT | SOURCE | {"reg1"}, "larger than the link's mtu (Open vSwitch)",
        "to the controller", "the sender gets an ICMP error: "
        "fragmentation needed, or packet too big (RFC 1191, RFC 8201)",
        meter=Meter.ICMP_ERRORS, actions=PUNT),  # Open vSwitch counts here what fits, too
    Row(Kind.FITS, Table.EGRESS, 100, IN_PORT, "anything else for such a port", "port", "it fits",
        actions=(Output,)),
    Row(Kind.EGRESS_ELSE, Table.EGRESS, 0, frozenset(), "anything else", "drop",
        "no packet is sent to this table without such a port", counter="no_egress"),
    *TRACKED_ROWS,
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
    if extra := {field.name for field in rule.match} - (row.fields | TWINS_FIELDS if twin else row.fields):
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
