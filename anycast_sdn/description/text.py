"""A network file's text: a subset of YAML → plain values, and the position of each in the text.

Refused, because the result is often not what was meant, or because a small file could use up memory: aliases, tags,
duplicate keys, deep nesting.  Only decimal digits, with or without a point, are a number: YAML 1.1 would read 0010 as
8, and 1:20 in base 60.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import yaml

MAX_CHARACTERS = 1 << 18
MAX_DEPTH = 16  # of nesting; the format needs 6


class Place(NamedTuple):
    """A position in the text, both numbers from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Document(NamedTuple):
    values: Any  # dicts, lists, strings, numbers and booleans
    places: dict[str, Place]  # by ``path``: where its key stands, or where an item of a list begins

    def place(self, path: str) -> Place | None:
        """Where ``path`` stands, or the nearest section around it; None for the document as a whole."""
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path)


class NotPlainYaml(Exception):
    """The text cannot be read; ``place``: where, if that is known."""

    def __init__(self, reason: str, place: Place | None) -> None:
        super().__init__(reason)
        self.place = place


def read(content: str) -> Document:
    """Raises NotPlainYaml."""
    if len(content) > MAX_CHARACTERS:
        raise NotPlainYaml(f"is longer than {MAX_CHARACTERS} characters: no network file is", None)
    try:
        loader = _Loader(content)
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}: " if error.context else ""
        place = _place(error.problem_mark) if error.problem_mark else None
        raise NotPlainYaml(f"{context}{error.problem}", place) from error
    # PyYAML raises plain ValueError or OverflowError for an escape like "\UFFFFFFFF".
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise NotPlainYaml(f"is not YAML: {shown(str(error), 200)}", None) from error
    return Document(values, dict(_places("", node)))


def step(path: str, part: str | int) -> str:
    """One step down: ("switches", 0) → "switches[0]", ("switches[0]", "dpid") → "switches[0].dpid"."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    name = part if re.fullmatch(r"\w{1,40}", part, re.ASCII) else shown(part)
    return f"{path}.{name}" if path else name


def shown(value: object, limit: int = 60) -> str:
    """A value from the file, escaped and cut for a one-line message."""
    written = ascii(value)
    return written if len(written) <= limit else f"{written[:limit]}..."


def _places(path: str, node: yaml.Node | None) -> Iterator[tuple[str, Place]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = step(path, key.value)
            yield inner, _place(key.start_mark)
            yield from _places(inner, value)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            inner = step(path, index)
            yield inner, _place(item.start_mark)
            yield from _places(inner, item)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for a subset of YAML."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases (*name) are not supported: write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags (!name) are not supported: remove it", event)
        if self.depth == MAX_DEPTH:
            raise _refusal("nested too deeply for a network file", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key must be a word", key)
            if key.value in seen:
                raise _refusal(f"{shown(key.value)} is written twice: keep one of them", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# There is no null: a key without a value is a mistake.
_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]{0,19})$"), list("-0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?(0|[1-9][0-9]{0,14})\.[0-9]{1,15}$"), list("-0123456789")
)


def _refusal(reason: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=place.start_mark)
