"""What comes over REST, for table 7: requests to the application as ``server`` hands them over, with its answer whole.

A piece of work ends where the application lets other green threads run; the work after a change is done in pieces, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pieces import Held, Piece, Stopwatch
from webob import Request

from anycast_sdn.api.access import BY_LOOPBACK, CALLER
from anycast_sdn.api.rest import RestApi
from anycast_sdn.description.model import Port
from anycast_sdn.process.health_watch import HealthWatch
from anycast_sdn.process.rest_views import ControllerViews
from anycast_sdn.process.stalls import Gauge
from anycast_sdn.views.counters import Counters
from anycast_sdn.views.trends import Trends

if TYPE_CHECKING:
    from holds import Hub


LOOKS = (
    "/healthz",
    "/v1/edges",
    "/v1/edges/s0",
    "/v1/topology",
    "/v1/topology?group=wide",
    "/v1/topology?without=s0",
    "/v1/topology?without=10.1.0.10",
    "/v1/groups",
    "/v1/groups/wide",
    "/v1/groups/wide/servers",
)


class _App:
    """The parts of ``AnycastApp`` that the views use; no switch is connected."""

    binding_log = None

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.counters = Counters()
        self.trends = Trends(self.counters)
        self.controller = hub.controller
        self.health_watch = HealthWatch(
            hub.controller, self.counters, self.trends, self.states, lambda: None, self.cluster_state, str,
            lambda now: "", lambda event: None,
        )  # fmt: skip
        self.health = self.health_watch.health
        self.inspections = self.connections = self.bgp = self
        self.channels: dict[int, Any] = {}
        self.gauge = Gauge(lambda seconds: None, lambda event: None)

    def wait_until_fresh(self, switches: object) -> None:
        """No switch is asked."""

    def cluster_state(self) -> None:
        """The controller is alone."""

    def states(self) -> list[Any]:
        """There is no session of BGP."""
        return []

    views = states

    def set_cost(self, end: Port, cost: int) -> None:
        self._hub._take(self.controller.set_cost(end, cost, self._hub.now))


class _NoLeases:
    def lease_left_s(self, group: str, address: bytes) -> None:
        return None


class Asked:
    """The application over the controller of ``hub``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pieces: list[Piece] = []
        self._watch = Stopwatch()
        self._api = RestApi(hub.registry, ControllerViews(_App(hub)), _NoLeases(), self._pause)  # type: ignore[arg-type]

    def _pause(self) -> None:
        self._pieces.append(self._watch.piece())
        self._watch = Stopwatch()

    def ask(
        self, method: str, path: str, body: object = None, expected: int | None = 200, *, finish: bool = True
    ) -> tuple[Held, bytes]:
        """``expected``: the status, None for any; ``finish``: with all the work that follows."""
        request = Request.blank(path, method=method)
        request.environ[CALLER] = BY_LOOPBACK
        if body is not None:
            request.body = json.dumps(body).encode()
            request.content_type = "application/json"
        statuses: list[str] = []
        self._pieces, self._watch = [], Stopwatch()
        answer = b"".join(self._api(request.environ, lambda status, headers, exc_info=None: statuses.append(status)))
        self._pause()
        assert statuses[0].startswith(str(expected or "")), (method, path, statuses[0], answer[:200])
        pieces = self._pieces
        return Held([*pieces, *(self._hub._finish() if finish else ())]), answer

    def all_flows(self, query: str) -> Held:
        """By pages, as a client follows ``next``."""
        pieces: list[Piece] = []
        path: str | None = f"/v1/flows?limit=1000{query}"
        while path:
            held, answer = self.ask("GET", path)
            pieces += held.pieces
            path = json.loads(answer)["next"]
        return Held(pieces)


def requests(hub: Hub) -> Iterator[tuple[str, Held]]:
    scale, asked = hub.scale, Asked(hub)
    for path in LOOKS:
        # A link may have failed before, which the status of health shows.
        yield f"GET {path}", asked.ask("GET", path, expected=None if path == "/healthz" else 200)[0]
    yield f"GET of all {scale.bindings:,} flows", asked.all_flows("")
    yield "GET of flows, none is wanted", asked.all_flows(f"&client={quote('203.0.113.1')}")
    end = hub.network.links[3].a
    for path, status in (("/v1/topology/links/s0:1", 404), ("/v1/topology?without=none", 404)):
        yield f"GET {path}", asked.ask("GET", path, expected=status)[0]
    yield "PATCH of a link", asked.ask("PATCH", f"/v1/topology/links/{end}", {"cost": 59000})[0]
    yield from _changes(hub, asked)


def _changes(hub: Hub, asked: Asked) -> Iterator[tuple[str, Held]]:
    scale = hub.scale
    many = [f"198.128.{number >> 8}.{number & 255}/32" for number in range(scale.put + 1)]
    group = "/v1/groups/put"
    yield f"PUT of a group with {scale.put:,} prefixes", asked.ask("PUT", group, {"prefixes": many[:-1]}, 201)[0]
    yield "GET of it", asked.ask("GET", group)[0]
    yield "PUT of it again", asked.ask("PUT", group, {"prefixes": many[:-1]})[0]
    yield "PUT of it, one prefix more", asked.ask("PUT", group, {"prefixes": many})[0]
    yield "PUT of it, another last prefix", asked.ask("PUT", group, {"prefixes": [*many[:-1], "198.200.0.0/32"]})[0]
    overlapping = {"prefixes": [*many[:-1], "198.18.0.0/16"]}
    yield "PUT of it, with one that overlaps", asked.ask("PUT", group, overlapping, 409)[0]
    yield "DELETE of it", asked.ask("DELETE", group, expected=204)[0]
    yield "PUT of a small group", asked.ask("PUT", "/v1/groups/little", {"prefixes": ["198.200.0.0/32"]}, 201)[0]
    server = f"{group}/servers/10.2.200.10".replace("put", "little")
    yield "PUT of its server", asked.ask("PUT", server, {}, 201)[0]
    yield "PATCH of it", asked.ask("PATCH", server, {"weight": 7})[0]
    yield "DELETE of it", asked.ask("DELETE", server, expected=204)[0]
    common = "/v1/groups/g7/servers/10.1.0.10"
    yield f"DELETE of a server of {scale.groups:,} groups in one", asked.ask("DELETE", common, expected=204)[0]
    yield "and back", asked.ask("PUT", common, {}, 201)[0]


def last(hub: Hub) -> Iterator[tuple[str, Held]]:
    """Requests while much work for the switches is left."""
    asked = Asked(hub)
    many = [f"198.128.{number >> 8}.{number & 255}/32" for number in range(hub.scale.put)]
    body = {"prefixes": many}
    yield "PUT of the widest group, all prefixes are others", asked.ask("PUT", "/v1/groups/wide", body, finish=False)[0]
    yield "the switches that have not confirmed", hub.once(hub.controller.updating)
    yield "PUT of a small group then", asked.ask(
        "PUT", "/v1/groups/small", {"prefixes": ["198.200.0.1/32"]}, 201, finish=False)[0]  # fmt: skip
    for dpid in hub.controller.switches:
        hub.controller.disconnected(dpid, hub.now)
    yield "GET /healthz, all switches are gone", asked.ask("GET", "/healthz", expected=503, finish=False)[0]
