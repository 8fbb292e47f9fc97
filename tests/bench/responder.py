"""The cheapest controller that can be: answers each packet-in with ready-made bytes, and keeps no state.

The load generator measured against it shows the generator's own ceiling.  One process, one switch.

    responder.py PORT
"""

from __future__ import annotations

import socket
import sys
from struct import Struct
from typing import Any

from flows import REPLY, SERVER, SERVICE, SERVICE_PORT
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from anycast_sdn.core.model import packed

_FRAME = 42  # where a packet-in's frame begins


class _Datapath:
    ofproto, ofproto_parser = ofp, parser


class Family:
    """Answers in one family, as formats with named places for a flow's own values."""

    def __init__(self, version: int) -> None:
        width = 4 if version == 4 else 16
        self.l3 = 26 if version == 4 else 22  # addresses in a frame
        self.width = width
        self.places = {b"src": b"\xc1" * width, b"pr": b"\xc2" * width, b"sport": b"\xc3\xc3"}
        client, translated = (_text(self.places[name]) for name in (b"src", b"pr"))
        service, server = SERVICE[version], SERVER[version]
        out = _fields(version, client, service, 0xC3C3, SERVICE_PORT)
        back = _fields(version, server, translated, SERVICE_PORT, 0xC3C3)
        set_src, set_dst = (f"ipv{version}_{end}" for end in ("src", "dst"))
        end = self._packet_out(54 if version == 4 else 74)
        self.first = self._format(_flow_mod(0, out, {set_src: translated})) + end
        self.reply = (
            self._format(_flow_mod(0, out, {set_src: translated, set_dst: server}))
            + self._format(_flow_mod(1, back, {set_src: service, set_dst: client}))
            + end
        )
        prefix = packed("100.64.0.0" if version == 4 else "2001:db8:0:f000::")
        self.prefix = int.from_bytes(prefix, "big")
        self.known: dict[bytes, tuple[bytes, bytes]] = {}

    def _format(self, message: bytes) -> bytes:
        message = message.replace(b"%", b"%%")
        for name, value in self.places.items():
            message = message.replace(value, b"%(" + name + b")b")
        return message

    def _packet_out(self, size: int) -> bytes:
        actions = [parser.OFPActionOutput(ofp.OFPP_TABLE, 0)]
        frame = b"\xc4" * size
        message = parser.OFPPacketOut(_Datapath, ofp.OFP_NO_BUFFER, 1, actions, frame)
        return _bytes(message).replace(b"%", b"%%").replace(frame, b"%(frame)b")

    def answer(self, frame: bytes) -> bytes:
        addresses, ports = frame[self.l3 : self.l3 + 2 * self.width], self.l3 + 2 * self.width
        if frame[ports + 4] < REPLY >> 24:  # the first byte of the sequence number
            source, port = addresses[: self.width], frame[ports : ports + 2]
            translated = (self.prefix + len(self.known) + 1).to_bytes(self.width, "big")
            self.known[translated] = source, port
            form = self.first
        else:
            translated = addresses[self.width :]
            source, port = self.known[translated]
            form = self.reply
        return form % {b"src": source, b"sport": port, b"pr": translated, b"frame": frame}


def _text(address: bytes) -> str:
    return ".".join(map(str, address)) if len(address) == 4 else address.hex(":", 2)


def _fields(version: int, source: str, destination: str, sport: int, dport: int) -> dict[str, Any]:
    return {
        "eth_type": 0x0800 if version == 4 else 0x86DD,
        f"ipv{version}_src": source,
        f"ipv{version}_dst": destination,
        "ip_proto": 6,
        "tcp_src": sport,
        "tcp_dst": dport,
    }


def _flow_mod(table: int, match: dict[str, Any], rewrite: dict[str, str]) -> bytes:
    actions = [parser.OFPActionSetField(**{name: value}) for name, value in rewrite.items()]
    instructions = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)]
    instructions.append(parser.OFPInstructionGotoTable(table + 1))
    match = parser.OFPMatch(**match)
    return _bytes(parser.OFPFlowMod(_Datapath, table_id=table, priority=100, match=match, instructions=instructions))


def _bytes(message: Any) -> bytes:
    message.set_xid(0)
    message.serialize()
    return bytes(message.buf)


def main() -> None:
    families = {b"\x08\x00": Family(4), b"\x86\xdd": Family(6)}
    header = Struct("!xBH").unpack_from
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    rest = b""
    while chunk := connection.recv(1 << 18):
        data = rest + chunk
        at, out = 0, []
        while len(data) - at >= 8:
            kind, length = header(data, at)
            if at + length > len(data):
                break
            if kind == ofp.OFPT_PACKET_IN:
                frame = data[at + _FRAME : at + length]
                out.append(families[frame[12:14]].answer(frame))
            at += length
        rest = data[at:]
        if out:
            connection.sendall(b"".join(out))


if __name__ == "__main__":
    main()
