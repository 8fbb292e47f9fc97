"""Records: the server's side of one TLS connection, without its socket: bytes in, bytes out.

Nothing here waits, so whoever has the socket sets the deadlines.  Before anything else is done with what a peer sends,
its first byte must be that of a TLS handshake (``NotTls``).
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from anycast_sdn.trust.certificate import Certificate, shown

CHUNK = 16384  # bytes: a record's
_HANDSHAKE = 0x16  # RFC 8446 §5.1: how a client's first record begins


class NotTls(OSError):
    """What a peer sends is not TLS.  ``sent``: how it begins."""

    def __init__(self, sent: bytes) -> None:
        super().__init__("what was sent is not TLS")
        self.sent = sent


class Records:
    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._began = False

    def take(self, data: bytes) -> None:
        """What the peer has sent; b"": it sends no more.  Raises NotTls."""
        if data and not self._began and data[0] != _HANDSHAKE:
            raise NotTls(data)
        self._began = True
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def to_send(self) -> bytes:
        """What the peer is to get; also after an error, for then it is the alert that says why."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """A step of it → is it done?  Raises ssl.SSLError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def certificate(self) -> Certificate | None:
        """The peer's, which is verified; None: it has none, or there is no CA of clients."""
        der = self._tls.getpeercert(binary_form=True)
        return shown(self._tls.getpeercert() or {}, der) if der else None

    def read(self, size: int) -> bytes | None:
        """What the peer says; b"": it has ended; None: no more of it has come yet.  Raises ssl.SSLError."""
        try:
            return self._tls.read(size)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def write(self, data: bytes | memoryview) -> int:
        """→ how many bytes of it are ``to_send`` now.  Raises ssl.SSLError."""
        return self._tls.write(data)

    def end(self) -> None:
        """Nothing more is said; the peer's answer is not waited for."""
        with suppress(ssl.SSLError):
            self._tls.unwrap()
