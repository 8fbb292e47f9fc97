"""What must hold between the parts of a network description, once each part has the right form.

Rules:

1. Pure: a ``Network`` in, all its problems out, each with its path in the network file.
2. Names, datapath ids and the ports of links are unique; every name that is referred to exists.
3. Each address has one purpose: ANY/m, PRh/k and subnets never overlap (M2, M3).
4. A role has what it needs: prefixes in the families that it serves, subnets of its side (M25).
5. Uplinks, BGP sessions and the testbed's routers obey ``uplink_checks``, client edges inside the connection tracker
   ``conntrack_checks``.
6. First enrolments obey ``enrolment``, as those over REST do (M4, M5).

Switches with no path between them are no problem: links come and go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Prefix, text
from anycast_sdn.core.prefixes import SPECIAL, reserved
from anycast_sdn.core.roles import ClientEdgeRole, Pooling, Side, Subnet
from anycast_sdn.core.words import listed
from anycast_sdn.description import conntrack_checks, enrolment, uplink_checks
from anycast_sdn.description.model import Host, Network, Port
from anycast_sdn.description.problems import Problem, no_such


class _Claim(NamedTuple):
    """A prefix in the file, where it is written, and its purpose."""

    path: str
    purpose: str
    prefix: Prefix


def problems(network: Network) -> Iterator[Problem]:
    """Every contradiction in ``network``; none when it can be built and run."""
    yield from _repeated(_unique(network))
    yield from _link_problems(network)
    yield from _prefix_problems(network)
    for index, switch in enumerate(network.switches):
        if role := switch.client_edge:
            yield from _client_edge_problems(network, switch.name, role, f"switches[{index}].client_edge")
    for index, subnet in enumerate(network.subnets):
        yield from _subnet_problems(network, subnet, f"subnets[{index}]")
    for index, host in enumerate(network.hosts):
        yield from _host_problems(network, host, f"hosts[{index}]")
    yield from uplink_checks.problems(network)
    yield from conntrack_checks.problems(network)
    for index, group in enumerate(network.groups):
        yield from _group_problems(network, network.groups[:index], group, f"groups[{index}]")
    yield from _room_problems(network)


def _unique(network: Network) -> Iterator[tuple[str, str]]:
    """(path, description) of everything that must be unique."""
    for i, switch in enumerate(network.switches):
        yield f"switches[{i}].name", f"node name {switch.name}"
        yield f"switches[{i}].dpid", f"datapath id {switch.dpid:#x}"
    for i, link in enumerate(network.links):
        yield f"links[{i}].ends[0]", f"port {link.a}"
        yield f"links[{i}].ends[1]", f"port {link.b}"
    # Subnets may share a port with one another, but not with a link.
    subnet_ports: dict[Port, str] = {}
    for i, subnet in enumerate(network.subnets):
        yield f"subnets[{i}].name", f"subnet name {subnet.name}"
        for j, number in enumerate(subnet.ports):
            subnet_ports.setdefault(Port(subnet.edge, number), f"subnets[{i}].ports[{j}]")
    yield from ((path, f"port {port}") for port, path in subnet_ports.items())
    yield from uplink_checks.unique(network)
    for i, host in enumerate(network.hosts):
        yield f"hosts[{i}].name", f"node name {host.name}"
        for j, address in enumerate(host.addresses):
            yield f"hosts[{i}].addresses[{j}]", f"address {text(address)}"
    for i, group in enumerate(network.groups):
        yield f"groups[{i}].name", f"group name {group.name}"


def _repeated(things: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for path, thing in things:
        if first.setdefault(thing, path) != path:
            yield Problem(path, f"the {thing} is already taken by {first[thing]}: give this one its own")


def _link_problems(network: Network) -> Iterator[Problem]:
    known = {switch.name for switch in network.switches}
    for i, link in enumerate(network.links):
        for j, end in enumerate((link.a, link.b)):
            if end.switch not in known:
                yield no_such("switch", f"links[{i}].ends[{j}]", end.switch, known, "leads to nowhere: ")
        if link.a.switch == link.b.switch:
            yield Problem(f"links[{i}].ends", f"leads from {link.a.switch} to itself: a link joins two switches")
    yield from _mtu_problems(network)


def _mtu_problems(network: Network) -> Iterator[Problem]:
    """IPv6 needs links that take 1280 bytes (RFC 8200 §5)."""
    if not any(prefix.is_v6 for _, _, prefix in _claims(network)):
        return
    sizes = [(f"links[{i}].mtu", link.mtu) for i, link in enumerate(network.links)]
    sizes += [(f"uplinks[{i}].mtu", uplink.mtu) for i, uplink in enumerate(network.uplinks)]
    for path, mtu in sizes:
        if 0 < mtu < 1280:
            yield Problem(path, f"{mtu} is too small for IPv6: write 1280 or more, or leave out all IPv6 addresses")


def _prefix_problems(network: Network) -> Iterator[Problem]:
    """No prefix is special, and each address has one purpose (M2, M3)."""
    claims = list(_claims(network))
    for claim in claims:
        special = next((special for special in SPECIAL if claim.prefix.overlaps(special)), None)
        if special:
            reason = f"{claim.prefix} overlaps {special}, which is {SPECIAL[special]}"
            yield Problem(claim.path, f"{reason}: take another prefix")
    yield from _overlaps(claims)


def _claims(network: Network) -> Iterator[_Claim]:
    for i, prefix in enumerate(network.anycast_prefixes):
        yield _Claim(f"anycast_prefixes[{i}]", "an anycast prefix", prefix)
    for i, subnet in enumerate(network.subnets):
        for j, gateway in enumerate(subnet.gateways):
            yield _Claim(f"subnets[{i}].gateways[{j}]", f"subnet {subnet.name}", gateway.prefix)
    for i, uplink in enumerate(network.uplinks):
        for j, own in enumerate(uplink.addresses):
            yield _Claim(f"uplinks[{i}].addresses[{j}]", f"uplink {uplink.name}", own.prefix)
    for i, cable in enumerate(network.legacy_core.cables if network.legacy_core else ()):
        for j, prefix in enumerate(cable.prefixes):
            yield _Claim(f"legacy_core.cables[{i}].prefixes[{j}]", f"cable {'-'.join(cable.ends)}", prefix)
    for i, router in enumerate(network.legacy_core.routers if network.legacy_core else ()):
        for j, address in enumerate(router.loopbacks):
            path = f"legacy_core.routers[{i}].loopbacks[{j}]"
            yield _Claim(path, f"an address of router {router.name}", Prefix.host(address))
    for i, switch in enumerate(network.switches):
        for j, prefix in enumerate(switch.translation_prefixes):
            path = f"switches[{i}].client_edge.translation_prefixes[{j}]"
            yield _Claim(path, f"a translation prefix of {switch.name}", prefix)
        for j, address in enumerate(switch.addresses):
            yield _Claim(f"switches[{i}].addresses[{j}]", f"an address of {switch.name}", Prefix.host(address))


def _overlaps(claims: list[_Claim]) -> Iterator[Problem]:
    """Two prefixes nest or are disjoint; in sorted order, a prefix comes before those within it."""
    around: list[_Claim] = []
    for claim in sorted(claims, key=lambda claim: (claim.prefix.bits, claim.prefix)):
        while around and not around[-1].prefix.covers(claim.prefix):
            around.pop()
        if around:
            earlier, later = sorted((around[-1], claim), key=claims.index)
            reason = f"{later.prefix} overlaps {earlier.prefix}, {earlier.purpose} ({earlier.path})"
            yield Problem(later.path, f"{reason}: each needs addresses of its own")
        around.append(claim)


def _client_edge_problems(network: Network, name: str, role: ClientEdgeRole, path: str) -> Iterator[Problem]:
    for i, prefix in enumerate(role.translation_prefixes):
        if prefix.bits - prefix.length < 2:
            size = f"it gives {1 << (prefix.bits - prefix.length)} of the 4 addresses that are needed at least"
            where = f"{path}.translation_prefixes[{i}]"
            yield Problem(where, f"{prefix} is too small: {size}, take /{prefix.bits - 2} or shorter")
    if role.quarantine_min_s > role.quarantine_s:
        reason = f"{role.quarantine_min_s} is more than quarantine_s, {role.quarantine_s}"
        yield Problem(f"{path}.quarantine_min_s", f"{reason}: no address rests that long; take less, or leave it out")
    yield from _share_problems(role, path)
    if role.services != network.anycast_prefixes:
        yield from _service_problems(role.services, network.anycast_prefixes, "one of the anycast_prefixes", path)
    for v6, family in ((False, "IPv4"), (True, "IPv6")):
        clients = [
            subnet.name
            for subnet in network.subnets_of(name)
            if subnet.side is Side.CLIENT and any(gateway.prefix.is_v6 == v6 for gateway in subnet.gateways)
        ]
        wanted = clients and any(service.is_v6 == v6 for service in role.services)
        if wanted and all(prefix.is_v6 != v6 for prefix in role.translation_prefixes):
            reason = f"holds no {family} prefix: no {family} client of {clients[0]} could ever be served"
            yield Problem(f"{path}.translation_prefixes", f"{reason}; add one, or leave {family} out of the services")


def _service_problems(
    services: Iterable[Prefix], allowed: Iterable[Prefix], what: str, path: str
) -> Iterator[Problem]:
    claims = [_Claim(f"{path}.services[{i}]", "a service", service) for i, service in enumerate(services)]
    yield from _overlaps(claims)
    for where, _, service in claims:
        if not any(prefix.covers(service) for prefix in allowed):
            yield Problem(where, f"{service} is not within {what}")


def _share_problems(role: ClientEdgeRole, path: str) -> Iterator[Problem]:
    """Where flows share no addresses, a limit above the pool's size would limit nothing."""
    if role.pooling is not Pooling.FLOW:
        return
    for v6, family in ((False, "IPv4"), (True, "IPv6")):
        prefixes = [prefix for prefix in role.translation_prefixes if prefix.is_v6 is v6]
        size = sum(max(0, (1 << (prefix.bits - prefix.length)) - 2) for prefix in prefixes)
        for name in ("bindings_per_client", "bindings_per_port"):
            share = getattr(role, name)
            if size and share is not None and share > size:
                reason = f"{share} is more than the {size} addresses of the {family} translation prefixes"
                yield Problem(f"{path}.{name}", f"{reason}: take a part of them, or leave it out")


