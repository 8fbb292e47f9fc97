"""Flow entries for fragments that a connection tracker translates, as FlowRule; a function for each dependency.

Userspace Open vSwitch spoils later fragments of UDP over IPv4 when it sets an address; its tracker, which puts packets
together before it looks at them, does not.  So their addresses are set by nothing else.  At a client edge two
connections do that, in two zones:

    translated     H → ANY      is   PR1X → ANY
    redirected     ASg → PR1X   is   ANY → PR1X, and the other way PR1X → ANY is PR1X → ASg

The controller begins both when the first fragments of a flow come (``engines.tracked_fragments``); a flow without
fragments has none.  At a server edge one connection for each flow has the server as its destination.

All others take the way of whole packets.  Of IPv6 only the first fragment says what protocol it is of: all are looked
up in the zone of UDP first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from anycast_sdn.core.model import UDP, Address, Prefix
from anycast_sdn.core.roles import FRAGMENT_ZONES, ClientEdgeRole, Conntrack, Side, Subnet
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.entry import IN_FRAGMENTS, pairs, rule_of
from anycast_sdn.openflow.meters import reply_meter
from anycast_sdn.openflow.pipeline import ROW
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_INVALID,
    CT_NEW,
    CT_SNAT,
    CT_TRACKED,
    Action,
    Field,
    FlowRule,
    ForgetInPort,
    Nat,
    Resubmit,
    SetField,
    Track,
    destination_in,
    eth_type,
    source_in,
)

UDP_FRAGMENT = (eth_type(False), Field("ip_proto", UDP), IN_FRAGMENTS)


def translated_zone(settings: Conntrack) -> int:
    """That of UDP: these connections have its timers, and other ends than those of whole packets."""
    return settings.zone_of(v6=False, udp=True)


def redirected_zone(settings: Conntrack) -> int:
    return settings.zone_of(v6=False, udp=False)


def _found(state: int) -> Field:
    return Field("ct_state", CT_TRACKED | state, CT_TRACKED | state)


def _unknown(translated: int) -> Field:
    return Field("ct_state", CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW | translated)


def _invalid(translated: int) -> Field:
    return Field("ct_state", CT_TRACKED | CT_INVALID, CT_TRACKED | CT_INVALID | translated)


# ------------------------------------------------------------------------------ client edge


def edge(role: ClientEdgeRole, subnets: Sequence[Subnet], *, spoils: bool) -> Iterator[FlowRule]:
    """The rules that are about no single service or server.

    ``subnets``: those of the switch; ``spoils``: it would spoil fragments of UDP over IPv4.
    """
    settings = role.conntrack
    in_zone_of_udp = Field("ct_zone", settings.zone_of(v6=True, udp=True))
    other_zone = settings.zone_of(v6=True, udp=False)
    for v6 in (False, True):  # not of connections that are known, whose packets are translated all the same
        yield rule_of(Kind.FRAGMENT_OUT_ELSE, eth_type(v6), IN_FRAGMENTS, _invalid(CT_SNAT))
        last = Field("ct_zone", other_zone) if v6 else None
        yield rule_of(Kind.FRAGMENT_IN_ELSE, eth_type(v6), IN_FRAGMENTS, _invalid(CT_DNAT), last)
    for kind, back in (
        (Kind.FRAGMENT_OTHER_ZONE_OUT, CT_SNAT), (Kind.FRAGMENT_OTHER_ZONE_IN, CT_DNAT)
    ):  # fmt: skip
        track = Track(other_zone, ROW[kind].tracked, translate=True)
        not_found = Field("ct_state", CT_TRACKED, CT_TRACKED | back)  # an echo's reply is invalid there, not new
        yield rule_of(kind, eth_type(True), IN_FRAGMENTS, not_found, in_zone_of_udp, actions=(track,))
    if not spoils:
        return
    translate = Track(translated_zone(settings), ROW[Kind.FRAGMENT_OUT].tracked, translate=True)
    not_looked_up = Field("reg2", 0)
    hosts = [subnet for subnet in subnets if subnet.side is not Side.UPLINK]
    for port in entries.host_ports(subnets):
        for subnet in (subnet for subnet in hosts if port in subnet.ports):
            own = [gateway.prefix for gateway in subnet.gateways if not gateway.prefix.is_v6]
            fields = Field("in_port", port), *UDP_FRAGMENT[1:], not_looked_up
            yield from pairs(Kind.FRAGMENT_OUT, own, subnet.allowed(role), *fields, actions=(translate,))
    redirect = Track(redirected_zone(settings), ROW[Kind.FRAGMENT_TRACKED_OUT].tracked, translate=True)
    yield rule_of(Kind.FRAGMENT_TRACKED_OUT, *UDP_FRAGMENT, _found(CT_SNAT), actions=(redirect,))
    again = SetField("reg2", 1), Resubmit(ROW[Kind.FRAGMENT_UNTRACKED].resubmit or 0)
    yield rule_of(Kind.FRAGMENT_UNTRACKED, *UDP_FRAGMENT, _unknown(CT_SNAT), actions=again)
    restore = Track(translated_zone(settings), ROW[Kind.FRAGMENT_TRACKED_IN].tracked, translate=True)
    yield rule_of(Kind.FRAGMENT_TRACKED_IN, *UDP_FRAGMENT, _found(CT_SNAT), actions=(restore,))
    for kind in (Kind.FRAGMENT_OUT_ELSE, Kind.FRAGMENT_IN_ELSE):
        yield rule_of(kind, *UDP_FRAGMENT)


def server(
    address: Address, translation: Iterable[Prefix], settings: Conntrack, actions: tuple[Action, ...], *, spoils: bool
) -> Iterator[FlowRule]:
    """The rules of one server.  ``actions``: of the rule for its whole packets of UDP."""
    prefixes, itself = list(translation), Prefix.host(address)
    if itself.is_v6:
        yield from pairs(Kind.FRAGMENT_TRACK_IN, [itself], prefixes, IN_FRAGMENTS, actions=actions)
    if itself.is_v6 or not spoils:
        return
    redirect = Track(redirected_zone(settings), ROW[Kind.FRAGMENT_IN].tracked, translate=True)
    yield from pairs(Kind.FRAGMENT_IN, [itself], prefixes, *UDP_FRAGMENT[1:], actions=(redirect,))
    first = rule_of(Kind.FIRST_FRAGMENT_IN, *UDP_FRAGMENT, _unknown(CT_SNAT), source_in(itself))
    yield replace(first, meter=reply_meter(address))


def service(prefix: Prefix, subnet: Prefix, actions: tuple[Action, ...]) -> Iterator[FlowRule]:
    """Of one ANY/n and one client subnet.  ``actions``: of the rule for whole packets of UDP."""
    if prefix.is_v6:
        ends = eth_type(True), source_in(subnet), destination_in(prefix)
        yield rule_of(Kind.FRAGMENT_TRACK_OUT, *ends, IN_FRAGMENTS, actions=actions)


# ------------------------------------------------------------------------------ server edge


def restored() -> Iterator[FlowRule]:
    """What the tracker has translated goes on by the routes, at a client edge as at a server edge."""
    to_routes = Resubmit(ROW[Kind.FRAGMENT_RESTORED].resubmit or 0)
    yield rule_of(Kind.FRAGMENT_RESTORED, *UDP_FRAGMENT, _found(CT_DNAT), actions=(to_routes,))
    yield rule_of(Kind.FRAGMENT_RESTORE_ELSE, *UDP_FRAGMENT)


def to_server(prefix: Prefix, address: Address, hairpin: bool) -> FlowRule:
    """Fragments of UDP over IPv4 to ANY/n all go to this server."""
    forget = (ForgetInPort(),) if hairpin else ()
    zone = FRAGMENT_ZONES[zlib.crc32(address) % len(FRAGMENT_ZONES)]
    track = Track(zone, ROW[Kind.SERVICE_FRAGMENT_UDP].tracked, commit=True, nat=Nat(False, address, address))
    return rule_of(
        Kind.SERVICE_FRAGMENT_UDP, *UDP_FRAGMENT, destination_in(prefix), actions=(*forget, track)
    )
