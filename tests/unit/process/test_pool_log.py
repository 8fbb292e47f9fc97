"""The log's lines about pools of translation addresses (M30)."""

from __future__ import annotations

import logging

import pytest

from anycast_sdn.core.events import BindingNotAdopted, PoolExhausted, PoolLow
from anycast_sdn.process.pool_log import PoolLog
from anycast_sdn.process.repeats import RepeatingLog


def test_a_pool_is_named_with_what_is_left_and_how_long_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    log = PoolLog(RepeatingLog(logging.getLogger("test")))
    log(PoolLow("arh1", "ipv4", 20, 254, 11.2))
    log(PoolLow("arh2", "ipv6", 3, 254, None))
    log(PoolExhausted("arh1", "ipv4", 254, 250, 4))
    log(BindingNotAdopted("arh1", 7))
    assert caplog.messages == [
        "the IPv4 pool of arh1 is low: 20 of 254 addresses left, used up in about 12 s",
        "the IPv6 pool of arh2 is low: 3 of 254 addresses left",
        "the IPv4 pool of arh1 is exhausted: 250 of 254 addresses in use, 4 resting",
    ]


def test_a_pool_that_is_exhausted_again_soon_is_counted_and_another_one_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = PoolLog(RepeatingLog(logging.getLogger("test")))
    for edge in ("arh1", "arh1", "arh2"):
        log(PoolExhausted(edge, "ipv4", 254, 254, 0))
    assert [message.split()[4] for message in caplog.messages] == ["arh1", "arh2"]
