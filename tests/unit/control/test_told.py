"""A master of single switches: what the leader has told counts for their flows."""

from __future__ import annotations

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.share import Share, Told
from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.openflow.tables import Tables
from tests.unit.engines import samples
from tests.unit.engines.samples import CLIENT_EDGE, FEATURES, KEY, SERVER

FLOW = Binding(1, KEY, bytes((203, 0, 113, 9)), "dns", 1.0, SERVER, Half.BOTH)
LOST = Told(lost=frozenset((SERVER,)))


def master() -> Controller:
    """It has read a switch that has one flow."""
    made = samples.controller()
    made.be_told(Told())
    made.begin_reading(CLIENT_EDGE, Tables(), FEATURES, share=Share.FLOWS)
    while made.read_on(CLIENT_EDGE, 1.0) is not None:
        free(made)
    return made


def adopt(made: Controller) -> None:
    made.switches[CLIENT_EDGE].engine.edge.adopt(FLOW, 1.0)  # type: ignore[attr-defined]


def free(made: Controller) -> list[object]:
    """→ what is sent to the switch."""
    sent: list[object] = []
    while made.losses.is_busy():
        sent += made.tick_told(2.0).outbox.get(CLIENT_EDGE, ())
    return sent


def test_flows_leave_a_server_that_is_lost() -> None:
    made = master()
    adopt(made)
    made.end_reading(CLIENT_EDGE, {}, 1.0)
    assert not free(made)
    made.be_told(LOST)
    assert free(made)
    assert not made.switches[CLIENT_EDGE].engine.flows.pinned_to(SERVER)
    made.be_told(LOST._replace(announced=frozenset()))
    assert not made.losses.is_busy()  # nothing is examined again


def test_flows_of_a_switch_that_comes_later_leave_a_server_that_was_lost_before() -> None:
    made = master()
    made.be_told(LOST)
    free(made)
    adopt(made)
    made.end_reading(CLIENT_EDGE, {}, 1.0)
    assert free(made)
    assert not made.switches[CLIENT_EDGE].engine.flows.pinned_to(SERVER)
