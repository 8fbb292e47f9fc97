"""The OpenAPI description: whole, valid, and what is answered."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from anycast_sdn.api.queries import InPath
from anycast_sdn.api.resources import OPERATIONS, description
from tests.unit.rest_client import Client


def everywhere(value: Any, name: str) -> list[Any]:
    """All members of this name."""
    if isinstance(value, list):
        return [found for item in value for found in everywhere(item, name)]
    if not isinstance(value, dict):
        return []
    here = [value[name]] if name in value else []
    return here + [found for item in value.values() for found in everywhere(item, name)]


def test_the_description_is_served() -> None:
    assert Client(":memory:").get("/openapi.json") == description()
    assert description()["openapi"] == "3.1.0"


def test_every_reference_leads_somewhere() -> None:
    for reference in everywhere(description(), "$ref"):
        found: Any = description()
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


@pytest.mark.parametrize("name", description()["components"]["schemas"])
def test_schemas_are_valid_and_closed(name: str) -> None:
    schema = description()["components"]["schemas"][name]
    Draft202012Validator.check_schema(schema)
    if schema.get("type") == "object" and name != "Description":
        assert schema["additionalProperties"] is False


def test_each_method_of_each_path_is_described_once_with_the_variables_of_its_path() -> None:
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)
    for each in OPERATIONS:
        described = description()["paths"][each.path][each.method.lower()]
        in_path = [parameter["name"] for parameter in described["parameters"] if parameter["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", each.path)
        assert set(in_path) <= set(InPath.model_fields)
        assert described["summary"]


def test_operations_have_different_ids() -> None:
    ids = everywhere(description()["paths"], "operationId")
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
