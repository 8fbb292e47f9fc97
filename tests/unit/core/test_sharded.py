"""ShardedDict: a dictionary in all but its order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.sharded import SHARDS, ShardedDict

_KEYS = st.integers(0, 300)


@given(st.dictionaries(_KEYS, _KEYS), st.lists(st.tuples(st.booleans(), _KEYS, _KEYS)))
def test_it_behaves_as_a_dictionary(first: dict[int, int], changes: list[tuple[bool, int, int]]) -> None:
    sharded, plain = ShardedDict(first), dict(first)
    for puts, key, value in changes:
        if puts:
            sharded[key] = plain[key] = value
        else:
            assert sharded.pop(key, None) == plain.pop(key, None)
        assert (key in sharded) is (key in plain)
        assert sharded.get(key, -1) == plain.get(key, -1)
    assert sharded == plain
    assert plain == sharded
    assert len(sharded) == len(plain)
    assert sorted(sharded.items()) == sorted(plain.items())


def test_no_shard_is_large() -> None:
    sharded = ShardedDict(((number >> 8, number & 255), 0) for number in range(20_000))
    assert max(map(len, sharded._shards)) < 2 * 20_000 / SHARDS
