"""Groups and servers over the registry (M27).

Success means stored and sent to the switches; PUT is idempotent, POST refuses what exists, PATCH changes what it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from anycast_sdn.api import reading
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.models import Group, NewGroup, NewServer, Server
from anycast_sdn.control.registry import AlreadyExists
from anycast_sdn.core.model import Address, AnycastGroup, text
from anycast_sdn.core.model import Server as EnrolledServer
from anycast_sdn.description.section import section_of
from anycast_sdn.description.settings import GroupSettings
from anycast_sdn.views.turns import with_turns

_GROUP_SETTINGS = frozenset(NewGroup.model_fields) - {"name"}
_SERVER_SETTINGS = frozenset(NewServer.model_fields) - {"address"}


# ------------------------------------------------------------------------------ groups


def list_groups(asked: Asked) -> Answer:
    groups = sorted(asked.registry.groups, key=attrgetter("name"))
    return Answer({"groups": [_group_json(asked, group) for group in groups]})


def add_group(asked: Asked) -> Answer:
    new: NewGroup = asked.body
    return _stored_group(asked, AnycastGroup(new.name, **new.values(_GROUP_SETTINGS)), anew=True)


def get_group(asked: Asked, name: str) -> Answer:
    return Answer(_group_json(asked, asked.registry.group(name)))


def put_group(asked: Asked, name: str) -> Answer:
    _check_group_shown(asked, name)
    return _stored_group(asked, AnycastGroup(name, **asked.body.values(_GROUP_SETTINGS)))


def patch_group(asked: Asked, name: str) -> Answer:
    asked.registry.group(name)
    _check_group_shown(asked, name)
    changes = asked.body.values(_GROUP_SETTINGS & asked.body.model_fields_set)
    changed = asked.registry.change_group(name, lambda present: replace(present, **changes), asked.turn.over)
    return Answer(_group_json(asked, changed))


def delete_group(asked: Asked, name: str) -> Answer:
    asked.registry.delete_group(name, asked.turn.pause)
    return Answer()


def _stored_group(asked: Asked, wanted: AnycastGroup, anew: bool = False) -> Answer:
    group, created = asked.registry.put_group(wanted, asked.turn.over, anew=anew)
    return Answer(_group_json(asked, group), location=f"/v1/groups/{group.name}" if created else "")


def _group_json(asked: Asked, group: AnycastGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "prefixes": [str(prefix) for prefix in with_turns(group.prefixes, asked.turn.over)],
        **section_of(GroupSettings, group).model_dump(mode="json"),
        "servers": _servers_json(asked, group),
    }


def _check_group_shown(asked: Asked, name: str) -> None:
    """Raises Problem when the body says something else of what is only shown of the group."""
    body: Group = asked.body
    reading.check_fixed(body, {"name": name})
    if "servers" in body.model_fields_set:
        present = asked.registry.groups.get(name)
        _check_servers_shown(asked, name, present.servers if present else {}, body.servers)


def _check_servers_shown(
    asked: Asked, name: str, enrolled: Mapping[Address, EnrolledServer], given: list[Server]
) -> None:
    addresses = set()
    for index, server in enumerate(given):
        if server.address is None:
            raise reading.refusal(f"servers[{index}]", 'it is not a server with its "address"')
        addresses.add(server.address)
        if server.address in enrolled:
            shown = _server_json(asked, name, enrolled[server.address])
            reading.check_fixed(server, shown, settings=True, where=f"servers[{index}].")
        asked.turn.over()
    if addresses != set(enrolled) or len(given) > len(addresses):
        raise reading.refusal("servers", f"they are enrolled and removed at /v1/groups/{name}/servers, not here")


# ------------------------------------------------------------------------------ servers


def list_servers(asked: Asked, group: str) -> Answer:
    return Answer({"servers": _servers_json(asked, asked.registry.group(group))})


def add_server(asked: Asked, group: str) -> Answer:
    server = EnrolledServer(**asked.body.values())
    if server.address in asked.registry.group(group).servers:
        raise AlreadyExists(
            f"{text(server.address)} is enrolled in group {group} already; use PUT or PATCH to change it"
        )
    return _stored_server(asked, group, server)


def get_server(asked: Asked, group: str, address: Address) -> Answer:
    return Answer(_server_json(asked, group, asked.registry.server(group, address)))


def put_server(asked: Asked, group: str, address: Address) -> Answer:
    _check_server_shown(asked, group, address)
    return _stored_server(asked, group, EnrolledServer(address, **asked.body.values(_SERVER_SETTINGS)))


def patch_server(asked: Asked, group: str, address: Address) -> Answer:
    present = asked.registry.server(group, address)
    _check_server_shown(asked, group, address)
    changes = asked.body.values(_SERVER_SETTINGS & asked.body.model_fields_set)
    return _stored_server(asked, group, replace(present, **changes))


def delete_server(asked: Asked, group: str, address: Address) -> Answer:
    asked.registry.delete_server(group, address)
    return Answer()


def _check_server_shown(asked: Asked, group: str, address: Address) -> None:
    reading.check_fixed(asked.body, _server_json(asked, group, EnrolledServer(address)))


def _stored_server(asked: Asked, group: str, wanted: EnrolledServer) -> Answer:
    server, created = asked.registry.put_server(group, wanted)
    location = f"/v1/groups/{group}/servers/{text(server.address)}" if created else ""
    return Answer(_server_json(asked, group, server), location=location)


def _servers_json(asked: Asked, group: AnycastGroup) -> list[dict[str, Any]]:
    in_order = sorted(group.servers.values(), key=lambda server: (len(server.address), server.address))
    return [_server_json(asked, group.name, server) for server in with_turns(in_order, asked.turn.over)]


def _server_json(asked: Asked, group: str, server: EnrolledServer) -> dict[str, Any]:
    shown = section_of(NewServer, server).model_dump(mode="json")
    return shown | asked.views.server_status(group, server.address)
