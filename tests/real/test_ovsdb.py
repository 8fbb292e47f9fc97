"""A database of an Open vSwitch is reached by TCP, TLS and a unix socket; here one that has no switch beside it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import until

from anycast_sdn.ovsdb.database import Database, OvsdbError, TlsFiles, use_tls
from anycast_sdn.ovsdb.zone_policies import DATABASE
from anycast_sdn.process.zone_timeouts import set_timeouts
from tests.unit.certificates import Authority

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
DPID = 0xA1
TIMEOUTS = {7: {"udp_first": 9, "icmp_first": 9, "icmp_reply": 9}}


class Places(NamedTuple):
    unix: str
    tcp: str
    tls: str


@contextmanager
def ends(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Of a database with one bridge."""
    directory = tmp_path_factory.mktemp("ovsdb")
    authority = Authority(directory)
    authority.certify("server")
    authority.certify("controller")
    Authority(directory, "stranger")
    tcp, tls, unix = free_port(), free_port(), f"unix:{directory}/db.sock"
    subprocess.run(["ovsdb-tool", "create", f"{directory}/conf.db", SCHEMA], check=True, timeout=30)
    server = subprocess.Popen(
        ["ovsdb-server", f"{directory}/conf.db", f"--remote=p{unix}", f"--remote=ptcp:{tcp}:127.0.0.1",
         f"--remote=pssl:{tls}:127.0.0.1", f"--private-key={directory}/server.key",
         f"--certificate={directory}/server.pem", f"--ca-cert={directory}/ca.pem", f"--unixctl={directory}/ctl",
         f"--log-file={directory}/log"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(ends(server))
        until(Path(directory / "db.sock").exists, "the database listens")
        for words in (
            ["init"],
            ["add-br", "b0", "--", "set", "bridge", "b0", "datapath_type=netdev", f'datapath_id="{DPID:016x}"'],
        ):
            command = ["ovs-vsctl", f"--db={unix}", "--no-wait", *words]
            subprocess.run(command, check=True, timeout=30, capture_output=True)
        use_tls(files(directory, "ca"))
        yield Places(unix, f"tcp:127.0.0.1:{tcp}", f"ssl:127.0.0.1:{tls}")


def files(directory: Path, ca: str) -> TlsFiles:
    return TlsFiles(f"{directory}/controller.key", f"{directory}/controller.pem", f"{directory}/{ca}.pem")


def test_it_is_reached_in_each_way(places: Places) -> None:
    changes = [set_timeouts(place, DPID, TIMEOUTS) for place in places]
    assert changes == [True, False, False]  # the first has set them


def test_what_does_not_work_is_an_error_in_words(places: Places) -> None:
    directory = Path(places.unix.removeprefix("unix:")).parent
    with pytest.raises(OvsdbError, match="has ended the connection"):
        set_timeouts(places.tls.replace("ssl", "tcp"), DPID, TIMEOUTS)
    with pytest.raises(OvsdbError, match="ssl:127"):
        set_timeouts(places.tcp.replace("tcp", "ssl"), DPID, TIMEOUTS)
    with Database(places.unix) as database, pytest.raises(OvsdbError, match="has refused a transaction: "):
        database.transact(DATABASE, [{"op": "select", "table": "Nothing", "where": []}])
    wait = {"op": "wait", "timeout": 0, "table": "Bridge", "where": [], "columns": ["name"], "until": "==", "rows": []}
    with Database(places.unix) as database, pytest.raises(OvsdbError, match="has refused a transaction: timed out"):
        database.transact(DATABASE, [wait])
    use_tls(files(directory, "stranger"))
    try:
        with pytest.raises(OvsdbError, match="ssl:127"):
            set_timeouts(places.tls, DPID, TIMEOUTS)
    finally:
        use_tls(files(directory, "ca"))


def test_one_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycast_sdn.ovsdb.database.DEADLINE_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for kind in ("tcp", "ssl"):
            with pytest.raises(OvsdbError, match="timed out"):
                set_timeouts(f"{kind}:127.0.0.1:{silent.getsockname()[1]}", DPID, TIMEOUTS)
