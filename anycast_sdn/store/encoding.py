"""Encoding: groups, servers and drained edges as JSON, the same for every store that keeps text.

What is stored has the names and forms of the network file and of REST (``description.settings``).  Members with default
values are written, too: another default in a later release changes no enrolment that exists.  Members that are missing,
because an earlier release has written the text, have their defaults; a member that is not known is refused, because a
later release has written it.
"""

from __future__ import annotations

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


def group_text(group: AnycastGroup) -> str:
    """All of it but its name and its servers."""
    return section_of(_Group, group).model_dump_json(exclude_none=True)


def group(name: str, text: str | bytes, servers: dict[Address, Server]) -> AnycastGroup:
    """Raises ValueError."""
    return AnycastGroup(name, servers=servers, **_read(_Group, text).values())


def server_text(server: Server) -> str:
    """All of it but its address."""
    return section_of(_Server, server).model_dump_json(exclude_none=True)


def server(address: Address, text: str | bytes) -> Server:
    """Raises ValueError."""
    return Server(address, **_read(_Server, text).values())


def drain_text(drain: Drain) -> str:
    return section_of(_Drain, drain).model_dump_json(exclude_none=True)


def drain(text: str | bytes) -> Drain:
    """Raises ValueError."""
    value: Drain = _read(_Drain, text).value()
    return value


def _read(section: type[_Section], text: str | bytes) -> _Section:
    """Raises ValueError."""
    try:
        return section.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
