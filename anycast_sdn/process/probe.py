"""``probe``: one switch is waited for, examined for every role, and left as it was.

It needs no network file, and is no controller: the switch's own rules, groups and meters stay (``Careful``), they are
read before and afterwards, and whether they are the same is part of the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from os_ken.lib import hub

from anycast_sdn.core.events import Event, Reported
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.switch_events import ConnectionRefused
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.careful import Careful
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.examination import Examination
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.holdings import Holdings
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.meters import Meter, port_meter
from anycast_sdn.openflow.questions import ask_sizes
from anycast_sdn.openflow.sizes import NOT_SAID, Sizes
from anycast_sdn.openflow.without import used_without
from anycast_sdn.process.acceptor import Acceptor, shown
from anycast_sdn.process.ending import Ending
from anycast_sdn.process.listening import listening
from anycast_sdn.process.switch_tls import OpenFlowOptions, SwitchTls
from anycast_sdn.views.switch_reports import description, layout_view, role_views, room_view, without_views

STEP_S = 0.05
EXAMINED_S = 120.0  # from its connection to the report, at the longest
CLEANED_S = 7.0  # until the switch has confirmed that trials are removed; with ``SENT_S`` less than ``ending.END_S``
SENT_S = 2.0  # for what is left to send, at the end
_ONE_PORT = port_meter(Meter.REPORTS, 0)  # the highest meter of a switch with one port to hosts

Report = dict[str, Any]
Tell = Callable[[str], None]


class ProbeFailed(AnycastError):
    """There is no report."""


def probe(
    ending: Ending, openflow: OpenFlowOptions, tell: Tell, wait_s: float | None = None, dpid: int | None = None
) -> Report | None:
    """Waits for a switch → its report, as of ``GET /v1/switches/NAME``; None: a signal has ended it.

    ``tell`` is called with what is going on; ``wait_s``: for a switch, None: until a signal; ``dpid``: of the switch,
    None: the first that connects.  Raises ConfigurationError, ProbeFailed.
    """
    tls = SwitchTls(openflow)
    with listening("OpenFlow", "--openflow", openflow.address):
        acceptor = Acceptor(openflow.address, 1, tls.wire)
    waiting = Waiting(tell, dpid)
    hub.spawn(acceptor.serve, waiting, waiting.refused)
    tell(f"waiting for a switch on {shown(openflow.address)} (OpenFlow 1.3); {tls}")
    try:
        return _result(ending, waiting, wait_s)
    finally:
        _clean_up(waiting.dialogue)
        _finish(acceptor)


def _result(ending: Ending, waiting: Waiting, wait_s: float | None) -> Report | None:
    began = time.monotonic()
    while not (ending.asked or ending.hung_up):
        dialogue, now = waiting.dialogue, time.monotonic()
        if waiting.failed:
            raise ProbeFailed(waiting.failed)
        if dialogue and dialogue.report:
            return dialogue.report
        if dialogue and now - dialogue.began > EXAMINED_S:
            raise ProbeFailed(f"the switch has not answered all within {EXAMINED_S:.0f} s: it was {dialogue.stage}")
        if not dialogue and wait_s is not None and now - began > wait_s:
            raise ProbeFailed(f"no switch has connected within {wait_s:g} s{waiting.hint}")
        hub.sleep(STEP_S)
    return None


def _clean_up(dialogue: Dialogue | None) -> None:
    """What is there of trials is removed, and the switch confirms that: what it has not read at the end is lost."""
    if dialogue is None or dialogue.report or dialogue.is_clean:
        return
    dialogue.clean_up()
    deadline = time.monotonic() + CLEANED_S
    while not (dialogue.is_over or dialogue.switch.is_closed) and time.monotonic() < deadline:
        hub.sleep(STEP_S)
    dialogue.tell_what_is_left()


def _finish(acceptor: Acceptor) -> None:
    """What is queued is sent, and the connections are closed."""
    deadline = time.monotonic() + SENT_S
    while any(switch.unsent for switch in acceptor.connections) and time.monotonic() < deadline:
        hub.sleep(STEP_S)
    acceptor.stop()
    while acceptor.connections and time.monotonic() < deadline:
        hub.sleep(STEP_S)


class Waiting:
    """A ``Listener``: the first switch that fits is examined, and all others are sent away."""

    def __init__(self, tell: Tell, dpid: int | None) -> None:
        self.dialogue: Dialogue | None = None
        self.failed = ""  # why there will be no report
        self._tell = tell
        self._dpid = dpid
        self._told: set[tuple[str, str]] = set()  # of refused connections
        self._reason = ""  # of the last one

    @property
    def hint(self) -> str:
        return f"; the last connection was closed: {self._reason}" if self._reason else ""

    def identified(self, switch: Channel) -> None:
        if self._dpid not in (None, switch.id):
            switch.close(f"switch {switch.id:016x} is not the one to be examined ({self._dpid:016x})", "another")
        elif self.dialogue:
            switch.close(f"switch {switch.id:016x}: another connection is being examined", "second")
        else:
            switch.admit(f"{switch.id:016x}")
            shows = f", with the certificate of {switch.certificate}" if switch.certificate else ""
            self._tell(f"switch {switch.id:016x} has connected from {switch.peer}{shows}")
            self.dialogue = Dialogue(switch, self._tell)
            self.dialogue.begin()

    def disconnected(self, switch: Channel) -> None:
        dialogue = self.dialogue
        if dialogue and dialogue.switch is switch and not dialogue.report:
            self.failed = f"switch {switch.name}: {switch.reason}, while the controller was {dialogue.stage}"

    def refused(self, event: Event) -> None:
        if isinstance(event, ConnectionRefused):
            self._reason = event.reason
            if (event.origin, event.what) in self._told:
                return
            self._told.add((event.origin, event.what))
        if isinstance(event, Reported):
            self._tell(event.sentence())

    # Of what else a ``Listener`` hears nothing is of interest.

    def unanswered(self, dpid: int, questions: frozenset[str]) -> None: ...
    def packet_in(self, dpid: int, message: Any) -> None: ...
    def turn_ended(self, dpid: int) -> None: ...
    def ttl_expired(self, dpid: int, message: Any) -> None: ...
    def rule_removed(self, dpid: int, cookie: int, deleted: bool, unused: bool) -> None: ...
    def rule_of_others_removed(self, dpid: int, removed: bytes) -> None: ...
    def group_refused(self, dpid: int, number: int) -> None: ...
    def rules_modified(self, dpid: int, cookies: list[int]) -> None: ...
    def confirmed(self, dpid: int, ticket: int) -> None: ...
    def port_changed(self, dpid: int, port: int, up: bool) -> None: ...

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None:
        """It is no trial: those have transaction ids of their own."""
        self._tell(f"the switch refuses the end of a trial: {reason}")

    def message_refused(self, dpid: int, reason: str) -> None:
        self._tell(f"the switch has refused a message: {reason}")

    def is_slave(self, dpid: int) -> None:
        self.failed = "another controller is the switch's master, and nothing can be tried out: take that one away"


class Dialogue:
    """With one switch.  ``stage``: what is going on; ``report``: when all has been found out.

    ``is_clean``: no trial is there; ``is_over``: the switch has answered whether it has removed them before the end.
    """

    def __init__(self, switch: Channel, tell: Tell) -> None:
        self.switch = switch
        self.began = time.monotonic()
        self.stage = ""
        self.report: Report | None = None
        self.is_clean, self.is_over = True, False
        self._tell = tell
        self._ports: dict[int, bool] = {}
        self._description: tuple[str, ...] = ()
        self._features = Features()
        self._sizes = NOT_SAID
        self._held, self._held_later = Holdings(), Holdings()
        self._careful = Careful(switch, self._held)

    def begin(self) -> None:
        self._next("reading what it says of itself")
        self.switch.ask(codec.port_request(self.switch), self._take_ports)

    def clean_up(self) -> None:
        """Before its end: until ``is_over`` the switch has not answered."""
        if self.switch.is_closed:
            return
        if left := self._careful.tried:
            self._tell(f"removing what is there of trials: {left}")
        self._remove(self._cleaned_up)

    def tell_what_is_left(self) -> None:
        if not self.is_clean:
            self._tell(self._careful.left)

    def _cleaned_up(self) -> None:
        self.is_over = True

    def _remove(self, then: Callable[[], None]) -> None:
        def over(confirmed: bool) -> None:
            self.is_clean = confirmed
            then()

        self._careful.clean_up(over)

    def _next(self, stage: str) -> None:
        self.stage = stage
        self._tell(f"{stage} …")

    def _take_ports(self, body: bytes | None) -> None:
        self._ports = dict(decoding.decode_ports(body or b""))
        self.switch.ask(codec.description_request(self.switch), self._take_description)

    def _take_description(self, body: bytes | None) -> None:
        self._description = decoding.decode_description(body) if body is not None else ()
        if not any("Open vSwitch" in words for words in self._description):
            ask_sizes(self.switch, self._take_sizes)  # nothing waits for the answer
        self.switch.ask(codec.meter_features_request(self.switch), self._take_meter_features)

    def _take_sizes(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def _take_meter_features(self, body: bytes | None) -> None:
        has_meters = body is not None and decoding.decode_meter_features(body) >= _ONE_PORT
        open_vswitch = any("Open vSwitch" in words for words in self._description)
        self._features = Features(open_vswitch=open_vswitch, meters=has_meters)
        self._next("reading the rules, groups and meters that it holds")
        self._read(self._held, self._examine)

    # ---------------------------------------------------------------- what it holds

    def _read(self, into: Holdings, then: Callable[[], None]) -> None:
        switch = self.switch
        rules, groups = codec.flow_stats_request(switch), codec.group_request(switch)
        read_meters = partial(self._read_part, "meters", codec.meter_request(switch), into.take_meters, into, then)
        read_groups = partial(self._read_part, "groups", groups, into.take_groups, into, read_meters)
        self._read_part("rules", rules, into.take_rules, into, read_groups)

    def _read_part(
        self, what: str, request: Any, take: Callable[[bytes], None], into: Holdings, then: Callable[[], None]
    ) -> None:
        def part(body: bytes | None, last: bool) -> None:
            if body is None:
                into.unread.add(what)
            else:
                try:
                    take(body)
                except BadMessage as error:
                    into.unread.add(what)
                    self._tell(f"its {what} cannot be read: {error}")
            if last:
                then()

        self.switch.ask_in_parts(request, part)

    # ---------------------------------------------------------------- what it can do

    def _examine(self) -> None:
        if held := self._held.counts():
            self._tell(f"it holds {held}; they stay as they are")
        if "rules" in self._held.unread:
            unknown = "whether trials take the place of some cannot be known, and no packet is sent through it"
            self._tell(f"it does not list its rules: {unknown}")
        elif not self._careful.passes_packets:
            self._tell("its own rules would take packets of trials, or may: none is sent through it")
        self._next("trying what it accepts")
        self.is_clean = False
        careful = cast("Channel", self._careful)
        Examination(careful, self._description, self._ports, self._features, self._take_features).begin()

    def _take_features(self, features: Features) -> None:
        self._features = replace(features, sizes=self._sizes)
        self._remove(self._read_again)

    def _read_again(self) -> None:
        if not self.is_clean:
            self._tell("it has not confirmed that trials are removed: some may still be there when it is read again")
        self._next("reading again what it holds")
        self._read(self._held_later, self._end)

    def _end(self) -> None:
        switch, features = self.switch, self._features
        unread = sorted(self._held.unread | self._held_later.unread)
        different = self._held.differences(self._held_later)
        self.report = {
            "name": f"{switch.id:016x}",
            "dpid": switch.id,
            "address": switch.peer,
            "connected": True,
            **description(features),
            "layout": layout_view(switch.layout),
            "roles": [view | {"wanted": True} for view in role_views(judge(role, features) for role in Role)],
            "without": without_views(features, True, used_without(features)),
            "unanswered": sorted(switch.unanswered),
            "rules": None,
            "room": room_view(dict.fromkeys(layout_view(switch.layout).values(), 0), features.sizes),
            "held": {**self._held.numbers(), "unread": unread, "different": different},
        }  # fmt: skip
