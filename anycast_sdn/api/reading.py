"""What a request says, as values: its body, its query, and the readers of single members.

The rules this file keeps:

- What is not valid is refused with a ``Problem`` that gives the reason and names the member or parameter (``field``).
- A body is at most 64 KiB and is read only where one is expected; it must say ``application/json``,
  which also keeps web pages of other origins from posting here.
- A member that cannot be changed may be sent back, so that what GET shows can be PUT.  Another value is refused,
  because it would have no effect; members that change by themselves are ignored (``Shown.observed``).
- The registry checks names, addresses and numbers; here are only shapes and types.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from webob import Request

from anycast_sdn.api.problems import Problem
from anycast_sdn.core.model import Address, GroupValidity, NotFound, Prefix, packed, text
from anycast_sdn.description.model import MAX_COST
from anycast_sdn.views.flows import FLOW_STATES

MAX_BODY = 64 * 1024  # bytes
MAX_PARAMETERS = 100
MAX_PAGE = 1000  # flows

Known = TypeVar("Known")
Choice = TypeVar("Choice", bound=Enum)
Reader = Callable[[Any], Any]  # one value → what the code works with; ValueError carries the reason


@dataclass(frozen=True, slots=True)
class Shown:
    """A resource as GET shows it."""

    members: Mapping[str, Any]
    observed: Collection[str] = ()  # members that change by themselves, perhaps since the client has read them

    def check(self, name: str, given: Any) -> None:
        """Raises ValueError when the given value differs, and the member does not change by itself."""
        shown = self.members[name]
        if name not in self.observed and given != shown:
            raise ValueError(f"it cannot be changed here; it is {as_json(shown)}")


class Wrong(ValueError):
    """A value inside a member: ``where`` is the place in it, such as "[1]" or "[0].weight"."""

    def __init__(self, where: str, reason: object) -> None:
        super().__init__(reason)
        self.where = where


# ------------------------------------------------------------------------------ body


def content(
    request: Request,
    fields: Mapping[str, Reader],
    *,
    required: Collection[str] = (),
    shown: Shown | None = None,
) -> dict[str, Any]:
    """The body's members, each read by its reader in ``fields``.  Raises Problem.

    ``shown``: the resource as it is, of which all that is not in ``fields`` may be sent back.
    """
    body = _parsed(_body(request))
    if not isinstance(body, dict):
        raise Problem(422, f"the body must be an object with {listed(fields)}")
    for name in required:
        if name not in body:
            raise Problem(422, f'"{name}" is missing', field=name)
    try:
        return _members(body, fields, shown)
    except Wrong as error:
        raise Problem(422, f"{as_json(error.where)}: {error}", field=error.where) from error


def _members(given: Mapping[str, Any], fields: Mapping[str, Reader], shown: Shown | None) -> dict[str, Any]:
    """The members that ``fields`` reads.  Raises Wrong."""
    read = {}
    for name, value in given.items():
        try:
            if name in fields:
                read[name] = fields[name](value)
            elif shown is not None and name in shown.members:
                shown.check(name, value)
            else:
                raise ValueError(f"it is not known here; the body takes {listed(fields)}")
        except ValueError as error:
            raise Wrong(name + (error.where if isinstance(error, Wrong) else ""), error) from error
    return read


def _body(request: Request) -> bytes:
    declared = request.content_length or 0
    chunked = "transfer-encoding" in request.headers
    if declared <= 0 and not chunked:
        raise Problem(400, "a JSON body is needed")
    _check_media_type(request.headers.get("Content-Type", ""), request.headers.get("Content-Encoding", "identity"))
    too_large = Problem(413, f"the body may have {MAX_BODY} bytes at most")
    if declared > MAX_BODY:
        raise too_large
    try:
        body: bytes = request.environ["wsgi.input"].read(MAX_BODY + 1 if chunked else declared)
    except OSError as error:
        raise Problem(400, "the body did not arrive whole") from error
    if len(body) > MAX_BODY:
        raise too_large
    if len(body) < declared:
        raise Problem(400, f"the body ended after {len(body)} of {declared} bytes")
    return body


def _check_media_type(media_type: str, coding: str) -> None:
    """RFC 9110 §8.3.1: types, parameters' names and charsets are case-insensitive; RFC 8259 §8.1: JSON is UTF-8."""
    essence, *parameters = (part.strip() for part in media_type.split(";"))
    if essence.lower() != "application/json":
        raise Problem(415, "the body must be JSON and say so: Content-Type: application/json")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise Problem(415, f"JSON is UTF-8, not {as_json(value)}")
    if coding.strip().lower() not in ("", "identity"):
        raise Problem(415, f"the body must not be coded as {as_json(coding)}")


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


# ------------------------------------------------------------------------------ query


