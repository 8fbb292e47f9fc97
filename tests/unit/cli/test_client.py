"""How a command shows who it is, and what it says about certificates, sockets and refusals."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.api import endpoints
from anycast_sdn.api.access import Access
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.server import Server
from anycast_sdn.cli import client, main
from anycast_sdn.core.places import Rest
from anycast_sdn.trust.tls import Tls
from tests.unit.api.test_server import start_thread
from tests.unit.certificates import Authority
from tests.unit.command_line import answering, complaint

SECRET = "asdn_" + "x" * 43


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """→ (its address, the Authorization fields of the requests that it has answered)."""
    given: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.send_header("Content-Length", "14")
            self.end_headers()
            self.wfile.write(b'{"groups": []}')

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", given
        finally:
            server.shutdown()
            thread.join()


def no_groups(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "14")])
    return [b'{"groups": []}']


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A file with a token, as 'token add > FILE' makes it."""
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return str(file)


def test_a_token_comes_from_a_file_or_from_the_environment(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening() as (address, given):
        main.main(["groups", "--rest", address])
        monkeypatch.setenv("ANYCAST_SDN_TOKEN", "other")
        main.main(["groups", "--rest", address])
        main.main(["groups", "--rest", address, "--token-file", token])
    assert given == ["", "Bearer other", f"Bearer {SECRET}"]
    assert capsys.readouterr().err == ""


def test_a_token_that_others_may_read_is_warned_of(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.chmod(token, 0o644)
    with listening() as (address, given):
        assert main.main(["groups", "--rest", address, "--token-file", token]) == 0
    assert given == [f"Bearer {SECRET}"]
    assert f"others may read this token: chmod 600 {token}" in capsys.readouterr().err


def test_a_token_that_cannot_be_one_is_not_sent_and_not_repeated(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (f"{SECRET} {SECRET}", f"t\u00f6ken {SECRET}", f"{SECRET}\nX: y", ""):
        Path(token).write_text(content)
        assert SECRET not in complaint(capsys, "groups", "--rest", "127.0.0.1:1", "--token-file", token)
    assert "No such file" in complaint(capsys, "groups", "--token-file", str(tmp_path / "absent"))
    assert SECRET not in complaint(capsys, "groups", "--token-file", SECRET)  # --token is short for --token-file
    monkeypatch.setenv("ANYCAST_SDN_TOKEN", f"{SECRET}\r\nX: y")
    reported = complaint(capsys, "groups", "--rest", "127.0.0.1:1")
    assert reported.startswith("the environment's ANYCAST_SDN_TOKEN: is no token")
    assert SECRET not in reported
    assert SECRET not in repr(client.Controller(Rest("a", 1), SECRET))


def test_a_refusal_says_how_a_token_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(401, b'{"detail": "this needs a token"}') as address:
        reported = complaint(capsys, "groups", "--rest", address)
    assert reported.startswith("this needs a token (give a token with --token-file FILE, or")
    with answering(403, b'{"detail": "this needs the scope admin"}') as address:
        assert complaint(capsys, "groups", "--rest", address) == "this needs the scope admin"


def test_no_redirection_is_followed(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(302, b"") as address:
        reported = complaint(capsys, "groups", "--rest", address, "--token-file", token)
    assert reported == f"what answers at http://{address} is no controller: 302 Found"


def test_unix_sockets_are_asked_and_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "s")
    server = Server(no_groups, [endpoints.at_path(path, 0o600)], Access(None), start_thread)
    server.start()
    assert main.main(["groups", "--rest", f"unix:{path}"]) == 0
    server.close()
    capsys.readouterr()
    reported = complaint(capsys, "groups", "--rest", f"unix:{path}")
    assert reported.startswith(f"no controller answers at unix:{path}: No such file or directory; is ")


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_what_is_wrong_with_a_certificate_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path)
    authority.certify("ctl", "IP:127.0.0.1")
    authority.certify("other", "DNS:other.example")
    authority.expired("late", "IP:127.0.0.1")
    Authority(tmp_path, "stranger").certify("foreign")

    def file(name: str) -> str:
        return str(tmp_path / name)

    def context(name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(file(f"{name}.pem"), file(f"{name}.key"))
        return made

    for name, options, reason in (
        ("ctl", (), "is refused: unable to get local issuer certificate; if you trust it, give the certificate of"),
        ("ctl", ("--ca", file("stranger.pem")), "is refused: unable to get local issuer certificate"),
        ("late", ("--ca", file("ca.pem")), "is refused: certificate has expired"),
        ("other", ("--ca", file("ca.pem")), "is refused: IP address mismatch, certificate is not valid for"),
        ("ctl", ("--ca", file("absent.pem")), "absent.pem: holds no certificates that can be read"),
        ("ctl", ("--ca", file("ca.key")), "ca.key: holds no certificates that can be read"),
        ("ctl", ("--ca", file("ca.pem"), "--cert", file("ca.pem")), "no certificate with its key"),
        ("ctl", ("--ca", file("ca.pem"), "--key", file("ca.key")), "--key is of a certificate: give that, too"),
    ):
        with listening(context(name)) as (address, _):
            reported = complaint(capsys, "groups", "--rest", f"https://{address}", *options)
            assert reason in reported
    for words, said in ((["--cert", "x"], "--cert is"), (["--ca", "x", "--cert", "x"], "--ca, --cert are")):
        assert f"{said} for https" in complaint(capsys, "groups", "--rest", "http://127.0.0.1:1", *words)
    with listening(context("ctl")) as (address, given):
        assert main.main(["groups", "--rest", f"https://{address}", "--ca", file("ca.pem")]) == 0
        assert given == [""]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(listener, Hosts("127.0.0.1"), Tls(file("ctl.pem"), file("ctl.key"), file("ca.pem")))
        server = Server(no_groups, [endpoint], Access(None), start_thread)
        server.start()
        place = ("groups", "--rest", f"https://127.0.0.1:{listener.getsockname()[1]}", "--ca", file("ca.pem"))
        assert main.main([*place, "--cert", file("ctl.pem"), "--key", file("ctl.key")]) == 0
        capsys.readouterr()
        for _ in range(10):
            assert "it wants a certificate of ours: give one with --cert and --key" in complaint(capsys, *place)
            foreign = complaint(capsys, *place, "--cert", file("foreign.pem"), "--key", file("foreign.key"))
            assert "it does not accept our certificate (--cert)" in foreign
        server.close()
    with listening() as (address, _):
        assert "does not speak TLS: is it http://?" in complaint(capsys, "groups", "--rest", f"https://{address}")


def test_a_connection_that_ends_without_an_answer_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        address = f"127.0.0.1:{closing.getsockname()[1]}"

        def end() -> None:
            closing.accept()[0].close()

        ending = threading.Thread(target=end)
        ending.start()
        assert f"at http://{address}" in complaint(capsys, "groups", "--rest", address)
        ending.join()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"), ("http://a:1", "http://a:1"), ("https://a", "https://a:443"),
        ("https://[::1]:8443/", "https://[::1]:8443"), ("https://[::1]", "https://[::1]:443"),
        ("unix:/run/x y.sock", "unix:/run/x y.sock"),
    ],
)  # fmt: skip
def test_places_of_a_controller_are_written_as_urls(text: str, shown: str) -> None:
    assert str(main.parser().parse_args(["groups", "--rest", text]).rest) == shown


@pytest.mark.parametrize("text", ["unix:", "ftp://a:1", "https://", "https://a/b", f"https://{SECRET}@a", "https://a:0"])
def test_other_places_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["groups", "--rest", text])
    assert ended.value.code == 2
    assert SECRET not in capsys.readouterr().err
