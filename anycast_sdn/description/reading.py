"""The network file: YAML → a validated, frozen ``core.model.Network``.

The file passes three borders, and after the last one nobody checks again:

1. *Text.*  YAML as people mean it: no aliases, tags or duplicate keys, and a plain scalar is a number
   only when it looks like one.  (YAML 1.1 reads 0010 as 8, and 1:20 in base 60.)
2. *Shape.*  The pydantic models below mirror the file: its keys, types, units and ranges.
3. *Sense.*  ``description.checks`` compares the parts with one another.

Each border reports all that it finds, one line per problem: ``FILE: switches[0].dpid: reason``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from anycast_sdn.core.model import Address, AnycastGroup, ConfigurationError, Gateway, Prefix, Server, packed, text
from anycast_sdn.core.roles import ClientEdgeRole, Expiry, Side, Subnet, Validity
from anycast_sdn.description import checks, enrolment
from anycast_sdn.description.checks import Problem
from anycast_sdn.description.model import (
    BgpSession,
    Host,
    LegacyCable,
    LegacyCore,
    LegacyRouter,
    Limits,
    Link,
    Network,
    Port,
    Switch,
    Uplink,
)

MAX_CHARACTERS = 1 << 18  # of a network file
MAX_DEPTH = 16  # of its nesting; the format needs 6


def load(path: str | Path) -> Network:
    """The network that a file describes.  Raises ConfigurationError with every problem found."""
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not a text file in UTF-8: {error.reason}") from error
    return parse(content, str(path))


def parse(content: str, source: str) -> Network:
    """As ``load``, from text; ``source`` stands for the file's name in errors."""
    if len(content) > MAX_CHARACTERS:
        raise ConfigurationError(f"{source}: is longer than {MAX_CHARACTERS} characters: no network file is")
    try:
        values = yaml.load(content, _Loader)
    # PyYAML raises plain ValueError or OverflowError for an escape like "\UFFFFFFFF".
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{source}: {_yaml_reason(error)}") from error
    try:
        network = _File.model_validate(values).network()
    except ValidationError as error:
        raise _failure(source, map(_shape_problem, error.errors())) from error
    if problems := list(checks.problems(network)):
        raise _failure(source, problems)
    return network


def _failure(source: str, problems: Iterable[Problem]) -> ConfigurationError:
    return ConfigurationError("\n".join(": ".join(filter(None, (source, *problem))) for problem in problems))


# ------------------------------------------------------------------------------ 1. text


class _Loader(yaml.SafeLoader):
    """A safe loader without the parts of YAML that surprise or that a small file can abuse."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases (*name) are not supported: write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags (!name) are not supported: remove it", event)
        if self.depth == MAX_DEPTH:
            raise _refusal("nested too deeply for a network file", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key must be a word", key)
            if key.value in seen:
                raise _refusal(f"{_shown(key.value)} stands here twice: keep one of them", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# No null either: a key without a value is a slip, never a meaning.
_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]{0,19})$"), list("-0123456789")
)


def _refusal(reason: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=place.start_mark)


def _yaml_reason(error: Exception) -> str:
    """PyYAML's complaint on one line, with its place."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"is not YAML: {_shown(str(error), 200)}"
    mark = error.problem_mark
    context = f"{error.context}: " if error.context else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {context}{error.problem}"


def _shown(value: object, limit: int = 60) -> str:
    """A value from the file as it may stand in a one-line message."""
    shown = ascii(value)
    return shown if len(shown) <= limit else f"{shown[:limit]}..."


# ------------------------------------------------------------------------------ 2. shape


