"""Flow entries by which a switch chooses PR1X of new flows by itself, as FlowRule.

With ``Allocation.SWITCH`` it does so for all flows, with ``Allocation.CONTROLLER`` only while no controller is there,
out of the reserve.  Both have the same rules:

- ``lives`` says that the controller lives.  It expires soon after the last time that it was put.
- A packet that the tracker does not know comes to ALLOCATE: the tracker commits a connection for it with an address of
  the range, and the packet goes through table TRACKED_OUT once more (reg2 = 2).  If there was no address for it, it has
  not been translated, and the controller gets it.
- It is reported: the controller gets a copy, with all that the tracker knows of the connection.  Without a controller
  the connection is marked instead.  Its first packet when the controller is back is reported, and the mark goes.

A meter for each port limits how many flows begin there, so that a flood does not fill the tracker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anycast_sdn.core.roles import AddressRange, Allocation, ClientEdgeRole, Side, Subnet
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.entry import IN_FRAGMENTS, rule_of
from anycast_sdn.openflow.meters import Meter, port_meter
from anycast_sdn.openflow.pipeline import ROW
from anycast_sdn.openflow.presence import LIVES_S
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    CT_NEW,
    CT_SNAT,
    CT_TRACKED,
    Copy,
    Field,
    FlowRule,
    Move,
    Nat,
    Resubmit,
    SetField,
    Track,
    eth_type,
)

TRIED = 2  # reg2 of a packet for which the switch has tried to begin a connection; …
TO_CONTROLLER = 3  # … for which it does not try
_REPORTED, _NOT_REPORTED = 0, 1  # ct_mark
_LIVES = Field("reg8", 1)
_NEW = Field("ct_state", CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW | CT_SNAT)
_TRANSLATED = Field("ct_state", CT_TRACKED | CT_SNAT, CT_TRACKED | CT_SNAT)


def lives() -> FlowRule:
    actions = SetField("reg8", 1), Resubmit(ROW[Kind.CONTROLLER_LIVES].resubmit or 0)
    return rule_of(Kind.CONTROLLER_LIVES, Field("reg8", 0), actions=actions, hard_timeout=LIVES_S)


def edge(role: ClientEdgeRole, subnets: Sequence[Subnet], refused: Sequence[int]) -> Iterator[FlowRule]:
    """``subnets``: those of the switch; ``refused``: protocols that are not translated."""
    ranges = {v6: found for v6 in (False, True) if (found := role.switch_range(v6))}
    if not ranges:
        return
    yield lives()
    clients = {port for subnet in subnets if subnet.side is not Side.UPLINK for port in subnet.ports}
    for v6, addresses in ranges.items():
        for protocol in refused:
            yield _not_allocated(v6, Field("ip_proto", protocol))
        if v6:  # of which zone they are is known of the first one alone
            yield _not_allocated(v6, IN_FRAGMENTS)
        for index, port in enumerate(entries.host_ports(subnets)):
            if port in clients:
                yield from _of_port(role, v6, addresses, port, index)


def _not_allocated(v6: bool, which: Field) -> FlowRule:
    actions = SetField("reg2", TO_CONTROLLER), Resubmit(ROW[Kind.NOT_ALLOCATED].resubmit or 0)
    fields = eth_type(v6), which, _NEW, Field("reg2", 0)
    return rule_of(Kind.NOT_ALLOCATED, *fields, actions=actions)


def _of_port(role: ClientEdgeRole, v6: bool, addresses: AddressRange, port: int, index: int) -> Iterator[FlowRule]:
    to_any = Move("xxreg1", "ipv6_dst", 128) if v6 else Move("reg4", "ipv4_dst", 32)
    copy, here = Copy(port_meter(Meter.REPORTS, index)), (eth_type(v6), Field("in_port", port))
    begun = Field("reg2", TRIED), _LIVES
    onward = Resubmit(ROW[Kind.REPORT_NEW].resubmit or 0)
    yield rule_of(Kind.REPORT_NEW, *here, _TRANSLATED, *begun, actions=(copy, to_any, onward))
    marks: dict[Field, int | None] = {Field("reg8", 0): _NOT_REPORTED}  # does the controller live? → ct_mark
    if role.conntrack.allocation is Allocation.SWITCH:
        marks[_LIVES] = None
    for udp in (False, True):  # by zone and not by protocol, which later fragments of IPv6 do not have
        zone = role.conntrack.zone_of(v6, udp)
        of = *here, Field("ct_zone", zone)
        known = Track(zone, ROW[Kind.REPORT].tracked, commit=True, mark=_REPORTED)
        marked = Field("ct_mark", _NOT_REPORTED), _LIVES
        yield rule_of(Kind.REPORT, *of, _TRANSLATED, *marked, actions=(copy, known))
        for lives, mark in marks.items():
            chosen = Track(zone, ROW[Kind.ALLOCATE].tracked, commit=True, nat=Nat(True, *addresses), mark=mark)
            actions = SetField("reg2", TRIED), chosen
            new = _NEW, Field("reg2", 0), lives
            yield rule_of(Kind.ALLOCATE, *of, *new, actions=actions, port_index=index)
