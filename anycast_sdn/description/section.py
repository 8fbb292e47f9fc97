"""What the sections of a network file have in common: a base class, and the keys that may be left out."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def default_of(kind: type, field: str) -> Any:
    """The default of a field of the model."""
    (default,) = (each.default for each in dataclasses.fields(kind) if each.name == field)
    return default


def as_in(kind: type, field: str, description: str) -> Any:
    """A key that may be left out, with the default of the model's field."""
    return Field(default=default_of(kind, field), description=description)


def optional(description: str) -> Any:
    return Field(default=None, description=description)


def list_of(description: str) -> Any:
    """A list that may be empty or left out."""
    return Field(default=[], description=description)


def some(description: str) -> Any:
    return Field(min_length=1, description=description)
