"""Moving: all that a store has as a text, and back, from one store to another.

    {"format": "anycast-sdn enrolments", "version": 1, "network": NAME,
     "groups": {NAME: {its settings…, "servers": {ADDRESS: {its settings…}}}}, "edges": {NAME: a drain}}

Settings are as stores keep them (``store.encoding``).  The rule: what is read from a text is checked against the
network as enrolments are, before a store is touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, ConfigurationError, Drain, Prefix, Server, packed, text
from anycast_sdn.core.prefixes import NestedPrefixes
from anycast_sdn.description.enrolment import (
    EnrolmentError,
    check_drain,
    check_group,
    check_room,
    check_server,
    check_server_settings,
)
from anycast_sdn.description.model import Network
from anycast_sdn.store import encoding
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    DrainEdge,
    PutGroup,
    PutServer,
    ResumeEdge,
    Stored,
)

FORMAT, VERSION = "anycast-sdn enrolments", 1


def exported(network: str, stored: Stored) -> str:
    """As text, in an order that depends on nothing else: two of them can be compared line by line."""
    groups: dict[str, Any] = {}
    for name, group in sorted(stored.groups.items()):
        servers = {text(each.address): json.loads(encoding.server_text(each)) for each in group.servers.values()}
        groups[name] = {**json.loads(encoding.group_text(group)), "servers": dict(sorted(servers.items()))}
    edges = {name: json.loads(encoding.drain_text(drain)) for name, drain in sorted(stored.edges.items())}
    content = {"format": FORMAT, "version": VERSION, "network": network, "groups": groups, "edges": edges}
    return json.dumps(content, indent=1) + "\n"


def imported(content: str, source: str, network: Network) -> Stored:
    """What is enrolled there; ``source``: the text's name in errors.  Raises ConfigurationError."""
    try:
        found = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ConfigurationError(f"{source}: is not what 'anycast-sdn store export' writes")
    if found.get("version") != VERSION:
        reason = f"has version {found.get('version')!a}, this release reads {VERSION}"
        raise ConfigurationError(f"{source}: {reason}: use the release that wrote it")
    if found.get("network") != network.name:
        reason = f"has the enrolments of the network {found.get('network')!a}, and this one is {network.name}"
        raise ConfigurationError(f"{source}: {reason}: change the name there, if they are to be moved")
    groups = {name: _group(source, name, each) for name, each in _members(source, found, "groups").items()}
    edges = {name: _drain(source, name, each) for name, each in _members(source, found, "edges").items()}
    _must_fit(source, network, groups, edges)
    return Stored(0, groups, edges)


def differences(present: Stored, wanted: Stored) -> list[Change]:
    """What makes of ``present`` what is ``wanted``."""
    changes: list[Change] = [DeleteGroup(name) for name in present.groups if name not in wanted.groups]
    for name, group in wanted.groups.items():
        before = present.groups.get(name)
        if before is None or encoding.group_text(before) != encoding.group_text(group):
            changes.append(PutGroup(group))
        servers = before.servers if before else {}
        changes += [DeleteServer(name, address) for address in servers if address not in group.servers]
        changes += [PutServer(name, each) for each in group.servers.values() if servers.get(each.address) != each]
    changes += [ResumeEdge(name) for name in present.edges if name not in wanted.edges]
    changes += [DrainEdge(name, drain) for name, drain in wanted.edges.items() if present.edges.get(name) != drain]
    return changes


def _must_fit(
    source: str, network: Network, groups: Mapping[str, AnycastGroup], edges: Mapping[str, Drain]
) -> None:
    """Raises ConfigurationError."""
    taken = NestedPrefixes()
    owners: dict[Prefix, str] = {}
    for name, group in groups.items():
        where = f"{source}: group {name}"
        try:
            check_group(network, (), group)
            for prefix in group.prefixes:
                for other in (*taken.covering(prefix), *taken.within(prefix)):
                    raise ConfigurationError(f"{where}: {prefix} overlaps {other} of group {owners[other]}")
                taken.add(prefix)
                owners[prefix] = name
            for server in group.servers.values():
                where = f"{source}: group {name}, server {text(server.address)}"
                check_server(network, group, server.address)
                check_server_settings(server)
        except EnrolmentError as error:
            raise ConfigurationError(f"{where}: {error}") from error
    try:
        check_room(network, Groups(groups))
        for drain in edges.values():
            check_drain(drain)
    except EnrolmentError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    known = {switch.name for switch in network.switches if switch.server_edge}
    for name in edges:
        if name not in known:
            raise ConfigurationError(f"{source}: edges: there is no server edge {name!a}")


def _group(source: str, name: str, found: Any) -> AnycastGroup:
    """Raises ConfigurationError."""
    where = f"{source}: group {name}"
    if not isinstance(found, dict):
        raise ConfigurationError(f"{where}: is not an object")
    servers: dict[Address, Server] = {}
    for address, settings in _members(where, {"servers": {}, **found}, "servers").items():
        try:
            servers[packed(address)] = encoding.server(packed(address), json.dumps(settings))
        except ValueError as error:
            raise ConfigurationError(f"{where}, server {address}: {error}") from error
    settings = {key: value for key, value in found.items() if key != "servers"}
    try:
        return encoding.group(name, json.dumps(settings), servers)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _drain(source: str, name: str, found: Any) -> Drain:
    """Raises ConfigurationError."""
    try:
        return encoding.drain(json.dumps(found))
    except ValueError as error:
        raise ConfigurationError(f"{source}: edge {name}: {error}") from error


def _members(source: str, found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Raises ConfigurationError."""
    members = found.get(name)
    if not isinstance(members, dict):
        raise ConfigurationError(f"{source}: has no {name}")
    return members


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!a} is there twice")
    return found
