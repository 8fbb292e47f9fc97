"""A small CA: what it makes is good for what it is for, and for nothing else, and what is there stays."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from anycast_sdn.trust import reasons
from anycast_sdn.trust.pki import Made, Pki, PkiError
from anycast_sdn.trust.records import Records
from anycast_sdn.trust.tls import Tls
from tests.unit.certificates import Authority


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    pki = Pki(tmp_path / "pki")
    pki.make_ca("test CA")
    pki.make(pki.controller(), "controller", ["127.0.0.1", "ctl.example"], is_server=True)
    pki.make(pki.switch("arh1"), "arh1", is_server=False)
    return pki


def handshake(pki: Pki, server: Made, client: Made | None, hostname: str = "ctl.example") -> Records:
    """→ the server's side.  Raises ssl.SSLError."""
    tls = Tls(str(server.certificate), str(server.key), str(pki.ca.certificate), spoken=())
    trust = ssl.create_default_context(cafile=str(pki.ca.certificate))
    if client:
        trust.load_cert_chain(client.certificate, client.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    other, records = trust.wrap_bio(back, there, server_hostname=hostname), Records(tls.context)
    done = False
    for _ in range(4):
        if not done:
            try:
                other.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
        if data := there.read():
            records.take(data)
            if records.handshake():
                return records
            back.write(records.to_send())
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("algorithm", ["ec", "rsa"])
def test_a_switch_and_a_controller_know_each_other(tmp_path: Path, algorithm: str) -> None:
    pki = Pki(tmp_path)
    pki.make_ca("test CA", algorithm)
    controller = pki.make(pki.controller(), "controller", ["ctl.example"], algorithm, is_server=True)
    switch = pki.make(pki.switch("arh1"), "arh1", (), algorithm, is_server=False)
    certificate = handshake(pki, controller, switch).certificate
    assert certificate is not None
    assert certificate.is_of("arh1")
    assert certificate.is_of(pki.listed()[-1].fingerprint)


def test_a_switch_cannot_pass_for_the_controller(pki: Pki) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        handshake(pki, pki.switch("arh1"), pki.switch("arh1"), "arh1")


def test_a_controller_cannot_pass_for_a_switch(pki: Pki) -> None:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(pki, pki.controller(), pki.controller())
    assert reasons.of_handshake(caught.value) == "its certificate is not for TLS clients (extended key usage)"


def test_who_shows_no_certificate_is_refused(pki: Pki) -> None:
    with pytest.raises(ssl.SSLError) as caught:
        handshake(pki, pki.controller(), None)
    assert reasons.of_handshake(caught.value) == "it shows no certificate"


NO_ISSUER = (
    "its certificate is of another CA than those that are trusted here, or it does not send the certificate of the "
    "intermediate CA that has signed it"
)


def test_a_certificate_of_another_ca_is_refused(pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other")
    other.make_ca("other CA")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(pki, pki.controller(), other.make(other.switch("arh1"), "arh1", is_server=False))
    assert reasons.of_handshake(caught.value) == NO_ISSUER


def test_a_certificate_of_an_intermediate_ca_is_taken_with_that_and_without_it_the_reason_names_it(
    pki: Pki, tmp_path: Path
) -> None:
    root, between = Authority(tmp_path, "root"), Authority(tmp_path, "between")
    root.certify("between", ca=True)
    between.certify("edge")
    of_root, of_between = (tmp_path / "root.pem").read_bytes(), (tmp_path / "between.pem").read_bytes()
    trusted = pki.ca.certificate.read_bytes() + of_root
    pki.ca.certificate.write_bytes(trusted)
    edge = Made(tmp_path / "edge.pem", tmp_path / "edge.key")
    alone = edge.certificate.read_bytes()
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(pki, pki.controller(), edge)
    assert reasons.of_handshake(caught.value) == NO_ISSUER
    for sent, here in ((alone + of_between, trusted), (alone, trusted + of_between)):
        edge.certificate.write_bytes(sent)
        pki.ca.certificate.write_bytes(here)
        certificate = handshake(pki, pki.controller(), edge).certificate
        assert certificate is not None
        assert certificate.is_of("edge")


def test_all_files_are_for_their_owner_alone(pki: Pki) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in pki.directory.iterdir()}
    assert modes == dict.fromkeys(
        ["ca.key", "ca.pem", "controller.key", "controller.pem", "switch-arh1.key", "switch-arh1.pem"], 0o600
    )
    assert pki.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("left", [0, 1], ids=["certificate", "key"])
def test_nothing_is_replaced_unasked(pki: Pki, left: int) -> None:
    place = pki.switch("arh1")
    place[1 - left].unlink()
    before = place[left].read_bytes()
    with pytest.raises(PkiError, match="is there already, and stays as it is: --force replaces it"):
        pki.make(place, "arh1", is_server=False)
    assert place[left].read_bytes() == before
    assert not place[1 - left].exists()
    pki.make(place, "arh1", is_server=False, replace=True)
    assert place[left].read_bytes() != before
    handshake(pki, pki.controller(), place)


def test_no_certificate_outlives_its_ca(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.make_ca("test CA", days=10)
    pki.make(pki.switch("arh1"), "arh1", days=730, is_server=False)
    ca, switch = pki.listed()
    assert switch.until <= ca.until


def test_a_ca_that_has_expired_signs_nothing(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.make_ca("test CA", days=0)
    with pytest.raises(PkiError, match=r"ca\.pem has expired"):
        pki.make(pki.switch("arh1"), "arh1", is_server=False)


def test_a_directory_without_a_ca_makes_no_certificates(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="'anycast-sdn pki init' makes one"):
        Pki(tmp_path).make(Pki(tmp_path).switch("arh1"), "arh1", is_server=False)


NO_KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("content", [b"", b"nonsense", NO_KEY])
def test_a_key_that_cannot_be_read_is_named(pki: Pki, content: bytes) -> None:
    pki.ca.key.write_bytes(content)
    with pytest.raises(PkiError, match=r"ca\.key: is no unencrypted key in PEM"):
        pki.make(pki.switch("ars2"), "ars2", is_server=False)


def test_the_key_of_another_ca_is_not_used(pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other")
    other.make_ca("other")
    pki.ca.key.write_bytes(other.ca.key.read_bytes())
    with pytest.raises(PkiError, match=r"ca\.key: is not the key of .*ca\.pem"):
        pki.make(pki.switch("ars2"), "ars2", is_server=False)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "a b", "x" * 65])
def test_a_name_that_is_no_files_name_is_refused(pki: Pki, name: str) -> None:
    with pytest.raises(PkiError, match="no name for a file"):
        pki.switch(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "\udcff"])
def test_a_name_that_no_certificate_can_have_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(PkiError, match=r"1 to 64|is no name for a certificate"):
        Pki(tmp_path / "pki").make_ca(name)
    assert not (tmp_path / "pki").exists()


def test_the_longest_name_of_a_ca_is_taken(tmp_path: Path) -> None:
    Pki(tmp_path).make_ca("ü" * 32)
    assert [each.name for each in Pki(tmp_path).listed()] == ["ü" * 32]


@pytest.mark.parametrize("host", ["contrôleur.example", "", "two words", "\udcff"])
def test_a_host_that_no_certificate_can_name_is_refused(pki: Pki, host: str) -> None:
    with pytest.raises(PkiError, match="neither an IP address nor the name of a host"):
        pki.make(pki.controller("b"), "b", [host], is_server=True)
    assert not pki.controller("b").certificate.exists()
