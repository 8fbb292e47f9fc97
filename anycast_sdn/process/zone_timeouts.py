"""ZoneTimeouts: switches' connection trackers get the timeouts that the network file says, by OVSDB (M19).

What a switch's database holds is looked at when the switch has connected and from time to time, and put right.  That
waits for the database, so each look has a green thread of its own, and a switch no more than one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Event
from anycast_sdn.core.switch_events import SwitchConnected, SwitchDegraded, SwitchMastered, TimeoutsFailed, TimeoutsSet
from anycast_sdn.ovsdb import zone_policies
from anycast_sdn.ovsdb.database import Database, OvsdbError
from anycast_sdn.ovsdb.zone_policies import Timeouts, Unsuitable
from anycast_sdn.process.faults import isolated

LOOK_S = 60.0  # from one look at a database to the next
RETRY_S = 5.0  # after a failure

_NOT_CONFIGURED = (
    "has no ovsdb in the network file: idle flows end by the own timeouts of its connection tracker, and not as "
    "validity says"
)


class ZoneTimeouts:
    """``report``: takes an event; ``spawn``: calls a function in a green thread of its own."""

    def __init__(
        self,
        controller: Controller,
        cluster: Cluster,
        report: Callable[[Event], None],
        spawn: Callable[[Callable[[], object]], object],
    ) -> None:
        self._controller = controller
        self._cluster = cluster
        self._report = report
        self._spawn = spawn
        self._due: dict[int, float] = {}  # datapath id → when to look next; those that have been connected
        self._looking: set[int] = set()
        self._told: set[int] = set()  # of which it was said that no database is configured

    def note(self, event: Event) -> None:
        """A subscriber: a switch that has connected is looked at, before it has many connections."""
        if isinstance(event, SwitchMastered) and (switch := self._controller.switch(event.switch)):
            self._due[switch.dpid] = 0.0  # as soon as it has been read
        if isinstance(event, SwitchConnected) and (switch := self._controller.switch(event.switch)):
            self._due[switch.dpid] = 0.0
            self.look(time.monotonic())
            if not self._cluster.is_master(switch.dpid):
                return
            if switch.engine.zone_timeouts and not switch.described.ovsdb and switch.dpid not in self._told:
                self._told.add(switch.dpid)
                self._report(SwitchDegraded(switch.name, "timeouts", _NOT_CONFIGURED))

    def look(self, now: float) -> None:
        """Begin to look at the databases that are due.  To be called about twice a second."""
        for dpid, due in self._due.items():
            switch = self._controller.switches[dpid]
            if not (switch.engine.zone_timeouts and self._cluster.is_master(dpid)):
                switch.timeouts_problem = ""  # it is served by rules now, or another controller sees to it
            elif due <= now and dpid not in self._looking and self._may_look_at(switch):
                self._looking.add(dpid)
                self._spawn(partial(self._look_at, switch))

    def _may_look_at(self, switch: ManagedSwitch) -> bool:
        return bool(switch.described.ovsdb) and switch.decides_on_flows and self._cluster.is_master(switch.dpid)

    def _look_at(self, switch: ManagedSwitch) -> None:
        self._due[switch.dpid] = time.monotonic() + RETRY_S
        try:
            self._put_right(switch)
        finally:
            self._looking.discard(switch.dpid)

    @isolated
    def _put_right(self, switch: ManagedSwitch) -> None:
        wanted, before = switch.engine.zone_timeouts, switch.timeouts_problem
        place, problem, changed = switch.described.ovsdb, "", False
        try:
            changed = set_timeouts(place, switch.dpid, wanted)
            self._due[switch.dpid] = time.monotonic() + LOOK_S
        except Unsuitable as error:
            problem = f"{place}: {error}"
        except OvsdbError as error:
            problem = str(error)
        switch.timeouts_problem = problem
        if problem and problem != before:
            self._report(TimeoutsFailed(switch.name, problem))
        elif changed or (before and not problem):
            self._report(TimeoutsSet(switch.name, place, tuple(wanted)))


def set_timeouts(place: str, dpid: int, wanted: Mapping[int, Timeouts]) -> bool:
    """Give these zones their timeouts → was anything changed?  Raises OvsdbError or Unsuitable."""
    with Database(place) as database:
        found = zone_policies.read(database.transact(zone_policies.DATABASE, zone_policies.questions(dpid)))
        corrections = zone_policies.corrections(found, wanted)
        if corrections:
            database.transact(zone_policies.DATABASE, corrections)
        return bool(corrections)
