"""Abilities: what a switch must be able to do for its roles, and what it was found to lack.

A switch says in its features what it can do, and that is often wrong.  So each ability is tried (``ability_trials``): a
rule as the method needs it, in its own table, that no packet matches.

One lack has many effects: a switch that does not match IPv6 addresses refuses every rule of IPv6.  ``rests_on`` says
which abilities explain why a switch refuses a trial, so that only the cause is told; ``control.refused_rows`` does so
for rules that were not tried.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from anycast_sdn.openflow.row import Table


class About(NamedTuple):
    words: str  # what the switch does, as in "it cannot …"
    family: int | None = None  # 4 or 6: what lacks it is lost for this family alone; None: for both
    without: str = ""  # what follows, if no role needs it


class Ability(enum.Enum):
    """The value is its name in REST and in what members of a cluster tell each other."""

    TABLE = "table"
    TWO_TABLES = "two_tables"  # not tried: how many it has is what it says
    GOTO = "goto"
    PUNT = "punt"
    MATCH_IPV4 = "match_ipv4"
    MATCH_IPV6 = "match_ipv6"
    MATCH_PREFIX_IPV4 = "match_prefix_ipv4"
    MATCH_PREFIX_IPV6 = "match_prefix_ipv6"
    MATCH_PORT_IPV4 = "match_port_ipv4"
    MATCH_PORT_IPV6 = "match_port_ipv6"
    MATCH_NEIGHBOUR_IPV4 = "match_neighbour_ipv4"
    MATCH_NEIGHBOUR_IPV6 = "match_neighbour_ipv6"
    MATCH_FLOW_IPV4 = "match_flow_ipv4"
    MATCH_FLOW_IPV6 = "match_flow_ipv6"
    SET_IPV4 = "set_ipv4"
    SET_IPV6 = "set_ipv6"
    TRANSLATE_IPV4 = "translate_ipv4"
    TRANSLATE_IPV6 = "translate_ipv6"
    SET_MACS = "set_macs"
    DEC_TTL_IPV4 = "dec_ttl_ipv4"
    DEC_TTL_IPV6 = "dec_ttl_ipv6"
    DELIVER_IPV4 = "deliver_ipv4"
    DELIVER_IPV6 = "deliver_ipv6"
    SELECT_GROUP = "select_group"
    TO_GROUP = "to_group"
    GROUP_SET_MACS = "group_set_macs"
    GROUP_DEC_TTL = "group_dec_ttl"
    GROUP_SET_IPV4 = "group_set_ipv4"
    GROUP_SET_IPV6 = "group_set_ipv6"
    GROUP_DELIVER_IPV4 = "group_deliver_ipv4"
    GROUP_DELIVER_IPV6 = "group_deliver_ipv6"
    SERVE_IPV4 = "serve_ipv4"
    SERVE_IPV6 = "serve_ipv6"
    NEXT_HOP = "next_hop"
    MATCH_ICMP_IPV4 = "match_icmp_ipv4"
    MATCH_ICMP_IPV6 = "match_icmp_ipv6"
    MATCH_SCTP = "match_sctp"
    MATCH_BITS_IPV4 = "match_bits_ipv4"
    MATCH_BITS_IPV6 = "match_bits_ipv6"
    MATCH_TAG = "match_tag"
    POP_TAG = "pop_tag"
    FLOWS_IPV4 = "flows_ipv4"  # not tried: found when it refuses the rules of flows one after the other
    FLOWS_IPV6 = "flows_ipv6"
    ROOM = "room"  # not tried: found when it refuses rules because a table is full …
    ROOM_FOR_GROUPS = "room_for_groups"  # … or groups
    ROWS_IPV4 = "rows_ipv4"  # not tried: rules that it goes on refusing (``control.refused_rows``)
    ROWS_IPV6 = "rows_ipv6"
    EDGE_ROWS_IPV4 = "edge_rows_ipv4"  # … that are needed where hosts are
    EDGE_ROWS_IPV6 = "edge_rows_ipv6"
    ALL_ROWS = "all_rows"  # … of both families
    OTHER_ROWS = "other_rows"  # … without which roles can be carried out
    PRIORITY = "priority"
    CHECKSUM_ICMPV6 = "checksum_icmpv6"

    @property
    def about(self) -> About:
        return _ABOUT[self]

    @property
    def rests_on(self) -> frozenset[Ability]:
        """One of these lacking in the same table, or in no table, explains why this one is lacking."""
        return _RESTS_ON.get(self, frozenset())


def of_family(name: str, v6: bool) -> Ability:
    """The one of a pair, such as "set_ipv4" and "set_ipv6"."""
    return Ability(f"{name}_{'ipv6' if v6 else 'ipv4'}")


_BOTH = {  # by the beginning of the names of a pair
    "match": "match {} packets",
    "match_prefix": "match {} prefixes",
    "match_port": "match {} addresses together with the port where a packet came in",
    "match_flow": "match {} flows by their protocol and ports",
    "set": "set {} addresses",
    "translate": "match an {} flow, set its addresses and pass it on, all in one rule",
    "deliver": "set MACs and decrement the {} in one rule",
    "group_set": "set {} addresses in the buckets of a group",
    "group_deliver": "set {} addresses, MACs and TTL in one bucket of a group",
    "serve": "set {} addresses, MACs and TTL in one rule for a service",
    "flows": "hold the rules of {} flows",
    "rows": "hold rules of {} that were not tried",
    "edge_rows": "hold rules of {} hosts that were not tried",
}
_ABOUT = {
    Ability.TABLE: About("hold rules in as many tables as it needs"),
    Ability.TWO_TABLES: About("hold rules in two tables"),
    Ability.GOTO: About("pass packets on to another table"),
    Ability.PUNT: About("send packets to the controller by a rule"),
    Ability.MATCH_NEIGHBOUR_IPV4: About("match ARP by port", 4),
    Ability.MATCH_NEIGHBOUR_IPV6: About("match neighbour discovery by port", 6),
    Ability.SET_MACS: About("set MACs"),
    Ability.SELECT_GROUP: About("spread flows by a select group"),
    Ability.TO_GROUP: About("send packets to a group"),
    Ability.GROUP_SET_MACS: About("set MACs in the buckets of a group"),
    Ability.GROUP_DEC_TTL: About("decrement the TTL in the buckets of a group"),
    Ability.NEXT_HOP: About("name the next hop of flows by an indirect group"),
    Ability.MATCH_SCTP: About("match the ports of SCTP", None, "flows of SCTP are refused"),
    Ability.MATCH_TAG: About("match VLAN tags by single bits", None, "frames of a VLAN are not told from others"),
    Ability.ROOM: About("hold all rules that it needs"),
    Ability.ROOM_FOR_GROUPS: About("hold all groups that it needs"),
    Ability.ALL_ROWS: About("hold rules that were not tried"),
    Ability.OTHER_ROWS: About("hold rules that were not tried", None, "what these are for is left undone"),
    Ability.PRIORITY: About("prefer rules of a higher priority"),
    Ability.CHECKSUM_ICMPV6: About(
        "correct the checksum of ICMPv6 when it sets addresses", None, "services are not pinged over IPv6"
    ),
    Ability.POP_TAG: About("remove VLAN tags", None, "frames with a priority tag are lost"),
}
for _v6, _family in enumerate(("IPv4", "IPv6")):
    _number = 6 if _v6 else 4
    _ABOUT |= {of_family(name, bool(_v6)): About(words.format(_family), _number) for name, words in _BOTH.items()}
    _ttl = "hop limit of IPv6 packets" if _v6 else "TTL of IPv4 packets"
    _ABOUT[of_family("dec_ttl", bool(_v6))] = About(f"decrement the {_ttl}", _number)
    _ABOUT[of_family("deliver", bool(_v6))] = About(f"set MACs and decrement the {_ttl} in one rule", _number)
    _ABOUT[of_family("match_icmp", bool(_v6))] = About(
        f"match ICMP types of {_family}", _number,
        f"ICMP errors of {_family} are not translated, and services not pinged",
    )  # fmt: skip
    _ABOUT[of_family("match_bits", bool(_v6))] = About(
        f"match {_family} senders by the last bits of their addresses", _number,
        f"{_family} servers' ICMP errors do not reach clients",
    )  # fmt: skip

TTL = frozenset((Ability.DEC_TTL_IPV4, Ability.DEC_TTL_IPV6, Ability.GROUP_DEC_TTL))
_MATCH, _MATCH_FLOW = ({of_family(each, False), of_family(each, True)} for each in ("match", "match_flow"))
_PLAIN = (Ability.GOTO, Ability.PUNT, Ability.SET_MACS, Ability.MATCH_TAG, Ability.POP_TAG)
_RESTS_ON: dict[Ability, frozenset[Ability]] = {
    **dict.fromkeys(_PLAIN, frozenset(_MATCH)),
    Ability.TO_GROUP: frozenset((*_MATCH, Ability.SELECT_GROUP)),
    Ability.MATCH_SCTP: frozenset(_MATCH | _MATCH_FLOW),
    **dict.fromkeys((Ability.GROUP_SET_MACS, Ability.GROUP_DEC_TTL), frozenset((Ability.SELECT_GROUP,))),
}
for _each in (False, True):
    _match = of_family("match", _each)
    _flow, _set = of_family("match_flow", _each), of_family("set", _each)
    _ttl_too, _group_set = of_family("dec_ttl", _each), of_family("group_set", _each)
    for _name in ("match_prefix", "match_flow", "serve", "match_icmp", "match_bits", "set", "dec_ttl"):
        _RESTS_ON[of_family(_name, _each)] = frozenset((_match,))
    _RESTS_ON[of_family("match_port", _each)] = frozenset((_match, of_family("match_prefix", _each)))
    _RESTS_ON[of_family("match_icmp", _each)] = frozenset((_match, of_family("match_port", _each)))
    _RESTS_ON[of_family("match_neighbour", _each)] = frozenset((_match, Ability.PUNT) if _each else (Ability.PUNT,))
    _RESTS_ON[of_family("translate", _each)] = frozenset((_match, _flow, _set, Ability.GOTO))
    _RESTS_ON[of_family("deliver", _each)] = frozenset((_match, Ability.SET_MACS, _ttl_too))
    _RESTS_ON[_group_set] = frozenset((Ability.SELECT_GROUP,))
    _RESTS_ON[of_family("group_deliver", _each)] = frozenset(
        (Ability.SELECT_GROUP, _group_set, Ability.GROUP_SET_MACS, Ability.GROUP_DEC_TTL)
    )

ROWS = frozenset((
    Ability.ROWS_IPV4, Ability.ROWS_IPV6, Ability.EDGE_ROWS_IPV4, Ability.EDGE_ROWS_IPV6, Ability.ALL_ROWS,
    Ability.OTHER_ROWS,
))  # fmt: skip


class Lack(NamedTuple):
    """An ability that a switch has refused."""

    ability: Ability
    table: int | None  # the switch's, in which it was tried; None: in no table
    why: str  # what the switch has answered, in words
    logical: Table | None = None  # the pipeline's table that was meant; None: any role that needs the ability lacks it


def causes(lacks: Iterable[Lack]) -> tuple[Lack, ...]:
    """Without those that others explain.  A lack of one family explains nothing of the other, nor of both."""
    all_lacks = tuple(dict.fromkeys(lacks))

    def is_explained(lack: Lack) -> bool:
        families = {cause.ability.about.family for cause in all_lacks if _explains(cause, lack)}
        return not families.isdisjoint((None, lack.ability.about.family)) or families == {4, 6}

    return tuple(lack for lack in all_lacks if not is_explained(lack))


def _explains(cause: Lack, lack: Lack) -> bool:
    same = cause.table == lack.table and cause.logical == lack.logical
    if cause.ability is Ability.TABLE and lack.ability is Ability.GOTO:
        return same or "table id" in lack.why  # there is no such table to go to
    if cause.ability is Ability.TABLE and lack.ability is not Ability.TABLE:
        return same
    return cause.ability in lack.ability.rests_on and (same or cause.table is None or lack.table is None)
