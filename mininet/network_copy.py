"""Copies of a network file in which settings of its client edges differ; all else means the same.

They are made of the file's nodes, not of values: numbers, quotes and all stay as they are written.
"""

from __future__ import annotations

from collections.abc import Callable

import yaml

from anycast_sdn.core.roles import ZONES

# Seconds; where the file's own are shorter, they stay.
SHORT_TIMES = {"udp_s": 3, "quarantine_s": 4, "quarantine_min_s": 4}
APART_S = 10
DATABASE = "unix:/var/run/openvswitch/db.sock"  # of this machine's Open vSwitch


def with_short_times(content: str) -> str:
    """Flows and addresses expire soon enough to watch: SHORT_TIMES at every client edge."""

    def shorten(_: yaml.Node, role: yaml.Node) -> None:
        _shorten(_section(role, "validity"), "udp_s")
        _shorten(role, "quarantine_s")
        if _get(role, "quarantine_min_s"):
            _shorten(role, "quarantine_min_s")

    return _with_edges(content, shorten)


def with_flows_apart(content: str) -> str:
    """Each flow has an address of its own, and one of UDP that has ended gives it back after APART_S."""

    def part(_: yaml.Node, role: yaml.Node) -> None:
        _put(role, "pooling", "flow")
        _put(_section(role, "validity"), "udp_s", str(APART_S))

    return _with_edges(content, part)


def with_engine(content: str, engine: str = "") -> str:
    """Client edges have this engine, and the database where timeouts are set for it; without one, as they are."""

    def choose(switch: yaml.Node, role: yaml.Node) -> None:
        _put(role, "engine", engine)
        if engine == "conntrack":
            _put(switch, "ovsdb", DATABASE)

    return _with_edges(content, choose) if engine else content


def with_zones(content: str, first: int) -> tuple[str, range]:
    """Connection trackers of which the file names no zones have theirs from the first one on → the copy, and these."""
    tracked: list[yaml.Node] = []

    def number(_: yaml.Node, role: yaml.Node) -> None:
        if "conntrack" in _texts(_get(role, "engine")) and not _get(_section(role, "conntrack"), "zone"):
            _put(_section(role, "conntrack"), "zone", str(first + ZONES * len(tracked)))
            tracked.append(role)

    copy = _with_edges(content, number)
    return (copy, range(first, first + ZONES * len(tracked))) if tracked else (content, range(0))


def _with_edges(content: str, change: Callable[[yaml.Node, yaml.Node], None]) -> str:
    """``change``: takes a switch and its ``client_edge``."""
    document = yaml.compose(content, yaml.BaseLoader)
    switches = _get(document, "switches")
    for switch in switches.value if switches else ():
        if role := _get(switch, "client_edge"):
            change(switch, role)
    return str(yaml.serialize(document, Dumper=yaml.BaseDumper))


def _get(mapping: yaml.Node | None, name: str) -> yaml.Node | None:
    assert isinstance(mapping, yaml.MappingNode)  # the file was read and checked before
    return next((value for key, value in mapping.value if key.value == name), None)


def _section(mapping: yaml.Node, name: str) -> yaml.Node:
    """A mapping inside of another one, which gets it when it has none."""
    found = _get(mapping, name)
    if found is None:
        found = yaml.MappingNode("tag:yaml.org,2002:map", [])
        mapping.value.append((_scalar(name), found))
    return found


def _put(mapping: yaml.Node, name: str, value: str) -> None:
    mapping.value = [(key, old) for key, old in mapping.value if key.value != name]
    mapping.value.append((_scalar(name), _scalar(value)))


def _shorten(mapping: yaml.Node, name: str) -> None:
    present = _get(mapping, name)
    if present is None or int(present.value) > SHORT_TIMES[name]:
        _put(mapping, name, str(SHORT_TIMES[name]))


def _texts(node: yaml.Node | None) -> list[str]:
    """Those of a list, or the only one."""
    if isinstance(node, yaml.SequenceNode):
        return [each.value for each in node.value]
    return [node.value] if node else []


def _scalar(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value)
