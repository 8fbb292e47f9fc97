"""Events of the network and of the controller: switches, links, pools.  ``switch`` is the one where it happened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import Reported, Severity, Subject

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


class _OfPool(Reported):
    """About the pool of a client edge."""

    __slots__ = ()

    switch: str
    family: str  # "ipv4", "ipv6"

    @property
    def subject(self) -> Subject:
        return Subject("pool", f"{self.switch} {_FAMILIES[self.family]}")

    @property
    def _name(self) -> str:
        return f"the {_FAMILIES[self.family]} pool of {self.switch}"


@dataclass(frozen=True, slots=True)
class PoolLow(_OfPool):
    """A pool of translation addresses may soon be exhausted, see ``core.pool_watch``.

    ``left`` of ``size`` addresses could be leased; ``used_up_in_s``: at the rate of the last seconds, if it falls.
    """

    type: ClassVar[str] = "pool.low"

    switch: str
    family: str
    left: int
    size: int
    used_up_in_s: float | None

    @property
    def severity(self) -> Severity:
        return Severity.WARNING

    def sentence(self) -> str:
        soon = "" if self.used_up_in_s is None else f", used up in about {math.ceil(self.used_up_in_s)} s"
        return f"{self._name} is low: {self.left} of {self.size} addresses left{soon}"


@dataclass(frozen=True, slots=True)
class PoolExhausted(_OfPool):
    """A pool of translation addresses has no address for a new flow, or had none for one that came."""

    type: ClassVar[str] = "pool.exhausted"

    switch: str
    family: str
    size: int
    leased: int
    resting: int

    @property
    def severity(self) -> Severity:
        return Severity.CRITICAL

    def sentence(self) -> str:
        return f"{self._name} is exhausted: {self.leased} of {self.size} addresses in use, {self.resting} resting"
