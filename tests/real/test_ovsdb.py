"""A database of an Open vSwitch is reached by TCP, TLS and a unix socket; here one that has no switch beside it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import until

from anycast_sdn.core.switch_events import TimeoutsFailed, TimeoutsSet
from anycast_sdn.ovsdb.database import Database, OvsdbError, TlsFiles, use_tls
from anycast_sdn.ovsdb.zone_policies import DATABASE
from anycast_sdn.process.zone_timeouts import set_timeouts
from tests.unit.certificates import Authority
from tests.unit.process.test_zone_timeouts import CONNECTED, WEST, Scene

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


def make(directory: Path) -> None:
    """A new database."""
    subprocess.run(["ovsdb-tool", "create", f"{directory}/conf.db", SCHEMA], check=True, timeout=30)


@contextmanager
def served(directory: Path, *options: str) -> Iterator[str]:
    """→ where the database is reached on this machine."""
    place = f"unix:{directory}/db.sock"
    server = subprocess.Popen(
        ["ovsdb-server", f"{directory}/conf.db", f"--remote=p{place}", *options, f"--unixctl={directory}/ctl",
         f"--log-file={directory}/log"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with ends(server):
        until(lambda: answers(place), "the database answers")
        yield place


def answers(place: str) -> bool:
    return subprocess.run(["ovsdb-client", "list-dbs", place], timeout=30, capture_output=True).returncode == 0


def add_bridge(place: str, dpid: int) -> None:
    for words in (["init"], ["add-br", "b0", "--", "set", "bridge", "b0", "datapath_type=netdev"]):
        command = ["ovs-vsctl", f"--db={place}", "--no-wait", *words]
        subprocess.run(command, check=True, timeout=30, capture_output=True)
    name_bridge(place, dpid)


def name_bridge(place: str, dpid: int) -> None:
    """As a switch does whenever it reaches its database, which keeps this in no file."""
    command = ["ovs-vsctl", f"--db={place}", "--no-wait", "set", "bridge", "b0", f'datapath_id="{dpid:016x}"']
    subprocess.run(command, check=True, timeout=30, capture_output=True)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Of a database with one bridge."""
    directory = tmp_path_factory.mktemp("ovsdb")
    authority = Authority(directory)
    authority.certify("server")
    authority.certify("controller")
    Authority(directory, "stranger")
    tcp, tls = free_port(), free_port()
    options = (
        f"--remote=ptcp:{tcp}:127.0.0.1", f"--remote=pssl:{tls}:127.0.0.1", f"--private-key={directory}/server.key",
        f"--certificate={directory}/server.pem", f"--ca-cert={directory}/ca.pem",
    )  # fmt: skip
    make(directory)
    with served(directory, *options) as unix:
        add_bridge(unix, DPID)
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


def test_one_that_goes_and_comes_back_while_the_controller_runs_is_told_of_and_put_right(tmp_path: Path) -> None:
    make(tmp_path)
    with served(tmp_path) as place:
        add_bridge(place, WEST)
        scene = Scene(place)
        scene.service.note(CONNECTED)
        zones = scene.controller.switches[WEST].engine.zone_timeouts
        assert not set_timeouts(place, WEST, zones), "they have been set"
    for _ in range(2):
        scene.look()
    assert "timeouts.failed" in scene.reasons()
    with served(tmp_path):
        scene.look()
        assert "timeouts.failed" in scene.reasons(), "the switch has not reached it yet"
        name_bridge(place, WEST)
        set_timeouts(place, WEST, dict.fromkeys(zones, TIMEOUTS[7]))  # somebody else
        scene.look()
        assert not set_timeouts(place, WEST, zones)
    assert [type(event) for event in scene.events] == [TimeoutsSet, TimeoutsFailed, TimeoutsFailed, TimeoutsSet]
    assert "timeouts.failed" not in scene.reasons()
