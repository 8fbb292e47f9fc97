"""Which engine a switch gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.roles import Side, Subnet
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.engines.engine import Engine
from anycast_sdn.engines.flow_rules import FlowRules
from anycast_sdn.engines.no_client_edge import NoClientEdge
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.answers import Answers


def engine_of(
    switch: Switch,
    network: Network,
    connected: Sequence[Subnet],
    answers: Answers,
    random: RandomSource,
    is_announced: Callable[[Prefix], bool],
    is_lost: Callable[[Address, str], bool],
    is_enrolled: Callable[[Address], bool],
    choice_of: Callable[[str, bool], int],
) -> Engine:
    """``connected``: the subnets at its ports, those of uplinks among them; for the rest see ``ClientEdge``."""
    role, anycast = switch.client_edge, network.anycast_prefixes
    if role is None:
        return NoClientEdge(switch.name, connected, anycast)
    ports = entries.host_ports(subnet for subnet in network.subnets_of(switch.name) if subnet.side is Side.CLIENT)
    edge = ClientEdge(
        role, random, ports=len(ports), is_announced=is_announced, is_lost=is_lost, choice_of=choice_of
    )
    return FlowRules(switch.name, edge, connected, anycast, answers, is_enrolled)
