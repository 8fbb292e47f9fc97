"""Flow entries and groups of the method, as FlowRule and GroupRule.  Pure; a function for each row.

``ingress``, ``client_edge``, ``route`` and the like make the rules that follow from the network file, the enrolments
and the neighbours; ``binding`` makes the two rules of one flow.  ``readback`` is the inverse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from anycast_sdn.core.bindings import Half
from anycast_sdn.core.model import ICMP, ICMPV6, TCP, UDP, Address, FlowKey, Neighbour, Prefix
from anycast_sdn.core.prefixes import SPECIAL
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet
from anycast_sdn.openflow.entry import IN_FRAGMENTS, pairs, rule_of
from anycast_sdn.openflow.frames import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP_ERRORS,
    ICMPV6_ERRORS,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
)
from anycast_sdn.openflow.meters import PARTS, Meter, check_meter, port_meter, reply_meter
from anycast_sdn.openflow.pipeline import BINDING_KINDS, ROW, cookie
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import (
    ETH_ARP,
    ETH_LLDP,
    ETH_QINQ,
    ETH_VLAN,
    LATER_FRAGMENT,
    OFPP_CONTROLLER,
    PORT_FIELDS,
    PRIORITY_TAG,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    VLAN_BITS,
    VLAN_PRESENT,
    Action,
    Bucket,
    CheckSize,
    Copy,
    DecTtl,
    Field,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Match,
    Output,
    PopVlan,
    PutBinding,
    Resubmit,
    SetField,
    ToGroup,
    destination_in,
    eth_type,
    match,
    one_object,
    source_in,
)

MOST_PORT_RULES = 1024  # ports × subnets of one switch: see ``for_each_port``
MOST_KEPT = 1 << 17  # cached rules, shared by all switches that want them
# (protocol, bytes of an address) → the field of the type; ICMP over IPv6 is treated as any other protocol
_ICMP_TYPE = {(ICMP, 4): "icmpv4_type", (ICMPV6, 16): "icmpv6_type"}
_ICMP_ERRORS = {False: ("icmpv4_type", ICMP, sorted(ICMP_ERRORS)), True: ("icmpv6_type", ICMPV6, sorted(ICMPV6_ERRORS))}
_LATER_FRAGMENT = Field("ip_frag", LATER_FRAGMENT, LATER_FRAGMENT)
_SYN = (Field("ip_proto", TCP), Field("tcp_flags", TCP_SYN, TCP_SYN | TCP_ACK))
_HARMLESS_SOURCES = (Prefix.parse("fe80::/10"), Prefix.parse("::/128"), Prefix.parse("0.0.0.0/32"))


def _with_twin(rule: FlowRule) -> Iterator[FlowRule]:
    """A rule of a row that ``untags``, and its twin for packets with a priority tag."""
    yield rule
    tagged = match(*rule.match, Field("vlan_vid", PRIORITY_TAG))
    yield replace(rule, priority=rule.priority + 1, match=tagged, actions=(PopVlan(), *rule.actions))


# ------------------------------------------------------------------------------ constant rules


def constant() -> Iterator[FlowRule]:
    """The rules that every switch has, whatever its role."""
    yield rule_of(Kind.FROM_CONTROLLER, Field("in_port", OFPP_CONTROLLER))
    yield rule_of(Kind.LLDP_ELSE, Field("eth_type", ETH_LLDP))
    yield from _tagged()
    for kind in (Kind.NOT_IP, Kind.OUT_ELSE, Kind.SERVICE_ELSE, Kind.IN_ELSE):
        yield rule_of(kind)
    for prefix in SPECIAL:
        yield rule_of(Kind.MARTIAN, eth_type(prefix.is_v6), destination_in(prefix))


def _tagged() -> Iterator[FlowRule]:
    """VLAN identifiers other than 0: OpenFlow cannot match "unequal", so there is a rule for each bit that may be set.

    Of a frame with two tags, switches report the inner tag as the type, or skip both.
    """
    for bit in range(VLAN_BITS):
        present = VLAN_PRESENT | 1 << bit
        yield rule_of(Kind.TAGGED, Field("vlan_vid", present, present))
    for ethertype in (ETH_VLAN, ETH_QINQ):
        yield rule_of(Kind.TAGGED, Field("eth_type", ethertype))
    yield rule_of(Kind.STILL_TAGGED, Field("vlan_vid", VLAN_PRESENT, VLAN_PRESENT))


def host_ports(subnets: Iterable[Subnet]) -> list[int]:
    """All ports that lead to hosts; a port's index in this list gives the numbers of its meters."""
    return sorted({port for subnet in subnets for port in subnet.ports})


