"""The forms of single values, in network files and over REST: how each is read and written, and its JSON Schema.

A type here is a form plus a range.  A value of another form is refused; the error says what the form is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from anycast_sdn.core.model import (
    Address,
    Affinity,
    AfterDrain,
    AtDeadline,
    Distance,
    Gateway,
    OnServerLoss,
    Prefix,
    ServerState,
    packed,
    text,
)
from anycast_sdn.core.roles import ZONES, Allocation, EngineName, Expiry, Pooling
from anycast_sdn.description import limits
from anycast_sdn.description.enrolment import GROUP_NAME
from anycast_sdn.description.model import MAX_COST, MAX_PORT, Port, Ttl


class NotOfForm(ValueError):
    """A value that is not of its form: what to say behind the value."""


class Unfit(ValueError):
    """Values that do not go together; ``key``: the one that is best changed."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, eq=False)
class Form:
    """``read`` converts what is written into a value of the model, or raises ValueError; ``write`` converts it back."""

    read: Callable[[object], object]
    schema: dict[str, Any]  # JSON Schema; its title is the form in words
    write: Callable[[Any], object] = lambda value: value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # What is left out is None, whatever its form.
        writing = core_schema.plain_serializer_function_ser_schema(self.write, when_used="json-unless-none")
        return core_schema.no_info_plain_validator_function(self.read, serialization=writing)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def text_form(
    pattern: str,
    convert: Callable[[str], object],
    wanted: str,
    write: Callable[[Any], object] = str,
    converted: type | tuple[()] = (),
    **more: Any,
) -> Form:
    """Text of this pattern, converted; any other value is refused as "not ``wanted``".

    ``converted``: the type of values that have been converted already; ``more``: keywords of its JSON Schema.
    """

    def read(value: object) -> object:
        if isinstance(value, converted):
            return value
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise NotOfForm(f"is not {wanted}")
        try:
            return convert(value)
        except ValueError as error:
            raise NotOfForm(f"is not {wanted}: {error}") from error

    return Form(read, {"type": "string", "pattern": f"^(?:{pattern})$", "title": wanted, **more}, write)


def _prefix(value: str) -> Prefix:
    gateway = Gateway.parse(value)
    if gateway.address != gateway.prefix.network:
        raise ValueError(f"bits are set beyond its length, write {gateway.prefix}")
    return gateway.prefix


def _port(value: str) -> Port:
    switch, number = value.split(":")
    if not 1 <= int(number) <= MAX_PORT:
        raise ValueError(f"a port number is 1-{MAX_PORT}")
    return Port(switch, int(number))


def _dpid(value: object) -> int:
    """A datapath id; hexadecimal after 0x, and when written as the 16 digits that switches print, in pairs or not."""
    if isinstance(value, str) and re.fullmatch(_DPID, value):
        dpid = int(value.replace(":", ""), 16)
    elif isinstance(value, int) and not isinstance(value, bool) and value < 10**15:
        dpid = value
    else:  # also 16 decimal digits without quotes: they could be decimal or hexadecimal
        raise NotOfForm("is not a datapath id: write 1, 0x1, '0000000000000001' or 00:00:00:00:00:00:00:01")
    if dpid <= 0:
        raise ValueError(f"{dpid} is not a datapath id: it must be above 0")
    return dpid


def choice(kind: type[Enum]) -> Form:
    """One of the values of ``kind``."""
    names = [each.value for each in kind]

    def read(value: object) -> object:
        try:
            return kind(value)
        except ValueError as error:
            raise NotOfForm(f"is not {', '.join(names[:-1])} or {names[-1]}") from error

    return Form(read, {"enum": names}, attrgetter("value"))


def payload(value: str) -> bytes:
    """'PING' → b'PING', '0x0a0d' → b'\\n\\r'.  Raises ValueError when it is too long."""
    content = bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
    if len(content) > limits.MAX_PAYLOAD:
        raise ValueError(f"it has {len(content)} bytes")
    return content


