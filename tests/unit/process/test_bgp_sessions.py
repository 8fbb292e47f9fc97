"""What each member of a cluster advertises to routers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Prefix
from anycast_sdn.description import reading
from anycast_sdn.process import bgp_sessions
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.bgp_sessions import UNHEARD_S
from anycast_sdn.routing import bgp as routing
from tests.unit.process.notes import Board, BoardNotes
from tests.unit.process.test_cluster import ROOT, Member
from tests.unit.routing.test_bgp import Recorder

NEAR, FAR = Prefix.parse("203.0.113.0/24"), Prefix.parse("10.1.0.0/24")
NAMES = "m0", "m1"


class Conf(SimpleNamespace):
    """Instead of OS-Ken's settings of a session."""

    def set_rank(self, med: int | None, rank: int) -> None:
        self.rank = rank


class Controller(Member):
    def __init__(self, board: Board, name: str, file: Path) -> None:
        super().__init__()
        self.board, self.id = board, f"{name}-00000000"
        self.notes = BoardNotes(board, self.id)
        self.app = AnycastApp(reading.load(file), Groups(), self, notes=self.notes)
        self.bgp = self.app.bgp
        self.wanted: dict[str, frozenset[Prefix] | None] = {}
        self.app.controller.advertised = lambda uplink, now: self.wanted.get(uplink.name)  # type: ignore[method-assign]

    def leads(self) -> bool:
        return self.board.leader == self.id

    def term(self) -> int:
        return self.board.number

    def step(self, now: float = 0.0) -> None:
        self.notes.tell()
        self.bgp.exchange(now)
        self.app.succession.note()

    def said(self, uplink: str = "up1") -> tuple[set[str], int] | None:
        """What is advertised there, and this controller's rank; None: nothing is said to this router."""
        speaker = next((each for each in self.bgp.speakers if each.uplink.name == uplink), None)
        if speaker is None or not speaker.is_started:
            return None
        prefixes: set[str] = set()
        for prefix, withdrawn in speaker._core.advertised:
            (prefixes.discard if withdrawn else prefixes.add)(prefix)
        return prefixes, speaker._rank


class Pair:
    def __init__(self, file: Path) -> None:
        self.board = Board()
        self.first, self.second = (Controller(self.board, name, file) for name in NAMES)

    def lead(self, member: Controller) -> None:
        self.board.lead(member.id)
        for each in (self.first, self.second):
            each._changed([])

    def step(self, now: float = 0.0) -> None:
        for _ in range(2):
            self.first.step(now)
            self.second.step(now)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Pair:
    monkeypatch.setattr(routing, "Core", Recorder)
    monkeypatch.setattr("anycast_sdn.routing.bgp.Router.of", lambda settings: Conf(restarted=True))
    monkeypatch.setattr("anycast_sdn.routing.bgp.hub.spawn", lambda *arguments: None)
    tree = yaml.safe_load((ROOT / "topologies/legacy-core.yaml").read_text())
    for number, uplink in enumerate(tree["uplinks"]):
        uplink["bgp"].pop("communities", None)  # one is a number of base 60 to this parser
        if getattr(request, "param", True):
            uplink["bgp"]["members"] = [
                {"name": name, "local_address": f"198.51.100.{4 * number + 1}", "router_id": f"10.254.{number}.{index}",
                 "neighbour": f"198.51.{100 + index}.{4 * number + 2}"}
                for index, name in enumerate(NAMES)
            ]  # fmt: skip
    file = tmp_path / "network.yaml"
    file.write_text(yaml.safe_dump(tree))
    made = Pair(file)
    made.lead(made.first)
    return made


def test_all_members_advertise_what_the_leader_decides_and_routers_prefer_the_leader(pair: Pair) -> None:
    pair.first.wanted["up1"] = frozenset((NEAR, FAR))
    pair.step()
    assert pair.first.said() == ({str(NEAR), str(FAR)}, 0)
    assert pair.second.said() == ({str(NEAR), str(FAR)}, 2)
    pair.first.wanted["up1"] = frozenset((NEAR,))
    pair.step()
    assert pair.second.said() == ({str(NEAR)}, 2)
    assert pair.second.said("up2") is None


def test_a_take_over_withdraws_nothing_and_needs_no_session(pair: Pair) -> None:
    pair.first.wanted["up1"] = frozenset((NEAR, FAR))
    pair.step()
    pair.lead(pair.second)
    pair.second.wanted["up1"] = None  # its switches have not been read yet
    pair.step()
    assert pair.second.said() == ({str(NEAR), str(FAR)}, 2)
    assert pair.first.said() == ({str(NEAR), str(FAR)}, 1)
    pair.second.wanted["up1"] = frozenset((NEAR,))
    pair.step()
    assert pair.second.said() == ({str(NEAR)}, 0)
    assert pair.first.said() == ({str(NEAR)}, 1)
    (speaker,) = (each for each in pair.second.bgp.speakers if each.uplink.name == "up1")
    assert [each for each in speaker._core.advertised if each[1]] == [(str(FAR), True)]


def test_a_member_that_cannot_hear_etcd_any_more_withdraws_after_a_while(pair: Pair) -> None:
    pair.first.wanted["up1"] = frozenset((NEAR,))
    pair.step(0.0)
    pair.second.notes.is_current = False
    pair.step(UNHEARD_S - 1)
    assert pair.second.said() == ({str(NEAR)}, 2)
    pair.step(UNHEARD_S + 1)
    assert pair.second.said() == (set(), 2)
    assert pair.first.said() == ({str(NEAR)}, 0)
    pair.second.notes.is_current = True
    pair.step(UNHEARD_S + 2)
    assert pair.second.said() == ({str(NEAR)}, 2)


@pytest.mark.parametrize("pair", [False], indirect=True)
def test_without_members_in_the_network_file_only_the_leader_has_sessions(pair: Pair) -> None:
    pair.first.wanted["up1"] = pair.second.wanted["up1"] = frozenset((NEAR,))
    pair.step()
    assert pair.first.said() == ({str(NEAR)}, 0)
    assert pair.second.said() is None
    assert pair.second.bgp.states() == []
    pair.lead(pair.second)
    pair.step()
    assert pair.first.said() is None
    assert pair.second.said() == ({str(NEAR)}, 0)


def test_a_leader_without_a_session_somewhere_decides_what_others_advertise_there(pair: Pair) -> None:
    (own,) = (each for each in pair.first.bgp.speakers if each.uplink.name == "up1")
    pair.first.bgp.speakers.remove(own)
    pair.first.wanted["up1"] = frozenset((NEAR,))
    pair.step()
    assert pair.first.said() is None
    assert pair.second.said() == ({str(NEAR)}, 2)


def test_a_member_without_an_entry_has_no_session(pair: Pair) -> None:
    network = pair.first.app.controller.network
    assert bgp_sessions._of_member(network.uplinks[0], "m7-00000000") is None
    assert bgp_sessions._of_member(network.uplinks[0], "") is network.uplinks[0]
