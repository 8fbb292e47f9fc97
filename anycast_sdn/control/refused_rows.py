"""RefusedRows: rules that a switch goes on refusing, although no trial has foreseen it, and what it lacks by that.

Likewise those that it does not refuse and that are missing nevertheless, each time that they were sent again.  Another
program may delete them, which does not last for ever: what is not sent for want of the role is tried again after
``AGAIN_S``, then after twice as long.

A refusal names only the kind of rule; which rules are meant, and in which family, is what a look at the switch finds
missing (``audit``).  One that is missing again after it was sent again counts until a look finds it, or the switch
connects anew: it may not be wanted any more because of what has followed.  A full table says nothing: it may have room
later.

What is known to lack already may explain a refusal, so that only the cause is told: what the same table lacks, if each
role that needs these rules needs that, too.  A lack that costs one of these roles nothing explains nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping

from anycast_sdn.core.words import counted
from anycast_sdn.openflow.abilities import Ability, Lack, of_family
from anycast_sdn.openflow.fallbacks import GROUPS
from anycast_sdn.openflow.judgement import NEEDS, is_needed
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.openflow.pipeline import ROW, kind_of
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import ETH_ARP, ETH_IPV4, ETH_IPV6, FlowRule, RuleKey

_PASSED_BY_ALL = frozenset((Kind.OUT_ELSE, Kind.SERVICE_ELSE, Kind.IN_ELSE, Kind.FROM_CONTROLLER))
_OF_CORE = frozenset((Kind.FROM_FABRIC, Kind.ROUTE))
_OF_EDGES = frozenset((
    Kind.ARP, Kind.ND, Kind.FROM_HOST, Kind.FROM_UPLINK, Kind.GATEWAY, Kind.HOST, Kind.UNRESOLVED, Kind.EGRESS_ROUTE,
    Kind.FIRST_PACKET, Kind.FIRST_REPLY, Kind.SERVICE, Kind.TO_TRACKER, Kind.TRACK_OUT, Kind.TRACK_IN,
))  # fmt: skip
AGAIN_S, LONGEST_S = 120.0, 3600.0  # longer than two looks are apart
NOT_HELD = "not refused, and missing again and again"
_HAVE_FALLBACK = GROUPS[False] | GROUPS[True]  # lacking them alone costs no role
_FAMILIES = {ETH_IPV4: False, ETH_ARP: False, ETH_IPV6: True}  # → is it IPv6


class RefusedRows:
    """Of one switch."""

    def __init__(self) -> None:
        self.connected()

    def connected(self) -> None:
        """Perhaps it does not refuse them any more."""
        self._reasons: dict[Kind, str] = {}  # of the last refusal since the switch connected, or ``NOT_HELD``
        self._missing: dict[RuleKey, FlowRule] = {}
        self._answered: set[Kind | None] = set()  # it has answered these with errors; None: perhaps any
        self._pause, self._again_at = AGAIN_S, math.inf

    def refused(self, kind: Kind | None, why: str, *, full: bool = False) -> None:
        """The switch has refused a rule of this kind that belongs to no flow; ``full``: for want of room."""
        self._answered.add(kind)
        if kind is not None and not full:
            self._reasons[kind] = why

    def missing(self, rules: Iterable[FlowRule]) -> None:
        """These are missing although they were sent again."""
        self._missing |= {rule.key: rule for rule in rules}

    def not_held(self, rules: Iterable[FlowRule], now: float) -> None:
        """These are missing although they were sent several times."""
        kinds = {kind for rule in rules if (kind := kind_of(rule.cookie))}
        silent = kinds - self._answered if None not in self._answered else ()
        self._reasons |= dict.fromkeys(silent, NOT_HELD)
        if silent:
            self._again_at = now + self._pause

    def tick(self, now: float) -> None:
        """What was silently lost, and is not wanted any more, may be held when it is sent again."""
        if now >= self._again_at:
            self._pause, self._again_at = min(2 * self._pause, LONGEST_S), math.inf
            self._reasons = {kind: why for kind, why in self._reasons.items() if why != NOT_HELD}

    @property
    def are_missing(self) -> bool:
        return bool(self._missing)

    def found(self, rules: Container[RuleKey]) -> None:
        """The switch holds these."""
        self._missing = {key: rule for key, rule in self._missing.items() if key not in rules}

    def lacks(self, others: tuple[Lack, ...], tables: int) -> tuple[Lack, ...]:
        """What ``others``, which are known already, do not explain; ``tables``: how many it says that it has."""
        if not (self._missing and self._reasons):
            return ()
        kinds: dict[tuple[Table, Ability], dict[Kind, str]] = {}
        for rule in self._missing.values():
            kind = kind_of(rule.cookie)
            if kind and (why := self._reasons.get(kind)) is not None:
                kinds.setdefault((Table(rule.table), _ability(kind, rule)), {})[kind] = why
        layout = suited(tables)
        rows = [
            Lack(ability, layout.table(table), _words(kinds[table, ability]), table)
            for table, ability in sorted(kinds, key=lambda place: (place[0], place[1].value))
        ]
        return tuple(row for row in rows if not any(_explains(other, row) for other in others))


def _explains(other: Lack, row: Lack) -> bool:
    about = other.ability.about.family
    if (other.table, other.logical) != (row.table, row.logical) or about not in (None, row.ability.about.family):
        return False
    needing = [needs for needs in NEEDS.values() if is_needed(row, needs)]
    return other.ability is Ability.TABLE or (
        bool(needing)
        and other.ability not in _HAVE_FALLBACK
        and all(is_needed(other, needs) for needs in needing)
    )  # fmt: skip


def _words(kinds: Mapping[Kind, str]) -> str:
    """The first of them in the order of ``Kind``, as docs/pipeline.md has it, and how many others there are."""
    first, *others = sorted(kinds)
    more = f" and {counted(len(others), 'other kind')} of rules" if others else ""
    return f'"{ROW[first].matches}"{more}: {kinds[first]}'


def _ability(kind: Kind, rule: FlowRule) -> Ability:
    if kind in _PASSED_BY_ALL:
        return Ability.ALL_ROWS
    ethertype = next((field.value for field in rule.match if field.name == "eth_type"), None)
    if ethertype not in _FAMILIES or kind not in _OF_CORE | _OF_EDGES:
        return Ability.OTHER_ROWS
    return of_family("rows" if kind in _OF_CORE else "edge_rows", _FAMILIES[ethertype])
