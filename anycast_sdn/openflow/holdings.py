"""Holdings: all that a switch holds, whoever has put it there, as bytes: to see whether it is as it was.  Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from anycast_sdn.core.words import counted, listed
from anycast_sdn.openflow.decoding import BadMessage, split_flow_stats

_MATCH = struct.Struct("!HH")  # type, length without padding
_MATCH_AT = 48  # in an entry of flow statistics as in a flow-mod (OF 1.3.5 §7.3.4.2, §7.3.5.2)
_TABLE_AT, _PRIORITY_AT = 2, 12  # in an entry of flow statistics
_MOD_TABLE_AT, _MOD_PRIORITY_AT = 24, 30  # in a flow-mod
_NUMBER_AT = 4  # of a group or a meter, in its description
_COMPARED = ("rule", "group", "meter")


class Place(NamedTuple):
    """A switch has one rule at most of each."""

    table: int
    priority: int
    match: tuple[bytes, ...]  # its fields, sorted


Held = Mapping[Any, bytes]  # rules by place, groups and meters by number


@dataclass
class Holdings:
    """Read part by part; whoever reads raises BadMessage.

    ``unread``: what the switch has not answered when it was asked for it.
    """

    rules: dict[Place, bytes] = field(default_factory=dict)
    groups: dict[int, bytes] = field(default_factory=dict)
    meters: dict[int, bytes] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def take_rules(self, body: bytes) -> None:
        for entry in split_flow_stats(body):
            (priority,) = struct.unpack_from("!H", entry.whole, _PRIORITY_AT)
            place = Place(entry.whole[_TABLE_AT], priority, _fields(entry.whole))
            self.rules[place] = entry.what

    def take_groups(self, body: bytes) -> None:
        self.groups.update(_numbered(body))

    def take_meters(self, body: bytes) -> None:
        self.meters.update(_numbered(body))

    def differences(self, later: Holdings) -> list[str]:
        """What is different later, in words; nothing of what was not read."""
        unread = self.unread | later.unread
        pairs = zip(_COMPARED, self._all(), later._all(), strict=True)
        return [
            words for thing, before, after in pairs if f"{thing}s" not in unread
            for words in _different(thing, before, after)
        ]  # fmt: skip

    def numbers(self) -> dict[str, int | None]:
        """Of each kind; None: it was not read."""
        kinds = ((f"{thing}s", len(each)) for thing, each in zip(_COMPARED, self._all(), strict=True))
        return {kind: None if kind in self.unread else number for kind, number in kinds}

    def counts(self) -> str:
        """ "12 rules, 1 group and 0 meters", of those kinds that were read; "": of none."""
        read = [counted(number, kind[:-1]) for kind, number in self.numbers().items() if number is not None]
        *some, last = read or [""]
        return f"{listed(some)} and {last}" if some else last

    def _all(self) -> tuple[Held, ...]:
        return self.rules, self.groups, self.meters


def place_of(flow_mod: bytes) -> Place:
    """Where it puts its rule."""
    (priority,) = struct.unpack_from("!H", flow_mod, _MOD_PRIORITY_AT)
    return Place(flow_mod[_MOD_TABLE_AT], priority, _fields(flow_mod))


def _different(thing: str, before: Held, after: Held) -> Iterator[str]:
    missing, more = len(before.keys() - after.keys()), len(after.keys() - before.keys())
    changed = sum(before[each] != after[each] for each in before.keys() & after.keys())
    for number, what in ((missing, "missing"), (more, "more"), (changed, "changed")):
        if number:
            yield f"{counted(number, thing)} {what}"


def _fields(message: bytes) -> tuple[bytes, ...]:
    """Raises BadMessage."""
    if len(message) < _MATCH_AT + _MATCH.size:
        raise BadMessage("a rule without a match")
    _, length = _MATCH.unpack_from(message, _MATCH_AT)
    at, end = _MATCH_AT + _MATCH.size, _MATCH_AT + length
    if at > end or end > len(message):
        raise BadMessage("a match of impossible length")
    fields = []
    while at < end:
        size = 4 + message[at + 3] if end - at >= 4 else 4  # OF 1.3.5 §7.2.3.2
        if at + size > end:
            raise BadMessage("a match field of impossible length")
        fields.append(message[at : at + size])
        at += size
    return tuple(sorted(fields))


def _numbered(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Raises BadMessage."""
    at = 0
    while at < len(body):
        if len(body) - at < 2 * _NUMBER_AT:
            raise BadMessage("truncated")
        (length,) = struct.unpack_from("!H", body, at)
        if length < 2 * _NUMBER_AT or at + length > len(body):
            raise BadMessage("impossible length")
        (number,) = struct.unpack_from("!I", body, at + _NUMBER_AT)
        yield number, body[at : at + length]
        at += length
