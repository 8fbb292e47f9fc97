"""Moments as people write them."""

from __future__ import annotations

import pytest

from anycast_sdn.core.times import moment_of, rfc3339

NOW = 1_750_000_000.0  # 2025-06-15T15:06:40Z


@pytest.mark.parametrize(("written", "moment"), [
    ("now", "2025-06-15T15:06:40.000Z"),
    ("5m", "2025-06-15T15:01:40.000Z"),
    ("-5m", "2025-06-15T15:01:40.000Z"),
    ("90s ago", "2025-06-15T15:05:10.000Z"),
    ("2h", "2025-06-15T13:06:40.000Z"),
    ("1d", "2025-06-14T15:06:40.000Z"),
    ("14:03", "2025-06-15T14:03:00.000Z"),
    ("15:06:41", "2025-06-14T15:06:41.000Z"),  # that was yesterday
    ("2025-06-01T14:03:00Z", "2025-06-01T14:03:00.000Z"),
    ("2025-06-01 14:03", "2025-06-01T14:03:00.000Z"),
    ("2025-06-01T14:03:00.250+02:00", "2025-06-01T12:03:00.250Z"),
])  # fmt: skip
def test_a_moment_is_understood(written, moment):
    assert rfc3339(moment_of(written, NOW)) == moment


@pytest.mark.parametrize("written", [
    "", "yesterday", "5", "5x", "25:00", "14", "2025-13-01T00:00:00Z", "1750000000",
    "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00",
])  # fmt: skip
def test_what_is_no_moment_is_refused(written):
    with pytest.raises(ValueError, match=r"."):
        moment_of(written, NOW)
