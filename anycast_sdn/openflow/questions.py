"""Dialogues with a switch, one question after the other, without waiting for answers.

``Introduction``: what a switch that has just connected supports (``examination``) and holds.  ``SweepRun``: the
counters of the bindings' rules, for ``core.sweep``.  What is asked periodically: ``process.inspection``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.examination import Examination
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.openflow.pipeline import BINDING_KINDS, COOKIE_KIND_MASK, cookie
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    OFPG_ALL,
    DeleteCookie,
    DeleteEverything,
    DeleteGroup,
    ReportExpired,
)
from anycast_sdn.openflow.sizes import NOT_SAID, Sizes, group_size, table_sizes
from anycast_sdn.openflow.tables import Tables

_ALL = ((0, 0),)  # (cookie, mask) of the rules that are asked for
_WITHOUT_FLOWS = ((cookie(Kind.TOO_LARGE), COOKIE_KIND_MASK), (0, ~COOKIE_KIND_MASK & (1 << 64) - 1))

_ALL_BUT_FLOWS = [DeleteCookie(cookie(kind)) for kind in Kind if kind not in BINDING_KINDS.values()]

Introduced = Callable[[Channel, Tables, Features, dict[int, bool]], None]


class Introduction:
    """Asks a new switch what it supports and what it holds.

    Where it does not answer, a feature stays as ``known``, or is assumed at the first contact; one that does not
    describe itself is not taken for Open vSwitch, whatever was there before; ports stay as they are; meters are not
    used; groups are deleted, with the rules that need them.  If it does not list its rules, not even when asked again,
    all are deleted: unknown rules might translate wrongly.  Rules are asked for last, so that all later reports about
    them come after ``done``.  Where that shows rules of other programs, they are deleted, and the switch is examined
    once more without them.
    """

    def __init__(
        self,
        switch: Channel,
        meters: int,
        known: Features | None,
        done: Introduced,
        tried: Tried | None = None,
        note_tried: Callable[[Tried], None] = lambda tried: None,
        flows: bool = True,
    ) -> None:
        """``tried``: what another controller has found, which counts if that is the switch's master now, or if the
        switch describes itself as it did then;
        ``note_tried``: called with what has been found here; ``flows``: is it asked for the rules of flows,
        too?
        """
        self._switch = switch
        self._requests = _ALL if flows else _WITHOUT_FLOWS
        self._meters = meters  # the highest number that is needed
        self._known = self._features = known or Features(open_vswitch=False)
        self._done = done
        self._tried = tried
        self._note_tried = note_tried
        self._description: tuple[str, ...] = ()
        self._sizes = NOT_SAID
        self._ports: dict[int, bool] = {}
        self._found = Tables()
        self._foreign = False  # it holds rules of other programs
        self._is_examined = False  # while it may have had such rules
        self._may_ask_again = True  # for its rules, once

    def begin(self) -> None:
        self._switch.ask(codec.port_request(self._switch), self._take_ports)

    def _take_ports(self, body: bytes | None) -> None:
        self._ports = dict(decoding.decode_ports(body or b""))
        self._switch.ask(codec.description_request(self._switch), self._take_description)

    def _take_description(self, body: bytes | None) -> None:
        self._description = () if body is None else decoding.decode_description(body)
        open_vswitch = any("Open vSwitch" in words for words in self._description)
        self._features = replace(self._features, open_vswitch=open_vswitch)
        manages = self._switch.is_manager
        if self._features.open_vswitch and not manages:
            self._switch.monitors.watch(self._switch)
        if not (self._features.open_vswitch or manages):
            ask_sizes(self._switch, self._take_sizes)  # nothing waits for the answer
        is_the_same = self._tried and self._tried.description == self._description
        if self._tried and (manages or (is_the_same and self._is_as_tried(self._tried.features))):
            self._features = replace(self._tried.features, equal_buckets=self._features.equal_buckets)
            self._skip_trials()
        elif manages:  # nothing can be tried out, where another controller is the master
            self._skip_trials()
        else:
            self._is_examined = True
            self._examine()

    def _examine(self) -> None:
        self._switch.adapt(Features(keeps_ttl=self._switch.keeps_ttl))
        found = self._description, self._ports, replace(self._features, keeps_ttl=self._switch.keeps_ttl)
        Examination(self._switch, *found, self._take_features).begin()

    def _take_sizes(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._features = replace(self._features, sizes=sizes)

    def _is_as_tried(self, features: Features) -> bool:
        return (features.tables, features.keeps_ttl) == (self._switch.tables, self._switch.keeps_ttl)

    def _skip_trials(self) -> None:
        """One of them also asks for these reports."""
        self._switch.send([ReportExpired(True)] * self._features.expired_reports)
        self._ask_meter_features()

    def _take_features(self, features: Features) -> None:
        self._features = features = replace(features, sizes=self._sizes)
        if self._description:
            self._note_tried(Tried(self._description, features))
        self._ask_meter_features()

    def _ask_meter_features(self) -> None:
        self._features = replace(self._features, keeps_ttl=self._switch.keeps_ttl)
        self._switch.adapt(self._features)
        if not (self._features.cookies or self._switch.is_manager):
            self._switch.send([DeleteEverything()])  # nobody knows what these rules are for, nor those of trials
        self._switch.ask(codec.meter_features_request(self._switch), self._take_meter_features)

    def _take_meter_features(self, body: bytes | None) -> None:
        has_meters = body is not None and decoding.decode_meter_features(body) >= self._meters
        self._features = replace(self._features, meters=has_meters)
        if has_meters:
            self._switch.ask(codec.meter_request(self._switch), self._take_meters)
        else:
            self._ask_groups()

    def _take_meters(self, body: bytes | None) -> None:
        self._features = replace(self._features, meters=body is not None)
        self._found.meters = {meter.number: meter for meter in decoding.decode_meters(body or b"")}
        self._ask_groups()

    def _ask_groups(self) -> None:
        self._switch.ask_in_parts(codec.group_request(self._switch), self._take_groups)

    def _take_groups(self, body: bytes | None, last: bool) -> None:
        if body is None:
            self._switch.send([DeleteGroup(OFPG_ALL)])
            self._found.groups = {}
        groups = decoding.decode_groups(body or b"", self._switch.layout)
        self._found.groups |= {group.number: group for group in groups}
        if last:
            self._ask_flows()

    def _ask_flows(self) -> None:
        self._found.flows = {}
        self._ask_some_flows(self._requests)

    def _ask_some_flows(self, requests: Sequence[tuple[int, int]]) -> None:
        (wanted, mask), *more = requests
        request = codec.flow_stats_request(self._switch, cookie=wanted, mask=mask)
        self._switch.ask_in_parts(request, partial(self._take_flows, more))

    def _take_flows(self, more: Sequence[tuple[int, int]], body: bytes | None, last: bool) -> None:
        """Part by part: a large table at once would delay all other switches."""
        if body is None:
            self._ask_again_or_empty()
            return
        rules, foreign = decoding.decode_flow_stats(body, self._switch.layout)
        self._found.flows.update((rule.key, rule) for rule in rules)
        self._switch.note_found(rules)
        if foreign:
            self._foreign = True
            self._switch.send(map(DeleteCookie, foreign))
        if not last:
            return
        if more:
            self._ask_some_flows(more)
            return
        self._found.had_others = self._foreign
        if self._foreign and self._is_examined:
            self._examine_again()
            return
        self._done(self._switch, self._found, self._features, self._ports)

    def _examine_again(self) -> None:
        """Rules of other programs may have taken the packets of the examination; they are gone now."""
        self._is_examined = False
        self._features = replace(self._known, open_vswitch=self._features.open_vswitch)
        self._examine()

    def _ask_again_or_empty(self) -> None:
        if self._may_ask_again:
            self._may_ask_again = False
            self._ask_flows()
            return
        self._switch.send(_ALL_BUT_FLOWS if self._switch.is_manager else [DeleteEverything()])
        self._done(self._switch, Tables(meters=self._found.meters, unlisted=True), self._features, self._ports)


def ask_sizes(switch: Channel, take: Callable[[Sizes], None]) -> None:
    """``take`` is called with what is known after each of two answers; perhaps never."""
    known = NOT_SAID

    def take_tables(body: bytes | None) -> None:
        nonlocal known
        known = known._replace(rules=tuple(table_sizes(body or b"")))
        take(known)

    def take_groups(body: bytes | None) -> None:
        nonlocal known
        known = known._replace(groups=group_size(body or b""))
        take(known)

    switch.ask(codec.table_features_request(switch), take_tables)
    switch.ask(codec.group_features_request(switch), take_groups)


class SweepRun:
    """Reads counters, one answer after the other, so that first packets are handled in between.

    ``take``: of one request, (number, packets) of each rule, and when the request was sent; ``done``: all is taken.
    """

    def __init__(
        self,
        switch: Channel,
        requests: Iterable[RulesRequest],
        take: Callable[[RulesRequest, list[tuple[int, int]], float], None],
        done: Callable[[], None],
    ) -> None:
        self._switch = switch
        self._left = iter(requests)
        self._take = take
        self._done = done

    def proceed(self) -> None:
        """Ask for the next slice, or finish."""
        request = next(self._left, None)
        if request is None:
            self._done()
            return
        question = codec.rules_request(self._switch, request)
        self._switch.ask_in_parts(question, partial(self._answered, request, time.monotonic()))

    def _answered(self, request: RulesRequest, asked: float, body: bytes | None, last: bool) -> None:
        try:
            if body:
                self._take(request, decoding.decode_counters(body, request), asked)
        finally:  # after an error of our own only this part is lost; a sweep has to end before the next one begins
            if last:
                self._switch.later(self.proceed)
