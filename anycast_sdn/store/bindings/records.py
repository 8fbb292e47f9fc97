"""The records of the binding log, and the lines that they are in its files.

A line is one JSON object, with the information elements of RFC 8158 as members where there is one, and stands for
itself: each line of a flow has all that identifies it.  docs/attribution.md explains the members.

The lines of flows are written by hand and not by ``json``, because there are tens of thousands a second.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, NamedTuple

from anycast_sdn.core.model import PROTOCOL_NAMES, WHOLE, Address, packed
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

UNSEEN = "unseen"  # a flow has ended while nothing was logged

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
        since, ended_by,
    ) = record  # fmt: skip
    whole = protocol == WHOLE
    nat = _NAT_EVENTS.get(event)
    v = "4" if len(translated) == 4 else "6"
    parts = [
        f'{{"time":"{moment(when)}","event":"{event}"',
        f',"natEvent":{nat[whole]}' if nat else "",
        f',"edge":{_quoted(edge)},"number":{number},"group":{_quoted(group)}',
        f',"sourceIPv{v}Address":"{shown(client)}","postNATSourceIPv{v}Address":"{shown(translated)}"',
        f',"destinationIPv{v}Address":"{shown(service)}"',
        "" if whole else f',"protocolIdentifier":{protocol}',
        f',"sourceTransportPort":{client_port},"destinationTransportPort":{service_port}' if client_port else "",
        f',"postNATDestinationIPv{v}Address":"{shown(server)}"' if server else "",
        f',"since":"{moment(since)}"',
        f',"endedBy":"{ended_by}"}}\n' if ended_by else "}\n",
    ]
    return "".join(parts).encode()


def other_line(event: str, when: int, **members: Any) -> bytes:
    """Of a record that is not of a flow."""
    return json.dumps({"time": moment(when), "event": event, **members}, separators=(",", ":")).encode() + b"\n"


def read(text: bytes) -> dict[str, Any] | None:
    """The object of a line; None: it is not readable."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found and "time" in found else None


def record_of(found: dict[str, Any]) -> Record | None:
    """That of a line; None: it is not of a flow, or not readable."""
    if found["event"] not in OF_FLOWS:
        return None
    v = "4" if "sourceIPv4Address" in found else "6"
    try:
        server = found.get(f"postNATDestinationIPv{v}Address")
        return Record(
            found["event"], milliseconds(found["time"]), found["edge"], found["number"], found["group"],
            packed(found[f"sourceIPv{v}Address"]), found.get("sourceTransportPort", 0),
            packed(found[f"destinationIPv{v}Address"]), found.get("destinationTransportPort", 0),
            found.get("protocolIdentifier", WHOLE), packed(found[f"postNATSourceIPv{v}Address"]),
            packed(server) if server else None, milliseconds(found["since"]), found.get("endedBy", ""),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError):
        return None


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
    """Since 1970.  Raises ValueError."""
    when = datetime.fromisoformat(text)
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def protocol_name(protocol: int) -> str:
    return PROTOCOL_NAMES.get(protocol) or str(protocol)
