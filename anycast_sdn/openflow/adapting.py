"""Adapting: how messages are written for a switch, by its number of tables and by what it was found to lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from anycast_sdn.openflow import codec
from anycast_sdn.openflow.adapted import adapted
from anycast_sdn.openflow.decoding import PacketInMessage
from anycast_sdn.openflow.direct import DirectPackets
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.known_rules import KnownRules
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.listener import Listener
from anycast_sdn.openflow.rules import FlowRule, Message

Encode = Callable[[Any, Iterable[Message]], bytes]


class Adapting:
    """The part of a ``Connection`` that knows how its switch is written to."""

    id: int
    _listener: Listener

    def __init__(self, layout: Layout) -> None:
        self.keeps_ttl = False  # see ``Features``
        self.layout = layout  # which of its tables carries what
        self._encode: Encode = codec.encoder(layout).encode
        self._known: KnownRules | None = None  # of a switch that keeps no cookies
        self._direct: DirectPackets | None = None  # of a switch that takes no packets to its tables

    def use_layout(self, layout: Layout) -> None:
        self.layout = layout
        self._encode = codec.encoder(layout).encode

    def adapt(self, features: Features) -> None:
        """What the switch lacks is known: it is sent what it takes instead."""
        self.use_layout(adapted(self.layout, features))
        self._known = None if features.cookies else KnownRules(self.layout)
        if self._known:
            self._encode = _encoding_known(self._known, self._encode)
        self._direct = None if features.table_output else DirectPackets()
        if self._direct:
            self._encode = self._encoding_directly(self._direct, self._encode)

    def note_found(self, rules: Iterable[FlowRule]) -> None:
        """The switch was found to hold these rules."""
        if self._direct:
            self._direct.hold(rules)

    def note_removed(self, cookie: int) -> None:
        """The switch has reported the removal of a rule."""
        if self._direct:
            self._direct.removed(cookie)

    def as_asked(self, kind: int, request: bytes) -> bytes:
        """A multipart request of this type, as this switch is to be asked."""
        return self._known.as_asked(kind, request) if self._known else request

    def restored(self, kind: int, body: bytes) -> bytes:
        """A message from the switch, with the cookies that it does not keep."""
        return self._known.restored(kind, body) if self._known else body

    def later(self, act: Callable[[], None]) -> None:
        """Act when what is under way is done: where nothing is, at once."""
        act()

    def _encoding_directly(self, direct: DirectPackets, encode: Encode) -> Encode:
        def encode_directly(datapath: Any, messages: Iterable[Message]) -> bytes:
            sent = direct.as_sent(messages)
            if direct.returned:
                self.later(self._take_returned)
            return encode(datapath, sent)

        return encode_directly

    def _take_returned(self) -> None:
        """As if the switch had sent these packets up."""
        if self._direct:
            returned, self._direct.returned = self._direct.returned, []
            for packet in returned:
                self._listener.packet_in(self.id, PacketInMessage(*packet))
            self._listener.turn_ended(self.id)


def _encoding_known(known: KnownRules, encode: Encode) -> Encode:
    return lambda datapath, messages: encode(datapath, known.as_sent(messages))
