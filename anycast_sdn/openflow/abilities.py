"""Abilities: what a switch must be able to do for its roles, and what it was found to lack.

A switch says in its features what it can do, and that is often wrong.  So each ability is tried (``trials``): a rule as
the method needs it, in its own table, that no packet matches.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class About(NamedTuple):
    words: str  # what the switch does, as in "it cannot …"
    family: int | None = None  # 4 or 6: what lacks it is lost for this family alone; None: for both


class Ability(enum.Enum):
    """The value is its name in REST and in what members of a cluster tell each other."""

    SET_IPV4 = "set_ipv4"
    SET_IPV6 = "set_ipv6"
    DEC_TTL_IPV4 = "dec_ttl_ipv4"
    DEC_TTL_IPV6 = "dec_ttl_ipv6"
    SELECT_GROUP = "select_group"
    GROUP_SET_IPV4 = "group_set_ipv4"
    GROUP_SET_IPV6 = "group_set_ipv6"

    @property
    def about(self) -> About:
        return _ABOUT[self]


_ABOUT = {
    Ability.SET_IPV4: About("set IPv4 addresses", 4),
    Ability.SET_IPV6: About("set IPv6 addresses", 6),
    Ability.DEC_TTL_IPV4: About("decrement the TTL of IPv4 packets", 4),
    Ability.DEC_TTL_IPV6: About("decrement the hop limit of IPv6 packets", 6),
    Ability.SELECT_GROUP: About("spread flows by a select group"),
    Ability.GROUP_SET_IPV4: About("set IPv4 addresses in the buckets of a group", 4),
    Ability.GROUP_SET_IPV6: About("set IPv6 addresses in the buckets of a group", 6),
}


class Lack(NamedTuple):
    """An ability that a switch has refused."""

    ability: Ability
    table: int | None  # the switch's, in which it was tried; None: in no table
    why: str  # what the switch has answered, in words
