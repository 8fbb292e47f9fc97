"""Events of the network: links, routers, pools.  ``switch`` is the one where it happened."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from anycast_sdn.core.events import Reported, Severity, Subject
from anycast_sdn.core.model import Address, text
from anycast_sdn.core.words import FAMILIES

# ---------------------------------------------------------------- links


class _OfLink(Reported):
    __slots__ = ()

    ends: tuple[str, str]  # as "c1:1"

    @property
    def subject(self) -> Subject:
        return Subject("link", "-".join(self.ends))

    @property
    def _name(self) -> str:
        return f"link {'–'.join(self.ends)}"


@dataclass(frozen=True, slots=True)
class LinkDown(_OfLink):
    """A link has failed: a port has lost its carrier, or its ends do not hear each other (LLDP)."""

    type: ClassVar[str] = "link.down"
    usual: ClassVar[Severity] = Severity.CRITICAL

    ends: tuple[str, str]
    reason: str

    def sentence(self) -> str:
        return f"{self._name} is down: {self.reason}"


@dataclass(frozen=True, slots=True)
class LinkHeld(_OfLink):
    """A link works again, but has failed lately: for a while it carries only what has no other path."""

    type: ClassVar[str] = "link.held"

    ends: tuple[str, str]
    held_s: float

    def sentence(self) -> str:
        return f"{self._name} works again; for {self.held_s:g} s it carries only what has no other path"


@dataclass(frozen=True, slots=True)
class LinkUp(_OfLink):
    """A link is used, or used fully again after it was held."""

    type: ClassVar[str] = "link.up"

    ends: tuple[str, str]

    def sentence(self) -> str:
        return f"{self._name} is up"


@dataclass(frozen=True, slots=True)
class LinkChanged(_OfLink):
    """An operator has changed the cost of a link."""

    type: ClassVar[str] = "link.changed"

    ends: tuple[str, str]
    before: int
    after: int

    def sentence(self) -> str:
        return f"{self._name}: cost {self.before} → {self.after}"


# ---------------------------------------------------------------- uplinks


class _OfUplink(Reported):
    __slots__ = ()

    switch: str
    uplink: str

    @property
    def subject(self) -> Subject:
        return Subject("uplink", self.uplink)


class _OfSession(_OfUplink):
    __slots__ = ()

    neighbour: Address


@dataclass(frozen=True, slots=True)
class BgpUp(_OfSession):
    """The BGP session of an uplink is established."""

    type: ClassVar[str] = "bgp.up"

    switch: str
    uplink: str
    neighbour: Address

    def sentence(self) -> str:
        return f"BGP session of {self.uplink} with {text(self.neighbour)} is up"


@dataclass(frozen=True, slots=True)
class BgpDown(_OfSession):
    """The BGP session of an uplink is lost, or cannot be established.  ``was_up``: it was until now."""

    type: ClassVar[str] = "bgp.down"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    uplink: str
    neighbour: Address
    reason: str
    was_up: bool

    @property
    def kind(self) -> Hashable:
        return self.type, self.uplink, self.was_up, self.reason

    def sentence(self) -> str:
        what = "is lost" if self.was_up else "is not established"
        why = f": {self.reason}" if self.reason else ""
        return f"BGP session of {self.uplink} with {text(self.neighbour)} {what}{why}"


@dataclass(frozen=True, slots=True)
class BgpRouteIgnored(_OfSession):
    """A route that a router advertises cannot be used; the first one of a session is told, the others are counted."""

    type: ClassVar[str] = "bgp.route_ignored"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    uplink: str
    neighbour: Address
    route: str
    reason: str

    def sentence(self) -> str:
        return f"{self.uplink}: route {self.route} {self.reason}; it and others like it are ignored"


class _OfRouter(_OfUplink):
    __slots__ = ()

    router: Address

    @property
    def kind(self) -> Hashable:
        return self.type, self.router

    @property
    def _name(self) -> str:
        return f"router {text(self.router)} at uplink {self.uplink}"


@dataclass(frozen=True, slots=True)
class RouterSilent(_OfRouter):
    """The router at an uplink does not answer ARP or neighbour discovery any more."""

    type: ClassVar[str] = "router.silent"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    uplink: str
    router: Address

    def sentence(self) -> str:
        return f"{self._name} does not answer"


@dataclass(frozen=True, slots=True)
class RouterAnswers(_OfRouter):
    """The router at an uplink answers ARP or neighbour discovery."""

    type: ClassVar[str] = "router.answers"

    switch: str
    uplink: str
    router: Address

    def sentence(self) -> str:
        return f"{self._name} answers"


# ---------------------------------------------------------------- pools


class _OfPool(Reported):
    """About the pool of a client edge."""

    __slots__ = ()

    switch: str
    family: str  # "ipv4", "ipv6"

    @property
    def subject(self) -> Subject:
        return Subject("pool", self.switch)

    @property
    def kind(self) -> Hashable:
        return self.type, self.switch, self.family

    @property
    def _name(self) -> str:
        return f"the {FAMILIES[self.family]} pool of {self.switch}"


@dataclass(frozen=True, slots=True)
class PoolLow(_OfPool):
    """A pool of translation addresses may soon be exhausted, see ``core.pool_watch``.

    ``left`` of ``size`` addresses could be leased; ``used_up_in_s``: at the rate of the last seconds, if it falls.
    """

    type: ClassVar[str] = "pool.low"
    usual: ClassVar[Severity] = Severity.WARNING

    switch: str
    family: str
    left: int
    size: int
    used_up_in_s: float | None

    def sentence(self) -> str:
        soon = "" if self.used_up_in_s is None else f", used up in about {math.ceil(self.used_up_in_s)} s"
        return f"{self._name} is low: {self.left} of {self.size} addresses left{soon}"


@dataclass(frozen=True, slots=True)
class PoolExhausted(_OfPool):
    """A pool of translation addresses has no address for a new flow, or had none for one that came."""

    type: ClassVar[str] = "pool.exhausted"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str
    family: str
    size: int
    leased: int
    resting: int

    def sentence(self) -> str:
        return f"{self._name} is exhausted: {self.leased} of {self.size} addresses in use, {self.resting} resting"


@dataclass(frozen=True, slots=True)
class PoolRecovered(_OfPool):
    """A pool that was low or exhausted has addresses again."""

    type: ClassVar[str] = "pool.recovered"

    switch: str
    family: str
    left: int
    size: int

    def sentence(self) -> str:
        return f"{self._name} has addresses again: {self.left} of {self.size} left"


@dataclass(frozen=True, slots=True)
class RangeExhausted(_OfPool):
    """A switch that chooses addresses by itself found none for a flow, or had no room in its connection tracker."""

    type: ClassVar[str] = "range.exhausted"
    usual: ClassVar[Severity] = Severity.CRITICAL

    switch: str
    family: str

    def sentence(self) -> str:
        return f"{self.switch} {cannot_begin(self.family)}"


@dataclass(frozen=True, slots=True)
class RangeRecovered(_OfPool):
    """A switch that chooses addresses by itself found one for each flow of the last seconds, or none has come."""

    type: ClassVar[str] = "range.recovered"

    switch: str
    family: str

    def sentence(self) -> str:
        return f"{self.switch} has refused no {FAMILIES[self.family]} flow for some seconds"


def cannot_begin(family: str) -> str:
    """What is wrong with a switch that chooses addresses by itself."""
    return f"begins no {FAMILIES[family]} flows: no address and port is free, or its connection tracker is full"
