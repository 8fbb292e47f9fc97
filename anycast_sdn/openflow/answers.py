"""What a switch answers: echo replies, ICMP errors about packets that it does not forward, and TCP resets.

A reset comes from the address that the client has asked.  The source of the others is one of an edge's gateway
addresses, or of the ``addresses`` that the network file gives a switch.  A switch without any of the family uses the
address of the sender's gateway, but sends no "TTL expired": to traceroute it is not a hop.  Errors and resets are
limited in rate (RFC 1812 §4.3.2.8, RFC 4443 §2.4f) for each port to hosts, and for groups of all other senders, so that
one sender does not use up the errors of others.  Resets of connections whose server is lost have a limit of their own:
very many may be lost at once, each client should hear of it at its next packet, and only known connections get one.
They are never sent about packets that must not be answered (``builders.unreachable``, ``builders.tcp_reset``).

An error or a reset leaves by the port where the packet came in, when its sender is there, and else by the routes: the
sender may be a PR1X, which ARh translates back.

No meter limits packets whose TTL has expired, so a switch that sends too many of them is set to drop them for a
while (``ReportExpired``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

from anycast_sdn.core.model import SCTP, TCP, UDP, Address, FlowKey, Prefix
from anycast_sdn.core.prefixes import PrefixSet
from anycast_sdn.core.roles import Subnet
from anycast_sdn.core.token_bucket import TokenBucket
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.openflow import builders, frames
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.reaction import out_of, through_pipeline
from anycast_sdn.openflow.rules import Message, PacketOut, ReportExpired

ERRORS_PER_S = 100  # of each kind and to each sender on average, and as many at once
LOST_PER_S, LOST_AT_ONCE = 1000, 2000  # resets of connections whose server is lost, of one switch
SENDERS = 64  # groups of senders that are not at our ports, by the last bits of their addresses
EXPIRED_PER_S = 500  # packets that a switch may send to the controller
PAUSE_S = 1.0
_TTL = 65  # of packets that go through our own tables, which decrement it


class Gateways:
    """Sender → the gateway address of its edge: the source of errors from a switch that has no address of its own."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @cached_property
    def _by_prefix(self) -> dict[Prefix, Address]:
        """By subnet, and by PRh/k, whose addresses stand for the clients of its edge."""
        found = {gateway.prefix: gateway.address for subnet in self._network.subnets for gateway in subnet.gateways}
        for switch in self._network.switches:
            subnets = self._network.subnets_of(switch.name)
            own = [*switch.addresses, *(gateway.address for subnet in subnets for gateway in subnet.gateways)]
            for prefix in switch.translation_prefixes:
                if address := next((address for address in own if len(address) == len(prefix.network)), None):
                    found[prefix] = address
        return found

    @cached_property
    def _prefixes(self) -> PrefixSet:
        return PrefixSet(self._by_prefix)

    def of(self, sender: Address) -> Address | None:
        return next((self._by_prefix[prefix] for prefix in self._prefixes.covering(Prefix.host(sender))), None)


