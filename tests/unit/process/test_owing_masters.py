"""What a switch does not say of its links means nothing while it does not answer its master, or that one is silent."""

from __future__ import annotations

import pytest

from anycast_sdn.cluster.view import Master
from anycast_sdn.openflow.echoes import OWED_S
from anycast_sdn.process.sharing import LATE_S
from anycast_sdn.process.sharing import OWED_S as OWED_FOR_S
from anycast_sdn.process.sharing_lines import Held
from tests.unit.engines import samples
from tests.unit.engines.samples import CLIENT_EDGE
from tests.unit.process.test_mirroring import GENERATION
from tests.unit.process.test_roles import ARH1, Controller, Switch
from tests.unit.process.test_telling import Two


@pytest.mark.parametrize(
    ("held", "silent_s", "owing"),
    [
        ({CLIENT_EDGE: Held(GENERATION, 1, None)}, 0.0, set()),
        ({CLIENT_EDGE: Held(GENERATION, 1, None, owes=True)}, 0.0, {"west"}),
        ({CLIENT_EDGE: Held(GENERATION, 1, None)}, 2 * LATE_S, {"west"}),
        ({}, 0.0, {"west"}),
    ],
)
def test_the_leader_knows_which_switches_do_not_answer_their_masters(
    held: dict[int, Held], silent_s: float, owing: set[str]
) -> None:
    leader = Two().leader
    leader.sharing._held["b"] = leader.now, held
    leader.now += silent_s
    assert leader.sharing.owing() == owing


def test_a_switch_that_does_not_answer_its_master_is_managed_no_more() -> None:
    """Before its servers are taken to be silent, and its rules to be missing."""
    leader = Two().leader
    leader.master = lambda dpid: Master("b", 1, GENERATION)  # type: ignore[attr-defined]
    said = (0.0, True, True), (OWED_FOR_S, True, False), (0.0, False, True), (0.0, True, True)
    for after_s, owes, is_managed in said:
        leader.now += after_s
        leader.sharing._held["b"] = leader.now, {CLIENT_EDGE: Held(GENERATION, 1, None, owes)}
        assert (leader.sharing._held_by(CLIENT_EDGE) is not None) is is_managed


def test_who_becomes_a_master_frees_no_flows_by_what_it_was_told_long_ago() -> None:
    two = Two()
    server = samples.SERVER
    two.leader.controller.losses._dead.add(server)
    two.tell()
    losses = two.master.controller.losses
    assert losses.is_lost("west", server)
    two.master.sharing.mastered()
    assert not losses.is_lost("west", server)
    two.leader.sharing._told = None  # it manages the switch
    two.tell()
    assert losses.is_lost("west", server)


def test_a_master_asks_whether_its_switches_answer() -> None:
    one = Controller()
    end = one.connect(Switch())
    one.work(end)
    connections = one.app.connections
    end.tick(0.0)
    end.answer()
    connections.ask([ARH1])
    assert not connections.owes(ARH1)
    end.tick(OWED_S)
    assert connections.owes(ARH1)
    end.answer()
    assert not connections.owes(ARH1)
