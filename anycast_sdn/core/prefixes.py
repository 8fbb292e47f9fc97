"""PrefixSet: which of many prefixes cover another one, as longest match would find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anycast_sdn.core.model import Prefix


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
