"""Examining: an operator wants a switch to be tried again, after its firmware was changed, for example."""

from __future__ import annotations

import time

from os_ken.lib import hub

from anycast_sdn.cluster.steering import CannotSteer
from anycast_sdn.control.controller import Controller
from anycast_sdn.core.model import NotFound
from anycast_sdn.process.connections import Connections

LONGEST_S = 60.0
STEP_S = 0.05


def examine(controller: Controller, connections: Connections, name: str) -> None:
    """Returns when it is over.  Its rules and links stay; new flows wait meanwhile.  Raises NotFound, CannotSteer."""
    managed = controller.switch(name)
    if managed is None:
        raise NotFound(f"there is no switch {name!a}")
    switch = connections.channels.get(managed.dpid)
    if switch is None:
        raise CannotSteer(f"switch {name} is not connected: it is tried when it connects")
    if not switch.is_master or switch.is_manager:
        raise CannotSteer(f"another member is the master of switch {name}: it alone can try anything there")
    connections.introduce_again(switch, forwards=True)
    deadline = time.monotonic() + LONGEST_S
    while not managed.synchronised:
        if connections.channels.get(managed.dpid) is not switch:
            raise CannotSteer(f"switch {name} has ended its connection meanwhile: {switch.reason}")
        if time.monotonic() > deadline:
            raise CannotSteer(f"switch {name} has not answered all within {LONGEST_S:.0f} s")
        hub.sleep(STEP_S)
