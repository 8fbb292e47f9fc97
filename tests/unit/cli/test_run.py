"""``run``: what it says when it cannot listen."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from anycast_sdn.cli import run
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
    ],
)
def test_a_controller_that_is_to_be_one_of_several_needs_their_etcd(
    words: list[str], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, "run", str(file), *words)


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
