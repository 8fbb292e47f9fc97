"""TLS on the OpenFlow port of a controller that runs: who is let in, who is not, and what is said about it."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from anycast_sdn.core.events import Event
from anycast_sdn.description.model import Network
from anycast_sdn.description.reading import load
from anycast_sdn.process.switch_tls import OpenFlowOptions, SwitchTls
from anycast_sdn.trust.tls import TlsError
from tests.unit.certificates import Authority
from tests.unit.running import Controller
from tests.unit.switch_end import HELLO, features

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")

FIGURE1 = Path(__file__).parents[3] / "topologies" / "figure1.yaml"
ARH1 = 1  # its datapath id


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates"))
    for name in ("controller", "arh1", "ars2"):
        made.certify(name)
    made.expired("late")
    Authority(made.directory, "stranger").certify("forged")
    return made


def files(authority: Authority, name: str = "controller") -> tuple[str, str, str]:
    certificate, key, ca = (str(authority.directory / file) for file in (f"{name}.pem", f"{name}.key", "ca.pem"))
    return certificate, key, ca


@pytest.fixture(scope="module")
def controller(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    made = Controller(tmp_path_factory.mktemp("run"), ":memory:", "--openflow-tls", *files(authority))
    try:
        made.wait_until_ready()
        yield made
        assert "Traceback" not in made.log
    finally:
        made.process.terminate()
        made.process.wait(timeout=30)


def connect(controller: Controller) -> socket.socket:
    return socket.create_connection(controller.openflow, timeout=10)


def trust(authority: Authority, certificate: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(*files(authority, certificate)[:2])
    return context


def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def is_told(controller: Controller, reason: str) -> None:
    until(lambda: f"closed: {reason}" in controller.log, f"{reason}\n{controller.log}")


def is_served(controller: Controller, authority: Authority) -> None:
    """A switch with a good certificate is asked who it is, and then for more."""
    with trust(authority, "arh1").wrap_socket(connect(controller)) as switch:
        assert switch.recv(8)[1] == 0  # HELLO
        switch.sendall(HELLO)
        assert switch.recv(8)[1] == 5  # FEATURES_REQUEST
        switch.sendall(features(ARH1))
        assert switch.recv(8)[0] == 4


def test_a_switch_with_its_own_certificate_is_served(controller: Controller, authority: Authority) -> None:
    is_served(controller, authority)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("", "it shows no certificate"),
        ("late", "its certificate, or that of its CA, has expired"),
        ("forged", "its certificate is of another CA than those that are trusted here"),
    ],
    ids=["none", "expired", "another CA"],
)
def test_a_wrong_certificate_is_refused_with_the_reason(
    controller: Controller, authority: Authority, certificate: str, reason: str
) -> None:
    with connect(controller) as peer, suppress(OSError):
        secured = trust(authority, certificate).wrap_socket(peer)
        assert secured.recv(100) == b""
    is_told(controller, reason)
    is_served(controller, authority)


def test_a_switch_cannot_say_that_it_is_another_one(controller: Controller, authority: Authority) -> None:
    with trust(authority, "ars2").wrap_socket(connect(controller)) as switch:
        switch.sendall(HELLO + features(ARH1))
        while switch.recv(1000):
            pass
    is_told(
        controller,
        "it says that it is switch arh1 (datapath id 0000000000000001), and shows the certificate of ars2; in the "
        "network file, that of arh1 is arh1",
    )


def test_who_speaks_openflow_without_tls_is_told_so_in_openflow(controller: Controller, authority: Authority) -> None:
    with connect(controller) as switch:
        switch.sendall(HELLO)
        answer = switch.recv(1000)
    assert answer[:2] == b"\x04\x01"  # an error
    assert answer.endswith(b"this controller speaks TLS only")
    is_told(controller, "it does not speak TLS")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x40\x00" + bytes(1000)])
def test_a_handshake_that_does_not_end_is_ended_and_keeps_nobody_waiting(
    controller: Controller, authority: Authority, sent: bytes
) -> None:
    with connect(controller) as silent:
        silent.sendall(sent)
        is_served(controller, authority)
        with suppress(ConnectionError):
            while silent.recv(1000):
                pass
    if len(sent) < 100:  # otherwise OpenSSL finds what is wrong with it
        is_told(controller, "it has not finished the TLS handshake within 5 s")


def test_no_version_before_1_2_is_spoken(controller: Controller, authority: Authority) -> None:
    context = trust(authority, "arh1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with connect(controller) as peer, pytest.raises(OSError, match=r"PROTOCOL_VERSION|EOF|reset"):
        context.wrap_socket(peer)
    is_told(controller, "it does not speak TLS 1.2 or later")


def test_who_speaks_tls_to_a_controller_without_it_is_told_what_to_do(tmp_path: Path, authority: Authority) -> None:
    controller = Controller(tmp_path)
    try:
        controller.wait_until_ready()
        with connect(controller) as peer, suppress(OSError):
            trust(authority, "arh1").wrap_socket(peer)
        is_told(controller, "it speaks TLS, and this controller does not: run it with --openflow-tls")
    finally:
        controller.process.terminate()
        controller.process.wait(timeout=30)


# ------------------------------------------------------------------------------ files, and what is logged


@pytest.fixture
def network() -> Network:
    return load(FIGURE1)


def test_files_that_cannot_be_used_are_named_with_the_option(authority: Authority, network: Network) -> None:
    certificate, key, _ = files(authority)
    with pytest.raises(TlsError, match=r"arh1\.pem: is no certificate of the key in .*\(--openflow-tls\)"):
        SwitchTls(OpenFlowOptions(("127.0.0.1", 1), (files(authority, "arh1")[0], key, certificate)), network.switches)
    with pytest.raises(TlsError, match=r"gone: No such file or directory \(--openflow-tls\)"):
        SwitchTls(OpenFlowOptions(("127.0.0.1", 1), (certificate, key, "/gone")), network.switches)


def test_files_that_cannot_be_read_again_leave_tls_as_it_was(
    authority: Authority, network: Network, tmp_path: Path
) -> None:
    copies = [tmp_path / name for name in ("certificate", "key", "ca")]
    for file, copy in zip(files(authority), copies, strict=True):
        copy.write_bytes(Path(file).read_bytes())
        copy.chmod(0o600)
    tls = SwitchTls(OpenFlowOptions(("127.0.0.1", 1), [str(copy) for copy in copies]), network.switches)
    events: list[Event] = []
    tls.reload(events.append)
    copies[2].write_text("nonsense")
    tls.reload(events.append)
    assert [event.severity.name for event in events] == ["INFO", "CRITICAL"]
    assert "holds no certificates in PEM" in events[1].sentence()
    assert "goes on with what it had" in events[1].sentence()


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("192.0.2.1", True), ("::", True)],
)
def test_openflow_without_tls_warns_where_other_machines_can_connect(
    network: Network, caplog: pytest.LogCaptureFixture, host: str, warns: bool
) -> None:
    SwitchTls(OpenFlowOptions((host, 6653)), network.switches).report()
    assert ("whoever can connect can say that it is a switch" in caplog.text) is warns


def test_certificates_of_the_network_file_that_nothing_looks_at_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "figure1.yaml"
    file.write_text(FIGURE1.read_text().replace("{name: ars2, dpid: 2,", "{name: ars2, dpid: 2, certificate: host2,"))
    SwitchTls(OpenFlowOptions(("127.0.0.1", 6653)), load(file).switches).report()
    assert "the network file says certificate: of ars2" in caplog.text
