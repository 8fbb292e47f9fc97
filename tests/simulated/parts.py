"""Packets in fragments, for the simulated tests."""

from __future__ import annotations

from anycast_sdn.openflow.frames import checksum


def parts_of(whole: bytes, v6: bool) -> list[bytes]:
    """The packet in three fragments."""
    if not v6:
        payload = whole[34:]
        cuts = [payload[:24], payload[24:48], payload[48:]]
        return [
            ipv4_fragment(whole[:34] + cut, 3 * index | (0x2000 if index < 2 else 0)) for index, cut in enumerate(cuts)
        ]
    payload = whole[54:]
    cuts = [payload[:24], payload[24:48], payload[48:]]
    return [ipv6_fragment(whole[:54] + cut, whole[20], 3 * index, index < 2) for index, cut in enumerate(cuts)]


def ipv4_fragment(frame: bytes, field: int) -> bytes:
    header = bytearray(frame[14:34])
    header[2:4] = (len(frame) - 14).to_bytes(2, "big")
    header[4:8] = b"\0\7" + field.to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return frame[:14] + bytes(header) + frame[34:]


def ipv6_fragment(frame: bytes, protocol: int, offset: int, more: bool) -> bytes:
    header = bytes((protocol, 0)) + (offset << 3 | more).to_bytes(2, "big") + b"\0\0\0\7"
    length = (len(frame) - 54 + 8).to_bytes(2, "big")
    return frame[:18] + length + b"\x2c" + frame[21:54] + header + frame[54:]


def data(frames: list[bytes], v6: bool) -> bytes:
    """What IP carries in these fragments, joined."""
    return b"".join(frame[62 if v6 else 34 :] for frame in frames)