def query(
    request: Request, parameters: Mapping[str, Reader], *, repeated: bool = False
) -> tuple[list[tuple[str, str]], list[tuple[str, Any]]]:
    """→ (the parameters as given, the parameters read).  Raises Problem.

    ``repeated``: may one be given more than once?
    """
    try:
        pairs = parse_qsl(
            request.query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise Problem(400, f"the query cannot be read: {error}") from error
    values = []
    for name, value in pairs:
        if name not in parameters:
            known = f"there is {listed(parameters)}" if parameters else "there is none"
            raise Problem(400, f"{as_json(name)} is not a parameter here; {known}", field=name)
        try:
            values.append((name, parameters[name](value)))
        except ValueError as error:
            raise Problem(400, f'"{name}": {error}', field=name) from error
    names = [name for name, _ in pairs]
    if not repeated and (twice := next((name for name in names if names.count(name) > 1), None)):
        raise Problem(400, f'"{twice}" is given twice', field=twice)
    return pairs, values


# ------------------------------------------------------------------------------ single values


def address_in_path(value: str) -> Address:
    try:
        return packed(value)
    except ValueError as error:
        raise NotFound(f"{value!a} is not an IP address, so no server has it") from error


def string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{as_json(value)} is not a string")
    return value


def integer(value: Any) -> int:
    """586, 586.0 and 5.86e2 are the same number, in JSON (RFC 8259 §6) as anywhere."""
    if type(value) is float and math.isfinite(value) and value.is_integer():
        return int(value)
    if type(value) is not int:  # True is an int, too
        raise ValueError(f"{as_json(value)} is not a whole number")
    return value


def cost(value: Any) -> int:
    if not 1 <= integer(value) <= MAX_COST:
        raise ValueError(f"{value} is not from 1 to {MAX_COST}")
    return integer(value)


def address(value: Any) -> Address:
    return packed(string(value))


def this_address(wanted: Address) -> Reader:
    """Reads an address that must be this one, however it is written."""

    def read(value: Any) -> Address:
        if address(value) != wanted:
            raise ValueError(f"it cannot be changed here; it is {as_json(text(wanted))}")
        return wanted

    return read


def prefixes(value: Any, turn: Callable[[], None]) -> tuple[Prefix, ...]:
    """``turn`` is called after each one, because there may be thousands."""
    if not isinstance(value, list):
        raise ValueError(f'{as_json(value)} is not a list of prefixes such as ["198.18.0.1/32"]')
    read = []
    for index, item in enumerate(value):
        read.append(_item(index, item))
        turn()
    return tuple(read)


def unchanged_servers(
    group: str,
    enrolled: Callable[[], Mapping[Address, Known]],
    shown: Callable[[Known], Shown],
    turn: Callable[[], None],
) -> Reader:
    """Reads a group's servers, which must be as they are: they are changed one by one.

    ``enrolled``: the group's servers; ``turn``: as in ``prefixes``.
    """

    def read(value: Any) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{as_json(value)} is not a list of servers")
        known, given = enrolled(), set()
        for index, item in enumerate(value):
            given.add(_server_shown(index, item, known, shown))
            turn()
        if given != set(known) or len(value) > len(given):
            raise ValueError(f"they are enrolled and removed at /v1/groups/{group}/servers, not here")

    return read


def _server_shown(
    index: int, item: Any, known: Mapping[Address, Known], shown: Callable[[Known], Shown]
) -> Address:
    """→ the server's address.  Raises Wrong."""
    if not isinstance(item, dict) or "address" not in item:
        raise Wrong(f"[{index}]", f'{as_json(item)} is not a server with its "address"')
    try:
        found: Address = _members({"address": item["address"]}, {"address": address}, None)["address"]
        if found in known:
            _members(item, {"address": address}, shown(known[found]))
    except Wrong as error:
        raise Wrong(f"[{index}].{error.where}", error) from error
    return found


def _item(index: int, item: Any) -> Prefix:
    try:
        return Prefix.parse(string(item))
    except ValueError as error:
        raise Wrong(f"[{index}]", error) from error


def choice(kind: type[Choice], value: Any) -> Choice:
    """One of the values of an enumeration."""
    return kind(one_of([each.value for each in kind], value))


def validity(value: Any) -> GroupValidity:
    if not isinstance(value, dict):
        raise ValueError(f'{as_json(value)} is not an object such as {{"udp_s": 10}}')
    try:
        return GroupValidity(**_members(value, dict.fromkeys(GroupValidity._fields, integer), None))
    except Wrong as error:
        raise Wrong(f".{error.where}", error) from error


def flow_state(value: str) -> str:
    return one_of(FLOW_STATES, value)


def one_of(names: Collection[str], value: Any) -> str:
    if value not in names:
        raise ValueError(f"{as_json(value)} is none of {listed(names)}")
    return string(value)


def page_size(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_PAGE:
        raise ValueError(f"{as_json(value)} is not a number from 1 to {MAX_PAGE}")
    return int(value)


def part(value: str) -> str:
    """A part of the network, by name or address."""
    if "%" in value:
        raise ValueError(f"{as_json(value)} has a zone, which is valid on one machine only: leave it out")
    return value


# ------------------------------------------------------------------------------ words for answers


def as_json(value: Any) -> str:
    """The value, shortened for a sentence."""
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
