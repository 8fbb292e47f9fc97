"""The records of the binding log, and the lines that they are in its files.

A line is one JSON object, with the information elements of RFC 8158 as members where there is one, and stands for
itself: each line of a flow has all that identifies it.  docs/attribution.md explains the members.

The lines of flows are written by hand and not by ``json``, because there are tens of thousands a second.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, NamedTuple

from anycast_sdn.core.model import PROTOCOL_NAMES, WHOLE, Address
from anycast_sdn.core.times import rfc3339

# What a record of a flow says.
OPENED = "opened"
ADOPTED = "adopted"  # found on the switch at the controller's start
CARRIED = "carried"  # opened in an earlier file: each file begins with all that is open then
PINNED = "pinned"
REPINNED = "repinned"
CLOSED = "closed"
OF_FLOWS = (OPENED, ADOPTED, CARRIED, PINNED, REPINNED, CLOSED)

# And other records.
FILE = "file"  # a file begins
START, STOP = "start", "stop"  # of the controller
GAP = "gap"  # records are missing
QUOTA, EXHAUSTED, LOW = "quota exceeded", "pool exhausted", "pool low"

MOST_NUMBER, MOST_PORT = (1 << 63) - 1, 0xFFFF

UNSEEN = "unseen"  # a flow has ended while nothing was logged
ANOTHER_LED = "another controller of the cluster led: ask it"  # the reason of a gap
HANDED_OVER = "handed_over"  # another controller of the cluster serves it, and logs what becomes of it

# natEvent of RFC 8158; of single flows, and of clients that are bound as a whole.
_NAT_EVENTS = {OPENED: (4, 14), ADOPTED: (4, 14), CARRIED: (4, 14), CLOSED: (5, 15)}


class Record(NamedTuple):
    """A change of one flow; times in milliseconds since 1970."""

    event: str
    when: int
    edge: str
    number: int
    group: str
    client: Address
    client_port: int
    service: Address
    service_port: int
    protocol: int
    translated: Address
    server: Address | None
    since: int  # when it was opened
    ended_by: str = ""
    translated_port: int = 0  # beside PR1X, where the switch has chosen another than the client's

    @property
    def id(self) -> tuple[str, int]:
        """Of the flow, as long as it lives."""
        return self.edge, self.number

    def is_of_flow(self, other: Record) -> bool:
        """Are both of the same flow, but for their times?"""
        return self[2:4] == other[2:4] and self[5:11] == other[5:11]


def line(record: Record) -> bytes:
    """With its end of line."""
    (
        event, when, edge, number, group, client, client_port, service, service_port, protocol, translated, server,
        since, ended_by, translated_port,
    ) = record  # fmt: skip
    second, millisecond = divmod(when, 1000)
    values: list[object] = [_second(second), millisecond, _quoted(edge), number, _quoted(group), shown(client),
                            shown(translated), shown(service), protocol, client_port, service_port]  # fmt: skip
    if translated_port:
        values.append(translated_port)
    if server:
        values.append(shown(server))
    if since != when:
        values.append(moment(since))
    if ended_by:
        values.append(ended_by)
    missing = not translated_port, not server, since == when, not ended_by
    form = _form(event, len(translated) == 4, protocol == WHOLE, *missing)
    return (form % tuple(values)).encode()


@lru_cache
def _form(
    event: str, is_v4: bool, whole: bool, no_port: bool, no_server: bool, no_since: bool, no_end: bool
) -> str:
    """For ``%``; what is not written takes its value as an empty string."""
    v, nat = 4 if is_v4 else 6, _NAT_EVENTS.get(event)
    parts = [
        '{"time":"%s.%03dZ"', f',"event":"{event}"', f',"natEvent":{nat[whole]}' if nat else "",
        ',"edge":%s,"number":%d,"group":%s',
        f',"sourceIPv{v}Address":"%s","postNATSourceIPv{v}Address":"%s","destinationIPv{v}Address":"%s"',
        "%.0s%.0s%.0s" if whole else ',"protocolIdentifier":%d,"sourceTransportPort":%d,"destinationTransportPort":%d',
        "" if no_port else ',"postNAPTSourceTransportPort":%d',
        "" if no_server else f',"postNATDestinationIPv{v}Address":"%s"',
        "" if no_since else ',"since":"%s"',
        "" if no_end else ',"endedBy":"%s"',
        "}\n",
    ]  # fmt: skip
    return "".join(parts)


def other_line(event: str, when: int, **members: Any) -> bytes:
    """Of a record that is not of a flow."""
    return json.dumps({"time": moment(when), "event": event, **members}, separators=(",", ":")).encode() + b"\n"


def read(text: bytes) -> dict[str, Any] | None:
    """The object of a line, with an ``event`` and a ``time`` that can be understood; None: it is not readable."""
    try:
        found = json.loads(text)
        milliseconds(found["time"])
        return found if isinstance(found["event"], str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


_ADDRESSES = {
    v: [f"{name}IPv{v}Address" for name in ("source", "destination", "postNATSource", "postNATDestination")]
    for v in (4, 6)
}


def record_of(found: dict[str, Any]) -> Record | None:
    """That of a line that was read; None: it is not of a flow, or not readable."""
    get = found.get
    if found["event"] not in OF_FLOWS:
        return None
    client, service, translated, server = _ADDRESSES[4 if "sourceIPv4Address" in found else 6]
    try:
        when = milliseconds(found["time"])
        record = Record(
            found["event"], when, found["edge"], found["number"], found["group"],
            _packed(found[client]), get("sourceTransportPort", 0),
            _packed(found[service]), get("destinationTransportPort", 0), get("protocolIdentifier", WHOLE),
            _packed(found[translated]), _packed(found[server]) if server in found else None,
            milliseconds(found["since"]) if "since" in found else when, get("endedBy", ""),
            get("postNAPTSourceTransportPort", 0),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, OSError):
        return None
    return record if _is_plausible(record) else None


def _is_plausible(record: Record) -> bool:
    """Has each member the type and the range that were written?  What damages a file can make JSON of another kind."""
    (
        _, _, edge, number, group, client, client_port, service, service_port, protocol, translated, server, _, end,
        there,
    ) = record  # fmt: skip
    return (
        type(edge) is type(group) is type(end) is str
        and type(number) is int
        and 0 <= number <= MOST_NUMBER
        and type(client_port) is type(service_port) is type(protocol) is type(there) is int
        and 0 <= there <= MOST_PORT
        and 0 <= client_port <= MOST_PORT
        and 0 <= service_port <= MOST_PORT
        and len(client) == len(service) == len(translated)
        and (server is None or len(server) == len(client))
    )


@lru_cache(1 << 16)
def _packed(written: str) -> Address:
    return inet_pton(AF_INET6 if ":" in written else AF_INET, written)


@lru_cache(1 << 16)
def shown(address: Address) -> str:
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


@lru_cache(1 << 10)
def _quoted(name: str) -> str:
    return json.dumps(name)


def moment(when: int) -> str:
    """RFC 3339, of milliseconds since 1970."""
    second, millisecond = divmod(when, 1000)
    return f"{_second(second)}.{millisecond:03}Z"


@lru_cache(1 << 10)
def _second(second: int) -> str:
    return rfc3339(second, "seconds").removesuffix("Z")


def milliseconds(text: str) -> int:
    """Since 1970.  Raises ValueError, also for what is no text, and for a time that could not be shown again."""
    if not isinstance(text, str):
        raise ValueError("a time is a text")
    try:
        when = datetime.fromisoformat(text)
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).timestamp() * 1000)
    except OverflowError as error:
        raise ValueError(f"no such time: {text}") from error


def protocol_name(protocol: int) -> str:
    return PROTOCOL_NAMES.get(protocol) or str(protocol)
