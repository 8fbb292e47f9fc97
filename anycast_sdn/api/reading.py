"""What a request says, validated by a model: its body, its query, and the variables of its path.

The rules this file keeps:

- What is not valid is refused with a ``Problem`` that gives the reason and names the member or parameter (``field``).
- A body is at most 64 KiB and is read only where one is expected; it must say ``application/json``,
  which also keeps web pages of other origins from posting here.
- A member that cannot be changed may be sent back, so that what GET shows can be PUT.  Another value is refused,
  because it would have no effect; members that change by themselves are ignored.
- What does not depend on what is enrolled is validated here, the rest by the registry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_origin
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError
from webob import Request

from anycast_sdn.api.members import members
from anycast_sdn.api.problems import Problem
from anycast_sdn.api.queries import InPath
from anycast_sdn.core.model import NotFound
from anycast_sdn.description.problems import reason
from anycast_sdn.description.section import Section, section_at
from anycast_sdn.description.text import step
from anycast_sdn.description.values import Unfit

MAX_BODY = 64 * 1024  # bytes
MAX_PARAMETERS = 100
MAX_MEMBERS = 100  # of an object
MAX_WHOLE = 10**18  # of numbers with a fraction or an exponent
AT_ONCE = 20  # items of a list that are validated in one piece
_OUT_OF_RANGE = {"too_short", "too_long", "greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_SUBJECTS = {"name": "group", "prefixes": "group", "validity": "validity", "weight": "weight"}  # others: "setting"

Model = TypeVar("Model", bound=Section)


# ------------------------------------------------------------------------------ body


def content(request: Request, model: type[Model], turn: Callable[[], None], needed: bool = True) -> Model | None:
    """The body; None: there is none, and none is ``needed``.  Raises Problem.

    ``turn`` is called between parts of long lists.
    """
    if not needed and not request.content_length and "transfer-encoding" not in request.headers:
        return None
    given = _parsed(_body(request))
    if not isinstance(given, dict):
        raise Problem(422, f"the body must be an object with {listed(model.model_fields)}")
    for name, value in given.items():
        if name not in model.model_fields:
            raise refusal(step("", name), _unknown(model))
        if isinstance(value, list) and len(value) > AT_ONCE:
            given[name] = _long(model, name, value, turn)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _refusal(model, error) from error


def _long(model: type[Section], name: str, value: list[Any], turn: Callable[[], None]) -> list[Any]:
    """A long list, validated in parts; ``model`` takes what is validated already as it is."""
    adapter, read = _adapter(model, name), list[Any]()
    if get_origin(model.model_fields[name].annotation) is not list:
        return value
    for start in range(0, len(value), AT_ONCE):
        try:
            read += adapter.validate_python(value[start : start + AT_ONCE])
        except ValidationError as error:
            raise _refusal(model, error, (name, start)) from error
        turn()
    return read


@lru_cache
def _adapter(model: type[Section], name: str) -> TypeAdapter[Any]:
    kind: Any = model.model_fields[name].annotation
    return TypeAdapter(kind)


def _refusal(model: type[Section], error: ValidationError, start: tuple[str, int] | None = None) -> Problem:
    """``start``: the name of a list, and the index of the first item that was validated."""
    first = min(error.errors(include_url=False), key=lambda error: error["type"] in _OUT_OF_RANGE)
    where = first["loc"]
    if start:
        where = (start[0], start[1] + int(where[0]), *where[1:])
    failure = first.get("ctx", {}).get("error")
    section, place = section_at(model, [*where, failure.key] if isinstance(failure, Unfit) else where)
    path = ""
    for part in place:
        path = step(path, part)
    if first["type"] == "missing":
        return Problem(422, f"{as_json(path)} is missing", field=path)
    if first["type"] == "extra_forbidden":
        return refusal(path, _unknown(section))
    if first["type"] not in _OUT_OF_RANGE:
        return refusal(path, _reason(first))
    subject = _SUBJECTS.get(str(where[0]), "setting")
    return Problem(422, f"{as_json(path)}: {_reason(first)}", field=path, slug=f"invalid-{subject}")


def _reason(error: Any) -> str:
    if error["type"] == "model_type":
        return f"{as_json(error['input'])} is not an object"
    return reason(error, as_json)


def _unknown(model: type[Section]) -> str:
    return f"it is not known here; there is {listed(model.model_fields)}"


def refusal(where: str, why: str) -> Problem:
    """``where``: the member at fault."""
    return Problem(422, f"{as_json(where)}: {why}", field=where)


def check_fixed(body: Section, shown: Mapping[str, Any], *, settings: bool = False, where: str = "") -> None:
    """Raises Problem when the body says something else of what is only shown.

    ``settings``: nor may it say something else of what can be set.  ``where``: the way to its members.
    """
    model = type(body)
    fixed = members(model, "readOnly") | (set(model.model_fields) if settings else set())
    names = (fixed - members(model, "x-observed")) & body.model_fields_set & shown.keys()
    for name, value in body.model_dump(mode="json", include=set(names), exclude_unset=True).items():
        if value != shown[name]:
            raise refusal(where + name, f"it cannot be changed here; it is {as_json(shown[name])}")


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
        return json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_number
        )
    except RecursionError as error:
        raise Problem(400, "the body is nested too deeply") from error
    except ValueError as error:  # also UnicodeDecodeError
        raise Problem(400, f"the body is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a member is given twice")
    if len(given) > MAX_MEMBERS:
        raise ValueError(f"an object has more than {MAX_MEMBERS} members")
    return given


def _number(written: str) -> int | float:
    """586.0 and 5.86e2 are the whole number 586, in JSON (RFC 8259 §6) as anywhere."""
    number = Decimal(written)
    is_whole = abs(number) < MAX_WHOLE and number == number.to_integral_value()
    return int(number) if is_whole else float(written)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


# ------------------------------------------------------------------------------ query, path


def query(request: Request, model: type[Model]) -> Model:
    """The parameters; one of which the model has a list may be given several times.  Raises Problem."""
    try:
        pairs = parse_qsl(
            request.query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise Problem(400, f"the query cannot be read: {error}") from error
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name not in model.model_fields:
            known = f"there is {listed(model.model_fields)}" if model.model_fields else "there is none"
            raise Problem(400, f"{as_json(name)} is not a parameter here; {known}", field=name)
        if get_origin(model.model_fields[name].annotation) is list:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Problem(400, f"{as_json(name)} is given twice", field=name)
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise Problem(400, f"{as_json(name)}: {_reason(first)}", field=name) from error


def in_path(name: str, value: str) -> Any:
    """A variable of the path.  Raises NotFound: what is not valid names nothing."""
    try:
        return _in_path(name).validate_python(value)
    except ValidationError as error:
        raise NotFound(_reason(error.errors(include_url=False)[0])) from error


@lru_cache
def _in_path(name: str) -> TypeAdapter[Any]:
    field = InPath.model_fields[name]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(kind)


# ------------------------------------------------------------------------------ words


def as_json(value: Any) -> str:
    """The value, shortened for a sentence."""
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