def ingress(
    subnets: Iterable[Subnet],
    fabric_ports: Iterable[int],
    anycast: Iterable[Prefix],
    hairpin: bool,
    translation: Iterable[Prefix] = (),
) -> Iterator[FlowRule]:
    """Table 0: what may enter by host ports, uplinks and ports to other switches.

    ``subnets``: those of the switch, uplinks among them; ``hairpin``: packets from other switches may go back
    by the port where they came in (see ``pipeline``); ``translation``: the switch's PRh/k.
    """
    forget = (ForgetInPort(),) if hairpin else ()
    subnets, anycast = tuple(subnets), tuple(anycast)
    uplinks = {port for subnet in subnets if subnet.side is Side.UPLINK for port in subnet.ports}
    hosts = [gateway.prefix for subnet in subnets if subnet.side is not Side.UPLINK for gateway in subnet.gateways]
    ours = (*hosts, *translation)
    for index, port in enumerate(fabric_ports):
        for v6 in (False, True):
            yield from _with_twin(rule_of(Kind.FROM_FABRIC, Field("in_port", port), eth_type(v6), actions=forget))
        yield rule_of(Kind.LLDP, Field("in_port", port), Field("eth_type", ETH_LLDP), port_index=index)
    for index, port in enumerate(host_ports(subnets)):
        in_port = Field("in_port", port)
        yield rule_of(Kind.LLDP_FROM_HOST, in_port, Field("eth_type", ETH_LLDP))
        yield rule_of(Kind.ARP, in_port, Field("eth_type", ETH_ARP), port_index=index)
        for icmp_type in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
            neighbour = (eth_type(True), Field("ip_proto", ICMPV6), Field("icmpv6_type", icmp_type))
            yield rule_of(Kind.ND, in_port, *neighbour, port_index=index)
        own = [gateway.prefix for subnet in subnets if port in subnet.ports for gateway in subnet.gateways]
        for kind, sources in (
            (Kind.ANYCAST_SOURCE, anycast),
            (Kind.OWN_SOURCE, ours if port in uplinks else ()),
            (Kind.LINK_LOCAL, _HARMLESS_SOURCES),
        ):
            for prefix in sources:
                yield rule_of(kind, in_port, eth_type(prefix.is_v6), source_in(prefix))
        for prefix in () if port in uplinks else own:
            yield from _with_twin(rule_of(Kind.FROM_HOST, in_port, eth_type(prefix.is_v6), source_in(prefix)))
        for v6 in (False, True):
            if port in uplinks:
                yield from _with_twin(rule_of(Kind.FROM_UPLINK, in_port, eth_type(v6)))
            else:
                yield rule_of(Kind.WRONG_SOURCE, in_port, eth_type(v6))


def closed(ports: Iterable[int]) -> Iterator[FlowRule]:
    """Table 0: nothing may enter by these (``one_table``)."""
    for port in ports:
        yield rule_of(Kind.WRONG_SOURCE, Field("in_port", port))


# ------------------------------------------------------------------------------ client edge


