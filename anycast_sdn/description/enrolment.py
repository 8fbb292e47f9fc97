"""Which groups and servers may be enrolled: the rules, for the network file and for REST alike.

Rules:

1. Pure: a check of values returns nothing, or raises.
2. An error is a sentence for the operator, and ``where`` names the field that is at fault
   ("prefixes[1]", "address").  The caller adds the file's or the request's name.
3. A group is checked against the *other* groups, by name: it may be enrolled again, or changed.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Mapping

from anycast_sdn.core.checks import AnyCheck, HttpCheck, UdpCheck
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import (
    Address,
    AnycastGroup,
    ConfigurationError,
    Drain,
    Gateway,
    Prefix,
    Server,
    ServerState,
    text,
)
from anycast_sdn.core.prefixes import NestedPrefixes, reserved
from anycast_sdn.core.roles import Side
from anycast_sdn.core.tracked_address import layout_of
from anycast_sdn.description import limits
from anycast_sdn.description.model import Network

GROUP_NAME = r"[a-z][a-z0-9-]{0,63}"


class EnrolmentError(ConfigurationError):
    """A group or a server that may not be enrolled; ``where``: the field at fault."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where


class InvalidGroup(EnrolmentError):
    """The name is malformed, or there is no prefix."""


class InvalidValidity(EnrolmentError):
    """A validity that is not within 1–65535 seconds."""


class InvalidWeight(EnrolmentError):
    """The weight is not within 0–1000."""


class InvalidSetting(EnrolmentError):
    """A setting is out of its range, or contradicts another one."""


class InvalidTwin(EnrolmentError):
    """The two addresses cannot be those of one server."""


class OutsideAnycast(EnrolmentError):
    """ANY/n lies in none of the network's ANY/m (M2)."""


class Overlap(EnrolmentError):
    """ANY/n shares addresses with another ANY/n."""


class NoRoom(EnrolmentError):
    """A client edge inside a connection tracker has no room for so many service addresses of a family."""

    def __init__(self, where: str, reason: str, v6: bool) -> None:
        super().__init__(where, reason)
        self.v6 = v6


class WrongFamily(EnrolmentError):
    """No prefix of the group has the server's address family."""


class ServerOutsideEdges(EnrolmentError):
    """The address is in no server subnet, so it is behind no server edge (M4)."""


class ServerInClientSubnet(EnrolmentError):
    """The address is one of a site's client subnet (M5)."""


class NotAHostAddress(EnrolmentError):
    """The address of a gateway or a network, or a broadcast address: no server can have it."""


def check_group(
    network: Network, groups: Iterable[AnycastGroup], group: AnycastGroup, turn: Callable[[], None] = lambda: None
) -> None:
    """Raises EnrolmentError when ``group`` may not be enrolled in ``network`` beside ``groups`` (M2).

    ``turn`` is called between one prefix and the next: there may be thousands.
    """
    if not re.fullmatch(GROUP_NAME, group.name):
        raise InvalidGroup(
            "name", f"{group.name!a} is not a group name: use 1-64 of a-z, 0-9 and '-', a letter first"
        )
    if not group.prefixes:
        raise InvalidGroup("prefixes", "a group needs at least one prefix, for example 198.18.0.1/32")
    check_settings(group)
    others = groups if isinstance(groups, Groups) else Groups({other.name: other for other in groups})
    in_order = sorted(group.prefixes)
    apart = True
    for prefix, after in itertools.pairwise(in_order):
        # In sorted order, a prefix within another follows it, with only others within it between.
        apart = apart and not prefix.overlaps(after)
        turn()
    ours = NestedPrefixes()
    for index, prefix in enumerate(group.prefixes):
        turn()
        where = f"prefixes[{index}]"
        if not any(anycast.covers(prefix) for anycast in network.anycast_prefixes):
            known = ", ".join(map(str, network.anycast_prefixes))
            raise OutsideAnycast(where, f"{prefix} is not within an anycast prefix of this network ({known})")
        theirs = ((other, owner) for other, owner in others.overlapping(prefix) if owner != group.name)
        own = () if apart else itertools.chain(ours.covering(prefix), ours.within(prefix))
        for other, owner in itertools.chain(theirs, ((other, group.name) for other in own)):
            raise _overlap(where, prefix, other, owner)
        if not apart:
            ours.add(prefix)
    check_room(network, others, group)


