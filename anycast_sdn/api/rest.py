"""The REST endpoint (M27): groups and servers over the registry, flows and edges over the controller.

The rules this file keeps:

- Success means stored and sent to the switches; PUT is idempotent, POST refuses what exists.
- The answer to any request is JSON: the resource or a problem (``problems``), never a traceback.
- What GET shows can be PUT back.  ``reading`` reads and checks requests.
- Nothing holds the hub for long: what may be large is put together in slices, and in ``pause`` other green threads run.

What is shown of the controller comes through the protocol ``Views``; the registry is used directly.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from routes import Mapper
from webob import Request, Response

from anycast_sdn.api import reading
from anycast_sdn.api.problems import Problem, response_to
from anycast_sdn.api.reading import Reader, Shown
from anycast_sdn.control.registry import AlreadyExists, Registry
from anycast_sdn.core.model import (
    Address,
    Affinity,
    AnycastGroup,
    ConfigurationError,
    NotFound,
    OnServerLoss,
    Server,
    ServerState,
    packed,
    text,
)
from anycast_sdn.description.model import Port
from anycast_sdn.views.flows import FlowFilter, FlowView, Place, flow_as_json

DEFAULT_PAGE = 100  # flows
LONGEST_TURN_S = 0.005  # after so long, work on an answer pauses
CHUNK = 1 << 18  # of an answer
AT_ONCE = 100  # items of a list that are written in one piece

log = logging.getLogger(__name__)


class Views(Protocol):
    """What the controller shows; the dictionaries are ready for JSON."""

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        """At most ``limit`` of the wanted flows behind a place, in order.

        → (flows, the place after which to go on, None at the end).  One call looks at a slice of all bindings,
        so it may find none although there are more.
        """

    def flow_summary(self) -> dict[str, Any]:
        """Totals over all flows, whatever the page and the filter."""

    def switches(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        """One dictionary for each switch.  The caller may pause between one and the next."""

    def switch(self, name: str, turn: Callable[[], None]) -> dict[str, Any]:
        """One of them.  Raises NotFound."""

    def topology(self, without: Sequence[str], turn: Callable[[], None]) -> dict[str, Any]:
        """The network, as it would be without these switches, links and servers.  Raises NotFound."""

    def link(self, end: Port) -> dict[str, Any]:
        """The link at this port.  Raises NotFound."""

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        """Changes the cost of the link at this port until the controller restarts → the link.

        Raises NotFound.
        """

    def health(self) -> dict[str, Any]:
        """``status`` is "ok" when everything is; anything else is answered with 503."""

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        """What is added to an enrolled server: ``edge``, ``reachable``, ``flows``."""


Handler = Callable[..., Response]  # (request, **path variables)


class Turn:
    """One request's work on the hub, with pauses in which other green threads run."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause
        self._began = time.monotonic()

    def over(self) -> None:
        """To be called wherever a pause does no harm: pauses if the work has taken longer than ``LONGEST_TURN_S``."""
        if time.monotonic() - self._began > LONGEST_TURN_S:
            self._pause()
            self._began = time.monotonic()


