"""What a switch does not say of its links means nothing while it does not answer its master, or that one is silent."""

from __future__ import annotations

import pytest

from anycast_sdn.openflow.echoes import OWED_S
from anycast_sdn.process.sharing import LATE_S
from anycast_sdn.process.sharing_lines import Held
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
