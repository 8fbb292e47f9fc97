"""Throttle: a port whose first packets are refused may send only a few to the controller for a while.

A port's meter admits as many first packets as the controller can handle.  Handling them is wasted where all of them
are refused: no host has their source address, or the client has reached its limit of flows.  The switch drops them at
less cost.  So a port is throttled when more than ``REFUSED_PER_S`` of its first packets are refused, for ``SHORTEST_S``
at first and twice as long each time that this goes on, and released as soon as no packet is refused any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

REFUSED_PER_S = 1000
HELD_PER_S = 200  # first packets that a throttled port may send
SHORTEST_S, LONGEST_S = 2.0, 32.0
FORGOTTEN_S = 60.0  # after this long without a flood, the next one counts as the first


@dataclass(slots=True)
class _Flood:
    lasts_s: float
    until: float
    held: bool = True


class Throttle:
    """The ports of one switch."""

    def __init__(self) -> None:
        self._refused: Counter[int] = Counter()  # port → first packets since the last tick
        self._floods: dict[int, _Flood] = {}
        self._looked = 0.0

    @property
    def held(self) -> frozenset[int]:
        return frozenset(port for port, flood in self._floods.items() if flood.held)

    def refused(self, port: int, packets: int = 1) -> None:
        """First packets from this port were refused."""
        self._refused[port] += packets

    def pop_refused(self) -> Mapping[int, int]:
        """How many of each port were refused since the last call; another controller throttles them."""
        refused, self._refused = self._refused, Counter()
        return refused

    def tick(self, now: float) -> int | None:
        """Several times a second → how many ports are newly throttled; None: the throttled ports are the same."""
        before = self.held
        most = REFUSED_PER_S * (now - self._looked)
        for port, flood in list(self._floods.items()):
            if flood.held and (now >= flood.until or not self._refused[port]):
                flood.held = False
                flood.until = now
            elif not flood.held and now >= flood.until + FORGOTTEN_S:
                del self._floods[port]
        for port, count in self._refused.items():
            if count > most and port not in self.held:
                last = self._floods.get(port)
                lasts_s = min(2 * last.lasts_s, LONGEST_S) if last else SHORTEST_S
                self._floods[port] = _Flood(lasts_s, now + lasts_s)
        self._refused.clear()
        self._looked = now
        held = self.held
        return len(held - before) if held != before else None