def client_edge(
    role: ClientEdgeRole | None, subnets: Sequence[Subnet], anycast: Iterable[Prefix], tcp_flags: bool = False
) -> Iterator[FlowRule]:
    """Tables 1 and 3 without the bindings, and the rules that report where TCP connections begin and end.

    ``subnets``: those of this switch; ``anycast``: ANY/m; ``tcp_flags``: the switch can match them.
    """
    anycast = tuple(anycast)
    hosts = [subnet for subnet in subnets if subnet.side is not Side.UPLINK]
    yield from pairs(Kind.UNAUTHORISED, [gateway.prefix for subnet in hosts for gateway in subnet.gateways], anycast)
    for index, port in enumerate(host_ports(subnets)):
        if any(port in subnet.ports for subnet in hosts):
            for prefix in anycast:
                ends = (Field("in_port", port), eth_type(prefix.is_v6), destination_in(prefix))
                yield rule_of(Kind.PROHIBITED, *ends, port_index=index)
    if role is None:
        return
    for index, port in enumerate(host_ports(subnets)):
        in_port = Field("in_port", port)
        for subnet in (subnet for subnet in hosts if port in subnet.ports):
            own = [gateway.prefix for gateway in subnet.gateways]
            yield from pairs(Kind.FIRST_PACKET, own, subnet.allowed(role), in_port, port_index=index)
            if tcp_flags:
                yield from pairs(Kind.SYN, own, subnet.allowed(role), in_port, *_SYN, port_index=index)
    for subnet in hosts:
        own = [gateway.prefix for gateway in subnet.gateways]
        yield from pairs(Kind.LOOPED, own, subnet.allowed(role), Field("in_port", OFPP_CONTROLLER))
    yield from _client_errors(role, hosts, host_ports(subnets))
    if tcp_flags:
        yield from _tcp_ends(role, hosts, subnets)
    for prefix in role.translation_prefixes:
        for error in _errors_to(Kind.ICMP_ERROR, prefix):
            yield from _by_sender(error, prefix.is_v6)
        yield rule_of(Kind.UNKNOWN_TRANSLATED, eth_type(prefix.is_v6), destination_in(prefix))


def _client_errors(role: ClientEdgeRole, hosts: Iterable[Subnet], ports: Sequence[int]) -> Iterator[FlowRule]:
    """Table 1: clients' ICMP errors, which a binding's rule would translate without what they quote."""
    services: dict[int, dict[Prefix, None]] = {}
    for subnet in hosts:
        for port in subnet.ports:
            services.setdefault(port, {}).update(dict.fromkeys(subnet.allowed(role)))
    for port, prefixes in services.items():
        for prefix in prefixes:
            yield from _errors_to(Kind.CLIENT_ERROR, prefix, Field("in_port", port), port_index=ports.index(port))


def _errors_to(kind: Kind, prefix: Prefix, *fields: Field, port_index: int = 0) -> Iterator[FlowRule]:
    name, protocol, types = _ICMP_ERRORS[prefix.is_v6]
    for icmp_type in types:
        error = (Field("ip_proto", protocol), Field(name, icmp_type))
        yield rule_of(kind, eth_type(prefix.is_v6), destination_in(prefix), *error, *fields, port_index=port_index)


def spoiled_fragments(translated: Iterable[Prefix], protocols: Iterable[int] = (TCP, UDP)) -> Iterator[FlowRule]:
    """Table 0 of a switch that would spoil them.  ``translated``: destinations of packets whose addresses it sets."""
    for prefix in translated:
        for protocol in () if prefix.is_v6 else protocols:
            fields = Field("ip_proto", protocol), _LATER_FRAGMENT
            yield rule_of(Kind.SPOILED, eth_type(False), destination_in(prefix), *fields)


def _by_sender(rule: FlowRule, v6: bool) -> Iterator[FlowRule]:
    """A rule with meter ICMP_ERRORS for each part of all senders."""
    name, width = ("ipv6_src", 16) if v6 else ("ipv4_src", 4)
    for part in range(PARTS):
        sender = Field(name, part.to_bytes(width, "big"), (PARTS - 1).to_bytes(width, "big"))
        yield replace(rule, match=match(*rule.match, sender), meter=Meter.ICMP_ERRORS + part)


