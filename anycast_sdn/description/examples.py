"""Network files to begin with: the repository's ``topologies/``, which a wheel holds inside the package."""

from __future__ import annotations

import itertools
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description.problems import did_you_mean

_FIRST = "figure1"  # explains every key


def names() -> list[str]:
    """The example that explains the format, then the others by name."""
    found = [file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml")]
    return sorted(found, key=lambda name: (name != _FIRST, name))


def content(name: str) -> str:
    """Raises ConfigurationError when there is no such example."""
    if name not in names():
        reason = f"no example is called {name!a}: there are {', '.join(names())}"
        raise ConfigurationError(reason + did_you_mean(name, names()))
    return (_folder() / f"{name}.yaml").read_text("utf-8")


def summary(name: str) -> str:
    """The first paragraph of its first comment."""
    lines = itertools.takewhile(lambda line: line.lstrip("#"), content(name).splitlines())
    return " ".join(line.lstrip("# ") for line in lines).rstrip(".")


def _folder() -> Traversable:
    """Installed from a wheel: inside the package; run from the repository: beside it."""
    installed = resources.files("anycast_sdn") / "topologies"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "topologies"