def _subnet_problems(network: Network, subnet: Subnet, path: str) -> Iterator[Problem]:
    edge = next((switch for switch in network.switches if switch.name == subnet.edge), None)
    if edge is None:
        yield no_such("switch", f"{path}.edge", subnet.edge, [switch.name for switch in network.switches])
    elif subnet.side is Side.CLIENT and edge.client_edge is None:
        yield Problem(f"{path}.side", f"a client subnet needs a client edge: give {edge.name} a client_edge")
    elif subnet.side is Side.SERVER and not edge.server_edge:
        yield Problem(f"{path}.side", f"a server subnet needs a server edge: give {edge.name} server_edge: true")
    if subnet.services and edge and edge.client_edge:
        what = f"the services of {edge.name}, its client edge"
        yield from _service_problems(subnet.services, edge.client_edge.services, what, path)
    elif subnet.services and edge:
        yield Problem(f"{path}.services", f"services need a client edge: give {edge.name} a client_edge, or write []")
    for i, gateway in enumerate(subnet.gateways):
        where = f"{path}.gateways[{i}]"
        if gateway.prefix.length == gateway.prefix.bits:
            yield Problem(where, f"{gateway} leaves no room for hosts: write the subnet's length, such as /24")
        elif reason := reserved(gateway.prefix, gateway.address):
            yield Problem(where, f"{text(gateway.address)} is {reason}: a gateway needs a host's address")
        if any(gateway.prefix.is_v6 == other.prefix.is_v6 for other in subnet.gateways[:i]):
            yield Problem(where, "is the second gateway of its family: make a subnet of its own for it")
    for i, port in enumerate(subnet.ports):
        if port in subnet.ports[:i]:
            yield Problem(f"{path}.ports[{i}]", f"port {port} is written twice: keep one of them")