def no_route(subnets: Iterable[Subnet]) -> Iterator[FlowRule]:
    """Table 4: packets without a route, by the ingress port if it leads to hosts or routers, and in transit."""
    yield rule_of(Kind.NO_ROUTE)
    for index, port in enumerate(host_ports(subnets)):
        yield rule_of(Kind.NO_ROUTE_HERE, Field("in_port", port), port_index=index)


def _tcp_ends(role: ClientEdgeRole, clients: Iterable[Subnet], subnets: Iterable[Subnet]) -> Iterator[FlowRule]:
    """Table 4: FIN and RST of bindings, recognised by the source that a binding's rule has just written.

    Clients' ports have meters of their own; another one is for packets that the controller sends through the tables.
    """
    ports = host_ports(clients)
    indices = {port: index for index, port in enumerate(host_ports(subnets)) if port in ports}
    meters = {port: port_meter(Meter.CLIENT_ENDS, index) for port, index in indices.items()}
    meters[OFPP_CONTROLLER] = int(Meter.ENDS)
    for flag in (TCP_FIN, TCP_RST):
        ended = (Field("ip_proto", TCP), Field("tcp_flags", flag, flag), Field("reg0", 0))
        for prefix in role.translation_prefixes:
            for port, meter in meters.items():
                yield _tcp_end(meter, Field("in_port", port), eth_type(prefix.is_v6), source_in(prefix), *ended)
        for prefix in role.services:
            yield _tcp_end(int(Meter.ENDS), eth_type(prefix.is_v6), source_in(prefix), *ended)


def _tcp_end(meter: int, *fields: Field | None) -> FlowRule:
    again = (SetField("reg0", 1), Resubmit(ROW[Kind.TCP_END].table))
    return rule_of(Kind.TCP_END, *fields, actions=(Copy(meter), *again))


def first_replies(role: ClientEdgeRole, servers: Iterable[Address]) -> Iterator[FlowRule]:
    """Table 3: the servers whose packets to PRh/k may pin a flow, or belong to a pinned one."""
    for server in servers:
        for rule in pairs(Kind.FIRST_REPLY, [Prefix.host(server)], role.translation_prefixes):
            yield replace(rule, meter=reply_meter(server))


def binding(put: PutBinding) -> FlowRule:
    """The rule of one direction of a binding (M14, M18), for one flow or a whole client (M31).  IN needs a pinned one.

    With ``fin_timeout``, a FIN shortens the rule's idle timeout by a second.  From that a controller that was away
    reads that this direction has closed.
    """
    value, half = put.binding, put.half
    key, server = value.key, value.server
    if half is Half.OUT:
        flow = key
        rewrite: tuple[Action, ...] = (_set("src", value.translated),)
        if server:
            rewrite += (_set("dst", server),)
    else:
        assert server is not None
        flow = FlowKey(server, value.translated, key.protocol, key.destination_port, key.source_port)
        rewrite = (_set("src", key.destination), _set("dst", key.source))
    if put.fin_timeout:
        rewrite += (FinTimeout(put.fin_timeout),)
    if put.marks:
        rewrite += (SetField("reg0", 1),)
    kind = BINDING_KINDS[key.is_whole, half, value.state]
    row = ROW[kind]
    return FlowRule(
        table=row.table,
        priority=row.priority,
        match=packets_of(flow, half),
        cookie=cookie(kind, value.number),
        actions=rewrite,
        goto=row.goto,
        idle_timeout=put.idle_timeout,
        notify=True,
    )


def packets_of(key: FlowKey, half: Half) -> Match:
    """The packets with these five fields, or between these two addresses.  ``half``: the direction that they take."""
    fields = [
        eth_type(len(key.source) == 16),
        source_in(Prefix.host(key.source)),
        destination_in(Prefix.host(key.destination)),
    ]
    if key.is_whole:
        return match(*fields)
    fields.append(Field("ip_proto", key.protocol))
    if key.protocol in PORT_FIELDS:
        source, destination = PORT_FIELDS[key.protocol]
        fields += [Field(source, key.source_port), Field(destination, key.destination_port)]
    elif name := _ICMP_TYPE.get((key.protocol, len(key.source))):
        fields.append(Field(name, (ECHO_REPLY if half is Half.IN else ECHO_REQUEST)[key.protocol]))
    return match(*fields)


