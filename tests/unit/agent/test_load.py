"""Load as fractions: by counters that are given, and by this machine's own."""

from __future__ import annotations

import socket
import time

import psutil
import pytest

from anycast_sdn.agent.load import Counters, Meter, count_sessions, fractions, sessions

BEFORE = Counters(100.0, 50.0, 400.0, {"vda": 10.0, "vdb": 5.0}, {"eth0": (8000, 0)}, {"eth0": 1e6}, 0.25)


def after(**changes: object) -> Counters:
    changed = {"at": 110.0, "cpu_busy_s": 60.0, "cpu_all_s": 440.0} | changes
    return BEFORE._replace(**changed)  # type: ignore[arg-type]


def test_each_member_is_a_part_of_what_there_is() -> None:
    disks, links = {"vda": 12.0, "vdb": 14.0}, {"eth0": (1_008_000, 5_000_000)}
    load = fractions(BEFORE, after(disks_s=disks, links_bits=links, memory=0.7))
    assert load == {"cpu": 0.25, "memory": 0.7, "disk": 0.9, "network": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        {"disks_s": {"vda": 9000.0}},  # a counter that others have set
        {"cpu_busy_s": 9999.0},
        {"cpu_busy_s": -1.0},
        {"links_bits": {"eth0": (0, 10**15)}},
        {"links_bits": {"eth0": (0, 0)}, "disks_s": {"vda": 0.0}},  # counters that have begun anew
        {"at": 100.0, "cpu_all_s": 400.0},
        {"memory": -0.5},
    ],
)
def test_it_is_from_0_to_1_whatever_the_counters_say(changes: dict[str, object]) -> None:
    load = fractions(BEFORE, after(**changes))
    assert load
    assert all(0 <= value <= 1 for value in load.values())


def test_what_is_not_known_is_left_out() -> None:
    load = fractions(BEFORE, after(disks_s={"new": 5.0}, speeds={}))
    assert load.keys() == {"cpu", "memory"}


def test_this_machine_can_be_measured() -> None:
    meter = Meter(psutil, ["127.0.0.1"])
    assert meter.measure(0.0) == {}
    ends_at = time.monotonic() + 30
    while "cpu" not in (load := meter.measure(5.0)):  # the clock of processors has ticks of 10 ms
        assert time.monotonic() < ends_at
    assert {"cpu", "memory"} <= load.keys() <= {"cpu", "memory", "disk", "network"}
    assert 0 < load["memory"] < 1


TABLE = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0A02000A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1590 1 0
   1: 0A02000A:0050 0A01000A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1591 1 0
   2: 0A02000A:0050 0A01000A:9C41 06 00000000:00000000 00:00000000 00000000     0        0 1592 1 0
   3: 0A02000A:9C42 0A01000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 1593 1 0
   4: 0100007F:0050 0100007F:9C43 01 00000000:00000000 00:00000000 00000000     0        0 1594 1 0
   5: 00000000000000000000000001000000:0050 0DB80120000000000000000000000001:9C44 01 0:0 0:0 0 0 0 1595 1 0
"""


def test_sessions_are_established_connections_of_others_to_the_port() -> None:
    assert count_sessions(TABLE, 80) == 2
    assert count_sessions(TABLE, 8080) == 0


def test_a_check_of_this_machine_is_no_session() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert sessions(port) == 0
