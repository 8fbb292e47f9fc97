"""Prefixes among prefixes: which of many cover another one, and which no network may use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anycast_sdn.core.model import Prefix

SPECIAL = {  # RFC 6890: what no router forwards
    Prefix.parse("0.0.0.0/8"): "reserved for this host",
    Prefix.parse("127.0.0.0/8"): "loopback",
    Prefix.parse("169.254.0.0/16"): "link-local",
    Prefix.parse("224.0.0.0/4"): "multicast",
    Prefix.parse("240.0.0.0/4"): "reserved, with the broadcast address",
    Prefix.parse("::/80"): "reserved, with loopback and the IPv4-mapped addresses",
    Prefix.parse("fe80::/10"): "link-local",
    Prefix.parse("ff00::/8"): "multicast",
}


class PrefixSet:
    """Prefixes of both families; a look-up costs one step for each length that occurs."""

    def __init__(self, prefixes: Iterable[Prefix] = ()) -> None:
        self.prefixes = frozenset(prefixes)
        self._lengths = sorted({(prefix.bits, prefix.length) for prefix in self.prefixes}, reverse=True)

    def covering(self, prefix: Prefix) -> Iterator[Prefix]:
        """Those that contain all of ``prefix``, itself included, the longest first."""
        width = 8 * len(prefix.network)
        address = int.from_bytes(prefix.network, "big")
        for bits, length in self._lengths:
            if bits == width and length <= prefix.length:
                shift = bits - length
                candidate = Prefix((address >> shift << shift).to_bytes(bits // 8, "big"), length)
                if candidate in self.prefixes:
                    yield candidate

    def covers(self, prefix: Prefix) -> bool:
        """Does one of them contain all of ``prefix``?"""
        return any(True for _ in self.covering(prefix))


def special(prefix: Prefix) -> str | None:
    """Why all of ``prefix`` is of no use as a destination, for example "multicast"; None for other prefixes.

    0.0.0.0/8 and ::/80 hold the default routes' network, but not these.
    """
    return next((SPECIAL[found] for found in _SPECIAL.covering(prefix)), None)


_SPECIAL = PrefixSet(SPECIAL)
