"""Counters of each switch, and the meaning of each counter: what happened, and what an operator should do.

Counters are shown under ``drops`` by ``GET /v1/edges`` and ``anycast-sdn edges``.  Packets dropped by rules of a
switch are counted there, under the names of ``openflow.pipeline``'s rows; all other counters count events
(``core.events``), in ``Counters``.  The tables here have one entry for each counter; a test compares them with the
code in both directions.  docs/counters.md is printed from them (``as_markdown``), and so is what the page says of
them (``as_script``).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from anycast_sdn.core.events import (
    BindingNotAdopted,
    ChangeUnconfirmed,
    CountedEvent,
    Event,
    Fault,
    FrameMalformed,
    PacketsDropped,
    PortsHeldBack,
    Reported,
    RuleRefused,
    RulesRepaired,
)
from anycast_sdn.core.server_events import ServerLost, ServerReturned
from anycast_sdn.openflow.pipeline import ROWS

BAD_FRAME = "bad_frame: "  # followed by one of ``openflow.frames.REASONS``


class Meaning(NamedTuple):
    happened: str
    advice: str


_NOTHING = "Nothing, unless it grows fast."
_FAULTY_HOST = "Find the host: a faulty network stack, or a program that forges packets."
_OLDER_LINK = "Nothing, if it stays small: LLDP of an earlier start of the controller, or of other equipment."

# Counted by rules in the switch itself, which are rows of the pipeline.
IN_THE_SWITCH: Mapping[str, Meaning] = {
    "anycast_source": Meaning(
        "A host or router sent a packet whose source is an anycast address (M22).",
        "Find the sender: a host is configured with a service address, or forges it.",
    ),
    "link_local": Meaning(
        "A packet had a link-local or unspecified source (MLD, mDNS, DHCP). These are never routed.",
        "Nothing: this is ordinary traffic of hosts.",
    ),
    "lldp_from_host": Meaning(
        "LLDP was received at a port of hosts or of a router.",
        "Nothing, if the device there speaks LLDP. If it is an OpenFlow switch, declare the link.",
    ),
    "martian": Meaning(
        "The destination was multicast, loopback, link-local or reserved; such packets follow no default route.",
        "Nothing: this is ordinary traffic of hosts.",
    ),
    "no_egress": Meaning(
        "A packet was to leave by a port for which the egress table has no rule.",
        "Report it: routes and egress rules of this switch do not match.",
    ),
    "no_route": Meaning(
        "There is no route to the destination. The sender gets an ICMP error.",
        "See `anycast-sdn topology`: is the prefix announced, and is every link on the path up?",
    ),
    "not_ip": Meaning(
        "The frame was neither IP nor ARP nor LLDP.",
        "Nothing, unless hosts need such a protocol: switches here route IP only.",
    ),
    "own_source": Meaning(
        "A packet was received at an uplink with a source address of this edge itself.",
        "Look for a routing loop, or for a forged source, behind the router at the uplink.",
    ),
    "spoiled_fragment": Meaning(
        "A fragment of TCP or UDP over IPv4, other than the first of its packet, would have been spoiled by the switch "
        "when it sets an address (userspace Open vSwitch).",
        "Use smaller packets, or IPv6, or Open vSwitch with the kernel's datapath; for UDP also `engine: conntrack`.",
    ),
    "tagged": Meaning(
        "The frame had a VLAN tag, or two tags. Ports here are untagged.",
        "Configure the device on that port to send untagged frames.",
    ),
    "tagged_twice": Meaning(
        "Behind a priority tag (VID 0) there was another tag.",
        "Configure the device on that port to send untagged frames.",
    ),
    "unauthorised": Meaning(
        "The site may not use the service (M6). A host at this switch gets an ICMP error.",
        "If the site is meant to use it, add it to `services` of the client edge or of the subnet.",
    ),
    "unknown_translated": Meaning(
        "A packet to an address of PRh/k came from a host that is not enrolled, or belongs to a flow that has ended "
        "(M16).",
        "Nothing, if it is rare: late packets, scans. If the source is a server, enrol it.",
    ),
    "no_connection": Meaning(
        "A packet of a server belongs to a flow whose service address the switch knows no more.",
        "This should not happen: report it, with `ovs-ofctl dump-flows`.",
    ),
    "bad_fragment_in": Meaning(
        "The fragments of a server's UDP packet to an address of PRh/k make no whole packet, or a wrong one.",
        "Nothing, if it is rare: fragments get lost. Open vSwitch takes none below 1,200 bytes but the last one.",
    ),
    "bad_fragment_out": Meaning(
        "The fragments of a client's UDP packet make no whole packet, or a wrong one.",
        "Nothing, if it is rare: fragments get lost. Open vSwitch takes none below 1,200 bytes but the last one.",
    ),
    "bad_fragment_restored": Meaning(
        "The fragments of a UDP packet to a service make no whole packet, or belong to no flow that is known any more.",
        "Nothing, if it is rare: fragments get lost. Open vSwitch takes none below 1,200 bytes but the last one.",
    ),
    "not_tracked_in": Meaning(
        "A packet from the connection tracker towards a client had no known form.",
        "This should not happen: report it, with `ovs-ofctl dump-flows`.",
    ),
    "not_tracked_out": Meaning(
        "A packet from the connection tracker towards a server had no known form.",
        "This should not happen: report it, with `ovs-ofctl dump-flows`.",
    ),
    "wrong_source": Meaning(
        "The source address does not belong to a subnet of the ingress port.",
        "Correct the host's address, or the `ports` of its subnet in the network file.",
    ),
}  # fmt: skip

# Counted by the controller: packets of flows.
OF_FLOWS: Mapping[str, Meaning] = {
    "client_full": Meaning(
        "The client has as many bindings as one client may have (`bindings_per_client`). It gets "
        "an ICMP error, or a RST to its SYN.",
        "Find out what the client does. If it needs so many, raise the bound, or give the site a larger PRh/k.",
    ),
    "freed": Meaning(
        "A flow's server could not be reached for 3 s after that was noticed. The flow goes to another server (M32); a "
        "TCP connection has ended.",
        "The log names the server. See `anycast-sdn servers`: is it reachable again?",
    ),
    "icmp_unsupported": Meaning(
        "A server sent an ICMP message to PR1X that is neither an echo reply nor an error.",
        _NOTHING,
    ),
    "looped": Meaning(
        "A packet that the controller sent through the tables of the switch came back, because its rule was missing.",
        "Look for `rule_refused`, and for other programs that change the switch's rules. The rule is installed again.",
    ),
    "no_able_edge": Meaning(
        "The service has active servers, but no server edge can reach any of them now. The client gets "
        "an ICMP error, or a RST to its SYN.",
        "See `anycast-sdn servers`: which of them are unreachable, and `anycast-sdn topology`: which links are down.",
    ),
    "no_binding": Meaning(
        "An enrolled server sent a packet, or an ICMP error came, for a flow that does not exist or has ended (M16).",
        "Nothing, if it is rare. If servers send after pauses longer than `validity`, raise the validity.",
    ),
    "no_service": Meaning(
        "No group covers the service address, or the group has no active server. The client gets an ICMP "
        "error, or a RST to its SYN.",
        "See `anycast-sdn groups` and `anycast-sdn servers`: enrol a server, or make one active.",
    ),
    "not_adopted": Meaning(
        "After a restart, rules of a binding on the switch could not be adopted: PRh/k has changed, or two bindings "
        "have one address.",
        "Nothing after a change of `translation_prefixes`: these flows end. Otherwise report it.",
    ),
    "pool_empty": Meaning(
        "No address of PRh/k is free, or there is none in this family. The client gets an ICMP error, "
        "or a RST to its SYN.",
        "See `pool` in `anycast-sdn edges`. Add a translation prefix, or shorten `validity` or `quarantine_s`.",
    ),
    "port_full": Meaning(
        "The clients at one port have as many bindings as they may have together (`bindings_per_port`). The client "
        "gets an ICMP error, or a RST to its SYN.",
        "As for `client_full`: one port takes a large share of the pool.",
    ),
    "switch_unable": Meaning(
        "A client began a flow of a family that its switch cannot carry out, or of SCTP or a ping although its switch "
        "is known to refuse their rules. The client gets an ICMP error, or a RST to its SYN.",
        "`anycast-sdn switches` says what the switch lacks. Connect its clients to another switch, or update it.",
    ),
    "server_lost": Meaning(
        "A packet of a TCP connection came after its server was lost (`freed`), or after the deadline of a drain. Its "
        "client is sent a RST, and so is its server if that has sent it: each switch answers up to 1,000 a second of "
        "these packets, and 2,000 at once.",
        "As for `freed`; after a drain nothing.",
    ),
    "shed": Meaning(
        "A first packet or first reply waited longer than `limits.wait_ms`, and was dropped. Clients send again.",
        "The controller is overloaded. See `hub` in `/healthz` and `port_held_back`; lower `limits.first_packets`.",
    ),
    "unreported": Meaning(
        "With the engine conntrack, a copy of a packet that was to tell the controller of a flow which the switch has "
        "begun by itself was lost. The flow goes on, but no listing, log or count has it.",
        "More flows begin than the controller keeps up with, or than `limits.reports` allows.",
    ),
    "stranger_reply": Meaning(
        "The source of a reply is not a server of the flow's group, or not the server to which the flow is pinned "
        "(M17).",
        "If a server hands flows over to another server, enrol both in the group.",
    ),
    "unsupported_protocol": Meaning(
        "The checksum of the protocol covers the addresses, and no switch corrects it: DCCP, AH, Mobility Header, "
        "UDP-Lite, HIP. The client gets an ICMP error.",
        "Use the server's unicast address for this protocol.",
    ),
}  # fmt: skip

# Counted by the controller: ARP and neighbour discovery of hosts.
OF_HOSTS: Mapping[str, Meaning] = {
    "arp_mac_mismatch": Meaning(
        "The sender's MAC in an ARP packet differs from the source MAC of its frame.",
        "Find the host: forged ARP, or a bridge that rewrites MAC addresses.",
    ),
    "false_claims": Meaning(
        "A host claimed an address that no host at its port may have: outside the subnet, a gateway's, a service's.",
        "Correct the host's address. The claim is ignored, and other hosts are not affected.",
    ),
    "false_move": Meaning(
        "A host claimed the address of another host, which still answers ARP or ND at its own port.",
        "Two hosts have one address, or one tries to take the other's.",
    ),
    "foreign_questions": Meaning(
        "A host asked by ARP or neighbour discovery for an address that is not in a subnet of its port.",
        "Correct the host's prefix length or gateway.",
    ),
    "too_many_hosts": Meaning(
        "More than 4,096 hosts at one port. Further ones are not learned.",
        "Look for a host that claims many addresses, or divide the subnet among more ports.",
    ),
    "unknown_source": Meaning(
        "A first packet was dropped, because no host at its port answers ARP or ND for the source address.",
        "Find out which host forges addresses there. A real client must answer ARP or ND.",
    ),
    "unresolvable": Meaning(
        "A packet or a request for an unknown host was dropped: no host may have this address, or 256 addresses are "
        "being resolved already for one port.",
        "Look for a host that scans a subnet.",
    ),
    "waiting_overflow": Meaning(
        "More than 64 packets waited for the ARP or ND answer of one host. The oldest was dropped.",
        _NOTHING,
    ),
}  # fmt: skip

# Counted by the controller: events of a switch.
OF_SWITCHES: Mapping[str, Meaning] = {
    "port_held_back": Meaning(
        "More than 1,000 first packets a second of a port were refused. For a while, the port's limit is 200 a second.",
        "Look for a flood from this port.",
    ),
    "rule_refused": Meaning(
        "The switch refused a rule, a group or a meter. Packets that need it are lost.",
        "The log has the switch's reason. A full table: fewer flows, or a larger switch. See operating.md.",
    ),
    "too_large": Meaning(
        "A packet was larger than the next link's `mtu`. Its sender gets an ICMP error with that size.",
        "Nothing: this is how path MTU discovery works.",
    ),
    "beyond_limit": Meaning(
        "The switch has no meters, and has sent more packets of a kind than `limits` allow: the controller drops them.",
        "Look for a host that floods. `limits` of the network file may be raised.",
    ),
    "ttl_expired": Meaning(
        "The TTL or hop limit of a packet expired here. Its sender gets an ICMP error.",
        "Nothing, if `traceroute` is in use. Otherwise look for a loop of routes.",
    ),
    "server_returned": Meaning(
        "A server whose flows were freed can be reached again.",
        "Nothing. If it grows, a server, its port or a link comes and goes.",
    ),
    "unconfirmed": Meaning(
        "The switch did not confirm a change of routes within a second. The change went on without its confirmation.",
        "Look at the switch's load and at its connection: packets may have looped meanwhile.",
    ),
    "unexpected_packet_in": Meaning(
        "The switch sent a packet to the controller for another reason than a rule of the pipeline, or before its "
        "rules were read.",
        "Nothing when the switch connects. Otherwise look for other programs that install rules.",
    ),
}  # fmt: skip

# After ``BAD_FRAME``.
OF_FRAMES: Mapping[str, Meaning] = {
    "arp": Meaning("An ARP packet that is no request or reply for IPv4 over Ethernet.", _FAULTY_HOST),
    "checksum": Meaning("The checksum of an ICMP, ICMPv6 or quoted IPv4 header is wrong.", _FAULTY_HOST),
    "ethertype": Meaning("The frame's protocol is not that of the rule that sent it to the controller.", "Report it."),
    "extension headers": Meaning("An IPv6 packet with more than eight extension headers.", _FAULTY_HOST),
    "fragment": Meaning(
        "A fragment to or from a service that cannot be translated: switches see no ports in it. For the first "
        "fragment, a client gets an ICMP error.",
        "Use smaller packets: path MTU discovery, or an `mtu` in the network file.",
    ),
    "icmp type": Meaning("An ICMP message of a type that is not translated.", _NOTHING),
    "ip length": Meaning("A length field is smaller than the headers that it covers.", _FAULTY_HOST),
    "ip source": Meaning("The source is not the address of one host.", _FAULTY_HOST),
    "ip version": Meaning("The IP version in the header is not that of the frame's type.", _FAULTY_HOST),
    "lldp": Meaning("LLDP that the controller did not send.", "Nothing: other equipment speaks LLDP there."),
    "lldp digest": Meaning("LLDP that looks like the controller's, with a wrong signature.", _OLDER_LINK),
    "lldp of its own port": Meaning("A port received its own LLDP.", "Look for a loop in the cabling of this port."),
    "lldp replayed": Meaning("LLDP of the controller that is not new.", "If it goes on, a host replays frames."),
    "neighbour discovery": Meaning("A neighbour discovery message that RFC 4861 §7.1 forbids.", _FAULTY_HOST),
    "source mac": Meaning("The source MAC is a group address.", _FAULTY_HOST),
    "tagged": Meaning("ARP, ND or LLDP with a VLAN tag, or with two tags.", "Send untagged frames on this port."),
    "transport header": Meaning("A TCP, UDP, SCTP or ICMP header is cut short or impossible.", _FAULTY_HOST),
    "truncated": Meaning("The frame is shorter than its length fields say.", _FAULTY_HOST),
}  # fmt: skip

_TITLES: tuple[tuple[str, Mapping[str, Meaning]], ...] = (
    ("Dropped by a rule in the switch", IN_THE_SWITCH),
    ("Packets of flows, decided by the controller", OF_FLOWS),
    ("Hosts' addresses: ARP and neighbour discovery", OF_HOSTS),
    ("Switches", OF_SWITCHES),
    ("Malformed frames", {BAD_FRAME + reason: meaning for reason, meaning in OF_FRAMES.items()}),
)

# Counted beside the drops, though no packet of its own was dropped: things that have happened.
INCIDENTS = frozenset(("freed", "not_adopted", "port_held_back", "rule_refused", "server_returned", "unconfirmed"))

COUNTERS: Mapping[str, Meaning] = {name: meaning for _, part in _TITLES for name, meaning in part.items()}


def as_markdown() -> str:
    """The tables of docs/counters.md."""
    return "\n".join(_section(title, part) for title, part in _TITLES)


def as_script() -> str:
    """anycast_sdn/web/counters.js: what happened, for each counter, as the page shows it beside the number."""
    meanings = {name: meaning.happened for _, part in _TITLES for name, meaning in sorted(part.items())}
    return (
        "/* What counters of dropped packets mean: generated by anycast_sdn.views.counters.as_script. */\n\n"
        f"export const COUNTERS = {json.dumps(meanings, ensure_ascii=False, indent=2)};\n"
    )


def _section(title: str, part: Mapping[str, Meaning]) -> str:
    lines = [f"## {title}", "", "| counter | what happened | what to do |", "| --- | --- | --- |"]
    for name, (happened, advice) in sorted(part.items()):
        where = " and ".join(_rows_of(name))
        lines.append(f"| `{name}` | {happened}{f' Rule: {where}.' if where else ''} | {advice} |")
    return "\n".join(lines) + "\n"


def _rows_of(counter: str) -> Iterator[str]:
    """Table and priority of the rules that count under this name, as in docs/pipeline.md."""
    return (f"table {row.table.value}, priority {row.priority}" for row in ROWS if row.counter == counter)


def together(*counted: Mapping[str, int]) -> dict[str, int]:
    """The same may be counted in several places: by a rule of the switch, and by the controller."""
    total: Counter[str] = Counter()
    for each in counted:
        total.update(each)
    return dict(total)


def packets_dropped(counted: Mapping[str, int]) -> int:
    """How many of what was counted at a switch were packets."""
    return sum(number for name, number in counted.items() if name not in INCIDENTS)


class Totals(NamedTuple):
    """What was counted at a switch: by counter, and by kind of fault."""

    drops: Mapping[str, int]
    repairs: Mapping[str, int]


class Counters:
    """Counts events; a subscriber.

    In a cluster it also has what the masters of other switches count there (``others_counted``).
    """

    def __init__(self) -> None:
        self.drops: defaultdict[str, Counter[str]] = defaultdict(Counter)  # switch → counter → number
        self.repairs: defaultdict[str, Counter[Fault]] = defaultdict(Counter)  # switch → kind of fault → rules
        self.events: Counter[tuple[str, str]] = Counter()  # those that operators are told of: type, severity
        self._drops_of_others: defaultdict[str, Counter[str]] = defaultdict(Counter)  # a part of ``drops``
        self._repairs_of_others: defaultdict[str, Counter[Fault]] = defaultdict(Counter)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Reported):
            self.events[event.type, event.severity.value] += 1
        if isinstance(event, RulesRepaired):
            self.repairs[event.switch][event.fault] += event.rules
        elif isinstance(event, COUNTED):
            name, number = counted(event)
            self.drops[event.switch][name] += number


    def others_counted(self, switch: str, before: Totals, after: Totals) -> None:
        """By another controller, since it has said ``before``; what is not known here is left out."""
        for name, number in after.drops.items():
            if (more := number - before.drops.get(name, 0)) > 0 and name in COUNTERS:
                self.drops[switch][name] += more
                self._drops_of_others[switch][name] += more
        for fault in Fault:
            if (more := after.repairs.get(fault.value, 0) - before.repairs.get(fault.value, 0)) > 0:
                self.repairs[switch][fault] += more
                self._repairs_of_others[switch][fault] += more

    def own(self, switch: str) -> Totals:
        """Without what others have counted."""
        drops: Mapping[str, int] = self.drops.get(switch, {})
        repairs: Mapping[Fault, int] = self.repairs.get(switch, {})
        drops_of_others, repairs_of_others = self._drops_of_others[switch], self._repairs_of_others[switch]
        return Totals(
            {name: number - drops_of_others[name] for name, number in drops.items()},
            {fault.value: number - repairs_of_others[fault] for fault, number in repairs.items()},
        )


COUNTED = (*get_args(CountedEvent), ServerLost, ServerReturned)


def counted(event: CountedEvent | ServerLost | ServerReturned) -> tuple[str, int]:
    """The counter of an event, and by how much it grows."""
    match event:
        case PacketsDropped(reason=reason, packets=packets):
            return reason.value, packets
        case FrameMalformed(reason=reason):
            return BAD_FRAME + reason, 1
        case RuleRefused():
            return "rule_refused", 1
        case PortsHeldBack(ports=ports):
            return "port_held_back", ports
        case BindingNotAdopted():
            return "not_adopted", 1
        case ChangeUnconfirmed():
            return "unconfirmed", 1
        case ServerLost(flows=flows):
            return "freed", flows
        case ServerReturned():
            return "server_returned", 1
        case RulesRepaired(rules=rules):
            return "repaired", rules
