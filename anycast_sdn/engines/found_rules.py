"""Rules of flows that were found on a switch, compared with the rules that should be there.  All functions are pure.

A wrong rule with a flow's cookie never ends the flow (M20): the rule is replaced, or deleted where there should be
none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from anycast_sdn.core.bindings import NOT_KNOWN, Binding, Half
from anycast_sdn.core.events import Fault
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AS_THE_EDGE
from anycast_sdn.openflow import entries, readback
from anycast_sdn.openflow.rules import DeleteFlow, FinTimeout, FlowRule, Message, PutBinding


def binding_of(number: int, rules: Iterable[FlowRule], groups: Groups, now: float) -> Binding | None:
    """The binding for which the rules with its cookies were made.  One readable rule is enough."""
    halves = [(half, rule) for rule in rules if (half := readback.binding(rule))]
    if not halves:
        return None
    half, _ = max(halves, key=lambda found: found[0].server is not None)
    closed = installed = Half.NONE
    for each, _ in halves:
        closed |= each.half if each.closed else Half.NONE
        installed |= each.half
    group = groups.covering(half.key.destination)
    swept = not any(rule.idle_timeout for _, rule in halves)
    name, validity = (group.name, group.validity) if group else ("", AS_THE_EDGE)
    server, key, translated = half.server, half.key, half.translated
    return Binding(number, key, translated, name, now, server, installed, closed=closed, swept=swept, validity=validity,
                   reply_s=NOT_KNOWN)  # fmt: skip


def closed_halves(rules: Iterable[FlowRule]) -> Iterable[Half]:
    """The directions that have closed while the controller was away; the switch's rules record that."""
    return [half.half for half in filter(None, map(readback.binding, rules)) if half.closed]


def halves_of(binding: Binding, rules: Iterable[FlowRule]) -> Half:
    """The directions of a binding for which the switch has rules, right or wrong."""
    found = Half.NONE
    for rule in rules:
        found |= readback.half_of(rule)
    return found if binding.server else found & Half.OUT


def corrections(wanted: Sequence[PutBinding], rules: Sequence[FlowRule]) -> list[Message]:
    """The messages that turn ``rules``, those with a binding's cookies, into just the ``wanted`` ones."""
    messages: list[Message] = []
    for put in wanted:
        ours = entries.binding(put)
        there = [rule for rule in rules if readback.half_of(rule) is put.half]
        messages += [DeleteFlow(rule) for rule in there if rule.key != ours.key]
        if not any(_is_as_put(rule, ours, put) for rule in there):
            messages.append(put)
    halves = {put.half for put in wanted}
    return [*messages, *(DeleteFlow(rule) for rule in rules if readback.half_of(rule) not in halves)]


def faults(messages: Iterable[Message], rules: Sequence[FlowRule]) -> Iterator[Fault]:
    """The fault that each of these ``corrections`` mends; ``rules``: found with the binding's cookies."""
    put = Fault.WRONG if rules else Fault.MISSING
    return (put if isinstance(message, PutBinding) else Fault.FOREIGN for message in messages)


def _is_as_put(found: FlowRule, ours: FlowRule, put: PutBinding) -> bool:
    """Is this the rule that was installed?  A FIN may have shortened its timeout.

    The rules of a connection that has ended may have any timeouts: ``ClientEdge.end_due`` ends it anyway.
    """
    if found == ours or (put.binding.closing and _without_timeouts(found) == _without_timeouts(ours)):
        return True
    closed = 0 < found.idle_timeout == put.fin_timeout
    return closed and replace(found, idle_timeout=ours.idle_timeout) == ours


def _without_timeouts(rule: FlowRule) -> FlowRule:
    actions = tuple(action for action in rule.actions if not isinstance(action, FinTimeout))
    return replace(rule, idle_timeout=0, actions=actions)
