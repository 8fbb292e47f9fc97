"""Ability trials: what a switch accepts of the rules that its roles need, each in its own table.

No packet matches these rules: their addresses are 0.0.0.0 and ::.  They and their groups are removed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    Action,
    AddFlow,
    Bucket,
    DecTtl,
    DeleteCookie,
    DeleteGroup,
    Field,
    FlowRule,
    GroupRule,
    Match,
    Message,
    Output,
    SetField,
    SetGroup,
    ToGroup,
    eth_type,
    match,
)

_COOKIE = 0xA17C_FF00_0000_0002
_GROUP = 0xFFFF_FE00  # the first of those for trials; the method's own are far below
_PORT = 1  # that packets would leave by; most switches have it, and no packet does


class AbilityTrial(NamedTuple):
    """``messages``, in order, are all accepted by a switch that has the ability."""

    ability: Ability
    table: Table | None
    messages: tuple[Message, ...]


def _no_packet(v6: bool) -> Match:
    size = 16 if v6 else 4
    source, destination = ("ipv6_src", "ipv6_dst") if v6 else ("ipv4_src", "ipv4_dst")
    return match(eth_type(v6), Field(source, bytes(size)), Field(destination, bytes(size)))


def _rule(table: Table, v6: bool, *actions: Action) -> Message:
    return AddFlow(FlowRule(table, 1, _no_packet(v6), _COOKIE, actions))


def _addresses(v6: bool) -> tuple[SetField, SetField]:
    size = 16 if v6 else 4
    source, destination = ("ipv6_src", "ipv6_dst") if v6 else ("ipv4_src", "ipv4_dst")
    return SetField(source, bytes(size)), SetField(destination, bytes(size))


def _group(number: int, *actions: Action) -> Message:
    return SetGroup(GroupRule(number, (Bucket(1, actions), Bucket(2, actions))), exists=False)


def ability_trials() -> Iterator[AbilityTrial]:
    sets = (Ability.SET_IPV4, Ability.SET_IPV6)
    hops = (Ability.DEC_TTL_IPV4, Ability.DEC_TTL_IPV6)
    in_groups = (Ability.GROUP_SET_IPV4, Ability.GROUP_SET_IPV6)
    plain = (_group(_GROUP, Output(_PORT)), _rule(Table.SERVICE, False, ToGroup(_GROUP)))
    yield AbilityTrial(Ability.SELECT_GROUP, Table.SERVICE, plain)
    for v6 in (False, True):
        for table in (Table.CLIENT_OUT, Table.CLIENT_IN):
            yield AbilityTrial(sets[v6], table, (_rule(table, v6, *_addresses(v6)),))
        yield AbilityTrial(hops[v6], Table.ROUTES, (_rule(Table.ROUTES, v6, DecTtl(), Output(_PORT)),))
        rewriting = (_addresses(v6)[1], Output(_PORT))
        yield AbilityTrial(in_groups[v6], None, (_group(_GROUP + 1 + v6, *rewriting),))


class AbilityTrials:
    """``done`` is called with what the switch lacks; what it does not answer it is taken to have."""

    def __init__(self, switch: Channel, done: Callable[[tuple[Lack, ...]], None]) -> None:
        self._switch = switch
        self._done = done
        self._trials: Sequence[AbilityTrial] = tuple(ability_trials())
        self._refused: dict[int, str] = {}  # by the trial's index: why its first message that was refused was
        self._left = sum(len(trial.messages) for trial in self._trials)

    def begin(self) -> None:
        for index, trial in enumerate(self._trials):
            for message in trial.messages:
                self._switch.try_out(message, partial(self._take, index))

    def _take(self, index: int, taken: bool | None, why: str) -> None:
        if taken is False:
            self._refused.setdefault(index, why)
        self._left -= 1
        if not self._left:
            groups = [DeleteGroup(_GROUP + number) for number in range(3)]
            self._switch.send([DeleteCookie(_COOKIE), *groups])
            self._done(tuple(self._lack(self._trials[index], why) for index, why in self._refused.items()))

    def _lack(self, trial: AbilityTrial, why: str) -> Lack:
        table = None if trial.table is None else self._switch.layout.table(trial.table)
        return Lack(trial.ability, table, why)
