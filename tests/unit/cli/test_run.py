"""``run``: what it says when it cannot listen, or an option does not fit."""

from __future__ import annotations

import argparse
import socket
import subprocess
from pathlib import Path

import pytest

from anycast_sdn.cli import etcd, main, run
from tests.unit.command_line import COMMAND, complaint


@pytest.mark.parametrize(
    ("option", "other", "what"), [("--openflow", "--rest", "OpenFlow"), ("--rest", "--openflow", "REST")]
)
def test_an_address_that_cannot_be_used_is_reported_with_what_to_do(
    option: str, other: str, what: str, file: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        address, another = (f"127.0.0.1:{each.getsockname()[1]}" for each in (taken, free))
        free.close()
        for wanted, reason in (
            (address, "another program listens there, perhaps a controller: end it, or take another port"),
            ("192.0.2.1:8080", "this machine has no such address: take one that it has"),
        ):
            words = [*COMMAND, "run", str(file), option, wanted, other, another, "--database", str(tmp_path / "db")]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            assert done.stderr == f"anycast-sdn: {what} cannot listen on {wanted}: {reason} ({option})\n"
            assert done.returncode == 1


@pytest.mark.parametrize(
    ("openflow", "rest"),
    [
        ("127.0.0.1:6653", "127.0.0.1:6653"),
        ("127.0.0.1:6653", "localhost:6653"),
        ("0.0.0.0:6653", "127.0.0.1:6653"),
        ("127.0.0.1:6653", "0.0.0.0:6653"),
        ("[::]:6653", "127.0.0.1:6653"),
        ("[::1]:6653", "[0:0::1]:6653"),
    ],
)
def test_openflow_and_rest_need_addresses_of_their_own(
    openflow: str, rest: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "run", str(file), "--openflow", openflow, "--rest", rest)
    assert "cannot have the same address" in said
    assert "6653 (--openflow)" in said
    assert "another program" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--member", "one"], "--member is for several controllers: say where their etcd is (--etcd)"),
        (["--peer", "192.0.2.1:6654", "--etcd-ca", "ca.pem"], "--peer, --etcd-ca are for several controllers"),
        (["--etcd-user", "ctl"], "--etcd-user is for several controllers"),
    ],
)
def test_a_controller_that_is_to_be_one_of_several_needs_their_etcd(
    words: list[str], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, "run", str(file), *words)


HTTP, HTTPS = ["--etcd", "http://127.0.0.1:1"], ["--etcd", "https://127.0.0.1:1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*HTTP, "--etcd-cert", "a.pem"], "--etcd-cert is for TLS, and --etcd has http://127.0.0.1:1: nothing would"),
        (["--etcd", "https://a:1,http://b:1", "--etcd-ca", "a.pem"], "--etcd-ca is for TLS, and --etcd has http://b:1"),
        ([*HTTPS, "--etcd-key", "a.key"], "--etcd-key is of a certificate: give that, too, with --etcd-cert"),
        ([*HTTP, "--etcd-password-file", "x"], "--etcd-password-file is of a user: give the name, too"),
        ([*HTTP, "--etcd-user", "ctl"], "--etcd-user needs its password: --etcd-password-file, or the environment's"),
        ([*HTTP, "--etcd-user", "ctl", "--etcd-password-file", "/x"], "/x: the password of --etcd-user cannot be read"),
        ([*HTTP, "--etcd-user", "ctl", "--etcd-password-file", "/dev/null"], "/dev/null: has no password"),
        (["--binding-log-days", "7"], "--binding-log-days is for the binding log: say where that is (--binding-log)"),
        (["--rest-socket-mode", "660"], "--rest-socket-mode is for unix sockets: say where one is (--rest unix:PATH)"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(
    words: list[str], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, "run", str(file), *words)


def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.main(["run", str(file), *HTTP, "--etcd-user", "ctl:geheim"])
    said = capsys.readouterr().err
    assert "write the name alone, 'ctl'; the password is in --etcd-password-file" in said
    assert "geheim" not in said


def test_the_password_is_read_from_the_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(etcd.PASSWORD, " of the environment ")
    (file := tmp_path / "password").write_text("one two\n")
    given = argparse.Namespace(etcd_user="ctl", etcd_password_file=str(file))
    user = etcd.user(given)
    assert user is not None
    assert (user.name, user.password()) == ("ctl", "one two")
    file.write_text("three")
    assert user.password() == "three"
    other = etcd.user(argparse.Namespace(etcd_user="ctl", etcd_password_file=None))
    assert other is not None
    assert other.password() == " of the environment "


@pytest.mark.parametrize(
    ("openflow", "rest", "overlap"),
    [
        (("127.0.0.1", 6653), ("127.0.0.1", 8080), False),
        (("0.0.0.0", 6653), ("0.0.0.0", 8080), False),
        (("127.0.0.1", 6653), ("127.0.0.2", 6653), False),
        (("0.0.0.0", 6653), ("::1", 6653), False),
        (("no such host", 6653), ("127.0.0.1", 6653), False),
        (("0.0.0.0", 6653), ("127.0.0.2", 6653), True),
    ],
)
def test_one_port_may_be_used_on_different_addresses(
    openflow: tuple[str, int], rest: tuple[str, int], overlap: bool
) -> None:
    assert run.overlap(openflow, rest) is overlap
