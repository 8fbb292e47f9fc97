"""Ports whose first packets come to nothing: for a while they may send up only a few.

A port's meter lets pass what the controller can take of it.  That is too much where it is refused, packet after
packet: sources that nobody has, clients that have all the flows that they may have.  The switch drops it for less.
So a port is held back when more than ``REFUSED_PER_S`` of its first packets are refused, for ``SHORTEST_S`` at
first and twice as long each time that it goes on, and let go as soon as nothing of it is refused any more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

REFUSED_PER_S = 1000
HELD_PER_S = 200  # first packets of a port that is held back
SHORTEST_S, LONGEST_S = 2.0, 32.0
FORGOTTEN_S = 60.0  # after this long without a flood, the next one is as the first


@dataclass(slots=True)
class _Flood:
    lasts_s: float
    until: float
    held: bool = True


class Throttle:
    """The ports of one switch."""

    def __init__(self) -> None:
        self._refused: Counter[int] = Counter()  # since the last look
        self._floods: dict[int, _Flood] = {}
        self._looked = 0.0

    @property
    def held(self) -> frozenset[int]:
        return frozenset(port for port, flood in self._floods.items() if flood.held)

    def refused(self, port: int) -> None:
        """A first packet of this port came to nothing."""
        self._refused[port] += 1

    def tick(self, now: float) -> int | None:
        """Several times a second → how many ports are held back from now on that were not; None: nothing changes."""
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
