"""TLS on real sockets: whoever is slow, wrong or silent in a handshake keeps nobody out.

As in test_server, the server has threads.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.api import connection as connecting
from anycast_sdn.api.access import CALLER, Access
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.server import Server
from anycast_sdn.api.tokens import Token, Tokens
from anycast_sdn.trust.tls import Tls, TlsError
from tests.unit.api.test_server import all_of, start_thread, until
from tests.unit.certificates import Authority

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CLOSE = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.certify("ctl", "DNS:ctl.example", "DNS:*.wild.example", "IP:127.0.0.1")
    made.certify("next", "DNS:ctl.example", "IP:127.0.0.1")
    made.certify("web1", "DNS:web1.example", "URI:spiffe://example/web1")
    made.certify("plain")
    made.expired("late")
    Authority(made.directory, "stranger").certify("forged", "DNS:web1.example")
    return made


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says who has asked, and how long the body was."""
    body = b""
    while more := environ["wsgi.input"].read(1 << 16):
        body += more
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/large":
        return [b"x" * 3_000_000]
    return [json.dumps([environ[CALLER].name, environ["wsgi.url_scheme"], len(body)]).encode()]


class Service:
    def __init__(self, authority: Authority, client_ca: str = "") -> None:
        self.directory = authority.directory
        ca = self.file(client_ca) if client_ca else None
        listener = socket.create_server(("127.0.0.1", 0), backlog=400)
        self.tls = Tls(self.file("ctl.pem"), self.file("ctl.key"), ca)
        self.endpoint = Endpoint(listener, Hosts("127.0.0.1"), self.tls)
        entries = [
            Token(name="web", certificate="web1.example", scopes=("read",)),
            Token(name="plain-cn", certificate="plain", scopes=("read",)),
        ]
        self.server = Server(application, [self.endpoint], Access(Tokens(entries)), start_thread)
        self.server.start()

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.endpoint.listener.getsockname(), timeout=10)

    def trust(self, certificate: str = "") -> ssl.SSLContext:
        trust = ssl.create_default_context(cafile=self.file("ca.pem"))
        if certificate:
            trust.load_cert_chain(self.file(f"{certificate}.pem"), self.file(f"{certificate}.key"))
        return trust

    def secure(self, name: str = "127.0.0.1", certificate: str = "") -> ssl.SSLSocket:
        return self.trust(certificate).wrap_socket(self.connect(), server_hostname=name)

    def ask(self, raw: bytes = CLOSE, name: str = "127.0.0.1", certificate: str = "") -> bytes:
        with self.secure(name, certificate) as peer:
            peer.sendall(raw)
            return all_of(peer)

    def say(self, raw: bytes) -> bytes:
        """In plain → what is answered until the connection ends."""
        with self.connect() as peer:
            try:
                peer.sendall(raw)
                peer.shutdown(socket.SHUT_WR)
                return all_of(peer)
            except ConnectionError:
                return b""

    def open(self) -> int:
        return len(self.server._connections)


@pytest.fixture
def service(authority: Authority) -> Iterator[Service]:
    service = Service(authority)
    yield service
    service.server.close()


@pytest.fixture
def mutual(authority: Authority) -> Iterator[Service]:
    """Clients need a certificate."""
    service = Service(authority, "ca.pem")
    yield service
    service.server.close()


def test_requests_follow_each_other_also_in_small_pieces(service: Service) -> None:
    post = b"POST / HTTP/1.1\r\nHost: ctl.example\r\nContent-Length: 60000\r\nConnection: close\r\n\r\n"
    with service.secure("ctl.example") as peer:
        for byte in GET:
            peer.sendall(bytes([byte]))
        peer.sendall(GET + post + b"x" * 60000)
        answer = all_of(peer)
    assert answer.count(b'["", "https", 0]') == 2
    assert b'["", "https", 60000]' in answer


def test_a_large_answer_arrives_whole_and_the_end_is_the_peers_to_verify(service: Service) -> None:
    answer = service.ask(CLOSE.replace(b"/ ", b"/large "))
    assert len(answer.partition(b"\r\n\r\n")[2]) == 3_000_000  # without the close_notify, reading would have failed


def test_the_names_in_the_certificate_are_hosts_that_we_listen_as(service: Service) -> None:
    for host, status in {
        b"ctl.example:1": 200, b"CTL.example": 200, b"evil.example": 421, b"x.ctl.example": 421,
        b"a.wild.example": 200, b"wild.example": 421, b"a.b.wild.example": 421, b".wild.example": 421,
    }.items():  # fmt: skip
        assert int(service.ask(CLOSE.replace(b"127.0.0.1", host), "ctl.example").split()[1]) == status, host
    service.tls._files = service.file("late.pem"), service.file("late.key"), None
    service.tls.reload()
    assert service.tls.names == ()
    assert "expired" in str(service.tls)


