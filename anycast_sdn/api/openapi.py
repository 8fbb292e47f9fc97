"""The OpenAPI 3.1 description of the REST interface, made from the table of resources and its models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from anycast_sdn import __version__
from anycast_sdn.api.asked import Operation
from anycast_sdn.api.models import Group, Server
from anycast_sdn.api.queries import InPath
from anycast_sdn.api.shown import Problem
from anycast_sdn.api.tokens import Need
from anycast_sdn.description.section import Section

Schemas = Mapping[Any, dict[str, Any]]  # by (model, mode)

# What a problem of each status means.
PROBLEMS = {
    400: "The body is not JSON, a query parameter is unknown or impossible, or it is not HTTP/1.1 of one meaning",
    401: "A token is needed, or what was presented is none that is known",
    403: "The token does not allow this, or the request is a web page's of another origin",
    404: "There is no such resource",
    408: "The request did not arrive whole in time",
    409: "It exists already, overlaps with another one, there would be too many, or that cannot be done now",
    412: "It is not, or no longer, as If-Match or If-None-Match says; nothing was changed",
    413: "The body is larger than 64 KiB",
    414: "The request line is longer than 8 KiB",
    415: "The body is not JSON in UTF-8, or does not say so",
    421: "This controller does not listen as this host",
    422: "The body is JSON, but not what it has to be; nothing was changed",
    428: "The operator wants If-Match for changes (run --rest-require-if-match)",
    429: "Too many requests of this token or address; Retry-After says when to try again",
    431: "The header fields are longer than 32 KiB, or more than 100",
    503: "Enrolments cannot be written, too many requests are being answered, or no member of a cluster leads; nothing "
         "was changed, unless the detail says that this is not known",
}
_CONDITIONS = {
    "If-Match": "only if its ETag is one of these; *: only if there is one",
    "If-None-Match": "only if its ETag is none of these; *: only if there is none",
}
_LOCATIONS = {201: "what was created", 202: "the operation that has begun"}
_OF_ALL = frozenset({400, 401, 403, 408, 414, 421, 429, 431, 503})
_OF_BODIES = frozenset({409, 413, 415, 422})
_OF_WHAT_MAY_BE_MISSING = frozenset(("without", "translated"))  # members of queries


class _Generator(GenerateJsonSchema):
    """What is None by default may be left out; a member's name is its title."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


def description(operations: Sequence[Operation]) -> dict[str, Any]:
    bodies = [(each.body, "validation") for each in operations if each.body]
    queries = [(each.query, "validation") for each in operations]
    answers = [(model, "serialization") for each in operations for model in each.answers.values() if model]
    asked: Any = dict.fromkeys([*bodies, *queries, *answers, (InPath, "validation"), (Problem, "serialization")])
    schemas, definitions = models_json_schema(
        list(asked), schema_generator=_Generator, ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        resource = paths.setdefault(operation.path, {})
        resource[operation.method.lower()] = _operation(operation, schemas, definitions["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "anycast-sdn",
            "version": __version__,
            "description": "Enrol servers in anycast groups, and see what the controller does.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "responses": {
                str(status): {"description": meaning, "content": _problem(schemas)}
                for status, meaning in PROBLEMS.items()
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, schemas: Schemas, definitions: Mapping[str, Any]) -> dict[str, Any]:
    needs = operation.needs
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "parameters": list(_parameters(operation, schemas, definitions)),
        "responses": _responses(operation, schemas),
        # Without a file of tokens, clients on the controller's own machine need none.
        "security": [{}] if needs is Need.NOTHING else [{"token": [needs.value]}, {}],
    }
    if operation.body:
        body = _json(schemas[operation.body, "validation"])
        described["requestBody"] = {"required": operation.needs_body, "content": body}
    return described


def _json(schema: Mapping[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _parameters(operation: Operation, schemas: Schemas, definitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    places: list[tuple[str, type[Section], Iterable[str]]] = [
        ("path", InPath, re.findall(r"{(\w+)}", operation.path)),
        ("query", operation.query, operation.query.model_fields),
    ]
    for place, model, names in places:
        members = definitions[schemas[model, "validation"]["$ref"].rpartition("/")[2]].get("properties", {})
        for name in names:
            schema = dict(members[name])
            said = schema.pop("description", "")
            required = place == "path" or model.model_fields[name].is_required()
            yield {"name": name, "in": place, "required": required, "description": said, "schema": schema}
    for name, meaning in _CONDITIONS.items() if operation.conditional else ():
        yield {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}
    if operation.streams:
        number = {"type": "string", "pattern": "^[0-9]{1,15}$"}
        yield {"name": "Last-Event-ID", "in": "header", "schema": number,
               "description": "the number of the last event of the stream that came; it goes on behind that"}


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in operation.answers.items():
        response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if model:
            response["content"] = _json(schemas[model, "serialization"])
            if operation.streams:
                response["content"]["text/event-stream"] = {"schema": {"type": "string"}}
        if operation.texts:
            response["content"] = {media_type: {"schema": {"type": "string"}} for media_type in operation.texts}
        headers = {"Location": _LOCATIONS[status]} if status in _LOCATIONS else {}
        if model in (Group, Server):
            headers["ETag"] = "for If-Match; it stands for what is set, not for what changes by itself"
        if headers:
            response["headers"] = {
                name: {"schema": {"type": "string"}, "description": meaning} for name, meaning in headers.items()
            }
        responses[str(status)] = response
    for problem in map(str, problem_statuses(operation)):
        if problem in responses:
            responses[problem]["content"] |= _problem(schemas)
        else:
            responses[problem] = {"$ref": f"#/components/responses/{problem}"}
    return responses


def _problem(schemas: Schemas) -> dict[str, Any]:
    return _json(schemas[Problem, "serialization"], "application/problem+json")


def problem_statuses(operation: Operation) -> list[int]:
    """The statuses of problems that it may be answered with."""
    statuses = set(_OF_ALL)
    if operation.body:
        statuses |= _OF_BODIES
    if operation.method != "GET":
        statuses |= {412, 428} if operation.conditional else {412}
    if operation.path.startswith("/v1/cluster/") or operation.path.endswith("/probe"):
        statuses.add(409)
    if "{" in operation.path or _OF_WHAT_MAY_BE_MISSING & operation.query.model_fields.keys():
        statuses.add(404)
    return sorted(statuses)
