"""Entry: one flow entry of a row of the pipeline, as FlowRule, and those for pairs of prefixes.

What a row says of its table, its priority, its meter and what comes next is the same for all its entries
(``pipeline``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from anycast_sdn.core.model import Prefix
from anycast_sdn.openflow.meters import port_meter
from anycast_sdn.openflow.pipeline import ROW, cookie
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    FRAGMENT,
    OFPP_CONTROLLER,
    Action,
    Field,
    FlowRule,
    Output,
    destination_in,
    eth_type,
    match,
    source_in,
)

IN_FRAGMENTS = Field("ip_frag", FRAGMENT, FRAGMENT)


def rule_of(
    kind: Kind,
    *fields: Field | None,
    actions: tuple[Action, ...] = (),
    length: int = 0,
    port_index: int = 0,
    number: int = 0,
    hard_timeout: int = 0,
) -> FlowRule:
    row = ROW[kind]
    return FlowRule(
        table=row.table,
        priority=row.priority + (length if row.spread else 0),
        match=match(*fields),
        cookie=cookie(kind, number),
        actions=(*actions, Output(OFPP_CONTROLLER)) if row.to_controller else actions,
        goto=row.goto,
        meter=port_meter(row.meter, port_index) if row.meter else None,
        hard_timeout=hard_timeout,
    )


def pairs(
    kind: Kind,
    sources: Iterable[Prefix],
    destinations: Iterable[Prefix],
    *fields: Field,
    port_index: int = 0,
    actions: tuple[Action, ...] = (),
) -> Iterator[FlowRule]:
    """A rule for each source and destination of the same family."""
    for source, destination in itertools.product(sources, destinations):
        if source.is_v6 is destination.is_v6:
            ends = (eth_type(source.is_v6), source_in(source), destination_in(destination))
            yield rule_of(kind, *ends, *fields, port_index=port_index, actions=actions)
