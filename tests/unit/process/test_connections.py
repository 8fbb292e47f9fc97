"""Switches that become ready at the same moment."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple, cast

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.switch_events import SwitchConnected
from anycast_sdn.description import reading
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.ready_switches import Found

FIGURE1 = Path(__file__).parents[3] / "topologies" / "figure1.yaml"


class Peer(NamedTuple):
    """What is asked of the channel of a switch here."""

    id: int
    peer: str = "127.0.0.1:1"


def test_each_of_several_switches_that_are_ready_at_once_is_told_of() -> None:
    controller = Controller(reading.load(FIGURE1), Groups(), random.Random(1))
    told: list[Event] = []

    def react(out: Outcome) -> None:
        told.extend(out.events)
        connections.send(out.outbox)

    later: Any = None
    connections = Connections(controller, Alone(), react, lambda: None, later)
    for dpid in controller.switches:
        connections._comparing[cast(Channel, Peer(dpid))] = Found(0, False, False)
    connections.send({})
    connected = [event.switch for event in told if isinstance(event, SwitchConnected)]
    assert sorted(connected) == sorted(switch.name for switch in controller.network.switches)
