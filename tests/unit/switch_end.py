"""A switch's end of one connection, in memory: its messages go in, the controller's come out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import codec
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.pipeline import cookie
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.rules import AddFlow, FlowRule, Message
from anycast_sdn.openflow.states import State

DPID = 0xA1
RULE = FlowRule(Table.ROUTES, 1, (), cookie(Kind.BINDING_IN, 5))


def message(kind: int, body: bytes = b"", xid: int = 0, version: int = 4) -> bytes:
    return struct.pack("!BBHI", version, kind, 8 + len(body), xid) + body


def features(dpid: int = DPID, auxiliary: int = 0, tables: int = 254) -> bytes:
    return message(ofp.OFPT_FEATURES_REPLY, struct.pack("!QIBB2xII", dpid, 0, tables, auxiliary, 0x4F, 0))


def multipart(kind: int, body: bytes = b"", xid: int = 0, more: bool = False) -> bytes:
    return message(ofp.OFPT_MULTIPART_REPLY, struct.pack("!HH4x", kind, more) + body, xid)


def error(kind: int, code: int, quoted: bytes = b"", xid: int = 0) -> bytes:
    return message(ofp.OFPT_ERROR, struct.pack("!HH", kind, code) + quoted, xid)


TRIAL_COOKIES = range(0xA17C_FF00_0000_0000, 0xA17C_FF00_0000_1000)
TRIAL_MAC = bytes.fromhex("02ac00f7a603")  # the source of the packet that only has to pass the tables
FROM_CONTROLLER = struct.pack("!HHHBBI4x2x", 1, 12, 0x8000, 0, 4, ofp.OFPP_CONTROLLER)
TO_TABLES = struct.pack("!HHI", ofp.OFPAT_OUTPUT, 16, ofp.OFPP_TABLE)


def in_trials(kind: int, body: bytes, every_packet: bool = False) -> bytes:
    """What a switch reports of a message that tries it out: the removal of a rule, a packet that passes its tables.

    ``every_packet``: also those that its rules should have changed.
    """
    is_asked = every_packet or body[38:44] == TRIAL_MAC
    if kind == ofp.OFPT_PACKET_OUT and TO_TABLES in body[:32] and is_asked:
        frame = body[32:]
        usual = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, TRIAL_COOKIES[3])
        return message(ofp.OFPT_PACKET_IN, usual + FROM_CONTROLLER + frame)
    deletes = kind == ofp.OFPT_FLOW_MOD and body[17] == ofp.OFPFC_DELETE_STRICT
    if not deletes or int.from_bytes(body[:8], "big") not in TRIAL_COOKIES:
        return b""
    return message(ofp.OFPT_FLOW_REMOVED, body[:8] + body[22:24] + bytes((ofp.OFPRR_DELETE, body[16])) + bytes(36))


HELLO = message(ofp.OFPT_HELLO)
PACKET_IN = message(
    ofp.OFPT_PACKET_IN,
    struct.pack("!IHBBQ", 0xFFFFFFFF, 60, 1, 0, 7) + struct.pack("!HHHBBI4x2x", 1, 12, 0x8000, 0, 4, 3) + bytes(60),
)
PORT = struct.pack("!I4x6s2x16sII24x", 3, bytes(6), b"eth3", 0, 0)
WELL_FORMED = {
    ofp.OFPT_HELLO: HELLO,
    ofp.OFPT_ERROR: error(1, 1, bytes(12)),
    ofp.OFPT_ECHO_REQUEST: message(ofp.OFPT_ECHO_REQUEST, b"ping"),
    ofp.OFPT_ECHO_REPLY: message(ofp.OFPT_ECHO_REPLY),
    ofp.OFPT_EXPERIMENTER: message(ofp.OFPT_EXPERIMENTER, bytes(8)),
    ofp.OFPT_FEATURES_REPLY: features(),
    ofp.OFPT_GET_CONFIG_REPLY: message(ofp.OFPT_GET_CONFIG_REPLY, bytes(4)),
    ofp.OFPT_PACKET_IN: PACKET_IN,
    ofp.OFPT_FLOW_REMOVED: message(ofp.OFPT_FLOW_REMOVED, bytes(48)),
    ofp.OFPT_PORT_STATUS: message(ofp.OFPT_PORT_STATUS, bytes(8) + PORT),
    ofp.OFPT_MULTIPART_REPLY: multipart(ofp.OFPMP_PORT_DESC, PORT),
    ofp.OFPT_BARRIER_REPLY: message(ofp.OFPT_BARRIER_REPLY, xid=codec.TICKET | 9),
    ofp.OFPT_ROLE_REPLY: message(ofp.OFPT_ROLE_REPLY, bytes(16)),
    ofp.OFPT_GET_ASYNC_REPLY: message(ofp.OFPT_GET_ASYNC_REPLY, bytes(24)),
}


class Recorder:
    """Records the events; ``admits``: switches are admitted at once."""

    def __init__(self, admits: bool = True) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.admits = admits

    def identified(self, switch: Connection) -> None:
        if self.admits:
            switch.admit("arh1")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.heard.append((name, *arguments))

    def names(self) -> list[str]:
        return [name for name, *_ in self.heard]


class Peer:
    """A connection under test, and the switch's end of it."""

    def __init__(self, state: State = State.ADMITTED) -> None:
        self.listener = Recorder(state is State.ADMITTED)
        self.connection = Connection(self.listener, "10.0.0.9:1234", lambda: None)
        self.now = 100.0
        self.connection.tick(self.now)
        if state is not State.HELLO:
            self.say(HELLO)
        if state in (State.IDENTIFIED, State.ADMITTED):
            self.say(features())
        assert self.connection.state is state
        self.sent()

    def say(self, data: bytes) -> None:
        """As the channel does it."""
        self.connection.receive(data)
        try:
            while self.connection.handle(3):
                pass
        except BadMessage as problem:
            self.connection.close(str(problem), "bad message")

    def encode(self, message: Message) -> bytes:
        """As the connection sends it."""
        return codec.encoder(self.connection.layout).encode(self.connection, [message])

    def sent(self) -> list[tuple[int, int, bytes]]:
        """(kind, transaction id, body) of the messages that the connection wants to send."""
        data, self.connection.unsent = bytes(self.connection.unsent), bytearray()
        messages = []
        while data:
            _, kind, length, xid = struct.unpack_from("!BBHI", data)
            messages.append((kind, xid, data[8:length]))
            data = data[length:]
        return messages

    def wait(self, seconds: float, step: float = 0.25, echoes: bool = True) -> None:
        """Time passes; the switch answers echo requests meanwhile."""
        for _ in range(round(seconds / step)):
            self.now += step
            self.connection.tick(self.now)
            for kind, xid, body in self.sent() if echoes else ():
                if kind == ofp.OFPT_ECHO_REQUEST:
                    self.say(message(ofp.OFPT_ECHO_REPLY, body, xid))

    def ask(self, request: Callable[[Any], Any] = codec.port_request) -> tuple[int, list[bytes | None]]:
        """(transaction id, where the answers come)."""
        answers: list[bytes | None] = []
        self.connection.ask(request(self.connection), answers.append)
        (_, xid, _), *_ = self.sent()
        return xid, answers

    def try_out(self) -> tuple[int, int, list[bool | None]]:
        """(transaction ids of what is tried out and of the barrier, where the results come)."""
        results: list[bool | None] = []
        self.connection.try_out(AddFlow(RULE), lambda taken, why: results.append(taken))
        (_, attempt, _), (_, barrier, _) = self.sent()
        return attempt, barrier, results
