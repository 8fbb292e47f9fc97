"""Certificate: who a peer is, after TLS has verified its certificate, and whether that is who it should be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

FINGERPRINT = "sha256:"
_OVS_PKI = re.compile(r"(.+) id:[0-9A-Fa-f-]{36}")  # how ovs-pki makes a common name of a name


class Certificate(NamedTuple):
    """``names``: those of the SAN, or without one the common names; ``all_names``: both."""

    names: tuple[str, ...]
    all_names: tuple[str, ...]
    fingerprint: str  # SHA-256 of it, in hexadecimal
    not_after: str  # until when it is valid, as OpenSSL writes it

    def is_of(self, wanted: str) -> bool:
        """``wanted``: one of its names, or sha256: and its fingerprint."""
        if wanted.startswith(FINGERPRINT):
            return self.fingerprint == plain_fingerprint(wanted)
        return any(wanted in (name, _without_id(name)) for name in self.all_names)

    def __str__(self) -> str:
        names = dict.fromkeys(map(_without_id, self.all_names))
        return ", ".join(names) if names else f"{FINGERPRINT}{self.fingerprint}, without a name"


def plain_fingerprint(written: str) -> str:
    """'sha256:AA:BB…' or 'sha256:aabb…' → 'aabb…'."""
    return written.removeprefix(FINGERPRINT).replace(":", "").lower()


def shown(members: Mapping[str, Any], der: bytes) -> Certificate:
    """``members``: as ``ssl.SSLSocket.getpeercert`` shows them."""
    also = tuple(str(value) for _, value in members.get("subjectAltName", ()))
    common = tuple(str(value) for part in members.get("subject", ()) for kind, value in part if kind == "commonName")
    names = also or common
    fingerprint = hashlib.sha256(der).hexdigest()
    return Certificate(names, tuple(dict.fromkeys(common + also)), fingerprint, str(members.get("notAfter", "")))


def _without_id(name: str) -> str:
    found = _OVS_PKI.fullmatch(name)
    return found[1] if found else name
