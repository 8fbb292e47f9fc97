"""Pki: a small CA in a directory, for a testbed: its certificate and key, and those that it has signed.

The rules this file keeps:

- Whose certificate is for what: a controller's is for TLS servers alone, a switch's for TLS clients alone (extended key
  usage).  So one CA is enough for both, and a switch's key is of no use to whoever would pretend to be the controller.
- Files are for their owner alone, and no file is replaced unless ``replace`` says so.
- A certificate is written after its key, each as a whole.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from anycast_sdn.core.model import AnycastError
from anycast_sdn.trust.certificate import FINGERPRINT

CA, CONTROLLER = "ca", "controller"
CA_DAYS, DAYS = 3650, 730
EARLIER = datetime.timedelta(days=1)  # clocks of switches may be slow
RSA_BITS = 3072
ALGORITHMS = ("ec", "rsa")
_HOST_NAME = r"[A-Za-z0-9_*][A-Za-z0-9_.*-]{0,252}"  # also a switch's, and such as *.example
_FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_LONGEST_NAME = 64  # RFC 5280, appendix A.1: ub-common-name; here bytes of UTF-8
_USED_BY = {True: ExtendedKeyUsageOID.SERVER_AUTH, False: ExtendedKeyUsageOID.CLIENT_AUTH}

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class PkiError(AnycastError):
    """A certificate cannot be made or read."""


class Made(NamedTuple):
    """A certificate in its file, and the file of its key."""

    certificate: Path
    key: Path


class Listed(NamedTuple):
    """A certificate that there is."""

    file: str
    name: str
    until: datetime.datetime
    fingerprint: str  # as the network file takes it


class Pki:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def ca(self) -> Made:
        return self._place(CA)

    def switch(self, name: str) -> Made:
        """Where its certificate is, or would be.  Raises PkiError."""
        if not re.fullmatch(_FILE_NAME, name):
            raise PkiError(f"{name!a} is no name for a file: use letters, digits, '-', '_' and '.'")
        return self._place(f"switch-{name}")

    def controller(self, name: str = "") -> Made:
        """``name``: of a member of a cluster.  Raises PkiError."""
        if name and not re.fullmatch(_FILE_NAME, name):
            raise PkiError(f"{name!a} is no name for a file: use letters, digits, '-', '_' and '.'")
        return self._place(f"{CONTROLLER}-{name}" if name else CONTROLLER)

    # ---------------------------------------------------------------- making

    def make_ca(self, name: str, algorithm: str = "ec", days: int = CA_DAYS, *, replace: bool = False) -> Made:
        """Raises PkiError, OSError."""
        key = _new_key(algorithm)
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = _builder(name, name, key, _in(days)).add_extension(x509.BasicConstraints(True, 0), critical=True)
        certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._write(self.ca, certificate, key, replace)

    def make(
        self, place: Made, name: str, hosts: Sequence[str] = (), algorithm: str = "ec", days: int = DAYS, *,
        is_server: bool, replace: bool = False,
    ) -> Made:  # fmt: skip
        """``hosts``: names and addresses besides.  Raises PkiError, OSError."""
        ca, ca_key = self._read_ca()
        key = _new_key(algorithm)
        if ca.not_valid_after_utc <= _in(0):
            raise PkiError(f"{self.ca.certificate} has expired: make another CA, and all certificates anew")
        until = min(_in(days), ca.not_valid_after_utc)
        also = alternative_names(name, hosts)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        usage = _usage(digital_signature=True, key_encipherment=algorithm == "rsa")
        certificate = (
            _builder(name, _common_name(ca), key, until, ca.subject)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USED_BY[is_server]]), critical=False)
            .add_extension(also, critical=False)
            .add_extension(issuer, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return self._write(place, certificate, key, replace)

    # ---------------------------------------------------------------- reading

    def signs_with(self) -> str:
        """The CA's kind of key, one of ``ALGORITHMS``.  Raises PkiError."""
        return "rsa" if isinstance(self._read_ca()[1], rsa.RSAPrivateKey) else "ec"

    def listed(self) -> list[Listed]:
        """All certificates here, the CA's first.  Raises PkiError."""
        if not self.ca.certificate.exists():
            raise self._no_ca()
        others = sorted(path for path in self.directory.glob("*.pem") if path != self.ca.certificate)
        found = []
        for path in [self.ca.certificate, *others]:
            certificate = _certificate(path)
            fingerprint = FINGERPRINT + certificate.fingerprint(hashes.SHA256()).hex()
            found.append(Listed(path.name, _common_name(certificate), certificate.not_valid_after_utc, fingerprint))
        return found

    def _read_ca(self) -> tuple[x509.Certificate, Key]:
        if not (self.ca.certificate.exists() and self.ca.key.exists()):
            raise self._no_ca()
        certificate = _certificate(self.ca.certificate)
        try:
            key = serialization.load_pem_private_key(self.ca.key.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
            raise PkiError(f"{self.ca.key}: is no unencrypted key in PEM: {_said(error)}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise PkiError(f"{self.ca.key}: is neither an EC key nor an RSA key")
        if key.public_key() != certificate.public_key():
            raise PkiError(f"{self.ca.key}: is not the key of {self.ca.certificate}")
        return certificate, key

    def _no_ca(self) -> PkiError:
        return PkiError(f"there is no CA in {self.directory}: 'anycast-sdn pki init' makes one; --dir says where it is")

    # ---------------------------------------------------------------- files

    def _place(self, stem: str) -> Made:
        return Made(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")

    def _write(self, place: Made, certificate: x509.Certificate, key: Key, replace: bool) -> Made:
        if not replace and (present := [path for path in place if os.path.lexists(path)]):
            raise PkiError(f"{present[0]} is there already, and stays as it is: --force replaces it")
        in_pem = serialization.Encoding.PEM
        unencrypted = serialization.NoEncryption()
        _write(place.key, key.private_bytes(in_pem, serialization.PrivateFormat.PKCS8, unencrypted), replace)
        _write(place.certificate, certificate.public_bytes(in_pem), replace)
        return place


def alternative_names(name: str, hosts: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    """Of a certificate: its name, and names and addresses besides.  Raises PkiError."""
    return x509.SubjectAlternativeName([_general(host) for host in dict.fromkeys([name, *hosts])])


def _write(path: Path, content: bytes, replace: bool) -> None:
    """As a whole, or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # fails if it is there by now
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _new_key(algorithm: str) -> Key:
    if algorithm == "rsa":
        return rsa.generate_private_key(65537, RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _in(days: int) -> datetime.datetime:
    """From now on, in whole seconds, as in certificates."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=days)


def _builder(
    name: str, issuer: str, key: Key, until: datetime.datetime, issued_by: x509.Name | None = None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issued_by or _named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_in(0) - EARLIER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _named(name: str) -> x509.Name:
    """Raises PkiError."""
    try:
        if not 1 <= len(name.encode()) <= _LONGEST_NAME:
            raise PkiError(f"{name!a} has {len(name.encode())} bytes: a certificate's name has 1 to {_LONGEST_NAME}")
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise PkiError(f"{name!a} is no name for a certificate: {_said(error)}") from error


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _usage(
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=key_encipherment,
        data_encipherment=False, key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=crl_sign,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general(host: str) -> x509.GeneralName:
    """Raises PkiError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not re.fullmatch(_HOST_NAME, host):
        hint = "" if host.isascii() else "; names in other letters are written as in DNS, with xn--"
        raise PkiError(f"{host!a} is neither an IP address nor the name of a host{hint}")
    return x509.DNSName(host)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (ValueError, OSError) as error:
        raise PkiError(f"{path}: is no certificate in PEM: {_said(error)}") from error


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition(".")[0]
