"""Needs: what a switch must be able to do to take a rule.  Rules that it is known to refuse are not sent to it."""

from __future__ import annotations

from collections.abc import Iterator

from anycast_sdn.core.model import ICMPV6
from anycast_sdn.openflow.abilities import Ability, Lack, of_family
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    OFPP_CONTROLLER,
    PORT_FIELDS,
    Field,
    FlowRule,
    Output,
    PopVlan,
)

_ADDRESSES = frozenset(("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"))
_PORTS = frozenset(name for names in PORT_FIELDS.values() for name in names)
_SCTP_PORTS = frozenset(("sctp_src", "sctp_dst"))
_ICMP = frozenset(("icmpv4_type", "icmpv6_type"))


class Lacking:
    """What a switch lacks of what rules match, and of where they send packets.

    Not what they do to packets: for that there may be fall-backs.
    """

    def __init__(self, lacks: tuple[Lack, ...]) -> None:
        self._lacks = frozenset((lack.ability, lack.logical) for lack in lacks if lack.logical is not None)

    def refuses(self, rule: FlowRule) -> bool:
        """Is it known that the switch does not take this rule?"""
        table = Table(rule.table)
        return bool(self._lacks) and any((ability, table) in self._lacks for ability in needs_of(rule))


def needs_of(rule: FlowRule) -> Iterator[Ability]:
    yield Ability.TABLE
    if rule.goto is not None:
        yield Ability.GOTO
    if Output(OFPP_CONTROLLER) in rule.actions:
        yield Ability.PUNT
    if PopVlan() in rule.actions:
        yield Ability.POP_TAG
    fields = {field.name: field for field in rule.match}
    if "vlan_vid" in fields and fields["vlan_vid"].mask is not None:
        yield Ability.MATCH_TAG
    ethertype = fields["eth_type"].value if "eth_type" in fields else None
    if ethertype == ETH_ARP and "in_port" in fields:
        yield Ability.MATCH_NEIGHBOUR_IPV4
    elif ethertype in (ETH_IPV4, ETH_IPV6):
        yield from _of_ip(fields, ethertype == ETH_IPV6, rule.table)


def _of_ip(fields: dict[str, Field], v6: bool, table: int) -> Iterator[Ability]:
    yield of_family("match", v6)
    addresses = fields.keys() & _ADDRESSES
    for name in addresses:
        mask = fields[name].mask
        if isinstance(mask, bytes):
            yield of_family("match_prefix" if _is_prefix(mask) else "match_bits", v6)
    if addresses and "in_port" in fields:
        yield of_family("match_port", v6)
    if ports := fields.keys() & _PORTS:
        yield Ability.MATCH_SCTP if ports & _SCTP_PORTS else of_family("match_flow", v6)
    if fields.keys() & _ICMP:
        is_neighbour = v6 and table == Table.INGRESS and fields["ip_proto"].value == ICMPV6
        yield Ability.MATCH_NEIGHBOUR_IPV6 if is_neighbour else of_family("match_icmp", v6)


def _is_prefix(mask: bytes) -> bool:
    """Are its ones at the beginning?"""
    zeros = (1 << 8 * len(mask)) - 1 ^ int.from_bytes(mask, "big")
    return zeros & zeros + 1 == 0
