"""Advice: what etcd, TLS or a socket says, and what to do about it."""

from __future__ import annotations

import os
import socket
import ssl

FULL = "database space exceeded"
# What etcd or TLS says → what to do.
_ADVICE = (
    ("user name is empty", "it wants a user's name and password: --etcd-user and --etcd-password-file"),
    ("permission denied", "its user may not do that: etcdctl role grant-permission ROLE readwrite --prefix "
                          "/anycast-sdn/"),
    ("invalid user ID or password", "--etcd-user, or its password, is wrong"),
    ("CERTIFICATE_REQUIRED", "it wants a certificate: --etcd-cert and --etcd-key"),
    ("BAD_CERTIFICATE", "it does not accept the certificate of --etcd-cert, or wants one"),
    ("UNKNOWN_CA", "it does not know the CA of the certificate of --etcd-cert"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not accepted here: --etcd-ca"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: write http:// instead of https://"),
    ("HTTP request to an HTTPS server", "it speaks TLS: write https:// instead of http://"),
    ("request is too large", "its --max-request-bytes, 1.5 MB by default, allows no such change: make it in parts"),
    ("message larger than max", "its --max-request-bytes, 1.5 MB by default, allows no such change: make it in parts"),
    (FULL, "its quota is used up: etcdctl compaction, defrag, and alarm disarm"),
    ("404", "it has no API v3 in JSON: etcd 3.4 or later is needed"),
)  # fmt: skip


def advice(said: str) -> str:
    return next((f": {advice}" for words, advice in _ADVICE if words in said), "")


def reason_of(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number and not isinstance(error, ssl.SSLError | socket.gaierror):  # eventlet has no words for it
        return os.strerror(number)
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{said}{advice(said.replace(' ', '_').upper() if isinstance(error, ssl.SSLError) else said)}"
