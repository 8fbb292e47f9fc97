"""Careful: a switch of somebody else, at which something is tried out, and which is left as it was.

The rules that it keeps:

- Only what was tried out here is deleted, rule by rule (OFPFC_DELETE_STRICT): a switch that does not compare cookies
  would delete all.
- What the switch holds already is neither replaced nor changed: a trial that would take the place of a rule gets
  another priority, and groups get numbers that are free.
- A packet goes through the switch only by rules of trials, which are above all others: rules of another program would
  send it elsewhere.  Where that cannot be, no packet is sent.
- Nothing else that changes a switch passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from anycast_sdn.core.words import counted
from anycast_sdn.openflow import codec
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.holdings import Holdings, Place, place_of
from anycast_sdn.openflow.layouts import highest
from anycast_sdn.openflow.pending import TrialResult
from anycast_sdn.openflow.rules import (
    OFPP_TABLE,
    AddFlow,
    Barrier,
    DeleteCookie,
    DeleteFlow,
    DeleteGroup,
    EndConnection,
    FlowRule,
    Message,
    Output,
    PacketOut,
    ReportExpired,
    SetGroup,
    ToGroup,
)

_CHANGE_NO_RULE = (Barrier, PacketOut, ReportExpired, EndConnection)
_OF_PACKETS = 3000  # the lowest priority of rules for packets that are sent through the switch
_ASKED = 3  # times for a confirmation in the end: a slow switch has much to do before it
_MOST = (1 << 16) - 1
_THROUGH = Output(OFPP_TABLE)
Attempt = tuple[Message, TrialResult]


class Careful:
    """Stands for the ``Channel``, of which it has everything else.  ``held``: what the switch holds."""

    def __init__(self, switch: Channel, held: Holdings) -> None:
        self._switch = switch
        self._held = held
        self._rules: dict[Place, FlowRule] = {}  # that are there because of trials, or may be
        self._put = Counter[Place]()  # how many trials have put a rule there, without those that were refused
        self._groups: dict[int, int] = {}  # by the number that a trial asks for: the one that it has
        self._is_over = False  # nothing is tried out any more

    def __getattr__(self, name: str) -> Any:
        return getattr(self._switch, name)

    def try_out(self, message: Message, result: TrialResult) -> None:
        self.try_all([(message, result)])

    def try_all(self, attempts: Iterable[Attempt]) -> None:
        """What ``_is_kept`` is not tried."""
        if self._is_over:
            return
        passed, kept = list[Attempt](), list[Attempt]()
        for message, result in attempts:
            (kept if self._is_kept(message) else passed).append((message, result))
        sent = [(self._changed(message), result) for message, result in passed]
        self._switch.try_all([(message, self._noting(message, result)) for message, result in sent])
        for _, result in kept:
            result(None, "")

    def send(self, messages: Iterable[Message]) -> None:
        if self._is_over:
            return
        self._switch.send([each for message in messages for each in self._allowed(message)])

    @cached_property
    def passes_packets(self) -> bool:
        """Are rules of trials above all others in each table?  It is asked for when all that it holds is read."""
        is_read = "rules" not in self._held.unread
        return is_read and highest(self._switch.layout) + max(self._raised.values(), default=0) <= _MOST

    def clean_up(self, over: Callable[[bool], None]) -> None:
        """Delete what is left of trials, and try out nothing more.

        ``over`` is called with whether the switch has confirmed that it has done so; never, if its connection ends.
        """
        self._is_over = True
        self._switch.send([*map(DeleteFlow, self._rules.values()), *map(DeleteGroup, self._groups.values())])
        self._await_end(over, _ASKED)

    def _await_end(self, over: Callable[[bool], None], asked: int) -> None:
        def take(taken: bool | None, why: str) -> None:
            if taken:
                self._rules.clear()
                self._put.clear()
                self._groups.clear()
            if not taken and not why and asked > 1:  # it may still have much to do before it answers
                self._await_end(over, asked - 1)
            else:
                over(bool(taken))

        self._switch.try_out(Barrier(), take)

    @property
    def tried(self) -> str:
        """What is there now because of trials, for the log; "": nothing."""
        rules, groups = counted(len(self._rules), "rule"), counted(len(self._groups), "group")
        return f"{rules} and {groups}" if self._rules or self._groups else ""

    @property
    def left(self) -> str:
        """What may be left of trials, where nothing has confirmed that it was deleted: a sentence."""
        rules = counted(len(self._rules), "rule") if self._rules else "rules"
        groups = f"groups ({', '.join(map(str, sorted(self._groups.values())))})" if self._groups else "groups"
        return f"{rules} (cookies that begin with 0xa17cff) and {groups} of trials may be left at the switch"

    def _changed(self, message: Message) -> Message:
        """As it may be sent."""
        if isinstance(message, AddFlow | DeleteFlow):
            rule, place = self._elsewhere(message.rule)
            if isinstance(message, AddFlow):
                self._rules[place] = rule
                self._put[place] += 1
                return AddFlow(rule)
            self._forget(place)
            return DeleteFlow(rule)
        if isinstance(message, SetGroup):
            number = self._groups.setdefault(message.group.number, self._free(message.group.number))
            return message._replace(group=replace(message.group, number=number))
        assert isinstance(message, _CHANGE_NO_RULE), message
        return message

    def _allowed(self, message: Message) -> list[Message]:
        if isinstance(message, DeleteCookie):
            places = [place for place, rule in self._rules.items() if rule.cookie == message.cookie]
            return [DeleteFlow(rule) for rule in map(self._forget, places) if rule]
        if isinstance(message, DeleteGroup):
            number = self._groups.pop(message.number, None)
            return [] if number is None else [DeleteGroup(number)]
        return [] if self._is_kept(message) else [self._changed(message)]

    def _is_kept(self, message: Message) -> bool:
        """Would it need packets to pass where they cannot, or the place of a rule that the switch holds?"""
        if _is_of_packets(message) and not self.passes_packets:
            return True
        return isinstance(message, AddFlow | DeleteFlow) and not self._has_place(message.rule)

    def _has_place(self, rule: FlowRule) -> bool:
        """Some rules have one priority on the switch, whatever theirs is (``one_table``)."""
        place = self._place(rule)
        return place not in self._held.rules or self._place(replace(rule, priority=rule.priority + 1)) != place

    def _noting(self, sent: Message, result: TrialResult) -> TrialResult:
        """What is refused is not there, and is not deleted."""

        def take(taken: bool | None, why: str) -> None:
            if taken is False:
                self._refused(sent)
            result(taken, why)

        return take

    def _refused(self, sent: Message) -> None:
        if isinstance(sent, AddFlow):
            place = self._place(sent.rule)
            self._put[place] -= 1
            if self._put[place] <= 0:
                self._forget(place)
        elif isinstance(sent, SetGroup) and not sent.exists:
            self._groups = {asked: number for asked, number in self._groups.items() if number != sent.group.number}

    def _forget(self, place: Place) -> FlowRule | None:
        del self._put[place]
        return self._rules.pop(place, None)

    def _with_number(self, action: Any) -> Any:
        return ToGroup(self._groups.get(action.group, action.group)) if isinstance(action, ToGroup) else action

    def _free(self, number: int) -> int:
        while number in self._held.groups or number in self._groups.values():
            number -= 1
        return number

    def _elsewhere(self, rule: FlowRule) -> tuple[FlowRule, Place]:
        """With a priority that is free, and its group's number."""
        rule = replace(rule, actions=tuple(map(self._with_number, rule.actions)))
        place = self._place(rule)
        if rule.priority >= _OF_PACKETS:
            rule = replace(rule, priority=rule.priority + self._raised.get(place.table, 0))
            place = self._place(rule)
        while place in self._held.rules:
            rule = replace(rule, priority=rule.priority + 1)
            place = self._place(rule)
        return rule, place

    @cached_property
    def _raised(self) -> dict[int, int]:
        """How much rules for packets have to be raised, by table of the switch, as far as it holds any."""
        raised: dict[int, int] = {}
        for held in self._held.rules:
            raised[held.table] = max(raised.get(held.table, 0), held.priority + 1 - _OF_PACKETS)
        return raised

    def _place(self, rule: FlowRule) -> Place:
        return place_of(codec.encoder(self._switch.layout).encode(self._switch, [AddFlow(rule)]))


def _is_of_packets(message: Message) -> bool:
    """Is it a packet that passes the switch, or a rule for one?"""
    if isinstance(message, PacketOut):
        return _THROUGH in message.actions
    return isinstance(message, AddFlow | DeleteFlow) and message.rule.priority >= _OF_PACKETS