def check_room(network: Network, groups: Groups, group: AnycastGroup | None = None) -> None:
    """Raises NoRoom when these are too many service addresses for a client edge (``core.tracked_address``).

    ``group``: among these, in place of the one of its name.
    """
    edges = [switch for switch in network.switches if switch.client_edge and switch.client_edge.wants_conntrack]
    former = groups.get(group.name) if group else None
    for v6 in (False, True) if edges else ():
        wanted = groups.addresses(v6) - _addresses(former, v6) + _addresses(group, v6)
        for switch in edges:
            assert switch.client_edge
            layout = layout_of(switch.client_edge, network.subnets_of(switch.name), v6)
            if layout.subnets and wanted > layout.services:
                family = "IPv6" if v6 else "IPv4"
                reason = f"{wanted} service addresses of {family} are more than client edge {switch.name} has room for"
                taken = layout.host_bits + layout.subnet_bits
                why = f"the {layout.width} bits of an address, less {taken} for its clients, leave {layout.services}"
                raise NoRoom("prefixes", f"{reason}: {why}. Take longer prefixes, or engine: rules there", v6)


def _addresses(group: AnycastGroup | None, v6: bool) -> int:
    """How many its ANY/n of one family have."""
    return sum(1 << prefix.bits - prefix.length for prefix in group.prefixes if prefix.is_v6 is v6) if group else 0


def check_settings(group: AnycastGroup) -> None:
    """Raises EnrolmentError when a setting is out of its range, or contradicts another one."""
    for member, seconds in group.validity._asdict().items():
        if seconds is not None and seconds not in limits.VALIDITY:
            where = f"validity.{member}"
            raise InvalidValidity(where, f"the validity of {seconds} s is not within 1 and 65535 s")
    _check_ranges("", {"min_healthy": group.min_healthy, "slow_start_s": group.slow_start_s})
    _check_ranges("selection.", group.selection._asdict())
    if len(group.checks) > limits.MAX_CHECKS:
        raise InvalidSetting("checks", f"a group has {limits.MAX_CHECKS} checks at most, not {len(group.checks)}")
    for index, check in enumerate(group.checks):
        _check_check(f"checks[{index}]", check)
        if check in group.checks[:index]:
            raise InvalidSetting(f"checks[{index}]", "the same check is there already: keep one of them")


def check_server_settings(server: Server) -> None:
    """Raises EnrolmentError when a setting is out of its range, or contradicts another one."""
    if server.weight not in limits.WEIGHT:
        raise InvalidWeight("weight", f"the weight {server.weight} is not within {limits.WEIGHT}")
    _check_ranges("", {"capacity": server.capacity})
    if server.lease:
        _check_ranges("lease.", server.lease._asdict())
    if server.drain:
        check_drain(server.drain)
        if server.state is not ServerState.DRAINING:
            raise InvalidSetting("drain", f"only a draining server has a drain, and this one is {server.state.value}")


def check_drain(drain: Drain) -> None:
    """Raises InvalidSetting."""
    _check_ranges("", {"deadline_s": drain.deadline_s})


def _check_ranges(where: str, values: Mapping[str, object]) -> None:
    """Each by its name; what has no range is not looked at.  Raises InvalidSetting."""
    for name, value in values.items():
        if value is not None and name in limits.RANGES and value not in limits.RANGES[name]:
            raise InvalidSetting(f"{where}{name}", f"{name} must be within {limits.RANGES[name]}, not {value}")


