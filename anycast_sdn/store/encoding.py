"""Encoding: groups, servers and drained edges as JSON, the same for every store that keeps text.

What is stored has the names and forms of the network file and of REST (``description.settings``).  Members with default
values are written, too: another default in a later release changes no enrolment that exists.  Members that are missing,
because an earlier release has written the text, have their defaults; a member that is not known is refused, because a
later release has written it.  So a member that is added is named in ``LATER``, with the schema of etcd that brings it:
before that is there, controllers of releases that do not know it read the same texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

from pydantic import ValidationError

from anycast_sdn.core.model import Address, AfterDrain, AnycastGroup, AtDeadline, Drain, Server, ServerState
from anycast_sdn.description.section import Section, Setting, section_of
from anycast_sdn.description.settings import GroupSettings, ServerSettings
from anycast_sdn.description.values import (
    AfterDrainName,
    AtDeadlineName,
    IpAddress,
    IpPrefix,
    ServerStateName,
)
from anycast_sdn.etcd.schema import KNOWN

_Section = TypeVar("_Section", bound=Section)


class _Group(GroupSettings):
    prefixes: list[IpPrefix]  # also none


class _Drain(Setting):
    of: ClassVar[type] = Drain

    operation: str
    began_at: float
    deadline_s: float | None = None
    then: AfterDrainName = AfterDrain.KEEP
    at_deadline: AtDeadlineName = AtDeadline.END


class _Server(ServerSettings):
    state: ServerStateName = ServerState.ACTIVE
    drain: _Drain | None = None
    twin: IpAddress | None = None


LATER: Mapping[type[Section], Mapping[str, int]] = {}  # settings that came after the first schema → with which


def group_text(group: AnycastGroup, schema: int = KNOWN[-1]) -> str:
    """All of it but its name and its servers.  Raises ValueError where this schema has no place for it."""
    return _text(section_of(_Group, group), schema)


def group(name: str, text: str | bytes, servers: dict[Address, Server]) -> AnycastGroup:
    """Raises ValueError."""
    return AnycastGroup(name, servers=servers, **_read(_Group, text).values())


def server_text(server: Server, schema: int = KNOWN[-1]) -> str:
    """All of it but its address.  Raises ValueError as ``group_text``."""
    return _text(section_of(_Server, server), schema)


def server(address: Address, text: str | bytes) -> Server:
    """Raises ValueError."""
    return Server(address, **_read(_Server, text).values())


def drain_text(drain: Drain, schema: int = KNOWN[-1]) -> str:
    """Raises ValueError as ``group_text``."""
    return _text(section_of(_Drain, drain), schema)


def drain(text: str | bytes) -> Drain:
    """Raises ValueError."""
    value: Drain = _read(_Drain, text).value()
    return value


def _text(section: Section, schema: int) -> str:
    """Raises ValueError."""
    if LATER:
        _leave_out_later(section, schema)
    return section.model_dump_json(exclude_none=True)


def _leave_out_later(section: Section, schema: int) -> None:
    """What this schema does not have.  Raises ValueError where that is not at its default."""
    for name, since in LATER.get(type(section), {}).items():
        if since > schema:
            if getattr(section, name) != type(section).model_fields[name].get_default(call_default_factory=True):
                raise ValueError(
                    f"{name} cannot be set yet: it needs schema {since} of etcd, which has {schema} as long as a "
                    "controller of an earlier release is there (anycast-sdn cluster)"
                )
            setattr(section, name, None)
    for value in vars(section).values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Section):
                _leave_out_later(inner, schema)


def _read(section: type[_Section], text: str | bytes) -> _Section:
    """Raises ValueError."""
    try:
        return section.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
