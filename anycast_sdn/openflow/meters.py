"""Meters: limits on what a switch may send to the controller, their numbers and their rates."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from anycast_sdn.core.model import Address
from anycast_sdn.description.model import Limits
from anycast_sdn.openflow.rules import MeterRule


class Meter(enum.IntEnum):
    """Limits on what a switch may send to the controller; the rates are in ``description.model.Limits``.

    Some are the first of several meters, so that a flood from one sender does not affect the others: FIRST_REPLIES and
    CHECKS of ``REPLY_METERS``, shared by servers; ICMP_ERRORS of ``PARTS``, shared by senders according to the last
    bits of their addresses; those in ``PER_PORT`` of one for each port to hosts, or to another switch (LINK).
    """

    GATEWAY = 1
    UNRESOLVED = 2
    LLDP = 4
    UNDELIVERABLE = 5
    LOOPED = 6
    ENDS = 7
    ICMP_ERRORS = 8
    FIRST_REPLIES = 16
    CHECKS = 48
    FIRST_PACKETS = 80
    NEIGHBOURS = 81
    LINK = 82
    REFUSED = 83
    CONNECTED = 84
    CLIENT_ENDS = 85
    REPORTS = 86


PARTS = 8
REPLY_METERS = 31  # a prime: addresses that differ in one bit never share a meter
PER_PORT = frozenset(
    (Meter.FIRST_PACKETS, Meter.NEIGHBOURS, Meter.LINK, Meter.REFUSED, Meter.CONNECTED, Meter.CLIENT_ENDS,
     Meter.REPORTS)
)


def port_meter(meter: Meter, index: int) -> int:
    """The number of the meter of the ``index``-th port to hosts, or to switches; Open vSwitch has up to 65535."""
    return int(meter) + (len(PER_PORT) * index if meter in PER_PORT else 0)


def reply_meter(server: Address) -> int:
    """The number of the meter for a server's first replies; the same after a restart."""
    return Meter.FIRST_REPLIES + int.from_bytes(server, "big") % REPLY_METERS


def check_meter(server: Address) -> int:
    """As ``reply_meter``, for its answers to checks."""
    return Meter.CHECKS + int.from_bytes(server, "big") % REPLY_METERS


def fits(number: int | None, declared: Meter | None) -> bool:
    """May a rule whose row declares this meter name the meter of this number?"""
    if number is None:
        return True  # a switch without meters has the same rules without them
    if declared is Meter.ICMP_ERRORS:
        return 0 <= number - declared < PARTS
    if declared in PER_PORT:
        return number >= declared and (number - declared) % len(PER_PORT) == 0
    if declared is Meter.FIRST_REPLIES or declared is Meter.CHECKS:
        return 0 <= number - declared < REPLY_METERS
    return number == declared


def rules(
    limits: Limits,
    hosts: int,
    links: int,
    held: Mapping[int, int] = MappingProxyType({}),
    *,
    checks: bool = False,
    reports: bool = False,
) -> Iterator[MeterRule]:
    """What may reach the controller, with a burst of a tenth of a second's worth, at least 50.

    ``hosts``, ``links``: how many ports of the switch lead to hosts, and to other switches; ``held``: a lower limit of
    first packets, by the index of a port to hosts; ``checks``: may servers behind it be checked?  ``reports``: may it
    begin flows by itself?
    """
    rates: dict[int, int] = {
        Meter.GATEWAY: limits.neighbours,
        Meter.UNRESOLVED: limits.neighbours,
        Meter.LLDP: limits.neighbours,
        Meter.UNDELIVERABLE: limits.undeliverable,
        Meter.LOOPED: limits.neighbours,
        Meter.ENDS: limits.first_replies,
    }
    for part in range(PARTS):
        rates[Meter.ICMP_ERRORS + part] = limits.icmp_errors
    for number in range(REPLY_METERS):
        rates[Meter.FIRST_REPLIES + number] = limits.first_replies
        if checks:
            rates[Meter.CHECKS + number] = limits.neighbours
    for index in range(hosts):
        rates[port_meter(Meter.FIRST_PACKETS, index)] = min(limits.first_packets, held.get(index, limits.first_packets))
        rates[port_meter(Meter.CLIENT_ENDS, index)] = limits.first_packets
        if reports:
            rates[port_meter(Meter.REPORTS, index)] = limits.reports
        rates[port_meter(Meter.NEIGHBOURS, index)] = limits.neighbours
        rates[port_meter(Meter.REFUSED, index)] = limits.undeliverable
        rates[port_meter(Meter.CONNECTED, index)] = limits.neighbours
    for index in range(links):
        rates[port_meter(Meter.LINK, index)] = limits.neighbours
    for number, rate in rates.items():
        yield MeterRule(int(number), rate, max(50, rate // 10))
