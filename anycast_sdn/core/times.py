"""Moments as text: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(epoch: float, timespec: str = "milliseconds") -> str:
    """``epoch``: seconds since 1970."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
