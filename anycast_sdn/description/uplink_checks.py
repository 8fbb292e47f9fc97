"""Checks of uplinks, of their BGP sessions, and of the testbed's ordinary routers.

The part of ``checks`` about networks that the controller does not manage; the same rules hold.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from anycast_sdn.core.model import Address, Prefix, text
from anycast_sdn.core.prefixes import reserved, special
from anycast_sdn.description.model import BgpSession, LegacyCore, Network, Port, Uplink
from anycast_sdn.description.problems import Problem, no_such


def unique(network: Network) -> Iterator[tuple[str, str]]:
    """(path, description) of everything that must be unique."""
    for i, uplink in enumerate(network.uplinks):
        yield f"uplinks[{i}].name", f"uplink name {uplink.name}"
        yield f"uplinks[{i}].port", f"port {Port(uplink.edge, uplink.port)}"
        if uplink.bgp:
            yield from _unique_in_session(uplink.bgp, f"uplinks[{i}].bgp")
    for i, router in enumerate(network.legacy_core.routers if network.legacy_core else ()):
        yield f"legacy_core.routers[{i}].name", f"node name {router.name}"
        for j, loopback in enumerate(router.loopbacks):
            yield f"legacy_core.routers[{i}].loopbacks[{j}]", f"loopback address {text(loopback)}"
        for j, name in enumerate(router.uplinks):
            yield f"legacy_core.routers[{i}].uplinks[{j}]", f"other end of uplink {name}"


def _unique_in_session(session: BgpSession, path: str) -> Iterator[tuple[str, str]]:
    """A member may have what a controller that is alone would have."""
    yield f"{path}.neighbour", f"BGP neighbour {text(session.neighbour)}"
    members = session.members
    if len(session.router_id) == 4 and session.router_id not in [member.router_id for member in members]:
        yield f"{path}.router_id", f"router id {text(session.router_id)} of AS {session.local_as}"
    for i, member in enumerate(members):
        where = f"{path}.members[{i}]"
        yield f"{where}.name", f"member {member.name} of {path}"
        yield f"{where}.router_id", f"router id {text(member.router_id)} of AS {session.local_as}"
        neighbour = member.neighbour or session.neighbour
        yield f"{where}.local_address", f"session of {text(member.local_address)} with {text(neighbour)}"
        if neighbour != session.neighbour:
            yield f"{where}.neighbour", f"BGP neighbour {text(neighbour)}"


def problems(network: Network) -> Iterator[Problem]:
    known = {switch.name for switch in network.switches}
    for i, uplink in enumerate(network.uplinks):
        if uplink.edge not in known:
            yield no_such("switch", f"uplinks[{i}].edge", uplink.edge, known)
        yield from _address_problems(uplink, f"uplinks[{i}]")
        yield from _route_problems(network, uplink, f"uplinks[{i}]")
        if uplink.bgp:
            yield from _session_problems(network, uplink.bgp, f"uplinks[{i}].bgp")
            for j, member in enumerate(uplink.bgp.members):
                if session := uplink.bgp.of_member(member.name):
                    yield from _address_of_session_problems(network, session, f"uplinks[{i}].bgp.members[{j}]")
    if network.legacy_core:
        yield from _core_problems(network, network.legacy_core)


def _address_problems(uplink: Uplink, path: str) -> Iterator[Problem]:
    for i, own in enumerate(uplink.addresses):
        where = f"{path}.addresses[{i}]"
        if own.prefix.length == own.prefix.bits:
            yield Problem(where, f"{own} leaves no room for a router: write the link's length, such as /30")
        elif reason := reserved(own.prefix, own.address):
            yield Problem(where, f"{text(own.address)} is {reason}: an edge needs a host's address")
        if any(own.prefix.is_v6 == other.prefix.is_v6 for other in uplink.addresses[:i]):
            yield Problem(where, "is the second address of its family: keep one of them")
    for i, router in enumerate(uplink.routers):
        where = f"{path}.routers[{i}]"
        home = next((own for own in uplink.addresses if router in own.prefix), None)
        if home is None:
            yield Problem(where, f"{text(router)} is not on the link ({', '.join(map(str, uplink.addresses))})")
        elif router == home.address:
            yield Problem(where, f"{text(router)} is the edge's own address: write the router's")
        elif reason := reserved(home.prefix, router):
            yield Problem(where, f"{text(router)} is {reason}: no router can have it")
        if any(len(router) == len(other) for other in uplink.routers[:i]):
            yield Problem(where, "is the second router of its family: make an uplink of its own for it")


def _route_problems(network: Network, uplink: Uplink, path: str) -> Iterator[Problem]:
    own = [gateway.prefix for subnet in network.subnets_of(uplink.edge) for gateway in subnet.gateways]
    own += [address.prefix for address in uplink.addresses]
    own += [prefix for switch, prefix in _translation_prefixes(network) if switch == uplink.edge]
    for i, prefix in enumerate(uplink.routes):
        where = f"{path}.routes[{i}]"
        if uplink.router(prefix.is_v6) is None:
            family = "IPv6" if prefix.is_v6 else "IPv4"
            yield Problem(where, f"{prefix} cannot be reached: the uplink has no {family} router")
        if reason := special(prefix):
            yield Problem(where, f"{prefix} is {reason}: no router forwards that")
        if home := next((known for known in own if known.covers(prefix)), None):
            yield Problem(where, f"{prefix} is the edge's own ({home}): leave it out")
        if prefix in uplink.routes[:i]:
            yield Problem(where, f"{prefix} is written twice: keep one of them")


def _session_problems(network: Network, session: BgpSession, path: str) -> Iterator[Problem]:
    yield from _address_of_session_problems(network, session, path)
    if session.local_as == session.neighbour_as:
        yield Problem(f"{path}.local_as", "is the router's AS, too: take another one for the edge, such as 64512")


def _address_of_session_problems(network: Network, session: BgpSession, path: str) -> Iterator[Problem]:
    if len(session.router_id) != 4 or session.router_id == bytes(4):
        reason = "is missing, and there is no IPv4 address that could stand for it" if not session.router_id else (
            "must be an IPv4 address, which only names the edge"
        )
        yield Problem(f"{path}.router_id", f"{reason}: write one, such as 10.255.0.1")
    if len(session.local_address) != len(session.neighbour):
        yield Problem(f"{path}.local_address", "is of another family than the neighbour's: take both from one family")
    if session.local_address == session.neighbour:
        yield Problem(f"{path}.neighbour", "is the controller's own address: write the router's")
    for name, address in (("local_address", session.local_address), ("neighbour", session.neighbour)):
        if unfit := _unfit_for_a_session(network, address):
            reason = f"{text(address)} is {unfit}: write the address that controller or router has for the session"
            yield Problem(f"{path}.{name}", reason)


def _unfit_for_a_session(network: Network, address: Address) -> str | None:
    """Why neither controller nor router can have this address; None for loopback and 169.254.0.0/16, which work."""
    found = ipaddress.ip_address(address)
    used = found.is_loopback or (found.is_link_local and found.version == 4)
    if not used and (reason := special(Prefix.host(address))):
        return reason
    taken = [(prefix, "an anycast prefix") for prefix in network.anycast_prefixes]
    taken += [(prefix, f"a translation prefix of {switch}") for switch, prefix in _translation_prefixes(network)]
    return next((f"in {prefix}, {purpose}" for prefix, purpose in taken if address in prefix), None)


def _translation_prefixes(network: Network) -> Iterator[tuple[str, Prefix]]:
    for switch in network.switches:
        for prefix in switch.translation_prefixes:
            yield switch.name, prefix


def _core_problems(network: Network, core: LegacyCore) -> Iterator[Problem]:
    uplinks = {uplink.name: uplink for uplink in network.uplinks}
    names = {router.name for router in core.routers}
    for i, router in enumerate(core.routers):
        if sorted(map(len, router.loopbacks)) not in ([4], [4, 16]):
            where = f"legacy_core.routers[{i}].loopbacks"
            yield Problem(where, "needs one IPv4 address, which is the router id, and at most one IPv6 address")
        for j, name in enumerate(router.uplinks):
            where = f"legacy_core.routers[{i}].uplinks[{j}]"
            if name not in uplinks:
                yield no_such("uplink", where, name, uplinks)
            elif (session := uplinks[name].bgp) is None:
                yield Problem(where, f"uplink {name} has no bgp section: the router would not learn our prefixes")
            elif session.neighbour_as != core.as_number:
                yield Problem(where, f"the routers' AS is {core.as_number}, but {name} expects {session.neighbour_as}")
    for i, cable in enumerate(core.cables):
        where = f"legacy_core.cables[{i}]"
        for j, end in enumerate(cable.ends):
            if end not in names:
                yield no_such("router", f"{where}.ends[{j}]", end, names, "leads to nowhere: ")
        if cable.ends[0] == cable.ends[1]:
            yield Problem(f"{where}.ends", f"leads from {cable.ends[0]} to itself: a cable joins two routers")
        for j, prefix in enumerate(cable.prefixes):
            if prefix.bits - prefix.length < 2:
                yield Problem(f"{where}.prefixes[{j}]", f"{prefix} is too small: take /{prefix.bits - 2}")
