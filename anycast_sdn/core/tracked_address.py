"""Tracked addresses: H', under which a connection tracker knows a client and the service address that it uses.

A reply shows neither to which ANY it belongs nor, before the first one, who will send it.  So neither may be in the key
under which a connection is found: outward the tracker sees H' → K, where K is the same for all connections, and H'
names the client and ANY:

    H'  =  code of ANY | number of the client's subnet | host bits of H

The codes of an ANY/n are a block of as many as it has addresses, aligned to its size, so that a rule makes H' without
knowing the client: it sets the upper bits, and copies ANY's host bits.  A code stays as it is while the service is
known, because connections have it: ``AnycastCodes`` gives them, and takes over those that are found on a switch.

Pure.  Source: the mechanism is that of WO 2004/014046; the addresses are ours (docs/engines.md).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from anycast_sdn.core.holders import add
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet

LEAST_SERVICES = 256  # with room for fewer service addresses, a client edge cannot be inside a tracker
_MOST_KNOWN = 1 << 12
_MOST_FORMER = 1 << 10
PEER = {False: bytes((0, 0, 0, 1)), True: bytes((*bytes(15), 1))}  # K, by "is IPv6"


@dataclass(frozen=True, slots=True)
class TrackedLayout:
    """How the bits of H' are used, in one family.  ``subnets``: the client subnets of the edge, in a fixed order."""

    subnets: tuple[Prefix, ...]
    width: int  # bits of an address
    host_bits: int = field(init=False)  # these two are computed once: ``encode`` is on the first-packet path
    subnet_bits: int = field(init=False)

    def __post_init__(self) -> None:
        host_bits = max((subnet.bits - subnet.length for subnet in self.subnets), default=0)
        object.__setattr__(self, "host_bits", host_bits)
        object.__setattr__(self, "subnet_bits", max(0, len(self.subnets) - 1).bit_length())

    @property
    def code_bits(self) -> int:
        """Negative, or few: the clients and subnets leave no room for service addresses."""
        return self.width - self.host_bits - self.subnet_bits

    @property
    def services(self) -> int:
        """How many service addresses there may be: all codes but 0, see ``AnycastCodes``."""
        return (1 << max(0, self.code_bits)) - 1

    def encode(self, code: int, client: Address) -> Address:
        """H' of a client.  Raises ValueError when it is in none of the subnets."""
        index = next((index for index, subnet in enumerate(self.subnets) if client in subnet), None)
        if index is None:
            raise ValueError("the client is in no subnet of this edge")
        host = int.from_bytes(client, "big") & (1 << self.width - self.subnets[index].length) - 1
        return self._packed((code << self.subnet_bits | index) << self.host_bits | host)

    def decode(self, tracked: Address) -> tuple[int, Address] | None:
        """→ (code of ANY, client); None: it is no H'."""
        upper, host = divmod(int.from_bytes(tracked, "big"), 1 << self.host_bits)
        code, index = divmod(upper, 1 << self.subnet_bits)
        if not code or index >= len(self.subnets):
            return None
        subnet = self.subnets[index]
        if host >> self.width - subnet.length:
            return None
        return code, self._packed(int.from_bytes(subnet.network, "big") | host)

    def block(self, code: int, length: int) -> Prefix:
        """All H' of an ANY/n: the prefix of those whose codes are in the block that begins with ``code``."""
        below = self.subnet_bits + self.host_bits
        return Prefix(self._packed(code << below), length - below)

    def within(self, index: int) -> tuple[Address, Address]:
        """(value, mask) of the bits of H' by which a client of this subnet is recognised."""
        return self._packed(index << self.host_bits), self._packed((1 << self.subnet_bits) - 1 << self.host_bits)

    def _packed(self, value: int) -> Address:
        return value.to_bytes(self.width // 8, "big")


def layout_of(role: ClientEdgeRole, subnets: Iterable[Subnet], v6: bool) -> TrackedLayout:
    """``subnets``: those of the switch; those count whose hosts may use services of this family."""
    allowed = (
        subnet
        for subnet in subnets
        if subnet.side is not Side.UPLINK and any(service.is_v6 is v6 for service in subnet.allowed(role))
    )
    prefixes = (gateway.prefix for subnet in allowed for gateway in subnet.gateways)
    return TrackedLayout(tuple(prefix for prefix in prefixes if prefix.is_v6 is v6), 128 if v6 else 32)


class AnycastCodes:
    """The codes of the ANY/n of one family at one edge; ``bits``: how many a code has.

    0 is no code, so that H' is never K, nor another small number.
    """

    def __init__(self, bits: int) -> None:
        self._end = 1 << max(0, bits)
        self._codes: dict[Prefix, int] = {}  # the first of its block
        self._services: dict[int, Prefix] = {}  # the reverse
        self._starts: list[int] = []  # the same codes in ascending order
        self._lengths: Counter[int] = Counter()  # of the ANY/n
        self._known: dict[Address, int] = {}  # codes that ``code_of`` has found, since the last change
        self._former: dict[Prefix, None] = {}  # ANY/n that were discarded, in this order
        self.changes = 0  # grows whenever there are others

    def get(self, service: Prefix) -> int | None:
        return self._codes.get(service)

    def __iter__(self) -> Iterator[Prefix]:
        return iter(list(self._codes))

    def anycast(self, code: int) -> Address | None:
        """The service address with this code."""
        at = bisect_right(self._starts, code) - 1
        if at < 0:
            return None
        service = self._services[self._starts[at]]
        offset = code - self._starts[at]
        if offset >= _size(service):
            return None
        return (int.from_bytes(service.network, "big") + offset).to_bytes(service.bits // 8, "big")

    def service(self, anycast: Address) -> Prefix | None:
        """The ANY/n with codes that holds this address."""
        number, bits = int.from_bytes(anycast, "big"), 8 * len(anycast)
        for length in sorted(self._lengths, reverse=True):
            shift = bits - length
            service = Prefix((number >> shift << shift).to_bytes(bits // 8, "big") if shift else anycast, length)
            if service in self._codes:
                return service
        return None

    def code_of(self, anycast: Address) -> int | None:
        """The code of one address."""
        known = self._known.get(anycast)
        if known is not None:
            return known
        service = self.service(anycast)
        if service is None:
            return None
        code = self._codes[service] + int.from_bytes(anycast, "big") - int.from_bytes(service.network, "big")
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[anycast] = code
        return code

    def give(self, service: Prefix) -> int | None:
        """The code of an ANY/n from now on; None: there is no room for so many addresses."""
        if (known := self._codes.get(service)) is not None:
            return known
        code = self._free(_size(service))
        if code is not None:
            self._put(service, code)
        return code

    def adopt(self, service: Prefix, code: int) -> bool:
        """Take over a code that was found on a switch → is it free, and is the block aligned?"""
        size = _size(service)
        if service in self._codes or code % size or not 0 < code <= self._end - size or not self._is_free(code, size):
            return False
        self._put(service, code)
        return True

    def all(self) -> dict[Prefix, int]:
        return dict(self._codes)

    def obey(self, told: Mapping[Prefix, int]) -> None:
        """The codes are these from now on: another controller gives them.  What is wrong among them is left out."""
        for service in [service for service, code in self._codes.items() if told.get(service) != code]:
            self.discard(service)
        for service, code in told.items():
            self.adopt(service, code)

    def give_again(self, anycast: Address) -> Prefix | None:
        """The discarded ANY/n that held this address has a code again → which one that is.

        None: it is not remembered, or others have addresses of it now, or there is no room.
        """
        service = next((each for each in reversed(self._former) if anycast in each), None)
        if service is None or any(each.overlaps(service) for each in self._codes) or self.give(service) is None:
            return None
        return service

    def discard(self, service: Prefix) -> None:
        """No connection has its codes any more."""
        if service in self._codes:
            self._former.pop(service, None)  # so that the latest is the last
            self._former[service] = None
            if len(self._former) > _MOST_FORMER:
                del self._former[next(iter(self._former))]
        if (code := self._codes.pop(service, None)) is not None:
            add(self._lengths, service.length, -1)
            self._known.clear()
            self.changes += 1
            del self._services[code]
            self._starts.remove(code)

    def _put(self, service: Prefix, code: int) -> None:
        self._codes[service] = code
        self._lengths[service.length] += 1
        self._known.clear()
        self.changes += 1
        self._services[code] = service
        insort(self._starts, code)

    def _free(self, size: int) -> int | None:
        """The first aligned block of this size that is free: behind all others if there is room, else between them."""
        last = self._starts[-1] if self._starts else 0
        behind = last + _size(self._services[last]) if last else 1
        aligned = -(-behind // size) * size
        if aligned + size <= self._end:
            return aligned
        at = size
        while at + size <= self._end:
            if self._is_free(at, size):
                return at
            before = self._starts[bisect_right(self._starts, at + size - 1) - 1]
            at = -(-(before + _size(self._services[before])) // size) * size
        return None

    def _is_free(self, code: int, size: int) -> bool:
        at = bisect_right(self._starts, code + size - 1) - 1
        if at < 0:
            return True
        start = self._starts[at]
        return start + _size(self._services[start]) <= code


def _size(service: Prefix) -> int:
    return 1 << service.bits - service.length
