"""Outgoing: the bytes that are to be sent to a switch, of which those that would change something can be dropped.

Messages are dropped as a whole.  What the socket has been offered stays: it may be on its way.  From ``hold`` to
``release`` all that is to be sent waits, in order.
"""

from __future__ import annotations

from os_ken.ofproto import ofproto_v1_3 as ofp

WRITES = frozenset(
    (ofp.OFPT_FLOW_MOD, ofp.OFPT_GROUP_MOD, ofp.OFPT_METER_MOD, ofp.OFPT_PACKET_OUT, ofp.OFPT_EXPERIMENTER)
)  # kinds of messages that change a switch, or send packets


class Outgoing:
    def __init__(self) -> None:
        self.unsent = bytearray()  # what is appended are whole messages
        self._begun = 0  # bytes at its beginning that are the rest of a message
        self._offered = 0  # bytes there that the socket has been offered
        self.held: bytearray | None = None  # what is to be sent later

    def hold(self) -> None:
        self.held = bytearray()

    def release(self) -> None:
        self._append_held()

    def _append_held(self) -> None:
        held, self.held = self.held, None
        self.unsent += held or b""

    def next_to_send(self, most: int) -> bytes:
        """The first bytes; ``sent`` has to follow."""
        offered = bytes(memoryview(self.unsent)[:most])
        self._offered = len(offered)
        return offered

    def sent(self, count: int) -> None:
        """So many of the bytes that were offered are sent."""
        self._offered = 0
        at = self._begun if count < len(self.unsent) else count
        while at < count:
            at += _length(self.unsent, at)
        self._begun = at - count
        del self.unsent[:count]

    def drop_all(self) -> None:
        self.unsent.clear()
        self._begun = 0

    def drop_writes(self) -> int:
        """→ how many messages are not sent."""
        self._append_held()
        queued, at, dropped = bytes(self.unsent), self._begun, 0
        while at < self._offered:
            at += _length(queued, at)
        kept = bytearray(queued[:at])
        while at < len(queued):
            end = at + _length(queued, at)
            if queued[at + 1] in WRITES:
                dropped += 1
            else:
                kept += queued[at:end]
            at = end
        self.unsent[:] = kept
        return dropped


def _length(messages: bytes | bytearray, at: int) -> int:
    """Of the message that begins there."""
    return int.from_bytes(messages[at + 2 : at + 4], "big")