def payload_text(content: bytes) -> str:
    """The text of which ``payload`` makes this."""
    in_hexadecimal = f"0x{content.hex()}"
    try:
        written = content.decode()
    except UnicodeDecodeError:
        return in_hexadecimal
    return written if written.isprintable() and not written.startswith("0x") else in_hexadecimal


def _community(value: str) -> int:
    high, low = map(int, value.split(":"))
    if max(high, low) > 65535:
        raise ValueError("each half is 0-65535")
    return high << 16 | low


def _as_number(value: object) -> int:
    reserved = (0, 23456, 65535, 4294967295)  # RFC 7607, RFC 6793, RFC 7300
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 32 or value in reserved:
        raise NotOfForm("is no AS number: write one such as 64512, which is for private use")
    return value


def _password(value: object) -> str:
    """The error does not show the value."""
    if not isinstance(value, str) or not re.fullmatch(_PASSWORD, value):
        raise ValueError("is no password for TCP MD5: write 1-80 ASCII characters without blanks, digits in quotes")
    return value


_DPID = r"0x[0-9A-Fa-f]{1,16}|[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){7}"
_PASSWORD = "[!-~]{1,80}"
_IP = r"[0-9A-Fa-f.:]{2,45}"
_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,63}"

Name = Annotated[str, text_form(_NAME, str, "a name: use 1-64 of letters, digits, '-', '_' and '.', a letter first")]
# Groups are enrolled over REST as well: the rule is the same there.
GroupName = Annotated[str, text_form(GROUP_NAME, str, "a name: use 1-64 of a-z, 0-9 and '-', a letter first")]
IpAddress = Annotated[
    Address,
    text_form(
        _IP,
        packed,
        "an IP address such as 10.1.0.10 or 2001:db8:1::10",
        text,
        converted=bytes,
        anyOf=[{"format": "ipv4"}, {"format": "ipv6"}],
    ),
]
IpPrefix = Annotated[
    Prefix, text_form(_IP + "/[0-9]{1,3}", _prefix, "a prefix such as 10.1.0.0/24", converted=Prefix)
]
IpGateway = Annotated[
    Gateway, text_form(_IP + "/[0-9]{1,3}", Gateway.parse, "a gateway and its subnet's length, as in 10.1.0.1/24")
]
LinkEnd = Annotated[Port, text_form(r"[^:]{1,64}:[0-9]{1,5}", _port, "a switch's port such as core:10")]
Community = Annotated[int, text_form(r"[0-9]{1,5}:[0-9]{1,5}", _community, "a community such as 65001:100")]
AffinityName = Annotated[Affinity, choice(Affinity)]
AfterDrainName = Annotated[AfterDrain, choice(AfterDrain)]
AtDeadlineName = Annotated[AtDeadline, choice(AtDeadline)]
DistanceName = Annotated[Distance, choice(Distance)]
TtlName = Annotated[Ttl, choice(Ttl)]
ExpiryName = Annotated[Expiry, choice(Expiry)]
OnServerLossName = Annotated[OnServerLoss, choice(OnServerLoss)]
PoolingName = Annotated[Pooling, choice(Pooling)]
ServerStateName = Annotated[ServerState, choice(ServerState)]
Payload = Annotated[
    bytes,
    text_form(
        r"(?s:(?!0x).*)|0x([0-9A-Fa-f]{2})*",
        payload,
        f"text, or bytes in hexadecimal such as 0x0a0d, {limits.MAX_PAYLOAD} bytes at most",
        payload_text,
        converted=bytes,
    ),
]
DatapathId = Annotated[
    int,
    Form(
        _dpid,
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
                {"type": "string", "pattern": f"^(?:{_DPID})$"},
            ],
            "title": "a datapath id: 1, 0x1, '0000000000000001' or 00:00:00:00:00:00:00:01",
        },
    ),
]
AsNumber = Annotated[
    int,
    Form(
        _as_number,
        {
            "type": "integer",
            "minimum": 1,
            "maximum": 4294967294,
            "not": {"enum": [23456, 65535]},
            "title": "an AS number such as 64512",
        },
    ),
]
Password = Annotated[
    str,
    Form(
        _password,
        {"type": "string", "pattern": f"^{_PASSWORD}$", "title": "1-80 ASCII characters without blanks"},
    ),
]


