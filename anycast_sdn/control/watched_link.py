"""A link between switches, and what is known of it over time: see ``discovery``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from anycast_sdn.description.model import Link, Port


@dataclass(slots=True)
class WatchedLink:
    """A link and what is known of it."""

    link: Link
    declared: bool
    up: bool
    trusted: bool = True  # neither of its switches has disconnected since it was last confirmed
    watched_from: float = math.inf  # both ends can send since then
    held_until: float = -math.inf
    failures: int = 0  # those that are forgotten do not count
    changed_at: float = -math.inf  # when it last went up or down
    last_resort: bool = False
    held: bool = False  # it is back, and its end of holding back is still to be reported

    @property
    def ends(self) -> tuple[Port, Port]:
        return self.link.a, self.link.b


class KnownLink(NamedTuple):
    """What the next leader has to know of a link, beyond the network file."""

    ends: frozenset[Port]
    cost: int | None  # that an operator has set
    down: bool
    failures: int


def names_of(watched: WatchedLink) -> tuple[str, str]:
    return str(watched.link.a), str(watched.link.b)
