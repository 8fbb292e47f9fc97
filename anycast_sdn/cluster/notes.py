"""Notes: what the leader leaves to the one after it.  A protocol: no caller depends on the implementation.

Small texts by key: costs that operators have set, links that have failed, what switches support, what is advertised to
routers.  Never a flow: a switch has its own.

Reading is from memory.  What is put is known at once and stored soon, if this controller still leads then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

LLDP_KEY = "lldp-key"
LINKS, FEATURES, ANNOUNCED, HEALTH, OPERATIONS, TERMS = (
    "links/", "features/", "announced/", "health/", "operations/", "terms/"
)  # fmt: skip


class Notes(Protocol):
    """Nothing here waits, but ``flush``.  ``member``: the id of this controller; "" of one that is alone."""

    @property
    def member(self) -> str: ...

    @property
    def is_current(self) -> bool:
        """Is what is read here as new as it can be?"""

    def get(self, key: str) -> str | None: ...

    def below(self, prefix: str) -> Mapping[str, str]:
        """All whose keys begin so, by the rest of their keys."""

    def put(self, key: str, text: str | None) -> None:
        """By the leader; None: there is no such note any more.  Nothing happens if it is so already."""

    def flush(self) -> None:
        """Store what was put; what cannot be stored now is tried again later."""

    def watch(self, changed: Callable[[Collection[str]], None]) -> None:
        """``changed`` is called with keys whose notes are others than before, by whomever."""


class NoNotes:
    """``Notes`` of a controller that is alone: nobody comes after it."""

    member = ""
    is_current = True

    def get(self, key: str) -> str | None:
        return None

    def below(self, prefix: str) -> Mapping[str, str]:
        return {}

    def put(self, key: str, text: str | None) -> None:
        pass

    def flush(self) -> None:
        pass

    def watch(self, changed: Callable[[Collection[str]], None]) -> None:
        pass



def name_of(member: str) -> str:
    """Its name, as operators say it: a member's id is NAME-XXXXXXXX."""
    return member.rpartition("-")[0] or member
