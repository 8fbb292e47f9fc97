"""Unix sockets: who may open them, what they replace, and that they are removed."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from anycast_sdn.api import endpoints
from anycast_sdn.api.access import Access
from anycast_sdn.api.server import Server
from tests.unit.api.test_server import all_of, application, start_thread


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_its_mode_and_ends_with_us(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "s"
    endpoint = endpoints.at_path(str(path), mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    endpoint.close()
    assert not path.exists()


def test_a_socket_at_which_nobody_listens_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    endpoint = endpoints.at_path(str(path), 0o600)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
    endpoint.close()


def test_a_socket_at_which_somebody_listens_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(OSError, match="Address already in use"):
            endpoints.at_path(str(path), 0o600)
        assert path.exists()


def test_what_is_no_socket_is_not_replaced_either(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with pytest.raises(OSError, match="it is no socket"):
            endpoints.at_path(str(tmp_path / name), 0o600)
    assert (tmp_path / "file").read_text() == "x"


def test_a_path_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / ("x" * 120), "too long"), (tmp_path / "absent" / "s", "No such file")):
        with pytest.raises(OSError, match=reason):
            endpoints.at_path(str(path), 0o600)
    assert os.listdir(tmp_path) == []


def test_the_socket_of_another_is_not_removed_at_our_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    endpoint = endpoints.at_path(str(path), 0o600)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        endpoint.close()
        assert path.exists()


def test_requests_are_answered_under_the_name_of_this_machine(tmp_path: Path) -> None:
    endpoint = endpoints.at_path(str(tmp_path / "s"), 0o600, ["ctl.example"])
    server = Server(application, [endpoint], Access(None), start_thread)
    server.start()
    for host, status in ((b"localhost", 200), (b"ctl.example", 200), (b"evil.example", 421)):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(endpoint.path)
            peer.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
            assert int(all_of(peer).split()[1]) == status
    server.close()
