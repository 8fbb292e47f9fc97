"""What the sections of a network file have in common: a base class, and the keys that may be left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    def values(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """The keys with these names, all by default, as the values of the model that they stand for."""
        return {name: _value(getattr(self, name)) for name in names or type(self).model_fields}


class Setting(Section):
    """A section with the keys of a value of the model."""

    of: ClassVar[type]  # which value

    def value(self) -> Any:
        return self.of(**self.values())


def _value(key: Any) -> Any:
    if isinstance(key, list):
        return tuple(map(_value, key))
    return key.value() if isinstance(key, Setting) else key


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