def _engines(value: object) -> tuple[EngineName, ...]:
    """'rules' or ['conntrack', 'rules'] → their names."""
    written = value if isinstance(value, list) else [value]
    known = [each.value for each in EngineName]
    if not written or any(each not in known for each in written):
        raise NotOfForm("is not rules, conntrack or [conntrack, rules]")
    names = tuple(map(EngineName, written))
    if EngineName.RULES in names[:-1]:
        raise ValueError("rules work on every switch, what follows them is never used: write [conntrack, rules]")
    if len(set(names)) < len(names):
        raise ValueError("names an engine twice: keep one of them")
    return names


def _engines_written(names: tuple[EngineName, ...]) -> object:
    written = [name.value for name in names]
    return written if len(written) > 1 else written[0]


Engines = Annotated[
    tuple[EngineName, ...],
    Form(
        _engines,
        {
            "anyOf": [
                {"enum": [each.value for each in EngineName]},
                {"type": "array", "items": {"enum": [each.value for each in EngineName]}, "minItems": 1, "maxItems": 2},
            ],
            "title": "rules, conntrack or [conntrack, rules]",
        },
        _engines_written,
    ),
]
AllocationName = Annotated[Allocation, choice(Allocation)]
_PARTS = [1 << bits for bits in range(1, 9)]
Part = Annotated[
    int,
    text_form(
        "none|1/(" + "|".join(map(str, _PARTS)) + ")",
        lambda value: int(value.removeprefix("1/").replace("none", "0")),
        "1/2, 1/4, 1/8 and so on to 1/256, or none",
        lambda parts: f"1/{parts}" if parts else "none",
    ),
]


def _ovsdb(value: str) -> str:
    kind, _, place = value.partition(":")
    if kind != "unix":
        address, _, port = place.rpartition(":")
        packed(address.strip("[]"))
        if not 1 <= int(port) <= 65535:
            raise ValueError("a port is 1-65535")
    return value


CertificateName = Annotated[
    str,
    text_form(
        r"sha256:(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31})|(?!sha256:)[!-~](?:[ -~]{0,62}[!-~])?",
        str,
        "a name in a certificate, 1-64 ASCII characters, or sha256: and 64 hexadecimal digits",
    ),
]


def _unit(name: str) -> dict[str, Any]:
    """A unit in a JSON Schema, which has no keyword for it."""
    return {"x-unit": name}


PortNumber = Annotated[int, Field(ge=1, le=MAX_PORT)]
Cost = Annotated[int, Field(ge=1, le=MAX_COST)]
Seconds = Annotated[int, Field(ge=1, le=65535, json_schema_extra=_unit("seconds"))]
PauseSeconds = Annotated[int, Field(ge=0, le=65535, json_schema_extra=_unit("seconds"))]
Milliseconds = Annotated[int, Field(ge=1, le=1_000_000, json_schema_extra=_unit("milliseconds"))]
Rate = Annotated[int, Field(ge=1, le=1_000_000, json_schema_extra=_unit("packets per second"))]
Mtu = Annotated[int, Field(ge=576, le=65520, json_schema_extra=_unit("bytes"))]
OvsdbPlace = Annotated[
    str,
    text_form(
        r"(?:tcp|ssl):(?:[0-9.]{7,15}|\[[0-9A-Fa-f.:]{2,45}\]):[0-9]{1,5}|unix:/[!-~]{1,100}",
        _ovsdb,
        "tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH, such as tcp:192.0.2.1:6640",
    ),
]
Zone = Annotated[int, Field(ge=1, le=65536 - ZONES)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