class RestApi:
    """The WSGI application.  ``pause`` gives up the hub for a moment."""

    def __init__(self, registry: Registry, views: Views, pause: Callable[[], None] = lambda: None) -> None:
        self._registry = registry
        self._views = views
        self._pause = pause
        group, server = "/v1/groups/{group}", "/v1/groups/{group}/servers/{address}"
        self._methods: dict[str, dict[str, Handler]] = {
            "/v1/groups": {"GET": self._list_groups, "POST": self._add_group},
            group: {
                "GET": self._get_group,
                "PUT": self._put_group,
                "PATCH": self._patch_group,
                "DELETE": self._delete_group,
            },
            f"{group}/servers": {"GET": self._list_servers, "POST": self._add_server},
            server: {
                "GET": self._get_server,
                "PUT": self._put_server,
                "PATCH": self._patch_server,
                "DELETE": self._delete_server,
            },
            "/v1/flows": {"GET": self._list_flows},
            "/v1/edges": {"GET": self._list_switches},
            "/v1/edges/{switch}": {"GET": self._get_switch},
            "/v1/topology": {"GET": self._get_topology},
            "/v1/topology/links/{end}": {"GET": self._get_link, "PATCH": self._patch_link},
            "/healthz": {"GET": self._get_health},
        }
        self._mapper = Mapper()
        for path in self._methods:
            self._mapper.connect(path, resource=path)
        self._mapper.create_regs([])

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        path = environ.get("PATH_INFO", "").encode("latin-1")  # PEP 3333: bytes decoded as Latin-1
        if path != b"/healthz":  # a short answer, and wanted most when the controller is busy
            self._pause()
        try:
            response = self._respond(request, path)
        except (Problem, ConfigurationError) as error:
            response = response_to(error, quote(path))
        except Exception:
            log.exception("REST: %s %s failed", request.method, quote(path))
            response = response_to(Problem(500, "the controller failed; its log has the reason"), quote(path))
        return response(environ, start_response)  # type: ignore[no-any-return]

    def _respond(self, request: Request, path: bytes) -> Response:
        decoded = path.decode("utf-8", "replace")
        # %2F would be a slash inside a name, and no name has one.
        unambiguous = "%2f" not in request.environ.get("RAW_PATH_INFO", "").lower()
        route = self._mapper.match(decoded) if decoded.isprintable() and unambiguous else None
        if route is None:
            raise Problem(404, f"no such resource; there are {', '.join(self._methods)}")
        resource = route.pop("resource")
        methods = self._methods[resource]
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join(["HEAD", *methods])
            raise Problem(405, f"this resource takes {allowed}", headers={"Allow": allowed})
        if resource not in _WITH_PARAMETERS:
            reading.query(request, {})
        return handler(request, **route)

    # -------------------------------------------------------------------------- groups

    def _list_groups(self, request: Request) -> Response:
        groups = sorted(self._registry.groups, key=attrgetter("name"))
        turn = Turn(self._pause)
        return _json({"groups": [self._group_json(group, turn) for group in groups]}, turn)

    def _add_group(self, request: Request) -> Response:
        turn = Turn(self._pause)
        content = reading.content(
            request, {"name": reading.string} | _group_fields(turn), required=("name", "prefixes")
        )
        return self._stored_group(AnycastGroup(**content), turn, anew=True)

    def _get_group(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        return _json(self._group_json(self._registry.group(group), turn), turn)

    def _put_group(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        content = self._group_content(request, group, turn, required=("prefixes",))
        return self._stored_group(AnycastGroup(group, **content), turn)

    def _patch_group(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        self._registry.group(group)
        changes = self._group_content(request, group, turn)
        changed = self._registry.change_group(group, lambda present: replace(present, **changes), turn.over)
        return _json(self._group_json(changed, turn), turn)

    def _delete_group(self, request: Request, group: str) -> Response:
        self._registry.delete_group(group, self._pause)
        return Response(status=204)

    def _group_content(
        self, request: Request, group: str, turn: Turn, required: Collection[str] = ()
    ) -> dict[str, Any]:
        """What the body says about a group that is named by the path."""

        def enrolled() -> Mapping[Address, Server]:
            present = self._registry.groups.get(group)
            return present.servers if present else {}

        servers = reading.unchanged_servers(
            group, enrolled, lambda server: self._shown_server(group, server), turn.over
        )
        fields = _group_fields(turn) | {"servers": servers}
        content = reading.content(request, fields, required=required, shown=Shown({"name": group}))
        content.pop("servers", None)
        return content

    def _stored_group(self, wanted: AnycastGroup, turn: Turn, anew: bool = False) -> Response:
        group, created = self._registry.put_group(wanted, turn.over, anew=anew)
        return _json(self._group_json(group, turn), turn, location=f"/v1/groups/{group.name}" if created else "")

    def _group_json(self, group: AnycastGroup, turn: Turn) -> dict[str, Any]:
        prefixes = []
        for prefix in group.prefixes:
            prefixes.append(str(prefix))
            turn.over()
        return {
            "name": group.name,
            "prefixes": prefixes,
            "affinity": group.affinity.value,
            "on_server_loss": group.on_server_loss.value,
            "validity": {member: s for member, s in group.validity._asdict().items() if s is not None},
            "servers": self._servers_json(group, turn),
        }

    # -------------------------------------------------------------------------- servers

    def _list_servers(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        return _json({"servers": self._servers_json(self._registry.group(group), turn)}, turn)

    def _add_server(self, request: Request, group: str) -> Response:
        fields = {"address": reading.address} | _SERVER_FIELDS
        server = Server(**reading.content(request, fields, required=("address",)))
        if server.address in self._registry.group(group).servers:
            raise AlreadyExists(
                f"{text(server.address)} is enrolled in group {group} already; use PUT or PATCH to change it"
            )
        return self._stored_server(group, server)

    def _get_server(self, request: Request, group: str, address: str) -> Response:
        server = self._registry.server(group, reading.address_in_path(address))
        return _json(self._server_json(group, server))

    def _put_server(self, request: Request, group: str, address: str) -> Response:
        server = Server(reading.address_in_path(address))
        return self._stored_server(group, replace(server, **self._server_content(request, group, server)))

    def _patch_server(self, request: Request, group: str, address: str) -> Response:
        wanted = reading.address_in_path(address)
        changes = self._server_content(request, group, Server(wanted))
        return self._stored_server(group, replace(self._registry.server(group, wanted), **changes))

    def _delete_server(self, request: Request, group: str, address: str) -> Response:
        self._registry.delete_server(group, reading.address_in_path(address))
        return Response(status=204)

    def _server_content(self, request: Request, group: str, server: Server) -> dict[str, Any]:
        """What the body says about a server that is named by the path."""
        fields = {"address": reading.this_address(server.address)} | _SERVER_FIELDS
        return reading.content(request, fields, shown=self._shown_server(group, server))

    def _stored_server(self, group: str, wanted: Server) -> Response:
        server, created = self._registry.put_server(group, wanted)
        location = f"/v1/groups/{group}/servers/{text(server.address)}" if created else ""
        return _json(self._server_json(group, server), location=location)

    def _servers_json(self, group: AnycastGroup, turn: Turn) -> list[dict[str, Any]]:
        shown = []
        for server in sorted(group.servers.values(), key=lambda server: (len(server.address), server.address)):
            shown.append(self._server_json(group.name, server))
            turn.over()
        return shown

    def _server_json(self, group: str, server: Server) -> dict[str, Any]:
        stored = {"address": text(server.address), "weight": server.weight, "state": server.state.value}
        return stored | self._views.server_status(group, server.address)

    def _shown_server(self, group: str, server: Server) -> Shown:
        return Shown(self._server_json(group, server), observed=_OBSERVED_OF_SERVERS)

    # -------------------------------------------------------------------------- what the controller shows

    def _list_flows(self, request: Request) -> Response:
        """One page in the order (edge, number): a page boundary holds while flows come and go."""
        given, values = reading.query(request, _FLOW_PARAMETERS)
        filters = dict(values)
        limit = filters.pop("limit", DEFAULT_PAGE)
        place: Place | None = filters.pop("cursor", ("", 0))
        wanted, turn = FlowFilter(**filters), Turn(self._pause)
        page: list[FlowView] = []
        flows: list[Written] = []  # as text at once: for so many objects the garbage collector would take its time
        while place is not None and len(page) <= limit:
            found, place = self._views.flows(wanted, place, limit + 1 - len(page))
            found_now = found[: limit - len(page)]
            page += found
            if found_now:
                flows.append(Written(json.dumps([flow_as_json(view) for view in found_now])[1:-1]))
            turn.over()
        more = urlencode(dict(given) | {"cursor": _cursor(page[limit - 1])}) if len(page) > limit else None
        shown = {
            "flows": Written(f"[{', '.join(flows)}]"),
            "next": f"/v1/flows?{more}" if more else None,
            "summary": self._views.flow_summary(),
        }
        return _json(shown, turn)

    def _list_switches(self, request: Request) -> Response:
        turn, switches = Turn(self._pause), []
        for switch in self._views.switches(turn.over):
            switches.append(switch)
            turn.over()
        return _json({"edges": switches}, turn)

    def _get_switch(self, request: Request, switch: str) -> Response:
        turn = Turn(self._pause)
        return _json(self._views.switch(switch, turn.over), turn)

    def _get_topology(self, request: Request) -> Response:
        """``?without=``, which may be repeated: a switch, a link or a server to leave out of the topology."""
        _, values = reading.query(request, {"without": reading.part}, repeated=True)
        turn = Turn(self._pause)
        return _json(self._views.topology([value for _, value in values], turn.over), turn)

    def _get_link(self, request: Request, end: str) -> Response:
        return _json(self._views.link(_port(end)))

    def _patch_link(self, request: Request, end: str) -> Response:
        port = _port(end)
        shown = Shown(self._views.link(port), observed=_OBSERVED_OF_LINKS)
        cost = reading.content(request, {"cost": reading.cost}, required=("cost",), shown=shown)["cost"]
        return _json(self._views.set_link_cost(port, cost))

    def _get_health(self, request: Request) -> Response:
        health = self._views.health()
        return _json(health, status=200 if health["status"] == "ok" else 503)


class Written(str):
    """A value that is JSON text already."""


def _json(body: dict[str, Any], turn: Turn | None = None, status: int = 200, location: str = "") -> Response:
    """A JSON response; with a location it is 201."""
    chunks, some, size = [], [], 0  # a large answer is never one piece
    for piece in _pieces(body, turn or Turn(lambda: None)):
        some.append(piece)
        size += len(piece)
        if size > CHUNK:
            chunks.append("".join(some).encode())
            some, size = [], 0
    chunks.append("".join([*some, "\n"]).encode())
    response = Response(status=201 if location else status, content_type="application/json", app_iter=chunks)
    response.content_length = sum(map(len, chunks))
    if location:
        response.location = location
    return response


def _pieces(value: Any, turn: Turn) -> Iterator[str]:
    """The value as JSON, a few items of its lists at a time."""
    if isinstance(value, Written):
        yield value
    elif isinstance(value, list):
        yield "["
        for start in range(0, len(value), AT_ONCE):
            yield ", " if start else ""
            yield from _few(value[start : start + AT_ONCE], turn)
            turn.over()
        yield "]"
    elif _holds_lists(value):
        for index, (name, item) in enumerate(value.items()):
            yield f"{', ' if index else '{'}{json.dumps(name)}: "
            yield from _pieces(item, turn)
            turn.over()
        yield "}"
    else:
        yield json.dumps(value)


def _few(items: list[Any], turn: Turn) -> Iterator[str]:
    if any(map(_holds_lists, items)):
        for index, item in enumerate(items):
            yield ", " if index else ""
            yield from _pieces(item, turn)
    else:
        yield json.dumps(items)[1:-1]


def _holds_lists(value: Any) -> bool:
    """Does it hold lists, or so many members that they are written in parts?"""
    if isinstance(value, dict) and len(value) > AT_ONCE:
        return True
    items = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(item, list | Written) for item in items)


def _port(end: str) -> Port:
    """The port in a path."""
    switch, _, number = end.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", number):
        raise NotFound(f"{end!a} is no port of a link; a port is written SWITCH:NUMBER")
    return Port(switch, int(number))


def _cursor(flow: FlowView) -> str:
    return base64.urlsafe_b64encode(f"{flow.number} {flow.edge}".encode()).decode()


def _place(cursor: str) -> Place:
    """The (edge, number) that ``_cursor`` packed."""
    try:
        number, edge = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ", 1)
        return edge, int(number)
    except ValueError as error:
        raise ValueError('it is not a cursor of an earlier answer\'s "next"') from error


def _group_fields(turn: Turn) -> dict[str, Reader]:
    """The members of a group that can be set."""
    return {
        "prefixes": partial(reading.prefixes, turn=turn.over),
        "affinity": partial(reading.choice, Affinity),
        "on_server_loss": partial(reading.choice, OnServerLoss),
        "validity": reading.validity,
    }


_SERVER_FIELDS: dict[str, Reader] = {"weight": reading.integer, "state": partial(reading.choice, ServerState)}
_OBSERVED_OF_SERVERS = frozenset({"reachable", "flows"})
_OBSERVED_OF_LINKS = frozenset({"up", "state", "confirmed", "failures", "cabled_instead"})
_FLOW_PARAMETERS: dict[str, Reader] = {
    "group": str,
    "edge": str,
    "client": packed,
    "server": packed,
    "state": reading.flow_state,
    "limit": reading.page_size,
    "cursor": _place,
}
_WITH_PARAMETERS = {"/v1/flows", "/v1/topology"}