def _check_check(where: str, check: AnyCheck) -> None:
    """Raises InvalidSetting."""
    _check_ranges(f"{where}.", dataclasses.asdict(check))
    if check.timeout_s > check.interval_s:
        reason = f"the timeout of {check.timeout_s:g} s is longer than the interval of {check.interval_s:g} s"
        raise InvalidSetting(f"{where}.timeout_s", f"{reason}: attempts would overlap")
    match check:
        case UdpCheck():
            for name in ("payload", "answer"):
                size = len(getattr(check, name) or b"")
                if size > limits.MAX_PAYLOAD:
                    reason = f"it may have {limits.MAX_PAYLOAD} bytes at most, not {size}"
                    raise InvalidSetting(f"{where}.{name}", reason)
            if check.dns and (check.payload or check.answer is not None):
                raise InvalidSetting(f"{where}.dns", "dns is in place of payload and answer: leave these out")
            if check.dns and not _is_domain_name(check.dns):
                raise InvalidSetting(f"{where}.dns", f"{check.dns[:80]!a} is no domain name such as www.example.com")
        case HttpCheck():
            if not re.fullmatch(r"/[!-~]*", check.path) or len(check.path) > limits.MAX_PATH:
                reason = f"the path must begin with / and have up to {limits.MAX_PATH} ASCII characters without blanks"
                raise InvalidSetting(f"{where}.path", reason)
            for i, status in enumerate(check.expect_status):
                if status not in limits.HTTP_STATUS:
                    reason = f"{status} is no status of HTTP: they are within {limits.HTTP_STATUS}"
                    raise InvalidSetting(f"{where}.expect_status[{i}]", reason)


def _is_domain_name(name: str) -> bool:
    """RFC 1035 §2.3.4, with _ for names of services (RFC 2782)."""
    name = name.removesuffix(".")
    return len(name) <= 253 and all(re.fullmatch(r"[A-Za-z0-9_-]{1,63}", label) for label in name.split("."))


def check_apart(groups: Groups, group: AnycastGroup) -> None:
    """Raises Overlap when a prefix of ``group`` shares addresses with one of another group."""
    for index, prefix in enumerate(group.prefixes) if groups else ():
        for other, owner in groups.overlapping(prefix):
            if owner != group.name:
                raise _overlap(f"prefixes[{index}]", prefix, other, owner)


def _overlap(where: str, prefix: Prefix, other: Prefix, owner: str) -> Overlap:
    return Overlap(where, f"{prefix} overlaps {other} of group {owner}: an address belongs to one service")


def check_server(network: Network, group: AnycastGroup, address: Address) -> None:
    """Raises EnrolmentError when no server with ``address`` can serve ``group`` (M4, M5)."""
    family = "IPv6" if len(address) == 16 else "IPv4"
    if all(len(prefix.network) != len(address) for prefix in group.prefixes):
        raise WrongFamily(
            "address", f"{text(address)} cannot serve group {group.name}: the group has no {family} prefix"
        )
    subnet = network.subnet_of(address)
    if subnet is None:
        raise ServerOutsideEdges(
            "address", f"{text(address)} is in no server subnet: no server edge could deliver to it"
        )
    if subnet.side is Side.CLIENT:
        raise ServerInClientSubnet(
            "address",
            f"{text(address)} is in {subnet.name}, a client subnet of its site {subnet.edge}: "
            "give the server an address in a server subnet (M5)",
        )
    gateway = next(gateway for gateway in subnet.gateways if address in gateway.prefix)
    if reason := unusable(gateway, address):
        raise NotAHostAddress("address", f"{text(address)} is {reason}: no server can have it")


def check_twin(network: Network, address: Address, twin: Address) -> None:
    """Raises InvalidTwin when these cannot be the two addresses of one server."""
    if len(address) == len(twin):
        family = "IPv6" if len(twin) == 16 else "IPv4"
        raise InvalidTwin(
            "addresses", f"{text(address)} and {text(twin)} are both {family}: a server has one address of each family"
        )
    here, there = network.subnet_of(address), network.subnet_of(twin)
    if here and there and here.edge != there.edge:
        raise InvalidTwin(
            "addresses",
            f"{text(address)} is behind {here.edge} and {text(twin)} behind {there.edge}: enrol them as two servers",
        )


def unusable(gateway: Gateway, address: Address) -> str | None:
    """Why no host of the gateway's subnet can have ``address``, or None when it can."""
    if address == gateway.address:
        return f"the gateway of {gateway.prefix}"
    return reserved(gateway.prefix, address)
