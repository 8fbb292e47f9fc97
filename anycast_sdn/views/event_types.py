"""All types of events that operators are told of, for docs/events.md."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

from anycast_sdn import core
from anycast_sdn.core.events import Reported


def event_types() -> list[type[Reported]]:
    """Those that ``core`` declares, by name."""
    names = (f"{core.__name__}.{module.name}" for module in pkgutil.iter_modules(core.__path__))
    modules = [importlib.import_module(name) for name in names if name.endswith("_events")]
    found = (each for module in modules for each in vars(module).values() if isinstance(each, type))
    declared = {kind for kind in found if issubclass(kind, Reported) and "type" in vars(kind)}
    return sorted(declared, key=lambda kind: kind.type)


def happened(kind: type[Reported]) -> str:
    """Its docstring, in one line."""
    return " ".join((kind.__doc__ or "").replace("``", "`").split())


def severities(kind: type[Reported]) -> str:
    """The usual one, or as the docstring of a property of its own has it."""
    own = next(vars(each)["severity"] for each in kind.__mro__ if "severity" in vars(each))
    return kind.usual.value if own is vars(Reported)["severity"] else str(own.__doc__)


def members(kind: type[Reported]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def as_markdown() -> str:
    lines = ["| type | severity | what has happened | members of `data` |", "| --- | --- | --- | --- |"]
    for kind in event_types():
        names = ", ".join(f"`{name}`" for name in members(kind)) or "–"
        lines.append(f"| `{kind.type}` | {severities(kind)} | {happened(kind)} | {names} |")
    return "\n".join(lines) + "\n"
