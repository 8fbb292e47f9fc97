"""The REST endpoint (M27): groups and servers over the registry, flows and edges over the controller.

The rules this file keeps:

- Success means stored and sent to the switches; PUT is idempotent, POST refuses what exists.
- Whatever arrives, the answer is JSON: the resource or a problem (``problems``), never a traceback.
- A body is at most 64 KiB and is read only where one is expected; it must say ``application/json``,
  which also keeps web pages of other origins from posting here.
- Names, addresses and numbers are judged by the registry; here are only shapes and types.

What the controller has to offer is the protocol ``Views``; the registry is used as it is.
"""

from __future__ import annotations

import base64
import heapq
import json
import logging
import re
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from routes import Mapper
from webob import Request, Response

from anycast_sdn.api.problems import AlreadyExists, Problem, response_to
from anycast_sdn.control.registry import NotFound, Registry
from anycast_sdn.control.views import FLOW_STATES, FlowView, flow_as_json
from anycast_sdn.core.model import (
    MAX_COST,
    Address,
    AnycastGroup,
    ConfigurationError,
    Port,
    Prefix,
    Server,
    ServerState,
    packed,
    text,
)

MAX_BODY = 64 * 1024  # bytes
MAX_PAGE = 1000  # flows
DEFAULT_PAGE = 100

log = logging.getLogger(__name__)


class Views(Protocol):
    """What the controller shows; the dictionaries are ready for JSON."""

    def flows(self) -> Iterable[FlowView]:
        """Every binding, in any order."""

    def flow_summary(self) -> dict[str, Any]:
        """Totals over all flows, whatever the page and the filter."""

    def edges(self) -> list[dict[str, Any]]:
        """One dictionary per edge; its ``name`` is the edge's."""

    def topology(self, without: Sequence[str]) -> dict[str, Any]:
        """The network, as it would be without these switches, links and servers.  Raises NotFound."""

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        """Changes the cost of the link at this port until the controller restarts → the link.

        Raises NotFound.
        """

    def health(self) -> dict[str, Any]:
        """``status`` is "ok" when everything is; anything else is answered with 503."""

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        """What is added to an enrolled server: ``edge``, ``reachable``, ``flows``."""


Handler = Callable[..., Response]  # (request, **path variables)
Reader = Callable[[Any], Any]  # one value → what the code works with; ValueError carries the reason


