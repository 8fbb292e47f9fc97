"""Standing: what members say of themselves, for operators: nothing is decided by it.

etcd says who may ask a switch to be its master.  Whom the switch obeys only the switch knows, and those that it has
answered: so each member says what it has asked for, and what the answer was.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, NamedTuple

from anycast_sdn.cluster.generations import distance


class Says(Enum):
    """Of a member that has asked a switch to be its master."""

    GRANTED = "granted"  # the switch has made it that, and has refused nothing since
    CLAIMED = "claimed"  # the switch has not answered yet
    REFUSED = "refused"  # the switch has a later master
    SILENT = "silent"  # the switch does not answer


class Claimed(NamedTuple):
    """``term``: of the leader that the member knew when it was granted, or asked."""

    says: Says
    generation: int
    term: int


class Standing(NamedTuple):
    """``claimed``: by datapath id; ``missing``: names of members that it misses."""

    claimed: Mapping[int, Claimed] = {}
    missing: Collection[str] = ()

    def text(self) -> str:
        claimed = {f"{dpid:016x}": [says.value, *more] for dpid, (says, *more) in sorted(self.claimed.items())}
        return json.dumps({"claimed": claimed, "missing": sorted(self.missing)})

    @classmethod
    def of(cls, text: str) -> Standing:
        """Raises ValueError.  What another release has added is left out."""
        found = json.loads(text)
        known = {says.value for says in Says}
        try:
            claimed = {int(dpid, 16): each for dpid, each in found["claimed"].items() if each[0] in known}
            return cls({dpid: _claimed(*each[:3]) for dpid, each in claimed.items()}, [*map(str, found["missing"])])
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"no standing: {text[:100]}") from error


def _claimed(says: Any, generation: Any, term: Any) -> Claimed:
    return Claimed(Says(says), int(generation), int(term))


def obeyed(claimed: Mapping[str, Claimed]) -> str | None:
    """Whom a switch obeys, of the members that have asked it (by id): the last one that it has made its master.

    One that it has replaced finds that out when a write is refused, and says "granted" until then.
    """
    found: str | None = None
    for member, each in claimed.items():
        if each.says is Says.GRANTED and (
            found is None or distance(claimed[found].generation, each.generation) > 0
        ):
            found = member
    return found
