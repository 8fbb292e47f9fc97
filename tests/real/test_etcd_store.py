"""Enrolments in a real etcd: stored once, seen by other controllers, and there after whatever becomes of etcd."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from etcd_server import EtcdServer
from programs import ControllerProcess
from support import TOPOLOGIES, until

from anycast_sdn.cli import main
from anycast_sdn.core.model import AnycastGroup, Prefix, Server
from anycast_sdn.etcd.client import Etcd, EtcdError, Put, Tls
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.store.etcd import EtcdStore
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import DeleteGroup, DeleteServer, PutGroup, PutServer, Stored, StoreError
from tests.unit.certificates import Authority

PREFIX = "/anycast-sdn/test/"
WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),))
SERVERS = [Server((0x0A000000 + number).to_bytes(4, "big"), 7) for number in range(10_000)]
FIGURE1 = TOPOLOGIES / "figure1.yaml"


class Member:
    """A controller's store, whose mirror follows in a thread."""

    def __init__(self, url: str) -> None:
        self.mirror = Mirror(Etcd([url]), PREFIX)
        self.store = EtcdStore(self.mirror, "etcd")
        self.told: list[tuple[float, Stored]] = []
        self.store.watch(lambda stored: self.told.append((time.monotonic(), stored)))
        self._is_active = True

    def opened(self, *first: AnycastGroup) -> Member:
        self.at = self.store.open(first).version
        for run in (self.mirror.run, self._change_canary):
            threading.Thread(target=run, daemon=True).start()
        return self

    def servers(self) -> int:
        return sum(len(group.servers) for group in self.store.open().groups.values())

    def end(self) -> None:
        self._is_active = False
        self.mirror.stop()

    def _change_canary(self) -> None:
        while self._is_active:
            with suppress(EtcdError):
                self.mirror.etcd.transact((), [Put(f"{PREFIX}canary/x", str(time.monotonic()))])
            time.sleep(0.5)


class Controller(ControllerProcess):
    def _is_ready(self) -> bool:
        with suppress(OSError):
            return self.rest("GET", "/v1/groups").status == 200
        return False


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def members(etcd: EtcdServer) -> Iterator[Callable[[], Member]]:
    with ExitStack() as undo:

        def member() -> Member:
            made = Member(etcd.url)
            undo.callback(made.end)
            return made

        yield member


def test_ten_thousand_servers_are_stored_read_and_changed_as_one(members: Callable[[], Member]) -> None:
    began = time.monotonic()
    one = members().opened(replace(WEB, servers={server.address: server for server in SERVERS}))
    opened = time.monotonic()
    other = members().opened()
    print(f"10,000 servers: first enrolments {opened - began:.2f} s, read {time.monotonic() - opened:.2f} s")
    assert other.servers() == len(SERVERS)

    until(lambda: not other.mirror.problem, "it is watched")
    delays = []
    for number in range(50):
        began = time.monotonic()
        one.at = one.store.change(one.at, [PutServer("web", replace(SERVERS[number], weight=9))])
        at, stored = until(lambda: other.told and other.told.pop(), "the other one is told")
        assert stored.version == one.at
        delays.append((at - began) * 1000)
    print(f"a change is told to another controller after {sorted(delays)[25]:.1f} ms (half of them)")

    began = time.monotonic()
    one.at = one.store.change(one.at, [DeleteServer("web", server.address) for server in SERVERS[1000:]])
    print(f"9,000 servers removed as one in {time.monotonic() - began:.2f} s")
    until(lambda: other.told, "the other one is told")
    assert {len(stored.groups["web"].servers) for _, stored in other.told} == {1000}
    one.store.change(one.at, [DeleteGroup("web")])
    until(lambda: other.servers() == 0, "the other one is told")


def test_groups_that_are_too_large_for_one_request_of_etcd_are_put_in_parts(tmp_path: Path) -> None:
    prefixes = tuple(Prefix((0xC6000000 + number).to_bytes(4, "big"), 32) for number in range(1500))
    groups = [AnycastGroup(f"g{number}", prefixes) for number in range(80)]  # 1.8 MB in all
    with EtcdServer(tmp_path) as etcd, ExitStack() as undo:
        one = Member(etcd.url)
        undo.callback(one.end)
        one.opened(*groups)
        one.store.change(one.at, [PutGroup(replace(each, min_healthy=2)) for each in groups])
        other = Member(etcd.url)
        stored = other.store.open().groups
        assert {name: group.min_healthy for name, group in stored.items()} == {each.name: 2 for each in groups}


def test_it_goes_on_after_etcd_was_killed_and_after_it_was_rebuilt(
    etcd: EtcdServer, members: Callable[[], Member]
) -> None:
    one, other = members().opened(), members().opened()
    one.at = one.store.change(one.at, [PutGroup(WEB), PutServer("web", SERVERS[0])])
    until(lambda: other.servers() == 1, "the other one is told")

    etcd.stop()
    began = time.monotonic()
    with pytest.raises(StoreError, match=etcd.url):
        one.store.change(one.at, [PutServer("web", SERVERS[1])])
    assert time.monotonic() - began < 6
    until(lambda: one.store.problem, "it says so")
    etcd.start()
    until(lambda: not one.store.problem and not other.store.problem, "both go on")
    other.at = other.store.change(other.store.open().version, [PutServer("web", SERVERS[2])])
    until(lambda: one.servers() == 2, "the first one is told")

    etcd.stop()
    etcd.empty()
    etcd.start()
    until(lambda: not one.store.problem and not other.store.problem, "the enrolments are written back")
    assert members().opened().servers() == 2
    one.store.change(one.store.open().version, [PutServer("web", SERVERS[3])])
    until(lambda: other.servers() == 3, "the other one is told")


