"""``certificate`` of a switch: which one it connects by."""

from __future__ import annotations

import pytest

from anycast_sdn.description import reading
from tests.unit.network_files import edited, refusal

DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "name", ["host1", "arh1.example", "arh1 id:0123", f"sha256:{DIGITS}", f"sha256:{DIGITS.upper()}"]
)
def test_a_switch_is_bound_to_a_name_or_a_fingerprint(name: str) -> None:
    assert reading.parse(edited({"switches[0].certificate": name}), "net.yaml").switches[0].bound_to == name


def test_a_switch_is_bound_to_its_own_name_by_default() -> None:
    assert reading.parse(edited({}), "net.yaml").switches[0].bound_to == "west"


def test_switches_may_have_the_same_certificate() -> None:
    written = edited({"switches[0].certificate": "host1", "switches[2].certificate": "host1"})
    assert [switch.bound_to for switch in reading.parse(written, "net.yaml").switches] == ["host1", "core", "host1"]


@pytest.mark.parametrize("name", ["", " host1", "höst", "sha256:", f"sha256:{DIGITS}0", "x" * 65])
def test_what_is_no_name_is_refused(name: str) -> None:
    text = str(refusal(edited({"switches[0].certificate": name})))
    assert "switches[0].certificate" in text
    assert "is not a name in a certificate, 1-64 ASCII characters, or sha256: and 64 hexadecimal digits" in text
