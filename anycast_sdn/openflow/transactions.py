"""Transaction ids that say which rule or group a message is about, since an error may quote nothing else of it.

OpenFlow asks for 64 bytes of the message in an error (OF 1.3.5 §7.4.4), and some switches quote its header alone.

    bit 31       a barrier with a ticket (``codec.TICKET``)
    bit 30       a flow's rule: the lower 30 bits are those of the binding's number
    bits 22–29   the kind of a rule's row; 255: a group, whose number is in the lower bits; 0: anything else
    bits 0–21    a number that grows, from 1 on
"""

from __future__ import annotations

from anycast_sdn.core.bindings import Binding, BindingTable, Half, State
from anycast_sdn.openflow.pipeline import BINDING_KINDS, cookie, kind_of, number_of
from anycast_sdn.openflow.row import Kind

COUNT_BITS = 22
FLOW_BITS = 30
MOST = (1 << COUNT_BITS) - 1  # of those that grow
_FLOW = 1 << FLOW_BITS
_GROUP = 255
_OF_FLOWS = frozenset(BINDING_KINDS.values())
_SOME_FLOW = BINDING_KINDS[False, Half.OUT, State.PINNED]
assert _GROUP not in {*Kind}


def of_flow(number: int) -> int:
    """Of the messages about a binding's rules."""
    return _FLOW | number & (_FLOW - 1)


def of_rule(rule_cookie: int, count: int) -> int:
    """Of a message about this rule; ``count``: the id that it has otherwise."""
    kind = kind_of(rule_cookie)
    if kind is None:
        return count
    return of_flow(number_of(rule_cookie)) if kind in _OF_FLOWS else kind << COUNT_BITS | count


def of_group(number: int, count: int) -> int:
    """As ``of_rule``; numbers that do not fit are not told."""
    return _GROUP << COUNT_BITS | number if number <= MOST else count


def cookie_in(xid: int) -> int:
    """The cookie of the rule that a message with this id is about, as far as it is known; 0: of no rule of ours.

    Of a flow's number only the lower bits are known, and its kind is that of any flow.
    """
    if xid >> FLOW_BITS == 1:
        return cookie(_SOME_FLOW, xid & (_FLOW - 1))
    kind = xid >> COUNT_BITS
    return cookie(Kind(kind)) if kind in _KINDS else 0


def group_in(xid: int) -> int | None:
    """The number of the group that a message with this id is about."""
    return xid & MOST if xid >> COUNT_BITS == _GROUP else None


def refused(flows: BindingTable, number: int) -> Binding | None:
    """The flow whose rule was refused; of its number only the lower bits may be known."""
    if (flow := flows.by_number(number)) or number >= _FLOW:
        return flow
    found = flows.ending_with(number, FLOW_BITS)
    return found[0] if len(found) == 1 else None


_KINDS = frozenset(int(kind) for kind in Kind)
