"""Leases: enrolments that have to be renewed (M33).

A lease is *held* from its enrolment, or a renewal, for ``ttl_s``.  Then it has *expired*, and the server is critical.
If it is not renewed for ``deregister_after_s`` more, it is to be removed.  Renewals are not stored: after a restart of
the controller, or when another one takes over, each lease begins anew.  Times are those of a clock that never jumps.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from anycast_sdn.core.due import Due
from anycast_sdn.core.model import Address, Lease

RETRY_S = 10.0  # a removal that could not be stored is tried again after so long
SOON_S = 0.001  # not within the call that finds it expired

Enrolment: TypeAlias = tuple[str, Address]  # a group, and its server


class Expired(NamedTuple):
    """What is due."""

    expired: list[Enrolment]
    to_remove: list[Enrolment]


class Leases:
    def __init__(self) -> None:
        self._leases: dict[Enrolment, Lease] = {}
        self._due: Due[Enrolment] = Due()  # when it expires, or is to be removed
        self._expired: set[Enrolment] = set()

    def of(self, enrolment: Enrolment) -> Lease | None:
        return self._leases.get(enrolment)

    def is_expired(self, enrolment: Enrolment) -> bool:
        return enrolment in self._expired

    def left_s(self, enrolment: Enrolment, now: float) -> float | None:
        """How long it is still held; None: it has no lease."""
        if enrolment not in self._leases:
            return None
        if enrolment in self._expired:
            return 0.0
        return max(0.0, self._due.at(enrolment) - now)

    def set(self, enrolment: Enrolment, lease: Lease | None, now: float) -> None:
        """The enrolment has this lease from now on, and it is held; None: it has none."""
        self._expired.discard(enrolment)
        if lease is None:
            self._leases.pop(enrolment, None)
            self._due.cancel(enrolment)
        else:
            self._leases[enrolment] = lease
            self._due.plan(enrolment, now + lease.ttl_s)

    def expire(self, enrolment: Enrolment, now: float) -> None:
        """It has expired already; the time until its removal begins anew."""
        self._expired.add(enrolment)
        self._plan_removal(enrolment, now)

    def renew(self, enrolment: Enrolment, now: float) -> bool:
        """→ had it expired?  The enrolment must have a lease."""
        was_expired = enrolment in self._expired
        self.set(enrolment, self._leases[enrolment], now)
        return was_expired

    def tick(self, now: float, most: int) -> Expired:
        """Up to ``most`` that have expired or are to be removed since the last call; again every ``RETRY_S``."""
        due = Expired([], [])
        while len(due.expired) + len(due.to_remove) < most and (enrolment := self._due.pop(now)) is not None:
            if enrolment in self._expired:
                due.to_remove.append(enrolment)
                self._due.plan(enrolment, now + RETRY_S)  # in case that it could not be stored
            else:
                due.expired.append(enrolment)
                self._expired.add(enrolment)
                self._plan_removal(enrolment, now)
        return due

    def _plan_removal(self, enrolment: Enrolment, now: float) -> None:
        after_s = self._leases[enrolment].deregister_after_s
        if after_s is None:
            self._due.cancel(enrolment)
        else:
            self._due.plan(enrolment, now + max(after_s, SOON_S))
