"""A simulated switch's meter."""

from __future__ import annotations

from anycast_sdn.core.token_bucket import TokenBucket
from anycast_sdn.openflow.rules import MeterRule


class Meter:
    def __init__(self, rule: MeterRule, now: float) -> None:
        self.rule = rule
        self._tokens = TokenBucket(rule.rate, rule.burst, now)

    def lets_pass(self, now: float) -> bool:
        return self._tokens.take(now)
