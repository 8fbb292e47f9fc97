"""Reaction: what follows at a switch from an event there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from anycast_sdn.core.events import Event
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, OFPP_TABLE, Barrier, Message, Output, PacketOut


@dataclass(slots=True)
class Reaction:
    """Messages for this switch, and what there is to say of what happened.

    ``changed``: the event changes what switches should hold.  ``others_deleted``: another program has deleted a rule.
    """

    messages: list[Message] = field(default_factory=list)
    changed: bool = False
    events: list[Event] = field(default_factory=list)
    others_deleted: bool = False


_PIPELINE = (Output(OFPP_TABLE),)


def in_order(messages: Iterable[Message]) -> Iterator[Message]:
    """For a switch that may reorder messages (OF 1.3.5 §6.1): a barrier between rules and a packet that needs them."""
    changed = False
    for message in messages:
        if isinstance(message, Barrier):
            changed = False
        elif not isinstance(message, PacketOut):
            changed = True
        elif changed and message.actions == _PIPELINE:
            changed = False
            yield Barrier()
        yield message


def through_pipeline(frame: bytes) -> PacketOut:
    """A frame goes through the tables as if it had just come in.

    Its ingress port is the controller, so that it is recognised if no rule matches it and it comes back.
    """
    return PacketOut(frame, OFPP_CONTROLLER, _PIPELINE)


def as_received(port: int, frame: bytes) -> PacketOut:
    """A host's frame that was held back: it goes through tables and meters as if it had just come in by its port."""
    return PacketOut(frame, port, _PIPELINE)


def out_of(port: int, frame: bytes) -> PacketOut:
    """A frame that leaves by this port as it is."""
    return PacketOut(frame, OFPP_CONTROLLER, (Output(port),))
