"""Why a flow has its server, where routers are between edges (M29)."""

from __future__ import annotations

from anycast_sdn.control.edge_distances import BEYOND_ROUTERS
from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.core.selection import Candidate, Choice, Standing
from anycast_sdn.views.decisions import as_json

AS2, AS3, AS4 = packed("10.2.0.10"), packed("10.3.0.10"), packed("10.4.0.10")


def test_what_routers_ways_cost_is_not_made_up() -> None:
    candidates = [Candidate(AS2, "ars2"), Candidate(AS3, "ars3"), Candidate(AS4, "ars4")]
    standings = {each.address: Standing() for each in candidates}
    choice = Choice("ars2", 0.0, candidates, standings, {AS2: 1.0}, {"ars3": BEYOND_ROUTERS})
    key = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000, 53)
    shown = as_json(choice, Binding(1, key, packed("203.0.113.1"), "web", 0.0, AS2), [], 0.0)["candidates"]
    assert [(each["cost"], each["why_not"]) for each in shown] == [
        (0.0, ""),
        (None, "not nearest: only routers lead from ars2 to ars3"),
        (None, "ars4 is out of reach of ars2"),
    ]
