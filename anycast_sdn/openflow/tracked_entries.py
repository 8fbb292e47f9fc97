"""Flow entries of a client edge inside Open vSwitch's connection tracker, as FlowRule; a function for each dependency.

``edge`` makes what follows from the network file; ``service`` the rules of one ANY/n, ``server`` those of one server.
None of them is about a single flow: what is known of a flow is a connection of the tracker, whose label is ASg.

Registers: outward reg4 is ANY; inward reg4 is the server, reg12 ANY, and xxreg2 the group.  In IPv6 these are xxreg1
and xxreg3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from anycast_sdn.core.model import TCP, UDP, Address, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Conntrack, Side, Subnet
from anycast_sdn.core.tracked_address import PEER, TrackedLayout
from anycast_sdn.openflow import entries, fragment_entries
from anycast_sdn.openflow.allocation_entries import TO_CONTROLLER
from anycast_sdn.openflow.connection_queries import ASKED
from anycast_sdn.openflow.connections import BEGUN
from anycast_sdn.openflow.entry import pairs, rule_of
from anycast_sdn.openflow.meters import Meter, port_meter, reply_meter
from anycast_sdn.openflow.pipeline import ROW
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_INVALID,
    CT_RELATED,
    CT_SNAT,
    CT_TRACKED,
    Action,
    Copy,
    Field,
    FlowRule,
    Load,
    Move,
    Resubmit,
    SetField,
    Track,
    Value,
    destination_in,
    eth_type,
    source_in,
)

LABEL = 16  # bytes
UNANSWERED = bytes(LABEL)
NOT_LOOKED_UP = Field("reg2", 0)


class Names(NamedTuple):
    """The fields of one family."""

    source: str
    destination: str
    first: str  # the register for ANY outward, and for the server inward
    second: str  # that for ANY inward
    bits: int


NAMES = {
    False: Names("ipv4_src", "ipv4_dst", "reg4", "reg12", 32),
    True: Names("ipv6_src", "ipv6_dst", "xxreg1", "xxreg3", 128),
}


def label(server: Address | None) -> bytes:
    """ct_label of a connection that is pinned to this server."""
    return (server or b"").rjust(LABEL, b"\0")


@lru_cache(1 << 12)
def group_mark(name: str) -> bytes:
    """xxreg2 of a group: the same after a restart, and different for any two groups."""
    return hashlib.blake2b(name.encode(), digest_size=LABEL).digest()


def _in_register(address: Address) -> Value:
    """As the value of its register: one of 32 bits is an integer."""
    return address if len(address) == LABEL else int.from_bytes(address, "big")


def _state(state: int) -> Field:
    return Field("ct_state", CT_TRACKED | state, CT_TRACKED | state)


def edge(
    role: ClientEdgeRole, subnets: Sequence[Subnet], layouts: Iterable[TrackedLayout]
) -> Iterator[FlowRule]:
    """The rules that are about no single service or server.  ``subnets``: those of the switch."""
    hosts = [subnet for subnet in subnets if subnet.side is not Side.UPLINK]
    for index, port in enumerate(entries.host_ports(subnets)):
        for subnet in (subnet for subnet in hosts if port in subnet.ports):
            own = [gateway.prefix for gateway in subnet.gateways]
            in_port = Field("in_port", port)
            yield from pairs(
                Kind.TO_TRACKER, own, subnet.allowed(role), in_port, NOT_LOOKED_UP, port_index=index
            )
            for v6 in {prefix.is_v6 for prefix in own}:
                yield _other_numbers(v6, in_port, port_meter(Meter.CLIENT_ENDS, index))
    for subnet in hosts:
        own = [gateway.prefix for gateway in subnet.gateways]
        yield from pairs(Kind.NOT_BEGUN, own, subnet.allowed(role), Field("reg9", 1))
    for kind in (Kind.TRACKED_OUT_ELSE, Kind.TRACKED_IN_ELSE, Kind.PIN_ELSE, Kind.RESTORE_IN_ELSE):
        yield rule_of(kind)
    asked = SetField("pkt_mark", 0), SetField("reg2", TO_CONTROLLER), SetField("reg9", 1)
    yield rule_of(Kind.BEGUN, BEGUN, actions=(*asked, Resubmit(ROW[Kind.BEGUN].resubmit or 0)))
    yield rule_of(Kind.TRACK_OUT_ELSE, actions=_back_to_client_out())
    yield rule_of(Kind.CONNECTION_MISSING, ASKED)
    for layout in layouts:
        yield from family(layout)


def _other_numbers(v6: bool, in_port: Field, meter: int) -> FlowRule:
    to_label = Move("ct_label", NAMES[v6].destination, NAMES[v6].bits)
    return rule_of(
        Kind.OTHER_NUMBERS, eth_type(v6), in_port, _state(CT_SNAT | CT_INVALID), Field("ip_proto", TCP),
        actions=(to_label, Copy(meter), Resubmit(ROW[Kind.OTHER_NUMBERS].resubmit or 0)),
    )  # fmt: skip


def _back_to_client_out() -> tuple[Action, ...]:
    return SetField("reg2", 1), Resubmit(ROW[Kind.UNTRACKED].resubmit or 0)


def family(layout: TrackedLayout) -> Iterator[FlowRule]:
    v6 = layout.width == 128
    names = NAMES[v6]
    to_server_edge = Resubmit(ROW[Kind.TRACKED_OUT].resubmit or 0)
    to_any = Move(names.first, names.destination, names.bits)
    translated = (eth_type(v6), _state(CT_SNAT))
    unanswered = Field("ct_label", UNANSWERED)
    yield rule_of(Kind.TRACKED_OUT_UNANSWERED, *translated, unanswered, actions=(to_any, to_server_edge))
    to_label = Move("ct_label", names.destination, names.bits)
    yield rule_of(Kind.TRACKED_OUT, *translated, actions=(to_label, to_server_edge))
    label_shown = Move("ct_label", names.source, names.bits)
    yield rule_of(Kind.CONNECTION_FOUND, eth_type(v6), _state(CT_RELATED), ASKED, actions=(label_shown,))
    for index, subnet in enumerate(layout.subnets):
        value, mask = layout.within(index)
        recognised = mask if any(mask) else None
        client = _upper_bits(subnet)
        source = Field(names.source, value, recognised) if recognised else None
        yield rule_of(
            Kind.UNTRACKED, eth_type(v6), source,
            actions=(to_any, Load(names.source, *client), *_back_to_client_out()),
        )  # fmt: skip
        destination = Field(names.destination, value, recognised) if recognised else None
        yield rule_of(
            Kind.RESTORE_IN, eth_type(v6), destination,
            actions=(
                Move(names.second, names.source, names.bits), Load(names.destination, *client),
                Resubmit(ROW[Kind.RESTORE_IN].resubmit or 0),
            ),
        )  # fmt: skip


def _upper_bits(prefix: Prefix) -> tuple[Address, Address]:
    return prefix.network, prefix.mask


def inside_of(layout: TrackedLayout, code: int, index: int) -> Load:
    """What makes H' of a client's address in the subnet with this index, apart from the bits of a wider ANY/n."""
    bits, size = layout.width, layout.width // 8
    value = (code << layout.subnet_bits | index) << layout.host_bits
    above_host = (1 << bits) - (1 << bits - layout.subnets[index].length)
    return Load(NAMES[bits == 128].source, value.to_bytes(size, "big"), above_host.to_bytes(size, "big"))


def service(
    prefix: Prefix, code: int, group: str, layout: TrackedLayout, settings: Conntrack, *, asks: bool = False
) -> Iterator[FlowRule]:
    """The rules of one ANY/n, whose first address has this code.  ``asks``: PR1X is always the controller's choice."""
    names, v6 = NAMES[prefix.is_v6], prefix.is_v6
    any_bits = prefix.bits - prefix.length
    for index, subnet in enumerate(layout.subnets):
        actions: list[Action] = [
            Move(names.destination, names.first, names.bits), inside_of(layout, code, index)
        ]  # fmt: skip
        if any_bits:
            at = layout.host_bits + layout.subnet_bits
            actions.append(Move(names.destination, names.source, any_bits, 0, at))
        actions += [Load(names.destination, PEER[v6]), *[Load("reg2", TO_CONTROLLER)] * asks]
        for kind, protocol, zone in _by_zone(settings, v6, Kind.TRACK_OUT, Kind.TRACK_OUT_UDP):
            track = Track(zone, ROW[kind].tracked, translate=True)
            ends = source_in(subnet), destination_in(prefix)
            yield rule_of(kind, eth_type(v6), protocol, *ends, actions=(*actions, track))
            if protocol:
                yield from fragment_entries.service(prefix, subnet, (*actions, track))
    block = layout.block(code, prefix.length)
    actions = [Load("xxreg2", group_mark(group)), Load(names.second, _in_register(prefix.network))]
    if any_bits:
        actions.append(Move(names.destination, names.second, any_bits, layout.host_bits + layout.subnet_bits, 0))
    yield rule_of(Kind.TRACKED_IN, eth_type(v6), _state(CT_DNAT), destination_in(block), actions=tuple(actions))


