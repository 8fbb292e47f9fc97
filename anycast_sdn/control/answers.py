"""What an edge says in its own name, as the gateway of its hosts: echo replies and ICMP errors.

Errors are limited in rate (RFC 1812 §4.3.2.8, RFC 4443 §2.4f), and never sent about what must not be
answered (``builders.unreachable``).
"""

from __future__ import annotations

from collections.abc import Iterable

from anycast_sdn.control.reaction import out_of, through_pipeline
from anycast_sdn.core.model import Address, Subnet
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.rules import PacketOut

ERRORS_PER_S = 100  # on average, and as many at once


class Answers:
    """``mac`` and ``subnets``: the edge's own."""

    def __init__(self, mac: bytes, subnets: Iterable[Subnet]) -> None:
        self._mac = mac
        self._gateways = [gateway for subnet in subnets for gateway in subnet.gateways]
        self._tokens = float(ERRORS_PER_S)
        self._filled = 0.0

    def echo_reply(self, frame: bytes) -> PacketOut:
        """To a ping of a gateway address.  Raises BadFrame."""
        return through_pipeline(builders.echo_reply(frame, self._mac))

    def refuse(self, port: int, frame: bytes, client: Address, reason: Unreachable, now: float) -> list[PacketOut]:
        """An error to a client about its packet, straight back to the port where it came in."""
        return [out_of(port, error) for error in self._error(frame, client, reason, now)]

    def host_unreachable(self, frame: bytes, now: float) -> list[PacketOut]:
        """An error about a packet to one of our hosts that does not answer, to whoever sent it."""
        host = frames.parse_ip(frame).key.destination
        return [through_pipeline(error) for error in self._error(frame, host, Unreachable.HOST, now)]

    def _error(self, frame: bytes, of_ours: Address, reason: Unreachable, now: float) -> Iterable[bytes]:
        """``of_ours``: an address of one of our subnets, whose gateway speaks."""
        gateway = next((gateway.address for gateway in self._gateways if of_ours in gateway.prefix), None)
        error = builders.unreachable(frame, self._mac, gateway, reason) if gateway else None
        return (error,) if error and self._may_speak(now) else ()

    def _may_speak(self, now: float) -> bool:
        self._tokens = min(ERRORS_PER_S, self._tokens + (now - self._filled) * ERRORS_PER_S)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
