"""Listener: who is told what switches send."""

from __future__ import annotations

from typing import Any, Protocol

from anycast_sdn.openflow import decoding


class Listener(Protocol):
    """Receives the events of connections, in the order of arrival.  Its methods must not wait."""

    def identified(self, switch: Any) -> None:
        """The switch has sent its datapath id (``id``); the listener calls ``admit`` or ``close``, now or later."""

    def disconnected(self, switch: Any) -> None:
        """An admitted switch's connection has ended, for ``reason``."""

    def unanswered(self, dpid: int, questions: frozenset[str]) -> None:
        """The questions that the switch leaves unanswered have changed to these."""

    def packet_in(self, dpid: int, message: decoding.PacketInMessage) -> None: ...

    def turn_ended(self, dpid: int) -> None:
        """Some messages have been handled, and others will have their turn."""

    def ttl_expired(self, dpid: int, message: decoding.PacketInMessage) -> None: ...

    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool) -> None: ...

    def rule_of_others_removed(self, dpid: int, removed: bytes) -> None:
        """Another controller is the switch's master.  ``removed``: the body of the message."""

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None:
        """``cookie``: 0 when it is a group or a meter that the switch has refused."""

    def group_refused(self, dpid: int, number: int) -> None:
        """Besides ``rule_refused``: it is this group, and its buckets are the reason."""

    def message_refused(self, dpid: int, reason: str) -> None:
        """The switch has refused a message that changes nothing it should hold, a packet-out for example."""

    def rules_modified(self, dpid: int, cookies: list[int]) -> None:
        """Others have modified the rules with these cookies; see ``flow_monitor``."""

    def confirmed(self, dpid: int, ticket: int) -> None: ...

    def is_slave(self, dpid: int) -> None:
        """The switch has refused a write: another controller is its master."""

    def port_changed(self, dpid: int, port: int, up: bool) -> None: ...
