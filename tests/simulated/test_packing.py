"""Every rule and group that any of the topologies' switches holds has the bytes that OS-Ken's classes give it."""

from __future__ import annotations

import struct

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto.ofproto_protocol import ProtocolDesc
from scenes import TOPOLOGIES, network

from anycast_sdn.openflow import codec
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.rules import AddFlow, Barrier, DeleteFlow, Message, SetGroup


class Datapath(ProtocolDesc):  # type: ignore[misc]
    xid = 0

    def set_xid(self, message: object) -> int:
        self.xid += 1
        message.set_xid(self.xid)  # type: ignore[attr-defined]
        return self.xid


def by_os_ken(messages: list[Message]) -> bytes:
    datapath = Datapath(version=ofp.OFP_VERSION)
    return b"".join(codec.serialised(datapath, codec._build(datapath, message)) for message in messages)


def without_ids(data: bytes) -> bytes:
    """The messages without their transaction ids, which say what a message is about (``transactions``)."""
    messages = bytearray()
    while data:
        (length,) = struct.unpack_from("!H", data, 2)
        messages += data[:4] + bytes(4) + data[8:length]
        data = data[length:]
    return bytes(messages)


@pytest.mark.parametrize("name", sorted(path.stem for path in TOPOLOGIES.glob("*.yaml")))
def test_what_is_packed_has_the_bytes_of_the_serialiser(name: str) -> None:
    net = network(name)
    net.advance(1)
    held: list[Message] = []
    for switch in net.switches.values():
        for rule in switch.flows.values():
            held += [AddFlow(rule), DeleteFlow(rule), Barrier()]
        held += [SetGroup(group, exists) for group in switch.groups.values() for exists in (False, True)]
    assert len(held) > 100
    packed = codec.encoder(FIVE_TABLES).encode(Datapath(version=ofp.OFP_VERSION), held)
    assert without_ids(packed) == without_ids(by_os_ken(held))
