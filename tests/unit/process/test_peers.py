"""Members of a cluster notice when the process of another one has ended, and take nothing else for that."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from anycast_sdn.api import member_client
from anycast_sdn.api.access import Access
from anycast_sdn.api.any_member import BetweenMembers
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.http1 import Head
from anycast_sdn.api.member_client import Elsewhere, MemberClient, NoAnswer, Request, Silent
from anycast_sdn.api.server import Server
from anycast_sdn.api.tokens import Tokens
from anycast_sdn.cluster.keys import LEADER, MEMBERS, MemberKey
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.etcd.client import EtcdError, Put, Tls
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.process import peers as module
from anycast_sdn.process.peers import SECRET, PeerOptions, Peers, _Lines, _tls, usual_place
from tests.unit.api.test_any_member import SECRET as SECRET_TEXT
from tests.unit.api.test_any_member import Known, Said
from tests.unit.api.test_server import start_thread
from tests.unit.certificates import Authority
from tests.unit.etcd.fake import FakeEtcd, Fault, catch_up

PREFIX = "/x/"
OTHER = "m1-2"
FILES = Tls(None, None, None)
REFUSED, TIMEOUT, ENDED = ConnectionRefusedError(), NoAnswer("timed out", unsure=False), NoAnswer("ended", unsure=False)
ANOTHER = Elsewhere("another member was at its address")


class Other:
    """A client of the other member: each attempt to follow it yields these lines, or raises that, or both."""

    def __init__(self, *attempts: list[bytes | Exception]) -> None:
        self.attempts = [*attempts]
        self.is_closed = False

    def lines(self, silent_s: float) -> Generator[bytes]:
        for each in self.attempts.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each

    def close(self) -> None:
        self.is_closed = True


class Network:
    """Two members in etcd, of which the first is ours."""

    def __init__(self) -> None:
        self.etcd = FakeEtcd()
        client = self.etcd.client()
        self.lease = client.grant(2)
        self.mirror = Mirror(client, PREFIX)
        catch_up(self.mirror)
        self.peers = Peers(PeerOptions(("127.0.0.1", 0), FILES), self.mirror, "m0-1")
        key = MemberKey("m1", "http://r", [], "http://127.0.0.1:9").text()
        leads = Put(PREFIX + LEADER, OTHER, self.lease)
        client.transact([], [Put(f"{PREFIX}{MEMBERS}{OTHER}", key, self.lease), leads])
        catch_up(self.mirror)

    def follow(self, monkeypatch: pytest.MonkeyPatch, *attempts: list[bytes | Exception]) -> None:
        """Until all attempts are over, or the member is gone."""
        other: Any = Other(*attempts)
        self.peers._clients[OTHER] = other

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            catch_up(self.mirror)
            if not other.attempts:
                self.peers._is_active = False

        self.slept: list[float] = []
        monkeypatch.setattr(module.hub, "sleep", sleep)
        self.peers._follow(OTHER, other)

    @property
    def is_there(self) -> bool:
        return self.lease in self.etcd.leases


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.peers.stop()
    network.peers._endpoint.close()


@pytest.mark.parametrize("certain", [REFUSED, ANOTHER])
def test_a_process_that_was_heard_and_is_refused_then_has_ended(
    network: Network, monkeypatch: pytest.MonkeyPatch, certain: Exception
) -> None:
    network.follow(monkeypatch, [b"\n", ENDED], [certain])
    assert not network.is_there
    assert network.peers.ended == {OTHER}
    assert OTHER not in network.peers.overview.members
    assert not network.peers.leader()
    assert network.slept[0] < 0.01


@pytest.mark.parametrize(
    "attempts",
    [
        ([b"\n", ENDED], [b"\n", ENDED]),  # the connection began anew
        ([b"\n", TIMEOUT], [TIMEOUT], [TIMEOUT]),  # frozen, or cut off
        ([REFUSED], [REFUSED]),  # never heard: its address may be another machine's
        ([ANOTHER],),
        ([ENDED], [REFUSED]),
    ],
)
def test_everybody_else_is_left_to_the_lease(
    network: Network, monkeypatch: pytest.MonkeyPatch, attempts: tuple[list[bytes | Exception], ...]
) -> None:
    network.follow(monkeypatch, *attempts)
    assert network.is_there
    assert not network.peers.reached


def test_it_is_tried_again_when_etcd_does_not_answer(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    network.mirror.etcd.fail(Fault.UNREACHABLE)  # type: ignore[attr-defined]
    network.follow(monkeypatch, [b"\n", ENDED], [REFUSED], [REFUSED])
    assert not network.is_there


def test_what_a_member_says_comes_to_those_who_listen_for_it(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, str]] = []

    def listener(id: str, text: str) -> None:
        heard.append((id, text))
        assert text != "2 x"

    network.peers.listen("flows", listener)
    lines = b"\n,flows 1\n,flows 2 x\n,others 3\n,flows 4\n,leaving \n".split(b",")
    network.follow(monkeypatch, [*lines, ENDED])
    assert heard == [(OTHER, "1"), (OTHER, "2 x"), (OTHER, "4")]
    assert "internal error with what member m1-2 says of flows" in caplog.text
    assert network.peers.left == {OTHER}


def test_who_begins_to_listen_is_greeted_and_then_told_all(network: Network) -> None:
    network.peers.greet("flows", lambda: ["a", "b"])
    stream = network.peers._stream()
    network.peers.publish("flows", "c")
    assert next(iter(stream)) == b"flows a\nflows b\nflows c\n"


def test_who_does_not_take_what_is_said_loses_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINES", 2)
    streams: set[_Lines] = set()
    stream = _Lines(streams, [])
    for line in (b"1\n", b"2\n", b"3\n"):
        stream.add(line)
    assert not streams
    assert list(stream) == [b"1\n2\n"]


def test_the_secret_is_made_once(network: Network) -> None:
    network.peers._make_secret()
    made = network.etcd.values[PREFIX + SECRET]
    network.peers._make_secret()  # the mirror has not seen it yet
    catch_up(network.mirror)
    network.peers._make_secret()
    assert network.etcd.values[PREFIX + SECRET] == made
    assert network.peers._secret == made.text


def test_who_is_missing_is_said(network: Network) -> None:
    assert network.peers.missing() == "m1 leads, but is not there"
    network.etcd.revoke(network.lease)
    catch_up(network.mirror)
    assert network.peers.missing() == "no member leads now; there are none"
    network.etcd.put(PREFIX + LEADER, "m0-1")
    catch_up(network.mirror)
    unsure = "this member leads by what etcd has, but is not sure of it: "
    assert network.peers.missing() == f"{unsure}etcd has not taken what it has written last"
    network.etcd.is_full = True
    with pytest.raises(EtcdError):
        network.mirror.etcd.transact([], [Put(f"{PREFIX}canary/m0-1", "1")])
    assert network.peers.missing() == f"{unsure}fake: etcdserver: mvcc: database space exceeded"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_cannot_use_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--peer"):
        Peers(PeerOptions((host, 0), FILES), Mirror(FakeEtcd().client(), PREFIX), "m0-1")


def test_others_are_told_the_address_at_which_they_reach_a_member_and_use_its_name(network: Network) -> None:
    options = PeerOptions(("0.0.0.0", 0), FILES, ("m0.example", 16654))
    peers = Peers(options, network.mirror, "m0-1")
    assert peers.url == "http://m0.example:16654"
    peers._endpoint.check_host(Head("GET", "/", "", "m0.example:16654", {}, True, 0), "172.17.0.2")
    peers._endpoint.close()
    with pytest.raises(ConfigurationError, match=r"--advertise-peer 0\.0\.0\.0"):
        Peers(options._replace(advertised=("0.0.0.0", 1)), network.mirror, "m0-1")


@pytest.mark.parametrize("silent", [False, True])
def test_nobody_waits_for_a_member_that_is_silent(
    network: Network, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(Other, "close", lambda self: closed.append(True))
    network.follow(monkeypatch, [b"\n", Silent("timed out", unsure=False) if silent else ENDED])
    assert bool(closed) is silent
    assert network.is_there


def test_without_tls_beyond_this_machine_there_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: Callable[..., Any] = module.endpoints.at_address
    monkeypatch.setattr(module.endpoints, "at_address", lambda place, *more: opened(("127.0.0.1", 0), *more))
    for host in ("127.0.0.1", "192.0.2.7"):
        caplog.clear()
        peers = Peers(PeerOptions((host, 0), FILES), Mirror(FakeEtcd().client(), PREFIX), "m0-1")
        assert ("is not encrypted" in caplog.text) == (host == "192.0.2.7")
        peers._endpoint.close()


def test_members_on_one_machine_listen_on_loopback_and_others_where_they_reach_etcd() -> None:
    assert usual_place(["http://127.0.0.1:2379", "http://[::1]:2379"]) == ("127.0.0.1", 0)
    host, port = usual_place(["http://127.0.0.1:2379", "http://192.0.2.1:2379"])
    assert (host, port) == ("127.0.0.1", 0) or (port == 6654 and not host.startswith("127."))


# ------------------------------------------------------------------------------ TLS


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"{}"]


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_members_show_each_other_certificates_of_etcds_ca(tmp_path: Path) -> None:
    """They need not name any host."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    authority.certify("one")
    stranger.certify("forged")
    one, other = (_tls(Tls(*(f"{tmp_path}/{file}" for file in files))) for files in (
        ("one.pem", "one.key", "ca.pem"), ("forged.pem", "forged.key", "stranger.pem"),
    ))  # fmt: skip
    assert one[0]
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    between = BetweenMembers(application, Known("m0-1", True), Said)
    access = Access(Tokens([module._entry(SECRET_TEXT)]))
    server = Server(between, [Endpoint(listener, Hosts("127.0.0.1"), one[0])], access, start_thread)
    server.start()
    asked = Request("GET", "/v1/groups", {member_client.CALLER: '["r", ["read"], []]'})
    assert MemberClient(url, "m0-1", SECRET_TEXT, one[1]).ask(asked).status == "200 OK"
    for context in (other[1], ssl.create_default_context(cafile=f"{tmp_path}/ca.pem")):
        with pytest.raises(NoAnswer):
            MemberClient(url, "m0-1", SECRET_TEXT, context).ask(asked)
    server.close()


def test_without_a_certificate_of_its_own_a_member_does_not_speak_tls() -> None:
    assert _tls(Tls(None, None, "ca.pem")) == (None, None)