def test_what_etcd_has_forgotten_is_read_anew(etcd: EtcdServer, members: Callable[[], Member]) -> None:
    member = members()
    member.mirror.load()
    for number in range(3):
        revision = etcd.put(f"{PREFIX}x", str(number))
    for _ in range(2):  # as several members do
        member.mirror.etcd.compact(revision)
    member.mirror.follow()
    assert "compacted" in member.mirror.problem or "canceled" in member.mirror.problem
    member.mirror.load()
    assert member.mirror.values["x"].text == "2"


def test_a_controller_answers_503_while_etcd_is_away_and_does_not_join_with_another_network_file(
    etcd: EtcdServer, tmp_path: Path
) -> None:
    web = {"prefixes": ["198.18.0.1/32"]}
    with Controller(FIGURE1, tmp_path, ("--etcd", etcd.url)) as controller:
        until(lambda: controller.rest("PUT", "/v1/groups/web", web).status == 201, "it leads, and enrols")

        text = FIGURE1.read_text()
        (changed := tmp_path / "changed.yaml").write_text(text.replace("wait_ms: 500", "wait_ms: 400"))
        words = [sys.executable, "-m", "anycast_sdn", "run", str(changed), "--etcd", etcd.url]
        joining = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert (joining.returncode, "another one than that of the controllers in etcd: limits" in joining.stderr) == (
            1, True
        ), joining.stderr  # fmt: skip
        file, database = f"{tmp_path}/enrolments.json", f"{tmp_path}/other.sqlite"
        assert main.main(["store", "import", str(changed), file, "--etcd", etcd.url]) == 1
        assert main.main(["store", "export", str(FIGURE1), "--etcd", etcd.url, "--output", file]) == 0
        assert main.main(["store", "import", str(FIGURE1), file, "--database", database]) == 0
        store = SqliteStore(database)
        assert store.open().groups.keys() == {"web"}
        store.close()
        assert main.main(["store", "import", str(FIGURE1), file, "--etcd", etcd.url, "--replace"]) == 0

        etcd.stop()
        try:
            began = time.monotonic()
            answer = controller.rest("PUT", "/v1/groups/mail", {"prefixes": ["198.18.0.2/32"]})
            print(f"{answer.status} after {time.monotonic() - began:.2f} s: {answer.body}")
            assert (answer.status, "etcd" in answer.body["detail"]) == (503, True)
            assert time.monotonic() - began < 6
        finally:
            etcd.start()
        until(lambda: controller.rest("PUT", "/v1/groups/web", {**web, "min_healthy": 1}).status == 200, "it goes on")
        assert "Traceback" not in controller.log(), controller.log()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.certify("etcd", "IP:127.0.0.1")
    authority.certify("controller", "DNS:controller")
    shutil.copy(Authority(authority.directory, "other").directory / "other.pem", authority.directory / "wrong.pem")
    return authority


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[EtcdServer]:
    file = authority.directory
    context = ssl.create_default_context(cafile=file / "ca.pem")
    context.load_cert_chain(file / "controller.pem", file / "controller.key")
    options = ("--cert-file", f"{file}/etcd.pem", "--key-file", f"{file}/etcd.key",
               "--trusted-ca-file", f"{file}/ca.pem", "--client-cert-auth")  # fmt: skip
    with EtcdServer(file, *options, context=context) as server:
        yield server


class TestTls:
    def test_it_is_reached_with_certificates(self, secured: EtcdServer, authority: Authority) -> None:
        file = authority.directory
        tls = Tls(f"{file}/controller.pem", f"{file}/controller.key", f"{file}/ca.pem")
        client = Etcd([secured.url], tls)
        done = client.transact((), [Put("/x/a", "1")])
        assert client.below("/x/")[1]["/x/a"].text == "1"
        lease = client.grant(5)
        assert client.keep_alive(lease)
        client.revoke(lease)
        changes = client.watch("/x/", done.revision - 1, 5.0)
        assert next(changes).changes[0].key == "/x/a"

    def test_a_controller_keeps_its_lease_by_it(self, secured: EtcdServer, authority: Authority) -> None:
        """A thread of its own renews it, beside green ones."""
        file = authority.directory
        options = ["--etcd", secured.url, "--etcd-cert", f"{file}/controller.pem", "--etcd-key",
                   f"{file}/controller.key", "--etcd-ca", f"{file}/ca.pem"]  # fmt: skip
        with Controller(FIGURE1, file, options) as controller:
            put = {"prefixes": ["198.18.0.1/32"]}
            until(lambda: controller.rest("PUT", "/v1/groups/web", put).status == 201, "it leads, and enrols")
            leases = secured.ask("lease/leases")["leases"]
            time.sleep(3)  # longer than a lease
            assert secured.ask("lease/leases")["leases"] == leases
            assert "Traceback" not in controller.log(), controller.log()

    @pytest.mark.parametrize(
        ("scheme", "certificate", "ca", "reason"),
        [
            ("https", "", "ca", "--etcd-cert"),
            ("https", "controller", "other", "--etcd-ca"),
            ("http", "controller", "ca", "write https://"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, secured: EtcdServer, authority: Authority, scheme: str, certificate: str, ca: str, reason: str
    ) -> None:
        file = authority.directory
        own = f"{file}/{certificate}" if certificate else None
        tls = Tls(own and f"{own}.pem", own and f"{own}.key", f"{file}/{ca}.pem")
        with pytest.raises(EtcdError, match=reason):
            Etcd([secured.url.replace("https", scheme)], tls).below("/x/")

    def test_an_etcd_without_tls_is_said(self, etcd: EtcdServer, authority: Authority) -> None:
        with pytest.raises(EtcdError, match="write http://"):
            Etcd([etcd.url.replace("http", "https")], Tls(None, None, None)).below("/x/")
