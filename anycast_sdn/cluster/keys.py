"""Keys: what members of a cluster keep in etcd of themselves, each with its lease; whose they are: ``etcd_cluster``."""

from __future__ import annotations

import json
from typing import NamedTuple

LEADER, MEMBERS, MASTERS, CANARY = "leader", "members/", "masters/", "canary/"


class MemberKey(NamedTuple):
    """What a member tells of itself."""

    name: str
    rest: str
    switches: list[int]  # that are connected to it
    peer: str = ""  # URL for other members
    release: str = ""
    since: float = 0.0  # when it has started, by its clock

    def text(self) -> str:
        return json.dumps(self._asdict(), sort_keys=True)

    @classmethod
    def of(cls, text: str) -> MemberKey:
        """Members that a later release has added are ignored."""
        found = json.loads(text)
        return cls(**{name: found[name] for name in cls._fields if name in found})
