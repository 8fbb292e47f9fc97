"""What the controller shows of itself to people and programs: values and their JSON form.

JSON carries addresses as text, protocols by name where they have one, times as RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from anycast_sdn.core.model import PROTOCOL_NAMES, Address, text

FLOW_STATES = ("unanswered", "pinned")


class FlowView(NamedTuple):
    """One binding at one moment (M29)."""

    number: int  # unique within its edge for as long as the binding lives
    edge: str  # the client edge, ARh
    state: str  # one of FLOW_STATES
    group: str
    client: Address  # H
    client_port: int  # 0 for protocols without ports
    service: Address  # ANY
    service_port: int
    protocol: int
    translated: Address  # PR1X
    server: Address | None  # ASg, once pinned
    since: float  # when the binding was made, seconds since 1970
    validity_s: int  # how long it may be idle in both directions
    idle: str  # the direction whose rules are idle: "", "out" (client → service) or "in"


def flow_as_json(view: FlowView) -> dict[str, Any]:
    since = datetime.fromtimestamp(view.since, UTC).isoformat(timespec="milliseconds")
    return view._asdict() | {
        "client": text(view.client),
        "service": text(view.service),
        "protocol": PROTOCOL_NAMES.get(view.protocol, str(view.protocol)),
        "translated": text(view.translated),
        "server": text(view.server) if view.server is not None else None,
        "since": since.replace("+00:00", "Z"),
    }
