"""REST over TLS: certificates, and peers that mean ill; the real curl and openssl, over loopback; no testbed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import wait_until
from rest_service import Service

from tests.unit.certificates import Authority

TLS = ("--rest-tls-cert", "ctl.pem", "--rest-tls-key", "ctl.key")
TRUST = ("--cacert", "ca.pem")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    authority = Authority(tmp_path)
    authority.certify("ctl", "DNS:ctl.example", "IP:127.0.0.1")
    authority.certify("web1", "DNS:web1.example")
    authority.certify("web2", "DNS:web2.example")
    authority.expired("late", "DNS:web1.example")
    Authority(tmp_path, "stranger").certify("forged", "DNS:web1.example")
    yield service
    service.stop()


@pytest.mark.row("M35", "REST over TLS, under the names of its certificate", on="loopback")
def test_rest_speaks_tls_under_the_names_of_its_certificate(service: Service) -> None:
    service.start(*TLS)
    assert service.curl("/v1/groups", *TRUST, scheme="https") == (200, {"groups": []})
    named = ("--resolve", f"ctl.example:{service.port}:127.0.0.1")
    assert service.curl(f"https://ctl.example:{service.port}/v1/groups", *TRUST, *named)[0] == 200
    other = ("-H", f"Host: evil.example:{service.port}")  # a name that the certificate does not have
    assert service.curl(f"https://ctl.example:{service.port}/v1/groups", *TRUST, *named, *other)[0] == 421
    status, problem = service.curl("/v1/groups")
    assert (status, problem["detail"]) == (400, "TLS is spoken here: use https")


@pytest.mark.row("M35", "clients with a certificate of the CA have the rights of its entry, others none", on="loopback")
def test_client_certificates_are_required_and_have_rights(service: Service) -> None:
    place = ("--database", "db.sqlite")
    service.command("token", "add", "web1", "--scope", "read", "--certificate", "web1.example", *place)
    writer = service.token("ci", "--scope", "admin")
    service.start(*TLS, "--rest-client-ca", "ca.pem")

    def asked(name: str, token: str = "") -> int:
        own = ("--cert", f"{name}.pem", "--key", f"{name}.key") if name else ()
        return service.curl("/v1/groups", *TRUST, *own, scheme="https", token=token)[0]

    assert asked("web1") == 200
    assert asked("web2") == 401  # of the CA, but nobody's entry
    assert asked("web2", writer) == 200
    for certificate in ("", "late", "forged"):
        assert asked(certificate) == 0  # no answer
        assert asked(certificate, writer) == 0
    ask = ("groups", "--rest", f"https://127.0.0.1:{service.port}", "--ca", "ca.pem")
    assert service.command(*ask, "--cert", "web1.pem", "--key", "web1.key") == "no groups\n"
    assert "it wants a certificate of ours" in service.command(*ask, status=1)
    service.command("token", "revoke", "web1", *place)
    service.reload()
    assert asked("web1") == 401


def test_certificates_are_read_again_and_bad_ones_change_nothing(service: Service) -> None:
    service.start(*TLS)
    subject = ["openssl", "s_client", "-connect", f"127.0.0.1:{service.port}", "-servername", "ctl.example"]

    def served() -> str:
        done = subprocess.run(subject, input="", capture_output=True, text=True, timeout=60)
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("subject="))
        return line.replace(" ", "")

    assert served() == "subject=CN=ctl"
    good = {name: (service.directory / name).read_bytes() for name in ("ctl.pem", "ctl.key")}
    (service.directory / "ctl.pem").write_text("nonsense")
    service.reload()
    assert "TLS goes on with what it had" in service.log()
    assert served() == "subject=CN=ctl"
    for name in good:
        (service.directory / name).write_bytes((service.directory / name.replace("ctl", "web1")).read_bytes())
    service.reload()
    assert served() == "subject=CN=web1"
    for version in ("-tls1", "-tls1_1"):
        words = [*subject, version, "-cipher", "ALL:@SECLEVEL=0"]
        old = subprocess.run(words, input="", capture_output=True, text=True, timeout=60)
        assert "Cipher is (NONE)" in old.stdout


@pytest.mark.row("M35", "200 peers that dribble or are silent in TLS handshakes keep nobody out", on="loopback")
def test_slow_handshakes_keep_nobody_out(service: Service) -> None:
    service.start(*TLS)
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        peers = []
        for number in range(200):
            peers.append(stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10)))
            if number % 2:
                peers[-1].sendall(b"\x16\x03\x01\x02\x00\x01")

        def dribble() -> None:
            while not stop.wait(0.2):
                for peer in peers[1::2]:
                    with contextlib.suppress(OSError):
                        peer.sendall(b"\x00")

        slow = threading.Thread(target=dribble)
        slow.start()
        try:
            for _ in range(5):
                assert service.curl("/v1/groups", *TRUST, scheme="https")[0] == 200
            wait_until(lambda: all(ended(peer) for peer in peers[::2]), "the silent ones were ended")
        finally:
            stop.set()
            slow.join()


def ended(peer: socket.socket) -> bool:
    peer.settimeout(0.001)
    try:
        return peer.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_what_is_wrong_on_the_command_line_is_said_at_start(service: Service) -> None:
    place = ("run", service.network, "--database", ":memory:", "--openflow", "127.0.0.1:1")
    for options, reason in (
        (("--rest", "https://127.0.0.1:2"), "needs a certificate: --rest-tls-cert and --rest-tls-key"),
        (("--rest-tls-key", "ctl.key"), "--rest-tls-key has no meaning without a certificate"),
        (("--rest-client-ca", "ca.pem"), "--rest-client-ca has no meaning without a certificate"),
        (("--rest-tls-cert", "ctl.pem", "--rest-tls-key", "web1.key"), "ctl.pem: is no certificate of the key in"),
        (("--rest-tls-cert", "absent.pem"), "absent.pem: No such file or directory"),
        (("--tokens", "absent"), "absent: No such file or directory; 'anycast-sdn token add' makes it"),
    ):
        assert reason in service.command(*place, *options, status=1)
    service.start()  # and it ends in order
