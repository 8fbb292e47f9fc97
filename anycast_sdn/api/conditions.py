"""Conditional requests (RFC 9110 §13): a change is made only if a group or a server is as its client has seen it.

An entity tag stands for what an operator has set, not for what changes by itself, such as health and flows.  Conditions
are checked where a change is decided, so that nothing can come between.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from webob import Request

from anycast_sdn.api.problems import Problem

_TAG = re.compile(r'(?:W/)?"[^"]*"')


def entity_tag(settings: Any) -> str:
    """``settings``: ready for JSON."""
    return f'"{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]}"'


class Condition:
    """What a request says of the resource.  ``required``: a change needs a condition."""

    def __init__(self, request: Request, required: bool) -> None:
        self._match = request.headers.get("If-Match")
        self._none_match = request.headers.get("If-None-Match")
        self._required = required

    def check(self, tag: Callable[[], str] | None) -> None:
        """``tag``: the entity tag of what there is; None: there is nothing.  Raises Problem."""
        if self._required and self._match is None and self._none_match is None and tag:
            raise Problem(428, "a change needs If-Match with the ETag that was read; the operator has set it so")
        if self._match is not None and not (tag and _has(self._match, tag)):
            raise Problem(412, "it is not, or no longer, as If-Match says: read it again")
        if self._none_match is not None and tag and _has(self._none_match, tag):
            raise Problem(412, "it is as If-None-Match says it must not be")


def _has(field: str, tag: Callable[[], str]) -> bool:
    """Is the tag among those in the header field?  Weak ones are none of ours.  Raises Problem.

    A condition that cannot be read is not met.
    """
    if field.strip() == "*":
        return True
    if _TAG.sub("", field).strip(" \t,") or not _TAG.search(field):
        raise Problem(412, 'a condition has entity tags in quotes, such as "33a64df5", or *')
    return tag() in _TAG.findall(field)