def _host_problems(network: Network, host: Host, path: str) -> Iterator[Problem]:
    subnet = next((subnet for subnet in network.subnets if subnet.name == host.subnet), None)
    if subnet is None:
        yield no_such("subnet", f"{path}.subnet", host.subnet, [subnet.name for subnet in network.subnets])
        return
    if host.port not in subnet.ports:
        known = ", ".join(map(str, subnet.ports))
        yield Problem(f"{path}.port", f"port {host.port} does not lead to subnet {subnet.name} (its ports: {known})")
    for i, address in enumerate(host.addresses):
        where = f"{path}.addresses[{i}]"
        gateway = next((gateway for gateway in subnet.gateways if address in gateway.prefix), None)
        if gateway is None:
            known = ", ".join(str(gateway.prefix) for gateway in subnet.gateways)
            yield Problem(where, f"{text(address)} is outside subnet {subnet.name} ({known})")
        elif reason := enrolment.unusable(gateway, address):
            yield Problem(where, f"{text(address)} is {reason}: no host can have it")


def _group_problems(
    network: Network, others: tuple[AnycastGroup, ...], group: AnycastGroup, path: str
) -> Iterator[Problem]:
    try:
        enrolment.check_group(network, others, group)
    except enrolment.NoRoom:
        pass  # it is the same for all groups behind the first one: ``_room_problems``
    except enrolment.EnrolmentError as error:
        yield Problem(f"{path}.{error.where}", str(error))
    index, before = -1, None
    for address, server in group.servers.items():
        is_second = before is not None and server.twin == before  # both are one entry in the file
        index += not is_second
        before = address
        try:
            enrolment.check_server(network, group, address)
            enrolment.check_server_settings(server)
            if is_second and server.twin:
                enrolment.check_twin(network, server.twin, address)
        except enrolment.EnrolmentError as error:
            where = error.where
            if server.twin and where == "address":
                where = f"addresses[{int(is_second)}]"
            yield Problem(f"{path}.servers[{index}].{where}", str(error))


def _room_problems(network: Network) -> Iterator[Problem]:
    """A client edge has no room for all service addresses: told once, at the first group that is too much."""
    if (error := _no_room(network, len(network.groups))) is None:
        return
    counts = range(1, len(network.groups) + 1)
    first = bisect_left(counts, True, key=lambda count: _no_room(network, count) is not None)
    beyond = [group.name for group in network.groups[first:] if any(each.is_v6 is error.v6 for each in group.prefixes)]
    what = f"{'groups' if len(beyond) > 1 else 'group'} {listed(beyond)}"
    yield Problem(f"groups[{first}].{error.where}", f"{error}. There is no room for {what}" if beyond else str(error))


def _no_room(network: Network, count: int) -> enrolment.NoRoom | None:
    """What is wrong with the first ``count`` groups together."""
    try:
        enrolment.check_room(network, Groups({group.name: group for group in network.groups[:count]}))
    except enrolment.NoRoom as error:
        return error
    return None