class Answers:
    """``subnets``: the switch's own."""

    def __init__(self, switch: Switch, subnets: Iterable[Subnet], gateways: Gateways) -> None:
        self._gateways_of_others = gateways
        self._mac = switch.mac
        self._subnets = tuple(subnets)
        self._gateways = [gateway for subnet in self._subnets for gateway in subnet.gateways]
        self._addresses = [*switch.addresses, *(gateway.address for gateway in self._gateways)]
        self._ports = {port for subnet in self._subnets for port in subnet.ports}
        # By kind of error (None: a reset), and by sender: a port, or less than 0.
        self._allowed: dict[tuple[Unreachable | None, int], TokenBucket] = {}
        self._lost = TokenBucket(LOST_PER_S, burst=LOST_AT_ONCE)
        self._expired = TokenBucket(EXPIRED_PER_S, burst=EXPIRED_PER_S)
        self._paused_until = math.inf  # inf: not paused

    def echo_reply(self, frame: bytes) -> PacketOut:
        """The answer to a ping of one of our addresses.  Raises BadFrame."""
        return through_pipeline(builders.echo_reply(frame, self._mac, _TTL))

    def unreachable_here(self, port: int, frame: bytes, now: float) -> list[PacketOut]:
        """Port or protocol unreachable, about any packet but a ping to one of our addresses (RFC 1122 §3.2.2.1)."""
        _, own, protocol, *_ = frames.parse_ip(frame).key
        reason = Unreachable.PORT if protocol in (TCP, UDP, SCTP) else Unreachable.PROTOCOL
        error = builders.unreachable(frame, self._mac, own, reason, _TTL)
        return [through_pipeline(error)] if error and self._may_tell(port, frame, reason, now) else []

    def host_unreachable(self, frame: bytes, now: float) -> list[PacketOut]:
        """About a packet to a connected host that does not answer ARP or ND."""
        host = frames.parse_ip(frame).key.destination
        gateway = next((gateway.address for gateway in self._gateways if host in gateway.prefix), None)
        return self._tell(0, frame, gateway, Unreachable.HOST, now)

    def refuse(self, port: int, frame: bytes, reason: Unreachable, now: float, mtu: int = 0) -> list[PacketOut]:
        """The error to the sender of a packet that came in by this port and is not forwarded."""
        own = self._own_address(port, frame)
        if own is None and reason is not Unreachable.TTL_EXPIRED and len(_source(frame)) in (4, 16):
            own = self._gateways_of_others.of(_source(frame))
        return self._tell(port, frame, own, reason, now, mtu)

    def reset(self, port: int, frame: bytes, now: float, *, lost: bool = False) -> list[PacketOut]:
        """To a client whose TCP packet came in by this port: the service takes no connection now.

        ``lost``: it had this connection, and the server is lost.
        """
        straight = self._is_straight(port, frame)
        reset = builders.tcp_reset(frame, self._mac, 64 if straight else _TTL)
        if not reset or not (self._lost.take(now) if lost else self._may_tell(port, frame, None, now)):
            return []
        return [out_of(port, reset) if straight else through_pipeline(reset)]

    def reset_both(self, port: int, frame: bytes, to_client: FlowKey, now: float) -> list[PacketOut]:
        """A server's TCP packet is of a connection that has lost its server: both ends are told so.

        ``to_client``: the key of packets from the service to the client.
        """
        told = self.reset(port, frame, now, lost=True)
        reset = builders.tcp_reset_on(frame, self._mac, to_client, _TTL) if told else None
        return [*told, through_pipeline(reset)] if reset else told

    def _tell(
        self, port: int, frame: bytes, own: Address | None, reason: Unreachable, now: float, mtu: int = 0
    ) -> list[PacketOut]:
        straight = self._is_straight(port, frame)
        error = builders.unreachable(frame, self._mac, own, reason, 64 if straight else _TTL, mtu) if own else None
        if not error or not self._may_tell(port, frame, reason, now):
            return []
        return [out_of(port, error) if straight else through_pipeline(error)]

    def _is_straight(self, port: int, frame: bytes) -> bool:
        """Is the sender at this port?  With our own MAC, the frame is a packet that the switch has routed already."""
        return frame[6:12] != self._mac and any(
            port in subnet.ports and self._is_in(subnet, frame) for subnet in self._subnets
        )

    def _may_tell(self, port: int, frame: bytes, reason: Unreachable | None, now: float) -> bool:
        """``frame``: an IP packet."""
        sender = port if port in self._ports else -1 - _source(frame)[-1] % SENDERS
        allowed = self._allowed.setdefault((reason, sender), TokenBucket(ERRORS_PER_S, burst=ERRORS_PER_S))
        return allowed.take(now)

    def _own_address(self, port: int, frame: bytes) -> Address | None:
        """The sender's gateway at this port; or else that of any subnet there, or any address of ours."""
        here = [subnet for subnet in self._subnets if port in subnet.ports]
        here.sort(key=lambda subnet: not self._is_in(subnet, frame))
        at_port = [gateway.address for subnet in here for gateway in subnet.gateways]
        size = len(_source(frame))
        return next((own for own in (*at_port, *self._addresses) if len(own) == size), None)

    def _is_in(self, subnet: Subnet, frame: bytes) -> bool:
        """Is the sender of this packet in that subnet?"""
        return any(_source(frame) in gateway.prefix for gateway in subnet.gateways)

    # ---------------------------------------------------------------- TTL

    def ttl_expired(self, in_port: int, frame: bytes, now: float) -> list[Message]:
        if not self._expired.take(now):
            already, self._paused_until = self._paused_until < math.inf, now + PAUSE_S
            return [] if already else [ReportExpired(False)]
        return [*self.refuse(in_port, frame, Unreachable.TTL_EXPIRED, now)]

    def tick(self, now: float) -> list[Message]:
        if now < self._paused_until:
            return []
        self._paused_until = math.inf
        return [ReportExpired(True)]

    def disconnected(self) -> None:
        self._paused_until = math.inf  # the next connection begins without a pause


def _source(frame: bytes) -> Address:
    """The source of an IP packet; something shorter when it is cut off."""
    return frame[22:38] if frame[12:14] == b"\x86\xdd" else frame[26:30]
