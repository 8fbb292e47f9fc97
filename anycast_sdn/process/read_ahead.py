"""ReadAhead: what a controller knows of the flows of switches whose master it is not, so that it can be it at once.

A slave may ask.  Where the switch tells of changes of its rules (Open vSwitch), it is asked for all of them once, and
each change is followed (``engines.followed_rules``).  Rules kept here:

- Following costs at most a part of the time (``TURN_S`` of each ``EVERY_S``), and a switch tells it no faster than it
  is read.  What is not followed yet is followed when this controller becomes the master.
- The switch tells of all that its former master has written before it answers that this controller is the master.  So
  when what was told until then has had its turn, all flows are known.  If it is not complete, nothing of it is used:
  the switch is read, as one that connects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from functools import partial

from anycast_sdn.control.controller import Controller
from anycast_sdn.engines.engine import Following
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.flow_monitor import Update
from anycast_sdn.openflow.rules import FlowRule
from anycast_sdn.process import garbage
from anycast_sdn.process.faults import isolated

TURN_S, EVERY_S = 0.005, 0.025
SLICE_S = 0.01  # at a take-over
PAUSED_S = 1.0  # that a switch may take until it has told what it has held back

Then = Callable[[Following | None], None]
Later = Callable[[float, Callable[[], None]], object]


class _Followed:
    """One switch, on one connection.  It is the ``flow_monitor.Follower``."""

    def __init__(self, switch: Channel, following: Following) -> None:
        self._switch = switch
        self.following = following
        self._is_paused = False

    def begin(self) -> None:
        self._switch.ask(codec.description_request(self._switch), self._take_description)

    def _take_description(self, body: bytes | None) -> None:
        if body is not None and any("Open vSwitch" in words for words in decoding.decode_description(body)):
            self._switch.monitors.follow(self._switch, self)

    def told(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self.following.take(update)

    def listed(self) -> None:
        self.following.listed()

    def paused(self, on: bool) -> None:
        self._is_paused = on

    @property
    def is_complete(self) -> bool:
        return self.following.is_complete and not self._is_paused

    @property
    def has_more(self) -> bool:
        """Is there something to do, or to wait for?"""
        return self.following.has_more or (self.following.is_complete and self._is_paused)


class ReadAhead:
    """``later``: calls a function after so many seconds."""

    def __init__(self, controller: Controller, later: Later) -> None:
        self._controller = controller
        self._later = later
        self._followed: dict[Channel, _Followed] = {}
        self._is_ticking = False

    def begin(self, switch: Channel) -> None:
        """Another controller is the master of this switch, and this one knows nothing of it."""
        self.end(switch)
        if not self._controller.switches[switch.id].ever_synchronised and (followed := self._new(switch)):
            self._followed[switch] = followed
            followed.begin()
            if not self._is_ticking:
                self._is_ticking = True
                self._later(EVERY_S, self._tick)

    def _new(self, switch: Channel) -> _Followed | None:
        following = self._controller.switches[switch.id].engine.follow(partial(_rules_in, switch))
        return _Followed(switch, following) if following else None

    def end(self, switch: Channel) -> None:
        self._followed.pop(switch, None)
        switch.monitors.follow_no_more(switch)

    def followed(self) -> frozenset[int]:
        """The switches (datapath ids) whose flows are followed now."""
        return frozenset(switch.id for switch in self._followed)

    def begin_anew(self, kept: Collection[int] = ()) -> None:
        """The controller has forgotten what it knew, but for the flows of these switches (datapath ids)."""
        for switch in [switch for switch in self._followed if switch.id not in kept]:
            self.begin(switch)

    def _tick(self) -> None:
        self._is_ticking = bool(self._followed)
        if self._is_ticking:
            self._step_all()
            self._later(EVERY_S, self._tick)

    @isolated
    def _step_all(self) -> None:
        """Those that had a turn are the last ones of the next round."""
        garbage.collect_new()
        turn_ends = time.monotonic() + TURN_S
        for switch, followed in list(self._followed.items()):
            del self._followed[switch]
            self._followed[switch] = followed
            self._step(followed)
            while followed.following.has_more and time.monotonic() < turn_ends:
                self._step(followed)
            if time.monotonic() >= turn_ends:
                break
        garbage.exempt_new()

    def _step(self, followed: _Followed) -> None:
        followed.following.step(self._controller.groups, time.monotonic())

    # ---------------------------------------------------------------- this controller becomes the master

    def take_over(self, switch: Channel, then: Then) -> None:
        """``then`` is called with what was followed, if that is all that the switch holds of flows; else with None."""
        followed = self._followed.pop(switch, None)
        if followed is None and not self._controller.switches[switch.id].ever_synchronised:
            followed = self._new(switch)
        if followed is None:
            then(None)
        else:
            self._catch_up(switch, followed, time.monotonic() + PAUSED_S, then)

    def _catch_up(self, switch: Channel, followed: _Followed, deadline: float, then: Then) -> None:
        if not self._catch_up_some(followed):
            switch.close("internal error while its flows were read ahead")
        elif followed.is_complete:
            switch.monitors.follow_no_more(switch)
            then(followed.following)
        elif followed.following.has_more or (followed.has_more and time.monotonic() < deadline):
            switch.later(partial(self._catch_up, switch, followed, deadline, then))
        else:
            switch.monitors.follow_no_more(switch)
            self._forget(switch, followed.following, then)

    @isolated
    def _catch_up_some(self, followed: _Followed) -> None:
        garbage.collect_new()
        turn_ends = time.monotonic() + SLICE_S
        while followed.following.has_more and time.monotonic() < turn_ends:
            self._step(followed)
        garbage.exempt_new()

    def _forget(self, switch: Channel, following: Following, then: Then) -> None:
        if following.forget(time.monotonic()):
            switch.later(partial(self._forget, switch, following, then))
        else:
            then(None)


def _rules_in(switch: Channel, entries: bytes) -> list[FlowRule]:
    try:
        rules, _ = decoding.decode_flow_stats(entries, switch.layout)
    except decoding.BadMessage as error:
        switch.close(f"bad message: {error}", "bad message")
        return []
    return rules
