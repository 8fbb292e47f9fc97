"""Members of the models of the REST interface: what can be set, what is only shown, and the models of changes."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, Field, create_model

from anycast_sdn.description.section import Section

WHOLE = ConfigDict(json_schema_serialization_defaults_required=True)  # all members are shown, set or not


def fixed(description: str) -> Any:
    """A member that is shown, and cannot be changed by a body."""
    return Field(default=None, description=description, json_schema_extra={"readOnly": True})


def observed(description: str) -> Any:
    """A member that is shown and changes by itself: what a body says of it is ignored."""
    return Field(default=None, description=description, json_schema_extra={"readOnly": True, "x-observed": True})


@lru_cache
def members(model: type[Section], keyword: str) -> frozenset[str]:
    """The members that are ``readOnly``, or ``x-observed``."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    return frozenset(name for name, extra in extras.items() if isinstance(extra, dict) and keyword in extra)


def part_of(model: type[Section]) -> type[Section]:
    """The model of a PATCH: each member may be left out."""
    optional: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        changed = copy(field)
        changed.default, changed.default_factory = None, None
        optional[name] = (field.annotation, changed)
    return create_model(f"{model.__name__}Changes", __base__=model, __doc__=model.__doc__, **optional)


def said(description: str, **more: Any) -> Any:
    return Field(description=description, **more)
