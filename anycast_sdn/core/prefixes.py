"""Sets of prefixes: which of them cover a given one; and prefixes and addresses that no host may use."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

from anycast_sdn.core.model import Address, Prefix

MOST_KEPT = 1 << 15  # cached results
SPECIAL = {  # RFC 6890: what no router forwards, or none to hosts
    Prefix.parse("0.0.0.0/8"): "reserved for this host",
    Prefix.parse("127.0.0.0/8"): "loopback",
    Prefix.parse("169.254.0.0/16"): "link-local",
    Prefix.parse("224.0.0.0/4"): "multicast",
    Prefix.parse("240.0.0.0/4"): "reserved, with the broadcast address",
    Prefix.parse("::/80"): "reserved, with loopback and the IPv4-mapped addresses",
    Prefix.parse("100::/64"): "for packets to be discarded",
    Prefix.parse("fe80::/10"): "link-local",
    Prefix.parse("ff00::/8"): "multicast",
}


class PrefixSet:
    """Prefixes of both families; a look-up costs one step for each length that occurs."""

    def __init__(self, prefixes: Iterable[Prefix] = ()) -> None:
        self.prefixes = set(prefixes)
        self._count = Counter((prefix.bits, prefix.length) for prefix in self.prefixes)
        self._lengths = sorted(self._count, reverse=True)

    def add(self, prefix: Prefix) -> None:
        if prefix not in self.prefixes:
            self.prefixes.add(prefix)
            kind = prefix.bits, prefix.length
            self._count[kind] += 1
            if self._count[kind] == 1:
                self._lengths = sorted(self._count, reverse=True)

    def discard(self, prefix: Prefix) -> None:
        if prefix in self.prefixes:
            self.prefixes.discard(prefix)
            kind = prefix.bits, prefix.length
            self._count[kind] -= 1
            if not self._count[kind]:
                del self._count[kind]
                self._lengths = sorted(self._count, reverse=True)

    def covering(self, prefix: Prefix) -> Iterator[Prefix]:
        """The prefixes that cover ``prefix``, itself included, the longest first."""
        width = 8 * len(prefix.network)
        address = int.from_bytes(prefix.network, "big")
        for bits, length in self._lengths:
            if bits == width and length <= prefix.length:
                shift = bits - length
                candidate = Prefix((address >> shift << shift).to_bytes(bits // 8, "big"), length)
                if candidate in self.prefixes:
                    yield candidate

    def covers(self, prefix: Prefix) -> bool:
        """Does one of them cover ``prefix``?"""
        return any(True for _ in self.covering(prefix))


class NestedPrefixes(PrefixSet):
    """A ``PrefixSet`` that also finds the prefixes within a given one."""

    def __init__(self, prefixes: Iterable[Prefix] = ()) -> None:
        super().__init__(prefixes)
        self._sorted: dict[int, list[Prefix]] = {32: [], 128: []}  # by bits of an address
        for prefix in sorted(self.prefixes):
            self._sorted[prefix.bits].append(prefix)

    def add(self, prefix: Prefix) -> None:
        if prefix not in self.prefixes:
            super().add(prefix)
            insort(self._sorted[prefix.bits], prefix)

    def discard(self, prefix: Prefix) -> None:
        if prefix in self.prefixes:
            super().discard(prefix)
            in_order = self._sorted[prefix.bits]
            del in_order[bisect_left(in_order, prefix)]

    def within(self, prefix: Prefix) -> Iterator[Prefix]:
        """The prefixes within ``prefix``, itself included.  The set must not change during the iteration."""
        in_order = self._sorted[prefix.bits]
        for at in range(bisect_left(in_order, prefix), len(in_order)):
            if in_order[at].network not in prefix:
                break
            yield in_order[at]


@lru_cache(MOST_KEPT)
def special(prefix: Prefix) -> str | None:
    """Why no router forwards to hosts in ``prefix``, for example "multicast"; None for other prefixes.

    The default routes are not special: 0.0.0.0/8 and ::/80 hold their network address, but do not cover them.
    """
    return next((SPECIAL[found] for found in _SPECIAL.covering(prefix)), None)


_SPECIAL = PrefixSet(SPECIAL)


def reserved(prefix: Prefix, address: Address) -> str | None:
    """What ``address`` of a subnet is reserved for, if anything (RFC 919, RFC 3021, RFC 4291 §2.6.1)."""
    if prefix.bits - prefix.length < 2:
        return None
    if address == prefix.network:
        return f"the {'subnet-router anycast' if prefix.is_v6 else 'network'} address of {prefix}"
    host_bits = (1 << (prefix.bits - prefix.length)) - 1
    if not prefix.is_v6 and int.from_bytes(address, "big") & host_bits == host_bits:
        return f"the broadcast address of {prefix}"
    return None
