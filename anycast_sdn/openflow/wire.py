"""Wire: how the bytes of a switch's connection get to its socket: as they are, or by TLS.

- ``begin`` comes first.  Whoever is not served over this wire is told why, as far as that is possible, and is
  ``Refused``.
- ``receive`` and ``send`` wait, and other green threads run meanwhile; ``send_now`` never waits.
- With TLS, bytes count as sent when they are encrypted.  What the socket has not taken of them is ``owed``, and nothing
  is encrypted before the socket has all of that: so it is bounded by one piece of a sender.
- No more than a TLS record's worth of work is done for a peer before it has shown its certificate, with turns for
  others between; how long it may take for that is ``Connection``'s concern.
"""

from __future__ import annotations

import ssl
import struct
from contextlib import suppress
from typing import Any, Protocol

from eventlet.hubs import trampoline
from os_ken.lib import hub
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.trust import reasons
from anycast_sdn.trust.certificate import Certificate
from anycast_sdn.trust.records import NotTls, Records

READ_SIZE = 1 << 16  # bytes: some hundred packet-ins
_TLS = b"\x16\x03"  # how TLS begins (RFC 8446 §5.1); no version of OpenFlow
_TOLD = b"this controller speaks TLS only"


class Refused(Exception):
    """This peer is not served over this wire.  ``kind``: the reason, without what differs from one to the next."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class Wire(Protocol):
    begins_with: str  # what a peer has to have done before anything is received, in words; "": nothing
    certificate: Certificate | None  # the peer's, verified, once it has begun

    @property
    def owes(self) -> bool:
        """Are bytes sent that the socket has not taken?"""

    def begin(self) -> None:
        """Raises Refused, OSError."""

    def receive(self) -> bytes:
        """b"" at the end.  Raises Refused, OSError."""

    def send(self, data: bytes) -> int:
        """Some of it, and all that is owed → how many bytes of it.  Raises OSError."""

    def send_now(self, data: bytes) -> int:
        """As much as the socket takes → how many bytes.  Raises BlockingIOError when that is nothing, OSError."""

    def end(self) -> None:
        """Nothing more is sent: say so, if the socket takes that; may be called again."""


class PlainWire:
    """A socket."""

    begins_with = ""
    certificate: Certificate | None = None
    owes = False

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._has_begun = False

    def begin(self) -> None:
        pass

    def receive(self) -> bytes:
        trampoline(self._socket, read=True)  # other green threads run, also if there is something to read already
        data: bytes = self._socket.recv(READ_SIZE)
        if not self._has_begun:
            self._has_begun = True
            if data.startswith(_TLS):
                raise Refused(
                    "it speaks TLS, and this controller does not: run it with --openflow-tls, or set the switch's "
                    "controller to tcp: instead of ssl:",
                    "TLS",
                )
        return data

    def send(self, data: bytes) -> int:
        sent: int = self._socket.send(data)
        return sent

    def send_now(self, data: bytes) -> int:
        sent: int = self._socket.fd.send(data)
        return sent

    def end(self) -> None:
        pass


class TlsWire:
    """TLS on a socket; the peer must show a certificate, if ``context`` says so."""

    begins_with = "finished the TLS handshake"

    def __init__(self, socket: Any, context: ssl.SSLContext) -> None:
        self._socket = socket
        self._records = Records(context)
        self._owed = bytearray()  # encrypted
        self.certificate: Certificate | None = None

    @property
    def owes(self) -> bool:
        return bool(self._owed)

    def begin(self) -> None:
        try:
            done = False
            while not done:
                self._records.take(self._socket.recv(READ_SIZE))
                hub.sleep(0)  # a step of a handshake takes a millisecond
                done = self._records.handshake()
                self._flush()
        except NotTls as error:
            self._tell_plainly(error.sent)
            raise Refused(
                "it does not speak TLS, and --openflow-tls says that switches do: set the switch's controller to ssl: "
                "instead of tcp:",
                "no TLS",
            ) from error
        except ssl.SSLError as error:
            self._tell()
            reason = reasons.of_handshake(error)
            raise Refused(reason, reason) from error
        self.certificate = self._records.certificate

    def receive(self) -> bytes:
        while (data := self._decrypted()) is None:
            trampoline(self._socket, read=True)  # as PlainWire does
            self._records.take(self._socket.recv(READ_SIZE))
        return data

    def _decrypted(self) -> bytes | None:
        """All that has come; None: nothing; b"": the end."""
        parts = []
        try:
            while part := self._records.read(READ_SIZE):
                parts.append(part)
        except ssl.SSLError as error:
            raise Refused(f"TLS: {reasons.words_of(error)}", "TLS failed") from error
        return b"".join(parts) or part

    def send(self, data: bytes) -> int:
        self._flush()
        sent = self._records.write(data) if data else 0
        self._flush()
        return sent

    def send_now(self, data: bytes) -> int:
        self._flush_now()
        if self._owed:
            raise BlockingIOError
        sent = self._records.write(data)
        self._flush_now()
        return sent

    def end(self) -> None:
        self._records.end()
        self._tell()

    def _flush(self) -> None:
        self._owed += self._records.to_send()
        while self._owed:
            del self._owed[: self._socket.send(bytes(self._owed))]

    def _flush_now(self) -> None:
        self._owed += self._records.to_send()
        with suppress(BlockingIOError):
            while self._owed:
                del self._owed[: self._socket.fd.send(self._owed)]

    def _tell(self) -> None:
        """An alert: why it ends, or that it does."""
        with suppress(OSError):
            self._flush_now()

    def _tell_plainly(self, sent: bytes) -> None:
        """Who speaks OpenFlow gets the reason in OpenFlow: switches log it."""
        if len(sent) >= 2 and 1 <= sent[0] <= 6 and sent[1] == ofp.OFPT_HELLO:
            body = struct.pack("!HH", ofp.OFPET_HELLO_FAILED, ofp.OFPHFC_EPERM) + _TOLD
            with suppress(OSError):
                self._socket.fd.send(struct.pack("!BBHI", sent[0], ofp.OFPT_ERROR, 8 + len(body), 0) + body)
