"""Outcome: what follows from an event in the whole network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from anycast_sdn.core.events import Event
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.rules import Message

Outbox = dict[int, list[Message]]  # datapath id → messages, in order


@dataclass(slots=True)
class Outcome:
    """Messages for switches, and the events that happened (``core.events``)."""

    outbox: Outbox = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @classmethod
    def at(cls, dpid: int, reaction: Reaction) -> Outcome:
        """What follows at one switch."""
        return cls({dpid: reaction.messages} if reaction.messages else {}, reaction.events)

    def send(self, dpid: int, messages: Iterable[Message]) -> None:
        """Add these messages, after those that the switch is to be sent already."""
        self.outbox.setdefault(dpid, []).extend(messages)

    def add(self, more: Outcome) -> None:
        """Add a later outcome."""
        for dpid, messages in more.outbox.items():
            if dpid in self.outbox:
                self.outbox[dpid] += messages
            else:
                self.outbox[dpid] = [*messages]
        if more.events:
            self.events += more.events
