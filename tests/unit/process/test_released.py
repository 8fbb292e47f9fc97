"""Translation addresses rest on when another controller becomes master of their switch (M19)."""

from __future__ import annotations

import random
import struct

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import TCP, FlowKey, Prefix, packed
from anycast_sdn.core.pool import PoolEmpty, TranslationPool
from anycast_sdn.openflow import codec, entries, pipeline
from anycast_sdn.openflow.removed_rules import translated_of
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import PutBinding
from anycast_sdn.process import released
from anycast_sdn.process.released import Released

POOL = Prefix.parse("192.0.2.0/29")
ADDRESSES = [packed(f"192.0.2.{number}") for number in range(1, 7)]


def removed(half: Half, v6: bool, kind: Kind | None = None) -> bytes:
    """The body of a switch's report that a rule of a pinned flow was removed."""
    key = FlowKey(packed("2001:db8:1::10" if v6 else "10.1.0.10"), packed("2001:db8:a::1" if v6 else "198.18.0.1"),
                  TCP, 40000, 80)  # fmt: skip
    translated, server = (packed("2001:db8:f::7"), packed("2001:db8:2::10")) if v6 else (ADDRESSES[0], b"\x0a\2\0\x0a")
    flow = Binding(7, key, translated, "web", 0.0, server, Half.BOTH)
    rule = entries.binding(PutBinding(flow, half, 300, 0))
    match = bytearray()
    codec._match(rule.match).serialize(match, 0)
    cookie = pipeline.cookie(kind) if kind else rule.cookie
    return struct.pack("!QHBBIIHHQQ", cookie, 1, ofp.OFPRR_IDLE_TIMEOUT, 3, 1, 0, 300, 0, 5, 500) + bytes(match)


@pytest.mark.parametrize("v6", [False, True])
def test_a_slave_reads_the_address_from_the_report_about_a_rule_for_replies(v6: bool) -> None:
    assert translated_of(removed(Half.IN, v6)) == (packed("2001:db8:f::7") if v6 else ADDRESSES[0])
    assert translated_of(removed(Half.OUT, v6)) is None
    assert translated_of(removed(Half.IN, v6, Kind.HOST)) is None
    whole = removed(Half.IN, v6)
    for size in range(len(whole)):
        assert translated_of(whole[:size]) in (None, translated_of(whole))


def test_the_last_release_of_an_address_counts() -> None:
    kept = Released()
    kept.keep(1, [(ADDRESSES[0], 1.0), (ADDRESSES[1], 2.0)])
    kept.keep(1, [(ADDRESSES[0], 3.0)])
    assert kept.pop(1) == [(ADDRESSES[1], 2.0), (ADDRESSES[0], 3.0)]
    assert kept.pop(1) == []


def test_those_that_have_rested_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Released()
    kept.keep(1, [(address, float(number)) for number, address in enumerate(ADDRESSES)])
    kept.forget(1, 3.0, 2)
    kept.forget(1, 3.0, 2)
    kept.forget(1, 3.0, 2)
    assert kept.pop(1)[0] == (ADDRESSES[3], 3.0)
    monkeypatch.setattr(released, "MOST", 2)
    kept.keep(1, [(address, float(number)) for number, address in enumerate(ADDRESSES)])
    assert [address for address, _ in kept.pop(1)] == ADDRESSES[-2:]


def test_an_address_that_others_have_released_is_not_leased_before_it_has_rested() -> None:
    pool = TranslationPool([POOL], 120, random.Random(1), least_s=120)
    for address in ADDRESSES[:5]:
        pool.rest(address, 10.0)
    pool.rest(packed("203.0.113.1"), 10.0)  # of no prefix here
    assert pool.lease(11.0) == ADDRESSES[5]
    with pytest.raises(PoolEmpty):
        pool.lease(11.0)
    assert {pool.lease(130.0) for _ in range(5)} == set(ADDRESSES[:5])


def test_a_flow_that_is_found_takes_its_address_out_of_its_rest() -> None:
    pool = TranslationPool([POOL], 120, random.Random(1))
    pool.claim(ADDRESSES[1])
    for address in ADDRESSES[:2]:
        pool.rest(address, 10.0)
    pool.claim(ADDRESSES[0])
    assert (pool.use(11.0).leased, pool.use(11.0).resting) == (2, 0)
