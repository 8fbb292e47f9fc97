"""Sweeping: a switch is asked for the counters of flows' rules; then those flows end that have been idle."""

from __future__ import annotations

import time
from collections.abc import Callable

from os_ken.lib import hub

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.engines.engine import Sweep
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.questions import SweepRun
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.process.faults import isolated

FLOWS_AT_ONCE = 256  # that end: some milliseconds


@isolated
def begin(controller: Controller, switch: Channel, sweep: Sweep, react: Callable[[Outcome], None]) -> None:
    @isolated
    def end_some() -> None:
        react(controller.end_some(switch.id, sweep, FLOWS_AT_ONCE, time.monotonic()))

    session = switch.session

    def end() -> None:
        while not sweep.is_over and switch.session == session:
            end_some()
            hub.sleep(0)

    def take(request: RulesRequest, counters: list[tuple[int, int]], asked: float) -> None:
        sweep.take(request, counters, asked, time.monotonic())

    SweepRun(switch, sweep.requests, take, end).proceed()
