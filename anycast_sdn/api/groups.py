"""Groups and servers over the registry (M27).

Success means stored and sent to the switches; PUT is idempotent, POST refuses what exists, PATCH changes what it names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

from anycast_sdn.api import access, reading
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.conditions import entity_tag
from anycast_sdn.api.life import drain_json
from anycast_sdn.api.models import EnrolledSettings, Group, NewGroup, NewServer, Server
from anycast_sdn.api.queries import MAX_PAGE, ServerPage, servers_cursor
from anycast_sdn.api.tokens import Need
from anycast_sdn.core.model import Address, AnycastGroup, text
from anycast_sdn.core.model import Server as EnrolledServer
from anycast_sdn.description.section import section_of
from anycast_sdn.description.settings import GroupSettings
from anycast_sdn.views.services import WORST_FIRST
from anycast_sdn.views.turns import with_turns

_GROUP_SETTINGS = frozenset(NewGroup.model_fields) - {"name"}
_SERVER_SETTINGS = frozenset(EnrolledSettings.model_fields)


# ------------------------------------------------------------------------------ groups


def list_groups(asked: Asked) -> Answer:
    groups = sorted(asked.registry.groups, key=attrgetter("name"))
    return Answer({"groups": [_group_json(asked, group) for group in groups]})


def add_group(asked: Asked) -> Answer:
    wanted = AnycastGroup(**asked.body.values())
    return _stored_group(asked, *asked.registry.put_group(wanted, asked.turn.over, anew=True))


def get_group(asked: Asked, name: str) -> Answer:
    """Who is bound to some servers sees these alone, and the settings: an agent needs the checks that are its own."""
    if asked.caller.may(Need.READ, name):
        return _group(asked, asked.registry.group(name))
    own = asked.caller.servers
    access.check_caller(asked.caller, Need.READ, name, next(iter(own), None))
    group = asked.registry.group(name)
    return _group(asked, replace(group, servers={each: group.servers[each] for each in own if each in group.servers}))


def put_group(asked: Asked, name: str) -> Answer:
    _check_group_shown(asked, name)
    wanted, permit = AnycastGroup(name, **asked.body.values(_GROUP_SETTINGS)), partial(_permit_group, asked)
    return _stored_group(asked, *asked.registry.put_group(wanted, asked.turn.over, permit=permit))


def patch_group(asked: Asked, name: str) -> Answer:
    asked.registry.group(name)
    _check_group_shown(asked, name)
    changes = asked.body.values(_GROUP_SETTINGS & asked.body.model_fields_set)

    def changed(present: AnycastGroup) -> AnycastGroup:
        _permit_group(asked, present)
        return replace(present, **changes)

    return _group(asked, asked.registry.change_group(name, changed, asked.turn.over))


def delete_group(asked: Asked, name: str) -> Answer:
    asked.registry.delete_group(name, asked.turn.pause, partial(_permit_group, asked))
    return Answer()


def _stored_group(asked: Asked, group: AnycastGroup, created: bool) -> Answer:
    answer = _group(asked, group)
    return answer._replace(status=201, location=f"/v1/groups/{group.name}") if created else answer


def _group(asked: Asked, group: AnycastGroup) -> Answer:
    shown = _group_json(asked, group)
    return Answer(shown, tag=_tag_of(shown, _GROUP_SETTINGS))


def _permit_group(asked: Asked, present: AnycastGroup | None) -> None:
    """Raises Problem when the request wants something else to be there."""
    asked.condition.check(None if present is None else lambda: _tag_of(_settings_json(asked, present), _GROUP_SETTINGS))


def _group_json(asked: Asked, group: AnycastGroup) -> dict[str, Any]:
    return _settings_json(asked, group) | {"servers": _servers_json(asked, group)}


def _settings_json(asked: Asked, group: AnycastGroup) -> dict[str, Any]:
    prefixes = [str(prefix) for prefix in with_turns(group.prefixes, asked.turn.over)]
    return {"name": group.name, "prefixes": prefixes, **section_of(GroupSettings, group).model_dump(mode="json")}


def _tag_of(shown: Mapping[str, Any], settings: Collection[str]) -> str:
    return entity_tag({name: value for name, value in shown.items() if name in settings})


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


def list_services(asked: Asked) -> Answer:
    return Answer({"services": asked.views.services(asked.turn.over)})


def list_servers(asked: Asked, group: str) -> Answer:
    query: ServerPage = asked.query
    if query == ServerPage():
        return Answer({"servers": _servers_json(asked, asked.registry.group(group))})
    return _page_of_servers(asked, asked.registry.group(group), query)


def _page_of_servers(asked: Asked, group: AnycastGroup, query: ServerPage) -> Answer:
    """Its boundary holds while servers come and go; one whose health changes may be on two pages, or on none."""
    limit, after = query.limit or MAX_PAGE, query.cursor or (-1, b"")
    ranked = asked.views.worst_first(group, asked.turn.over)
    left = [(rank, server) for rank, server in ranked if _order(rank, server.address) > _order(*after)]
    if query.status:
        left = [(rank, server) for rank, server in left if WORST_FIRST[rank] is query.status]
    shown = [_server_json(asked, group.name, server) for _, server in with_turns(left[:limit], asked.turn.over)]
    following = None
    if len(left) > limit:
        rank, last = left[limit - 1]
        given = query.model_dump(mode="json", exclude_unset=True) | {"cursor": servers_cursor((rank, last.address))}
        following = f"/v1/groups/{group.name}/servers?{urlencode(given)}"
    return Answer({"servers": shown, "next": following})


def _order(rank: int, address: Address) -> tuple[int, int, Address]:
    return rank, len(address), address


def add_server(asked: Asked, group: str) -> Answer:
    new: NewServer = asked.body
    address, twin = new.addresses or (new.address, None)
    server = EnrolledServer(address, twin=twin, **new.values(_SERVER_SETTINGS))
    return _stored_server(asked, group, *asked.registry.put_server(group, server, anew=True))


def get_server(asked: Asked, group: str, address: Address) -> Answer:
    return _server(asked, group, asked.registry.server(group, address))


def put_server(asked: Asked, group: str, address: Address) -> Answer:
    _check_server_shown(asked, group, address)
    wanted = EnrolledServer(address, twin=_twin(asked, group, address), **asked.body.values(_SERVER_SETTINGS))
    permit = partial(_permit_server, asked)
    return _stored_server(asked, group, *asked.registry.put_server(group, wanted, permit=permit))


def patch_server(asked: Asked, group: str, address: Address) -> Answer:
    asked.registry.server(group, address)
    _check_server_shown(asked, group, address)
    changes = asked.body.values(_SERVER_SETTINGS & asked.body.model_fields_set)
    if twin := _twin(asked, group, address):
        changes["twin"] = twin

    def changed(present: EnrolledServer) -> EnrolledServer:
        _permit_server(asked, present)
        return replace(present, **changes)

    return _server(asked, group, asked.registry.change_server(group, address, changed))


def delete_server(asked: Asked, group: str, address: Address) -> Answer:
    asked.registry.delete_server(group, address, partial(_permit_server, asked))
    return Answer()


def _twin(asked: Asked, group: str, address: Address) -> Address | None:
    """The other one of the addresses that the body gives, if it does.  Raises Problem."""
    if asked.body.addresses is None:
        return None
    others = [each for each in asked.body.addresses if each != address]
    for each in others:
        access.check_caller(asked.caller, Need.ENROL, group, each)
    if len(others) == len(asked.body.addresses):
        raise reading.refusal("addresses", f"{text(address)}, which the path names, is not among them")
    enrolled = asked.registry.groups.get(group)
    present = enrolled.servers.get(address) if enrolled else None
    if not others and present and present.twin:
        reason = f"it is enrolled together with {text(present.twin)}: remove it first, to enrol it alone"
        raise reading.refusal("addresses", reason)
    return others[0] if others else None


def _check_server_shown(asked: Asked, group: str, address: Address) -> None:
    reading.check_fixed(asked.body, _server_json(asked, group, EnrolledServer(address)))


def _stored_server(asked: Asked, group: str, server: EnrolledServer, created: bool) -> Answer:
    answer = _server(asked, group, server)
    location = f"/v1/groups/{group}/servers/{text(server.address)}"
    return answer._replace(status=201, location=location) if created else answer


def _server(asked: Asked, group: str, server: EnrolledServer) -> Answer:
    return Answer(_server_json(asked, group, server), tag=_tag_of(_set_of(server), _SERVER_SETTINGS))


def _permit_server(asked: Asked, present: EnrolledServer | None) -> None:
    """Raises Problem when the request wants something else to be there."""
    asked.condition.check(None if present is None else lambda: _tag_of(_set_of(present), _SERVER_SETTINGS))


def _servers_json(asked: Asked, group: AnycastGroup) -> list[dict[str, Any]]:
    in_order = sorted(group.servers.values(), key=lambda server: (len(server.address), server.address))
    return [_server_json(asked, group.name, server) for server in with_turns(in_order, asked.turn.over)]


def _server_json(asked: Asked, group: str, server: EnrolledServer) -> dict[str, Any]:
    lease = {"lease_left_s": asked.life.lease_left_s(group, server.address), "drain": drain_json(asked, server.drain)}
    return _set_of(server) | asked.views.server_status(group, server.address) | lease


def _set_of(server: EnrolledServer) -> dict[str, Any]:
    """What is set of it, and its addresses."""
    both = sorted(filter(None, (server.address, server.twin)), key=len)
    shown = section_of(EnrolledSettings, server).model_dump(mode="json")
    return {"address": text(server.address), "addresses": list(map(text, both)), **shown}