def _set(end: str, address: Address) -> SetField:
    return SetField(f"{'ipv6' if len(address) == 16 else 'ipv4'}_{end}", address)


# ------------------------------------------------------------------------------ server edge, routes


def service(prefix: Prefix, group: int) -> FlowRule:
    """Table 2: ANY/n is captured by the select group of its servers here (M9)."""
    return rule_of(Kind.SERVICE, eth_type(prefix.is_v6), destination_in(prefix), actions=(ToGroup(group),))


def service_alone(
    prefix: Prefix, server: Address, own_mac: bytes, host: Neighbour | None, hairpin: bool = False
) -> FlowRule:
    """Table 2: ANY/n is captured for this server, instead of a group.  See ``bucket``."""
    actions = bucket(server, own_mac, host, hairpin).actions
    return rule_of(Kind.SERVICE_ALONE, eth_type(prefix.is_v6), destination_in(prefix), actions=actions)


def service_fragments(
    prefix: Prefix, server: Address, own_mac: bytes, host: Neighbour | None, hairpin: bool = False
) -> FlowRule:
    """Table 2: fragments to ANY/n all go to this server.  See ``bucket``."""
    actions = bucket(server, own_mac, host, hairpin).actions
    return rule_of(Kind.SERVICE_FRAGMENT, eth_type(prefix.is_v6), destination_in(prefix), IN_FRAGMENTS, actions=actions)


@lru_cache(MOST_KEPT)
def bucket(server: Address, own_mac: bytes, host: Neighbour | None, hairpin: bool = False) -> Bucket:
    """A bucket of one slot (M9): the packet goes to this server, the source stays.

    ``host``: where the server is; None: behind another edge.  Then the packet is looked up among the routes, as unicast
    from elsewhere, and may leave by the port where it came in.  (What limits the size of packets has to be the rule of
    a route: a bucket is executed as an action set, in which Open vSwitch ignores ``CheckSize``.)
    """
    if host is None:
        return one_object(Bucket(1, (_set("dst", server), ForgetInPort(), Resubmit(Table.ROUTES))))
    return one_object(Bucket(1, (_set("dst", server), *_last_hop(own_mac, *host, hairpin=hairpin))))


def server_group(
    number: int, slots: Sequence[Address], buckets: Mapping[Address, Bucket], equal: bool = True
) -> GroupRule:
    """Slot *i* is bucket *i* (M10).  ``buckets``: of each server; ``equal``: see ``Features.equal_buckets``.

    Where a switch does not take that, and where all slots are of one server, there is a bucket for each server, whose
    weight is the number of its slots.
    """
    counts = Counter(slots)
    if equal and len(counts) > 1:
        return GroupRule(number, tuple([buckets[server] for server in slots]))
    weighted = (buckets[server]._replace(weight=count) for server, count in counts.items())
    return GroupRule(number, tuple(map(one_object, weighted)))


def host(
    address: Address, own_mac: bytes, mac: bytes, port: int, limit: int = 0, hairpin: bool = False
) -> FlowRule:
    """Table 4: the last hop to a connected host, or router.  ``limit``, ``hairpin``: see ``_out``."""
    prefix = Prefix.host(address)
    actions = _last_hop(own_mac, mac, port, limit, hairpin)
    return rule_of(Kind.HOST, eth_type(prefix.is_v6), destination_in(prefix), actions=actions)


def _last_hop(own_mac: bytes, mac: bytes, port: int, limit: int = 0, hairpin: bool = False) -> tuple[Action, ...]:
    return SetField("eth_src", own_mac), SetField("eth_dst", mac), *_out(port, limit, hairpin)


