"""The network file: YAML → a validated, frozen ``model.Network``.

A file is checked in three steps, each of which relies on those before:

1. *Text* (``text``): is it plain YAML?
2. *Shape* (``sections``, ``values``): keys, types, units and ranges.
3. *Sense* (``checks``): do the parts fit together?

Each check reports all that it finds, one line per problem, in the order of the file:
``FILE:LINE:COLUMN: switches[0].dpid: reason``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import checks, text
from anycast_sdn.description.model import Network
from anycast_sdn.description.problems import Problem, reason
from anycast_sdn.description.section import section_at
from anycast_sdn.description.sections import File

SUGGESTIONS = 50  # in one file; each is compared with all names


def load(path: str | Path) -> Network:
    """The network that a file describes.  Raises ConfigurationError with every problem found."""
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read(text.MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not a text file in UTF-8: {error.reason}") from error
    return parse(content, str(path))


def parse(content: str, source: str) -> Network:
    """As ``load``, from text; ``source``: the file's name in errors."""
    try:
        document = text.read(content)
    except text.NotPlainYaml as error:
        raise ConfigurationError(f"{_at(source, error.place)}: {error}") from error
    try:
        network = File.model_validate(document.values).network()
    except ValidationError as error:
        raise _failure(source, document, map(_shape_problem, error.errors())) from error
    if problems := list(checks.problems(network)):
        raise _failure(source, document, problems)
    return network


def _failure(source: str, document: text.Document, problems: Iterable[Problem]) -> ConfigurationError:
    """All problems as lines, those of the file as a whole first."""
    start = text.Place(0, 0)
    found = sorted(((document.place(problem.path), problem) for problem in problems), key=lambda it: it[0] or start)
    lines = []
    for number, (place, problem) in enumerate(found):
        reason = problem.with_suggestion() if number < SUGGESTIONS else problem.reason
        lines.append(": ".join(filter(None, (_at(source, place), problem.path, reason))))
    return ConfigurationError("\n".join(lines))


def _at(source: str, place: text.Place | None) -> str:
    return f"{source}:{place}" if place else source


def _shape_problem(error: Any) -> Problem:
    """One of pydantic's errors as path and reason."""
    section, place = section_at(File, error["loc"])
    path = ""
    for part in place:
        path = text.step(path, part)
    match error["type"]:
        case "missing":
            return Problem(path, "is missing: write it")
        case "model_type" | "model_attributes_type":
            found = "nothing: the file is empty" if error["input"] is None and not path else text.shown(error["input"])
            return Problem(path, f"must be a section of keys and values, not {found}")
        case "extra_forbidden":
            known = section.model_fields
            return Problem(path, f"unknown key: the keys here are {', '.join(known)}", str(place[-1]), known)
        case "union_tag_not_found":
            return Problem(f"{path}.type", "is missing: write it")
        case "union_tag_invalid":
            return Problem(f"{path}.type", reason(error, text.shown))
        case _:
            return Problem(path, reason(error, text.shown))
