"""TLS of an endpoint, REST or OpenFlow: its certificate, key and CA of clients, which can be read again.

The rules this file keeps:

- TLS 1.2 or later, no renegotiation, no compression.
- A client that needs a certificate shows it in each handshake: no session is resumed.
- Where the file of the CAs has lists of revoked certificates (CRL), these are refused.
- The names in our certificate are known, because they are hosts that we listen as (``hosts``).  The module ``ssl``
  shows certificates of peers only, so they come from a handshake with ourselves.  (What a client asks for, by SNI, is
  no help: in its callback a name that is not ASCII is an error that Python prints with a traceback.)
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.trust.certificate import Certificate, shown
from anycast_sdn.trust.reasons import words_of


class TlsError(ConfigurationError):
    """A certificate, a key or a CA cannot be used."""


class Tls:
    """The files of one endpoint.  ``context`` is what new connections get."""

    def __init__(
        self, certificate: str, key: str | None, client_ca: str | None, spoken: Sequence[str] = ("http/1.1",)
    ) -> None:
        """``key``: None when it is in the certificate's file.  ``client_ca``: whose certificates clients need, if any.

        ``spoken``: the protocols that clients are offered (ALPN).  Raises TlsError.
        """
        self._files = certificate, key, client_ca
        self._spoken = spoken
        self.reload()

    def reload(self) -> None:
        """Raises TlsError; then everything stays as it was."""
        context = _context(*self._files[:2])
        if self._spoken:
            context.set_alpn_protocols(self._spoken)
        own, said = _about(context, self._files[0])
        if client_ca := self._files[2]:
            _require_certificates_of(client_ca, context)
        self.context, self.names, self._said = context, own.names if own else (), said
        self.is_valid = own is not None

    def __str__(self) -> str:
        """What is served, and until when."""
        return f"{self._files[0]}: {self._said}"


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    _check_key(key or certificate)
    for file in (certificate, key):
        _must_be_readable(file)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        what = f"{certificate}: is no certificate" + (f" of the key in {key}" if key else " with its key")
        raise TlsError(f"{what}, in PEM and unencrypted: {words_of(error)}") from error
    return context


def _require_certificates_of(client_ca: str, context: ssl.SSLContext) -> None:
    _must_be_readable(client_ca)
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        raise TlsError(f"{client_ca}: holds no certificates in PEM: {words_of(error)}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _about(context: ssl.SSLContext, certificate: str) -> tuple[Certificate | None, str]:
    """→ (the certificate, None when it is not valid now; until when it is valid, or what is wrong)."""
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
        own = shown(client.getpeercert() or {}, client.getpeercert(binary_form=True) or b"")
    except ssl.SSLCertVerificationError as error:
        return None, error.verify_message
    except (ssl.SSLError, ValueError) as error:
        return None, words_of(error)
    return own, f"valid until {own.not_after}"


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
