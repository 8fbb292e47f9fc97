"""BgpSessions: carries routes between the controller and the BGP speakers of its uplinks."""

from __future__ import annotations

from collections.abc import Callable

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.process.faults import isolated
from anycast_sdn.routing.bgp import Speaker
from anycast_sdn.views.reasons import Session


class BgpSessions:
    """``react``: carries out what an event has led to (``AnycastApp``)."""

    def __init__(self, controller: Controller, cluster: Cluster, react: Callable[[Outcome], None]) -> None:
        self._controller = controller
        self._cluster = cluster
        self._react = react
        self.speakers = [Speaker(uplink) for uplink in controller.network.uplinks if uplink.bgp]

    def exchange(self, now: float) -> None:
        """Give learned routes to the controller, and prefixes to advertise to the speakers."""
        if self._cluster.leads():
            for speaker in self.speakers:
                self._exchange(speaker, now)

    @isolated
    def _exchange(self, speaker: Speaker, now: float) -> None:
        if events := speaker.pop_events():
            self._react(Outcome(events=events))
        if (routes := speaker.pop_changed()) is not None:
            self._react(self._controller.set_learned(speaker.uplink.name, routes, now))
        prefixes = self._controller.advertised(speaker.uplink, now)
        if prefixes is not None:
            speaker.announce(prefixes)
            speaker.start()

    def states(self) -> list[Session]:
        views = [speaker.view() for speaker in self.speakers]
        return [Session(view.uplink, view.neighbour, view.state, view.problem) for view in views]

    def views(self) -> list[dict[str, object]]:
        return [speaker.view()._asdict() for speaker in self.speakers]
