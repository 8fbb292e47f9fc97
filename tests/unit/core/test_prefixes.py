"""Longest match among prefixes of both families; the text form of addresses."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import Prefix, text
from anycast_sdn.core.prefixes import PrefixSet


@st.composite
def prefixes(draw):
    """Prefixes out of so few that many are within others."""
    bits = draw(st.sampled_from((32, 128)))
    length = draw(st.sampled_from((0, 1, 2, 3, 8, bits)))
    top = draw(st.integers(0, 7)) << bits - 3
    shift = bits - length
    return Prefix((top >> shift << shift).to_bytes(bits // 8, "big"), length)


@given(st.sets(prefixes(), max_size=12), prefixes())
def test_the_prefixes_that_cover_another_are_found_longest_first(known, prefix):
    covering = sorted((each for each in known if each.covers(prefix)), key=lambda each: -each.length)
    assert list(PrefixSet(known).covering(prefix)) == covering
    assert PrefixSet(known).covers(prefix) is bool(covering)


@given(st.lists(st.sampled_from([0, 0, 1, 0x2001, 0xFFF0]), min_size=8, max_size=8))
def test_an_ipv6_address_is_written_as_python_writes_it(words):
    address = b"".join(word.to_bytes(2, "big") for word in words)
    assert text(address) == str(ipaddress.ip_address(address))
