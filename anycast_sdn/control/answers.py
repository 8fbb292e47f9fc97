"""What a switch says in its own name: echo replies, and ICMP errors about packets that go no further.

An edge speaks by its gateway addresses, every switch by the ``addresses`` that the network file gives it.
Errors are limited in rate (RFC 1812 §4.3.2.8, RFC 4443 §2.4f), and never sent about what must not be
answered (``builders.unreachable``).  No meter can hold back packets whose TTL is used up, so a switch that
sends too many of them is told to drop them itself for a while.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from anycast_sdn.control.reaction import out_of, through_pipeline
from anycast_sdn.core.model import Address, Subnet, Switch
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.rules import Message, PacketOut, ReportExpired

ERRORS_PER_S = 100  # of each kind on average, and as many at once
EXPIRED_PER_S = 500  # packets that a switch may send up
PAUSE_S = 1.0
_TTL = 65  # of what goes through our own tables, which take one away


class _Allowance:
    """So many a second on average, and as many at once."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._left = float(per_s)
        self._filled = 0.0

    def take(self, now: float) -> bool:
        self._left = min(self._per_s, self._left + (now - self._filled) * self._per_s)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Answers:
    """``subnets``: the switch's own."""

    def __init__(self, switch: Switch, subnets: Iterable[Subnet]) -> None:
        self._mac = switch.mac
        self._subnets = tuple(subnets)
        self._gateways = [gateway for subnet in self._subnets for gateway in subnet.gateways]
        self._addresses = [*switch.addresses, *(gateway.address for gateway in self._gateways)]
        self._unreachable, self._time_exceeded = _Allowance(ERRORS_PER_S), _Allowance(ERRORS_PER_S)
        self._expired = _Allowance(EXPIRED_PER_S)
        self._paused_until = math.inf  # inf: not paused

    def echo_reply(self, frame: bytes) -> PacketOut:
        """To a ping of one of our addresses.  Raises BadFrame."""
        return through_pipeline(builders.echo_reply(frame, self._mac, _TTL))

    def port_unreachable(self, frame: bytes, now: float) -> list[PacketOut]:
        """To a datagram for one of our addresses: nobody listens there (RFC 1122 §3.2.2.1)."""
        own = frames.parse_ip(frame).key.destination
        error = builders.unreachable(frame, self._mac, own, Unreachable.PORT, _TTL)
        return [through_pipeline(error)] if error and self._unreachable.take(now) else []

    def refuse(self, port: int, frame: bytes, client: Address, reason: Unreachable, now: float) -> list[PacketOut]:
        """An error to a client about its packet, straight back to the port where it came in."""
        return [out_of(port, error) for error in self._error(frame, client, reason, now, 64)]

    def host_unreachable(self, frame: bytes, now: float) -> list[PacketOut]:
        """An error about a packet to one of our hosts that does not answer, to whoever sent it."""
        host = frames.parse_ip(frame).key.destination
        return [through_pipeline(error) for error in self._error(frame, host, Unreachable.HOST, now, _TTL)]

    def _error(self, frame: bytes, of_ours: Address, reason: Unreachable, now: float, ttl: int) -> Iterable[bytes]:
        """``of_ours``: an address of one of our subnets, whose gateway speaks."""
        gateway = next((gateway.address for gateway in self._gateways if of_ours in gateway.prefix), None)
        error = builders.unreachable(frame, self._mac, gateway, reason, ttl) if gateway else None
        return (error,) if error and self._unreachable.take(now) else ()

    # ---------------------------------------------------------------- TTL

    def ttl_expired(self, in_port: int, frame: bytes, now: float) -> list[Message]:
        """To the packet's sender, by the routes; its source may be a PR1X, which ARh translates back."""
        if not self._expired.take(now):
            already, self._paused_until = self._paused_until < math.inf, now + PAUSE_S
            return [] if already else [ReportExpired(False)]
        own = self._address_at(in_port, v6=frame[12:14] == b"\x86\xdd")
        error = builders.unreachable(frame, self._mac, own, Unreachable.TTL_EXPIRED, _TTL) if own else None
        return [through_pipeline(error)] if error and self._time_exceeded.take(now) else []

    def _address_at(self, port: int, v6: bool) -> Address | None:
        """The gateway of a subnet at this port, or else any address of ours."""
        at_port = [gateway.address for s in self._subnets if port in s.ports for gateway in s.gateways]
        return next((own for own in (*at_port, *self._addresses) if (len(own) == 16) is v6), None)

    def tick(self, now: float) -> list[Message]:
        if now < self._paused_until:
            return []
        self._paused_until = math.inf
        return [ReportExpired(True)]

    def disconnected(self) -> None:
        self._paused_until = math.inf  # the next connection begins without a pause