def _read(pattern: str, convert: Callable[[str], object], wanted: str) -> PlainValidator:
    """Text of this pattern, converted; everything else is "not ``wanted``"."""

    def validate(value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{_shown(value)} is not {wanted}")
        try:
            return convert(value)
        except ValueError as error:
            raise ValueError(f"{_shown(value)} is not {wanted}: {error}") from error

    return PlainValidator(validate)


def _prefix(value: str) -> Prefix:
    gateway = Gateway.parse(value)
    if gateway.address != gateway.prefix.network:
        raise ValueError(f"bits are set beyond its length, write {gateway.prefix}")
    return gateway.prefix


def _port(value: str) -> Port:
    switch, number = value.split(":")
    if not 1 <= int(number) <= 65279:
        raise ValueError("a port number is 1-65279")
    return Port(switch, int(number))


def _dpid(value: object) -> int:
    """A datapath id; hexadecimal after 0x, and when written as the 16 digits that switches print, in pairs or not."""
    if isinstance(value, str) and re.fullmatch(_DPID, value):
        dpid = int(value.replace(":", ""), 16)
    elif isinstance(value, int) and not isinstance(value, bool) and value < 10**15:
        dpid = value
    else:  # 16 decimal digits without quotes too: nobody can tell what was meant
        raise ValueError(
            f"{_shown(value)} is not a datapath id: write 1, 0x1, '0000000000000001' or 00:00:00:00:00:00:00:01"
        )
    if dpid <= 0:
        raise ValueError(f"{dpid} is not a datapath id: it must be above 0")
    return dpid


def _community(value: str) -> int:
    high, low = map(int, value.split(":"))
    if max(high, low) > 65535:
        raise ValueError("each half is 0-65535")
    return high << 16 | low


def _as_number(value: object) -> int:
    reserved = (0, 23456, 65535, 4294967295)  # RFC 7607, RFC 6793, RFC 7300
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 32 or value in reserved:
        raise ValueError(f"{_shown(value)} is no AS number: write one such as 64512, which is for private use")
    return value


def _password(value: object) -> str:
    """Its value stands in no message."""
    if not isinstance(value, str) or not re.fullmatch("[!-~]{1,80}", value):
        raise ValueError("is no password for TCP MD5: write 1-80 ASCII characters without blanks, digits in quotes")
    return value


def _keys_of(settings: type[Validity] | type[Limits]) -> AfterValidator:
    known = [field.name for field in dataclasses.fields(settings)]

    def validate(key: str) -> str:
        if key not in known:
            raise ValueError(f"unknown key: the keys here are {', '.join(known)}")
        return key

    return AfterValidator(validate)


def _once_each(servers: list[_Server]) -> list[_Server]:
    seen: set[Address] = set()
    for server in servers:
        if server.address in seen:
            raise ValueError(f"{text(server.address)} is enrolled twice: keep one of them")
        seen.add(server.address)
    return servers


_DPID = r"0x[0-9A-Fa-f]{1,16}|[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){7}"
_IP = r"[0-9A-Fa-f.:]{2,45}"
_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,63}"
Name = Annotated[str, _read(_NAME, str, "a name: use 1-64 of letters, digits, '-', '_' and '.', a letter first")]
# Groups come over REST as well, and are named there.
GroupName = Annotated[
    str, _read(enrolment.GROUP_NAME, str, "a name: use 1-64 of a-z, 0-9 and '-', a letter first")
]
IpAddress = Annotated[Address, _read(_IP, packed, "an IP address such as 10.1.0.10 or 2001:db8:1::10")]
IpPrefix = Annotated[Prefix, _read(_IP + "/[0-9]{1,3}", _prefix, "a prefix such as 10.1.0.0/24")]
IpGateway = Annotated[
    Gateway, _read(_IP + "/[0-9]{1,3}", Gateway.parse, "a gateway and its subnet's length, as in 10.1.0.1/24")
]
LinkEnd = Annotated[Port, _read(r"[^:]{1,64}:[0-9]{1,5}", _port, "a switch's port such as core:10")]
Community = Annotated[int, _read(r"[0-9]{1,5}:[0-9]{1,5}", _community, "a community such as 65001:100")]
AsNumber = Annotated[int, PlainValidator(_as_number)]
PortNumber = Annotated[int, Field(ge=1, le=65279)]
Seconds = Annotated[int, Field(ge=1, le=65535)]
Rate = Annotated[int, Field(ge=1, le=1_000_000)]
Mtu = Annotated[int, Field(ge=576, le=65520)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ClientEdge(_Section):
    translation_prefixes: Annotated[list[IpPrefix], Field(min_length=1)]
    services: list[IpPrefix] | None = None  # None: all anycast prefixes
    validity: dict[Annotated[str, _keys_of(Validity)], Seconds] = {}
    quarantine_s: Annotated[int, Field(ge=0, le=65535)] = 120
    expiry: Annotated[Expiry, _read(r"idle_timeout|sweep|auto", Expiry, "idle_timeout, sweep or auto")] = Expiry.AUTO
    idle_timeouts: Count = 4000
    bindings_per_client: Annotated[int, Field(ge=1)] | None = None
    bindings_per_port: Annotated[int, Field(ge=1)] | None = None

    def role(self, anycast: list[Prefix]) -> ClientEdgeRole:
        return ClientEdgeRole(
            tuple(self.translation_prefixes),
            tuple(anycast if self.services is None else self.services),
            Validity(**self.validity),
            self.quarantine_s,
            self.expiry,
            self.idle_timeouts,
            self.bindings_per_client,
            self.bindings_per_port,
        )


class _Switch(_Section):
    name: Name
    dpid: Annotated[int, PlainValidator(_dpid)]
    client_edge: _ClientEdge | None = None
    server_edge: bool = False
    addresses: list[IpAddress] = []

    def switch(self, anycast: list[Prefix]) -> Switch:
        role = self.client_edge.role(anycast) if self.client_edge else None
        return Switch(self.name, self.dpid, role, self.server_edge, tuple(self.addresses))


class _Link(_Section):
    ends: Annotated[list[LinkEnd], Field(min_length=2, max_length=2)]
    cost: Annotated[int, Field(ge=1, le=65535)] = 1
    mtu: Mtu | None = None  # None: whatever hosts send


class _Subnet(_Section):
    name: Name
    edge: str
    side: Literal["client", "server"]
    gateways: Annotated[list[IpGateway], Field(min_length=1)]
    ports: Annotated[list[PortNumber], Field(min_length=1)]
    services: list[IpPrefix] | None = None  # None: as its edge

    def subnet(self) -> Subnet:
        services = None if self.services is None else tuple(self.services)
        return Subnet(self.name, self.edge, Side(self.side), tuple(self.gateways), tuple(self.ports), services)


class _Bgp(_Section):
    local_as: AsNumber
    local_address: IpAddress
    neighbour: IpAddress
    neighbour_as: AsNumber
    router_id: IpAddress | None = None  # None: the uplink's own IPv4 address
    med: Annotated[int, Field(ge=1, le=4294967295)] | None = None
    communities: Annotated[list[Community], Field(max_length=64)] = []
    hold_s: Annotated[int, Field(ge=10, le=65535)] = 10
    ttl: Annotated[int, Field(ge=1, le=255)] = 1
    password: Annotated[str, PlainValidator(_password)] | None = None

    def session(self, addresses: Iterable[Gateway]) -> BgpSession:
        own = (gateway.address for gateway in addresses if not gateway.prefix.is_v6)
        return BgpSession(
            local_as=self.local_as,
            router_id=self.router_id or next(own, b""),
            local_address=self.local_address,
            neighbour=self.neighbour,
            neighbour_as=self.neighbour_as,
            med=self.med,
            communities=tuple(self.communities),
            hold_s=self.hold_s,
            ttl=self.ttl,
            password=self.password or "",
        )


class _Uplink(_Section):
    name: Name
    edge: str
    port: PortNumber
    addresses: Annotated[list[IpGateway], Field(min_length=1)]
    routers: Annotated[list[IpAddress], Field(min_length=1)]
    routes: list[IpPrefix] = []
    bgp: _Bgp | None = None
    mtu: Mtu | None = None

    def uplink(self) -> Uplink:
        return Uplink(
            self.name,
            self.edge,
            self.port,
            tuple(self.addresses),
            tuple(self.routers),
            tuple(self.routes),
            self.bgp.session(self.addresses) if self.bgp else None,
            self.mtu or 0,
        )


class _LegacyRouter(_Section):
    name: Name
    loopbacks: Annotated[list[IpAddress], Field(min_length=1)]
    uplinks: list[str] = []


class _LegacyCable(_Section):
    ends: Annotated[list[str], Field(min_length=2, max_length=2)]
    prefixes: Annotated[list[IpPrefix], Field(min_length=1)]
    cost: Annotated[int, Field(ge=1, le=65535)] = 1


class _LegacyCore(_Section):
    as_number: AsNumber
    routers: Annotated[list[_LegacyRouter], Field(min_length=1)]
    cables: list[_LegacyCable] = []

    def core(self) -> LegacyCore:
        return LegacyCore(
            self.as_number,
            tuple(LegacyRouter(r.name, tuple(r.loopbacks), tuple(r.uplinks)) for r in self.routers),
            tuple(LegacyCable((c.ends[0], c.ends[1]), tuple(c.prefixes), c.cost) for c in self.cables),
        )


class _Host(_Section):
    name: Name
    subnet: str
    port: PortNumber
    addresses: Annotated[list[IpAddress], Field(min_length=1)]


class _Server(_Section):
    address: IpAddress
    weight: Annotated[int, Field(ge=1, le=1000)] = 1


class _Group(_Section):
    name: GroupName
    prefixes: Annotated[list[IpPrefix], Field(min_length=1)]
    servers: Annotated[list[_Server], AfterValidator(_once_each)] = []

    def group(self) -> AnycastGroup:
        servers = {server.address: Server(server.address, server.weight) for server in self.servers}
        return AnycastGroup(self.name, tuple(self.prefixes), servers)


class _Discovery(_Section):
    undeclared_links: bool = False


class _File(_Section):
    name: Name
    anycast_prefixes: Annotated[list[IpPrefix], Field(min_length=1)]
    switches: Annotated[list[_Switch], Field(min_length=1)]
    links: list[_Link] = []
    subnets: list[_Subnet] = []
    hosts: list[_Host] = []
    groups: list[_Group] = []
    limits: dict[Annotated[str, _keys_of(Limits)], Rate] = {}
    uplinks: list[_Uplink] = []
    legacy_core: _LegacyCore | None = None
    discovery: _Discovery = _Discovery()

    def network(self) -> Network:
        """The same as frozen values; positions in lists are kept, so that problems can name them."""
        anycast = self.anycast_prefixes
        return Network(
            name=self.name,
            anycast_prefixes=tuple(anycast),
            switches=tuple(switch.switch(anycast) for switch in self.switches),
            links=tuple(Link(link.ends[0], link.ends[1], link.cost, link.mtu or 0) for link in self.links),
            subnets=tuple(subnet.subnet() for subnet in self.subnets),
            hosts=tuple(Host(h.name, h.subnet, h.port, tuple(h.addresses)) for h in self.hosts),
            groups=tuple(group.group() for group in self.groups),
            limits=Limits(**self.limits),
            uplinks=tuple(uplink.uplink() for uplink in self.uplinks),
            legacy_core=self.legacy_core.core() if self.legacy_core else None,
            undeclared_links=self.discovery.undeclared_links,
        )


_SECTIONS: dict[str, type[_Section]] = {
    "switches": _Switch,
    "client_edge": _ClientEdge,
    "links": _Link,
    "subnets": _Subnet,
    "hosts": _Host,
    "groups": _Group,
    "servers": _Server,
    "uplinks": _Uplink,
    "bgp": _Bgp,
    "legacy_core": _LegacyCore,
    "routers": _LegacyRouter,
    "cables": _LegacyCable,
    "discovery": _Discovery,
}


def _shape_problem(error: Any) -> Problem:
    """One of pydantic's errors as path and reason."""
    location = [part for part in error["loc"] if part != "[key]"]
    path = _path(location)
    match error["type"]:
        case "missing":
            return path, "is missing: write it"
        case "model_type" | "dict_type":
            found = "nothing: the file is empty" if error["input"] is None and not path else _shown(error["input"])
            return path, f"must be a section of keys and values, not {found}"
        case "too_short" | "too_long":
            return path, error["msg"].replace("List should have", "needs").replace(" after validation", "")
        case "extra_forbidden":
            section = next((_SECTIONS[part] for part in reversed(location[:-1]) if part in _SECTIONS), _File)
            return path, f"unknown key: the keys here are {', '.join(section.model_fields)}"
        case "value_error":
            return path, str(error["ctx"]["error"])
        case _:
            reason = error["msg"].replace("Input should", "must", 1).replace("integer", "whole number")
            return path, f"{reason}, not {_shown(error['input'])}"


def _path(location: Iterable[str | int]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += "." * bool(path) + (part if re.fullmatch(r"\w{1,40}", part, re.ASCII) else _shown(part))
    return path
