"""ControllerViews: what the REST API shows of a running controller, at the time of asking."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anycast_sdn.control.views import FlowFilter, FlowView, Place
from anycast_sdn.core.model import Address
from anycast_sdn.description.model import Port
from anycast_sdn.process.app import AnycastApp


class ControllerViews:
    """What the REST API shows, at the time of asking (``rest.Views``)."""

    def __init__(self, app: AnycastApp) -> None:
        self._app = app
        self._controller = app.controller

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        return self._controller.flows(wanted, after, limit, time.monotonic(), time.time())

    def flow_summary(self) -> dict[str, Any]:
        return self._controller.flow_summary(time.monotonic())

    def edges(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        self._app.inspections.fresh(self._app.connections.channels)
        return self._controller.edge_views(time.monotonic(), turn)

    def edge(self, name: str, turn: Callable[[], None]) -> dict[str, Any]:
        edges, channels = self._controller.edges, self._app.connections.channels
        here = {dpid: switch for dpid, switch in channels.items() if edges[dpid].switch.name == name}
        self._app.inspections.fresh(here)  # no other switch has to say anything
        return self._controller.edge_view(name, time.monotonic(), turn)

    def topology(self, without: Sequence[str], turn: Callable[[], None]) -> dict[str, Any]:
        return self._controller.topology(without, time.monotonic(), turn) | {"bgp": self._app.bgp.views()}

    def link(self, end: Port) -> dict[str, Any]:
        return self._controller.link_view(end, time.monotonic())

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        self._app.set_cost(end, cost)
        return self._controller.link_view(end, time.monotonic())

    def health(self) -> dict[str, Any]:
        now = time.monotonic()
        return self._app.health(now) | {"hub": self._app.gauge.stalls.view(now)}

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        return self._controller.server_status(address)
