"""LLDP frames: those that are built are read back, and all others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.openflow.frames import BadFrame
from anycast_sdn.openflow.lldp import NEAREST_BRIDGE, Probe, build, read

KEY, MAC = bytes(range(16)), b"\x02\xac\0\0\0\1"
PROBE = Probe(0x31, 10, 77)
FRAME = build(PROBE, MAC, KEY)


@given(st.builds(Probe, *(st.integers(0, (1 << bits) - 1) for bits in (64, 32, 64))))
def test_a_probe_is_read_back_whatever_padding_follows(probe: Probe) -> None:
    frame = build(probe, MAC, KEY)
    assert read(frame, KEY) == read(frame + bytes(20), KEY) == probe


def test_it_is_lldp_as_others_read_it() -> None:
    """IEEE 802.1AB §8: destination, EtherType, and TLVs from chassis to end."""
    assert (FRAME[:6], FRAME[12:14]) == (NEAREST_BRIDGE, b"\x88\xcc")
    kinds, at = [], 14
    while at < len(FRAME):
        header = int.from_bytes(FRAME[at : at + 2], "big")
        kinds.append(header >> 9)
        at += 2 + (header & 0x1FF)
    assert (kinds, at) == ([1, 2, 3, 127, 0], len(FRAME))


def test_any_other_digest_is_forged() -> None:
    with pytest.raises(BadFrame, match="lldp digest"):
        read(FRAME, bytes(16))


@pytest.mark.parametrize("at", range(12, len(FRAME)))
def test_a_change_of_any_byte_is_noticed(at: int) -> None:
    changed = bytearray(FRAME)
    changed[at] ^= 1
    with pytest.raises(BadFrame):
        read(bytes(changed), KEY)


@given(st.binary(max_size=100))
def test_anything_else_is_refused(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        read(frame, KEY)


@pytest.mark.parametrize("length", range(len(FRAME)))
def test_a_frame_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(BadFrame):
        read(FRAME[:length], KEY)
