"""What a simulated switch answers with an error, as OpenFlow 1.3.5 says, and for its extensions Open vSwitch.

``check`` looks at one rule alone; what depends on what else is there (meters, groups, room) the switch knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anycast_sdn.core.model import ICMP, ICMPV6, TCP, AnycastError
from anycast_sdn.openflow.flow_table import masked
from anycast_sdn.openflow.frames import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    CT_SNAT,
    CT_TRACKED,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    PORT_FIELDS,
    PRIORITY_TAG,
    Action,
    DecTtl,
    Field,
    FlowRule,
    Load,
    Move,
    PopVlan,
    SetField,
    Track,
)


class Refused(AnycastError):
    """The switch answers this message with an error; nothing has changed."""


class TableFull(Refused):
    """No room for one more rule (OFPFMFC_TABLE_FULL)."""


class EqualBuckets(Refused):
    """The switch does not take a group in which buckets are the same, nor rules that name such a group."""


_IP = frozenset((ETH_IPV4, ETH_IPV6))
# OF 1.3.5 §7.2.3.8: a field may be matched or set only if the match ensures that the packet has it.
_V4, _V6 = ("eth_type", frozenset((ETH_IPV4,))), ("eth_type", frozenset((ETH_IPV6,)))
_ICMPV6 = ("ip_proto", frozenset((ICMPV6,)))
_DISCOVERY = ("icmpv6_type", frozenset((NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT)))
_PREREQUISITES: Mapping[str, tuple[tuple[str, frozenset[int]], ...]] = {
    "ip_proto": (("eth_type", _IP),),
    "ipv4_src": (_V4,),
    "ipv4_dst": (_V4,),
    "ipv6_src": (_V6,),
    "ipv6_dst": (_V6,),
    "icmpv4_type": (_V4, ("ip_proto", frozenset((ICMP,)))),
    "icmpv6_type": (_V6, ("ip_proto", frozenset((ICMPV6,)))),
    "tcp_flags": (("ip_proto", frozenset((TCP,))),),
    "ip_frag": (("eth_type", _IP),),
    **dict.fromkeys(("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"), (("eth_type", frozenset((ETH_ARP,))),)),
    **dict.fromkeys(("ipv6_nd_target", "nd_options_type", "nd_reserved"), (_V6, _ICMPV6, _DISCOVERY)),
    "ipv6_nd_tll": (_V6, _ICMPV6, ("icmpv6_type", frozenset((NEIGHBOUR_ADVERTISEMENT,)))),
    "ct_nw_src": (_V4,),
    "ct_ipv6_src": (_V6,),
    **{name: (("ip_proto", frozenset((protocol,))),) for protocol, names in PORT_FIELDS.items() for name in names},
}


_ORIGINAL = frozenset(("ct_nw_src", "ct_ipv6_src", "ct_tp_src"))
_OF_TRACKER = frozenset(("ct_state", "ct_zone", "ct_mark", "ct_label", *_ORIGINAL))  # only the tracker sets them
_OF_CONNECTION = CT_NEW | CT_ESTABLISHED | CT_RELATED | CT_REPLY | CT_SNAT | CT_DNAT


def check(rule: FlowRule) -> None:
    """Raises Refused."""
    fields = {field.name: field for field in rule.match}
    if len(fields) != len(rule.match):
        raise Refused(f"a field stands twice in {rule.match}")
    for field in rule.match:
        if masked(field.value, field.mask) != field.value:
            raise Refused(f"{field} has bits set that its mask ignores")
    changed = set(_changed(rule))
    if changed & _OF_TRACKER:
        raise Refused(f"{rule} sets what only the connection tracker sets")
    used = {*fields, *changed, *(action.source for action in rule.actions if isinstance(action, Move))}
    needed = {condition for name in used for condition in _PREREQUISITES.get(name, ())}
    if any(isinstance(action, DecTtl | Track) for action in rule.actions):
        needed.add(("eth_type", _IP))
    if PopVlan() in rule.actions:
        needed.add(("vlan_vid", frozenset((PRIORITY_TAG,))))
    for name, values in needed:
        if name not in fields or fields[name].value not in values:
            raise Refused(f"{rule} needs a match on {name}, one of {sorted(values)}")
    state = fields.get("ct_state")
    if used & _ORIGINAL and not _says_known(state):
        raise Refused(f"{rule} needs a match on ct_state of a connection, or of no invalid packet")
    for action in rule.actions:
        if isinstance(action, Track):
            _check_track(action, state)


def _changed(rule: FlowRule) -> Iterator[str]:
    for action in rule.actions:
        if isinstance(action, SetField | Load):
            yield action.name
        elif isinstance(action, Move):
            yield action.destination


def _says_known(state: Field | None) -> bool:
    if state is None:
        return False
    bits, mask = state.value, -1 if state.mask is None else state.mask
    assert isinstance(bits, int)
    assert isinstance(mask, int)
    return bool(bits & _OF_CONNECTION) or bool(bits & CT_TRACKED and mask & CT_INVALID and not bits & CT_INVALID)


def _check_track(action: Track, state: Field | None) -> None:
    if not action.commit and (action.nat or action.label is not None):
        raise Refused(f"{action} must commit")
    if action.nat and not (len(action.nat.first) == len(action.nat.last) and action.nat.first <= action.nat.last):
        raise Refused(f"{action} has no range of addresses")
    if action.commit and state is not None and isinstance(state.value, int) and state.value & CT_INVALID:
        raise Refused(f"{action} commits packets of no connection")


def uses_registers(action: Action) -> bool:
    return isinstance(action, Load | Move) or (isinstance(action, SetField) and is_extension(action.name))


def is_extension(name: str) -> bool:
    """Of a field: of Open vSwitch."""
    return name == "tcp_flags" or name.startswith(("reg", "xxreg", "ct_", "pkt_"))
