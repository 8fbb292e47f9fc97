"""The double that stands for the REST interface answers as the controller would: by the very models of REST."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rest_double import CASES, RestDouble

from anycast_sdn.api.resources import description

ASKED: dict[str, dict[str, list[str]]] = {
    "/v1/health": {},
    "/v1/groups": {},
    "/v1/edges": {},
    "/v1/topology": {"without": ["c1", "c2:1-c3:2"]},
    "/v1/flows": {},
    "/v1/history": {},
    "/v1/events": {},
    "/v1/cluster": {},
    "/v1/bindings/history": {"translated": ["203.0.112.161"]},
}


def check(path: str, answer: Any) -> None:
    described = description()
    content = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    schema = {"$ref": content["schema"]["$ref"], "components": described["components"]}
    Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("markup", "large")])
def test_the_double_answers_as_rest_is_described(case: str) -> None:
    rest = RestDouble(case)
    for path, query in ASKED.items():
        check(path, rest.answer(path, query))
    for flow in rest.answer("/v1/flows", {})["flows"][:5]:
        check("/v1/flows/{edge}/{number}", rest.answer(f"/v1/flows/{flow['edge']}/{flow['number']}", {}))
