"""PoolLog: pools of translation addresses that become low or exhausted, in the log."""

from __future__ import annotations

import logging
import math

from anycast_sdn.core.events import Event, PoolExhausted, PoolLow
from anycast_sdn.process.repeats import RepeatingLog

_NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}


class PoolLog:
    """A subscriber.  One line each time; a pool that becomes so again and again is a line that repeats."""

    def __init__(self, log: RepeatingLog) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        match event:
            case PoolLow(edge, family, left, size, seconds):
                soon = "" if seconds is None else f", used up in about {math.ceil(seconds)} s"
                line = f"the {_NAMES[family]} pool of {edge} is low: {left} of {size} addresses left{soon}"
                self._log.log(logging.WARNING, (PoolLow, edge, family), line)
            case PoolExhausted(edge, family, size, leased, resting):
                line = f"the {_NAMES[family]} pool of {edge} is exhausted: {leased} of {size} addresses in use"
                self._log.log(logging.WARNING, (PoolExhausted, edge, family), f"{line}, {resting} resting")
            case _:
                pass
