"""Flow monitors of Open vSwitch (ONF extension 187): a switch tells of changes of its rules when they happen.

- A master asks for modifications alone (``watch``): the controller adds and deletes rules, and never modifies them, so
  that its own changes cause no notifications.  Who decides on a switch that has another master does not ask: of that
  one's changes there are too many.
- A slave asks for everything (``follow``): first all rules that there are, then each change.  A switch tells of all
  that a former master has written before it answers that somebody else is the master now.  If it has more to tell than
  is read in time, it pauses: until it goes on, what is known is not complete.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow import nicira
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.pending import MULTIPART

_INITIAL, _ADD, _DELETE, _MODIFY, _INSTRUCTIONS = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4  # ONFFMF_*
_ADDED, _DELETED, _MODIFIED, _ABBREVIATED = range(4)  # ONFFME_*; the last one: a change of our own
_WATCH = 0  # the name of this monitor; those that follow have the next ones
_PAUSED, _RESUMED = nicira.FLOW_MONITOR + 1, nicira.FLOW_MONITOR + 2

_EXPERIMENTER = ofp.OFPMP_EXPERIMENTER.to_bytes(2, "big")  # the kind of a multipart message
_EMPTY_MATCH = struct.Struct("!HH4x")
_EXTENSION = struct.Struct("!II")
_UPDATE = struct.Struct("!HHHHHHHBxQ")  # length, event, reason, priority, timeouts, length of the match, table, cookie
_HEAD = struct.Struct("!HH")
_FLOW_STATS = struct.Struct("!HBxIIHHHH4xQQQ")


class Update(NamedTuple):
    """What has become of a rule, or that it is gone.  ``entry``: the rule, as an entry of flow statistics.

    The switch does not say whether it reports the rule's end, so it is taken to do so, as of flows' rules.
    """

    cookie: int
    is_gone: bool
    entry: bytes


class Follower(Protocol):
    """Is told, in order, of what others make of the switch's rules.  Its methods must not wait."""

    def told(self, updates: Iterable[Update]) -> None: ...

    def listed(self) -> None:
        """All rules that there were have been told."""

    def paused(self, on: bool) -> None:
        """The switch does not tell of all changes for a while; when it goes on, it has told of them."""


class Asked(Protocol):
    """A connection."""

    def ask_or_do_without(self, kind: int, body: bytes) -> int:
        """Send a message of this kind, which the switch may refuse → its transaction id."""


class Monitors:
    """Those of one connection."""

    def __init__(self) -> None:
        self._watches = False
        self._follower: Follower | None = None
        self._followed = _WATCH  # the name of the last monitor
        self._listing = 0  # transaction id of the request for all rules, until they have been told
        self._is_paused = False
        self._are_used = False  # the switch may tell of changes

    def watch(self, switch: Asked) -> None:
        if not self._watches:
            self._watches = self._are_used = True
            switch.ask_or_do_without(ofp.OFPT_MULTIPART_REQUEST, _request(_WATCH, _MODIFY))

    def watch_no_more(self, switch: Asked) -> None:
        if self._watches:
            self._watches = False
            _cancel(switch, _WATCH)

    def follow(self, switch: Asked, follower: Follower) -> None:
        """``follower`` is told of all rules, and then of every change, until ``follow_no_more``."""
        self.follow_no_more(switch)
        self._follower, self._are_used = follower, True
        follower.paused(self._is_paused)
        self._followed += 1
        flags = _INITIAL | _ADD | _DELETE | _MODIFY | _INSTRUCTIONS
        self._listing = switch.ask_or_do_without(ofp.OFPT_MULTIPART_REQUEST, _request(self._followed, flags))

    def follow_no_more(self, switch: Asked) -> None:
        if self._follower:
            self._follower = None
            _cancel(switch, self._followed)

    def are_told_of(self, body: bytes) -> bool:
        """Is this multipart reply for them?"""
        return self._are_used and body[:2] == _EXPERIMENTER

    def take(self, xid: int, body: bytes) -> list[int]:
        """What the switch tells, in a multipart reply → the cookies of rules that others have modified.  BadMessage."""
        if len(body) < MULTIPART.size:
            raise BadMessage("multipart reply cut short")
        (_, more), body = MULTIPART.unpack_from(body), body[MULTIPART.size :]
        if self._follower is None:
            return [cookie for event, cookie, *_ in _updates(body) if event == _MODIFIED]
        follower = self._follower
        if self._listing and xid != self._listing:
            return []  # from before the list, for somebody who had followed before
        follower.told(Update(cookie, event == _DELETED, _entry(body, *at)) for event, cookie, *at in _updates(body))
        if self._listing and not more:
            self._listing = 0
            follower.listed()
        return []

    def take_pause(self, body: bytes) -> None:
        """An experimenter message: the switch pauses, or goes on; others are ignored."""
        pauses = {_extension(_PAUSED): True, _extension(_RESUMED): False}.get(body)
        if pauses is not None:
            self._is_paused = pauses
            if self._follower:
                self._follower.paused(pauses)


def _cancel(switch: Asked, monitor: int) -> None:
    cancelled = _extension(nicira.FLOW_MONITOR) + monitor.to_bytes(4, "big")
    switch.ask_or_do_without(ofp.OFPT_EXPERIMENTER, cancelled)


def _extension(subtype: int) -> bytes:
    return _EXTENSION.pack(nicira.ONF_VENDOR, subtype)


def _request(monitor: int, flags: int) -> bytes:
    """The body of a multipart request, for the rules of all tables."""
    multipart = struct.pack("!HH4x", ofp.OFPMP_EXPERIMENTER, 0) + _extension(nicira.FLOW_MONITOR)
    body = struct.pack("!IHHIB3x", monitor, flags, _EMPTY_MATCH.size - 4, ofp.OFPP_ANY, ofp.OFPTT_ALL)
    return multipart + body + _EMPTY_MATCH.pack(ofp.OFPMT_OXM, _EMPTY_MATCH.size - 4)


def _updates(body: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(event, cookie, place, length) of each update, without those of our own changes."""
    if body[: _EXTENSION.size] != _extension(nicira.FLOW_MONITOR):
        raise BadMessage("a multipart reply to no request")
    at, end = _EXTENSION.size, len(body)
    while at < end:
        if end - at < 2 * _HEAD.size:
            raise BadMessage("truncated")
        length, event = _HEAD.unpack_from(body, at)
        if length < 2 * _HEAD.size or at + length > end:
            raise BadMessage("impossible length")
        if event != _ABBREVIATED:
            if length < _UPDATE.size:
                raise BadMessage("truncated")
            yield event, _UPDATE.unpack_from(body, at)[-1], at, length
        at += length


def _entry(body: bytes, at: int, length: int) -> bytes:
    _, _, _, priority, idle, hard, _, table, cookie = _UPDATE.unpack_from(body, at)
    rest = body[at + _UPDATE.size : at + length]  # match and instructions are written alike
    size = _FLOW_STATS.size + len(rest)
    return _FLOW_STATS.pack(size, table, 0, 0, priority, idle, hard, ofp.OFPFF_SEND_FLOW_REM, cookie, 0, 0) + rest
