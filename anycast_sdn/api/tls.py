"""TLS for the REST endpoint: contexts that can be read again, and a connection whose every wait has a deadline.

The rules this file keeps:

- TLS 1.2 or later, no renegotiation, no compression.
- The records of a connection are worked on in memory (``ssl.SSLObject``), so the socket is waited for with a timeout
  only, and a peer that sends a byte now and then gains nothing by it.
- Whoever speaks plain HTTP here is told so in plain HTTP (``NotTls``).
- The names in our certificate are known, because they are hosts that we listen as (``hosts``).  The module ``ssl``
  shows certificates of peers only, so they come from a handshake with ourselves.  (What a client asks for, by SNI, is
  no help: in its callback a name that is not ASCII is an error that Python prints with a traceback.)
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from anycast_sdn.core.model import ConfigurationError

CHUNK = 16384  # bytes: a record's
_HANDSHAKE = 0x16  # RFC 8446 §5.1: how a client's first record begins


class TlsError(ConfigurationError):
    """A certificate, a key or a CA cannot be used."""


class NotTls(OSError):
    """What a peer sends is not TLS."""


class Tls:
    """The files of one endpoint.  ``context`` is what new connections get."""

    def __init__(self, certificate: str, key: str | None, client_ca: str | None) -> None:
        """``key``: None when it is in the certificate's file.  ``client_ca``: whose certificates clients need, if any.

        Raises TlsError.
        """
        self._files = certificate, key, client_ca
        self.reload()

    def reload(self) -> None:
        """Raises TlsError; then everything stays as it was."""
        context = _context(*self._files[:2])
        names, said = _about(context, self._files[0])
        if client_ca := self._files[2]:
            _require_certificates_of(client_ca, context)
        self.context, self.names, self._said = context, names, said
        self.is_valid = bool(names)

    def __str__(self) -> str:
        """What is served, and until when."""
        return f"{self._files[0]}: {self._said}"


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    _check_key(key or certificate)
    for file in (certificate, key):
        _must_be_readable(file)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        what = f"{certificate}: is no certificate" + (f" of the key in {key}" if key else " with its key")
        raise TlsError(f"{what}, in PEM and unencrypted: {_words(error)}") from error
    return context


def _require_certificates_of(client_ca: str, context: ssl.SSLContext) -> None:
    _must_be_readable(client_ca)
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        raise TlsError(f"{client_ca}: holds no certificates in PEM: {_words(error)}") from error
    context.verify_mode = ssl.CERT_REQUIRED


def _about(context: ssl.SSLContext, certificate: str) -> tuple[tuple[str, ...], str]:
    """→ (the names in the certificate, how long it is valid).  There are no names when it is not valid now."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted
    trust.load_verify_locations(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = trust.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
    try:
        for _ in range(4):  # steps of a handshake, at most
            for side in (client, server):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        shown = client.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return (), error.verify_message
    except (ssl.SSLError, ValueError) as error:
        return (), _words(error)
    return _names(shown), f"valid until {shown.get('notAfter')}"


def _names(certificate: Any) -> tuple[str, ...]:
    """Those of the SAN, or without one the common names."""
    if also := certificate.get("subjectAltName"):
        return tuple(str(value) for _, value in also)
    return tuple(str(value) for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName")


def _must_be_readable(file: str | None) -> None:
    if file:
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise TlsError(f"{file}: {error.strerror}") from error


def _check_key(file: str) -> None:
    """As ssh does with private keys, though a group may read it: distributions have one for that (ssl-cert)."""
    with suppress(OSError):  # which is reported when it is read
        if os.stat(file).st_mode & stat.S_IRWXO:
            raise TlsError(f"{file}: others may read this key, so it is not used: chmod o-rwx {file}")


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).lower().replace("_", " ")


class TlsSocket:
    """As much of a socket as ``Connection`` uses, over one that is connected."""

    def __init__(self, sock: Any, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._timeout_s = 0.0
        self._began = False

    def handshake(self, deadline: float, pause: Callable[[], None]) -> None:
        """``pause`` is called before what takes time.  Raises NotTls, OSError (TimeoutError and ssl.SSLError, too)."""
        while True:
            self._fill(deadline)
            pause()
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(deadline)
            except ssl.SSLError:
                with suppress(OSError):  # the alert that says why
                    self._flush(deadline)
                raise
            else:
                self._flush(deadline)
                return

    @property
    def names(self) -> tuple[str, ...]:
        """Those in the client's certificate, which is verified."""
        return _names(self._tls.getpeercert() or {})

    # ---------------------------------------------------------------- as a socket

    def settimeout(self, seconds: float) -> None:
        self._timeout_s = seconds

    def recv(self, size: int) -> bytes:
        """b"" at the end.  Raises OSError."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._fill(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def send(self, data: memoryview) -> int:
        """Some of it → how many bytes."""
        deadline = time.monotonic() + self._timeout_s
        sent = self._tls.write(data[:CHUNK])
        self._flush(deadline)
        return sent

    def shutdown(self, how: int) -> None:
        if how == socket.SHUT_WR:
            with suppress(ssl.SSLError):
                self._tls.unwrap()  # says that this is the end; the peer's answer is not waited for
            with suppress(OSError):
                self._flush(time.monotonic() + self._timeout_s)
        self._sock.shutdown(how)

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    # ---------------------------------------------------------------- records

    def _fill(self, deadline: float) -> None:
        """More of what the peer sends."""
        self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self._sock.recv(CHUNK)
        if data and not self._began and data[0] != _HANDSHAKE:
            raise NotTls("what was sent is not TLS")
        self._began = True
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self, deadline: float) -> None:
        left = memoryview(self._outgoing.read())
        while left:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            left = left[self._sock.send(left) :]
