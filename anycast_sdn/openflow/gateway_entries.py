"""Flow entries by which a switch answers hosts' questions for their gateway while no controller does, as FlowRule.

The controller answers ARP and neighbour solicitations itself, and learns by them where hosts are.  Without an answer
from anybody a host loses its gateway within seconds, and sends nothing more.  Open vSwitch can make the answer of the
question:

- ``lives`` says that the controller lives, and sends questions on to the rules by which it gets them.
- Otherwise GATEWAY_ASKED takes those for a gateway of the port's subnets, if their sender may be a host there.  So it
  takes no duplicate-address detection, whose sender has no address yet, and no question for another host.
- GATEWAY_ANSWER makes the answer, and sends it back by the port where the question came in.  That is another rule,
  because fields of a neighbour advertisement can only be set where the match says that it is one.

Nobody else gets a frame because of that, whatever the question claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anycast_sdn.core.model import ICMPV6, Address, Prefix
from anycast_sdn.core.roles import Subnet
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.builders import ROUTER_ANSWERS
from anycast_sdn.openflow.entry import rule_of
from anycast_sdn.openflow.frames import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION
from anycast_sdn.openflow.pipeline import ROW
from anycast_sdn.openflow.presence import LIVES_S
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import (
    ETH_ARP,
    OFPP_IN_PORT,
    Action,
    Field,
    FlowRule,
    Load,
    Move,
    Output,
    Resubmit,
    SetField,
    eth_type,
    source_in,
    within,
)

_ASKED, _LIVES, _ANSWERED = 0, 1, 2  # reg8 of a question: who answers it is not known, the controller, the switch
_REQUEST, _REPLY = 1, 2  # arp_op
_TARGET_LINK_LAYER = 2  # nd_options_type (RFC 4861 §4.6.1); that of a solicitation's is 1, the sender's
_LINK_LOCAL = Prefix.parse("fe80::/10")
_ARP = Field("eth_type", ETH_ARP)


def _nd(kind: int) -> tuple[Field, ...]:
    return eth_type(True), Field("ip_proto", ICMPV6), Field("icmpv6_type", kind)


def _again(kind: Kind, reg8: int) -> tuple[Action, ...]:
    return SetField("reg8", reg8), Resubmit(ROW[kind].resubmit or 0)


def lives() -> Iterator[FlowRule]:
    actions = _again(Kind.CONTROLLER_ANSWERS, _LIVES)
    for question in ((_ARP,), _nd(NEIGHBOUR_SOLICITATION)):
        yield rule_of(
            Kind.CONTROLLER_ANSWERS, *question, Field("reg8", _ASKED), actions=actions, hard_timeout=LIVES_S
        )


def answers(subnets: Sequence[Subnet], mac: bytes) -> Iterator[FlowRule]:
    """``subnets``: those of the switch, uplinks among them; ``mac``: its own."""
    for index, port in enumerate(entries.host_ports(subnets)):
        for subnet in subnets:
            for gateway in subnet.gateways if port in subnet.ports else ():
                yield from _asked(gateway.address, gateway.prefix, port, index)
    for subnet in subnets:
        for gateway in subnet.gateways:
            yield _answer(gateway.address, mac)


def _asked(gateway: Address, hosts: Prefix, port: int, index: int) -> Iterator[FlowRule]:
    here = Field("in_port", port), Field("reg8", _ASKED)
    again = _again(Kind.GATEWAY_ASKED, _ANSWERED)
    if hosts.is_v6:
        actions = SetField("icmpv6_type", NEIGHBOUR_ADVERTISEMENT), *again
        for senders in (hosts, _LINK_LOCAL):
            question = *_nd(NEIGHBOUR_SOLICITATION), source_in(senders), Field("ipv6_nd_target", gateway)
            yield rule_of(Kind.GATEWAY_ASKED, *here, *question, actions=actions, port_index=index)
        return
    request = _ARP, Field("arp_op", _REQUEST), within("arp_spa", hosts), Field("arp_tpa", gateway)
    yield rule_of(Kind.GATEWAY_ASKED, *here, *request, actions=again, port_index=index)


def _answer(gateway: Address, mac: bytes) -> FlowRule:
    ours = Field("reg8", _ANSWERED)
    frame = Move("eth_src", "eth_dst", 48), SetField("eth_src", mac)
    back = Output(OFPP_IN_PORT)
    if len(gateway) == 16:
        actions: tuple[Action, ...] = (
            Move("ipv6_src", "ipv6_dst", 128), SetField("ipv6_src", gateway),
            Load("nd_options_type", _TARGET_LINK_LAYER), SetField("ipv6_nd_tll", mac),
            Load("nd_reserved", ROUTER_ANSWERS),
        )  # fmt: skip
        question = *_nd(NEIGHBOUR_ADVERTISEMENT), Field("ipv6_nd_target", gateway)
        return rule_of(Kind.GATEWAY_ANSWER, *question, ours, actions=(*frame, *actions, back))
    actions = (
        SetField("arp_op", _REPLY),
        Move("arp_sha", "arp_tha", 48), SetField("arp_sha", mac),
        Move("arp_spa", "arp_tpa", 32), SetField("arp_spa", gateway),
    )  # fmt: skip
    return rule_of(Kind.GATEWAY_ANSWER, _ARP, Field("arp_tpa", gateway), ours, actions=(*frame, *actions, back))
