"""The keys by which the members of a cluster agree in etcd, and what they hold.

With the lease of a member, so that they end with it:

    names/NAME        the id of the process that has this name
    members/ID        a member: its name, its release and what that knows, where it is reached, what it reaches
    leader            the id of the leader
    masters/DPID      the id of the member that may claim the switch
    canary/ID         a number that grows: whoever sees it in its mirror knows how old the mirror is at most

With the lease of the member that was asked for it:

    forgotten/NAME    from now on nobody misses the member of this name, which has ended; gone when one of it joins

For ever:

    term              how many leaders there have been
    generations/DPID  ``Held``; written together with masters/DPID, always
    drains/ID         this member neither leads nor claims
    meta/schema       see ``etcd.schema``
    shared            is there where the switches are shared among members
    moved/DPID        the name of the member that an operator has given the switch to
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from anycast_sdn.etcd.schema import SCHEMA

LEADER, TERM = "leader", "term"
NAMES, MEMBERS, MASTERS, CANARY = "names/", "members/", "masters/", "canary/"
GENERATIONS, DRAINS = "generations/", "drains/"
FORGOTTEN = "forgotten/"

SHARED, MOVED = "shared", "moved/"

OF_CLUSTER = (LEADER, TERM, NAMES, MEMBERS, MASTERS, CANARY, GENERATIONS, DRAINS, FORGOTTEN, SHARED, MOVED, SCHEMA)


class MemberKey(NamedTuple):
    """What a member tells of itself."""

    name: str
    rest: str
    switches: list[int]  # that it reaches
    peer: str = ""  # URL for other members
    release: str = ""
    since: float = 0.0  # when it has started, by its clock
    schemas: Sequence[int] = (1,)  # that its release knows (``etcd.schema``); the first ones do not say it
    leaving: bool = False  # it ends because it was asked to

    def text(self) -> str:
        return json.dumps(self._asdict(), sort_keys=True)

    @classmethod
    def of(cls, text: str) -> MemberKey:
        """What another release has added is ignored, and what it lacks is empty: the member is there all the same."""
        found = _object(text)
        known = {name: found[name] for name in cls._fields if name in found}
        switches = known.pop("switches", [])
        schemas = tuple(_numbers(known.pop("schemas", ()))) or (1,)
        return cls(**{"name": "", "rest": "", **known, "switches": _numbers(switches), "schemas": schemas})


class Held(NamedTuple):
    """Who got a switch last, and what its generations are counted from.

    ``after``: the revision of the write before this one; so a member that has held the switch can tell whether anybody
    else has since.
    """

    member: str = ""
    offset: int = 0
    after: int = 0

    def text(self) -> str:
        return json.dumps(self._asdict(), sort_keys=True)

    @classmethod
    def of(cls, text: str) -> Held:
        found = _object(text)
        numbers = (found.get(name, 0) for name in ("offset", "after"))
        offset, after = (number if isinstance(number, int) else 0 for number in numbers)
        return cls(str(found.get("member", "")), offset, after)


def of_switch(family: str, dpid: int) -> str:
    return f"{family}{dpid:016x}"


def dpid_of(key: str) -> int | None:
    """Of a key of masters/ or generations/."""
    try:
        return int(key.rpartition("/")[2], 16)
    except ValueError:
        return None


def _numbers(found: Any) -> list[int]:
    return [each for each in found if isinstance(each, int)] if isinstance(found, list) else []


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
