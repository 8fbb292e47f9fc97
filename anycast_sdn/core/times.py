"""Moments as text: RFC 3339, in UTC; and as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def rfc3339(epoch: float, timespec: str = "milliseconds") -> str:
    """``epoch``: seconds since 1970."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def moment_of(written: str, now: float) -> float:
    """Seconds since 1970; ``now`` is, too.  Raises ValueError, also for what is in no year that can be written.

    RFC 3339, where UTC is meant without a zone; a time of day in UTC, the last one there was; how long ago, such as
    5m or -5m; or now.
    """
    if written == "now":
        return now
    if ago := re.fullmatch(r"-?([0-9]{1,6})([smhd])( ago)?", written):
        return now - int(ago[1]) * _UNITS_S[ago[2]]
    if re.fullmatch(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?Z?", written):
        today = datetime.fromtimestamp(now, UTC)
        then = datetime.combine(today, time.fromisoformat(written.removesuffix("Z")), UTC)
        return (then if then <= today else then - timedelta(days=1)).timestamp()
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", written):
        raise ValueError("no moment")
    moment = datetime.fromisoformat(written)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except OverflowError as error:
        raise ValueError("no moment") from error
