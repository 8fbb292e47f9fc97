"""ShardedDict: a dictionary in which no single operation takes long, however large it is.

A dictionary that is full is copied into a larger one, in one step.  Where hundreds of switches hold the same tens of
thousands of routes, all their dictionaries are full at the same route, and the copies add up to a tenth of a second.
Here entries are spread over ``SHARDS`` small dictionaries, so that only a small one is copied at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TypeVar

SHARDS = 64

Key = TypeVar("Key")
Value = TypeVar("Value")


class ShardedDict(MutableMapping[Key, Value]):
    """It is ordered by shard, not by insertion."""

    def __init__(self, items: Mapping[Key, Value] | Iterable[tuple[Key, Value]] = ()) -> None:
        self._shards: list[dict[Key, Value]] = [{} for _ in range(SHARDS)]
        self.update(items)

    def __getitem__(self, key: Key) -> Value:
        return self._shards[hash(key) % SHARDS][key]

    def __setitem__(self, key: Key, value: Value) -> None:
        self._shards[hash(key) % SHARDS][key] = value

    def __delitem__(self, key: Key) -> None:
        del self._shards[hash(key) % SHARDS][key]

    def __iter__(self) -> Iterator[Key]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return sum(map(len, self._shards))