def test_old_versions_of_tls_are_refused(service: Service) -> None:
    trust = service.trust()
    trust.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python says that they are old
        trust.minimum_version = ssl.TLSVersion.TLSv1
        trust.maximum_version = ssl.TLSVersion.TLSv1_1
    with service.connect() as peer, pytest.raises(ssl.SSLError):
        trust.wrap_socket(peer, server_hostname="127.0.0.1")
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    with trust.wrap_socket(service.connect(), server_hostname="127.0.0.1") as peer:
        peer.sendall(CLOSE)
        assert all_of(peer).startswith(b"HTTP/1.1 200 OK")


def test_plain_http_is_told_so_and_other_bytes_end_the_connection(service: Service) -> None:
    assert b"TLS is spoken here: use https" in service.say(GET)
    chance = random.Random(35)
    for length in (1, 5, 100, 5000):
        service.say(chance.randbytes(length))
        service.say(b"\x16\x03\x01" + chance.randbytes(length))
    assert service.ask().startswith(b"HTTP/1.1 200 OK")


def test_mutated_handshakes_end_their_connection_and_nothing_else(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = service.trust().wrap_bio(incoming, outgoing, server_hostname="ctl.example")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    first, chance = outgoing.read(), random.Random(11)
    for _ in range(200):
        raw = bytearray(first)
        for _ in range(chance.randrange(1, 4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        service.say(bytes(raw))
    assert "Traceback" not in caplog.text
    assert "internal error" not in caplog.text
    until(lambda: service.open() == 0)
    assert service.ask().startswith(b"HTTP/1.1 200 OK")


def test_a_handshake_has_a_deadline_however_its_bytes_come(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "HANDSHAKE_S", 0.5)
    with ExitStack() as stack:
        silent = stack.enter_context(service.connect())
        slow = stack.enter_context(service.connect())
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 8:
                slow.sendall(b"\x16")
                time.sleep(0.02)
        assert time.monotonic() - began < 8
        assert silent.recv(100) == b""
    until(lambda: service.open() == 0)


def test_silent_peers_keep_nobody_out(service: Service) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(service.connect())
        began = time.monotonic()
        assert service.ask().startswith(b"HTTP/1.1 200 OK")
        assert time.monotonic() - began < connecting.HANDSHAKE_S


def test_clients_need_a_certificate_of_the_ca_where_one_is_given(mutual: Service) -> None:
    assert b'["web", ' in mutual.ask(certificate="web1")
    assert b'["plain-cn", ' in mutual.ask(certificate="plain")
    assert b'["", ' in mutual.ask(certificate="ctl")  # a certificate of the CA, but nobody's entry
    for certificate in ("", "late", "forged"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            mutual.ask(certificate=certificate)


def test_certificates_are_read_again_and_older_connections_end(service: Service) -> None:
    with service.secure() as peer:
        peer.sendall(GET)
        before = peer.getpeercert(True)
        assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")
        service.tls._files = service.file("next.pem"), service.file("next.key"), None
        service.tls.reload()
        peer.sendall(GET)
        assert b"Connection: close" in all_of(peer)
    with service.secure() as peer:
        assert peer.getpeercert(True) != before


def test_files_that_cannot_be_used_are_named_and_change_nothing(service: Service, tmp_path: Path) -> None:
    exposed, nonsense = tmp_path / "exposed.key", tmp_path / "nonsense.pem"
    shutil.copy(service.file("ctl.key"), exposed)
    exposed.chmod(0o644)
    nonsense.write_text("nonsense")
    nonsense.chmod(0o600)
    present = service.tls.context
    certificate, key = service.file("ctl.pem"), service.file("ctl.key")
    for files, reason in (
        ((certificate, service.file("absent"), None), "absent: No such file"),
        ((certificate, service.file("next.key"), None), "ctl.pem: is no certificate of the key in .*next.key"),
        ((certificate, str(nonsense), None), "ctl.pem: is no certificate"),
        ((certificate, None, None), "ctl.pem: "),  # no key in it, and others may read it
        ((certificate, str(exposed), None), f"others may read this key, so it is not used: chmod o-rwx {exposed}"),
        ((certificate, key, str(nonsense)), "nonsense.pem: holds no certificates"),
        ((str(tmp_path), key, None), "Is a directory"),
    ):
        service.tls._files = files
        with pytest.raises(TlsError, match=reason):
            service.tls.reload()
        assert service.tls.context is present
    assert service.ask().startswith(b"HTTP/1.1 200 OK")


def test_keys_of_a_group_are_used(service: Service, tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(service.file("ctl.key"), key)
    key.chmod(0o640)
    Tls(service.file("ctl.pem"), str(key), None)
