"""Load: what a server, or its agent, reports of itself (M26), and the one number that selection uses of it.

A report is checked when it is made: NaN, negative, infinite and huge values are refused.  What a report can do is
bounded where it is used (``selection.learn``), because a valid one may still be false, or be sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_SESSIONS: Final = 100_000_000
MAX_TTL_S: Final = 3600.0
DEFAULT_TTL_S: Final = 45.0  # three reports, one every 15 s
FULL = 0.95  # memory and disk: below this share they say nothing, because healthy machines keep them well used

FRACTIONS = ("cpu", "memory", "disk", "network")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Raises ValueError, which names the member, for what is out of range."""

    sessions: int | None = None  # in progress, by the server's own count; None: not reported, as in the others
    cpu: float | None = None  # shares that are in use, 0–1
    memory: float | None = None
    disk: float | None = None
    network: float | None = None
    ttl_s: float = DEFAULT_TTL_S  # it is stale after this long
    at: float = 0.0  # when it came, on the clock of ``now``, and its number: whoever takes it sets both
    number: int = 0

    def __post_init__(self) -> None:
        for name in FRACTIONS:
            _check(name, getattr(self, name), 0, 1)
        _check("sessions", self.sessions, 0, MAX_SESSIONS)
        _check("ttl_s", self.ttl_s, 1, MAX_TTL_S)

    def is_stale(self, now: float) -> bool:
        return now - self.at > self.ttl_s

    def load(self, capacity: float | None) -> float | None:
        """The load of the server, 0–1; None: the report does not say.  ``capacity``: sessions that mean 1.0."""
        loads = [each for each in (self.cpu, self.network) if each is not None]
        loads += [each for each in (self.memory, self.disk) if each is not None and each >= FULL]
        if self.sessions is not None and capacity:
            loads.append(min(1.0, self.sessions / capacity))
        return max(loads, default=None)


def _check(name: str, value: float | None, least: float, most: float) -> None:
    """Raises ValueError unless ``value`` is None or a finite number from ``least`` to ``most``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} has to be a number")
    if not least <= value <= most:  # NaN and infinite values are not either
        raise ValueError(f"{name} has to be from {least:g} to {most:g}")
