"""The generated parts of docs/rest.md, from the table of resources and its models."""

from __future__ import annotations

from collections.abc import Iterable

from anycast_sdn.api.models import NewGroup, NewServer
from anycast_sdn.api.openapi import PROBLEMS
from anycast_sdn.api.problems import types_by_status
from anycast_sdn.api.resources import OPERATIONS
from anycast_sdn.description.reference import tables


def resources() -> str:
    lines = ["| method | resource | what | needs |", "| --- | --- | --- | --- |"]
    for each in OPERATIONS:
        parameters = listed(each.query.model_fields)
        query = f"; parameters {parameters}" if parameters else ""
        lines.append(f"| {each.method} | `{each.path}` | {each.summary}{query} | {each.needs.value} |")
    return "\n".join(lines) + "\n"


def members() -> str:
    """The members of bodies."""
    return "\n".join(tables(model, path) for model, path in ((NewGroup, "group"), (NewServer, "server")))


def statuses() -> str:
    lines = ["| status | what it means | types |", "| --- | --- | --- |"]
    types = types_by_status()
    for status, meaning in PROBLEMS.items():
        lines.append(f"| {status} | {meaning} | {listed(types.get(status, []))} |")
    return "\n".join(lines) + "\n"


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
