"""``pki``: certificates for the switches of a network file, by the names that it binds them to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anycast_sdn.cli import main
from tests.unit.command_line import complaint

FIGURE1 = Path(__file__).parents[3] / "topologies" / "figure1.yaml"


@pytest.fixture
def place(tmp_path: Path) -> str:
    place = str(tmp_path / "pki")
    assert main.main(["pki", "init", "--dir", place, "--host", "192.0.2.1"]) == 0
    return place


def files(place: str) -> list[str]:
    return sorted(path.stem for path in Path(place).glob("*.pem"))


def bound(tmp_path: Path, **certificates: str) -> str:
    """Figure 1 with ``certificate`` of switches."""
    content = FIGURE1.read_text()
    for name, certificate in certificates.items():
        line = f"name: {name}, dpid:"
        assert line in content
        content = content.replace(line, f'name: {name}, certificate: "{certificate}", dpid:')
    file = tmp_path / "figure1.yaml"
    file.write_text(content)
    return str(file)


def test_it_says_how_the_controller_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "pki"
    assert main.main(["pki", "init", "--dir", str(place)]) == 0
    said = capsys.readouterr().err
    assert f"run FILE --openflow-tls {place}/controller.pem {place}/controller.key {place}/ca.pem" in said


def test_all_switches_of_a_file_get_certificates_and_later_the_new_ones_alone(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pki", "switch", "--dir", place, "--network"]
    assert main.main([*words, str(FIGURE1)]) == 0
    assert files(place) == ["ca", "controller", "switch-arh1", "switch-ars2", "switch-ars3", "switch-core"]
    before = (Path(place) / "switch-core.pem").read_bytes()
    capsys.readouterr()
    assert main.main([*words, bound(tmp_path, ars2="host9")]) == 0
    said = capsys.readouterr().err
    assert f"{place}/switch-core.pem is there already, and stays as it is" in said
    assert f"ovs-vsctl set-ssl {place}/switch-host9.key {place}/switch-host9.pem {place}/ca.pem" in said
    assert (Path(place) / "switch-core.pem").read_bytes() == before


def test_bridges_of_one_open_vswitch_have_one_certificate(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bound(tmp_path, ars2="host1", ars3="host1", core="host1")
    assert main.main(["pki", "switch", "--dir", place, "--network", file]) == 0
    assert files(place) == ["ca", "controller", "switch-arh1", "switch-host1"]
    assert "is for host1 (switches core, ars2, ars3)" in capsys.readouterr().err


def test_a_switch_that_is_named_gets_the_name_that_it_is_bound_to(place: str, tmp_path: Path) -> None:
    assert main.main(["pki", "switch", "ars2", "--dir", place, "--network", bound(tmp_path, ars2="host9")]) == 0
    assert files(place) == ["ca", "controller", "switch-host9"]


def test_what_is_there_is_replaced_by_force_alone(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pki", "switch", "arh1", "--dir", place]
    assert main.main(words) == 0
    before = (Path(place) / "switch-arh1.pem").read_bytes()
    assert "--force replaces it" in complaint(capsys, *words)
    assert (Path(place) / "switch-arh1.pem").read_bytes() == before
    assert main.main([*words, "--force"]) == 0
    assert (Path(place) / "switch-arh1.pem").read_bytes() != before


def test_another_ca_is_not_made_unasked(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (Path(place) / "ca.pem").read_bytes()
    said = complaint(capsys, "pki", "init", "--dir", place)
    assert "another CA would make all certificates of this one worthless" in said
    assert (Path(place) / "ca.pem").read_bytes() == before


@pytest.mark.parametrize("host", ["-x", "x" * 254])
def test_a_host_that_no_certificate_can_name_leaves_no_half_of_a_pki_and_the_old_ca(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    words = ["pki", "init", "--dir", str(tmp_path / "pki")]
    assert "neither an IP address nor the name of a host" in complaint(capsys, *words, f"--host={host}")
    assert not (tmp_path / "pki").exists()
    assert main.main(words) == 0
    before = (tmp_path / "pki" / "ca.pem").read_bytes()
    capsys.readouterr()
    assert "neither an IP address nor the name of a host" in complaint(capsys, *words, "--force", f"--host={host}")
    assert (tmp_path / "pki" / "ca.pem").read_bytes() == before


def test_a_ca_for_one_day_signs_what_ends_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "pki")
    assert main.main(["pki", "init", "--dir", place, "--ca-days", "1"]) == 0
    capsys.readouterr()
    assert main.main(["pki", "list", "--dir", place, "--json"]) == 0
    ca, controller = json.loads(capsys.readouterr().out)["certificates"]
    assert controller["until"] == ca["until"]


@pytest.mark.parametrize("verb", ["switch", "controller"])
def test_who_wants_rsa_keys_of_a_ca_with_an_ec_key_is_told_that_this_is_not_enough(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    not_enough = "anycast-sdn pki init --key rsa"
    capsys.readouterr()
    assert main.main(["pki", verb, "one", "--key", "rsa", "--dir", place]) == 0
    assert not_enough in capsys.readouterr().err
    assert main.main(["pki", verb, "two", "--dir", place]) == 0
    assert not_enough not in capsys.readouterr().err
    other = str(tmp_path / "rsa")
    assert main.main(["pki", "init", "--key", "rsa", "--dir", other]) == 0
    assert main.main(["pki", verb, "one", "--key", "rsa", "--dir", other]) == 0
    assert not_enough not in capsys.readouterr().err


def test_what_cannot_be_made_is_told(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pki", "switch", "--dir", place]
    assert "which switches?" in complaint(capsys, *words)
    assert "has no switch nobody" in complaint(capsys, *words, "nobody", "--network", str(FIGURE1))
    fingerprint = bound(tmp_path, ars2=f"sha256:{'0' * 64}")
    assert "binds ars2 to one certificate by its fingerprint" in complaint(capsys, *words, "--network", fingerprint)
    assert "'pki init' makes one" in complaint(capsys, "pki", "list", "--dir", str(tmp_path)).replace(
        "anycast-sdn ", ""
    )


def test_the_list_has_names_dates_and_fingerprints(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main.main(["pki", "list", "--dir", place, "--json"]) == 0
    ca, controller = json.loads(capsys.readouterr().out)["certificates"]
    assert (ca["file"], ca["name"]) == ("ca.pem", "anycast-sdn CA")
    assert (controller["file"], controller["name"]) == ("controller.pem", "controller")
    assert controller["fingerprint"].startswith("sha256:")
    assert controller["until"] < ca["until"]
    assert main.main(["pki", "list", "--dir", place]) == 0
    assert controller["fingerprint"] in capsys.readouterr().out
