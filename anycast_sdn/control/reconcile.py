"""wanted − installed → the messages that make a switch hold exactly what it should.

A first connection, a reconnection, a restart of the controller and every change of configuration go by this one
function.  Rules are compared by their key (table, priority, match); one that differs in anything else is added again,
which replaces it.

Order: meters and groups that rules refer to, then rules, then deletions.  New rules are installed before old ones are
deleted, so that an update loses no packet.  A barrier separates groups from the rules that refer to them.
"""

from __future__ import annotations

from anycast_sdn.openflow.rules import (
    AddFlow,
    Barrier,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    Message,
    SetGroup,
    SetMeter,
)
from anycast_sdn.openflow.tables import Tables


def changes(wanted: Tables, installed: Tables) -> list[Message]:
    """The messages that turn ``installed`` into ``wanted``; none when they are equal.

    Deletions come last, after a barrier.
    """
    first: list[Message] = [
        SetMeter(meter, exists=number in installed.meters)
        for number, meter in wanted.meters.items()
        if installed.meters.get(number) != meter
    ]
    first += [
        SetGroup(group, exists=number in installed.groups)
        for number, group in wanted.groups.items()
        if installed.groups.get(number) != group
    ]
    if first:
        first.append(Barrier())
    rules: list[Message] = [AddFlow(rule) for key, rule in wanted.flows.items() if installed.flows.get(key) != rule]
    gone = [DeleteFlow(rule) for key, rule in installed.flows.items() if key not in wanted.flows]
    if rules and gone:
        rules.append(Barrier())
    rules += gone
    last: list[Message] = [DeleteGroup(number) for number in installed.groups if number not in wanted.groups]
    last += [DeleteMeter(number) for number in installed.meters if number not in wanted.meters]
    return first + rules + ([Barrier(), *last] if last else [])
