"""Digests of a network's parts: do two controllers have the same network file, and if not, where do they differ?

A part is a switch, a link, a subnet and so on, by its name, or a setting of the whole network.  What is left at its
default counts as if it were not there: a later release that knows more settings makes the same digests of the same
file.  ``groups`` are no part: they are first enrolments, and those that count are in the store.  Nor are secrets
(``model.SECRET``): members may have different ones, and whoever reads a digest could try passwords by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from anycast_sdn.core.words import listed
from anycast_sdn.description.model import Network

MOST_NAMES = 5  # of a section, where two files differ


def digests(network: Network, with_secrets: bool = False) -> dict[str, str]:
    """Part, as in "switches/arh1" → its digest.  ``with_secrets``: as the first schema has them."""
    parts: dict[str, Any] = {}
    for field in fields(network):
        value = getattr(network, field.name)
        if field.name.startswith("_") or field.name == "groups" or value == field.default:
            continue
        if isinstance(value, tuple) and all(map(is_dataclass, value)):
            parts |= {f"{field.name}/{_name(each)}": each for each in value}
        else:
            parts[field.name] = value
    return {part: _digest(value, with_secrets) for part, value in sorted(parts.items())}


def difference(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """ "switches: arh1; links: a:1 - b:1 (only here)"; "" where all is the same."""
    found: dict[str, list[str]] = {}
    for part in sorted({*here, *there}):
        if here.get(part) != there.get(part):
            section, _, name = part.partition("/")
            where = "" if part in here and part in there else " (only here)" if part in here else " (only there)"
            found.setdefault(section if name else section + where, []).extend([name + where] if name else [])
    return "; ".join(
        f"{section}: {listed(names, MOST_NAMES)}" if names else section for section, names in found.items()
    )


def _name(part: Any) -> str:
    name = getattr(part, "name", None)
    if name is not None:
        return str(name)
    ends = [str(getattr(part, end)) for end in ("a", "b") if hasattr(part, end)]
    return " - ".join(ends) or _digest(part, with_secrets=False)


def _digest(value: Any, with_secrets: bool) -> str:
    text = json.dumps(_plain(value, with_secrets), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any, with_secrets: bool) -> Any:
    """As JSON, the same for equal values, and without what is at its default."""
    if is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name), with_secrets)
            for field in fields(value)
            if not field.name.startswith("_")
            and getattr(value, field.name) != _default(field)
            and (with_secrets or not field.metadata.get("secret"))
        }
    if hasattr(value, "_fields"):
        defaults = value._field_defaults
        return {
            name: _plain(each, with_secrets)
            for name, each in zip(value._fields, value, strict=True)
            if name not in defaults or each != defaults[name]
        }
    match value:
        case Enum():
            return value.name
        case bytes():
            return value.hex()
        case Mapping():
            return {str(_plain(key, with_secrets)): _plain(each, with_secrets) for key, each in value.items()}
        case frozenset() | set():
            return sorted((_plain(each, with_secrets) for each in value), key=str)
        case list() | tuple():
            return [_plain(each, with_secrets) for each in value]
    return value


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
