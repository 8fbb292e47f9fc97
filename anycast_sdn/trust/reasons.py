"""Reasons: why a TLS handshake has failed, in words that say whose certificate is wrong, and what to do."""

from __future__ import annotations

import ssl

_NO_ISSUER = (
    "its certificate is of another CA than those that are trusted here, or it does not send the certificate of the "
    "intermediate CA that has signed it"
)
# OpenSSL's codes of X509_verify_cert_error_string(3).
_OF_CERTIFICATE = {
    3: "there is no list of revoked certificates (CRL) of its CA",
    9: "its certificate is not valid yet: look at the clocks of both",
    10: "its certificate, or that of its CA, has expired",
    12: "the list of revoked certificates has expired",
    18: "its certificate is signed by itself, and by no CA that is trusted here",
    19: "its certificate is of another CA than those that are trusted here",
    20: _NO_ISSUER,
    21: _NO_ISSUER,
    23: "its certificate is revoked",
    26: "its certificate is not for TLS clients (extended key usage)",
}
_OF_HANDSHAKE = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.2 or later",
    "VERSION_TOO_LOW": "it does not speak TLS 1.2 or later",
    "NO_SHARED_CIPHER": "it has no cipher in common with this controller",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "it has no signature algorithm in common with this controller",
    "UNEXPECTED_EOF_WHILE_READING": "it has closed the connection in the TLS handshake",
}
_REFUSED = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "UNSUPPORTED_CERTIFICATE",
            "CERTIFICATE_REVOKED")  # fmt: skip


def of_handshake(error: ssl.SSLError) -> str:
    """What is wrong, from the side of a server: "it" is the client."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _OF_CERTIFICATE.get(error.verify_code) or f"its certificate is not valid: {error.verify_message}"
    reason = error.reason or ""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = "UNEXPECTED_EOF_WHILE_READING"
    if "_ALERT_" in reason:
        said = reason.partition("_ALERT_")[2]
        words = said.lower().replace("_", " ")
        if said in _REFUSED:
            return f"it refuses the certificate of this controller: {words}"
        return f"it has ended the TLS handshake: {words}"
    return _OF_HANDSHAKE.get(reason) or f"the TLS handshake has failed: {words_of(error)}"


def words_of(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).lower().replace("_", " ")
