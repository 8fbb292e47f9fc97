"""What ``BeginConnection`` stands for, written out: the packet-out that begins a connection and sends its first packet.

The fast path packs these bytes from a template; the simulated switch executes the value.
"""

from __future__ import annotations

from anycast_sdn.openflow.pipeline import Table
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    BeginConnection,
    Load,
    Nat,
    PacketOut,
    SetField,
    Track,
)

_V6_BYTES = 16
_LABEL_BYTES = 16
TRACKER_PEER = {4: bytes((0, 0, 0, 1)), 16: bytes((*bytes(15), 1))}  # K, by an address's bytes: the constant other end


def with_first_packet(begun: BeginConnection) -> PacketOut:
    v6 = len(begun.inside) == _V6_BYTES
    family = "ipv6" if v6 else "ipv4"
    anycast = Load("xxreg1", begun.anycast) if v6 else Load("reg4", int.from_bytes(begun.anycast, "big"))
    ends = SetField(f"{family}_src", begun.inside), SetField(f"{family}_dst", TRACKER_PEER[len(begun.inside)])
    label = None if begun.server is None else begun.server.rjust(_LABEL_BYTES, b"\0")
    nat = Nat(source=True, first=begun.translated, last=begun.translated)
    track = Track(begun.zone, Table.TRACKED_OUT, commit=True, translate=True, nat=nat, label=label)
    return PacketOut(begun.frame, OFPP_CONTROLLER, (anycast, *ends, track))
