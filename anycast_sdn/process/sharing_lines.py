"""What members say to each other of shared switches (``process.sharing``): lines as text, and read again.

A line is read whole before anything of it is used.  One that is not of the form that it should have raises BadLine, and
nothing else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from anycast_sdn.control import noted
from anycast_sdn.control.share import Told
from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.features import Tried

_Read = TypeVar("_Read")
_Of = ParamSpec("_Of")


class BadLine(ValueError):
    """It is not one of ours."""


class Held(NamedTuple):
    """What a master says of a switch."""

    generation: int
    begun: int  # how often it has begun to listen to the leader; 0: it does not hear it
    tried: Tried | None
    owes: bool = False  # the switch has not answered in time: what it does not say of its links means nothing


class Heard(NamedTuple):
    """What a switch has sent to its master.  ``event``: the name of the listener's method."""

    dpid: int
    generation: int
    event: str
    arguments: tuple[Any, ...]


class Hosts(NamedTuple):
    term: int
    dpid: int
    hosts: Mapping[Address, Neighbour | None]


class Writes(NamedTuple):
    """``data``: messages of OpenFlow."""

    term: int
    dpid: int
    generation: int
    data: bytes


def _read(read: Callable[_Of, _Read]) -> Callable[_Of, _Read]:
    @wraps(read)
    def checked(*arguments: _Of.args, **named: _Of.kwargs) -> _Read:
        try:
            return read(*arguments, **named)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BadLine(str(error)[:200]) from error

    return checked


def _number(value: Any, bits: int = 64) -> int:
    if type(value) is not int or value < 0 or value >> bits:
        raise BadLine("a number is none, or too large")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise BadLine("neither true nor false")
    return value


def _word(value: Any) -> str:
    if type(value) is not str:
        raise BadLine("a text is none")
    return value


def _port(value: Any) -> int:
    return _number(value, 32)


def _cookies(value: Any) -> list[int]:
    return [_number(each) for each in value]


def _refused(value: Any) -> dict[int, int]:
    return {_port(port): _port(packets) for port, packets in value}


def _address(value: str) -> Address:
    address = bytes.fromhex(value)
    if len(address) not in (4, 16):
        raise BadLine("an address is none")
    return address


def _switch(value: str) -> int:
    return _number(int(_word(value), 16))


@_read
def read_leads(text: str) -> int:
    """→ the leader's term."""
    return _number(int(text))


# ------------------------------------------------------------------------------ holds


def holds(held: Mapping[int, Held]) -> str:
    return json.dumps({
        format(dpid, "x"): [each.generation, each.begun, noted.tried_note(each.tried) if each.tried else "", each.owes]
        for dpid, each in held.items()
    })  # fmt: skip


@_read
def read_holds(text: str) -> dict[int, Held]:
    return {
        _switch(dpid): Held(_number(generation), _number(begun), noted.tried(_word(note) or None), _flag(owes))
        for dpid, (generation, begun, note, owes) in json.loads(text).items()
    }


# ------------------------------------------------------------------------------ heard

_PACKET = (_number, _port, bytes.fromhex)
_EVENTS: dict[str, tuple[Callable[[Any], Any], ...]] = {  # event → what reads each of its arguments
    "packet_in": _PACKET,
    "ttl_expired": _PACKET,
    "rule_removed": (_number, _flag, _flag),
    "rule_refused": (_number, _flag, _word),
    "group_refused": (_port,),
    "port_changed": (_port, _flag),
    "confirmed": (_port,),
    "rules_modified": (_cookies,),
    "noticed": (_refused, _flag),
}
_OF_PACKETS = ("packet_in", "ttl_expired")


def heard(dpid: int, generation: int, event: str, *arguments: Any) -> str:
    if event in _OF_PACKETS:
        ((cookie, port, frame),) = arguments
        arguments = cookie, port, frame.hex()
    return json.dumps([format(dpid, "x"), generation, event, *arguments])


@_read
def read_heard(text: str) -> Heard:
    dpid, generation, event, *arguments = json.loads(text)
    readers = _EVENTS[event]
    read = tuple(take(each) for take, each in zip(readers, arguments, strict=True))
    if event in _OF_PACKETS:
        read = (PacketInMessage(*read),)
    return Heard(_switch(dpid), _number(generation), event, read)


# ------------------------------------------------------------------------------ told


