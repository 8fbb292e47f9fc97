"""The REST endpoint (M27): from a request to the operation in the table of resources, and back to a response.

The rules this file keeps:

- The answer to any request but the dashboard's (``pages``) is JSON: the resource or a problem (``problems``), never a
  traceback.
- Nothing holds the hub for long: what may be large is put together in slices, and in ``pause`` other green threads run.

What is shown of the controller comes through the protocol ``Views``; the registry is used directly.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from webob import Request, Response

from anycast_sdn.api import access, pages, reading
from anycast_sdn.api.answers import Turn, written
from anycast_sdn.api.asked import Answer, Asked, Life, Operation, Views
from anycast_sdn.api.conditions import Condition
from anycast_sdn.api.problems import Problem, response_to
from anycast_sdn.api.resources import OPERATIONS, description
from anycast_sdn.api.server import PROBES
from anycast_sdn.api.tokens import Need
from anycast_sdn.cluster.steering import NoSteering, Steering
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.model import ConfigurationError

LOG = logging.getLogger(__name__)

_METHODS: dict[str, dict[str, Operation]] = {}  # by path
for _operation in OPERATIONS:
    _METHODS.setdefault(_operation.path, {})[_operation.method] = _operation
_PATHS = [(re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), path) for path in _METHODS]

FOUND = "anycast_sdn.found"  # in the WSGI environment: (method, path) of the operation that was asked for
PAGES, OTHER = "/ui", "other"  # in counts of answers: the dashboard, and what is no resource, or no method of one


class RestApi:
    """The WSGI application.  ``pause`` gives up the hub for a moment."""

    def __init__(
        self,
        registry: Registry,
        views: Views,
        life: Life,
        pause: Callable[[], None] = lambda: None,
        *,
        require_match: bool = False,
        steering: Steering | None = None,
    ) -> None:
        """``require_match``: groups and servers are changed only on the condition that they are as they were read."""
        self._registry = registry
        self._views = views
        self._life = life
        self._pause = pause
        self._require_match = require_match
        self._steering = steering or NoSteering()
        self._pages = pages.of_package()
        description()  # made once, here: it takes longer than a request may

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        path = environ.get("PATH_INFO", "").encode("latin-1")  # PEP 3333: bytes decoded as Latin-1
        if environ.get("PATH_INFO") not in PROBES:
            self._pause()
        try:
            if self._pages.has(environ.get("PATH_INFO", "")):
                return self._page(environ, start_response)
            response = self._respond(request, path)
        except (Problem, ConfigurationError) as error:
            response = response_to(error, quote(path))
        except Exception:
            LOG.exception("REST: %s %s failed", request.method, quote(path))
            response = response_to(Problem(500, "the controller failed; its log has the reason"), quote(path))
        method, resource = environ.get(FOUND, (OTHER, OTHER))
        self._views.note_answer(method, resource, response.status_code)
        return response(environ, start_response)  # type: ignore[no-any-return]

    def _page(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Of the dashboard.  What it has not, or is asked for by another method than it takes, raises Problem."""

        def start(status: str, headers: list[tuple[str, str]]) -> Any:
            self._views.note_answer(environ["REQUEST_METHOD"], PAGES, int(status[:3]))
            return start_response(status, headers)

        return self._pages(environ, start)

    def _respond(self, request: Request, path: bytes) -> Response:
        turn = Turn(self._pause)
        operation, given = _found(request, path)
        variables = [reading.in_path(name, value) for name, value in given.items()]
        query = reading.query(request, operation.query)
        condition = Condition(request, self._require_match and operation.conditional)
        if operation.method != "GET" and not operation.conditional:
            condition.check(lambda: "")  # it is there, and has no tag
        body = operation.body and reading.content(request, operation.body, turn.over, operation.needs_body)
        asked = Asked(self._registry, self._views, self._life, access.caller(request), turn, condition, body, query,
                      request.headers, self._steering)
        return _response(operation.handler(asked, *variables), turn)


def _found(request: Request, path: bytes) -> tuple[Operation, dict[str, str]]:
    """→ (what is asked for, the variables of its path).  Raises Problem, also when the sender may not do that."""
    decoded = path.decode("utf-8", "replace")
    # %2F would be a slash inside a name, and no name has one.
    unambiguous = decoded.isprintable() and "%2f" not in request.environ.get("RAW_PATH_INFO", "").lower()
    for pattern, resource in _PATHS if unambiguous else ():
        if match := pattern.fullmatch(decoded):
            methods, given = _METHODS[resource], match.groupdict()
            operation = methods.get("GET" if request.method == "HEAD" else request.method)
            needs = operation.needs if operation else Need.READ
            if operation:
                request.environ[FOUND] = operation.method, operation.path
            access.check(request, needs, given.get("group", ""), given.get("address"))
            if operation is None:
                allowed = ", ".join(["HEAD", *methods] if "GET" in methods else methods)
                raise Problem(405, f"this resource takes {allowed}", headers={"Allow": allowed})
            return operation, given
    access.check(request, Need.READ)
    raise Problem(404, f"no such resource; there are {', '.join(_METHODS)}")


def _response(answer: Answer, turn: Turn) -> Response:
    if answer.stream:
        fields = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy passes events on at once
        response = Response(content_type="text/event-stream", app_iter=answer.stream)
        response.headers.update(fields)
        return response
    if answer.text:
        media_type, pieces = answer.text
        response = Response(content_type=media_type, app_iter=pieces)
        response.content_length = sum(map(len, pieces))
        return response
    if answer.body is None:
        return Response(status=204)
    chunks = written(answer.body, turn)
    response = Response(status=answer.status, content_type="application/json", app_iter=chunks)
    response.content_length = sum(map(len, chunks))
    if answer.location:
        response.location = answer.location
    if answer.tag:
        response.headers["ETag"] = answer.tag
    return response