def _out(port: int, limit: int, hairpin: bool = False) -> tuple[Action, ...]:
    """Send the packet by this port, if it is not larger than ``limit``; 0: whatever its size.

    ``hairpin``: also by the port where it came in, since a host may use a service of its own, or one of another host
    at that port.
    """
    forget = (ForgetInPort(),) if hairpin else ()
    return (DecTtl(), *forget, *((CheckSize(limit), Resubmit(Table.EGRESS, port)) if limit else (Output(port),)))


def gateway(address: Address) -> FlowRule:
    prefix = Prefix.host(address)
    return rule_of(Kind.GATEWAY, eth_type(prefix.is_v6), destination_in(prefix))


def connected(prefix: Prefix) -> FlowRule:
    """Table 4: hosts of a connected subnet that have not been resolved yet."""
    return rule_of(Kind.UNRESOLVED, eth_type(prefix.is_v6), destination_in(prefix), length=prefix.length)


def check_answers(server: Address, gateway: Address, port: int) -> FlowRule:
    """Table 4: what a checked server sends to its gateway, from the port where it is; few servers share a meter."""
    (rule,) = pairs(Kind.CHECK_ANSWER, [Prefix.host(server)], [Prefix.host(gateway)], Field("in_port", port))
    return replace(rule, meter=check_meter(server))


def for_each_port(subnets: Sequence[Subnet], addresses: Iterable[Address]) -> Iterator[FlowRule]:
    """Table 4: ``gateway`` and ``connected`` for each port to hosts or routers, with a meter of its own.

    ``addresses``: other addresses of the switch.  Where that would be too many rules, a port has rules for its own
    subnets only.
    """
    ports = host_ports(subnets)
    everywhere = len(ports) * len(subnets) <= MOST_PORT_RULES
    for index, port in enumerate(ports):
        for subnet in subnets:
            if everywhere or port in subnet.ports:
                for each in subnet.gateways:
                    yield _port_rule(Kind.GATEWAY_HERE, Prefix.host(each.address), port, index)
                    yield _port_rule(Kind.UNRESOLVED_HERE, each.prefix, port, index)
        for address in addresses:
            yield _port_rule(Kind.GATEWAY_HERE, Prefix.host(address), port, index)


@lru_cache(MOST_KEPT)
def _port_rule(kind: Kind, prefix: Prefix, port: int, index: int) -> FlowRule:
    return rule_of(kind, Field("in_port", port), eth_type(prefix.is_v6), destination_in(prefix), port_index=index)


@lru_cache(MOST_KEPT)
def route(prefix: Prefix, port: int, limit: int = 0) -> FlowRule:
    """Table 4: towards the edge that announces ``prefix``."""
    actions = _out(port, limit)
    return rule_of(Kind.ROUTE, eth_type(prefix.is_v6), destination_in(prefix), actions=actions, length=prefix.length)


@lru_cache(MOST_KEPT)
def egress_route(prefix: Prefix, own_mac: bytes, mac: bytes, port: int, limit: int = 0) -> FlowRule:
    """Table 4: to the router at an uplink, whose MAC is ``mac``."""
    towards = (eth_type(prefix.is_v6), destination_in(prefix))
    return rule_of(Kind.EGRESS_ROUTE, *towards, actions=_last_hop(own_mac, mac, port, limit), length=prefix.length)


# ------------------------------------------------------------------------------ egress


def egress(limits: Mapping[int, int]) -> Iterator[FlowRule]:
    """Table 5.  ``limits``: port → the largest IP packet that may leave by it."""
    if limits:
        yield rule_of(Kind.EGRESS_ELSE)
    for port, limit in limits.items():
        in_port = Field("in_port", port)  # as ``Resubmit`` has it
        yield rule_of(Kind.FITS, in_port, actions=(Output(port),))
        for v6 in (False, True):
            too_large = rule_of(Kind.TOO_LARGE, in_port, eth_type(v6), Field("reg1", 1), number=limit)
            yield from _by_sender(too_large, v6)
