"""What the sections of a network file have in common: a base class, and the keys that may be left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

_Kind = TypeVar("_Kind", bound="Section")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    def values(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """The keys with these names, all by default, as the values of the model that they stand for."""
        return {name: _value(getattr(self, name)) for name in (type(self).model_fields if names is None else names)}


class Setting(Section):
    """A section with the keys of a value of the model."""

    of: ClassVar[type]  # which value

    @model_serializer(mode="wrap")
    def _those_that_are_set(self, serialised: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return {name: value for name, value in serialised(self).items() if value is not None}

    def value(self) -> Any:
        return self.of(**self.values())


def _value(key: Any) -> Any:
    if isinstance(key, list):
        return tuple(map(_value, key))
    return key.value() if isinstance(key, Setting) else key


def section_of(kind: type[_Kind], value: Any) -> _Kind:
    """The section of this kind whose ``values`` are those of ``value``."""
    members = {}
    for name, field in kind.model_fields.items():
        if hasattr(value, name):
            members[name] = _key(getattr(value, name), _settings_in(kind, name))
        elif choices := getattr(field.annotation, "__args__", ()):
            members[name] = choices[0]  # what tells this kind of section from others
    return kind.model_construct(**members)


@lru_cache
def _settings_in(kind: type[Section], name: str) -> Mapping[type, type[Setting]]:
    """The settings that this key holds, by what they stand for."""
    sections = _sections_in(kind.model_fields[name].annotation)
    return {each.of: each for each in sections if issubclass(each, Setting)}


def _key(value: Any, kinds: Mapping[type, type[Setting]]) -> Any:
    if type(value) is tuple:
        return [_key(each, kinds) for each in value]
    return section_of(kinds[type(value)], value) if type(value) in kinds else value


def default_of(kind: Any, field: str) -> Any:
    """The default of a field of the model: a dataclass or a NamedTuple."""
    if issubclass(kind, tuple):
        return kind._field_defaults[field]
    (default,) = (each.default for each in dataclasses.fields(kind) if each.name == field)
    return default


def as_in(kind: Any, field: str, description: str) -> Any:
    """A key that may be left out, with the default of the model's field."""
    return Field(default=default_of(kind, field), description=description)


def optional(description: str) -> Any:
    return Field(default=None, description=description)


def list_of(description: str) -> Any:
    """A list that may be empty or left out."""
    return Field(default=[], description=description)


def some(description: str) -> Any:
    return Field(min_length=1, description=description)


def section_at(top: type[Section], location: Iterable[str | int]) -> tuple[type[Section], list[str | int]]:
    """The section at a place, as pydantic names it: ("checks", 0, "tcp") → TcpCheck, ["checks", 0].

    → the innermost one on the way there, and the place without the kinds of sections, which are no part of a file.
    """
    section, place = top, []
    kinds: dict[str, type[Section]] = {}  # of a list's items, by what pydantic calls them
    for part in location:
        if part in kinds:
            section = kinds[str(part)]
            kinds = {}
            continue
        place.append(part)
        if isinstance(part, str):
            kinds = {}
            if field := section.model_fields.get(part):
                inner = list(_sections_in(field.annotation))
                if len(inner) == 1:
                    (section,) = inner
                else:
                    kinds = {kind: each for each in inner for kind in _kinds(each)}
    return section, place


def _sections_in(annotation: Any) -> Iterable[type[Section]]:
    """list[Switch] → Switch; ClientEdge | None → ClientEdge; int → nothing."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections_in(inner)


def _kinds(section: type[Section]) -> Iterable[str]:
    """The values of ``type`` that choose this section among others."""
    return getattr(section.model_fields["type"].annotation, "__args__", ())
