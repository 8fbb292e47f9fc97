"""TrackedFrame: a frame, and what the connection tracker says about the connection that it belongs to.

Open vSwitch sends that with each packet to the controller (OF 1.3.5 §7.4.1 has room for it, as for registers).  It is
read only where the controller has to learn of a connection that the switch has begun by itself.
"""

from __future__ import annotations

from anycast_sdn.core.model import Address

NO_LABEL = bytes(16)


class TrackedFrame(bytes):
    source: Address  # of the connection's first packet, before its translation
    source_port: int  # likewise; of ICMP the type, and 0 without ports
    label: bytes

    @classmethod
    def of(cls, frame: bytes, source: Address, source_port: int, label: bytes) -> TrackedFrame:
        made = cls(frame)
        made.source, made.source_port, made.label = source, source_port, label
        return made
