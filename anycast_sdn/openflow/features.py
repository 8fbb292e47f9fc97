"""Features: what a switch can do beyond what OpenFlow 1.3 demands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """What a switch can do beyond what is required of it."""

    fin_timeout: bool = True  # a rule can remember that a TCP connection has closed
    tcp_flags: bool = True  # rows can match them, and send copies: TCP connections are seen to begin and to end
    meters: bool = True
    turning: bool = True  # a packet may go back where it came from: its in_port can be forgotten
    packet_size: bool = True  # it can tell packets that are too large for a link
    open_vswitch: bool = True  # it calls itself so; others are asked for no extension of Open vSwitch
