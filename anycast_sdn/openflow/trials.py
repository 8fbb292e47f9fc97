"""Trials: what a switch supports is found by what it accepts.

Rules are installed for a moment, and a fragment is sent through the switch: of all that is asked of a switch when it
connects, this alone has to write to find something out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from anycast_sdn.core.model import ICMPV6, TCP
from anycast_sdn.openflow import fragments
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.frames import NEIGHBOUR_ADVERTISEMENT
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.layouts import carries
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    CT_SNAT,
    LATER_FRAGMENT,
    TCP_FIN,
    Action,
    AddFlow,
    CheckSize,
    Copy,
    DeleteCookie,
    EndConnection,
    Field,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    Load,
    Match,
    Message,
    Move,
    Nat,
    Resubmit,
    SetField,
    Track,
    match,
)

_TRIAL_COOKIE = 0xA17C_FF00_0000_0001  # of the rules that test what a switch supports
_NOBODY = bytes((127, 0, 0, 1))
_NO_ZONE = 65535
BOUNCE_S = 1.0  # for the fragment to come back
_NO_PACKET = match(
    Field("eth_type", 0x0800), Field("ip_proto", 6), Field("ipv4_src", bytes(4)), Field("ipv4_dst", bytes(4))
)  # no packet has these addresses
_NO_ADVERTISEMENT = match(
    Field("eth_type", 0x86DD), Field("ip_proto", ICMPV6), Field("icmpv6_type", NEIGHBOUR_ADVERTISEMENT),
    Field("ipv6_src", bytes(16)), Field("ipv6_dst", bytes(16)),
)  # fmt: skip  # likewise


class Trial(NamedTuple):
    """A rule that is installed for a moment, to see whether the switch accepts it."""

    rule: FlowRule
    extension: bool = False  # of Open vSwitch, and tried there only: others may crash
    message: EndConnection | None = None  # is to be accepted, too; it changes nothing

    @property
    def messages(self) -> tuple[Message, ...]:
        rule = AddFlow(self.rule)
        return (rule,) if self.message is None else (rule, self.message)


def _trial(*actions: Action, conditions: Match = _NO_PACKET, idle_timeout: int = 0) -> FlowRule:
    return FlowRule(Table.ROUTES, 1, conditions, _TRIAL_COOKIE, actions, idle_timeout=idle_timeout)


TRIALS = {  # by the field of ``Features`` that the result is for
    # Open vSwitch may crash when a rule with fin_timeout and without a timeout is removed.
    "fin_timeout": Trial(_trial(FinTimeout(1), idle_timeout=10), extension=True),
    "tcp_flags": Trial(
        _trial(
            Copy(None),
            SetField("reg0", 1),
            Resubmit(Table.ROUTES),
            conditions=match(*_NO_PACKET, Field("tcp_flags", TCP_FIN, TCP_FIN), Field("reg0", 0)),
        ),
        extension=True,
    ),
    "hairpin": Trial(_trial(ForgetInPort()), extension=True),
    "fragment_flags": Trial(
        _trial(conditions=match(*_NO_PACKET, Field("ip_frag", LATER_FRAGMENT, LATER_FRAGMENT))), extension=True
    ),
    "packet_size": Trial(_trial(CheckSize(1500), Resubmit(Table.EGRESS, 1)), extension=True),
    "gateway_answers": Trial(
        _trial(
            Move("eth_src", "eth_dst", 48),
            SetField("ipv6_nd_tll", bytes(6)),
            Load("nd_options_type", 2),
            Load("nd_reserved", 0),
            conditions=_NO_ADVERTISEMENT,
        ),
        extension=True,
    ),
    "connections": Trial(
        _trial(
            Load("reg4", 0),
            Load("ipv4_src", bytes(4), b"\xff\xff\0\0"),
            Move("ipv4_dst", "ipv4_src", 8),
            Track(_NO_ZONE, Table.TRACKED_OUT, commit=True, nat=Nat(True, _NOBODY, _NOBODY), label=bytes(16)),
            conditions=match(*_NO_PACKET, Field("ct_state", CT_SNAT, CT_SNAT), Field("ct_label", bytes(16))),
        ),
        extension=True,
        message=EndConnection(_NO_ZONE, _NOBODY, _NOBODY, TCP, 1, 1),
    ),
}


_LAST_TABLES = {"packet_size": Table.EGRESS, "connections": Table.RESTORE_IN}  # that a feature's rules lead to


def _absent(layout: Layout, tables: int) -> list[str]:
    """The features that need more tables than the switch has (``layouts.carries``, ``next_hops``, ``one_table``)."""
    absent = [name for name, last in _LAST_TABLES.items() if not carries(layout, tables, last)]
    found_twice = layout.table(Table.CLIENT_IN) == layout.table(Table.ROUTES)  # ``Kind.TCP_END`` would be
    return [*absent, "tcp_flags"] if found_twice else absent


class Trials:
    """``features``: as far as they are known; ``done`` is called with what has been found.

    What the switch does not answer stays as it was.
    """

    def __init__(self, switch: Connection, features: Features, done: Callable[[Features], None]) -> None:
        self._switch = switch
        self._features = features
        self._done = done
        self._results: dict[str, list[bool | None]] = {}  # of each trial
        self._left = 0  # results that are still to come

    def begin(self) -> None:
        missing = set(_absent(self._switch.layout, self._switch.tables))
        if not self._features.open_vswitch:
            missing |= {name for name, trial in TRIALS.items() if trial.extension}
        self._features = replace(self._features, **dict[str, Any](dict.fromkeys(missing, False)))
        tried = {name: trial for name, trial in TRIALS.items() if name not in missing}
        self._results = {name: [] for name in tried}
        attempts = [(name, message) for name, trial in tried.items() for message in trial.messages]
        self._left = len(attempts)
        for name, message in attempts:
            self._switch.try_out(message, partial(self._take_trial, name))
        if not attempts:
            self._done(self._features)

    def _take_trial(self, name: str, taken: bool | None, why: str) -> None:
        self._results[name].append(taken)
        self._left -= 1
        if not self._left:
            for each, results in self._results.items():
                if None not in results or False in results:
                    self._features = replace(self._features, **dict[str, Any]({each: all(results)}))
            self._switch.send([DeleteCookie(_TRIAL_COOKIE)])
            if self._features.fragment_flags:
                self._bounce()
            else:
                self._done(self._features)

    def _bounce(self) -> None:
        """A fragment is sent that the switch is to send back."""
        self._switch.await_packets(self._take_packet, partial(self._take_fragment, None), BOUNCE_S)
        self._switch.send([fragments.QUESTION])

    def _take_packet(self, in_port: int, frame: bytes) -> bool:
        if not fragments.is_answer(in_port, frame):
            return False
        self._switch.await_no_packets()
        self._take_fragment(frame)
        return True

    def _take_fragment(self, frame: bytes | None) -> None:
        """A switch that does not send it back is taken to spoil fragments."""
        self._features = replace(self._features, fragments=frame is not None and fragments.is_as_it_was(frame))
        self._done(self._features)
