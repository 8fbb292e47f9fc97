"""The file that keeps flows in connection trackers: what was written is found, whatever has happened to the file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.kept_flows import KeptConnection, KeptFlow
from anycast_sdn.core.model import TCP, UDP, FlowKey, packed
from anycast_sdn.store import flow_file, flow_records
from anycast_sdn.store.flow_file import FlowFile

CLIENT, SERVICE, SERVER, PR1X = map(packed, ("10.1.0.10", "198.18.0.1", "10.2.0.10", "203.0.113.7"))
CLIENT_6, SERVICE_6, SERVER_6 = map(packed, ("2001:db8:1::10", "2001:db8:a::1", "2001:db8:2::10"))
FLOWS = [
    Binding(1, FlowKey(CLIENT, SERVICE, UDP, 40000, 53), PR1X, "web", 5.0, port=2),
    Binding(2, FlowKey(CLIENT, SERVICE, TCP, 40001, 80), PR1X, "web", 6.5, SERVER, port=2, translated_port=1024),
    Binding(3, FlowKey(CLIENT_6, SERVICE_6, UDP, 40000, 53), packed("2001:db8:1:f::7"), "web", 7.0, port=3),
    Binding(1 << 39, FlowKey(CLIENT_6, SERVICE_6, TCP, 1, 65535), packed("2001:db8:1:f::8"), "web", 8.0, SERVER_6),
]


def begun(path: Path, flows: list[Binding]) -> FlowFile:
    """A file of edges arh1 and arh2 with the flows of arh2."""
    file = FlowFile(path)
    file.begin(["arh1", "arh2"])
    file.carry(b"".join(flow_records.packed(1, flow, 1000.0) for flow in flows))
    file.take_over()
    return file


def kept(path: Path) -> list[KeptFlow]:
    return list(flow_file.read(path).by_edge.get("arh2", {}).values())


def test_flows_are_found_as_they_were_last(tmp_path: Path) -> None:
    file = begun(tmp_path / "f", FLOWS)
    pinned = FLOWS[0]._replace(server=SERVER)
    file.append(flow_records.packed(1, pinned, 1000.0) + flow_records.ended(1, 2) + flow_records.ended(1, 99))
    assert kept(tmp_path / "f") == [KeptFlow.of(flow, 1000.0) for flow in (pinned, *FLOWS[2:])]
    assert flow_file.read(tmp_path / "f").damage == ""
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_connections_are_those_of_their_flow_as_long_as_it_lives(tmp_path: Path) -> None:
    file = begun(tmp_path / "f", FLOWS[:2])
    first, second = KeptConnection(1, UDP, 40000, 53, False), KeptConnection(1, UDP, 40000, 54, True)
    for each in (first, second, first, KeptConnection(2, TCP, 1, 2, True), KeptConnection(9, TCP, 1, 2, True)):
        file.append(flow_records.begun(1, each))
    file.append(flow_records.packed(1, FLOWS[0]._replace(server=SERVER), 1000.0) + flow_records.ended(1, 2))
    file.append(flow_records.packed(1, FLOWS[1], 1000.0))
    found = [(flow.server, flow.connections) for flow in kept(tmp_path / "f")]
    assert found == [(SERVER, (first, second)), (SERVER, ())]
    other = FLOWS[0]._replace(key=FLOWS[1].key)
    file.append(flow_records.packed(1, other, 1000.0))
    assert kept(tmp_path / "f")[0].connections == ()


def test_there_is_nothing_where_there_is_no_file(tmp_path: Path) -> None:
    assert flow_file.read(tmp_path / "f") == flow_file.Flows({})


def test_what_happens_while_another_file_is_made_is_in_both(tmp_path: Path) -> None:
    file = begun(tmp_path / "f", FLOWS)
    file.begin(["arh1", "arh2"])
    file.append(flow_records.ended(1, 1))
    before = kept(tmp_path / "f")
    file.carry(b"".join(flow_records.packed(1, flow, 1000.0) for flow in FLOWS[1:3]))
    file.append(flow_records.ended(1, 2))
    file.take_over()
    assert [[flow.number for flow in flows] for flows in (before, kept(tmp_path / "f"))] == [[2, 3, 1 << 39], [3]]


def test_a_new_file_is_due_when_most_of_it_is_obsolete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_file, "MOST_OBSOLETE", 1000)
    file = begun(tmp_path / "f", FLOWS)
    appended = 0
    while not file.is_due:
        file.append(flow_records.ended(1, 7))
        appended += 1
    assert 30 < appended < 100


def test_a_frame_that_is_not_whole_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "f"
    file = begun(path, FLOWS)
    whole = path.stat().st_size
    file.append(flow_records.ended(1, 1))
    path.write_bytes(path.read_bytes()[:-1])
    assert len(kept(path)) == 4
    assert flow_file.read(path).damage == f"19 bytes after the first {whole} are not as they were written"


def test_whatever_is_in_the_file_reading_it_ends(tmp_path: Path) -> None:
    path, chance = tmp_path / "f", random.Random(1)
    begun(path, FLOWS)
    good = path.read_bytes()
    for _ in range(300):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        end = chance.choice([len(bad), chance.randrange(len(bad))])
        path.write_bytes(bad[:end])
        found = flow_file.read(path)
        assert found.damage or end < len(bad)
        assert set(found.by_edge.get("arh2", {})) <= {flow.number for flow in FLOWS}
    strange = [flow_records.framed(b"N", b"{}"), flow_records.framed(b"R", b"\x09"), flow_records.framed(b"?")]
    for content in (b"", b"N" * 50, *strange):
        path.write_bytes(content)
        assert flow_file.read(path).by_edge == {}
