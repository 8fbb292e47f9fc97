"""SharedSwitches: what members of a cluster say to each other of switches that have other masters than the leader.

It joins the parts: what masters and the leader pass on to each other (``Sharing``), the leader's knowledge of flows
(``Mirroring``), codes of services (``SharedCodes``) and counters (``SharedCounters``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.mirroring import Mirroring
from anycast_sdn.process.shared_codes import SharedCodes
from anycast_sdn.process.shared_counters import SharedCounters
from anycast_sdn.process.sharing import Lines, Masters, Sharing
from anycast_sdn.views.counters import Counters

SHARING_S = 0.1
COUNTED_S = 0.5


class SharedSwitches:
    def __init__(
        self,
        controller: Controller,
        cluster: Masters,
        connections: Connections,
        counters: Counters,
        lines: Lines,
        react: Callable[[Outcome], None],
        listener: Any,
    ) -> None:
        """``listener``: see ``Sharing``."""
        self._controller = controller
        self._cluster = cluster
        self._connections = connections
        self.sharing = Sharing(controller, cluster, connections, lines, react, listener)
        self.mirroring = Mirroring(controller, cluster, self.sharing, connections.generation, lines, react)
        codes = SharedCodes(controller, cluster, self.sharing, lines)
        counted = SharedCounters(controller, counters, lines)
        self.when_it_begins_anew = self.sharing.begin_anew, self.mirroring.begin_anew, codes.begin_anew
        self.beats = (  # what is to be called every so many seconds
            (SHARING_S, self.sharing.beat),
            (SHARING_S, self.mirroring.beat),
            (SHARING_S, codes.beat),
            (COUNTED_S, counted.beat),
        )

    def served_by_others(self) -> Iterator[str]:
        """Client edges whose master, as the cluster has it, is another member, and not this one any more."""
        cluster = self._cluster
        for dpid, switch in self._controller.switches.items():
            master, channel = cluster.master(dpid), self._connections.channels.get(dpid)
            is_ours = master is None or master.member == cluster.member or (channel and channel.is_master)
            if switch.described.client_edge and not is_ours:
                yield switch.name
