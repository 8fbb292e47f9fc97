"""Judgement: which roles a switch can carry out in which family, what it lacks, and what follows.  Pure.

One sentence for each role is what an operator reads, in the log as in ``GET /v1/switches``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Switch
from anycast_sdn.openflow.abilities import TTL, Ability, Lack, of_family
from anycast_sdn.openflow.fallbacks import GROUPS, KEEP_TTL, ONE_SERVER, SERVE, fallbacks, serves_alone
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.openflow.row import Table


class Role(enum.Enum):
    CLIENT_EDGE = "client edge"
    SERVER_EDGE = "server edge"
    CORE = "core"


_INGRESS, _ROUTES = frozenset((Table.INGRESS,)), frozenset((Table.ROUTES,))
_CLIENTS, _SERVICES = frozenset((Table.CLIENT_OUT, Table.CLIENT_IN)), frozenset((Table.SERVICE,))
_ALL = _INGRESS | _CLIENTS | _SERVICES | _ROUTES
Needs = Mapping[Ability, frozenset[Table]]  # an ability → in which tables of the pipeline


def _needs(**tables: frozenset[Table]) -> dict[Ability, frozenset[Table]]:
    """By the beginnings of names, each of which stands for one ability or for a pair of both families."""
    names = {ability.value: ability for ability in Ability}
    return {
        ability: where
        for name, where in tables.items()
        for ability in ((names[name],) if name in names else (of_family(name, False), of_family(name, True)))
    }


_CORE = _needs(
    table=_ALL,
    goto=_ALL,
    match=_INGRESS | _ROUTES,
    match_prefix=_ROUTES,
    dec_ttl=_ROUTES,
    priority=_ROUTES,
    room=_INGRESS | _ROUTES,
    rows=_INGRESS | _ROUTES,
    all_rows=_ALL,
)
_EDGE = _CORE | _needs(
    two_tables=_ALL,
    room=_ALL,
    punt=_INGRESS | _ROUTES,
    match_neighbour=_INGRESS,
    match_prefix=_INGRESS | _ROUTES,
    match_port=_INGRESS | _ROUTES,
    set_macs=_ROUTES,
    deliver=_ROUTES,
    edge_rows=_INGRESS | _ROUTES,
)
NEEDS: Mapping[Role, Needs] = {
    Role.CLIENT_EDGE: _EDGE
    | _needs(
        punt=_INGRESS | _ROUTES | _CLIENTS,
        match=_INGRESS | _ROUTES | _CLIENTS,
        match_prefix=_INGRESS | _ROUTES | _CLIENTS,
        match_port=_INGRESS | _ROUTES | _CLIENTS,
        match_flow=_CLIENTS,
        set=_CLIENTS,
        translate=_CLIENTS,
        flows=_CLIENTS,
        edge_rows=_INGRESS | _ROUTES | _CLIENTS,
    ),
    Role.SERVER_EDGE: _EDGE
    | _needs(
        match=_INGRESS | _ROUTES | _SERVICES,
        match_prefix=_INGRESS | _ROUTES | _SERVICES,
        select_group=_SERVICES,
        to_group=_SERVICES,
        group_set_macs=_SERVICES,
        group_dec_ttl=_SERVICES,
        group_set=_SERVICES,
        group_deliver=_SERVICES,
        room_for_groups=_SERVICES,
        edge_rows=_INGRESS | _ROUTES | _SERVICES,
    ),
    Role.CORE: _CORE,
}
TWO_TABLES_NEED = _needs(next_hop=_CLIENTS)  # of a client edge (``next_hops``)
ONE_TABLE_ALONE = Lack(Ability.TWO_TABLES, None, "it has one")  # and keeps hosts out (``one_table``)
_FOLLOWS = {  # when a role cannot be carried out
    Role.CLIENT_EDGE: "new {}flows of its clients are refused",
    Role.SERVER_EDGE: "{}service addresses are not announced here",
    Role.CORE: "{}packets are not sent through it",
}
FAMILIES = (4, 6)
_ALL_FAMILIES = frozenset(FAMILIES)


class Judgement(NamedTuple):
    """Of one role of one switch."""

    role: Role
    able: frozenset[int]  # the families, 4 and 6, in which it can be carried out
    lacks: tuple[Lack, ...]
    fallbacks: tuple[str, ...] = ()  # what the controller does instead of something that the switch lacks, in words
    families: frozenset[int] = _ALL_FAMILIES  # in which it has to be
    doubt: str = ""  # why it is not known whether it can be carried out, where nothing says that it cannot

    @property
    def is_able(self) -> bool:
        return self.able >= self.families

    @property
    def sentence(self) -> str:
        """Its subject is the switch."""
        return "; ".join(filter(None, (self.finding, self.effect, *self.fallbacks)))

    @property
    def finding(self) -> str:
        """Its subject is the switch."""
        if self.is_able:
            return f"can be a {self.role.value}" + (f", as far as is known: {self.doubt}" if self.doubt else "")
        only = f" for {self._lost}" if self._lost else ""
        return f"cannot be a {self.role.value}{only}: it cannot {_reasons(self.lacks)}"

    @property
    def effect(self) -> str:
        """What follows; "": it can be what it has to be."""
        if self.is_able:
            return ""
        follows = _FOLLOWS[self.role].format(f"{self._lost} " if self._lost else "")
        if ONE_TABLE_ALONE in self.lacks:
            follows += "; what its hosts send is dropped"
        return f"{follows}; {KEEP_TTL}" if all(lack.ability in TTL for lack in self.lacks) else follows

    @property
    def _lost(self) -> str:
        """The family, if it can carry out its role in another one."""
        return f"IPv{min(self.families - self.able)}" if self.able else ""


def roles(switch: Switch) -> tuple[Role, ...]:
    """Those that the network file gives it: every switch forwards."""
    edges = (Role.CLIENT_EDGE,) * bool(switch.client_edge) + (Role.SERVER_EDGE,) * switch.server_edge
    return (*edges, Role.CORE)


def judge(role: Role, features: Features, families: frozenset[int] = _ALL_FAMILIES) -> Judgement:
    """``families``: that the network has; what the switch lacks for others does not matter."""
    needs = NEEDS[role]
    if role is Role.CLIENT_EDGE and suited(features.tables).names_next_hops:
        needs = {**needs, **TWO_TABLES_NEED}
    one_table = (ONE_TABLE_ALONE,) * (features.tables == 1)
    needed = (lack for lack in (*one_table, *features.lacking) if is_needed(lack, needs))
    lacks = tuple(lack for lack in needed if lack.ability.about.family in (None, *families))
    lacks, alone = _with_one_server(lacks, features, families) if role is Role.SERVER_EDGE else (lacks, [])
    lost = {lack.ability.about.family for lack in lacks}
    able = frozenset() if None in lost else families - lost
    instead = [each.sentence for each in fallbacks(features, of_flows=role is Role.CLIENT_EDGE)]
    untried = [lack for lack in features.untried if is_needed(lack, needs)]
    untried = [lack for lack in untried if lack.ability.about.family in (None, *families)]
    doubt = f"whether it can {_reasons(untried, ', or ')} was not found out" if untried else ""
    doubt = doubt if features.confirmed else "it does not confirm what it is sent, and has only not refused it"
    return Judgement(role, able, lacks, (*alone, *instead) if able else (), families, doubt)


def _with_one_server(
    lacks: tuple[Lack, ...], features: Features, families: frozenset[int]
) -> tuple[tuple[Lack, ...], list[str]]:
    """Groups are not needed where a plain rule does → (what is lacking nevertheless, the fall-back in words)."""
    groups = [lack for lack in lacks if any(lack.ability in each for each in GROUPS.values())]
    alone = {6 if v6 else 4 for v6 in (False, True) if serves_alone(features, v6)} & families
    if not alone:
        return lacks, []
    others = [lack for lack in lacks if lack not in groups or lack.ability.about.family not in (None, *alone)]
    if any(lack.ability.about.family is None for lack in groups):  # the family that has no plain rule is lost
        serve = (lack for lack in features.lacking if lack.ability in SERVE.values())
        others += [lack for lack in serve if lack.ability.about.family in families]
    return tuple(others), [f"it cannot {_reasons(groups)}: {ONE_SERVER}"]


def is_needed(lack: Lack, needs: Needs) -> bool:
    """Is what it lacks needed where it lacks it?"""
    return lack.ability in needs and (lack.logical is None or lack.logical in needs[lack.ability])


def remarks(features: Features) -> list[str]:
    """What the switch lacks that no role needs, and what follows; their subject is the switch."""
    lacks = [lack for lack in features.lacking if lack.ability.about.without]
    by_effect: dict[str, list[Lack]] = {}
    for lack in lacks:
        by_effect.setdefault(lack.ability.about.without, []).append(lack)
    return [f"cannot {_reasons(those)}; {effect}" for effect, those in by_effect.items()]


class _Reason(NamedTuple):
    words: str
    why: str
    tables: tuple[int, ...]

    def __str__(self) -> str:
        *others, last = map(str, self.tables) if self.tables else ("",)
        numbers = f"{', '.join(others)} and {last}" if others else last
        where = f"table{'s' * bool(others)} {numbers}: " if self.tables else ""
        return f"{self.words} ({where}{self.why})"


def _reasons(lacks: Iterable[Lack], separator: str = ", nor ") -> str:
    """ "set IPv6 addresses (table 1: bad action, …), nor …", each ability once, with the tables that refuse it."""
    found: dict[tuple[Ability, str], set[int]] = {}
    for lack in lacks:
        found.setdefault((lack.ability, lack.why), set()).update(() if lack.table is None else (lack.table,))
    reasons = {
        (ability, why): _Reason(ability.about.words, why, tuple(sorted(tables)))
        for (ability, why), tables in found.items()
    }
    return listed(list(dict.fromkeys(str(_of_both(reasons, *each)) for each in reasons)), separator=separator)


def _of_both(reasons: Mapping[tuple[Ability, str], _Reason], ability: Ability, why: str) -> _Reason:
    """The reason, and that of the other family if it is the same."""
    own = reasons[ability, why]
    name = ability.value.rpartition("_ipv")[0]
    of_ipv4, of_ipv6 = (reasons.get((of_family(name, v6), why)) if name else None for v6 in (False, True))
    if of_ipv4 and of_ipv6 and of_ipv4.tables == of_ipv6.tables and "IPv4" in of_ipv4.words:
        return own._replace(words=of_ipv4.words.replace("IPv4", "IPv4 or IPv6"))
    return own
