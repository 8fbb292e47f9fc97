"""Judgement: which roles a switch can carry out in which family, what it lacks, and what follows.  Pure.

One sentence for each role is what an operator reads, in the log as in ``GET /v1/switches``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Switch
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.fallbacks import fallbacks
from anycast_sdn.openflow.features import Features


class Role(enum.Enum):
    CLIENT_EDGE = "client edge"
    SERVER_EDGE = "server edge"
    CORE = "core"


_FORWARDING = (Ability.DEC_TTL_IPV4, Ability.DEC_TTL_IPV6)
NEEDS: Mapping[Role, tuple[Ability, ...]] = {
    Role.CLIENT_EDGE: (Ability.SET_IPV4, Ability.SET_IPV6, *_FORWARDING),
    Role.SERVER_EDGE: (Ability.SELECT_GROUP, Ability.GROUP_SET_IPV4, Ability.GROUP_SET_IPV6, *_FORWARDING),
    Role.CORE: _FORWARDING,
}
_FOLLOWS = {  # when a role cannot be carried out
    Role.CLIENT_EDGE: "new {}flows of its clients are refused",
    Role.SERVER_EDGE: "{}service addresses are not announced here",
    Role.CORE: "{}packets are not sent through it",
}
FAMILIES = (4, 6)


class Judgement(NamedTuple):
    """Of one role of one switch."""

    role: Role
    able: frozenset[int]  # the families, 4 and 6, in which it can be carried out
    lacks: tuple[Lack, ...]
    fallbacks: tuple[str, ...] = ()  # what the controller does instead of something that the switch lacks, in words

    @property
    def is_able(self) -> bool:
        return len(self.able) == len(FAMILIES)

    @property
    def sentence(self) -> str:
        """Its subject is the switch."""
        if self.is_able:
            return "; ".join((f"can be a {self.role.value}", *self.fallbacks))
        only = "" if not self.able else f"IPv{next(iter({*FAMILIES} - self.able))} "
        why = f"it cannot {_reasons(self.lacks)}"
        unable = f"cannot be a {self.role.value}{f' for {only.strip()}' * bool(only)}: {why}; {self._follows(only)}"
        return "; ".join((unable, *self.fallbacks))

    def _follows(self, only: str) -> str:
        return _FOLLOWS[self.role].format(only)


def roles(switch: Switch) -> tuple[Role, ...]:
    """Those that the network file gives it: every switch forwards."""
    edges = (Role.CLIENT_EDGE,) * bool(switch.client_edge) + (Role.SERVER_EDGE,) * switch.server_edge
    return (*edges, Role.CORE)


def judge(role: Role, features: Features) -> Judgement:
    lacks = tuple(lack for lack in features.lacks if lack.ability in NEEDS[role])
    lost = {lack.ability.about.family for lack in lacks}
    able = frozenset() if None in lost else frozenset(FAMILIES) - lost
    instead = tuple(each.sentence for each in fallbacks(features, of_flows=role is Role.CLIENT_EDGE)) if able else ()
    return Judgement(role, able, lacks, instead)


def _reasons(lacks: Iterable[Lack]) -> str:
    """ "set IPv6 addresses (table 1: bad action, …) and …", each ability once, with the tables that refuse it."""
    by_ability: dict[tuple[Ability, str], list[int]] = {}
    for lack in lacks:
        tables = by_ability.setdefault((lack.ability, lack.why), [])
        if lack.table is not None:
            tables.append(lack.table)
    return listed([_reason(ability, why, tables) for (ability, why), tables in by_ability.items()], separator=", nor ")


def _reason(ability: Ability, why: str, tables: list[int]) -> str:
    where = f"table{'s' * (len(tables) > 1)} {' and '.join(map(str, sorted(tables)))}: " if tables else ""
    return f"{ability.about.words} ({where}{why})"
