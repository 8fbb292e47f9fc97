"""The benchmark's addresses, and the packets of its flows as a switch reports them.

A flow is a number.  Its client's address and source port follow from the number, so that every
message of a controller about a flow identifies it, and its packets carry the number as their TCP sequence
number, so that a packet that comes back identifies itself.  Nothing here is random: every run is alike.
"""

from __future__ import annotations

import ipaddress
from struct import Struct
from typing import NamedTuple

from anycast_sdn.core.model import packed

SERVICE = {4: "198.18.0.1", 6: "2001:db8:a::1"}
SERVER = {4: "172.31.0.10", 6: "2001:db8:0:5::10"}
SERVICE_PORT = 80
MAX_EDGES = 16
EDGE_PORT, FABRIC_PORT = 1, 10  # of a client edge: towards its clients, towards the servers
REPLY = 1 << 31  # set in the sequence number of a reply
FIRST_PORT = 1024

HOST_BITS = 10
_HOSTS = 1 << HOST_BITS  # clients per edge; then come further ports of the same clients
_FIRST_HOST = 1 << 16  # above the gateway
_NO_BUFFER = 0xFFFFFFFF
_PACKET_IN, _VERSION, _IN_PORT = 10, 4, 0x80000004  # in_port: OXM class 0x8000, field 0, 4 bytes
_HEAD = Struct("!BBHI IHBBQ HHIIxxxx xx")  # header, packet-in, match with in_port, padding
_ETHERNET = bytes.fromhex("02ac00000001 020000000001")
_SYN, _SYN_ACK = 0x5002FFFF, 0x5012FFFF  # data offset, flags, window


class Edge(NamedTuple):
    """One emulated client edge: the prefixes of its clients and its translation prefixes, by family."""

    number: int
    clients: dict[int, str]
    translation: dict[int, str]

    @property
    def dpid(self) -> int:
        return self.number + 1

    @property
    def name(self) -> str:
        return f"c{self.number}"

    def client_addresses(self) -> list[bytes]:
        """Of both families: some controllers serve only clients that they know."""
        return [
            (_first_client(prefix) + host).to_bytes(4 if family == 4 else 16, "big")
            for family, prefix in self.clients.items()
            for host in range(_HOSTS)
        ]


def edges(count: int) -> list[Edge]:
    """Client edges; one alone has the larger translation prefix: 4 million addresses."""
    length = 10 if count == 1 else 14
    return [
        Edge(
            number,
            {4: f"10.{16 * number}.0.0/12", 6: f"2001:db8:0:{0xC000 + number:x}::/64"},
            {4: f"100.{64 + 4 * number}.0.0/{length}", 6: f"2001:db8:0:{0xF000 + number:x}::/64"},
        )
        for number in range(count)
    ]


def _first_client(prefix: str) -> int:
    return int(ipaddress.ip_network(prefix).network_address) + _FIRST_HOST


def flow_number(host: int, port: int) -> int:
    """The flow of a client's address (its low 16 bits) and source port."""
    return host | (port - FIRST_PORT) << HOST_BITS


class Packets:
    """The packets of one edge's flows in one family, as complete packet-in messages.

    ``out`` and ``back`` say how the switch reports a first packet and a first reply: (table, cookie).
    """

    def __init__(self, edge: Edge, family: int, out: tuple[int, int], back: tuple[int, int]) -> None:
        width = 4 if family == 4 else 16
        self.frame_size = 54 if family == 4 else 74
        self.service, self.server = packed(SERVICE[family]), packed(SERVER[family])
        self.prefix = ipaddress.ip_network(edge.translation[family])
        self._width = width
        self._clients = _first_client(edge.clients[family])
        if family == 4:
            # Version, length, identification 0, don't fragment, TTL, TCP; the checksum follows.
            ip = Struct("!BBHHHBB").pack(0x45, 0, 40, 0, 0x4000, 64, 6)
            self._frame = Struct("!66sH4s4sHHIIIHxx")
        else:
            ip = Struct("!IHBB").pack(6 << 28, 20, 6, 64)
            self._frame = Struct("!64s16s16sHHIIIHxx")
        self._ip_sum = _sum(ip)
        self._tcp_sum = 6 + 20  # protocol and length of the pseudo-header
        ethernet = _ETHERNET + (b"\x08\x00" if family == 4 else b"\x86\xdd")
        size = _HEAD.size + self.frame_size
        self._out = self._head(size, EDGE_PORT, *out) + ethernet + ip
        self._back = self._head(size, FABRIC_PORT, *back) + ethernet + ip

    def _head(self, size: int, in_port: int, table: int, cookie: int) -> bytes:
        match = 1, 12, _IN_PORT, in_port
        return _HEAD.pack(_VERSION, _PACKET_IN, size, 0, _NO_BUFFER, self.frame_size, 1, table, cookie, *match)

    def first(self, flow: int) -> bytes:
        """A client's SYN to the service address."""
        client = (self._clients + flow % _HOSTS).to_bytes(self._width, "big")
        port = FIRST_PORT + (flow >> HOST_BITS)
        return self._packet(self._out, client, self.service, port, SERVICE_PORT, flow, 0, _SYN)

    def reply(self, flow: int, translated: bytes) -> bytes:
        """The server's answer to it, addressed to PR1X."""
        port = FIRST_PORT + (flow >> HOST_BITS)
        return self._packet(self._back, self.server, translated, SERVICE_PORT, port, flow | REPLY, flow + 1, _SYN_ACK)

    def _packet(
        self, head: bytes, source: bytes, destination: bytes, sport: int, dport: int, sequence: int, ack: int, rest: int
    ) -> bytes:
        # The one's complement sum of 16-bit words is the number itself modulo 65535 (RFC 1071).
        addresses = int.from_bytes(source, "big") + int.from_bytes(destination, "big")
        tcp = 0xFFFF - (addresses + self._tcp_sum + sport + dport + sequence + ack + rest) % 0xFFFF
        if self._width == 16:
            return self._frame.pack(head, source, destination, sport, dport, sequence, ack, rest, tcp)
        ip = 0xFFFF - (addresses + self._ip_sum) % 0xFFFF
        return self._frame.pack(head, ip, source, destination, sport, dport, sequence, ack, rest, tcp)

    def are_translations(self, addresses: list[bytes]) -> bool:
        """True when all are different addresses of the edge's translation prefix."""
        shift = self.prefix.max_prefixlen - self.prefix.prefixlen
        network = int(self.prefix.network_address) >> shift
        inside = all(int.from_bytes(address, "big") >> shift == network for address in addresses)
        return inside and len(set(addresses)) == len(addresses)


def _sum(data: bytes) -> int:
    return int.from_bytes(data, "big") % 0xFFFF

