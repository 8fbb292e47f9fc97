"""What a switch answers is limited; resets of lost connections have a limit of their own (M32)."""

from __future__ import annotations

from anycast_sdn.core.model import TCP, FlowKey, Gateway, Prefix, packed
from anycast_sdn.core.roles import Side, Subnet
from anycast_sdn.description.model import Network, Switch
from anycast_sdn.openflow.answers import ERRORS_PER_S, LOST_AT_ONCE, LOST_PER_S, Answers, Gateways
from tests.unit.frame_samples import build

SUBNET = Subnet("desks", "west", Side.CLIENT, (Gateway.parse("10.1.0.1/16"),), (1, 2))
WEST = Switch("west", 1)
SEGMENT = build(FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), TCP, 40000, 80))


def resets(answers: Answers, count: int, now: float, lost: bool) -> int:
    return sum(len(answers.reset(1, SEGMENT, now, lost=lost)) for _ in range(count))


def test_resets_of_lost_connections_do_not_use_up_those_of_refused_ones() -> None:
    network = Network("n", (Prefix.parse("198.18.0.0/15"),), (WEST,), (), (SUBNET,))
    answers = Answers(WEST, [SUBNET], Gateways(network))
    assert resets(answers, 3 * LOST_AT_ONCE, 0.0, lost=True) == LOST_AT_ONCE
    assert resets(answers, 3 * ERRORS_PER_S, 0.0, lost=False) == ERRORS_PER_S
    assert resets(answers, 3 * LOST_PER_S, 1.0, lost=True) == LOST_PER_S
