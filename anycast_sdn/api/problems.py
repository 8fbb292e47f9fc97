"""Errors as application/problem+json (RFC 9457).

``type`` is ``about:blank`` where the status alone says it; otherwise a stable URN made from the name of
the error's class (``ServerInClientSubnet`` → ``urn:anycast-sdn:problem:server-in-client-subnet``), which
is what a program should compare: renaming such a class changes the API.  ``field`` names the member of the
body or the query parameter that is at fault, where one is.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

from webob import Response

from anycast_sdn.cluster.steering import CannotSteer, ClusterUnreachable
from anycast_sdn.control.registry import AlreadyExists, LimitReached
from anycast_sdn.core.model import ConfigurationError, NotFound
from anycast_sdn.description.enrolment import EnrolmentError, NoRoom, Overlap
from anycast_sdn.store.store import StoreError

URN = "urn:anycast-sdn:problem:"


class Problem(Exception):
    """A request that is answered with an error; ``detail`` is a sentence for its sender."""

    def __init__(
        self, status: int, detail: str, *, field: str = "", headers: dict[str, str] | None = None, slug: str = ""
    ) -> None:
        """``slug``: the end of its type's URN; "": its status alone says what it is."""
        super().__init__(detail)
        self.status = status
        self.field = field
        self.slug = slug
        self.headers = headers or {}


_STATUS: dict[type[ConfigurationError], int] = {
    NotFound: 404,
    AlreadyExists: 409,
    NoRoom: 409,
    Overlap: 409,
    LimitReached: 409,
    StoreError: 503,
    CannotSteer: 409,
    ClusterUnreachable: 503,
}


def types_by_status() -> dict[int, list[str]]:
    """The types of problems with a URN, by their slugs."""
    types = {kind: status for kind, status in _STATUS.items()} | dict.fromkeys(EnrolmentError.__subclasses__(), 422)
    found: dict[int, list[str]] = {}
    for kind, status in types.items():
        found.setdefault(_STATUS.get(kind, status), []).append(_slug(kind))
    return {status: sorted(set(slugs)) for status, slugs in found.items()}


def response_to(error: Problem | ConfigurationError, instance: str) -> Response:
    """The response for ``error``; ``instance`` is the path that was asked for."""
    if isinstance(error, Problem):
        return _response(error.status, str(error), instance, error.field, error.headers, error.slug)
    field = error.where if isinstance(error, EnrolmentError) else ""
    headers = {"Retry-After": "1"} if isinstance(error, ClusterUnreachable) else {}
    return _response(_STATUS.get(type(error), 422), str(error), instance, field, headers, _slug(type(error)))


def _slug(kind: type[ConfigurationError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def _response(
    status: int, detail: str, instance: str, field: str, headers: dict[str, str], slug: str
) -> Response:
    phrase = HTTPStatus(status).phrase
    body: dict[str, Any] = {
        "type": URN + slug if slug else "about:blank",
        "title": slug.replace("-", " ").capitalize() if slug else phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    } | ({"field": field} if field else {})
    response = Response(status=f"{status} {phrase}", content_type="application/problem+json")
    response.body = json.dumps(body).encode() + b"\n"
    response.headers.update(headers)
    return response
