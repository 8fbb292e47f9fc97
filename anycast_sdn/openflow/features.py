"""Features: what a switch can do beyond what OpenFlow 1.3 requires."""

from __future__ import annotations

from dataclasses import dataclass

from anycast_sdn.openflow.abilities import TTL, Lack
from anycast_sdn.openflow.sizes import NOT_SAID, Sizes


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
    # Without these there is a fall-back, see ``fallbacks``:
    idle_timeouts: bool = True  # rules can have one
    report_flag: bool = True  # rules can ask for a report of their removal …
    removed_reports: bool = True  # … and the switch sends it
    keeps_ttl: bool = False  # so says the network file: it is sent no rules that decrement the TTL
    table_output: bool = True  # it takes packets that are to go through its tables
    expired_reports: bool = True  # it can be asked to report packets whose TTL expires
    cookies: bool = True  # it keeps those of its rules
    lacks: tuple[Lack, ...] = ()  # what the roles need of every switch, and this one has refused
    untried: tuple[Lack, ...] = ()  # what it may have: it had no room to try that, for example
    confirmed: bool = True  # it has confirmed what was tried; otherwise it only has not refused it
    unshown: str = ""  # why nothing, or not all, was tried with packets; "": it was
    tables: int = 0  # how many it says that it has; 0: it has not said
    sizes: Sizes = NOT_SAID  # for how many rules and groups it says that it has room
    description: tuple[str, ...] = ()  # OFPMP_DESC: manufacturer, hardware, software, serial number, datapath

    @property
    def lacking(self) -> tuple[Lack, ...]:
        """The lacks that matter as the network file has it."""
        return tuple(lack for lack in self.lacks if lack.ability not in TTL) if self.keeps_ttl else self.lacks

    @property
    def spoils_fragments(self) -> bool:
        """And can it be kept from that by rules?"""
        return self.fragment_flags and not self.fragments


@dataclass(frozen=True, slots=True)
class Tried:
    """What trials have found of a switch that describes itself so (``OFPMP_DESC``)."""

    description: tuple[str, ...]
    features: Features
