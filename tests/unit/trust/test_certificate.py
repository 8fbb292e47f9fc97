"""Whose a certificate is."""

from __future__ import annotations

import hashlib

import pytest

from anycast_sdn.trust.certificate import Certificate, shown

DER = b"a certificate"
FINGERPRINT = hashlib.sha256(DER).hexdigest()
WITH_COLONS = ":".join(FINGERPRINT[at : at + 2] for at in range(0, 64, 2)).upper()
ID = "id:01234567-89ab-cdef-0123-456789abcdef"


def certificate(common: str, *also: str) -> Certificate:
    members = {
        "subject": ((("commonName", common),),),
        "subjectAltName": tuple(("DNS", name) for name in also),
        "notAfter": "Nov 29 00:47:22 2026 GMT",
    }
    return shown(members, DER)


@pytest.mark.parametrize("wanted", ["arh1", "arh1.example", f"sha256:{FINGERPRINT}", f"sha256:{WITH_COLONS}"])
def test_a_certificate_is_known_by_its_common_name_other_names_and_fingerprint(wanted: str) -> None:
    assert certificate("arh1", "arh1.example").is_of(wanted)


@pytest.mark.parametrize("wanted", ["ARH1", "arh", "arh11", "", "*", f"sha256:{'0' * 64}", FINGERPRINT])
def test_nothing_else_is_taken_for_its_name(wanted: str) -> None:
    assert not certificate("arh1", "*.example").is_of(wanted)


def test_the_name_that_ovs_pki_was_given_is_known() -> None:
    made = certificate(f"arh1 {ID}", f"arh1 {ID}")
    assert made.is_of("arh1")
    assert made.is_of(f"arh1 {ID}")
    assert not made.is_of("id")
    assert str(made) == "arh1"


def test_hosts_are_those_of_the_san_alone_where_there_are_some() -> None:
    assert certificate("arh1", "arh1.example").names == ("arh1.example",)
    assert certificate("arh1").names == ("arh1",)


def test_a_certificate_without_a_name_is_shown_by_its_fingerprint() -> None:
    assert str(shown({}, DER)) == f"sha256:{FINGERPRINT}, without a name"