class Telling(NamedTuple):
    """What the leader has told: how it differs from what it has told before."""

    term: int
    number: int  # it counts its lines
    version: int  # of enrolments, with which it has decided this
    is_all: bool  # it does not matter what it has told before
    added: frozenset[Prefix]  # that are announced
    removed: frozenset[Prefix]
    parts: Mapping[str, Any]  # other parts of ``Told``, where they are others than before; of choices those that are

    def after(self, before: Told) -> Told:
        former = Told() if self.is_all else before
        announced, parts = former.announced, self.parts
        if self.added or self.removed:
            announced = (announced - self.removed) | self.added
        if choices := parts.get("choices"):
            merged = {**former.choices, **choices}
            parts = {**parts, "choices": {whose: numbers for whose, numbers in merged.items() if numbers}}
        return former._replace(announced=announced, **parts)


def told(term: int, number: int, version: int, told: Told, before: Told | None = None) -> str:
    """``before``: what was told before; None: nothing, or it does not count."""
    former = Told() if before is None else before
    new, old = told.choices, former.choices
    changed = new if new is old else {
        whose: new.get(whose, {}) for whose in {**old, **new} if new.get(whose) != old.get(whose)
    }
    told, former = told._replace(choices=changed), former._replace(choices=new if new is old else {})
    differs = {
        name: shown(new)
        for name, shown, new, old in zip(_SHOWN, _SHOWN.values(), told[1:], former[1:], strict=True)
        if new != old
    }
    added = map(_shown_prefix, told.announced - former.announced)
    removed = map(_shown_prefix, former.announced - told.announced)
    return json.dumps([term, number, version, before is None, [*added], [*removed], differs])


_SHOWN: Mapping[str, Callable[[Any], Any]] = {  # parts of ``Told``
    "lost": lambda lost: [server.hex() for server in lost],
    "failed": lambda failed: [[group, server.hex()] for group, server in failed],
    "cut": lambda cut: {edge: [*map(_shown_prefix, prefixes)] for edge, prefixes in cut.items()},
    "choices": lambda choices: [[*of, dict(numbers)] for of, numbers in choices.items()],
}


@_read
def read_told(text: str) -> Telling:
    term, number, version, is_all, added, removed, parts = json.loads(text)
    return Telling(
        _number(term), _number(number), _number(version), _flag(is_all), frozenset(map(_prefix, added)),
        frozenset(map(_prefix, removed)), {name: _READ[name](shown) for name, shown in parts.items()},
    )  # fmt: skip


_READ: Mapping[str, Callable[[Any], Any]] = {
    "lost": lambda shown: frozenset(map(_address, shown)),
    "failed": lambda shown: frozenset((_word(group), _address(server)) for group, server in shown),
    "cut": lambda shown: {_word(edge): frozenset(map(_prefix, prefixes)) for edge, prefixes in shown.items()},
    "choices": lambda shown: {
        (_word(group), _flag(is_v6)): _numbers(numbers) for group, is_v6, numbers in shown
    },
}  # fmt: skip


def _shown_prefix(prefix: Prefix) -> str:
    """In less time than as text: there may be ten thousand of them."""
    return f"{prefix.network.hex()}/{prefix.length}"


def _prefix(shown: Any) -> Prefix:
    network, _, length = _word(shown).partition("/")
    prefix = Prefix(_address(network), int(length))
    if not 0 <= prefix.length <= prefix.bits:
        raise BadLine("a prefix is none")
    return prefix


def taken(term: int, number: int) -> str:
    return json.dumps([term, number])


@_read
def read_taken(text: str) -> tuple[int, int]:
    """→ term and number of a ``Telling`` of which flows are decided by now."""
    term, number = json.loads(text)
    return _number(term), _number(number)


def _numbers(shown: Mapping[str, Any]) -> dict[str, int]:
    return {_word(edge): _number(number) for edge, number in shown.items()}


# ------------------------------------------------------------------------------ hosts


def hosts(term: int, dpid: int, hosts: Mapping[Address, Neighbour | None]) -> str:
    shown = {address.hex(): there and [there.mac.hex(), there.port] for address, there in hosts.items()}
    return json.dumps([term, format(dpid, "x"), shown])


@_read
def read_hosts(text: str) -> Hosts:
    term, dpid, shown = json.loads(text)
    places = {_address(address): _place(there) for address, there in shown.items()}
    return Hosts(_number(term), _switch(dpid), places)


def _place(shown: Sequence[Any] | None) -> Neighbour | None:
    if shown is None:
        return None
    mac, port = shown
    if len(address := bytes.fromhex(mac)) != 6:
        raise BadLine("a MAC address is none")
    return Neighbour(address, _port(port))


# ------------------------------------------------------------------------------ writes


def writes(term: int, dpid: int, generation: int, data: bytes) -> str:
    return f"{term} {dpid:x} {generation} {base64.b64encode(data).decode()}"


@_read
def read_writes(text: str) -> Writes:
    term, dpid, generation, data = text.split(" ")
    return Writes(_number(int(term)), _switch(dpid), _number(int(generation)), base64.b64decode(data, validate=True))
