"""Rules that were found on a switch → what they were made for: the inverse of ``entries``, under the same names.

A restarted controller reads the state of flows from the switch's own rules (M20).  A rule that ``entries`` would not
have made, because it was edited or is of another version, is read as None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from anycast_sdn.core.bindings import Half, State
from anycast_sdn.core.model import WHOLE, Address, FlowKey, Prefix
from anycast_sdn.core.slots import MANY, Slots
from anycast_sdn.core.tracked_address import TrackedLayout
from anycast_sdn.openflow import entries, tracked_entries
from anycast_sdn.openflow.pipeline import BINDING_KINDS, ROW, kind_of, number_of
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    ETH_IPV6,
    PORT_FIELDS,
    CheckSize,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Load,
    Output,
    Resubmit,
    SetField,
    ToGroup,
    Value,
)

_SOURCES, _DESTINATIONS = ("ipv4_src", "ipv6_src"), ("ipv4_dst", "ipv6_dst")
_ANY_FAMILY = {"ipv4_src": "src", "ipv6_src": "src", "ipv4_dst": "dst", "ipv6_dst": "dst"}

# ------------------------------------------------------------------------------ bindings


class FoundHalf(NamedTuple):
    """What one rule of a binding says about the binding."""

    number: int
    half: Half
    key: FlowKey  # the client's five fields
    translated: Address  # PR1X
    server: Address | None
    closed: bool = False  # a FIN or RST has passed: see ``entries.binding``


HALF_OF: Mapping[Kind, tuple[Half, State]] = {kind: (half, state) for (_, half, state), kind in BINDING_KINDS.items()}
_WHOLE = {kind for (whole, _, _), kind in BINDING_KINDS.items() if whole}


def half_of(rule: FlowRule | RulesRequest) -> Half:
    """Which direction of a binding a rule or a request is for, by its cookie; NONE for rules of no binding."""
    kind = kind_of(rule.cookie)
    return HALF_OF[kind][0] if kind and kind in HALF_OF else Half.NONE


def binding(rule: FlowRule) -> FoundHalf | None:
    """One rule of a binding; None when it is no binding's, or does not say which flow it is for.

    Its table, priority, match and the addresses that it writes must be those that ``entries.binding`` gives; its
    timeouts and further actions may differ.
    """
    kind, number = kind_of(rule.cookie), number_of(rule.cookie)
    if kind is None or kind not in HALF_OF or not number or (rule.table, rule.priority) != ROW[kind][1:3]:
        return None
    matched = {_ANY_FAMILY.get(field.name, field.name): field.value for field in rule.match}
    written = {_ANY_FAMILY.get(action.name): action.value for action in rule.actions if isinstance(action, SetField)}
    protocol = WHOLE if kind in _WHOLE else matched.get("ip_proto")
    source, destination = matched.get("src"), matched.get("dst")
    new_source, new_destination = written.get("src"), written.get("dst")
    if not isinstance(protocol, int) or not isinstance(source, bytes) or not isinstance(destination, bytes):
        return None
    if not _are_of_one_family(source, destination, new_source, new_destination or source):
        return None
    half, state = HALF_OF[kind]
    if (new_destination is None) is not (state is State.UNANSWERED):
        return None
    ports = [cast(int, matched.get(name, 0)) for name in PORT_FIELDS.get(protocol, ())] or [0, 0]
    seen = FlowKey(source, destination, protocol, *ports)
    if rule.match != entries.packets_of(seen, half):
        return None
    new_source, new_destination = cast(Address, new_source), cast("Address | None", new_destination)
    closed = any(isinstance(action, FinTimeout) and rule.idle_timeout == action.idle_s for action in rule.actions)
    if half is Half.IN:
        key = FlowKey(cast(Address, new_destination), new_source, protocol, ports[1], ports[0])
        return FoundHalf(number, Half.IN, key, destination, source, closed)
    return FoundHalf(number, Half.OUT, seen, new_source, new_destination, closed)


def _are_of_one_family(*addresses: Value | None) -> bool:
    return len({len(address) if isinstance(address, bytes) else 0 for address in addresses}) == 1


# ------------------------------------------------------------------------------ hosts and routes


def host(rule: FlowRule) -> tuple[Address, bytes, int] | None:
    """A connected host's rule → (address, MAC, port); None unless ``entries.host`` makes exactly this rule."""
    prefix, hop = _destination(rule, Kind.HOST), _last_hop(rule)
    if not prefix or not hop or entries.host(prefix.network, *hop) != rule:
        return None
    _, mac, port, *_ = hop
    return prefix.network, mac, port


