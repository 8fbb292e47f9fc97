"""What is to be sent to a switch: messages stay whole, whatever is dropped of them."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.outgoing import WRITES, Outgoing

KINDS = [ofp.OFPT_FLOW_MOD, ofp.OFPT_PACKET_OUT, ofp.OFPT_BARRIER_REQUEST, ofp.OFPT_ECHO_REQUEST]


def message(kind: int, size: int, number: int) -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + size, number) + bytes(size)


def numbers_in(stream: bytes) -> list[tuple[int, int]]:
    """(transaction id, kind) of the messages; the stream has to be made of whole ones."""
    found = []
    while stream:
        version, kind, length, number = struct.unpack_from("!BBHI", stream)
        assert version == 4
        assert 8 <= length <= len(stream)
        found.append((number, kind))
        stream = stream[length:]
    return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), st.sampled_from(KINDS), st.integers(0, 40)),
        st.tuples(st.just("offer"), st.integers(1, 100), st.integers(0, 100)),
        st.tuples(st.just("drop"), st.booleans(), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_what_is_dropped_are_whole_messages_that_nobody_was_offered(done: list[tuple[str, int, int]]) -> None:
    outgoing, stream, number, kinds = Outgoing(), b"", 0, dict[int, int]()
    kept: set[int] = set()  # have to arrive
    for what, one, other in done:
        if what == "queue":
            number += 1
            kinds[number] = one
            kept.add(number)
            outgoing.unsent += message(one, other, number)
        elif what == "offer":
            offered = outgoing.next_to_send(one)
            taken = offered[: min(other, len(offered))]
            stream += taken
            outgoing.sent(len(taken))
        else:
            offered = outgoing.next_to_send(30) if one else b""
            before = len(outgoing.unsent)
            dropped = outgoing.drop_writes()
            assert bytes(outgoing.unsent[: len(offered)]) == offered
            assert (before == len(outgoing.unsent)) is (dropped == 0)
            outgoing.sent(0)
            arriving = {each for each, _ in numbers_in(stream + bytes(outgoing.unsent))}
            gone = kept - arriving
            assert len(gone) == dropped
            assert all(kinds[each] in WRITES for each in gone)
            kept -= gone
    arrived = numbers_in(stream + bytes(outgoing.unsent))
    assert [each for each, _ in arrived] == sorted(kept)
