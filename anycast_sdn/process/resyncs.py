"""Resyncs: a switch that had no room for a wanted rule connects anew some time later, and gets all that is missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from anycast_sdn.openflow.channel import Channel

RESYNC_S, LONGEST_RESYNC_S = 10.0, 320.0  # until a switch that had no room for rules gets them again; doubles


class Resyncs:
    def __init__(
        self, connected: Callable[[int], Channel | None], later: Callable[[float, Callable[[], object]], object]
    ) -> None:
        """``connected``: the connection of a switch (by datapath id); ``later``: see ``Connections``."""
        self._connected = connected
        self._later = later
        self._to_resync: set[Channel] = set()  # switches that had no room for a rule
        self._pauses: dict[int, float] = {}  # datapath id → the latest pause before such rules were sent again

    def end(self, switch: Channel) -> None:
        """It has disconnected, or has another master."""
        self._to_resync.discard(switch)

    def resync_later(self, dpid: int) -> None:
        """The switch had no room for a wanted rule: some time later all missing rules are sent again."""
        switch = self._connected(dpid)
        if switch and switch not in self._to_resync:
            self._to_resync.add(switch)
            pause = self._pauses[dpid] = min(2 * self._pauses.get(dpid, RESYNC_S / 2), LONGEST_RESYNC_S)
            self._later(pause, partial(self._resync, switch))

    def _resync(self, switch: Channel) -> None:
        self._to_resync.discard(switch)
        if self._connected(switch.id) is switch:
            switch.close("it had no room for rules; connecting anew, to try again")
