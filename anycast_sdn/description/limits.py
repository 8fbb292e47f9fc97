"""The ranges of settings of groups and servers: for the network file, for REST and for the registry alike.

Each is known by the name of its member.  Outside of its range a value is refused, and so are NaN and infinity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import Field

DAY_S = 86_400


class Range(NamedTuple):
    """Both ends are allowed."""

    least: float
    most: float
    unit: str = ""
    is_whole: bool = True

    def __contains__(self, value: object) -> bool:
        """False for NaN: it compares as neither more nor less than anything."""
        return isinstance(value, int | float) and self.least <= value <= self.most

    @property
    def field(self) -> Any:
        """For the annotation of a pydantic model's member."""
        unit: dict[str, Any] = {"x-unit": self.unit} if self.unit else {}
        if self.is_whole:
            return Field(ge=int(self.least), le=int(self.most), json_schema_extra=unit)
        return Field(ge=self.least, le=self.most, allow_inf_nan=False, json_schema_extra=unit)

    def __str__(self) -> str:
        return f"{self.least:,} and {self.most:,}" + (" s" if self.unit == "seconds" else "")


def _seconds(least: float, most: float) -> Range:
    return Range(least, most, "seconds", is_whole=False)


VALIDITY = Range(1, 65_535, "seconds")  # 65,535: OpenFlow's longest timeout
WEIGHT = Range(0, 1000)
CAPACITY = Range(1, 1_000_000_000, "sessions")
INTERVAL = _seconds(0.5, 3600)
TIMEOUT = _seconds(0.1, 60)
RISE = FALL = Range(1, 100)
PORT = Range(1, 65_535)
HTTP_STATUS = Range(100, 599)
MAX_UNANSWERED = Range(0, 1, is_whole=False)
FIRST_REPLY = _seconds(0.001, 60)
MIN_HEALTHY = Range(0, 10_000)
SLOW_START = _seconds(0, 3600)
SPILL_AT = Range(0.1, 1, is_whole=False)
TTL = _seconds(1, 7 * DAY_S)
DEREGISTER_AFTER = _seconds(0, 30 * DAY_S)
DEADLINE = _seconds(0, 30 * DAY_S)

MAX_CHECKS = 16  # of a group
MAX_PAYLOAD = 512  # bytes of a datagram, and of what is to be in its answer
MAX_PATH = 1024  # characters
MAX_STATUSES = 50

RANGES = {  # by the name of the member, in a group, a server or a check
    "weight": WEIGHT,
    "capacity": CAPACITY,
    "interval_s": INTERVAL,
    "timeout_s": TIMEOUT,
    "rise": RISE,
    "fall": FALL,
    "port": PORT,
    "max_unanswered": MAX_UNANSWERED,
    "max_first_reply_s": FIRST_REPLY,
    "min_healthy": MIN_HEALTHY,
    "slow_start_s": SLOW_START,
    "spill_at": SPILL_AT,
    "ttl_s": TTL,
    "deregister_after_s": DEREGISTER_AFTER,
    "deadline_s": DEADLINE,
}
