"""Which engine a switch gets.

The network file lists engines, the first of which is preferred.  Rules suit every switch; flows in a connection tracker
need one that can be translated and labelled by rules (``Features.connections``).
"""

from __future__ import annotations

from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.decided import Decided
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.roles import EngineName, Side
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.engines.chosen_engine import Candidate, ChosenEngine
from anycast_sdn.engines.conntrack import Conntrack
from anycast_sdn.engines.engine import Engine, Shortcoming, Surroundings
from anycast_sdn.engines.flow_rules import FlowRules
from anycast_sdn.engines.no_client_edge import NoClientEdge
from anycast_sdn.engines.unserved_edge import UnservedEdge
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.answers import Answers
from anycast_sdn.openflow.features import Features

_NO_TRACKER = "cannot translate by its connection tracker as the engine conntrack needs it"
BY_RULES = Shortcoming("connections", f"{_NO_TRACKER}: its flows are carried out by rules", is_served=True)
UNSERVED = Shortcoming(
    "connections", f"{_NO_TRACKER}, and the network file names no other engine for it: its clients are not served",
    is_served=False, remedy="Write engine: [conntrack, rules], or update Open vSwitch.",
)  # fmt: skip


def engine_of(
    switch: Switch, network: Network, answers: Answers, random: RandomSource, decided: Decided
) -> Engine:
    role, subnets = switch.client_edge, network.connected_to(switch.name)
    around = Surroundings(switch.name, subnets, network.anycast_prefixes, answers, decided.is_enrolled)
    if role is None:
        return NoClientEdge(around)
    ports = entries.host_ports(subnet for subnet in network.subnets_of(switch.name) if subnet.side is Side.CLIENT)
    edge = ClientEdge(
        role, random, ports=len(ports),
        is_announced=decided.is_announced, is_lost=decided.is_lost, choice_of=decided.choice_of,
        can_serve=decided.can_serve, term=decided.term,
    )  # fmt: skip
    made = {name: ENGINES[name](around, edge) for name in role.engines}
    if EngineName.CONNTRACK not in made:
        return made[EngineName.RULES]
    otherwise = Candidate(UnservedEdge(around, edge), _any, UNSERVED)
    if EngineName.RULES in made:
        otherwise = Candidate(made[EngineName.RULES], _any, BY_RULES)
    return ChosenEngine([Candidate(made[EngineName.CONNTRACK], _tracks), otherwise])


def fragments_come(network: Network) -> bool:
    """Does any client edge let fragments pass, and not only those of clients that are bound as a whole?"""
    return any(ENGINES[name].follows_fragments for name in network.engines)


def flows_begin_alone(network: Network) -> bool:
    """May flows begin at any client edge while no controller is there?"""
    return any(ENGINES[name].begins_flows_alone for name in network.engines)


ENGINES: dict[EngineName, type[FlowRules | Conntrack]] = {
    EngineName.RULES: FlowRules, EngineName.CONNTRACK: Conntrack
}  # fmt: skip


def _any(features: Features) -> bool:
    return True


def _tracks(features: Features) -> bool:
    return features.connections
