"""The flows of all client edges, as values and as JSON.

In JSON, addresses are text, protocols have their names if there are any, and times are those of RFC 3339, in UTC.
There may be hundreds of thousands of flows, so they are read slice by slice, in the order of (edge, number), and the
work for each is kept small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, NamedTuple, TypeAlias

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.events import Drop
from anycast_sdn.core.model import PROTOCOL_NAMES, Address, NotFound, packed
from anycast_sdn.engines.engine import Engine
from anycast_sdn.views.counters import Counters

FLOW_STATES = ("unanswered", "pinned")
SLICE = 500  # bindings that are read at once
LEAST_OF_EDGE = 8  # of these from each edge, the newest first

Place: TypeAlias = tuple[str, int]  # of a binding, in the order of all: (edge, number); ("", 0) is before the first
Before: TypeAlias = Mapping[str, int]  # edge → the flows of it that are not shown yet have lower numbers; missing: all


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
    translated_port: int  # beside it, where that is not the client's; else 0
    server: Address | None  # ASg, once pinned
    since: float  # when the binding was made, seconds since 1970
    validity_s: int  # how long it may be idle in both directions
    idle: str  # the direction that is idle: "", "out" (client → service) or "in"


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """The flows that a request selects; None: any."""

    edge: str | None = None
    group: str | None = None
    client: Address | None = None
    server: Address | None = None
    state: str | None = None
    q: str = ""  # a part of an address with its port, as people write it, or of EDGE/NUMBER

    def selects(self, edge: str, binding: Binding) -> bool:
        """Does this binding of a selected edge match all other members?"""
        return (
            (self.client is None or binding.key.source == self.client)
            and (self.server is None or binding.server == self.server)
            and (self.group is None or binding.group == self.group)
            and (self.state is None or binding.state.value == self.state)
            and (not self.q or self._has_text(edge, binding))
        )

    def _has_text(self, edge: str, binding: Binding) -> bool:
        address, key = _address(self.q), binding.key
        if address is not None:
            return address in (key.source, key.destination, binding.translated, binding.server)
        shown = [_endpoint(key.source, key.source_port), _endpoint(key.destination, key.destination_port),
                 _endpoint(binding.translated, binding.translated_port), f"{edge}/{binding.number}"]  # fmt: skip
        return any(self.q in text for text in shown) or (
            binding.server is not None and self.q in _endpoint(binding.server, key.destination_port)
        )


def flows_after(
    controller: Controller, wanted: FlowFilter, after: Place, limit: int, now: float, epoch: float
) -> tuple[list[FlowView], Place | None]:
    """Reads at most ``SLICE`` bindings, and returns at most ``limit`` of those that ``wanted`` selects.

    → (flows, the place after which the next call should continue; None: there are no more).
    ``epoch``: the wall clock's time at ``now``, to show when a flow began.
    """
    for switch in controller.switches_by_name():
        name, bindings = switch.name, switch.engine.flows
        if name < after[0] or wanted.edge not in (None, name):
            continue
        found: list[FlowView] = []
        number = 0
        for number in bindings.numbers_after(after[1] if name == after[0] else 0, SLICE):
            binding = bindings.by_number(number)
            if binding and wanted.selects(name, binding):
                found.append(view_of(name, switch.engine, binding, now, epoch))
                if len(found) == limit:
                    break
        if number:
            return found, (name, number)
    return [], None


def newest_flows(
    controller: Controller, wanted: FlowFilter, before: Before, limit: int, now: float, epoch: float
) -> tuple[list[FlowView], Before | None]:
    """As ``flows_after``, the newest of all edges first.

    The edges are merged by when their flows were made.  Within an edge the number decides: a flow that was restored has
    a new number, and its old time.
    """
    switches = [switch for switch in controller.switches_by_name() if wanted.edge in (None, switch.name)
                and len(switch.engine.flows) and before.get(switch.name, 1)]  # fmt: skip
    some = max(LEAST_OF_EDGE, SLICE // max(1, len(switches)))
    candidates: list[tuple[float, str, Binding]] = []
    lowest: dict[str, int] = {}  # edge → the lowest number that was looked at; 0: there are no more
    stop = -math.inf  # older ones may have to wait for those of other edges that have not been looked at
    for switch in switches:
        name, table = switch.name, switch.engine.flows
        numbers = table.numbers_before(before.get(name, 1 << 62), some)
        when = math.inf
        for binding in filter(None, map(table.by_number, numbers)):
            when = min(when, binding.since)
            if wanted.selects(name, binding):
                candidates.append((when, name, binding))
        lowest[name] = numbers[-1] if len(numbers) == some else 0
        if lowest[name]:
            stop = max(stop, when)
    candidates.sort(key=lambda each: (-each[0], each[1], -each[2].number))
    ready = [each for each in candidates if each[0] >= stop][:limit]
    heads = {**before, **lowest}
    for _, name, binding in candidates[len(ready) :][::-1]:
        heads[name] = binding.number + 1
    engines = {switch.name: switch.engine for switch in switches}
    found = [view_of(name, engines[name], binding, now, epoch) for _, name, binding in ready]
    return found, heads if any(heads[name] for name in lowest) else None


def flow_view(controller: Controller, edge: str, number: int, now: float, epoch: float) -> FlowView:
    """One flow.  Raises NotFound."""
    switch = controller.switch(edge)
    binding = switch.engine.flows.by_number(number) if switch else None
    if switch is None or binding is None:
        raise NotFound(f"there is no flow {number} at an edge {edge!a}")
    return view_of(edge, switch.engine, binding, now, epoch)


def flow_summary(controller: Controller, counters: Counters) -> dict[str, object]:
    """Totals of all client edges."""
    tables = [switch.engine.flows for switch in controller.switches.values()]
    pinned = sum(table.pinned() for table in tables)
    exhausted = sum(drops[Drop.POOL_EMPTY.value] for drops in counters.drops.values())
    return {"unanswered": sum(map(len, tables)) - pinned, "pinned": pinned, "pool_exhausted": exhausted}


def view_of(name: str, engine: Engine, binding: Binding, now: float, epoch: float) -> FlowView:
    """One binding of the edge with this name."""
    key, server = binding.key, binding.server
    return FlowView(
        binding.number,
        name,
        State.UNANSWERED.value if server is None else State.PINNED.value,
        binding.group,
        key.source,
        key.source_port,
        key.destination,
        key.destination_port,
        key.protocol,
        binding.translated,
        binding.translated_port,
        server,
        epoch - (now - binding.since),
        engine.validity_s(binding),
        "" if server is None else _IDLE.get(binding.installed, ""),
    )


_IDLE = {Half.OUT: "in", Half.IN: "out"}  # the only half that is installed → the name of the idle direction


def flow_as_json(view: FlowView) -> dict[str, Any]:
    """Ready for JSON, with the members of ``FlowView``."""
    return {
        "number": view.number,
        "edge": view.edge,
        "state": view.state,
        "group": view.group,
        "client": _text(view.client),
        "client_port": view.client_port,
        "service": _text(view.service),
        "service_port": view.service_port,
        "protocol": PROTOCOL_NAMES.get(view.protocol) or str(view.protocol),
        "translated": _text(view.translated),
        "translated_port": view.translated_port,
        "server": _text(view.server) if view.server is not None else None,
        "since": _rfc3339(view.since),
        "validity_s": view.validity_s,
        "idle": view.idle,
    }


@lru_cache(64)
def _address(text: str) -> Address | None:
    try:
        return packed(text)
    except ValueError:
        return None


def _endpoint(address: Address, port: int) -> str:
    text = _text(address)
    if not port:
        return text
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"


def _text(address: Address) -> str:
    """As ``model.text``, which takes ten times as long for IPv6."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def _rfc3339(since: float) -> str:
    second, millisecond = divmod(round(since * 1000), 1000)
    return f"{_second(second)}.{millisecond:03}Z"


@lru_cache(1024)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
