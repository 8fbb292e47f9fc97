"""Instead of meters: where a switch has none, the controller takes no more of its packets than they would let pass.

That does not relieve the control channel, but one sender cannot keep the controller busy with its packets alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from anycast_sdn.core.model import Address
from anycast_sdn.core.token_bucket import TokenBucket
from anycast_sdn.openflow import frames
from anycast_sdn.openflow.meters import PARTS, PER_PORT, Meter, check_meter, port_meter, reply_meter
from anycast_sdn.openflow.pipeline import ROW
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import MeterRule


class InsteadOfMeters:
    """``wanted``: the meters that the switch would have; ``hosts``, ``links``: its ports to hosts, and to switches."""

    def __init__(
        self, wanted: Callable[[], Iterable[MeterRule]], hosts: Sequence[int], links: Callable[[], Sequence[int]]
    ) -> None:
        self._wanted = wanted
        self._hosts = hosts
        self._links = links
        self._rules: dict[int, MeterRule] = {}
        self._buckets: dict[int, TokenBucket] = {}

    def renew(self) -> None:
        """Other meters are wanted."""
        self._rules.clear()
        self._buckets.clear()

    def lets_pass(self, kind: Kind | None, in_port: int, frame: bytes, now: float) -> bool:
        """A packet that a rule of this kind has sent up."""
        meter = ROW[kind].meter if kind else None
        number = None if meter is None else self._number(meter, in_port, frame)
        if number is None:
            return True
        if not self._rules:
            self._rules = {rule.number: rule for rule in self._wanted()}
        bucket = self._buckets.get(number)
        if bucket is None:
            rule = self._rules.get(number)
            if rule is None:
                return True
            bucket = self._buckets[number] = TokenBucket(rule.rate, rule.burst, now)
        return bucket.take(now)

    def _number(self, meter: Meter, in_port: int, frame: bytes) -> int | None:
        if meter in PER_PORT:
            ports = self._links() if meter is Meter.LINK else self._hosts
            return port_meter(meter, ports.index(in_port)) if in_port in ports else None
        if meter not in (Meter.FIRST_REPLIES, Meter.CHECKS, Meter.ICMP_ERRORS):
            return int(meter)
        source = _source(frame)
        if meter is Meter.ICMP_ERRORS:
            return int(meter) + source[-1] % PARTS
        return reply_meter(source) if meter is Meter.FIRST_REPLIES else check_meter(source)


def _source(frame: bytes) -> Address:
    """All frames that are cut short share a limit."""
    try:
        source = frames.source_of(frame)
    except frames.BadFrame:
        source = b""
    return source or bytes(4)
