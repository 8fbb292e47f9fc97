"""A bridge of this machine's Open vSwitch without hosts and controller: bytes of ours go in, bytes of its come out."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto.ofproto_protocol import ProtocolDesc
from support import is_userspace

from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.rules import FlowRule, Message

_HEADER = struct.Struct("!BBHI")
_DEADLINE_S = 20.0


class Bridge:
    """An OpenFlow connection to it.  What it refuses raises ``AssertionError`` with the bytes of its error."""

    def __init__(self, name: str, directory: str) -> None:
        self.name = name
        self._xid = 0
        self._packet_ins: list[PacketInMessage] = []
        self._datapath = ProtocolDesc(version=ofp.OFP_VERSION)
        self._datapath.set_xid = self._set_xid
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_DEADLINE_S)
        self._socket.connect(f"{directory}/{name}.mgmt")
        self._write(ofp.OFPT_HELLO)
        assert self._message()[0] == ofp.OFPT_HELLO
        self._write(ofp.OFPT_SET_CONFIG, struct.pack("!HH", 0, 0xFFFF))  # such a connection gets packet-ins only if so

    def close(self) -> None:
        self._socket.close()

    def send(self, *messages: Message) -> None:
        """Returns when the bridge has handled them all."""
        self._socket.sendall(codec.encoder(FIVE_TABLES).encode(self._datapath, messages))
        self._write(ofp.OFPT_BARRIER_REQUEST)
        self._answer(ofp.OFPT_BARRIER_REPLY)

    def rules(self) -> list[FlowRule]:
        """Those with our cookies, as the controller reads them."""
        self._socket.sendall(codec.serialised(self._datapath, codec.flow_stats_request(self._datapath)))
        body, more = b"", True
        while more:
            part = self._answer(ofp.OFPT_MULTIPART_REPLY)
            more = bool(part[3] & ofp.OFPMPF_REPLY_MORE)
            body += part[8:]
        return decoding.decode_flow_stats(body, FIVE_TABLES)[0]

    def packet_in(self) -> PacketInMessage:
        """The next packet that it has sent up."""
        while not self._packet_ins:
            self._take(*self._message())
        return self._packet_ins.pop(0)

    def ofctl(self, command: str, *words: str) -> str:
        return run("ovs-ofctl", "-O", "OpenFlow13", command, self.name, *words)

    def connections(self, zone: int, *options: str) -> list[str]:
        """What the connection tracker knows in this zone, in its words; with ``-s`` also how long."""
        return run("ovs-appctl", "dpctl/dump-conntrack", *options, f"zone={zone}").splitlines()

    def _set_xid(self, message: Any) -> None:
        self._xid += 1
        message.set_xid(self._xid)

    def _write(self, kind: int, body: bytes = b"") -> None:
        self._xid += 1
        self._socket.sendall(_HEADER.pack(ofp.OFP_VERSION, kind, _HEADER.size + len(body), self._xid) + body)

    def _answer(self, wanted: int) -> bytes:
        """The body of the next message of this kind."""
        while True:
            kind, body = self._message()
            if kind == wanted:
                return body
            self._take(kind, body)

    def _take(self, kind: int, body: bytes) -> None:
        assert kind != ofp.OFPT_ERROR, body.hex()
        if kind == ofp.OFPT_PACKET_IN:
            self._packet_ins.append(decoding.decode_packet_in(body))

    def _message(self) -> tuple[int, bytes]:
        _, kind, length, _ = _HEADER.unpack(self._bytes(_HEADER.size))
        return kind, self._bytes(length - _HEADER.size)

    def _bytes(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data


def run(*words: str) -> str:
    """A program that must succeed → what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=_DEADLINE_S)
    assert done.returncode == 0, done
    return done.stdout


@contextmanager
def bridge() -> Iterator[Bridge]:
    """One with a name of its own, which is gone at the end."""
    name = f"bridge{os.getpid()}"
    settings = ["fail_mode=secure", "protocols=OpenFlow13", *["datapath_type=netdev"] * is_userspace()]
    run("ovs-vsctl", "add-br", name, "--", "set", "Bridge", name, *settings)
    try:
        made = Bridge(name, os.environ.get("OVS_RUNDIR", "/var/run/openvswitch"))
        yield made
        made.close()
    finally:
        run("ovs-vsctl", "del-br", name)