class RestApi:
    """The WSGI application."""

    def __init__(self, registry: Registry, views: Views) -> None:
        self._registry = registry
        self._views = views
        group, server = "/v1/groups/{group}", "/v1/groups/{group}/servers/{address}"
        self._methods: dict[str, dict[str, Handler]] = {
            "/v1/groups": {"GET": self._list_groups, "POST": self._add_group},
            group: {"GET": self._get_group, "PUT": self._put_group, "DELETE": self._delete_group},
            f"{group}/servers": {"GET": self._list_servers, "POST": self._add_server},
            server: {
                "GET": self._get_server,
                "PUT": self._put_server,
                "PATCH": self._patch_server,
                "DELETE": self._delete_server,
            },
            "/v1/flows": {"GET": self._list_flows},
            "/v1/edges": {"GET": self._list_edges},
            "/v1/edges/{edge}": {"GET": self._get_edge},
            "/v1/topology": {"GET": self._get_topology},
            "/v1/topology/links/{end}": {"PATCH": self._patch_link},
            "/healthz": {"GET": self._get_health},
        }
        self._mapper = Mapper()
        for path in self._methods:
            self._mapper.connect(path, resource=path)
        self._mapper.create_regs([])

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        path = environ.get("PATH_INFO", "").encode("latin-1")  # PEP 3333: bytes dressed as text
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
        route = self._mapper.match(decoded) if decoded.isprintable() else None
        if route is None:
            raise Problem(404, f"there is no resource here; there are {', '.join(self._methods)}")
        methods = self._methods[route.pop("resource")]
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join(["HEAD", *methods])
            raise Problem(405, f"this resource takes {allowed}", {"Allow": allowed})
        return handler(request, **route)

    # -------------------------------------------------------------------------- groups

    def _list_groups(self, request: Request) -> Response:
        groups = sorted(self._registry.groups, key=attrgetter("name"))
        return _json({"groups": [self._group_json(group) for group in groups]})

    def _add_group(self, request: Request) -> Response:
        content = _content(request, {"name": _string, "prefixes": _prefixes}, required=("name", "prefixes"))
        if self._registry.groups.get(content["name"]):
            raise AlreadyExists(f"group {content['name']} exists already; use PUT to change it")
        return self._stored_group(**content)

    def _get_group(self, request: Request, group: str) -> Response:
        return _json(self._group_json(self._registry.group(group)))

    def _put_group(self, request: Request, group: str) -> Response:
        return self._stored_group(group, **_content(request, {"prefixes": _prefixes}, required=("prefixes",)))

    def _delete_group(self, request: Request, group: str) -> Response:
        self._registry.delete_group(group)
        return Response(status=204)

    def _stored_group(self, name: str, prefixes: list[Prefix]) -> Response:
        group, created = self._registry.put_group(name, prefixes)
        return _json(self._group_json(group), location=f"/v1/groups/{name}" if created else "")

    def _group_json(self, group: AnycastGroup) -> dict[str, Any]:
        prefixes = [str(prefix) for prefix in group.prefixes]
        return {"name": group.name, "prefixes": prefixes, "servers": self._servers_json(group)}

    # -------------------------------------------------------------------------- servers

    def _list_servers(self, request: Request, group: str) -> Response:
        return _json({"servers": self._servers_json(self._registry.group(group))})

    def _add_server(self, request: Request, group: str) -> Response:
        server = Server(**_content(request, {"address": _address} | _SERVER_FIELDS, required=("address",)))
        if server.address in self._registry.group(group).servers:
            raise AlreadyExists(
                f"{text(server.address)} is enrolled in group {group} already; use PUT or PATCH to change it"
            )
        return self._stored_server(group, server)

    def _get_server(self, request: Request, group: str, address: str) -> Response:
        server = self._registry.server(group, _address_in_path(address))
        return _json(self._server_json(group, server))

    def _put_server(self, request: Request, group: str, address: str) -> Response:
        server = Server(_address_in_path(address), **_content(request, _SERVER_FIELDS))
        return self._stored_server(group, server)

    def _patch_server(self, request: Request, group: str, address: str) -> Response:
        changes = _content(request, _SERVER_FIELDS)
        server = self._registry.server(group, _address_in_path(address))
        return self._stored_server(group, replace(server, **changes))

    def _delete_server(self, request: Request, group: str, address: str) -> Response:
        self._registry.delete_server(group, _address_in_path(address))
        return Response(status=204)

    def _stored_server(self, group: str, wanted: Server) -> Response:
        server, created = self._registry.put_server(group, wanted)
        location = f"/v1/groups/{group}/servers/{text(server.address)}" if created else ""
        return _json(self._server_json(group, server), location=location)

    def _servers_json(self, group: AnycastGroup) -> list[dict[str, Any]]:
        servers = sorted(group.servers.values(), key=lambda server: (len(server.address), server.address))
        return [self._server_json(group.name, server) for server in servers]

    def _server_json(self, group: str, server: Server) -> dict[str, Any]:
        stored = {"address": text(server.address), "weight": server.weight, "state": server.state.value}
        return stored | self._views.server_status(group, server.address)

    # -------------------------------------------------------------------------- what the controller shows

    def _list_flows(self, request: Request) -> Response:
        """One page in the order (edge, number): a page boundary holds while flows come and go."""
        given, query = _query(request, _FLOW_PARAMETERS)
        limit = query.pop("limit", DEFAULT_PAGE)
        after = query.pop("cursor", None)
        place = attrgetter("edge", "number")
        wanted = (
            flow
            for flow in self._views.flows()
            if (after is None or place(flow) > after)
            and all(getattr(flow, field) == value for field, value in query.items())
        )
        page = heapq.nsmallest(limit + 1, wanted, key=place)
        more = urlencode(given | {"cursor": _cursor(page[limit - 1])}) if len(page) > limit else None
        return _json(
            {
                "flows": [flow_as_json(flow) for flow in page[:limit]],
                "next": f"/v1/flows?{more}" if more else None,
                "summary": self._views.flow_summary(),
            }
        )

    def _list_edges(self, request: Request) -> Response:
        return _json({"edges": self._views.edges()})

    def _get_edge(self, request: Request, edge: str) -> Response:
        for candidate in self._views.edges():
            if candidate["name"] == edge:
                return _json(candidate)
        raise NotFound(f"there is no edge {edge!a}")

    def _get_topology(self, request: Request) -> Response:
        """``?without=``, which may be repeated: a switch, a link or a server to leave out of the picture."""
        try:
            pairs = parse_qsl(request.query_string, keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError as error:
            raise Problem(400, f"the query cannot be read: {error}") from error
        if others := {name for name, _ in pairs} - {"without"}:
            raise Problem(400, f"{_shown(min(others))} is not a parameter here; there is without")
        return _json(self._views.topology([value for _, value in pairs]))

    def _patch_link(self, request: Request, end: str) -> Response:
        cost = _content(request, {"cost": _cost}, required=("cost",))["cost"]
        switch, _, number = end.rpartition(":")
        if not re.fullmatch(r"[0-9]{1,5}", number):
            raise NotFound(f"{end!a} is no port of a link; a port is written SWITCH:NUMBER")
        return _json(self._views.set_link_cost(Port(switch, int(number)), cost))

    def _get_health(self, request: Request) -> Response:
        health = self._views.health()
        return _json(health, status=200 if health["status"] == "ok" else 503)


def _json(body: dict[str, Any], status: int = 200, location: str = "") -> Response:
    """A JSON response; with a location it is 201."""
    response = Response(status=201 if location else status, content_type="application/json")
    response.body = json.dumps(body).encode() + b"\n"
    if location:
        response.location = location
    return response


# ------------------------------------------------------------------------------ reading a request


def _content(
    request: Request, fields: Mapping[str, Reader], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The body's members, each read by its reader in ``fields``.  Raises Problem."""
    body = _parsed(_body(request))
    if not isinstance(body, dict):
        raise Problem(422, f"the body must be an object with {_listed(fields)}")
    for name in required:
        if name not in body:
            raise Problem(422, f'"{name}" is missing')
    content = {}
    for name, value in body.items():
        if name not in fields:
            raise Problem(422, f"{_shown(name)} is not known here; the body takes {_listed(fields)}")
        try:
            content[name] = fields[name](value)
        except ValueError as error:
            raise Problem(422, f'"{name}": {error}') from error
    return content


def _body(request: Request) -> bytes:
    declared = request.content_length or 0
    chunked = "transfer-encoding" in request.headers
    if declared <= 0 and not chunked:
        raise Problem(400, "a JSON body is needed")
    if request.content_type != "application/json":
        raise Problem(415, "the body must be JSON and say so: Content-Type: application/json")
    too_large = Problem(413, f"the body may have {MAX_BODY} bytes at most")
    if declared > MAX_BODY:
        raise too_large
    try:
        body: bytes = request.environ["wsgi.input"].read(MAX_BODY + 1 if chunked else declared)
    except (OSError, ValueError) as error:  # the connection, or the chunks' framing
        raise Problem(400, "the body did not arrive whole") from error
    if len(body) > MAX_BODY:
        raise too_large
    if len(body) < declared:
        raise Problem(400, f"the body ended after {len(body)} of {declared} bytes")
    return body


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except RecursionError as error:
        raise Problem(400, "the body is nested too deeply") from error
    except ValueError as error:  # also UnicodeDecodeError
        raise Problem(400, f"the body is not JSON: {error}") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _query(request: Request, parameters: Mapping[str, Reader]) -> tuple[dict[str, str], dict[str, Any]]:
    """→ (the parameters as given, the parameters read).  Raises Problem."""
    try:
        pairs = parse_qsl(request.query_string, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise Problem(400, f"the query cannot be read: {error}") from error
    given = dict(pairs)
    if len(given) < len(pairs):
        raise Problem(400, "a query parameter is given twice")
    values = {}
    for name, value in given.items():
        if name not in parameters:
            raise Problem(400, f"{_shown(name)} is not a parameter here; there are {_listed(parameters)}")
        try:
            values[name] = parameters[name](value)
        except ValueError as error:
            raise Problem(400, f'"{name}": {error}') from error
    return given, values


def _address_in_path(value: str) -> Address:
    try:
        return packed(value)
    except ValueError as error:
        raise NotFound(f"{value!a} is not an IP address, so no server has it") from error


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a string")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:  # True is an int, too
        raise ValueError(f"{_shown(value)} is not a whole number")
    return value


def _cost(value: Any) -> int:
    if not 1 <= _integer(value) <= MAX_COST:
        raise ValueError(f"{value} is not from 1 to {MAX_COST}")
    return _integer(value)


def _address(value: Any) -> Address:
    return packed(_string(value))


def _prefixes(value: Any) -> list[Prefix]:
    if not isinstance(value, list):
        raise ValueError(f'{_shown(value)} is not a list of prefixes such as ["198.18.0.1/32"]')
    return [Prefix.parse(_string(item)) for item in value]


def _server_state(value: Any) -> ServerState:
    return ServerState(_one_of([state.value for state in ServerState], value))


def _flow_state(value: str) -> str:
    return _one_of(FLOW_STATES, value)


def _one_of(names: Collection[str], value: Any) -> str:
    if value not in names:
        raise ValueError(f"{_shown(value)} is none of {_listed(names)}")
    return _string(value)


def _page_size(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_PAGE:
        raise ValueError(f"{_shown(value)} is not a number from 1 to {MAX_PAGE}")
    return int(value)


def _cursor(flow: FlowView) -> str:
    return base64.urlsafe_b64encode(f"{flow.number} {flow.edge}".encode()).decode()


def _place(cursor: str) -> tuple[str, int]:
    """The (edge, number) that ``_cursor`` packed."""
    try:
        number, edge = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ", 1)
        return edge, int(number)
    except ValueError as error:
        raise ValueError('it is not a cursor of an earlier answer\'s "next"') from error


_SERVER_FIELDS: dict[str, Reader] = {"weight": _integer, "state": _server_state}
_FLOW_PARAMETERS: dict[str, Reader] = {
    "group": str,
    "edge": str,
    "client": packed,
    "server": packed,
    "state": _flow_state,
    "limit": _page_size,
    "cursor": _place,
}


def _shown(value: Any) -> str:
    """The value as JSON, shortened for a sentence."""
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# ------------------------------------------------------------------------------ serving

MAX_CONNECTIONS = 256
KEEPALIVE_S = 15  # a connection may wait this long for its next request
SOCKET_TIMEOUT_S = 30  # and this long in the middle of one
MAX_REQUEST_LINE = 8192  # bytes; eventlet bounds the headers


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """Eventlet reports every request at INFO; that is DEBUG here."""

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


def serve(api: RestApi, address: tuple[str, int]) -> socket.socket:
    """Serve ``api`` from a green thread of its own.  → the listening socket; closing it ends the service.

    Raises ConfigurationError when the address cannot be had.
    """
    import eventlet
    import eventlet.wsgi

    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        # Without reuse_port=False a second controller would silently share the port.
        listener: socket.socket = eventlet.listen(address, family=family, reuse_port=False)
    except OSError as error:
        raise ConfigurationError(f"REST address {address[0]} port {address[1]}: {error.strerror}") from error
    run = partial(
        eventlet.wsgi.server,
        listener,
        api,
        log=_Quiet(log, {}),
        debug=False,
        keepalive=KEEPALIVE_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        max_size=MAX_CONNECTIONS,
        url_length_limit=MAX_REQUEST_LINE,
    )
    eventlet.spawn(run)
    return listener