def _last_hop(rule: FlowRule) -> tuple[bytes, bytes, int, int, bool] | None:
    """(own MAC, MAC, port, limit, hairpin) in a rule's actions; None when it writes no MACs."""
    written = {action.name: action.value for action in rule.actions if isinstance(action, SetField)}
    own_mac, mac = written.get("eth_src"), written.get("eth_dst")
    if not isinstance(own_mac, bytes) or not isinstance(mac, bytes):
        return None
    return own_mac, mac, *_out(rule), ForgetInPort() in rule.actions


def _out(rule: FlowRule) -> tuple[int, int]:
    """(port, limit) in a rule's actions; 0 for what they do not have."""
    port = limit = 0
    for action in rule.actions:
        match action:
            case Output(port) | Resubmit(_, port):
                pass
            case CheckSize(limit):
                pass
    return port, limit


def service(rule: FlowRule) -> tuple[Prefix, int] | None:
    """What captures an ANY/n → (ANY/n, the number of its select group)."""
    numbers = [action.group for action in rule.actions if isinstance(action, ToGroup)]
    if kind_of(rule.cookie) is not Kind.SERVICE or not numbers:
        return None
    prefix = _matched(rule, "dst")
    return (prefix, numbers[0]) if prefix and entries.service(prefix, numbers[0]) == rule else None


def tracked_service(rule: FlowRule, layouts: Mapping[bool, TrackedLayout]) -> tuple[Prefix, int] | None:
    """What leads to the connection tracker with an ANY/n → (ANY/n, the code of its first address).

    ``layouts``: by "is IPv6".  None where H' was made of other client subnets, or in another order.
    """
    if kind_of(rule.cookie) not in (Kind.TRACK_OUT, Kind.TRACK_OUT_UDP):
        return None
    service, subnet = _matched(rule, "dst"), _matched(rule, "src")
    if not service or not subnet or subnet not in layouts[service.is_v6].subnets:
        return None
    layout = layouts[service.is_v6]
    loaded = [action for action in rule.actions if isinstance(action, Load) and action.name in _SOURCES]
    upper = [int.from_bytes(each.value, "big") for each in loaded if isinstance(each.value, bytes)]
    if len(upper) != 1:
        return None
    code, index = divmod(upper[0] >> layout.host_bits, 1 << layout.subnet_bits)
    is_ours = layout.subnets[index : index + 1] == (subnet,)
    return (service, code) if is_ours and loaded == [tracked_entries.inside_of(layout, code, index)] else None


def _matched(rule: FlowRule, end: str) -> Prefix | None:
    """The prefix that its match says of one end; None: it says nothing."""
    for name, value, mask in rule.match:
        if _ANY_FAMILY.get(name) == end and isinstance(value, bytes):
            bits = int.from_bytes(mask, "big").bit_count() if isinstance(mask, bytes) else 8 * len(value)
            return Prefix(value, bits)
    return None


def slots(group: GroupRule) -> Slots:
    """The server of each slot; none where it is not as ``entries.server_group`` makes it."""
    found: list[Address] = []
    for weight, actions in group.buckets:
        written = [action.value for action in actions if isinstance(action, SetField) and action.name in _DESTINATIONS]
        if len(written) != 1 or not isinstance(written[0], bytes) or len(found) + weight > MANY:
            return ()
        found += [written[0]] * weight
    return tuple(found)


def route(rule: FlowRule) -> tuple[Prefix, int] | None:
    """A route to another switch → (prefix, port); None unless ``entries.route`` makes exactly this rule."""
    prefix = _destination(rule, Kind.ROUTE)
    port, limit = _out(rule)
    return (prefix, port) if prefix and entries.route(prefix, port, limit) == rule else None


def route_prefix(rule: FlowRule) -> Prefix | None:
    """The prefix that a rule is to be a route to, by its cookie, whatever it does; None for rules of other kinds."""
    return _destination(rule, Kind.ROUTE)


def egress_route(rule: FlowRule) -> tuple[Prefix, bytes, int] | None:
    """A route to a router at an uplink → (prefix, MAC, port); None unless ``entries.egress_route`` makes this rule."""
    prefix, hop = _destination(rule, Kind.EGRESS_ROUTE), _last_hop(rule)
    if not prefix or not hop or entries.egress_route(prefix, *hop[:4]) != rule:
        return None
    _, mac, port, *_ = hop
    return prefix, mac, port


def _destination(rule: FlowRule, kind: Kind) -> Prefix | None:
    """The prefix that a rule of this kind is for, whatever else it matches or does; None for other kinds."""
    row = ROW[kind]
    fields = {field.name: field.value for field in rule.match}
    bits = 128 if fields.get("eth_type") == ETH_IPV6 else 32
    length = rule.priority - row.priority if row.spread else bits
    if kind_of(rule.cookie) is not kind or not 0 <= length <= bits:
        return None
    network = fields.get("ipv6_dst" if bits == 128 else "ipv4_dst", bytes(bits // 8))
    return Prefix(network, length) if isinstance(network, bytes) else None
