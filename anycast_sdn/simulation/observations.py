"""Observations: what has passed the links, switches and control channels of a simulated network.

LLDP between switches is left out (``is_lldp``), because it never ends.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from anycast_sdn.core.model import FlowKey
from anycast_sdn.openflow.frames import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, parse_ip
from anycast_sdn.openflow.rules import ETH_ARP, ETH_LLDP, Message
from anycast_sdn.simulation.effects import Trace


class Sighting(NamedTuple):
    """A frame on a link; sender and receiver are names of switches and hosts."""

    time: float
    sender: str
    receiver: str
    frame: bytes


class Passed(NamedTuple):
    """A frame, received at a port or sent by packet-out, has passed these tables of a switch."""

    switch: str
    in_port: int
    steps: Trace


class Sent(NamedTuple):
    """A message of the controller has reached a switch."""

    switch: str
    message: Message


class Arrived(NamedTuple):
    """A frame has reached a host."""

    host: str
    frame: bytes


Record: TypeAlias = Passed | Sent | Arrived


def is_lldp(frame: bytes) -> bool:
    return int.from_bytes(frame[12:14], "big") == ETH_LLDP


class Observations:
    """``wires``: all frames on links; ``journal``: None, or a list to which records are appended."""

    def __init__(self) -> None:
        self.wires: list[Sighting] = []
        self.journal: list[Record] | None = None

    def frame_sent(self, time: float, sender: str, receiver: str, frame: bytes) -> None:
        self.wires.append(Sighting(time, sender, receiver, frame))

    def record(self, record: Record) -> None:
        if self.journal is not None:
            self.journal.append(record)

    def seen(self, sender: str, receiver: str) -> list[FlowKey]:
        """The flows of the IP packets, ND excepted, that one node has sent to a neighbour, in order."""
        found = []
        for _, source, target, frame in self.wires:
            if (source, target) == (sender, receiver) and int.from_bytes(frame[12:14], "big") != ETH_ARP:
                packet = parse_ip(frame)
                if packet.icmp_type not in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
                    found.append(packet.key)
        return found
