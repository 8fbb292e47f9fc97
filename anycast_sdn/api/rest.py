"""The REST endpoint (M27): groups and servers over the registry, flows and edges over the controller.

The rules this file keeps:

- Success means stored and sent to the switches; PUT is idempotent, POST refuses what exists.
- The answer to any request is JSON: the resource or a problem (``problems``), never a traceback.
- What GET shows can be PUT back.  ``reading`` reads and checks requests.
- Nothing holds the hub for long: what may be large is put together in slices, and in ``pause`` other green threads run.

What is shown of the controller comes through the protocol ``Views``; the registry is used directly.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, Protocol
from urllib.parse import quote

from routes import Mapper
from webob import Request, Response

from anycast_sdn.api import access, reading
from anycast_sdn.api.answers import Turn, json_response
from anycast_sdn.api.flows import Flows, FlowViews
from anycast_sdn.api.problems import Problem, response_to
from anycast_sdn.api.reading import Reader, Shown
from anycast_sdn.api.tokens import Need
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
    text,
)
from anycast_sdn.description.model import Port

LOG = logging.getLogger(__name__)


class Views(FlowViews, Protocol):
    """What the controller shows; the dictionaries are ready for JSON."""

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


class RestApi:
    """The WSGI application.  ``pause`` gives up the hub for a moment."""

    def __init__(self, registry: Registry, views: Views, pause: Callable[[], None] = lambda: None) -> None:
        self._registry = registry
        self._views = views
        self._pause = pause
        flows = Flows(views, pause)
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
            "/v1/flows": {"GET": flows.list, "DELETE": flows.end},
            "/v1/flows/{edge}/{number}": {"GET": flows.get, "DELETE": flows.end_one},
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
            LOG.exception("REST: %s %s failed", request.method, quote(path))
            response = response_to(Problem(500, "the controller failed; its log has the reason"), quote(path))
        return response(environ, start_response)  # type: ignore[no-any-return]

    def _respond(self, request: Request, path: bytes) -> Response:
        decoded = path.decode("utf-8", "replace")
        # %2F would be a slash inside a name, and no name has one.
        unambiguous = "%2f" not in request.environ.get("RAW_PATH_INFO", "").lower()
        route = self._mapper.match(decoded) if decoded.isprintable() and unambiguous else None
        if route is None:
            access.check(request, Need.READ)
            raise Problem(404, f"no such resource; there are {', '.join(self._methods)}")
        resource = route.pop("resource")
        methods = self._methods[resource]
        need = access.need_of(resource, request.method)
        access.check(request, need, route.get("group", ""), route.get("address"))
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
        return json_response({"groups": [self._group_json(group, turn) for group in groups]}, turn)

    def _add_group(self, request: Request) -> Response:
        turn = Turn(self._pause)
        content = reading.content(
            request, {"name": reading.string} | _group_fields(turn), required=("name", "prefixes")
        )
        return self._stored_group(AnycastGroup(**content), turn, anew=True)

    def _get_group(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        return json_response(self._group_json(self._registry.group(group), turn), turn)

    def _put_group(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        content = self._group_content(request, group, turn, required=("prefixes",))
        return self._stored_group(AnycastGroup(group, **content), turn)

    def _patch_group(self, request: Request, group: str) -> Response:
        turn = Turn(self._pause)
        self._registry.group(group)
        changes = self._group_content(request, group, turn)
        changed = self._registry.change_group(group, lambda present: replace(present, **changes), turn.over)
        return json_response(self._group_json(changed, turn), turn)

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
        location = f"/v1/groups/{group.name}" if created else ""
        return json_response(self._group_json(group, turn), turn, location=location)

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
        return json_response({"servers": self._servers_json(self._registry.group(group), turn)}, turn)

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
        return json_response(self._server_json(group, server))

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
        return json_response(self._server_json(group, server), location=location)

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

    def _list_switches(self, request: Request) -> Response:
        turn, switches = Turn(self._pause), []
        for switch in self._views.switches(turn.over):
            switches.append(switch)
            turn.over()
        return json_response({"edges": switches}, turn)

    def _get_switch(self, request: Request, switch: str) -> Response:
        turn = Turn(self._pause)
        return json_response(self._views.switch(switch, turn.over), turn)

    def _get_topology(self, request: Request) -> Response:
        """``?without=``, which may be repeated: a switch, a link or a server to leave out of the topology."""
        _, values = reading.query(request, {"without": reading.part}, repeated=True)
        turn = Turn(self._pause)
        return json_response(self._views.topology([value for _, value in values], turn.over), turn)

    def _get_link(self, request: Request, end: str) -> Response:
        return json_response(self._views.link(_port(end)))

    def _patch_link(self, request: Request, end: str) -> Response:
        port = _port(end)
        shown = Shown(self._views.link(port), observed=_OBSERVED_OF_LINKS)
        cost = reading.content(request, {"cost": reading.cost}, required=("cost",), shown=shown)["cost"]
        return json_response(self._views.set_link_cost(port, cost))

    def _get_health(self, request: Request) -> Response:
        health = self._views.health()
        shown = health if access.caller(request).may(Need.READ) else {"status": health["status"]}
        return json_response(shown, status=200 if health["status"] == "ok" else 503)


def _port(end: str) -> Port:
    """The port in a path."""
    switch, _, number = end.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", number):
        raise NotFound(f"{end!a} is no port of a link; a port is written SWITCH:NUMBER")
    return Port(switch, int(number))


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
_WITH_PARAMETERS = {"/v1/flows", "/v1/topology"}