def server(
    address: Address, translation: Iterable[Prefix], settings: Conntrack, *, spoils: bool = False
) -> Iterator[FlowRule]:
    """The rules of one server, whatever its groups.  ``spoils``: see ``fragment_entries``."""
    v6 = len(address) == LABEL
    names, value = NAMES[v6], _in_register(address)
    prefixes = list(translation)
    for kind, protocol, zone in _by_zone(settings, v6, Kind.TRACK_IN, Kind.TRACK_IN_UDP):
        track = Track(zone, ROW[kind].tracked, translate=True)
        actions = Load(names.first, value), Load(names.source, PEER[v6]), track
        fields = () if protocol is None else (protocol,)
        yield from pairs(kind, [Prefix.host(address)], prefixes, *fields, actions=actions)
        if protocol:
            yield from fragment_entries.server(address, prefixes, settings, actions, spoils=spoils)
    yield rule_of(Kind.PINNED_REPLY, eth_type(v6), Field(names.first, value), Field("ct_label", label(address)))
    from_server = SetField(names.source, address)
    unknown = Field("ct_state", CT_TRACKED, CT_TRACKED | CT_DNAT)
    ends = eth_type(v6), unknown, Field(names.first, value)
    yield replace(rule_of(Kind.UNTRACKED_REPLY, *ends, actions=(from_server,)), meter=reply_meter(address))


def member(address: Address, group: str, settings: Conntrack) -> Iterator[FlowRule]:
    """The rules by which the first reply of a server of this group pins a flow."""
    v6 = len(address) == LABEL
    names = NAMES[v6]
    for kind, protocol, zone in _by_zone(settings, v6, Kind.MEMBER_REPLY, Kind.MEMBER_REPLY_UDP):
        yield rule_of(
            kind,
            eth_type(v6),
            protocol and Field("ct_zone", zone),  # later IPv6 fragments have another protocol
            Field(names.first, _in_register(address)),
            Field("ct_label", UNANSWERED),
            Field("xxreg2", group_mark(group)),
            actions=(
                Track(zone, commit=True, label=label(address)),
                SetField(names.source, address),
                Copy(reply_meter(address)),
            ),
        )


def _by_zone(settings: Conntrack, v6: bool, kind: Kind, of_udp: Kind) -> Iterator[tuple[Kind, Field | None, int]]:
    """(kind, condition, zone): of UDP and of all else, which have a rule each."""
    yield kind, None, settings.zone_of(v6, udp=False)
    yield of_udp, Field("ip_proto", UDP), settings.zone_of(v6, udp=True)
