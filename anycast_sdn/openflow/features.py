"""Features: what a switch can do beyond what OpenFlow 1.3 requires."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """Found by trials when the switch connects (``trials``); True also stands for "not tried yet".

    That it does not take ``equal_buckets`` is found when it refuses such a group.
    """

    fin_timeout: bool = True  # FIN and RST shorten the idle timeout of a rule
    tcp_flags: bool = True  # rules can match them and send copies, which report where TCP connections begin and end
    meters: bool = True
    hairpin: bool = True  # a packet may leave by the port where it came in: its in_port can be cleared
    packet_size: bool = True  # it recognises packets that are too large for a link
    fragment_flags: bool = True  # rules can tell fragments
    fragments: bool = True  # fragments without a transport header stay as they are when an IPv4 address is set
    equal_buckets: bool = True  # a select group may have as many buckets as a table has slots, also equal ones
    connections: bool = True  # its connection tracker translates, labels and forgets single connections
    gateway_answers: bool = True  # it can make the answer of ARP and of neighbour solicitations
    open_vswitch: bool = True  # by its own description; others are never sent Open vSwitch's extensions

    @property
    def spoils_fragments(self) -> bool:
        """And can it be kept from that by rules?"""
        return self.fragment_flags and not self.fragments


@dataclass(frozen=True, slots=True)
class Tried:
    """What trials have found of a switch that describes itself so (``OFPMP_DESC``)."""

    description: tuple[str, ...]
    features: Features
