"""A copy of a network file in which flows and addresses expire soon enough to watch."""

from __future__ import annotations

import yaml

# Seconds; where the file's own are shorter, they stay.
SHORT_TIMES = {"udp_s": 3, "quarantine_s": 4, "quarantine_min_s": 4}


def with_short_times(content: str) -> str:
    """A network file's text with SHORT_TIMES at every client edge, and otherwise of the same meaning."""
    # Composed, not loaded: numbers, quotes and all stay as they are written.
    document = yaml.compose(content, yaml.BaseLoader)
    switches = _get(document, "switches")
    for switch in switches.value if switches else ():
        if role := _get(switch, "client_edge"):
            validity = _get(role, "validity")
            if validity is None:
                validity = yaml.MappingNode("tag:yaml.org,2002:map", [])
                role.value.append((_scalar("validity"), validity))
            _shorten(validity, "udp_s")
            _shorten(role, "quarantine_s")
            if _get(role, "quarantine_min_s"):
                _shorten(role, "quarantine_min_s")
    return str(yaml.serialize(document, Dumper=yaml.BaseDumper))


def _get(mapping: yaml.Node | None, name: str) -> yaml.Node | None:
    assert isinstance(mapping, yaml.MappingNode)  # the file was read and checked before
    return next((value for key, value in mapping.value if key.value == name), None)


def _shorten(mapping: yaml.Node, name: str) -> None:
    present = _get(mapping, name)
    if present is None:
        mapping.value.append((_scalar(name), _scalar(str(SHORT_TIMES[name]))))
    elif int(present.value) > SHORT_TIMES[name]:
        present.value = str(SHORT_TIMES[name])


def _scalar(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value)
