"""A binding's life: what each event does to a flow in each state.

``TRANSITIONS`` is the machine, not a description of one: ``ClientEdge.apply`` looks up every event here and takes the
binding's next state from it.  Nothing else creates, changes or ends a binding.  An event
that has no row in a state changes nothing in that state.

    NONE        no binding.  A client's packet gets PR1X; a reply is dropped (M13, M16).
    UNANSWERED  PR1X is leased, packets go to ANY.  The first reply from a server of the group pins the flow (M17).
    PINNED      packets of both directions are translated to and from that one server, until both are idle (M18–M20).

From each state but NONE a binding ends when it has been idle in both directions, was reset, was refused by the
switch, is not on the switch any more when that connects again, or is ended by an operator.

A server that is lost serves nobody: its flows are UNANSWERED again with the same PR1X, so that the next packet goes to
a server that is there (M32).  A TCP connection cannot go on at another server: it ends, and its client is sent a RST.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.model import Address


class FlowEvent(enum.Enum):
    __hash__ = object.__hash__  # see ``State``

    # Packets
    CLIENT_PACKET = "client packet"
    SYN = "client's TCP SYN"
    RETURN = "packet of an ended flow whose PR1X still rests"
    MISSED = "packet that was sent through the switch's tables comes back: the rule for it is missing"
    MEMBER_REPLY = "reply from a server of the group"
    PINNED_REPLY = "reply from the server that the flow is pinned to"
    STRANGER_REPLY = "reply from any other source"
    # The ends of TCP connections
    FIN = "TCP FIN in one direction"
    CLOSED = "TCP FIN in the other direction, too"
    RESET = "TCP RST in either direction"
    HALF_OVER = "TCP FIN was seen in one direction a while ago, and not in the other"
    OVER = "TCP RST was seen ``RESET_S`` ago"
    RENEWED = "a SYN opened a new connection a moment ago"
    # Reports of the switch and the sweep; the operator's command
    HALF_IDLE = "one of its rules has expired, the other has not"
    ALL_IDLE = "all its rules have expired"
    SWEPT = "the counters of all its rules have not moved for its validity"
    REFUSED = "the switch has refused one of its rules"
    ADDRESS_REFUSED = "the switch cannot translate its packets to its PR1X, as for a while after another flow's end"
    ENDED = "an operator ends it"
    # Its server is lost (M32)
    SERVER_LOST = "its server is lost; it is no TCP connection"
    CONNECTION_LOST = "its server is lost, or no longer to serve it; it is a TCP connection"
    RETURN_LOST = "packet, not a SYN, of a TCP connection that has ended because it lost its server"
    # A switch that connects
    FOUND_UNANSWERED = "rule found on the switch at the controller's start: towards ANY"
    FOUND_PINNED = "rules found on the switch at the controller's start: to and from a server"
    FOUND_AGAIN = "switch connects again and still holds rules of it"
    FOUND_GONE = "switch connects again and holds none of its rules"
    WIPED = "switch connects again and holds no rules at all"


class Do(enum.Enum):
    __hash__ = object.__hash__

    LEASE = "lease PR1X, install the outward rule, forward to ANY"
    SEND_OUT = "install the outward rule if it is gone, forward to the server, or to ANY while there is none"
    SEND_IN = "install the inward rule if it is gone, forward to the client"
    PIN = "pin to the server that answered, install both rules, forward to the client"
    RENEW = "as for a client packet; if the connection had begun to end, clear that and install its rules again"
    REVIVE = "lease the same PR1X again for the same server, install both rules, forward"
    PUT_AGAIN = "install all its rules again"
    SHORTEN = "install its rules again, with the validity of a connection that ends"
    NOTE = "remember that the connection ends"
    KEEP = "keep the binding; note which of its rules the switch holds"
    FREE = "remove the inward rule, install the outward rule towards ANY"
    ADOPT = "mark PR1X and the number as in use"
    DROP = "drop, count"
    RESET = "answer with a TCP RST from ANY, count"
    RELEASE = "release PR1X into quarantine, remember the flow, remove what rules are left"
    CANCEL = "as RELEASE, but PR1X is free at once, and the flow is not remembered: no packet has carried it"
    END = "as RELEASE, but the flow is not remembered: no packet restores it"
    LOSE = "as RELEASE, but the flow is remembered as lost: its next packet is answered with RST"


_ENDS = {
    FlowEvent.ALL_IDLE: (State.NONE, Do.RELEASE),
    FlowEvent.SWEPT: (State.NONE, Do.RELEASE),
    FlowEvent.OVER: (State.NONE, Do.RELEASE),
    FlowEvent.REFUSED: (State.NONE, Do.RELEASE),
    FlowEvent.ADDRESS_REFUSED: (State.NONE, Do.END),
    FlowEvent.ENDED: (State.NONE, Do.END),
    FlowEvent.FOUND_GONE: (State.NONE, Do.RELEASE),
}

TRANSITIONS: Mapping[State, Mapping[FlowEvent, tuple[State, Do]]] = {
    State.NONE: {
        FlowEvent.CLIENT_PACKET: (State.UNANSWERED, Do.LEASE),
        FlowEvent.SYN: (State.UNANSWERED, Do.LEASE),
        FlowEvent.RETURN: (State.PINNED, Do.REVIVE),
        FlowEvent.RETURN_LOST: (State.NONE, Do.RESET),
        FlowEvent.STRANGER_REPLY: (State.NONE, Do.DROP),
        FlowEvent.FOUND_UNANSWERED: (State.UNANSWERED, Do.ADOPT),
        FlowEvent.FOUND_PINNED: (State.PINNED, Do.ADOPT),
    },
    State.UNANSWERED: {
        FlowEvent.CLIENT_PACKET: (State.UNANSWERED, Do.SEND_OUT),
        FlowEvent.SYN: (State.UNANSWERED, Do.RENEW),
        FlowEvent.MISSED: (State.UNANSWERED, Do.PUT_AGAIN),
        FlowEvent.MEMBER_REPLY: (State.PINNED, Do.PIN),
        FlowEvent.STRANGER_REPLY: (State.UNANSWERED, Do.DROP),
        FlowEvent.RESET: (State.UNANSWERED, Do.NOTE),
        FlowEvent.FOUND_AGAIN: (State.UNANSWERED, Do.KEEP),
        FlowEvent.WIPED: (State.UNANSWERED, Do.PUT_AGAIN),
        **_ENDS,
        FlowEvent.REFUSED: (State.NONE, Do.CANCEL),
    },
    State.PINNED: {
        FlowEvent.CLIENT_PACKET: (State.PINNED, Do.SEND_OUT),
        FlowEvent.SYN: (State.PINNED, Do.RENEW),
        FlowEvent.MISSED: (State.PINNED, Do.PUT_AGAIN),
        FlowEvent.PINNED_REPLY: (State.PINNED, Do.SEND_IN),
        FlowEvent.STRANGER_REPLY: (State.PINNED, Do.DROP),
        FlowEvent.FIN: (State.PINNED, Do.NOTE),
        FlowEvent.CLOSED: (State.PINNED, Do.SHORTEN),
        FlowEvent.RESET: (State.PINNED, Do.NOTE),
        FlowEvent.HALF_OVER: (State.PINNED, Do.SHORTEN),
        FlowEvent.RENEWED: (State.PINNED, Do.PUT_AGAIN),
        FlowEvent.HALF_IDLE: (State.PINNED, Do.KEEP),
        FlowEvent.FOUND_AGAIN: (State.PINNED, Do.KEEP),
        FlowEvent.WIPED: (State.PINNED, Do.PUT_AGAIN),
        FlowEvent.SERVER_LOST: (State.UNANSWERED, Do.FREE),
        FlowEvent.CONNECTION_LOST: (State.NONE, Do.LOSE),
        **_ENDS,
    },
}

RELEASES = frozenset((Do.RELEASE, Do.CANCEL, Do.END, Do.LOSE))
_WHOLE = {State.UNANSWERED: Half.OUT, State.PINNED: Half.BOTH}  # all rules of a binding
_NEEDED = {Do.SEND_OUT: Half.OUT, Do.RENEW: Half.OUT, Do.SEND_IN: Half.IN}  # the rule that the packet needs
_ALL = frozenset((Do.LEASE, Do.PIN, Do.REVIVE, Do.PUT_AGAIN, Do.FREE))


def rules_to_put(binding: Binding, do: Do, state: State) -> Half:
    """The rules to install for ``do``.  ``binding``: before the event; ``state``: after it."""
    if do in _ALL or (do is Do.RENEW and binding.closing):
        return _WHOLE[state]
    if do in _NEEDED:
        return _NEEDED[do] & ~binding.installed
    return binding.installed if do is Do.SHORTEN else Half.NONE


class Details(NamedTuple):
    """The details of an event."""

    server: Address | None = None  # the source of a reply
    closed: Half = Half.NONE  # the direction of a FIN
    installed: Half | None = None  # the rules that the switch holds now
    unused: bool = False  # no packet has met its rules
    at: float = 0.0  # of a reply


NO_DETAILS = Details()


def successor(binding: Binding, event: FlowEvent, do: Do, state: State, put: Half, details: Details) -> Binding:
    """The binding as it is in its next ``state``, which is not NONE; ``put``: the rules that are installed for it."""
    number, key, translated, group, since, server, installed, closed, swept, reset, *_, reply_s, port, there = binding
    if do is Do.NOTE or do is Do.SHORTEN:
        closed |= details.closed
        reset = reset or event is FlowEvent.RESET
        swept = swept and do is not Do.SHORTEN  # the rules of a connection that ends have timeouts
    elif do is Do.RENEW:
        closed, reset = Half.NONE, False
    elif do is Do.FREE:
        installed = Half.NONE  # what there was of its rules is removed or replaced
    elif do is Do.PIN and reply_s is None:
        reply_s = details.at - since
    server = None if state is State.UNANSWERED else details.server or server
    installed = put if put is Half.BOTH else put | (installed if details.installed is None else details.installed)
    # As Binding(…), in less time: this is on the first-packet path.
    return tuple.__new__(
        Binding,
        (
            number, key, translated, group, since, server, installed, closed, swept, reset, binding.validity,
            binding.choice, reply_s, port, there,
        ),
    )
