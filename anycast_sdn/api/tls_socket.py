"""TlsSocket: TLS on a socket for the REST endpoint, where every wait has a deadline.

The records of a connection are worked on in memory (``trust.records``), so the socket is waited for with a timeout
only, and a peer that sends a byte now and then gains nothing by it.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from anycast_sdn.trust.records import CHUNK, Records


class TlsSocket:
    """As much of a socket as ``Connection`` uses, over one that is connected."""

    def __init__(self, sock: Any, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._records = Records(context)
        self._timeout_s = 0.0

    def handshake(self, deadline: float, pause: Callable[[], None]) -> None:
        """``pause`` is called before what takes time.  Raises NotTls, OSError (TimeoutError and ssl.SSLError, too)."""
        done = False
        while not done:
            self._fill(deadline)
            pause()
            try:
                done = self._records.handshake()
            except ssl.SSLError:
                with suppress(OSError):  # the alert that says why
                    self._flush(deadline)
                raise
            self._flush(deadline)

    @property
    def names(self) -> tuple[str, ...]:
        """Those in the client's certificate, which is verified."""
        certificate = self._records.certificate
        return certificate.names if certificate else ()

    # ---------------------------------------------------------------- as a socket

    def settimeout(self, seconds: float) -> None:
        self._timeout_s = seconds

    def recv(self, size: int) -> bytes:
        """b"" at the end.  Raises OSError."""
        deadline = time.monotonic() + self._timeout_s
        while (data := self._records.read(size)) is None:
            self._flush(deadline)
            self._fill(deadline)
        return data

    def send(self, data: memoryview) -> int:
        """Some of it → how many bytes."""
        deadline = time.monotonic() + self._timeout_s
        sent = self._records.write(data[:CHUNK])
        self._flush(deadline)
        return sent

    def shutdown(self, how: int) -> None:
        if how == socket.SHUT_WR:
            self._records.end()
            with suppress(OSError):
                self._flush(time.monotonic() + self._timeout_s)
        self._sock.shutdown(how)

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    # ---------------------------------------------------------------- records

    def _fill(self, deadline: float) -> None:
        """More of what the peer sends."""
        self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
        self._records.take(self._sock.recv(CHUNK))

    def _flush(self, deadline: float) -> None:
        left = memoryview(self._records.to_send())
        while left:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            left = left[self._sock.send(left) :]
