"""The states of a switch's connection, and which messages may come in them; any other ends it."""

from __future__ import annotations

import struct
from enum import IntEnum, auto

from os_ken.ofproto import ofproto_v1_3 as ofp

_ERROR = struct.Struct("!HH")


class State(IntEnum):
    HELLO = auto()  # nothing has been received
    FEATURES = auto()  # it speaks OpenFlow 1.3, and has been asked for its datapath id
    IDENTIFIED = auto()  # its datapath id is known; ``admit`` or ``close`` comes next
    ADMITTED = auto()
    CLOSED = auto()


BEFORE_ADMITTED = frozenset((State.HELLO, State.FEATURES, State.IDENTIFIED))
_AFTER_HELLO = frozenset((State.FEATURES, State.IDENTIFIED, State.ADMITTED))
_IDENTIFYING = frozenset((State.FEATURES, State.IDENTIFIED))
_ADMITTED = frozenset((State.ADMITTED,))

# Kind of message → the states in which it is handled (OF 1.3.5 §6.3.1, §6.3.2, §7.1).
TAKEN: dict[int, frozenset[State]] = {
    ofp.OFPT_HELLO: frozenset((State.HELLO,)),
    ofp.OFPT_FEATURES_REPLY: frozenset((State.FEATURES,)),
    ofp.OFPT_ECHO_REQUEST: _AFTER_HELLO,
    ofp.OFPT_ECHO_REPLY: _ADMITTED,
    ofp.OFPT_ERROR: _ADMITTED,
    ofp.OFPT_PACKET_IN: _ADMITTED,
    ofp.OFPT_FLOW_REMOVED: _ADMITTED,
    ofp.OFPT_PORT_STATUS: _ADMITTED,
    ofp.OFPT_MULTIPART_REPLY: _ADMITTED,
    ofp.OFPT_BARRIER_REPLY: _ADMITTED,
    ofp.OFPT_ROLE_REPLY: _ADMITTED,
    ofp.OFPT_EXPERIMENTER: _ADMITTED,
}
# … and in which it is ignored.  Rules of an earlier connection may send packets at once.
IGNORED: dict[int, frozenset[State]] = {
    ofp.OFPT_ECHO_REPLY: _IDENTIFYING,
    ofp.OFPT_PACKET_IN: _IDENTIFYING,
    ofp.OFPT_FLOW_REMOVED: _IDENTIFYING,
    ofp.OFPT_PORT_STATUS: _IDENTIFYING,
    ofp.OFPT_EXPERIMENTER: _IDENTIFYING,
    ofp.OFPT_GET_CONFIG_REPLY: _AFTER_HELLO,
    ofp.OFPT_GET_ASYNC_REPLY: _ADMITTED,
}


def not_now(state: State, kind: int, body: bytes) -> str:
    """Why such a message ends the connection."""
    if kind == ofp.OFPT_ERROR and len(body) >= _ERROR.size:
        refused = "error type {} code {}".format(*_ERROR.unpack_from(body))
        return f"it refuses our first messages: {refused}"
    return f"message type {kind} " + {
        State.HELLO: "before HELLO", State.ADMITTED: "that was not asked for"
    }.get(state, "before it was admitted")  # fmt: skip
