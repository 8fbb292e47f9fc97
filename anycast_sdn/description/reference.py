"""The format of network files, generated from their sections: JSON Schema for editors, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from anycast_sdn.description.section import Section
from anycast_sdn.description.sections import File

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """A key may be left out, but not be null; its name is its title."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        elif (write := schema["schema"].get("serialization", {}).get("function")) and "default" in schema:
            described["default"] = write(schema["default"])  # as it is written in a file
        return described

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> dict[str, Any]:
        return {"$schema": DIALECT} | super().generate(schema, mode)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the whole file.  It describes the shape only; ``checks`` are not in it."""
    return File.model_json_schema(schema_generator=_Generator)


def as_markdown() -> str:
    """The sections in the order of the file, each with a table of its keys: the reference in docs/configuration.md."""
    return tables(File, "")


def tables(kind: type[Section], path: str) -> str:
    """A section and those inside it, each with a table of its keys.  ``path``: that of the section."""
    schema = kind.model_json_schema(schema_generator=_Generator)
    sections = _sections(path, schema, schema.get("$defs", {}), {})
    return "\n".join(line for path, section in sections for line in _page(path, section))


def _sections(
    path: str, section: Mapping[str, Any], definitions: Mapping[str, Any], places: dict[str, str]
) -> Iterator[tuple[str, Any]]:
    """A section and those inside it, with their paths: "", "switches[]", "switches[].client_edge" …

    One that several keys hold comes once, at the first of them.  ``places``: those that have come, by name.
    """
    known = set(places)
    keys = {
        name: _with_paths(f"{path}.{name}" if path else name, key, places)
        for name, key in section["properties"].items()
    }
    yield path, {**section, "properties": keys}
    new = {inner: name for key in keys.values() for inner, name in key.get("sections", {}).items() if name not in known}
    for inner, name in new.items():
        yield from _sections(inner, definitions[name], definitions, places)


def _definitions(key: Mapping[str, Any]) -> dict[str, str]:
    """The names of the sections that a key holds, alone or in a list; of several kinds, by what tells them apart."""
    inner = key.get("items", key)
    (inner,) = inner.get("allOf", [inner])  # allOf: how pydantic 2.5 writes a reference
    if discriminator := inner.get("discriminator"):
        what = discriminator["propertyName"]
        return {f"[{what}={kind}]": _name(ref) for kind, ref in discriminator["mapping"].items()}
    return {"": _name(inner["$ref"])} if "$ref" in inner else {}


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _with_paths(path: str, key: Mapping[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """The key's schema, and the sections that it holds, if any, by path."""
    around = path if "items" not in key else f"{path}[]"
    found = {
        places.setdefault(name, (path if kind else around) + kind): name for kind, name in _definitions(key).items()
    }
    return {**key, "sections": found} if found else dict(key)


def _page(path: str, section: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{path}`" if path else "### The file"
    yield ""
    yield " ".join(section["description"].split())
    yield ""
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, key in section["properties"].items():
        default = "required" if name in section.get("required", ()) else _default(key)
        yield f"| `{name}` | {_value(key)} | {default} | {key['description']} |"
    yield ""


def _default(key: Mapping[str, Any]) -> str:
    return f"`{json.dumps(key['default'])}`".replace('"', "") if key.get("default", "") != "" else ""


def _value(key: Mapping[str, Any]) -> str:
    """The permitted values of a key, in words."""
    if sections := key.get("sections"):
        links = " or ".join(f"[`{inner}`](#{_anchor(inner)})" for inner in sections)
        return f"list of {links}" + _size(key) if "items" in key else links
    if "items" in key:
        return f"list: {_value(key['items'])}" + _size(key)
    if "const" in key:
        return f"`{key['const']}`"
    if "title" in key:
        return str(key["title"]).replace("|", "\\|")
    if "enum" in key:
        return " or ".join(f"`{each}`" for each in key["enum"])
    if key["type"] in ("integer", "number"):
        kind = "whole number" if key["type"] == "integer" else "number"
        return f"{kind}{_range(key)}" + (f", {key['x-unit']}" if "x-unit" in key else "")
    return {"boolean": "`true` or `false`", "string": "text"}[key["type"]]


def _range(key: Mapping[str, Any]) -> str:
    if "maximum" in key:
        return f" {key['minimum']:g}–{_number(key['maximum'])}"
    return f" from {key['minimum']:g}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def _size(key: Mapping[str, Any]) -> str:
    least, most = key.get("minItems", 0), key.get("maxItems")
    if most:
        return f", {most} of them" if least == most else f", at most {most}"
    return f", at least {least}" if least else ""


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return "".join(character for character in heading.lower() if character.isalnum() or character in "-_")
