"""Direct packets: for a switch that refuses packets from the controller to its tables.

Such a packet leaves by the actions of the rules that it would meet there.  So all rules that the switch holds are known
here, as they were found there and sent since.  Tables and rules are the pipeline's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from anycast_sdn.openflow import builders, entries, packet_fields
from anycast_sdn.openflow.flow_table import FlowTable
from anycast_sdn.openflow.frames import BadFrame
from anycast_sdn.openflow.pipeline import binding_of
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    OFPP_ANY,
    OFPP_CONTROLLER,
    OFPP_TABLE,
    Action,
    AddFlow,
    Copy,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    FlowRule,
    ForgetInPort,
    Message,
    Output,
    PacketOut,
    PutBinding,
    RemoveBinding,
    Resubmit,
    RuleKey,
    SetField,
    ToGroup,
    Track,
)

_PIPELINE = (Output(OFPP_TABLE),)
_TO_CONTROLLER = Output(OFPP_CONTROLLER)
_LEAVES = (Output, ToGroup, Resubmit, Track)  # the actions by which a packet goes on


class _Held(NamedTuple):
    rule: FlowRule


class Returned(NamedTuple):
    """A packet that meets a rule which sends it to the controller."""

    cookie: int
    in_port: int
    frame: bytes


class DirectPackets:
    """``returned``: the packets that have met a rule to the controller; who takes them removes them."""

    def __init__(self) -> None:
        self.returned: list[Returned] = []
        self._tables = {int(table): FlowTable[_Held]() for table in Table}
        self._rules: dict[RuleKey, _Held] = {}
        self._of_bindings: dict[int, RuleKey] = {}  # by the cookie

    def hold(self, rules: Iterable[FlowRule]) -> None:
        """The switch was found to hold these; what was sent to it since counts more."""
        for rule in rules:
            if rule.key not in self._rules:
                self._put(rule)

    def removed(self, cookie: int) -> None:
        """The switch has reported the removal of a binding's rule."""
        if key := self._of_bindings.get(cookie):
            self._remove(key)

    def as_sent(self, messages: Iterable[Message]) -> list[Message]:
        """The messages as the switch is to be sent them."""
        sent: list[Message] = []
        for message in messages:
            if not (isinstance(message, PacketOut) and message.actions == _PIPELINE):
                self._note(message)
                sent.append(message)
            elif actions := self._actions(message.frame, message.in_port):
                sent.append(message._replace(actions=actions))
        return sent

    # ---------------------------------------------------------------- the rules

    def _note(self, message: Message) -> None:
        match message:
            case AddFlow(rule):
                self._put(rule)
            case PutBinding():
                self._put(entries.binding(message))
            case DeleteFlow(rule):
                self._remove(rule.key)
            case RemoveBinding(put):
                self._remove(entries.binding(put).key)
            case DeleteCookie(cookie):
                self._remove_all(key for key, held in self._rules.items() if held.rule.cookie == cookie)
            case DeleteGroup(number):
                self._remove_all(key for key, held in self._rules.items() if ToGroup(number) in held.rule.actions)
            case DeleteEverything():
                self._remove_all(self._rules)

    def _put(self, rule: FlowRule) -> None:
        self._remove(rule.key)
        held = self._rules[rule.key] = _Held(rule)
        self._tables[rule.table].put(held)
        if binding_of(rule.cookie):
            self._of_bindings[rule.cookie] = rule.key

    def _remove(self, key: RuleKey) -> None:
        held = self._rules.pop(key, None)
        if held:
            self._tables[held.rule.table].remove(held.rule)
            self._of_bindings.pop(held.rule.cookie, None)

    def _remove_all(self, keys: Iterable[RuleKey]) -> None:
        for key in list(keys):
            self._remove(key)

    # ---------------------------------------------------------------- packets

    def _actions(self, frame: bytes, in_port: int) -> tuple[Action, ...]:
        """Those of the rules that a packet would meet; none: no switch gets it."""
        fields = packet_fields.of_frame(frame, in_port) | {"reg0": 0}
        done: list[Action] = []
        table: int | None = Table.INGRESS
        while table is not None:
            held = self._tables[table].find(fields)
            if held is None:
                break
            for action in held.rule.actions:
                if isinstance(action, Copy) or action == _TO_CONTROLLER:
                    self.returned.append(Returned(held.rule.cookie, in_port, _changed(frame, done)))
                    continue
                if isinstance(action, SetField):
                    fields[action.name] = action.value
                elif isinstance(action, ForgetInPort):
                    fields["in_port"] = OFPP_ANY
                done.append(action)
            table = held.rule.goto
        return tuple(done) if any(isinstance(action, _LEAVES) for action in done) else ()


def _changed(frame: bytes, actions: Iterable[Action]) -> bytes:
    """The frame after those of the actions that set addresses."""
    for action in actions:
        if isinstance(action, SetField) and action.name != "reg0":
            try:
                frame = builders.rewrite(frame, action.name, action.value)
            except BadFrame:
                return frame  # a fragment, of which nobody reads the addresses
    return frame
