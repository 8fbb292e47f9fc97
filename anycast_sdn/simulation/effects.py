"""What a simulated switch does because of a message, a frame or a timeout, and what it records of a packet's path."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from anycast_sdn.core.model import FlowKey
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import Action, FlowRule


class Transmit(NamedTuple):
    port: int
    frame: bytes


class PacketIn(NamedTuple):
    cookie: int
    in_port: int
    frame: bytes


class FlowRemoved(NamedTuple):
    cookie: int
    idle_timeout: int  # when it was removed: fin_timeout may have shortened it
    deleted: bool = False  # rather than expired
    unused: bool = False  # no packet has matched it


class TtlExpired(NamedTuple):
    in_port: int
    frame: bytes


Effect: TypeAlias = Transmit | PacketIn | FlowRemoved | TtlExpired


class TraceStep(NamedTuple):
    """What one table did to one packet."""

    table: Table
    rule: FlowRule | None = None  # None: no rule matched
    done: tuple[Action, ...] = ()  # those of the chosen bucket included
    before: FlowKey | None = None  # None: not an IP packet
    after: FlowKey | None = None
    end: str = ""  # why it was dropped here although a rule forwards it: "meter", "ttl"


class TrackerStep(NamedTuple):
    """What the connection tracker did to one packet."""

    zone: int
    state: int  # ct_state
    label: bytes  # ct_label
    before: FlowKey | None  # the five fields of the packet, and as it goes on
    after: FlowKey | None
    table: Table | None  # where it goes on; None: in the same rule


Trace: TypeAlias = list[TraceStep | TrackerStep]
