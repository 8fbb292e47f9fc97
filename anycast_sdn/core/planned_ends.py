"""PlannedEnds: when a TCP connection that closes, was reset or has begun anew is to be looked at again."""

from __future__ import annotations

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.due import Due
from anycast_sdn.core.transitions import FlowEvent

RENEWED_S = 2.0  # from the SYN of a new connection until the switch has processed all packets of the old one
RESET_S = 0.75  # from a RST until the binding ends; 4 s later its address may be leased again: within 5 s
_CLOSING_GRACE_S = 1.0  # from the first FIN, for the other side to close as well


class PlannedEnds:
    """Of bindings, by their numbers."""

    def __init__(self) -> None:
        self._due: Due[int] = Due()
        self._renewed: dict[int, float] = {}  # number → until then, reports of its rules' ends are about those before

    @property
    def planned(self) -> dict[int, float]:
        """When what is due, by number."""
        return self._due.planned

    def plan(self, binding: Binding, tcp_closed_s: int, now: float) -> None:
        """After a FIN, a RST or a new SYN.  ``tcp_closed_s``: see ``Validity``."""
        if binding.reset:
            self._due.plan(binding.number, now + RESET_S)
        elif binding.closed is Half.BOTH:
            self._due.cancel(binding.number)  # its rules have short timeouts
        elif binding.closed:
            self._due.plan(binding.number, now + tcp_closed_s + _CLOSING_GRACE_S)
        else:  # the switch may still process the old connection's FIN, and shorten the new rules' timeouts
            self._due.plan(binding.number, now + RENEWED_S)
            self._renewed[binding.number] = now + min(RENEWED_S, tcp_closed_s)

    def adopted(self, binding: Binding) -> None:
        """It may have closed while the controller was away."""
        if binding.closed is Half.BOTH:
            self._due.plan(binding.number, binding.since)

    def forget(self, number: int) -> None:
        self._due.cancel(number)
        self._renewed.pop(number, None)

    def has_just_begun_anew(self, number: int, now: float) -> bool:
        """Then reports of the ends of its rules are about those of the old connection."""
        return now < self._renewed.get(number, now)

    def pop(self, now: float) -> int | None:
        """The next binding that is due."""
        return self._due.pop(now)


def event_of(binding: Binding) -> FlowEvent:
    """What has happened to a connection that is due."""
    if binding.reset:
        return FlowEvent.OVER
    if binding.closed is Half.BOTH:
        return FlowEvent.CLOSED
    return FlowEvent.HALF_OVER if binding.closed else FlowEvent.RENEWED
